"""Laws of the engine: variations that must not change a result, and properties that every result must have."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import synthetic
from nbtrade._numba.jit import as_record_array
from nbtrade.book.kernels import arrays
from nbtrade.engine import backtest, instrument_state, simulation
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import result_of
from nbtrade.schema import ADD, ASK, BID, EXEC, F_SNAPSHOT, LAST, UNDEF_PRICE
from nbtrade.tape.book_snapshot import book_arrays
from streams import tape_of
from test_backtest import noise, woken

LATENCY = nt.Latency(entry="1ms", response="2ms")


busy = woken(noise, ("70ms", "top", "trade", "ack", "fill", "start", "end"))
busy.name = "busy"


def run(data, strategy=noise, **options):
    """Run a random strategy."""
    return nt.backtest(data, strategy, latency=LATENCY, **options)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Half a minute of a small synthetic market."""
    return tape_of(synthetic.records(8_000, seed=3, live_orders=100, duration="30s"), tmp_path_factory.mktemp("laws"))


def in_pieces(tape, rows, strategy=noise, **options):
    """Run on `rows` new rows at a time, passing again the rows that the run still needs."""
    config = new_config(strategy, [{}], latency=LATENCY, **options)
    simulation = config.simulation([book_arrays(tape)], [tape.tick_units])
    columns, start = (tape.events, tape.ts_event, tape.ts_recv), 0
    simulation.instruments[0].record["base_row"] = tape.start
    for stop in [*range(rows, len(tape), rows), len(tape)]:
        start += simulation.feed(*(column[start:stop] for column in columns), tape.start + start, final=stop == len(tape))
    return result_of(simulation, config, tape.symbol, tape.tick_units)


