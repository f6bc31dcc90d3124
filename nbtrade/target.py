"""Targets: what was to come, for fitting and judging features. `nbtrade.target.mid_return("1s")`.

They look forward, so they are a type of their own: `features` refuses them, and no expression takes them in. `nbtrade.targets(tape,
[...], sample=...)` gives them at the same samples as `features` does, row for row.
"""

from typing import Any

from nbtrade import feature
from nbtrade.errors import FeatureError
from nbtrade.feature.targets import Target
from nbtrade.times import ns_of

__all__ = ["Target", "markout", "mid_change", "mid_return"]


def mid_change(after: Any) -> Target:
    """mid(t + after) - mid(t), ticks, with all that is received by t + after; NaN where the data end before."""
    span = _span(after)
    return Target("change", (feature.mid(),), feature.mid(), span, f"mid_change({after})")


def mid_return(after: Any) -> Target:
    """mid(t + after) / mid(t) - 1; NaN where the data end before."""
    span = _span(after)
    return Target("return", (feature.mid(),), feature.mid(), span, f"mid_return({after})")


def markout(after: Any) -> Target:
    """sign * (mid(t + after) - px) of the last trade at t, ticks: what its aggressor gained. Best at sample="trade"."""
    span = _span(after)
    return Target("signed", (feature.trade_sign(), feature.last_px()), feature.mid(), span, f"markout({after})")


def _span(after: Any) -> int:
    span = ns_of(after)
    if span <= 0:
        raise FeatureError(f"a target {after!r} ahead is none: give a time span of more than 0")
    return span
