"""Many accounts, days and instruments in one run: sharing it does not change any of their results."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import ASK, BID, UNDEF_PRICE
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import result_of
from nbtrade.sweeps import sweep

LATENCY = nt.Latency(entry="1ms", response="2ms")
GRID = {"half_spread": [0.5, 1.0, 2.0], "max_position": [2, 10], "fill_rule": ["fifo", "optimistic", "conservative"]}


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "day.dbn.zst"
    return nt.ingest(nt.synthetic.write_dbn(path, 120_000, seed=3), progress=False)


@nt.strategy(wake=("50ms", "fill", "trade"), params={"seed": 1}, state={"rng": 0, "n": 0})
def noisy(market, account, params, state):
    """Act at random: every kind of order, replaces, cancels."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE:
        return
    if state.n == 0:
        state.rng = params.seed
    state.n += 1
    side = BID if nt.uniform(state) < 0.5 else ASK
    touch = market.bid_px if side == BID else market.ask_px
    draw = nt.uniform(state)
    px = touch + int(6 * nt.uniform(state)) - 3
    if draw < 0.3:
        account.submit(side, px, 1 + int(3 * nt.uniform(state)), post_only=draw < 0.1)
    elif draw < 0.4:
        account.submit(side, px, 5, tif=nt.IOC if draw < 0.35 else nt.FOK)
    elif draw < 0.7:
        account.replace(int(8 * nt.uniform(state)), px, 1 + int(4 * nt.uniform(state)))
    elif draw < 0.9:
        account.cancel(int(8 * nt.uniform(state)))
    elif draw < 0.92:
        account.flatten()


def hashes(tapes, values, latency=LATENCY, **options):
    """Result hashes of accounts that run together."""
    config = new_config(noisy, values, latency=latency, sample="1s", max_orders=8, **options)
    simulation = run_tapes(tapes, config)
    return [result_of(simulation, config, "", tapes[0].tick_units, v, k).hash for v in range(len(tapes)) for k in range(len(values))]


# --- accounts ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "latency", [LATENCY, nt.Latency.random([1e5, 1e6, 3e7], [2e5, 2e6], seed=5, feed="1ms")], ids=["constant", "random"]
)
def test_together_is_alone(tape, latency):
    """Accounts in one pass have the same result bytes as in separate runs, for any latency, fill rule and wakes."""
    values = [{"seed": seed} for seed in range(7)]
    rules = ["fifo", "optimistic", "conservative", "fifo", "fifo", "optimistic", "fifo"]
    together = hashes([tape], values, latency, fill_rule=rules)
    alone = [hashes([tape], [one], latency, fill_rule=rule)[0] for one, rule in zip(values, rules, strict=True)]
    assert together == alone
    assert len(set(together)) == len(together)


