"""A result is data: it is built, compared, copied, saved and loaded, and nothing of it is lost."""

import copy
import doctest
import importlib
import json
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

import nbtrade as nt
from nbtrade import BID, UNDEF_PRICE, synthetic
from nbtrade.errors import ResultError, ResultExists, StrategyError
from nbtrade.results import saving
from nbtrade.schema import FILL, ORDER

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
LATENCY = nt.Latency(entry="1ms", response="2ms")
FEES = nt.Fees(maker=-0.1, taker=0.3, taker_rate=1e-6, sell=0.01)
FILLS = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 1]}


@nt.strategy(state=[("level", "f8"), ("flag", "u1"), ("deep", "i4", (2, 3)), ("none", "f4", 0)], wake="1s", level=float("nan"), flag=1)
def idle(market, features, account, state):
    """Never trades, and has a state of many kinds."""
    state.deep[1, 2] += 1


@nt.strategy(state=[("half", "i8")], wake="100ms", half=1)
def both(market, features, account, state):
    """The same quotes on two instruments."""
    for i in range(2):
        m, a = market.on(i), account.on(i)
        if m.bid_px != UNDEF_PRICE and m.ask_px != UNDEF_PRICE:
            a.quote(BID, m.bid_px - state.half, 1 if a.position < 5 else 0)
            a.quote(1, m.ask_px + state.half, 1 if a.position > -5 else 0)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = synthetic.write_dbn(tmp_path_factory.mktemp("data") / "day.dbn", 60_000, seed=3)
    return nt.ingest(path, progress=False)


def run(tape, strategy=nt.market_maker, **options):
    return nt.backtest(tape, strategy, **{"latency": LATENCY, "fees": FEES, **options})


@pytest.fixture(scope="module")
def result(tape):
    return run(tape, instrument=nt.Instrument(multiplier=50, currency="USD"))


@pytest.fixture(scope="module")
def pair(tape):
    return run({"ES": tape, "../NQ": tape}, both)


@pytest.fixture
def saved(result, tmp_path):
    return result.save(tmp_path / "saved")


def flat(n):
    """A fee schedule, which no file can hold."""
    return nt.Fees(schedule=lambda fills: n + 0.01 * fills["traded"])