@pytest.mark.parametrize("strategy", [noise, busy], ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("rows", [1, 7, 1000, 65536])
def test_pieces(tape, rows, strategy):
    """A result does not depend on the size of the batches."""
    part = tape.between(end=tape.ts_recv[1500]) if rows == 1 else tape
    assert in_pieces(part, rows, strategy).hash == run(part, strategy=strategy).hash


def test_straight_from_source(tmp_path):
    """A run straight from a compressed file equals the run over its tape."""
    path = synthetic.write_dbn(tmp_path / "day.dbn.zst", 150_000, seed=4, duration="400s", scenario="outliers")
    tape = nt.ingest(path, progress=False)
    assert run(path).hash == run(tape).hash == run(tape.path).hash


@pytest.mark.parametrize("feed", ["0ms", "30ms"])
def test_one_book_equals_two(tape, monkeypatch, feed):
    """Rolling one shared book back for the strategy gives the same result as a second, local book."""
    reporting = woken(noise, ("100ms", "ack", "fill"))
    for strategy in (noise, reporting):
        results = []
        for shares in (True, False):
            monkeypatch.setattr(simulation, "shares_book", lambda strategy, feed, shares=shares: shares)
            results.append(nt.backtest(tape, strategy, latency=nt.Latency("1ms", "2ms", feed=feed)))
        assert results[0].hash == results[1].hash
        assert results[0].summary["n_fills"] > 100


@pytest.mark.parametrize("strategy", [noise, busy], ids=lambda strategy: strategy.name)
def test_small_logs_and_rings(tape, monkeypatch, strategy):
    """Logs and rings that are often full do not change the result."""
    expected = run(tape, strategy).hash
    for name in ("LOG_ROWS", "RING"):
        monkeypatch.setattr(instrument_state, name, 4)
    monkeypatch.setattr(simulation, "LOG_ROWS", 4)
    assert run(tape, strategy).hash == expected


def test_records_of_logs_are_written_in_full(tape, monkeypatch):
    """Logs start uninitialised: their old contents appear in no byte of fills, finished orders or samples."""
    logs = []
    for content in (0, 255):
        dirty = lambda dtype, n, content=content: as_record_array(np.full(n * dtype.itemsize, content, np.uint8).view(dtype))  # noqa: E731
        monkeypatch.setattr(instrument_state, "new_log", dirty)
        monkeypatch.setattr(simulation, "new_log", dirty)
        result = run(tape, busy)
        logs.append([log.tobytes() for log in (result.fill_rows, result.order_rows, result.sample_rows)])
    assert logs[0] == logs[1]
    assert min(map(len, logs[0])) > 1000


@pytest.mark.parametrize("shares", [True, False])
def test_few_pages(tape, monkeypatch, shares):
    """Books that run out of pages grow, without any change in the result."""
    monkeypatch.setattr(simulation, "shares_book", lambda strategy, feed: shares)
    expected = run(tape).hash
    new_book = arrays.new_book
    monkeypatch.setattr(arrays, "new_book", lambda low, high, n_pages=2: new_book(low, high, n_pages))
    assert run(tape).hash == expected


def test_same_seed_same_bytes(tape):
    """Two runs are equal, byte for byte; another seed gives another result."""
    assert run(tape, params={"seed": 5}).hash == run(tape, params={"seed": 5}).hash != run(tape, params={"seed": 6}).hash


def test_summaries_share_no_names(tape):
    """A change to one summary does not appear in another."""
    one, other = run(tape).summary, run(tape).summary
    one.index.name = "number"
    one["net_pnl"] = 1e9
    assert other.index.name is None
    assert other["net_pnl"] != 1e9
    assert list(one.index) == list(other.index) == list(run(tape).summary.index)


def test_prefix(tape):
    """No look-ahead: the fills of a prefix are the prefix of the fills."""
    whole = run(tape).fill_rows
    for k in (1000, 3333, 6000):
        part = tape.between(end=tape.ts_recv[k])
        until = part.ts_event[-1]
        mine = run(part).fill_rows
        np.testing.assert_array_equal(mine[mine["ts"] <= until], whole[whole["ts"] <= until])


def test_middle_of_a_day(tape):
    """A run that starts mid-day starts with the book of that moment."""
    whole, part = run(tape), run(tape.between(start=tape.ts_recv[4000]))
    for name in ("bid_px", "ask_px", "bid_qty", "ask_qty", "bid_orders", "ask_orders"):
        assert whole.market[name] == part.market[name]


def test_money_is_conserved(tape):
    """Cash and position are the sums of the fills; maker and taker lots add up."""
    result = run(tape)
    f, sign = result.fills, np.where(result.fills["side"] == "B", 1, -1)
    assert (sign * f["size"]).sum() == result.summary["position"]
    assert -(sign * f["px"] * f["size"]).sum() == result.account["cash"]
    assert f["size"].sum() == result.summary["traded_size"]
    assert result.orders["filled"].sum() == f["size"].sum()


def test_fees(tape):
    """Fees per lot and per value add up over the fills, and equal gross minus net profit."""
    fees = nt.Fees(maker=-0.2, taker=0.5, maker_rate=1e-5, taker_rate=3e-5)
    result = run(tape, fees=fees, instrument=nt.Instrument(multiplier=50))
    assert result.fills["fee"].sum() == pytest.approx(result.summary["fees"])
    assert result.summary["gross_pnl"] - result.summary["net_pnl"] == pytest.approx(result.summary["fees"])


@nt.strategy(wake="event", state={"hash": 0, "n": 0})
def witness(market, state):
    """Hash every top of book that the strategy sees."""
    bid = 0 if market.bid_px == UNDEF_PRICE else market.bid_px * 1000 + market.bid_qty
    ask = 0 if market.ask_px == UNDEF_PRICE else market.ask_px * 1000 + market.ask_qty
    state.hash = ((state.hash * 31 + bid) * 31 + ask) & 0xFFFFFFFF
    state.n += 1


def test_event_wakes(tape):
    """An event wake happens once at the end of every event and sees the book right after it."""
    tape = tape.between(end=tape.ts_recv[3000])
    result = nt.backtest(tape, witness)
    levels, expected, n = ({}, {}), 0, 0
    for px, qty, _, kind, side, flags, _ in tape.events.tolist():
        if kind <= EXEC:
            levels[side][px] = levels[side].get(px, 0) + qty
            if levels[side][px] == 0:
                del levels[side][px]
        if flags & LAST:
            bid = max(levels[BID]) * 1000 + levels[BID][max(levels[BID])] if levels[BID] else 0
            ask = min(levels[ASK]) * 1000 + levels[ASK][min(levels[ASK])] if levels[ASK] else 0
            expected, n = ((expected * 31 + bid) * 31 + ask) & 0xFFFFFFFF, n + 1
    assert (result.final_state["n"], result.final_state["hash"]) == (n, expected)


@nt.strategy(wake="event", params={"after": 0, "side": 0, "px": 0, "qty": 0})
def ghost(market, account, params):
    """Send one order at the end of event number `after`."""
    if market.n_events == params.after:
        account.submit(params.side, params.px, params.qty)


def test_ghosts(tmp_path):
    """An order just behind a real one never fills before it; an order just ahead of it fills with it, lot by lot."""
    records = synthetic.records(6_000, seed=9, live_orders=60, duration="30s")
    ts = np.maximum.accumulate(np.where(records["flags"] & F_SNAPSHOT, records["ts_recv"][0], records["ts_event"]))
    records["ts_recv"] = records["ts_event"] = ts + np.arange(len(ts))
    tape = tape_of(records, tmp_path)
    e = tape.events
    events_before = np.concatenate(([0], np.cumsum(e["flags"] & LAST)))
    added = np.flatnonzero((e["kind"] == ADD) & (e["flags"] & LAST == LAST) & (events_before[:-1] > 1))
    n = 0
    for row in added:
        mine = e[(e["prio"] == row) & (np.arange(len(e)) != row)]
        if len(mine) == 0 or (mine["kind"] != EXEC).any() or -mine["qty"].sum() != e["qty"][row] or n == 40:
            continue
        n += 1
        order = {"side": int(e["side"][row]), "px": int(e["px"][row]), "qty": int(e["qty"][row])}
        rows = np.flatnonzero((e["prio"] == row) & (np.arange(len(e)) != row))
        before = nt.backtest(tape, ghost, params={"after": int(events_before[row]), **order}).fill_rows
        behind = nt.backtest(tape, ghost, params={"after": int(events_before[row]) + 1, **order}).fill_rows
        assert before["row"].tolist() == rows.tolist(), row
        assert before["qty"].tolist() == (-mine["qty"]).tolist()
        assert len(behind) == 0 or behind["row"].min() >= rows[-1], row
    assert n == 40


def test_no_jit_equals_jit(tmp_path):
    """Plain Python and compiled code give the same result."""
    path = synthetic.write_dbn(tmp_path / "d.dbn", 600, seed=1, live_orders=30, duration="3s")
    nt.ingest(path, progress=False)
    code = (
        "import sys; sys.path.insert(0, 'tests'); import nbtrade as nt; from test_engine_laws import ghost, noise, woken;"
        "at_end = woken(ghost, ('end',));"
        f"tape = nt.open_tape({str(tmp_path / 'd.tape')!r}); r = nt.backtest(tape, noise, latency=nt.Latency('1ms', '2ms'));"
        "print(r.hash, r.summary['n_fills'], nt.backtest(tape, at_end, params={'after': -1}, sample=0).market['n_events'])"
    )
    outs = []
    for disable in ("0", "1"):
        env = {**os.environ, "NUMBA_DISABLE_JIT": disable, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        done = subprocess.run([sys.executable, "-c", code], check=False, env=env, cwd=root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        outs.append(done.stdout.split())
    assert outs[0] == outs[1]
    assert int(outs[0][1]) > 0
    assert int(outs[0][2]) > 255  # more events between two wakes than a u1 can count


@pytest.mark.parametrize("strategy", [noise, busy], ids=lambda strategy: strategy.name)
def test_accounts_of_one_pass_are_runs_of_their_own(tape, strategy):
    """K accounts in one pass give the same bytes as K separate passes."""
    values = [{"seed": k + 1, "spread": 2 + k % 3, "most": 4 + k} for k in range(7)]
    config = new_config(strategy, values, latency=LATENCY)
    simulation = backtest.run_tapes([tape], config)
    simulation.close_session(False)
    for k, value in enumerate(values):
        assert result_of(simulation, config, tape.symbol, tape.tick_units, 0, k).hash == run(tape, strategy, params=value).hash
