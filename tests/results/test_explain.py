"""`result.explain`: every order's queue equals the oracle's at every moment."""

from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model_backtest
import scripted_engine
from model_backtest import backtest_days
from model_cases import ask, bid
from model_exchange import Exchange
from nbtrade.engine import backtest
from nbtrade.engine.outcome import result_of
from nbtrade.errors import StrategyError
from nbtrade.schema import FILL_RULES
from random_market import script_of
from rules import START, buy, cancel, executed, gone, replace
from scripted import play
from test_random_scripts import days_of, seeds, setups, tape_of
from test_sessions import MONDAY, SETUP, TUESDAY

RULES = st.sampled_from(("fifo", *FILL_RULES))


class Noting(Exchange):
    """Records each resting order's `ahead` at the end of each moment: {(order, ts): ahead}."""

    ahead: ClassVar = {}

    def event(self, ts, records):
        super().event(ts, records)
        self.note(ts)

    def arrive(self, ts, *message):
        super().arrive(ts, *message)
        self.note(ts)

    def note(self, ts):
        for own in self.orders.values():
            self.ahead.pop((own.id, ts), None)
        self.ahead.update({(own.id, ts): own.ahead for own in self.resting})


def engine_result(days, script, rule, *, flatten=False, **config):
    config = scripted_engine.setup_of([script], rule=rule, **config)
    tapes = [tape_of(records) for records in days]
    return result_of(backtest.run_days(tapes, config, flatten), config, tapes[0].symbol, tapes[0].tick_units), tapes


def at_the_end_of(frame, ts):
    """Return the lots ahead after all steps up to a time."""
    return frame["ahead"][frame["ts"].astype("int64") <= ts].iloc[-1]


@settings(max_examples=150, deadline=None)
@given(seeds=st.lists(seeds, min_size=1, max_size=3), n_events=st.integers(1, 100), n=st.integers(1, 30), rule=RULES, config=setups)
def test_explained_queues_are_the_oracles(seeds, n_events, n, rule, config):
    """After the last time an order joined a queue, its `ahead` equals the oracle's at every moment, and so do its fills and its end."""
    days = days_of(seeds, n_events, 500)
    script = script_of(seeds[0], days[0][0].ts_recv, days[-1][-1].ts_recv + 5, n)
    result, tapes = engine_result(days, script, rule, **config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_backtest, "Exchange", Noting)
        patch.setattr(Noting, "ahead", {})
        expected = backtest_days(days, play(script), tick=1, rule=rule, **config)
        ahead = dict(Noting.ahead)
    for order in expected.orders:
        life = result.explain(order.id, tapes)
        fills = life[life["what"].str.startswith("filled")]
        assert fills[["lots", "px"]].to_numpy().tolist() == [[f.qty, f.px] for f in expected.fills if f.order == order.id]
        begins = beginning(life)
        for (id_, ts), lots in ahead.items():
            if id_ == order.id and ts > begins:
                assert at_the_end_of(life, ts) == lots, (order, ts, life)


def beginning(life):
    """Return the time from which the frame has lots ahead: the arrival, or the first change after a replace."""
    arrived, changed = (life[life["what"].str.startswith(word)] for word in ("arrived", "ahead"))
    if len(arrived) and arrived["ahead"].iloc[0] >= 0:
        return arrived["ts"].iloc[0].value
    return changed["ts"].iloc[0].value - 1 if len(changed) else 2**62


def explained(records, script, order=0, rule="fifo"):
    """Return [(what, lots, ahead)] of an order's life in one session."""
    result, tapes = engine_result([records], script, rule, **SETUP)
    return list(result.explain(order, tapes[0])[["what", "lots", "ahead"]].itertuples(index=False, name=None))


REST = [*START, gone(1, 100, 2, 20), *executed(1, 100, 3, 30), MONDAY[-1]]


def test_a_queue_to_its_fills():
    """Sent, arrived, each change ahead with its cause, and the cause of each fill."""
    records = [*REST[:-1], bid(7, 100, 1, ts=40), *executed(7, 100, 1, 45), ask(8, 100, 9, ts=50), MONDAY[-1]]
    assert explained(records, {10: [buy(100, 3)]}) == [
        ("sent: buy 3", 3, -1),
        ("arrived", 3, 5),
        ("ahead cancelled or reduced", -2, 3),
        ("ahead executed", -3, 0),
        ("filled as maker: an order behind it was executed", 1, 0),
        ("filled as maker: opposite orders reached its price", 2, 0),
    ]


def test_why_it_did_not_fill():
    """The last row shows the lots ahead at the end."""
    assert explained(REST[:-2], {10: [buy(100, 2)]})[-1] == ("at the end: working, 2 lots open, 3 ahead", 0, 3)


def test_nothing_after_its_end():
    """Changes at its price after it was cancelled are not shown."""
    assert explained(REST, {10: [buy(100, 2)], 20: [cancel(0)]})[-2:] == [("ahead cancelled or reduced", -2, 3), ("cancelled: by us", 2, 3)]


def test_a_replace_starts_over():
    """A replace to the back of a queue: the frame shows it, and only the changes since."""
    assert explained(REST, {10: [buy(100, 2)], 20: [replace(0, 100, 4)]})[1:4] == [
        ("arrived", 4, -1),
        ("replaced: to the back of its queue", 4, 3),
        ("ahead executed", -3, 0),
    ]


def test_optimistic_orders_are_first():
    """No lots are ever ahead of them."""
    assert {ahead for *_, ahead in explained(REST, {10: [buy(100, 2)]}, rule="optimistic")} <= {-1, 0}


def test_taker_fills_have_their_price():
    """Each level has a separate row with its price."""
    result, (tape,) = engine_result([MONDAY], {10: [buy(103, 7)]}, "fifo", **SETUP)
    life = result.explain(0, tape)
    assert life[["what", "lots", "px"]].to_numpy().tolist()[2:] == [["filled as taker", 5, 102], ["filled as taker", 2, 103]]


def test_another_tape_is_refused():
    """The row and time of an order must match the tape."""
    result, tapes = engine_result([MONDAY, TUESDAY], {10: [buy(100, 2)]}, "fifo", **SETUP)
    assert result.explain(0, tapes)["ahead"].iloc[-1] == 5
    with pytest.raises(StrategyError, match="it is not the tape of the run"):
        result.explain(0, tapes[0])
