"""Levels with own entries: the filter bits by which the hot loop finds rows at our levels always agree with the levels' lists.

Accounts rest, take, cross themselves and replace prices over several sessions, fed in batches. Prices are chosen so that levels share
bits, pages open and close, and books grow and widen during the run.
"""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scripted_engine
from model import UNDEF_PRICE
from model_backtest import backtest_days
from model_cases import rec
from nbtrade.book.kernels import arrays
from nbtrade.engine import instrument_state, simulation
from nbtrade.engine.kernels.records import TAKEN
from nbtrade.engine.kernels.row_batch import BEST_KEYS, NEAR_SLOTS
from nbtrade.engine.outcome import result_of
from nbtrade.schema import ASK, BID
from nbtrade.tape.book_snapshot import book_arrays
from random_market import Market, script_of
from rules import CANCEL_ALL, START, buy, buy_now, gone, sell
from scripted import play
from test_random_scripts import assert_equal, seeds, tape_of

GAPS = ((1,), (1, 31, 32, 33), (1, 32, 1024), (1023, 1024, 1025))  # ticks between neighbours: a page has 32, and bits repeat after 1,024
WAKES = (frozenset({"timer"}), frozenset({"timer", "fill"}), frozenset({"top", "ack"}))


def entries_of(orders, head):
    """Return the indices in a level's list, and check its links."""
    found = [head]
    while (o := int(orders["next"][found[-1]])) != head:
        assert int(orders["prev"][o]) == found[-1]
        found.append(o)
    assert int(orders["prev"][head]) == found[-1]
    return found


def levels_of(one):
    """Return {(side, px): indices of our entries} of an InstrumentState, from its levels."""
    levels, pages, *_, sides = one.exchange_book
    slot_of = {int(pages[slot]): int(slot) for slot in np.flatnonzero(pages)}
    found = {}
    for i in np.flatnonzero(levels["own"]).tolist():
        side, px = i >> 5 & 1, (slot_of[i >> 6] + int(sides["first_slot"][0]) << 5) + (i & 31)
        found[side, px] = entries_of(one.orders, int(levels["own"][i]) - 1)
        at = one.orders[found[side, px]]
        assert {tuple(row) for row in at[["at", "side", "px"]].tolist()} == {(i, side, px)}
    return found