def kinds(tape):
    """Results of every kind."""
    middle = int(tape.ts_recv[len(tape) // 2])
    days = [tape.between(end=middle), tape.between(start=middle)]
    return {
        "usual": run(tape),
        "idle": run(tape, idle, sample=0),
        "schedule": run(tape, fees=flat(0.1)),
        "days": run(days, at_close="flatten"),
        "random": run(tape, latency=nt.Latency.random([1e5, 1e6], [1e6], seed=3), risk=nt.Risk(max_rate=(10, "1s"))),
        "records": nt.Result.from_frames(
            fills=FILLS, records={"ts": [5, 3], "fair": [1.5, np.nan], "spread": [1, 2]}, symbol="ES", tick="1/64", parameters={"x": np.inf}
        ),
        "nothing": nt.Result.from_frames(fills={"ts": [], "side": [], "price": [], "size": []}, tick=0.01),
        "several": run({"ES": tape, "../NQ": tape}, both),
    }


# --- equality ----------------------------------------------------------------------------------------------
def test_equal_runs_are_equal(tape, result):
    """The same run again is equal; another parameter, fee, multiplier, symbol or kind of thing is not."""
    again = run(tape, instrument=nt.Instrument(multiplier=50, currency="USD"))
    assert again == result
    assert again is not result
    assert len({again, result}) == 1
    for other in (
        run(tape, half_spread=2, instrument=nt.Instrument(multiplier=50, currency="USD")),
        run(tape, instrument=nt.Instrument(multiplier=50)),
        run(tape, instrument=nt.Instrument(multiplier=5, currency="USD")),
        run(tape, fees=nt.Fees(), instrument=nt.Instrument(multiplier=50, currency="USD")),
        result.summary.to_dict(),
        None,
    ):
        assert result != other


def test_fees_are_no_part_of_the_hash(tape):
    """Hashes compare what happened; equality compares what it was worth too."""
    free, dear = run(tape, fees=nt.Fees()), run(tape)
    assert free.hash == dear.hash
    assert free != dear


def test_straight_from_the_source_is_equal(tape):
    """A run from the file equals the run from its tape, though it comes from somewhere else."""
    file = tape.path.with_suffix(".dbn")
    one, other = run(tape), run(file)
    assert one == other
    assert one.sessions != other.sessions


def test_copies_are_equal(tape):
    """Pickled and deep-copied results are equal, in every protocol, and so are their frames and summaries."""
    for name, one in kinds(tape).items():
        _ = one.summary
        for other in (copy.deepcopy(one), copy.copy(one), *(pickle.loads(pickle.dumps(one, k)) for k in range(2, 6))):
            assert other == one, name
            assert type(other) is type(one)
            assert other.hash == one.hash
            assert other.fills.equals(one.fills)
            assert other.summary.equals(one.summary)


def test_arrays_are_read_only(result):
    """Nobody changes a result by accident; its frames are copies."""
    for rows in (result.fill_rows, result.order_rows, result.sample_rows, result.fill_fees, result.record_rows):
        with pytest.raises(ValueError, match="read-only"):
            rows[:1] = rows[:1]
    with pytest.raises(ValueError, match="read-only"):
        result.account["fees"] = 0.0
    before = result.hash
    frame = copy.deepcopy(result).fills
    frame["px"] = 0
    assert result.hash == before
    assert result.fills["px"].all()


def test_wrong_arrays_are_refused():
    """Another dtype, and fees that are not one per fill."""
    right = {
        "fill_rows": np.zeros(2, FILL),
        "fill_fees": np.zeros(2),
        "order_rows": np.zeros(0, ORDER),
        "sample_rows": np.zeros(0, nt.Result.from_frames(fills=FILLS, tick=0.5).sample_rows.dtype),
        "sample_fees": np.zeros(0),
    }
    assert len(nt.Result(**right).fills) == 2
    for name, wrong in (
        ("fill_rows", np.zeros(2, ORDER)),
        ("fill_fees", np.zeros(3)),
        ("sample_fees", np.zeros(1)),
        ("order_rows", np.zeros((2, 2))),
    ):
        with pytest.raises(ValueError, match=r"expected|one fee for each"):
            nt.Result(**{**right, name: wrong})


# --- what it says of itself -----------------------------------------------------------------------------------
def test_where_it_comes_from(tape, result):
    """Strategy, parameters, configuration, tape and versions of the run."""
    assert (result.strategy, result.parameters["half_spread"]) == ("market_maker", nt.market_maker.defaults["half_spread"])
    assert run(tape, half_spread=2).parameters["half_spread"] == 2
    c = result.configuration
    assert (c["latency"]["entry"], c["fees"]["maker"], c["fill_rule"], c["max_orders"]) == ("1ms", -0.1, "fifo", 64)
    assert (c["sample"], c["at_close"], c["risk"]["max_order"], c["instrument"]["currency"]) == (10**9, "carry", 0, "USD")
    (session,) = result.sessions
    assert (session.path, session.content_hash, session.n_rows) == (str(tape.path), tape.content_hash, len(tape))
    assert (session.first_ts, session.last_ts) == (tape.ts_recv[0], tape.ts_recv[-1])
    assert set(result.info.versions) == {"nbtrade", "numba", "numpy", "python"}


def test_columns(result):
    """Sizes in lots, prices in currency, ticks under px: nothing outside is called qty."""
    assert list(result.fills.columns) == ["order_id", "side", "price", "px", "size", "maker", "fee", "row", "average_price", "realised"]
    assert list(result.orders.columns) == [
        "sent",
        "arrived",
        "done",
        "side",
        "type",
        "price",
        "px",
        "size",
        "filled",
        "state",
        "reason",
        "ahead",
    ]
    assert list(result.equity.columns) == ["mid", "position", "gross", "fees", "net", "realised"]
    assert not any("qty" in name for name in result.summary.index)


def test_prices_are_the_tapes(tape, result):
    """Prices are the floats nearest to the true ones, as the tape gives them."""
    assert (result.fills["price"] == tape.price(result.fills["px"].to_numpy())).all()
    many = nt.Result.from_frames(fills={"ts": range(99), "side": ["B"] * 99, "px": range(1, 100), "size": [1] * 99}, tick=0.01)
    assert many.fills["price"].tolist() == [k / 100 for k in range(1, 100)]


def test_another_tape_is_refused(tape, result, tmp_path):
    """An order is explained by the tape of the run alone."""
    other = nt.ingest(synthetic.write_dbn(tmp_path / "other.dbn", 5_000, seed=9), progress=False)
    assert len(result.explain(0, tape)) > 1
    with pytest.raises(StrategyError, match="not the tape of the run: its content differs"):
        result.explain(0, other)
    made = nt.Result.from_frames(fills=FILLS, orders={"side": ["B"], "price": [100.0], "size": [2]}, tick=0.5)
    with pytest.raises(StrategyError, match="made from frames"):
        made.explain(0, tape)


# --- saved and loaded ----------------------------------------------------------------------------------------
def test_saved_results_are_equal(tape, tmp_path):
    """Hash, metrics, frames, state, parameters, and everything else, of every kind of result."""
    for name, one in kinds(tape).items():
        loaded = nt.load_result(one.save(tmp_path / name))
        assert type(loaded) is type(one)
        assert (loaded == one, loaded.hash) == (True, one.hash), name
        for frame in ("fills", "orders", "equity", "records"):
            pd.testing.assert_frame_equal(getattr(loaded, frame), getattr(one, frame))
        assert loaded.summary.equals(one.summary)
        for a, b in zip(parts(loaded), parts(one), strict=True):
            assert json.dumps(a.info.to_json()) == json.dumps(b.info.to_json())
            assert a.final_state.dtype == b.final_state.dtype
            assert (a.configuration["sample"], repr(a)) == (b.configuration["sample"], repr(b)) if b.configuration else True
    idle_again = nt.load_result(tmp_path / "idle")
    assert np.isnan(idle_again.parameters["level"])
    assert idle_again.final_state["deep"][1, 2] == idle_again.n_wakes > 0


def parts(one):
    return list(one.values()) if isinstance(one, nt.Results) else [one]


def test_other_tools_read_it(saved, result):
    """Plain Parquet with times as timestamps, and plain JSON."""
    fills = pd.read_parquet(saved / "fills.parquet")
    assert str(fills["ts"].dtype) == "datetime64[ns, UTC]"
    assert fills["px"].tolist() == result.fill_rows["px"].tolist()
    assert fills["fee"].tolist() == result.fills["fee"].tolist()
    assert json.loads((saved / "metadata.json").read_text())["format_version"] == 1


def test_saved_beside_others(result, saved, tmp_path):
    """An existing folder stays unless it is a result and replace=True; nothing else is ever replaced, and no leftovers remain."""
    with pytest.raises(ResultExists, match="already exists"):
        result.save(saved)
    precious = tmp_path / "webapp"
    precious.mkdir()
    (precious / "metadata.json").write_text('{"format": "my own"}')
    (tmp_path / "file").write_text("precious")
    for path in (precious, tmp_path / "file"):
        with pytest.raises(ResultExists, match="not a result"):
            result.save(path, replace=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResultExists):
        result.save(tmp_path / "link")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        result.save(tmp_path / "no" / "folder")
    other = nt.Result.from_frames(fills=FILLS, tick=0.5)
    other.save(saved, replace=True)
    assert nt.load_result(saved) == other
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "saved", "webapp"]


def test_a_failed_save_leaves_nothing(tape, tmp_path):
    """An object among the parameters is refused by name, and no folder is left."""
    odd = nt.Result.from_frames(fills=FILLS, tick=0.5, parameters={"model": object()})
    with pytest.raises(ResultError, match=r"parameters\['model'\] is <object"):
        odd.save(tmp_path / "odd")
    assert os.listdir(tmp_path) == []


def edit(folder, change):
    path = folder / "metadata.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def rewritten(folder, name, change):
    """Another table under the right checksum."""
    path = folder / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    import xxhash

    edit(folder, lambda m: m["xxh3_128"].update({name: xxhash.xxh3_128_hexdigest(path.read_bytes())}))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def no_parquet(folder):
    import xxhash

    (folder / "fills.parquet").write_bytes(pickle.dumps([1]))
    edit(folder, lambda m: m["xxh3_128"].update(fills=xxhash.xxh3_128_hexdigest(pickle.dumps([1]))))


DAMAGE = {
    "no metadata": (lambda f: (f / "metadata.json").unlink(), "has no metadata.json"),
    "no JSON": (lambda f: (f / "metadata.json").write_text("{"), "cannot be read"),
    "a list": (lambda f: (f / "metadata.json").write_text("[]"), '"format" is not'),
    "deep": (lambda f: (f / "metadata.json").write_text("[" * 10**6), "cannot be read"),
    "another format": (lambda f: edit(f, lambda m: m.update(format="tape")), '"format" is not'),
    "a newer version": (lambda f: edit(f, lambda m: m.update(format_version=2)), "result format 2, this nbtrade reads 1"),
    "an odd version": (lambda f: edit(f, lambda m: m.update(format_version=True)), "result format True"),
    "no info": (lambda f: edit(f, lambda m: m.pop("info")), "metadata.json: info"),
    "a field less": (lambda f: edit(f, lambda m: m["info"].pop("symbol")), r"missing fields \['symbol'\]"),
    "a field more": (lambda f: edit(f, lambda m: m["info"].update(x=1)), r"unknown fields \['x'\]"),
    "no tick": (lambda f: edit(f, lambda m: m["info"].update(tick_units="1")), "tick_units is '1', not int"),
    "tick 0": (lambda f: edit(f, lambda m: m["info"].update(tick_units=0)), "must be positive"),
    "odd session": (lambda f: edit(f, lambda m: m["info"].update(sessions=[1])), "sessions holds int"),
    "no dtypes": (lambda f: edit(f, lambda m: m.update(dtypes=[])), "dtypes and xxh3_128 must be objects"),
    "objects": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "|O", []]])), "dtypes: state is"),
    "huge": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "<i8", [2**40]]])), "dtypes: state is"),
    "twice": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "<i8", []]] * 2)), "dtypes: state"),
    "records": (lambda f: edit(f, lambda m: m["dtypes"].update(records=[["t", "<i8", []]])), "records.parquet has the columns"),
    "a file less": (lambda f: (f / "orders.parquet").unlink(), "orders.parquet cannot be read"),
    "a flipped byte": (lambda f: flip(f / "fills.parquet"), "checksum differs"),
    "no Parquet": (no_parquet, "is not a Parquet file"),
    "a column less": (lambda f: rewritten(f, "fills", lambda t: t.drop_columns(["px"])), "fills.parquet has the columns"),
    "no fee": (lambda f: rewritten(f, "fills", lambda t: t.drop_columns(["fee"])), "column fee is missing"),
    "another order": (lambda f: rewritten(f, "fills", lambda t: t.select(t.column_names[::-1])), "fills.parquet has the columns"),
    "another type": (lambda f: rewritten(f, "orders", lambda t: cast(t, "px", pa.int64())), "column px is int64; expected int32"),
    "times as text": (lambda f: rewritten(f, "fills", lambda t: cast(t, "ts", pa.string())), "column ts is string"),
    "nulls": (lambda f: rewritten(f, "fills", lambda t: nulled(t, "px")), "column px has empty values"),
    "two accounts": (lambda f: rewritten(f, "account", lambda t: pa.concat_tables([t, t])), "2 rows instead of one"),
    "a code": (lambda f: rewritten(f, "orders", lambda t: filled(t, "kind", 77)), "column kind, row 0 is 77; codes are 0 to 6"),
    "a negative code": (lambda f: rewritten(f, "fills", lambda t: filled(t, "side", -1)), "column side, row 0 is -1"),
    "backwards": (lambda f: rewritten(f, "orders", lambda t: t.take(list(range(t.num_rows))[::-1])), "row 1 is not in order of id"),
    "no account": (lambda f: rewritten(f, "account", lambda t: t.slice(0, 0)), "0 rows instead of one"),
}


