"""Markouts: the move of the mid after fills, positive in the direction of the fill."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nbtrade.results.data import ResultData
from nbtrade.schema import BID
from nbtrade.times import ns_of

if TYPE_CHECKING:
    import pandas as pd

HORIZONS = ("1s", "10s", "60s")


def markouts(result: ResultData, horizons: Sequence[str | int] = HORIZONS) -> "pd.DataFrame":
    """Average markouts; see `Result.markouts`."""
    import pandas as pd

    fills, ts = result.fill_rows, result.sample_rows["ts"]
    mid, maker = result.marked[0], fills["maker"] != 0
    sign, lots = np.where(fills["side"] == BID, 1, -1), fills["qty"].astype(np.float64)
    groups = {"maker": maker, "taker": ~maker}
    table: dict[str, list[float] | list[int]] = {}
    for horizon in horizons:
        at = np.searchsorted(ts, fills["ts"] + ns_of(horizon))
        known = at < len(ts)
        gain = np.full(len(fills), np.nan)
        gain[known] = sign[known] * (mid[at[known]] - fills["px"][known])
        table[str(horizon)] = [_weighted(gain[mine], lots[mine]) for mine in groups.values()]
    return pd.DataFrame({**table, "lots": [int(lots[mine].sum()) for mine in groups.values()]}, index=list(groups))


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted average of the values that are not NaN; NaN if there are none."""
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")