def assert_bits(one):
    """Check bits, bit counts, best prices and numbers of entries against the levels' lists; return the number of levels."""
    found = levels_of(one)
    counts = np.zeros(BEST_KEYS * 32, np.int64)
    for side, px in found:
        counts[32 * side + px % 32] += 1
        counts[32 * NEAR_SLOTS + px // 32 % 32] += 1
    assert one.own_filter_counts.tolist() == counts.tolist()
    assert one.own_filter[:BEST_KEYS].tolist() == [
        sum(1 << bit for bit in np.flatnonzero(word).tolist()) for word in counts.reshape(BEST_KEYS, 32)
    ]
    is_taken = {level: one.orders["instructions"][entries] == TAKEN for level, entries in found.items()}
    assert int(one.record["n_taken"]) == sum(int(taken.sum()) for taken in is_taken.values())
    assert int(one.record["n_resting"]) == sum(int((~taken).sum()) for taken in is_taken.values())
    for side in (BID, ASK):
        keys = [px if side == BID else -px for (s, px), taken in is_taken.items() if s == side and not taken.all()]
        assert int(one.own_bits[2]["best"][side]) == max(keys, default=arrays.NO_KEY)
    return len(found)


def spread(market_records, px_of):
    return [r if r.price == UNDEF_PRICE else r._replace(price=px_of[r.price]) for r in market_records]


def spread_script(script, px_of, rng):
    """Return a script with prices mapped to the spread-out market, and with more taking orders."""

    def one(action):
        if action.what not in ("submit", "quote", "replace"):
            return action
        takes = action.what == "submit" and action.type == "limit" and not action.post_only
        tif = rng.choice(("ioc", "gtc", action.tif)) if takes else action.tif
        return action._replace(tif=tif, px=px_of[action.px] if action.ref < 0 else action.px * rng.choice((1, 32, 1024)))

    return {ts: [one(action) for action in actions] for ts, actions in script.items()}


def kept(result):
    return [array.tobytes() for array in (result.fill_rows, result.order_rows, result.sample_rows)]


def played(tapes, config, flatten, rows):
    """Run sessions in batches of `rows` rows, checking the bits after each."""
    one = config.simulation([book_arrays(tapes[0])], [tapes[0].tick_units])
    v, earlier = one.instruments[0], []
    for tape in tapes:
        if tape is not tapes[0]:
            one.close_session(flatten)
            assert_bits(v)
            earlier.append(result_of(one, config, "", 1))
            earlier.append(kept(earlier[-1]))
            one.next_session([book_arrays(tape)], int(tape.ts_recv[0]))
            assert assert_bits(v) == 0
        columns, start = (tape.events, tape.ts_event, tape.ts_recv), 0
        for stop in [*range(rows, len(tape), rows), len(tape)]:
            start += one.feed(*(column[start:stop] for column in columns), start, final=stop == len(tape))
            assert_bits(v)
            if stop == rows:
                first, more = int(v.exchange_book.sides["first_slot"][0]), random.Random(rows).randint(1, 9999)
                v.widen((first << 5) - more, (first + len(v.exchange_book.pages) << 5) + more)
                assert_bits(v)
    one.close_session(flatten)
    assert_bits(v)
    for result, was in zip(earlier[::2], earlier[1::2], strict=True):
        assert kept(result) == was  # the engine never writes to data that it has handed over
    return one


rules_of = st.lists(st.sampled_from(("fifo", "fifo", "optimistic", "conservative")), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    rules=rules_of,
    gaps=st.sampled_from(GAPS),
    n_days=st.integers(1, 3),
    wakes=st.sampled_from(WAKES),
    flatten=st.booleans(),
    rows=st.sampled_from((1, 17, 64, 1000)),
    room=st.sampled_from(((1 << 14, 256), (16, 2), (16, 3))),
)
def test_bits_are_those_of_the_levels(seed, rules, gaps, n_days, wakes, flatten, rows, room):
    """Bits and counts are right after every batch, and every account's outcome equals the oracle's."""
    rng = random.Random(seed)
    px_of = dict(zip(range(90, 112), np.cumsum([rng.choice((-500, 64, 9000)), *rng.choices(gaps, k=21)]).tolist(), strict=True))
    days = [spread(Market(seed, crossing=0.1).make(40), px_of)]
    for k in range(1, n_days):
        days.append(spread(Market(seed + k, start=days[-1][-1].ts_recv + 9).make(40), px_of))
    span = days[0][0].ts_recv, days[-1][-1].ts_recv
    scripts = [spread_script(script_of(rng.random(), *span, 30), px_of, rng) for _ in rules]
    terms = {"wakes": wakes, "interval": 20, "entry": rng.choice((0, 3)), "response": rng.choice((0, 7)), "sample": 50}
    log_rows, n_pages = room
    new_book = arrays.new_book
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((instrument_state, "LOG_ROWS"), (instrument_state, "RING"), (simulation, "LOG_ROWS")):
            patch.setattr(module, name, log_rows)
        patch.setattr(arrays, "new_book", lambda low, high, n_pages=n_pages: new_book(low, high, n_pages))
        config = scripted_engine.setup_of(scripts, rule=rules, **terms)
        one = played([tape_of(day) for day in days], config, flatten, rows)
    for k, (script, rule) in enumerate(zip(scripts, rules, strict=True)):
        looks, got = [], scripted_engine.outcome_of(result_of(one, config, "", 1, 0, k))
        result = backtest_days(days, play(script, looks), tick=1, rule=rule, flatten=flatten, **terms)
        assert_equal(got, scripted_engine.expected(result, looks), (k, rule))


def test_bits_are_cleared_when_the_last_entry_is_gone():
    """Two accounts take at one level and rest at others, two of which share a bit; then the taken liquidity and the orders disappear."""
    tape = tape_of([*START, rec("N", ts=20), gone(2, 102, 5, 30, "A"), rec("N", ts=50)])
    scripts = [
        {10: [buy(102, 2, tif="ioc"), buy(100, 1), buy(68, 1)], 40: [CANCEL_ALL]},
        {10: [buy_now(1), sell(103, 1)], 40: [CANCEL_ALL]},
    ]
    config = scripted_engine.setup_of(scripts, wakes=frozenset({"timer"}), interval=10, entry=1)
    simulation = config.simulation([book_arrays(tape)], [tape.tick_units])
    one, columns = simulation.instruments[0], (tape.events, tape.ts_event, tape.ts_recv)
    start = simulation.feed(*(column[:4] for column in columns), 0, final=False)
    assert {level: len(entries) for level, entries in levels_of(one).items()} == {(ASK, 102): 2, (ASK, 103): 1, (BID, 100): 1, (BID, 68): 1}
    assert [one.own_filter_counts[at] for at in (100 % 32, 32 + 102 % 32, 32 + 103 % 32, 32 * NEAR_SLOTS + 3)] == [2, 1, 1, 3]
    assert assert_bits(one) == 4
    simulation.feed(*(column[start:] for column in columns), start, final=True)
    assert assert_bits(one) == 0
    assert not one.own_filter[:BEST_KEYS].any()
