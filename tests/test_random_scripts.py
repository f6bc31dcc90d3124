"""Random scripts on random markets: the engine equals the oracle in every fill, order, look and sample.

Markets are small and wild (tests/random_market.py); scripts have actions of all kinds; latencies, wakes, fill rules,
capacities and limits on risk are drawn too. Several accounts share one pass of the engine and are compared one by one, so
that K accounts in one pass are K separate runs.
"""

import lockstep
import scripted_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from model import UNDEF_PRICE
from model_account import Limits
from model_backtest import WAKES, backtest
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


def scripts_of(accounts, records):
    return [script_of(seed, records[0].ts_recv, records[-1].ts_recv + 5, n) for seed, n, _ in accounts]


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
    """Fills, orders, looks, samples and totals of every account equal the oracle's, whatever is drawn."""
    records = Market(seed).make(n_events)
    scripts, rules = scripts_of(accounts, records), [rule for *_, rule in accounts]
    outcomes = scripted_engine.ran([tape_of(records)], scripts, rule=rules, **setup)[0]
    for k, (got, script, rule) in enumerate(zip(outcomes, scripts, rules, strict=True)):
        assert_equal(got, oracle(records, script, rule, setup), (k, rule))