def test_another_process_says_the_same(tape):
    """A run in a new process has the same hash."""
    code = (
        "import sys, nbtrade as nt; from nbtrade import backtest, open_tape, market_maker; "
        "print(backtest(open_tape(sys.argv[1]), market_maker, latency=nt.Latency('1ms', '2ms')).hash)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tape.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == nt.backtest(tape, nt.market_maker, latency=LATENCY).hash


# --- sweeps ------------------------------------------------------------------------------------------------
def test_sweep_is_a_backtest_of_each(tape):
    """Each row of the table equals the summary of a backtest with its parameters."""
    table = nt.sweep(tape, nt.market_maker, GRID, latency=LATENCY, sample="1s", progress=False)
    assert len(table) == 18
    for row in table.to_dict("records")[::4]:
        given = {name: row[name] for name in ("half_spread", "max_position")}
        summary = nt.backtest(tape, nt.market_maker, params=given, latency=LATENCY, fill_rule=row["fill_rule"]).summary
        assert {name: row[name] for name in row if name in summary} == pytest.approx(
            {name: summary[name] for name in row if name in summary}, nan_ok=True
        )


@pytest.mark.parametrize(("workers", "block"), [(1, 1000), (2, 1000), (3, 5)])
def test_threads_and_blocks_change_nothing(tape, workers, block):
    """The table does not depend on how the work is split."""
    options = {"latency": LATENCY, "progress": False}
    expected = nt.sweep(tape, nt.market_maker, GRID, workers=1, block=1, **options)
    assert nt.sweep(tape, nt.market_maker, GRID, workers=workers, block=block, **options).equals(expected)


def test_several_tapes(tape):
    """Each day is a separate run: one row per tape and parameter set."""
    first, second = halves(tape)
    table = nt.sweep([first, second], nt.market_maker, [{"half_spread": 1.0}, {"half_spread": 2.0}], progress=False)
    assert list(table["half_spread"]) == [1.0, 2.0, 1.0, 2.0]
    assert table["n_fills"][2] == nt.backtest(second, nt.market_maker, params={"half_spread": 1.0}).summary["n_fills"]


def test_a_sweep_goes_on(tape, tmp_path, monkeypatch):
    """Rows stored in a BlockFile are not run again; a different tape, set, fee or strategy is a new row."""
    store, options = tmp_path / "sweep.blocks", {"latency": LATENCY, "sample": "1s", "progress": False}
    small = nt.sweep(tape, nt.market_maker, {"half_spread": [1.0, 2.0]}, store=store, **options)
    ran = []
    run = sweep.run_tapes
    monkeypatch.setattr(sweep, "run_tapes", lambda tapes, config, **more: ran.append(len(config.params)) or run(tapes, config, **more))
    large = nt.sweep(tape, nt.market_maker, {"half_spread": [1.0, 2.0, 3.0]}, store=store, workers=1, **options)
    assert ran == [1]
    assert large.iloc[:2].equals(small)
    assert large.equals(nt.sweep(tape, nt.market_maker, {"half_spread": [1.0, 2.0, 3.0]}, **options))
    ran.clear()
    for other in ({"fees": nt.Fees(maker=0.1)}, {"at_close": "flatten"}, {"latency": nt.Latency.random([1e6], [2e6])}):
        nt.sweep(tape, nt.market_maker, {"half_spread": [1.0]}, store=store, **{**options, **other})
    nt.sweep(tape, nt.market_maker.with_(qty=2), {"half_spread": [1.0]}, store=store, **options)
    nt.sweep(halves(tape)[0], nt.market_maker, {"half_spread": [1.0]}, store=store, **options)
    assert ran == [1] * 5


def test_bad_grids(tape):
    """An empty grid, an unknown field and an unknown rule are errors before anything runs."""
    with pytest.raises(ValueError, match="has no values"):
        nt.sweep(tape, nt.market_maker, {"half_spread": []})
    with pytest.raises(ValueError, match="space is empty"):
        nt.sweep(tape, nt.market_maker, [])
    with pytest.raises(nt.errors.StrategyError, match="no parameter 'half_sprad'"):
        nt.sweep(tape, nt.market_maker, {"half_sprad": [1.0]})
    with pytest.raises(ValueError, match="fill_rule='first'"):
        nt.sweep(tape, nt.market_maker, {"fill_rule": ["first"]})


def test_ctrl_c_stops_a_sweep(tape):
    """SIGINT stops a sweep that would take minutes: it raises KeyboardInterrupt and leaves no thread running."""
    code = (
        "import sys, threading, nbtrade as nt\n"
        "tape = nt.open_tape(sys.argv[1])\n"
        "sets = [{'half_spread': 1 + k / 1000} for k in range(20_000)]\n"
        "nt.backtest(tape, nt.market_maker)\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    nt.sweep([tape] * 100, nt.market_maker, sets, progress=False)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', threading.active_count(), flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tape.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped 1\n"
    assert process.wait(60) == 0
    process.stdout.close()


@nt.strategy(wake="200ms", params={"seed": 1}, state={"sent": 0})
def resting(market, account, params, state):
    """Place one lot at each touch every 40 wakes, and leave it until it fills."""
    state.sent += 1
    if state.sent % 40 == params.seed and market.bid_px < market.ask_px < UNDEF_PRICE:
        account.submit(BID, market.bid_px, 1)
        account.submit(ASK, market.ask_px, 1)


def test_fill_rules_bound_each_other(tape):
    """Order by order: a conservative fill implies a FIFO fill, and that an optimistic fill, at the same time or earlier."""
    filled = {}
    for rule in ("conservative", "fifo", "optimistic"):
        orders = nt.backtest(tape, resting, fill_rule=rule, max_orders=2000).orders
        filled[rule] = orders["done"].where(orders["filled"] > 0)
    for strict, loose in (("conservative", "fifo"), ("fifo", "optimistic")):
        a, b = filled[strict], filled[loose]
        assert (a[a.notna()] >= b[a.notna()]).all()
    assert filled["conservative"].count() < filled["fifo"].count() <= filled["optimistic"].count()


# --- instruments and days ----------------------------------------------------------------------------------
def halves(tape):
    middle = int(tape.ts_recv[len(tape) // 2])
    return tape.between(int(tape.ts_recv[0]), middle), tape.between(middle, int(tape.ts_recv[-1]) + 1)


@nt.strategy(wake="100ms", params={"half": 1})
def both(market, account, params):
    """Quote the same on two instruments."""
    for i in range(2):
        m, a = market.on(i), account.on(i)
        if m.bid_px != UNDEF_PRICE and m.ask_px != UNDEF_PRICE:
            a.quote(BID, m.bid_px - params.half, 1 if a.position < 5 else 0)
            a.quote(ASK, m.ask_px + params.half, 1 if a.position > -5 else 0)


@nt.strategy(wake="100ms", params={"half": 1})
def single(market, account, params):
    """Quote the same on one instrument."""
    if market.bid_px != UNDEF_PRICE and market.ask_px != UNDEF_PRICE:
        account.quote(BID, market.bid_px - params.half, 1 if account.position < 5 else 0)
        account.quote(ASK, market.ask_px + params.half, 1 if account.position > -5 else 0)


def test_two_instruments_are_two_backtests(tape, tmp_path):
    """Instruments that a strategy trades independently have the results of separate runs."""
    path = nt.synthetic.write_dbn(tmp_path / "other.dbn.zst", 100_000, seed=8, mid=300_000, duration="152s")
    other = nt.ingest(path, progress=False)
    tapes = {"one": tape, "two": other}
    results = nt.backtest(tapes, both, latency=LATENCY)
    for name, one in tapes.items():
        alone = nt.backtest(one, single, latency=LATENCY)
        last = min(int(t.ts_recv[-1]) for t in tapes.values())
        together = results[name].fills
        assert together[together.index.asi8 < last].equals(alone.fills[alone.fills.index.asi8 < last])
        assert len(alone.fills) > 20
    assert results.total_equity["net"].iloc[-1] == pytest.approx(sum(r.equity["net"].iloc[-1] for r in results.values()))
    assert list(results.summary.columns) == ["one", "two"]


def test_each_instrument_has_its_money(tape):
    """Fees, limits and multipliers by name equal those of separate runs; a single value applies to each instrument."""
    tapes = {"one": tape, "two": tape}
    money = {
        "fees": {"one": nt.Fees(maker=0.5), "two": nt.Fees(maker=-0.1)},
        "instrument": {"two": nt.Instrument(multiplier=20, lot=1, currency="USD"), "one": nt.Instrument(multiplier=50)},
        "risk": {"one": nt.Risk(max_position=2), "two": nt.Risk(max_loss=0.4)},
    }
    results = nt.backtest(tapes, both, latency=LATENCY, **money)
    for name in tapes:
        alone = nt.backtest(tape, single, latency=LATENCY, **{what: each[name] for what, each in money.items()})
        assert results[name].hash == alone.hash
        assert results[name].summary["net_pnl"] == alone.summary["net_pnl"]
        assert results[name].currency == money["instrument"][name].currency
        assert alone.summary["n_refused"] > 0
    with pytest.raises(ValueError, match="fees is a dict of one, but the instruments are one, two"):
        nt.backtest(tapes, both, fees={"one": nt.Fees()})
    with pytest.raises(ValueError, match="the run has one instrument"):
        nt.backtest(tape, single, instrument=money["instrument"])


def test_days_carry_position_and_state(tape):
    """Two sessions in sequence: positions, cash and state carry over; with "flatten" each session ends without a position."""
    days = list(halves(tape))
    carried = nt.backtest(days, nt.market_maker, latency=LATENCY)
    first = nt.backtest(days[0], nt.market_maker, latency=LATENCY)
    fills = carried.fills
    n = len(first.fills)
    assert fills.iloc[:n].drop(columns="row").equals(first.fills.drop(columns="row"))
    signed = np.where(fills["side"] == "B", fills["size"], -fills["size"])
    assert signed.sum() == carried.summary["position"]
    assert len(fills) > n
    flat = nt.backtest(days, nt.market_maker, latency=LATENCY, at_close="flatten")
    assert flat.summary["position"] == 0
    assert (flat.orders["type"] == "market").sum() == sum(bool(p) for p in positions_before_close(days))


def positions_before_close(days):
    """The position at the end of the first session, and at the end of the second if it started flat."""
    first = nt.backtest(days[0], nt.market_maker, latency=LATENCY).summary["position"]
    flat = nt.backtest(days, nt.market_maker, latency=LATENCY, at_close="flatten")
    closing = flat.fills[flat.fills["order_id"].isin(flat.orders.index[flat.orders["type"] == "market"])]
    yield first
    second = closing.iloc[abs(first) and (closing["size"].cumsum() <= abs(first)).sum() :]
    yield second["size"].sum()


def test_day_orders_expire(tape):
    """A DAY order that still rests when its session ends is cancelled as expired; a LIMIT order continues."""

    @nt.strategy(wake="1s", state={"sent": 0})
    def far(market, account, state):
        if state.sent == 0 and market.bid_px != UNDEF_PRICE:
            account.submit(BID, market.bid_px - 3000, 1, tif=nt.DAY)
            account.submit(BID, market.bid_px - 3000, 1)
            state.sent = 1

    orders = nt.backtest(list(halves(tape)), far).orders
    assert list(orders["reason"]) == ["expired", ""]
    assert list(orders["state"]) == ["cancelled", "working"]
    assert orders["arrived"][1].value >= halves(tape)[1].ts_recv[0]  # sent again in the second session


# --- results -----------------------------------------------------------------------------------------------
def test_explain_tells_the_queue(tape):
    """An order's history: each change moves lots ahead toward their value at the fill, and its fills are those of the result."""
    result = nt.backtest(tape, resting, latency=LATENCY, max_orders=2000)
    orders = result.orders
    for order_id in [*orders.index[orders["filled"] > 0][:30], *orders.index[orders["filled"] == 0][:5]]:
        life = result.explain(order_id, tape)
        queue = life[life["what"].str.startswith("ahead")]
        arrived = life[life["what"] == "arrived"].iloc[0]
        assert arrived["ahead"] == orders["ahead"][order_id]
        assert list(queue["ahead"]) == list(arrived["ahead"] + queue["lots"].cumsum())
        filled = life[life["what"].str.startswith("filled")]
        assert filled["lots"].sum() == orders["filled"][order_id]
        if not len(filled):
            assert life["what"].iloc[-1].startswith("at the end")
            assert life["ahead"].iloc[-1] == (queue["ahead"].iloc[-1] if len(queue) else arrived["ahead"])
    with pytest.raises(nt.errors.StrategyError, match="there is no order"):
        result.explain(10**9, tape)


def test_average_price_and_realised(tape):
    """Average price and realised profit match average-cost accounting of the fills, and the account's fields."""
    result = nt.backtest(tape, nt.market_maker, latency=nt.Latency(), instrument=nt.Instrument(multiplier=50))
    position, cost, realised = 0, 0.0, 0.0
    for fill in result.fills.itertuples():
        signed = fill.size if fill.side == "B" else -fill.size
        if position * signed >= 0:
            cost = (cost * abs(position) + fill.price * fill.size) / (abs(position) + fill.size)
        else:
            closed = min(fill.size, abs(position))
            realised += closed * (fill.price - cost) * np.sign(position) * 50
            cost = fill.price if fill.size > abs(position) else cost if fill.size < abs(position) else 0.0
        position += signed
        assert fill.realised == pytest.approx(realised, abs=1e-6)
        assert fill.average_price == pytest.approx(cost, abs=1e-6)
    assert result.summary["realised_pnl"] == pytest.approx(realised, abs=1e-6)
    assert result.summary["realised_pnl"] + result.summary["unrealised_pnl"] == pytest.approx(result.summary["gross_pnl"])
    assert result.account["realised"] * 50 * result.tick == pytest.approx(realised, abs=1e-6)


def test_fee_schedule_and_sales(tape):
    """Tiers from a function of the fills, and fees on sales, appear in fills, equity and summary."""
    fees = nt.Fees(schedule=lambda fills: np.where(fills["traded"] <= 10, 0.3, 0.1) * fills["size"])
    result = nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=fees)
    qty = result.fills["size"].to_numpy()
    expected = (np.where(qty.cumsum() <= 10, 0.3, 0.1) * qty).sum()
    assert result.summary["fees"] == pytest.approx(expected)
    assert result.equity["fees"].iloc[-1] == pytest.approx(expected)
    sold = nt.backtest(tape, nt.market_maker, latency=LATENCY, fees=nt.Fees(sell=0.01, sell_rate=1e-5))
    sells = sold.fills[sold.fills["side"] == "A"]
    assert sold.summary["fees"] == pytest.approx((0.01 * sells["size"] + 1e-5 * sells["price"] * sells["size"]).sum())
    assert sold.fills["fee"].sum() == pytest.approx(sold.summary["fees"])


def test_bad_terms():
    """Latencies, limits, lots and rules out of range are refused with their values."""
    for make, words in (
        (lambda: nt.Latency(entry="-1ms").delays(), "delays cannot be negative"),
        (lambda: nt.Latency.random([], [1]), "needs at least one value"),
        (lambda: nt.Latency.measured([1, 1], [1, 2], [1, 2]), "ascending times"),
        (lambda: nt.Risk(max_order=-1).limits(1.0), "limits cannot be negative"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_uniform_and_normal():
    """Draws repeat for the same seed, differ between seeds, and have the right mean and variance."""

    @nt.strategy(wake="1ms", params={"seed": 0}, state={"rng": 0, "n": 0, "sums": "(4,)f8"})
    def drawing(params, state):
        if state.n == 0:
            state.rng = params.seed
        u, z = nt.uniform(state), nt.normal(state)
        state.n += 1
        state.sums[0] += u
        state.sums[1] += u * u
        state.sums[2] += z
        state.sums[3] += z * z

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        day = nt.ingest(nt.synthetic.write_dbn(Path(folder) / "d.dbn", 3000, duration="20s"), progress=False)
        means = []
        for seed in (1, 2, 1):
            state = nt.backtest(day, drawing, params={"seed": seed}).final_state
            means.append(state["sums"] / state["n"])
        assert state["n"] > 10_000
        assert np.allclose(means[0], [1 / 2, 1 / 3, 0, 1], atol=0.04)
        assert np.array_equal(means[0], means[2])
        assert not np.allclose(means[0], means[1], atol=1e-6)
