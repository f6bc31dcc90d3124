"""Trades between the ticks known so far, kept while the tick is still being inferred.

A row holds whole ticks, so with a first tick of 0.5 a trade at 5.25 is rounded down and flagged. If a later price shows that
the tick is 0.01, these records correct the rows: a tape never depends on which prices came first. Empty on most venues; 24 bytes
for each midpoint trade of an instrument whose tick is inferred.
"""

import numpy as np

from nbtrade.schema import CONTINUED, OFF_TICK, UNDEF_PRICE
from nbtrade.tape.kernels.tape_rows import OFF_TICK_TRADE, PLACES

# row on the tape, price, number of the record within the instrument; a trade of several rows has an entry for each
OFF_TICK_ROW = np.dtype([("row", "i8"), ("price", "i8"), ("record", "i8")])


def find(records: np.ndarray, state: np.ndarray, first_record: int, events: np.ndarray, first_row: int) -> np.ndarray:
    """The off-tick trades (ODD[n]) among RECORD[n], which were resolved to `events`, starting at tape row `first_row`.

    first_record : number of the first of these records among the instrument's
    """
    mine = records["instrument_id"] == state["instrument_id"][0]
    if state["publisher_id"][0] >= 0:
        mine &= records["publisher_id"] == state["publisher_id"][0]
    is_off_tick = mine & (records["action"] == ord("T")) & (records["price"] != UNDEF_PRICE) & (records["price"] % state["tick"][0] != 0)
    numbers = np.cumsum(mine) - 1
    rows = np.flatnonzero(events["flags"] & OFF_TICK)
    trade = np.cumsum(events["flags"][rows] & CONTINUED == 0) - 1
    out = np.empty(len(rows), OFF_TICK_ROW)
    out["row"], out["price"], out["record"] = (
        rows + first_row,
        records["price"][is_off_tick][trade],
        numbers[is_off_tick][trade] + first_record,
    )
    return out


def correct(events: np.ndarray, first_row: int, off_tick: np.ndarray, tick: int) -> None:
    """Set px and flag of the off-tick trades' rows in `events`, which start at tape row `first_row`, for a finer tick."""
    off_tick = off_tick[(off_tick["row"] >= first_row) & (off_tick["row"] < first_row + len(events))]
    at = off_tick["row"] - first_row
    events["px"][at] = off_tick["price"] // tick
    on_tick = at[off_tick["price"] % tick == 0]
    events["flags"][on_tick] &= 255 - OFF_TICK


def still_off_tick(off_tick: np.ndarray, state: np.ndarray, tick: int) -> np.ndarray:
    """The trades that are off the finer tick too; the fault's count and record numbers are updated to match."""
    off_tick = off_tick[off_tick["price"] % tick != 0]
    trades = np.unique(off_tick["record"])
    state["faults"][0, OFF_TICK_TRADE] = len(trades)
    state["places"][0, OFF_TICK_TRADE, : len(trades[:PLACES])] = trades[:PLACES]
    return off_tick