def filled(table, name, value):
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array([value] * table.num_rows, table.schema.field(name).type))


def cast(table, name, kind):
    return table.set_column(table.column_names.index(name), name, table.column(name).cast(kind))


def nulled(table, name):
    at = table.column_names.index(name)
    return table.set_column(
        at, table.schema.field(name).with_nullable(True), pa.array([None] * table.num_rows, table.schema.field(name).type)
    )


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(saved, damage):
    """What is wrong, and in which file: always our own error."""
    change, words = DAMAGE[damage]
    change(saved)
    with pytest.raises(ResultError, match=words):
        nt.load_result(saved)


def test_what_is_no_folder(tmp_path):
    """A missing folder, a file, a tape."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path / "file", tmp_path):
        with pytest.raises(ResultError, match=r"has no metadata\.json"):
            nt.load_result(path)


def test_several_are_checked_too(pair, tmp_path):
    """Names are data, not paths; a missing instrument and odd names are refused."""
    folder = pair.save(tmp_path / "pair")
    assert sorted(os.listdir(folder)) == ["0", "1", "metadata.json"]
    assert os.listdir(tmp_path) == ["pair"]
    assert list(nt.load_result(folder)) == ["ES", "../NQ"]
    shutil.rmtree(folder / "1")
    with pytest.raises(ResultError, match=r"1 is not a saved result"):
        nt.load_result(folder)
    for names in (["ES", "ES"], [1], "ES", {"0": "ES"}):
        edit(folder, lambda m, names=names: m.update(instruments=names))
        with pytest.raises(ResultError, match="instruments is"):
            nt.load_result(folder)
    with pytest.raises(ResultError, match="a name is text"):
        nt.Results({1: pair["ES"]}).save(tmp_path / "odd")


def test_without_pyarrow(result, saved, tmp_path, monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for action in (
        lambda: result.save(tmp_path / "x"),
        result.to_arrow,
        lambda: result.to_parquet(tmp_path / "y"),
        lambda: nt.load_result(saved),
    ):
        with pytest.raises(ImportError, match=r"nbtrade\[parquet\]"):
            action()
    assert os.listdir(tmp_path) == ["saved"]


# --- tables ------------------------------------------------------------------------------------------------
def test_tables_are_the_frames(tape, tmp_path):
    """to_arrow and to_parquet have the frames' columns, the index first; written again they are replaced."""
    for name, one in kinds(tape).items():
        tables = one.to_arrow()
        assert list(tables) == ["fills", "orders", "equity", "records"]
        folder = one.to_parquet(tmp_path / name)
        assert one.to_parquet(tmp_path / name) == folder
        assert sorted(os.listdir(folder)) == ["equity.parquet", "fills.parquet", "orders.parquet", "records.parquet"]
        for frame, table in tables.items():
            expected = getattr(one, frame).reset_index()
            assert table.column_names == list(expected.columns)
            assert table.num_rows == len(expected)
            assert pq.read_table(folder / f"{frame}.parquet").equals(table)


