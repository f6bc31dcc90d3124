"""Every run gives the same result as at the reference commit: fills, orders, equity, cash and position, byte for byte.

`golden.json` was written there by run_old.py (x86-64 Linux). A third of the runs are always tested, the others with the marker `minute`.
"""

import json
from pathlib import Path

import pytest

from compare import differences
from outcomes import is_there
from run_new import new_days, run
from scenarios import QUICK, SCENARIOS

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Days, each made on first use."""
    return new_days(tmp_path_factory.mktemp("days"))


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.minute) for name in SCENARIOS])
def test_same_outcome(name, days):
    """The outcome of a run, and the records it ran on, equal the recorded ones."""
    if not is_there(SCENARIOS[name]):
        pytest.skip("real data absent (set NBTRADE_TEST_DATA to their folder)")
    outcome = json.loads(json.dumps(run(SCENARIOS[name], days)))
    hashes = {day: value for day, value in days.hashes().items() if day in SCENARIOS[name]["data"]["days"]}
    assert differences({day: GOLDEN["days"][day] for day in hashes}, hashes) == []
    assert differences({name: GOLDEN["scenarios"][name]}, {name: outcome}) == []


def fills_of(outcome):
    """(number of fills, hashes that identify them)."""
    parts = outcome.get("instruments", [outcome])
    return sum(one["n_fills"] for one in parts), tuple(one.get("fills") or one.get("rows") for one in parts)


def test_runs_are_informative():
    """Each run is recorded, nine in ten have more than 20 fills, and no two have the same fills."""
    assert list(GOLDEN["scenarios"]) == list(SCENARIOS)
    assert len(SCENARIOS) >= 100
    fills = [fills_of(one) for one in GOLDEN["scenarios"].values()]
    assert sum(n > 20 for n, _ in fills) > 0.9 * len(fills)
    stamps = [stamp for n, stamp in fills if n]
    assert len(set(stamps)) == len(stamps)


def test_comparison_finds_differences():
    """A changed number, a missing run and a new run are all found."""
    old = {"a": {"n_fills": 1, "instruments": [{"cash": 2}]}, "b": {"n_fills": 3}}
    new = {"a": {"n_fills": 1, "instruments": [{"cash": 5}]}, "c": {"n_fills": 3}}
    assert differences(old, old) == []
    assert differences(old, new) == [
        ("a", "instruments.0.cash", 2, 5),
        ("b", "run", "present", "absent"),
        ("c", "run", "absent", "present"),
    ]
