"""Laws of the feature matrix: each feature is its formula, nothing looks ahead, and how a pass is cut or sampled changes nothing."""

import feature_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrade.signals.compute import features


@pytest.mark.parametrize("group", [cases.instant, cases.flows, cases.windows, cases.statistics], ids=lambda g: g.__name__)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_features_are_their_formulas(group, seed):
    """Every built-in feature at every event's end of a random stream is what its slow form says."""
    tape, named = cases.noise(seed), group()
    moments = cases.moments_of(tape)
    matrix = features(tape, {name: feature for name, (feature, _) in named.items()})
    for name, (_, slow) in named.items():
        cases.assert_close(name, matrix[name], slow(moments))