# --- from frames -------------------------------------------------------------------------------------------
def test_a_results_frames_make_it_again(result):
    """Its own frames give the same frames and, but for counts only the engine has, the same summary."""
    options = {"symbol": result.symbol, "tick": result.tick, "multiplier": 50, "currency": "USD"}
    bid, ask = int(result.market["bid_px"]), int(result.market["ask_px"])
    frames = {name: getattr(result, name) for name in ("fills", "orders", "equity", "records")}
    again = nt.Result.from_frames(**frames, **options, mid=(bid + ask) / 2 * result.tick)
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(getattr(again, name), frame, check_dtype=False)
    inside = ["n_wakes", "n_rows", "n_late", "n_refused"]
    pd.testing.assert_series_equal(again.summary.drop(inside).astype(float), result.summary.drop(inside).astype(float))
    fewer = nt.Result.from_frames(fills=result.fills, equity=result.equity[["mid"]], **options)
    pd.testing.assert_frame_equal(fewer.equity, result.equity, check_dtype=False)


def test_fills_alone():
    """Fills are enough; the order of rows, names of sides and kinds of times do not matter."""
    one = nt.Result.from_frames(fills=FILLS, tick=0.25, mid=101.125, multiplier=2)
    assert one.summary["net_pnl"] == pytest.approx((0.5 + 1.125) * 2)
    assert (one.summary["position"], one.summary["realised_pnl"], one.summary["traded_size"]) == (1, 1.0, 3)
    assert np.isnan(nt.Result.from_frames(fills=FILLS, tick=0.25).summary["net_pnl"])
    stamps = pd.to_datetime(FILLS["ts"]).tz_localize("UTC").tz_convert("Europe/Berlin")
    for fills in (
        pd.DataFrame(FILLS).iloc[::-1],
        pd.DataFrame(FILLS).set_index("ts"),
        pd.DataFrame({**FILLS, "ts": stamps}),
        pd.DataFrame(FILLS, index=stamps).drop(columns="ts"),
        {**FILLS, "ts": stamps.tz_convert("UTC").as_unit("ns").asi8},
        {**FILLS, "side": ["buy", "sell"]},
        {**FILLS, "side": [0, 1]},
        {**{k: v for k, v in FILLS.items() if k != "price"}, "px": [400, 402]},
    ):
        again = nt.Result.from_frames(fills=fills, tick="1/4", mid=101.125, multiplier=2)
        assert again.fills.drop(columns="order_id").equals(one.fills.drop(columns="order_id"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price": [100.0, 100.1]}, r"fills: price 100.1 at index 1 is not a multiple of the tick"),
        ({"price": [100.0, np.nan]}, r"fills: column price, row 1 is .*nan.*expected a price"),
        ({"price": [100.0, 1e12]}, r"column price, row 1"),
        ({"size": [1, 0]}, r"column size, row 1 is .*0.*: expected a whole number from 1"),
        ({"size": [1.5, 1]}, r"column size, row 0"),
        ({"size": [1, 2**40]}, r"column size, row 1"),
        ({"size": ["a", "b"]}, r"column size is not numeric"),
        ({"side": ["B", "X"]}, r"column side, row 1 is 'X'"),
        ({"ts": ["noon", "x"]}, r"column ts"),
        ({"ts": [None, "2025-01-06"]}, r"column ts, row 0 .*expected a time"),
        ({"fee": [0.1, np.inf]}, r"column fee, row 1"),
        ({"maker": [2, 0]}, r"column maker, row 0"),
        ({"size": [1, 2, 3]}, r"fills: "),
        ({"side": None}, r"column side, row 0"),
    ],
)
def test_bad_fills(change, words):
    """The column, the row and what was expected."""
    with pytest.raises(ResultError, match=words):
        nt.Result.from_frames(fills={**FILLS, **change}, tick=0.25)


