"""Every rule as a minimal case (tests/rules/rules_*.py), on the oracle and on the engine."""

import pytest

import lockstep
import nbtrade as nt
import rules_accounts
import rules_clocks
import rules_fills
import rules_orders
import scripted_engine
from model import UNDEF_PRICE
from model_backtest import backtest
from rules import describe
from scripted import play

TICK = 10**7

CASES = rules_orders.CASES + rules_accounts.CASES + rules_fills.CASES + rules_clocks.CASES


def seen(look, name):
    """Return a field of a `Look`, or of an order in it (status, left, ahead, behind)."""
    if isinstance(name, str):
        return getattr(look, name)
    order = look.orders.get(name)
    return order and (*order[:2], *order[5:7])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_oracle(case):
    """The oracle follows the rule."""
    looks = []
    setup = {"wakes": frozenset({"timer"}), "interval": 10, "entry": 1, "response": 1, "tick": 1, **case.setup}
    result = backtest(case.all_records, play(case.script, looks), **setup)
    assert_case(case, result.fills, result.orders, looks)


def assert_case(case, fills, orders, looks):
    assert [(fill.order, fill.ts, fill.px, fill.qty) for fill in fills] == case.fills
    makers = {fill.order for fill in fills} if case.makers == "all" else set(case.makers)
    assert {fill.order for fill in fills if fill.maker} == makers
    if case.orders is not None:
        assert [describe(order) for order in orders] == case.orders
    if case.calls is not None:
        assert [(look.ts, look.wake) for look in looks] == case.calls
    for ts, expected in case.sees.items():
        look = next(look for look in looks if look.ts == ts)
        assert {name: seen(look, name) for name in expected} == expected, ts


def test_situations_are_named_once():
    """No two rules have the same name."""
    names = [case.situation for case in CASES]
    assert len(set(names)) == len(names)


# The engine


def tape_of(records):
    """Return records with prices in ticks as a tape in memory whose tick is 0.01."""
    scaled = [r if r.price == UNDEF_PRICE else r._replace(price=r.price * TICK) for r in records]
    return lockstep.resolved(lockstep.array_of(scaled), tick=TICK).tape()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine(case):
    """The engine follows the rule, and equals the oracle in all other respects."""
    setup = {"wakes": frozenset({"timer"}), "interval": 10, "entry": 1, "response": 1, **case.setup}
    looks = []
    expected = scripted_engine.expected(backtest(case.all_records, play(case.script, looks), tick=1, **setup), looks)
    got = scripted_engine.ran([tape_of(case.all_records)], [case.script], **measured(setup))[0][0]
    for name, ours, oracles in zip(got._fields, got, expected, strict=True):
        assert ours == oracles, name


def measured(setup):
    """Return a setup for the engine: a latency function becomes measured samples, one per ns."""
    times = range(100)
    if not (callable(setup["entry"]) or callable(setup["response"])):
        return setup
    entry, response = ([part(ts) if callable(part) else part for ts in times] for part in (setup["entry"], setup["response"]))
    return {**setup, "entry": nt.Latency.measured(times, entry, response)}
