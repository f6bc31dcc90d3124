"""A result is data: built, compared and copied without loss, with its origin."""

import copy
import pickle

import numpy as np
import pytest

import nbtrade as nt
import result_cases
from nbtrade import synthetic
from nbtrade.errors import StrategyError
from nbtrade.schema import FILL, ORDER
from result_cases import FILLS, kinds, run


@pytest.fixture(scope="module")
def tape():
    return result_cases.tape()


@pytest.fixture(scope="module")
def result():
    return result_cases.result()


# --- equality ----------------------------------------------------------------------------------------------
def test_equal_runs_are_equal(tape, result):
    """A repeated run is equal; one with another parameter, fee, multiplier or symbol is not, nor is an object of another type."""
    again = run(tape, instrument=nt.Instrument(multiplier=50, currency="USD"))
    assert again == result
    assert again is not result
    assert len({again, result}) == 1
    for other in (
        run(tape, params={"half_spread": 2}, instrument=nt.Instrument(multiplier=50, currency="USD")),
        run(tape, instrument=nt.Instrument(multiplier=50)),
        run(tape, instrument=nt.Instrument(multiplier=5, currency="USD")),
        run(tape, fees=nt.Fees(), instrument=nt.Instrument(multiplier=50, currency="USD")),
        result.summary.to_dict(),
        None,
    ):
        assert result != other


def test_fees_are_no_part_of_the_hash(tape):
    """Hashes cover events; equality covers money too."""
    free, dear = run(tape, fees=nt.Fees()), run(tape)
    assert free.hash == dear.hash
    assert free != dear


def test_straight_from_the_source_is_equal(tape):
    """A run from the file equals the run from its tape, in spite of its other origin."""
    file = tape.path.with_suffix(".dbn")
    one, other = run(tape), run(file)
    assert one == other
    assert one.sessions != other.sessions


def test_copies_are_equal(tape):
    """Pickled and deep-copied results are equal, in every protocol, and so are their frames and summaries."""
    for name, one in kinds().items():
        _ = one.summary
        for other in (copy.deepcopy(one), copy.copy(one), *(pickle.loads(pickle.dumps(one, k)) for k in range(2, 6))):
            assert other == one, name
            assert type(other) is type(one)
            assert other.hash == one.hash
            assert other.fills.equals(one.fills)
            assert other.summary.equals(one.summary)


def test_arrays_are_read_only(result):
    """A result cannot be changed by accident; its frames are copies."""
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
    """A wrong dtype, and fees that are not one per fill, are refused."""
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
        with pytest.raises(ValueError, match=r"expected|pass one fee per"):
            nt.Result(**{**right, name: wrong})


# --- provenance -----------------------------------------------------------------------------------
def test_where_it_comes_from(tape, result):
    """Strategy, parameters, configuration, tape and versions of the run."""
    assert (result.strategy, result.parameters["half_spread"]) == ("market_maker", nt.market_maker.params.initial["half_spread"][0])
    assert run(tape, params={"half_spread": 2}).parameters["half_spread"] == 2
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
        "time_in_force",
        "post_only",
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


def test_instructions_of_orders_come_back():
    """Type, time in force and post-only go into a frame and out of it; a market order without a time in force is IOC."""
    fills = {"ts": [1], "side": ["B"], "px": [1], "size": [1]}
    given = {
        "side": ["B"] * 4,
        "size": [1] * 4,
        "type": ["limit", "limit", "market", "market"],
        "time_in_force": ["day", "gtc", "gtc", "fok"],
        "post_only": [True, False, False, False],
        "px": [1] * 4,
    }
    orders = nt.Result.from_frames(fills=fills, orders=given, tick=0.01).orders
    assert orders["time_in_force"].tolist() == ["day", "gtc", "ioc", "fok"]
    assert orders["post_only"].tolist() == [True, False, False, False]
    again = nt.Result.from_frames(fills=fills, orders=orders.reset_index(), tick=0.01).orders
    names = ["type", "time_in_force", "post_only"]
    assert again[names].equals(orders[names])


def test_prices_are_the_tapes(tape, result):
    """Prices are the floats nearest to the true prices, as in the tape."""
    assert (result.fills["price"] == tape.price(result.fills["px"].to_numpy())).all()
    many = nt.Result.from_frames(fills={"ts": range(99), "side": ["B"] * 99, "px": range(1, 100), "size": [1] * 99}, tick=0.01)
    assert many.fills["price"].tolist() == [k / 100 for k in range(1, 100)]


def test_another_tape_is_refused(tape, result, tmp_path):
    """An order is explained only by the tape of the run."""
    other = nt.ingest(synthetic.write_dbn(tmp_path / "other.dbn", 5_000, seed=9), progress=False)
    assert len(result.explain(0, tape)) > 1
    with pytest.raises(StrategyError, match="not the tape of the run: its content differs"):
        result.explain(0, other)
    made = nt.Result.from_frames(fills=FILLS, orders={"side": ["B"], "price": [100.0], "size": [2]}, tick=0.5)
    with pytest.raises(StrategyError, match="made from frames"):
        made.explain(0, tape)