def test_other_bad_frames():
    """Missing columns, other things than frames, and contradictions."""
    for options, words in (
        ({"fills": {"ts": []}}, "no column side, size"),
        ({"fills": 3}, "fills is int"),
        ({"fills": FILLS, "equity": {"ts": [1]}}, "equity has no column mid"),
        ({"fills": FILLS, "equity": {"ts": [1], "mid": [100.1]}}, "half a tick"),
        (
            {"fills": FILLS, "orders": {"order_id": [1, 1], "side": ["B"] * 2, "price": [1.0] * 2, "size": [1] * 2}},
            "order_id 1 occurs twice",
        ),
        ({"fills": FILLS, "orders": {"side": ["B"], "price": [1.0], "size": [1], "filled": [2]}}, "at most the order's size"),
        ({"fills": FILLS, "orders": {"side": ["B"], "price": [1.0], "size": [1], "state": ["gone"]}}, "column state, row 0 is 'gone'"),
        ({"fills": FILLS, "records": {"fair": [1.0]}}, "records has no column ts"),
        ({"fills": FILLS, "tick": 0}, "tick=0"),
        ({"fills": FILLS, "tick": "x"}, "tick='x'"),
        ({"fills": FILLS, "tick": 1e-12}, "tick=1e-12"),
        ({"fills": FILLS, "multiplier": -1}, "multiplier=-1"),
        ({"fills": FILLS, "symbol": 3}, "symbol=3"),
        ({"fills": FILLS, "mid": 0.1}, "half a tick"),
    ):
        with pytest.raises(ResultError, match=words):
            nt.Result.from_frames(**{"tick": 0.25, **options})


