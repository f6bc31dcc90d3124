"""What a strategy declares: read-only params, state, and the fields that it records."""

import math

import numpy as np
import pytest

import child
import nbtrade as nt
from nbtrade import synthetic
from nbtrade.engine import instrument_state, recording
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.errors import StrategyError
from streams import tape_of
from test_strategy_arguments import strategy_taking


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Five seconds of a market."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("params"))


# --- params and state --------------------------------------------------------------------------------------
def test_dtypes_of_examples():
    """Numbers, flags and arrays get the dtype of their value; dtypes are used unchanged."""
    declared = {
        "i": 1,
        "f": 1.0,
        "b": True,
        "pair": (1.0, 2),
        "ints": [1, 2, 3],
        "flags": (True, False),
        "grid": np.arange(6, dtype="i4").reshape(2, 3),
        "small": np.float32(0.5),
        "text": "u2",
        "array": "(4,)f8",
        "type": np.int16,
        "dtype": np.dtype("f4"),
        "swapped": np.array([1, 2], ">i4"),
    }
    fields = nt.strategy(params=declared)(lambda: None).params
    assert {name: fields.dtype[name].base.str[1:] for name in declared} == {
        "i": "i8", "f": "f8", "b": "u1", "pair": "f8", "ints": "i8", "flags": "u1", "grid": "i4", "small": "f4", "text": "u2",
        "array": "f8", "type": "i2", "dtype": "f4", "swapped": "i4",
    }  # fmt: skip
    assert fields.dtype["grid"].shape == (2, 3)
    assert fields.values(fields.initial[0]) == {
        "i": 1, "f": 1.0, "b": True, "pair": [1.0, 2.0], "ints": [1, 2, 3], "flags": [1, 0], "grid": [[0, 1, 2], [3, 4, 5]],
        "small": 0.5, "text": 0, "array": [0.0] * 4, "type": 0, "dtype": 0.0, "swapped": [1, 2],
    }  # fmt: skip


@nt.strategy(wake="1s", params={"lots": 1, "rate": 1.0, "on": True, "curve": (1.0, 2.0), "small": np.uint8(3)}, state={"sum": 0.0})
def adding(params, state):
    if params.on:
        state.sum += params.lots * params.rate + params.curve[0] + params.curve[1] + params.small


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lots": 0.5}, r"0\.5 does not fit params 'lots' \(int64\): the field is an integer.*write 1\.0 in params"),
        ({"lots": np.float64(2.5)}, "write 1.0"),
        ({"lots": math.nan}, "out of the range"),
        ({"lots": math.inf}, "out of the range"),
        ({"lots": 2**63}, "out of the range"),
        ({"lots": -(2**63) - 1}, "beyond the range"),
        ({"lots": 1e300}, "out of the range"),
        ({"lots": "3"}, "text is not a number"),
        ({"lots": None}, "None has no dtype"),
        ({"lots": (1, 2)}, r"its shape is \(2,\)"),
        ({"lots": 1j}, "not a number"),
        ({"rate": "f8"}, "text is not a number"),
        ({"rate": None}, "None has no dtype"),
        ({"small": 256}, "out of the range of uint8"),
        ({"small": -1}, "out of the range of uint8"),
        ({"on": 2}, "True or False"),
        ({"on": 0.5}, "integer"),
        ({"curve": 1.0}, r"its shape is \(\), that of the field \(2,\)"),
        ({"curve": (1, 2, 3)}, r"\(3,\)"),
        ({"curve": (1.0, "a")}, "not a number"),
        ({"lotz": 1}, "adding has no parameter 'lotz'. Its params: lots, rate, on, curve, small"),
        ({"sum": 1}, "adding has no parameter 'sum'"),
        ({"_": 1}, "no parameter '_'"),
    ],
)
def test_a_value_that_does_not_fit(tape, values, words):
    """Runs, copies and sweeps refuse it before anything runs."""
    for call in (
        lambda: nt.backtest(tape, adding, params=values),
        lambda: adding.with_(**values),
        lambda: nt.sweep(tape, adding, [{"lots": 1}, values]),
    ):
        with pytest.raises(StrategyError, match=words):
            call()


