"""Trades between the ticks known so far, remembered while the tick is still being inferred.

A row holds whole ticks, so a trade at 5.25 under a first tick of 0.5 is rounded down and flagged. When a later price shows that
the tick is 0.01, the rows are put right from here: a tape never depends on which prices came first. Empty on most venues; 24 bytes
for each midpoint trade of an instrument whose tick is inferred.
"""

import numpy as np

from nbtrade.schema import CONTINUED, OFF_TICK, UNDEF_PRICE
from nbtrade.tape.kernels.tape_rows import OFF_TICK_TRADE, PLACES

# where it is on the tape, what it says, which record of the instrument it was; a trade of several rows has an entry for each
ODD = np.dtype([("row", "i8"), ("price", "i8"), ("record", "i8")])


def odd_trades(records: np.ndarray, state: np.ndarray, first_record: int, events: np.ndarray, first_row: int) -> np.ndarray:
    """The off-tick trades (ODD[n]) among RECORD[n], which were resolved to `events`, that begin at tape row `first_row`.

    first_record : number of the first of these records among the instrument's
    """
    mine = records["instrument_id"] == state["instrument_id"][0]
    if state["publisher_id"][0] >= 0:
        mine &= records["publisher_id"] == state["publisher_id"][0]
    is_odd = mine & (records["action"] == ord("T")) & (records["price"] != UNDEF_PRICE) & (records["price"] % state["tick"][0] != 0)
    numbers = np.cumsum(mine) - 1
    rows = np.flatnonzero(events["flags"] & OFF_TICK)
    trade = np.cumsum(events["flags"][rows] & CONTINUED == 0) - 1
    out = np.empty(len(rows), ODD)
    out["row"], out["price"], out["record"] = rows + first_row, records["price"][is_odd][trade], numbers[is_odd][trade] + first_record
    return out


def put_right(events: np.ndarray, first_row: int, odd: np.ndarray, tick: int) -> None:
    """Set px and flag of the odd trades' rows among `events`, which begin at tape row `first_row`, on a finer tick."""
    odd = odd[(odd["row"] >= first_row) & (odd["row"] < first_row + len(events))]
    at = odd["row"] - first_row
    events["px"][at] = odd["price"] // tick
    on_tick = at[odd["price"] % tick == 0]
    events["flags"][on_tick] &= 255 - OFF_TICK


def still_odd(odd: np.ndarray, state: np.ndarray, tick: int) -> np.ndarray:
    """Those that are off the finer tick too; the fault's count and places become theirs."""
    odd = odd[odd["price"] % tick != 0]
    trades = np.unique(odd["record"])
    state["faults"][0, OFF_TICK_TRADE] = len(trades)
    state["places"][0, OFF_TICK_TRADE, : len(trades[:PLACES])] = trades[:PLACES]
    return odd