# --- several instruments -------------------------------------------------------------------------------------
def test_results_have_all_that_a_result_has(pair, tape):
    """Frames with the instrument's name, and the same methods."""
    public = {name for name in dir(nt.Result) if not name.startswith("_")}
    inside = public & set(dir(nt.ResultData)) - {"fills", "orders", "equity", "records", "hash", "currency"}
    assert public - inside - {"from_frames"} <= set(dir(nt.Results))
    for name in ("fills", "orders", "equity", "records"):
        frame = getattr(pair, name)
        assert frame.columns[0] == "instrument"
        for instrument, one in pair.items():
            mine = frame[frame["instrument"] == instrument].drop(columns="instrument")
            assert mine.equals(getattr(one, name))
    assert pair.fills.index.is_monotonic_increasing
    assert list(pair.summary.columns) == list(pair.refusals.columns) == ["ES", "../NQ"]
    assert pair.markouts(["1s"]).loc[("ES", "maker")].equals(pair["ES"].markouts(["1s"]).loc["maker"])
    order = int(pair["ES"].order_rows["id"][0])
    assert pair.explain("ES", order, tape).equals(pair["ES"].explain(order, tape))
    with pytest.raises(ResultError, match="there is no instrument 'CL'"):
        pair.explain("CL", 0, tape)
    assert "ES" in repr(pair)
    assert repr(nt.Results()).startswith("<Results of no instruments>")
    with pytest.raises(ResultError, match="no instruments"):
        _ = nt.Results().fills


