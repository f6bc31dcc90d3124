"""Random scripts on random markets: the engine equals the oracle in every fill, order, Look and sample.

Markets are small and wild (tests/helpers/random_market.py); scripts contain actions of all kinds; latencies, wakes, fill rules, capacities
and risk limits are random too. Several accounts share one pass of the engine and are compared one by one, which also proves
that K accounts in one pass equal K separate runs.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lockstep
import nbtrade as nt
import scripted_engine
from model import UNDEF_PRICE
from model_account import Limits
from model_backtest import WAKES, backtest, backtest_all, backtest_days
from nbtrade.book.kernels import arrays
from nbtrade.engine import instrument_state, simulation
from random_market import Market, script_of
from scripted import play

TICK = 10**7

limits = st.builds(
    Limits,
    lot=st.sampled_from((1, 1, 1, 2)),
    max_order=st.sampled_from((0, 0, 4)),
    max_position=st.sampled_from((0, 0, 5, 12)),
    max_open=st.sampled_from((0, 0, 3)),
    max_loss=st.sampled_from((0, 0, 1, 40)),
    max_rate=st.sampled_from((0, 0, 2)),
    rate_interval=st.sampled_from((7, 100)),
)
delays = st.sampled_from((0, 0, 1, 2, 7, 31, 150))
setups = st.fixed_dictionaries(
    {
        "wakes": st.frozensets(st.sampled_from(WAKES), min_size=1),
        "interval": st.sampled_from((5, 10, 64)),
        "entry": delays,
        "response": delays,
        "feed": st.sampled_from((0, 0, 1, 12)),
        "capacity": st.sampled_from((1, 3, 64)),
        "sample": st.sampled_from((0, 16, 100)),
        "flatten": st.booleans(),
        "limits": st.one_of(st.none(), limits),
    }
)
seeds = st.integers(0, 2**32)
accounts = st.lists(
    st.tuples(seeds, st.integers(0, 30), st.sampled_from(("fifo", "fifo", "optimistic", "conservative"))), min_size=1, max_size=3
)


def tape_of(records):
    """Return records with prices in ticks as a tape in memory whose tick is 0.01."""
    scaled = [r if r.price == UNDEF_PRICE else r._replace(price=r.price * TICK) for r in records]
    return lockstep.resolved(lockstep.array_of(scaled), tick=TICK).tape()


def scripts_of(accounts, *tapes):
    first, last = min(records[0].ts_recv for records in tapes), max(records[-1].ts_recv for records in tapes)
    return [script_of(seed, first, last + 5, n, len(tapes)) for seed, n, _ in accounts]


def oracle(records, script, rule, setup):
    looks = []
    return scripted_engine.expected(backtest(records, play(script, looks), tick=1, rule=rule, **setup), looks)


def assert_equal(got, expected, about):
    for name, ours, oracles in zip(got._fields, got, expected, strict=True):
        if ours != oracles:
            k = next((k for k, (a, b) in enumerate(zip(ours, oracles, strict=False)) if a != b), min(len(ours), len(oracles)))
            raise AssertionError(f"{about}: {name}[{k}]\nengine {ours[k : k + 2]}\noracle {oracles[k : k + 2]}")


@settings(max_examples=300, deadline=None)
@given(seed=seeds, n_events=st.integers(1, 120), accounts=accounts, setup=setups)
def test_engine_equals_oracle(seed, n_events, accounts, setup):
    """Fills, orders, Looks, samples and totals of every account equal the oracle's."""
    records = Market(seed).make(n_events)
    scripts, rules = scripts_of(accounts, records), [rule for *_, rule in accounts]
    outcomes = scripted_engine.ran([tape_of(records)], scripts, rule=rules, **setup)[0]
    for k, (got, script, rule) in enumerate(zip(outcomes, scripts, rules, strict=True)):
        assert_equal(got, oracle(records, script, rule, setup), (k, rule))


@settings(max_examples=100, deadline=None)
@given(seeds=st.lists(seeds, min_size=2, max_size=3), n_events=st.integers(1, 60), accounts=accounts, setup=setups)
def test_several_instruments(seeds, n_events, accounts, setup):
    """The same with several instruments, which are processed in order of time, and by index at equal times."""
    tapes = [Market(seed).make(n_events) for seed in seeds]
    scripts, rules = scripts_of(accounts, *tapes), [rule for *_, rule in accounts]
    outcomes = scripted_engine.ran([tape_of(records) for records in tapes], scripts, rule=rules, **setup)
    for k, (script, rule) in enumerate(zip(scripts, rules, strict=True)):
        looks = []
        results = backtest_all([(records, 1) for records in tapes], play(script, looks, len(tapes)), rule=rule, **setup)
        for v, result in enumerate(results):
            assert_equal(outcomes[v][k], scripted_engine.expected(result, looks, v), (v, k, rule))


