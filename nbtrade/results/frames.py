"""Rows of a result as DataFrames: ticks become prices, codes become text, and the index is the time in UTC.

    FILL, ORDER, SAMPLE, records  ──>  fills, orders, equity, records

`price` and money are in currency, `size` in lots, `px` in ticks. Prices are the floats nearest to the true price (prices.TickSize), as
in `Tape.to_df`.
"""

from typing import TYPE_CHECKING

import numpy as np

from nbtrade.prices import TickSize
from nbtrade.schema import BID, MARKET, ORDER_TYPES, REASONS, STATES, TIMES_IN_FORCE

if TYPE_CHECKING:
    import pandas as pd

SIDES = np.array(["B", "A"])


def fills_frame(rows: np.ndarray, tick: TickSize) -> "pd.DataFrame":
    """FILL[n] as order_id, side, price, px, size, maker, row, indexed by exchange time `ts`."""
    import pandas as pd

    return pd.DataFrame(
        {
            "order_id": rows["order_id"],
            "side": SIDES[(rows["side"] != BID).view(np.int8)],
            "price": tick.price(rows["px"]),
            "px": rows["px"],
            "size": rows["qty"].astype(np.int64),
            "maker": rows["maker"].astype(bool),
            "row": rows["row"],
        },
        index=time_index(rows["ts"]),
    )


def orders_frame(rows: np.ndarray, tick: TickSize) -> "pd.DataFrame":
    """ORDER[n] as the frame `Result.orders`, indexed by `order_id`."""
    import pandas as pd

    return pd.DataFrame(
        {
            "sent": _times(rows["sent"]),
            "arrived": _times(rows["arrived"]),
            "done": _times(rows["done"]),
            "side": SIDES[(rows["side"] != BID).view(np.int8)],
            "type": np.array(ORDER_TYPES)[rows["type"]],
            "time_in_force": np.array(TIMES_IN_FORCE)[rows["tif"]],
            "post_only": rows["post_only"].astype(bool),
            "price": np.where(rows["type"] == MARKET, np.nan, tick.price(rows["px"])),
            "px": rows["px"],
            "size": rows["qty"],
            "filled": rows["qty"] - rows["leaves"],
            "state": np.array(STATES)[rows["state"]],
            "reason": np.array(REASONS)[rows["reason"]],
            "ahead": rows["ahead"],
        },
        index=pd.Index(rows["id"], name="order_id"),
    )


def records_frame(rows: np.ndarray) -> "pd.DataFrame":
    """Recorded fields, f8 each, indexed by `ts`."""
    import pandas as pd

    return pd.DataFrame({name: rows[name] for name in rows.dtype.names or () if name != "ts"}, index=time_index(rows["ts"]))


def time_index(ts: np.ndarray) -> "pd.DatetimeIndex":
    """The index `ts` of times in ns."""
    import pandas as pd

    return pd.DatetimeIndex(ts.astype("M8[ns]"), tz="UTC", name="ts")


def _times(ts: np.ndarray) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.to_datetime(np.where(ts == 0, np.datetime64("NaT", "ns"), ts.astype("M8[ns]")), utc=True)
