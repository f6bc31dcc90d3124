"""Targets: future values, for fitting and evaluating features. `nbtrade.target.mid_return("1s")`.

Targets look forward, so they have a separate type: `nbtrade.features` rejects them, and no expression accepts them. Compute them
with `nbtrade.targets(tape, [...], sample=...)`, at the same samples as `features`, row for row.
"""

from typing import Any

from nbtrade import feature
from nbtrade.errors import FeatureError
from nbtrade.feature.targets import Target
from nbtrade.times import ns_of

__all__ = ["Target", "markout", "mid_change", "mid_return"]


def mid_change(after: Any) -> Target:
    """Change of the mid: mid(t + after) - mid(t), ticks.

    Parameters
    ----------
    after : str or int
        Time span such as "1s", or ns; positive.

    Returns
    -------
    Target
        Uses everything received by t + after; NaN where the data end earlier.

    Examples
    --------
    >>> changes = nbtrade.targets(tape, nbtrade.target.mid_change("1s"), sample=5_000)
    >>> changes["mid_change(1s)"]
    array([-1., -1., -2.])
    """
    span = _span(after)
    return Target("change", (feature.mid(),), feature.mid(), span, f"mid_change({after})")


def mid_return(after: Any) -> Target:
    """Return of the mid: mid(t + after) / mid(t) - 1.

    Parameters
    ----------
    after : str or int
        Time span such as "1s", or ns; positive.

    Returns
    -------
    Target
        Uses everything received by t + after; NaN where the data end earlier.

    Examples
    --------
    >>> nbtrade.targets(tape, nbtrade.target.mid_return("1s"), sample=5_000)
    <FeatureMatrix 3 samples of 1 columns: mid_return(1s)>
    """
    span = _span(after)
    return Target("return", (feature.mid(),), feature.mid(), span, f"mid_return({after})")


def markout(after: Any) -> Target:
    """Markout of the last trade at t: sign * (mid(t + after) - px), ticks; the aggressor's gain.

    Parameters
    ----------
    after : str or int
        Time span such as "1s", or ns; positive.

    Returns
    -------
    Target
        Best used with sample="trade". NaN where the data end earlier or the trade has no side.

    Examples
    --------
    >>> nbtrade.targets(tape, nbtrade.target.markout("1s"), sample="trade").names
    ['markout(1s)']
    """
    span = _span(after)
    return Target("signed", (feature.trade_sign(), feature.last_px()), feature.mid(), span, f"markout({after})")


def _span(after: Any) -> int:
    span = ns_of(after)
    if span <= 0:
        raise FeatureError(f"a target needs a positive time span, not {after!r}: pass text such as '1s', or ns")
    return span
