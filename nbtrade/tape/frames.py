"""A tape as a DataFrame, and the text that `nbtrade info` prints."""

from typing import TYPE_CHECKING

import numpy as np

from nbtrade.schema import BID, CONTINUED, NO_SIDE
from nbtrade.tape.rows import TapeRows

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("add", "cancel", "exec", "trade", "mark")


def to_df(tape: TapeRows) -> "pd.DataFrame":
    """See Tape.to_df."""
    import pandas as pd

    first = np.flatnonzero(tape.events["flags"] & CONTINUED == 0)
    if len(first) == len(tape):
        e, sizes, flags = tape.events, np.abs(tape.events["qty"].astype(np.int64)), tape.events["flags"]
    else:
        e, sizes, flags = _whole_changes(tape.events, first)
    ts_event, ts_recv, order_id, sequence = (column[first] for column in (tape.ts_event, tape.ts_recv, tape.order_id, tape.sequence))
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime(ts_event, utc=True),
            "action": pd.Categorical.from_codes(e["kind"], list(KINDS)),
            "side": np.where(e["flags"] & NO_SIDE, "N", np.where(e["side"] == BID, "B", "A")),
            "price": tape.price(e["px"].astype(np.int64)),
            "size": sizes,
            "order_id": order_id,
            "flags": flags,
            "sequence": sequence,
            "prio": e["prio"],
        },
        index=pd.DatetimeIndex(pd.to_datetime(ts_recv, utc=True), name="ts_recv"),
    )


def _whole_changes(events: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first rows, sizes, flags) of changes that may take several rows. `first` : indices of their first rows"""
    sizes = np.abs(np.add.reduceat(events["qty"].astype(np.int64), first))
    flags = np.bitwise_or.reduceat(events["flags"], first) & (255 - CONTINUED)
    return events[first], sizes, flags


def info(tape: TapeRows) -> str:
    """See Tape.info."""
    m = tape.manifest
    instrument, counts = m["instrument"], m["counts"]
    lines = [
        repr(tape),
        f"folder      {tape.path}",
        f"source      {m['source']['name']} ({m['source']['kind']}, {m['source']['dataset'] or 'dataset unknown'})",
        f"instrument  {instrument['symbol']} (id {instrument['instrument_id']}, publisher {instrument['publisher_id']})",
        f"tick        {tape.tick:g} ({instrument['tick_from']})",
        f"lot         {tape.lot:g}",
        f"records     {counts['records']:,} read, {counts['skipped']:,} of other instruments",
        f"rows        {counts['rows']:,} in {counts['events']:,} events, at most {counts['most_live']:,} live orders",
        f"prices      {tape.price(m['px']['min']):g} to {tape.price(m['px']['max']):g}",
        f"content     xxh3-128 {m['content_hash']}, format {m['format_version']}",
    ]
    faults = [f"  {name:20} {f['count']:>10,}   first at records {f['first']}" for name, f in m["faults"].items()]
    return "\n".join([*lines, "faults      " + ("none" if not faults else ""), *faults])