def test_totals_are_sums(pair):
    """Money of one currency is added."""
    assert pair.totals["net_pnl"] == pytest.approx(sum(one.summary["net_pnl"] for one in pair.values()))
    assert pair.total_equity["net"].iloc[-1] == pytest.approx(sum(one.equity["net"].iloc[-1] for one in pair.values()))


def test_currencies_are_never_added(tape, tmp_path):
    """Dollars and yen: no totals, with both named; frames, plots and reports have each by itself."""
    money = {"A": nt.Instrument(currency="USD"), "B": nt.Instrument(currency="JPY")}
    mixed = run({"A": tape, "B": tape}, both, instrument=money)
    for action in (lambda: mixed.total_equity, lambda: mixed.totals, lambda: mixed.currency):
        with pytest.raises(ResultError, match="A USD, B JPY"):
            action()
    assert set(mixed.equity["instrument"]) == {"A", "B"}
    pytest.importorskip("matplotlib")
    assert [axes.get_ylabel() for axes in mixed.plot().axes[-2:]] == ["PnL, A, USD", "PnL, B, JPY"]
    assert "net_pnl" in mixed.report(tmp_path / "mixed.html").read_text()


def test_results_are_equal_by_name_and_value(pair, tape):
    """Equal names and results; another name, one less, or another result is another."""
    again = run({"ES": tape, "../NQ": tape}, both)
    assert (again == pair, again.hash == pair.hash) == (True, True)
    renamed = nt.Results({"ES": again["ES"], "NQ": again["../NQ"]})
    for other in (renamed, nt.Results({"ES": again["ES"]}), run({"ES": tape, "../NQ": tape}, both, half=2)):
        assert other != pair
        assert other.hash != pair.hash


def test_plots_and_reports_of_several(pair, tmp_path):
    """One figure, one page: each instrument's price and position, the PnL of all."""
    pytest.importorskip("matplotlib")
    labels = [axes.get_ylabel() for axes in pair.plot(tmp_path / "pair.png").axes]
    assert labels == ["price", "price", "ES, lots", "../NQ, lots", "PnL, currency"]
    page = pair.report(tmp_path / "pair.html").read_text()
    assert page.count("<h1>") == 3
    assert page.count("data:image/png") == 3


# --- documentation -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["metrics", "result", "results", "data", "saving", "run_info"])
def test_examples_run(name):
    """The examples of docstrings are true."""
    module = importlib.import_module(f"nbtrade.results.{name}")
    assert doctest.testmod(module).failed == 0


def test_saved_format_is_documented():
    """The files that the module's docstring names are those that are written."""
    for name in (*saving.ATTRIBUTES, *saving.FREE_TABLES):
        assert name in saving.__doc__
