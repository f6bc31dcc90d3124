"""The arguments of a strategy: any of the six records, matched by name."""

import itertools
import math

import pytest

import child
import nbtrade as nt
from nbtrade import synthetic
from nbtrade.errors import StrategyError
from streams import tape_of

ROLES = ("market", "account", "params", "state", "features", "record")


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Five seconds of a market."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("arguments"))


def strategy_taking(names, body="pass"):
    """A strategy that takes these arguments."""
    scope = {}
    exec(f"def taking({', '.join(names)}):\n    {body}\n", scope)
    return nt.strategy(wake="1s", params={"edge": 2}, state={"n": 0}, record=["fair"])(scope["taking"])


USES = {
    "market": "market.ts > 0",
    "account": "account.position == 0",
    "params": "params.edge == 2",
    "state": "state.n == 0",
    "features": "len(features) > 0",
    "record": "math_isnan(record.fair)",
}


@pytest.mark.parametrize("names", [(), *itertools.permutations(ROLES, 2), ROLES, ROLES[::-1]], ids=" ".join)
def test_any_subset_in_any_order(tape, names):
    """Each argument is the record of its name, wherever it is in the list."""
    checks = " and ".join(USES[name] for name in names) or "True"
    strategy = strategy_taking(names, f"assert {checks}")
    strategy.function.__globals__["math_isnan"] = math.isnan
    assert nt.backtest(tape, strategy).n_wakes > 3


def test_the_order_of_the_arguments_is_in_the_cache_key(tape, tmp_path, monkeypatch):
    """Functions that differ in the order of their arguments alone are different machine code, also from the disk."""
    monkeypatch.setenv("NBTRADE_CACHE_DIR", str(child.new_cache(tmp_path / "cache")))
    for names in (("params", "state"), ("state", "params")):
        for _ in range(2):
            strategy = strategy_taking(names, "state.n = params.edge")
            assert nt.backtest(tape, strategy).final_state["n"] == 2


@pytest.mark.parametrize("name", ["acount", "m", "feature", "parameters", "self"])
def test_a_misspelt_argument(name):
    """It is named, with all six."""
    with pytest.raises(StrategyError) as caught:
        strategy_taking(["market", name])
    assert repr(name) in str(caught.value)
    assert ", ".join(ROLES) in str(caught.value)


@pytest.mark.parametrize("signature", ["*market", "**params", "*, state"])
def test_other_kinds_of_arguments(signature):
    """Only plain arguments can be matched."""
    with pytest.raises(StrategyError, match="takes"):
        strategy_taking([signature])
