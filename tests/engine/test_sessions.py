"""Sessions in sequence: state that carries over, and state that starts again. tests/engine/test_random_scripts.py has random sessions."""

import numpy as np
import pytest

import nbtrade as nt
import scripted_engine
from model_backtest import backtest_days
from model_cases import ask, bid, rec
from nbtrade import ASK, BID
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import result_of
from rules import START, buy, executed, sell
from scripted import play
from test_random_scripts import assert_equal, tape_of

SETUP = {"wakes": frozenset({"timer"}), "interval": 10, "entry": 1, "response": 1}


def ran(days, script, **config):
    """Return the engine's outcome, after checking that it equals the oracle's."""
    config = {**SETUP, **config}
    looks = []
    expected = scripted_engine.expected(backtest_days(days, play(script, looks), tick=1, **config), looks)
    got = scripted_engine.ran_days([tape_of(records) for records in days], script, **config)
    assert_equal(got, expected, "")
    return got


def later(records, ns):
    return [record._replace(ts_event=record.ts_event + ns, ts_recv=record.ts_recv + ns) for record in records]


MONDAY = [*START, rec("N", ts=60)]
TUESDAY = later(MONDAY, 1000)


def test_orders_that_rest_arrive_again_behind_the_new_queue():
    """A good-till-cancelled order joins the back of the queue again; a DAY order has expired."""
    got = ran([MONDAY, TUESDAY], {10: [buy(100, 2), buy(100, 3, tif="day")]})
    assert [order[-2:] for order in got.orders] == [("working", ""), ("cancelled", "expired")]
    tuesday = next(look for look in got.looks if look.ts == 1010)
    assert tuesday.orders[0][5:7] == (5, 0)  # all 5 lots of the new book's queue are ahead, none behind


def test_an_execution_of_the_same_row_number_fills_in_each_session():
    """Lots shared out at one of Monday's rows are still available at Tuesday's row with the same number."""
    day = [*START, *executed(1, 100, 5, 30), rec("N", ts=60)]
    behind = {10: [buy(100, 5)], 1010: [buy(101, 5)]}
    first = [*START, bid(4, 100, 5, ts=20), *executed(1, 100, 5, 30), *executed(4, 100, 5, 40), rec("N", ts=60)]
    got = ran([first, later([*START, *executed(1, 100, 5, 30)], 1000)], behind)
    assert [(fill.order, fill.qty) for fill in got.fills] == [(0, 5), (1, 5)]
    got = ran([day, later(day, 1000)], {10: [buy(101, 5)], 1010: [buy(101, 5)]})
    assert [(fill.order, fill.qty) for fill in got.fills] == [(0, 5), (1, 5)]


def test_the_first_top_of_a_session_is_a_change():
    """Even if it equals Monday's last top of book."""
    got = ran([MONDAY, TUESDAY], {}, wakes=frozenset({"top"}))
    assert [look.ts for look in got.looks] == [5, 1005]


def test_reports_between_sessions_wake_nobody():
    """A fill reported after Monday's end is known on Tuesday, but Tuesday's first call has only Tuesday's wakes."""
    got = ran([MONDAY, TUESDAY], {60: [buy(102, 1)]}, wakes=frozenset({"timer", "fill", "start"}), entry=0, response=500)
    look = next(look for look in got.looks if look.ts > 100)
    assert (look.ts, look.wake, look.position) == (1005, frozenset({"start"}), 1)


def test_trades_after_the_last_wake_count():
    """Volume, last trade and number of events carry over to the next session, even if no wake saw them."""
    day = [*START, *executed(1, 100, 2, 30), rec("N", ts=60)]
    got = ran([day, TUESDAY], {}, wakes=frozenset({"start"}))
    assert [(look.volume, look.last[:2], look.n_events) for look in got.looks] == [(0, (None, 0), 3), (2, (100, 2), 8)]


def test_the_position_is_closed_at_each_end():
    """With `flatten`, the closing order has its own id and takes no slot."""
    got = ran([MONDAY, TUESDAY], {10: [buy(102, 3)], 1010: [sell(100, 1)]}, flatten=True, capacity=1)
    assert [fill[:2] + fill[3:] for fill in got.fills] == [
        (0, 11, 102, 3, False),
        (1, 60, 100, 3, False),
        (2, 1011, 100, 1, False),
        (3, 1060, 102, 1, False),
    ]
    assert got.totals[0] == 0


def test_a_side_that_is_not_said_is_none():
    """A trade without an aggressor (auction, hidden order) has side -1, not a buyer."""
    got = ran([[*START, rec("T", "N", 101, 3, 0, 30), rec("N", ts=60)], TUESDAY], {})
    assert next(look for look in got.looks if look.ts == 30).last == (101, 3, -1)


def test_what_is_no_sequence_is_refused():
    """Tapes out of order, or of several instruments, are refused."""
    days = [tape_of(MONDAY), tape_of(TUESDAY)]
    with pytest.raises(ValueError, match="in chronological order"):
        nt.backtest(days[::-1], nt.market_maker)
    days[1].manifest["instrument"]["symbol"] = "OTHER"
    with pytest.raises(ValueError, match=r"OTHER follows .*dict"):
        nt.backtest(days, nt.market_maker)


def test_an_empty_session_is_passed_over():
    """Nothing happens in it: orders and positions carry over."""
    monday, tuesday = tape_of([*MONDAY[:2], ask(7, 101, 4, ts=7), *MONDAY[2:]]), tape_of(TUESDAY)
    empty = tape_of(later(MONDAY, 500)).between(0, 1)
    script = {10: [buy(101, 1), buy(99, 1)]}
    with_it, without = (scripted_engine.ran_days(days, script, **SETUP) for days in ([monday, empty, tuesday], [monday, tuesday]))
    assert with_it == without
    assert with_it.fills


def test_rows_are_counted_once():
    """`n_rows` counts all sessions of a sequence, and only the rows of a part of a tape."""
    days = [tape_of(MONDAY), tape_of(TUESDAY)]
    for data, n in ((days, 8), (days[1].between(1060), 1), ([days[0].between(20), days[1]], 5)):
        assert nt.backtest(data, nt.market_maker).summary["n_rows"] == n


def test_many_accounts_close_together(tmp_path):
    """More positions close at a session's end than logs and rings can hold: each closes as in a separate run."""

    day = nt.ingest(nt.synthetic.write_dbn(tmp_path / "day.dbn.zst", 120_000, seed=3), progress=False)

    @nt.strategy(wake="10ms", params={"lots": 0, "at": 0}, state={"n": 0})
    def holding(account, params, state):
        if state.n == params.at:
            account.market(BID if params.lots > 0 else ASK, abs(params.lots))
        state.n += 1

    values = [{"lots": (3 + k % 60) * (1 if k % 2 else -1), "at": k // 8} for k in range(2500)]
    middle = int(day.ts_recv[len(day) // 2])
    part = day.between(middle, middle + 4_000_000_000)

    def closed(sets):
        config = new_config(holding, sets, latency=nt.Latency("1ms", "2ms"), sample=0, max_orders=4)
        simulation = run_tapes([part], config)
        held = np.count_nonzero(simulation.accounts["true_position"])
        simulation.close_session(flatten=True)
        return simulation, config, held

    together, config, held = closed(values)
    assert held == 2500
    assert not together.accounts["true_position"].any()
    for k in (0, 1, 777, 2499):
        alone, _, _ = closed(values[k : k + 1])
        assert result_of(alone, config, "", 1).hash == result_of(together, config, "", 1, 0, k).hash