def test_params_reach_the_strategy(tape):
    """Values of every kind, by `backtest`, `with_` and a sweep; the strategy itself keeps its own."""
    n = nt.backtest(tape, adding).n_wakes
    total = {"lots": np.int32(2), "rate": 3, "on": 1, "curve": np.array([1, 5]), "small": 4.0}
    assert nt.backtest(tape, adding, params=total).final_state["sum"] == 16 * n
    assert nt.backtest(tape, adding.with_(**total)).final_state["sum"] == 16 * n
    assert nt.backtest(tape, adding.with_(**total), params={"on": False}).final_state["sum"] == 0
    assert nt.backtest(tape, adding).final_state["sum"] == 7 * n
    assert nt.backtest(tape, adding, params=total).parameters == {"lots": 2, "rate": 3.0, "on": True, "curve": [1.0, 5.0], "small": 4}


OPTIONS = ("start", "end", "tick", "sample", "tape", "features", "latency", "symbol", "self", "data", "size", "copy", "dtype", "shape", "T")


def test_names_of_options(tape):
    """Fields may be called like an option, a column of the table, or an attribute of NumPy's."""
    values = {name: k + 1 for k, name in enumerate((*OPTIONS, "net_pnl", "net_pnl_result", "n_fills", "fill_rule"))}
    body = "; ".join(f"state.{name} = params.{name} + state.{name} * 0" for name in values)
    scope = {}
    exec(f"def named(params, state):\n    {body}\n", scope)
    named = nt.strategy(wake="1s", params=dict.fromkeys(values, 0), state=dict.fromkeys(values, 0))(scope["named"])
    state = nt.backtest(tape, named, params=values, sample="500ms").final_state
    assert {name: int(state[name]) for name in values} == values
    table = nt.sweep([tape, tape], named, [values])
    assert {name: int(table[name][1]) for name in values} == values
    assert table.columns.is_unique
    assert {"tape_result", "net_pnl_result_result", "n_fills_result"} <= set(table.columns)
    assert named.with_(**values).params.values(named.with_(**values).params.initial[0]) == values


def test_arrays_are_copied_for_each_account(tape):
    """The declared array and those of other accounts do not change."""
    start = np.array([1.0, 2.0])

    @nt.strategy(wake="1s", params={"by": 0.0}, state={"window": start, "pair": [3, 4]})
    def shifting(params, state):
        state.window[0] += params.by
        state.pair[1] += 1

    config = new_config(shifting, [{"by": 0.0}, {"by": 1.0}, {"by": 2.0}])
    simulation = run_tapes([tape], config)
    n = int(simulation.run["n_wakes"][0])
    assert simulation.states["window"].tolist() == [[1.0, 2.0], [1.0 + n, 2.0], [1.0 + 2 * n, 2.0]]
    assert simulation.states["pair"].tolist() == [[3, 4 + n]] * 3
    assert start.tolist() == [1.0, 2.0]
    start[0] = 9.0
    assert nt.backtest(tape, shifting).final_state["window"].tolist() == [1.0, 2.0]


def test_params_that_changed_anyway(tape):
    """Whatever wrote to them: the run is an error, and says which values."""
    config = new_config(adding, [{}, {"lots": 4}])
    simulation = config.simulation([nt.tape.book_snapshot.book_arrays(tape)], [tape.tick_units])
    simulation.params["lots"][1] = 5
    instrument = simulation.instruments[0]
    instrument.feed(tape.events, tape.ts_event, tape.ts_recv, 0)
    with pytest.raises(StrategyError, match=r"changed its params \(account 1\).*'lots': 4.*'lots': 5"):
        simulation.go(final=True)


def test_unknown_params_of_a_sweep(tape):
    """The error names the unknown parameter and lists the existing ones, before anything runs."""
    with pytest.raises(StrategyError, match=r"adding has no parameter 'lot'. Its params: lots, rate"):
        nt.sweep(tape, adding, {"lot": [1]})
    table = nt.sweep(tape, adding, [{"lots": 2}, {"rate": 3.0}], params={"on": False})
    assert table[["lots", "rate"]].to_numpy().tolist() == [[2, 1.0], [1, 3.0]]


# --- records -----------------------------------------------------------------------------------------------
@nt.strategy(wake="100ms", params={"every": 2}, state={"n": 0}, record=["fair", "spread", "own_nan"])
def recording_some(market, params, state, record):
    state.n += 1
    if state.n % params.every == 0:
        record.fair = 1.0
        record.fair = market.bid_px  # the last assignment counts
    if state.n % (3 * params.every) == 0:
        record.spread = market.ask_px - market.bid_px
    if state.n % 7 == 0:
        record.own_nan = math.nan


