"""A tape as a DataFrame, and the text of `nbtrade info`."""

from typing import TYPE_CHECKING

import numpy as np

from nbtrade.schema import BID
from nbtrade.tape.rows import TapeRows

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("add", "cancel", "exec", "trade", "mark")


def to_df(tape: TapeRows) -> "pd.DataFrame":
    """See Tape.to_df."""
    import pandas as pd

    e = tape.events
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime(tape.ts_event, utc=True),
            "action": pd.Categorical.from_codes(e["kind"], list(KINDS)),
            "side": np.where(e["flags"] & 8, "N", np.where(e["side"] == BID, "B", "A")),
            "price": tape.price(e["px"].astype(np.int64)),
            "size": np.abs(e["qty"]),
            "order_id": tape.order_id,
            "flags": e["flags"],
            "sequence": tape.sequence,
            "prio": e["prio"],
        },
        index=pd.DatetimeIndex(pd.to_datetime(tape.ts_recv, utc=True), name="ts_recv"),
    )


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
        f"records     {counts['records']:,} read, {counts['skipped']:,} of other instruments",
        f"rows        {counts['rows']:,} in {counts['events']:,} events, at most {counts['most_live']:,} live orders",
        f"prices      {tape.price(m['px']['min']):g} to {tape.price(m['px']['max']):g}",
        f"content     xxh3-128 {m['content_hash']}, format {m['format_version']}",
    ]
    faults = [f"  {name:20} {f['count']:>10,}   first at records {f['first']}" for name, f in m["faults"].items()]
    return "\n".join([*lines, "faults      " + ("none" if not faults else ""), *faults])