@settings(max_examples=150, deadline=None)
@given(
    seeds=st.lists(seeds, min_size=2, max_size=4),
    n_events=st.integers(1, 60),
    account=accounts,
    setup=setups,
    gap=st.sampled_from((1, 9, 500)),
)
def test_sessions_in_sequence(seeds, n_events, account, setup, gap):
    """The same over several sessions: orders expire, continue or close the position, and the account's knowledge carries over."""
    days = days_of(seeds, n_events, gap)
    (seed, n, rule), *_ = account
    script, looks = script_of(seed, days[0][0].ts_recv, days[-1][-1].ts_recv + 5, n), []
    got = scripted_engine.ran_days([tape_of(records) for records in days], script, rule=rule, **setup)
    result = backtest_days(days, play(script, looks), tick=1, rule=rule, **setup)
    assert_equal(got, scripted_engine.expected(result, looks), rule)


def days_of(seeds, n_events, gap):
    days = [Market(seeds[0]).make(n_events)]
    for seed in seeds[1:]:
        days.append(Market(seed, start=days[-1][-1].ts_recv + gap).make(n_events))
    return days


def interpolated(times, values):
    """Return a function that interpolates linearly between samples, in whole ns; constant beyond them."""

    def at(ts):
        if ts <= times[0] or ts >= times[-1]:
            return values[0] if ts <= times[0] else values[-1]
        i = max(i for i, time in enumerate(times) if time <= ts)
        share = (ts - times[i]) / (times[i + 1] - times[i])
        return values[i] + int(share * (values[i + 1] - values[i]))

    return at


delays_measured = st.lists(
    st.tuples(st.integers(900, 2000), st.integers(0, 90), st.integers(0, 90)), min_size=1, max_size=6, unique_by=lambda row: row[0]
)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, accounts=accounts, setup=setups, samples=delays_measured)
def test_measured_latency(seed, accounts, setup, samples):
    """The same with latencies interpolated from samples: no message overtakes another."""
    times, entries, responses = (list(column) for column in zip(*sorted(samples), strict=True))
    latency = nt.Latency.measured(times, entries, responses, feed=setup["feed"])
    functions = {"entry": interpolated(times, entries), "response": interpolated(times, responses)}
    assert_latency(seed, accounts, setup, latency, functions)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, accounts=accounts, setup=setups, draw=st.integers(0, 2**31))
def test_random_latency(seed, accounts, setup, draw):
    """The same with random latencies: they depend on the seed and the time only."""
    latency = nt.Latency.random([0, 1, 5, 60], [0, 2, 9, 33], seed=draw, feed=setup["feed"])
    tables = latency.varying.entries, latency.varying.responses
    entry, response = (lambda ts, k=k: int(tables[k][hashed(2 * draw + 1 - k, ts) >> 20]) for k in (0, 1))
    functions = {"entry": entry, "response": response}
    assert_latency(seed, accounts, setup, latency, functions)


def hashed(seed, ts):
    """Hash a seed and a time to 32 bits."""
    x = 0
    for word in (seed, ts >> 32, ts):
        x ^= word & 0xFFFFFFFF
        for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97), (15, 1)):
            x = (x ^ x >> shift) * factor & 0xFFFFFFFF
    return x


def assert_latency(seed, accounts, setup, latency, functions):
    records = Market(seed).make(60)
    scripts, rules = scripts_of(accounts, records), [rule for *_, rule in accounts]
    outcomes = scripted_engine.ran([tape_of(records)], scripts, rule=rules, **{**setup, "entry": latency})[0]
    for k, (got, script, rule) in enumerate(zip(outcomes, scripts, rules, strict=True)):
        assert_equal(got, oracle(records, script, rule, {**setup, **functions}), (k, rule))


@pytest.mark.parametrize("limit", ["logs", "pages"])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, accounts=accounts, setup=setups)
def test_full_memory(limit, seed, accounts, setup):
    """The same when logs and rings, or the books' pages, are constantly full."""
    records = Market(seed).make(60)
    scripts, rules = scripts_of(accounts, records), [rule for *_, rule in accounts]
    new_book = arrays.new_book
    with pytest.MonkeyPatch.context() as patch:
        if limit == "logs":
            for module, name in ((instrument_state, "LOG_ROWS"), (instrument_state, "RING"), (simulation, "LOG_ROWS")):
                patch.setattr(module, name, 4)
        else:
            patch.setattr(arrays, "new_book", lambda low, high, n_pages=2: new_book(low, high, n_pages))
        outcomes = scripted_engine.ran([tape_of(records)], scripts, rule=rules, **setup)[0]
    for k, (got, script, rule) in enumerate(zip(outcomes, scripts, rules, strict=True)):
        assert_equal(got, oracle(records, script, rule, setup), (k, rule))