def expected_rows(n, every):
    """(number of the wake, is fair set, is spread set) of each row."""
    wakes = range(1, n + 1)
    return [(i, i % every == 0, i % (3 * every) == 0) for i in wakes if i % every == 0 or i % 7 == 0]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_rows_of_the_wakes_that_set_a_field(tape, every):
    """A row per wake that set any, at its time; other fields are plain NaN; a NaN of the strategy's own makes a row."""
    result = nt.backtest(tape, recording_some, params={"every": every})
    rows = expected_rows(result.n_wakes, every)
    records = result.records
    assert list(records.columns) == ["fair", "spread", "own_nan"]
    first = -(-int(tape.ts_recv[0]) // 100_000_000)
    assert records.index.asi8.tolist() == [(first + i - 1) * 100_000_000 for i, _, _ in rows]
    assert records["fair"].notna().tolist() == [fair for _, fair, _ in rows]
    assert records["spread"].notna().tolist() == [spread for _, _, spread in rows]
    assert records["own_nan"].isna().all()
    nans = result.record_rows["spread"][np.isnan(result.record_rows["spread"])]
    assert set(nans.view(np.int64).tolist()) <= {np.array(np.nan).view(np.int64).item()}


def test_nothing_is_recorded(tape):
    """Without fields, without the argument, or without an assignment there are no rows, and no memory for them."""
    assert nt.backtest(tape, adding).records.shape == (0, 0)
    silent = strategy_taking(["record"], "pass")
    assert nt.backtest(tape, silent).records.shape == (0, 1)
    without = strategy_taking(["market"], "pass")
    config = new_config(without, [{}])
    simulation = run_tapes([tape], config)
    assert len(simulation.recording.log) == 0


@nt.strategy(wake="event", params={"from_": 0}, state={"n": 0}, record=["n"])
def recording_all(params, state, record):
    state.n += 1
    if state.n > params.from_:
        record.n = state.n


@pytest.mark.parametrize("log_rows", [1, 7, 100])
def test_the_log_grows(tape, monkeypatch, log_rows):
    """Rows beyond the log's size are all kept, in order, and nothing is called twice."""
    whole = nt.backtest(tape, recording_all)
    monkeypatch.setattr(recording, "LOG_ROWS", log_rows)
    monkeypatch.setattr(instrument_state, "LOG_ROWS", log_rows)
    pieces = nt.backtest(tape, recording_all)
    assert pieces.records.equals(whole.records)
    assert pieces.records["n"].tolist() == list(range(1, pieces.n_wakes + 1))
    assert len(pieces.records) > 10 * log_rows
    assert pieces == whole


@pytest.mark.parametrize("batch", [100, 333, 10**6])
def test_the_size_of_batches_does_not_matter(tape, batch):
    """Rows that come in pieces give the same records, of several accounts too."""
    sets = [{"from_": 0}, {"from_": 50}, {"from_": 10**6}]
    config = new_config(recording_all, sets)
    simulation = config.simulation([nt.tape.book_snapshot.book_arrays(tape)], [tape.tick_units])
    at, left = 0, 0
    while at < len(tape):
        end = min(len(tape), at + left + batch)
        passed = simulation.feed(tape.events[at:end], tape.ts_event[at:end], tape.ts_recv[at:end], at, end == len(tape))
        if end == len(tape):
            break
        left = end - at - passed
        at += passed
    rows = simulation.recording.rows()
    whole = run_tapes([tape], config).recording.rows()
    assert rows.tobytes() == whole.tobytes()
    assert np.array_equal(np.lexsort((rows["account"], rows["ts"])), np.arange(len(rows)))
    assert np.bincount(rows["account"], minlength=3)[2] == 0


@pytest.mark.parametrize(("workers", "block"), [(1, 1000), (2, 2)])
def test_a_sweep_records_the_chosen_sets(tape, tmp_path, workers, block):
    """The frames of chosen sets are those of separate runs; the table does not depend on the choice."""
    space = {"every": [1, 2, 3, 5, 8]}
    options = {"workers": workers, "block": block, "store": tmp_path / "rows.blocks"}
    plain = nt.sweep(tape, recording_some, space, **options)
    assert "records" not in plain.attrs
    table = nt.sweep(tape, recording_some, space, record=[0, 3], **options)
    assert table.equals(plain)
    assert sorted(table.attrs["records"]) == [0, 3]
    for i, frame in table.attrs["records"].items():
        alone = nt.backtest(tape, recording_some, params={"every": space["every"][i]}).records
        assert frame.equals(alone)
        assert len(frame) > 0
    days = nt.sweep([tape, tape], recording_some, space, record=[1])
    assert sorted(days.attrs["records"]) == [1, 6]
    assert days.attrs["records"][1].equals(days.attrs["records"][6])


def test_a_row_of_an_account_that_is_not_kept(tape):
    """A strategy that reads its record reads the same whether rows are kept or not."""

    @nt.strategy(wake="100ms", params={"k": 0.0}, state={"sum": 0.0}, record=["x"])
    def reading(params, state, record):
        if record.x == record.x:  # set at an earlier wake
            state.sum += 1
        record.x = params.k

    config = new_config(reading, [{"k": 1.0}, {"k": 2.0}], recorded=np.array([False, True]))
    simulation = run_tapes([tape], config)
    assert simulation.states["sum"].tolist() == [0.0, 0.0]
    assert set(simulation.recording.rows()["account"].tolist()) == {1}


@pytest.mark.parametrize("record", [[5], [-1], ["0"], [0.5], "0", 3, [True]])
def test_sets_that_are_not_there(tape, record):
    """Numbers that no set has are refused."""
    with pytest.raises(ValueError, match="record"):
        nt.sweep(tape, recording_some, {"every": [1, 2]}, record=record)
    with pytest.raises(StrategyError, match="adding records nothing"):
        nt.sweep(tape, adding, {"lots": [1]}, record=[0])


@pytest.mark.parametrize("names", ["fair", ["ts"], ["a", "a"], ["a b"], {"fair": 1.0}, [1], 3])
def test_wrong_names(names):
    """Lists of distinct names, none of them that of the time."""
    with pytest.raises(StrategyError, match="record"):
        nt.strategy(record=names)(lambda: None)


def test_several_instruments(tape):
    """One strategy trades them all, so each result has its records."""

    @nt.strategy(wake="100ms", record=["gap"])
    def gap(market, record):
        record.gap = market.on(1).bid_px - market.on(0).bid_px + 1

    results = nt.backtest({"a": tape, "b": tape}, gap)
    assert results["a"].records.equals(results["b"].records)
    assert (results["a"].records["gap"] == 1).all()
    assert len(results["a"].records) == results["a"].n_wakes
    assert len(results.records) == 2 * results["a"].n_wakes


def test_sessions_in_sequence(tape, tmp_path):
    """Records of both sessions, and state that continues."""
    middle = int(tape.ts_recv[len(tape) // 2])
    days = [tape.between(int(tape.ts_recv[0]), middle), tape.between(middle, int(tape.ts_recv[-1]) + 1)]
    result = nt.backtest(days, recording_all)
    assert result.records["n"].tolist() == list(range(1, result.n_wakes + 1))
    again = nt.load_result(result.save(tmp_path / "saved"))
    assert again.records.equals(result.records)
    assert again == result


NO_JIT = """
import sys
sys.path[:0] = ["tests/helpers", "tests/oracle", "tests/engine"]
import nbtrade as nt
from nbtrade.errors import StrategyError
import test_params_and_records as t
from test_strategy_arguments import ROLES, strategy_taking

tape = nt.open_tape(sys.argv[1])
for strategy, params in ((t.recording_some, {"every": 2}), (t.recording_all, {"from_": 9}), (t.adding, {"curve": (2, 3), "lots": 4})):
    result = nt.backtest(tape, strategy, params=params)
    print(result.hash, len(result.records), result.final_state.tolist(), result.parameters)
table = nt.sweep(tape, t.recording_some, {"every": [1, 4]}, record=[1], workers=1)
print(table.attrs["records"][1].to_csv())
t.test_names_of_options(tape)
t.test_arrays_are_copied_for_each_account(tape)
for name in ROLES:
    nt.backtest(tape, strategy_taking([name, *(r for r in ROLES if r != name)], "state.n = params.edge"))
for body in ("params.edge = 1", "p = params; p.edge = 1", "params['edge'] = 1"):
    try:
        nt.backtest(tape, strategy_taking(["params"], body))
        print("nothing raised")
    except StrategyError as error:
        print("cannot be set" in str(error) or "read-only" in str(error))
"""


def test_with_and_without_the_jit(tape, tmp_path):
    """The same rows, states and refusals in plain Python."""
    script = tmp_path / "cases.py"
    script.write_text(NO_JIT)
    compiled, plain = (child.run(script, tape.path, jit=jit) for jit in (True, False))
    assert compiled == plain
    assert compiled[-3:] == ["True"] * 3
