"""Targets: what was to come, for fitting and judging features. `nbtrade.target.mid_return("1s")`.

They look forward, so they are a type of their own: `features` refuses them, and no expression takes them in. `nbtrade.targets(tape,
[...], sample=...)` gives them at the same samples as `features` does, row for row.
"""

from typing import Any

from nbtrade import feature
from nbtrade.errors import FeatureError
from nbtrade.feature.expression import Level
from nbtrade.times import ns_of

__all__ = ["Target", "markout", "mid_change", "mid_return"]


class Target:
    """A value that is known only `after` ns from its sample.

    now   : features at the sample      later : a feature `after` it
    kind  : "change" later - now, "return" later / now - 1, "signed" now[0] * (later - now[1])
    """

    def __init__(self, kind: str, now: tuple[Level, ...], later: Level, after: int, label: str) -> None:
        self.kind, self.now, self.later, self.after, self.label = kind, now, later, after, label

    def named(self, label: str) -> "Target":
        """The same under another name."""
        return Target(self.kind, self.now, self.later, self.after, label)

    def __repr__(self) -> str:
        return f"<Target {self.label}>"

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(f"{self.label} looks forward: it can't be part of a feature. Compute it with nbtrade.targets.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = __abs__ = _refuse


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
