"""A tape: one instrument and session, resolved; a folder of memory-mapped columns and a manifest.

    events    EVENT[n]      ts_event, ts_recv  i8[n]      order_id  i8[n]      sequence  u4[n]
    checkpoints             live                          manifest.json

Every array is a zero-copy, read-only map: opening takes the same time for any length, and pages that are not accessed are not read.
`between` returns an object of the same type over fewer rows; `prio` still counts in rows of the whole tape.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.errors import StoreDamaged, TapeError
from nbtrade.schema import COLUMNS
from nbtrade.storage import atomic
from nbtrade.storage.columns.immutable import open_immutable
from nbtrade.tape import manifest as manifests
from nbtrade.tape.rows import TapeRows

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.tape.audit import Audit
    from nbtrade.tape.book_snapshot import BookState


def open_tape(path: str | os.PathLike[str]) -> "Tape":
    """Open a tape by mapping its columns.

    Parameters
    ----------
    path : str or path
        Folder of the tape.

    Returns
    -------
    Tape
        All rows of the tape, read-only.

    Raises
    ------
    TapeError
        The folder is not a tape, has another format version, or has a damaged column or manifest.

    Examples
    --------
    >>> tape = nbtrade.open_tape("day.tape")
    >>> tape.symbol, tape.tick, len(tape)
    ('SYNTH', 0.01, 19380)
    """
    folder = Path(path)
    try:
        found = manifests.read(folder)
    except (FileNotFoundError, NotADirectoryError):
        hint = "It is a file: make a tape from it with nbtrade.ingest(...)." if folder.is_file() else "Check the name."
        raise TapeError(f"{folder} is not a tape: it has no {manifests.NAME}. {hint}") from None
    manifest = manifests.checked(found, folder)
    return Tape(folder, manifest, {name: _column(folder, name, manifest) for name in COLUMNS})


def _column(folder: Path, name: str, manifest: dict[str, Any]) -> np.ndarray:
    path, again = folder / f"{name}.col", "The copy is incomplete or damaged; ingest the source again."
    try:
        rows = open_immutable(path, COLUMNS[name])
    except FileNotFoundError:
        raise TapeError(f"{path} is missing. {again}") from None
    except StoreDamaged as error:
        raise TapeError(f"{error} {again}") from None
    if len(rows) != manifest["columns"][name]["n"]:
        raise TapeError(f"{path} has {len(rows):,} rows, the manifest has {manifest['columns'][name]['n']:,}. {again}")
    return atomic.frozen(rows)


class Tape(TapeRows):
    """An open tape, or a part of one: resolved rows of one instrument, as read-only memory-mapped arrays.

    Get one from `nbtrade.open_tape` or `nbtrade.ingest`, and a part from `between`.

    Parameters
    ----------
    path : Path
        Folder of the tape.
    manifest : dict
        Content of manifest.json.
    whole : dict of str to ndarray
        The columns over all rows.
    start, stop : int
        The rows of this part, counted from the start of the whole tape.

    Attributes
    ----------
    events : EVENT[n]
        Book changes and trades: px in ticks, qty in lots, prio, kind, side, flags, d_orders.
    ts_event, ts_recv : i8[n]
        The exchange's and the receiver's clock, ns since the epoch, UTC; the same for all rows of an event.
    order_id : i8[n]
        The exchange's order ids.
    sequence : u4[n]
        The venue's sequence numbers.

    Examples
    --------
    >>> tape
    <Tape SYNTH: 19,380 rows, 2025-01-06T14:30:00.000000000 to 2025-01-06T14:30:23.270730489 UTC, tick 0.01>
    >>> tape.events["px"][1:3], tape.events["qty"][1:3]
    (array([499999, 499991], dtype=int32), array([1, 5], dtype=int32))
    """

    def book_at(self, ts: Any, clock: str = "ts_recv") -> "BookState":
        """The book after the last event at or before a time.

        Parameters
        ----------
        ts : int, str, datetime, datetime64 or Timestamp
            Time: ns since the epoch, or text in UTC.
        clock : {"ts_recv", "ts_event"}
            The clock that `ts` refers to.

        Returns
        -------
        BookState
            Levels (`levels()`), orders in queue order (`to_df()`), and the best prices in ticks (`bid_px`, `ask_px`).

        Examples
        --------
        >>> tape.book_at("2025-01-06 14:31").levels(2)
            bid_px  bid_sz  bid_ct   ask_px  ask_sz  ask_ct
        0  4999.98      24       2  4999.99      29      12
        1  4999.97       5       2  5000.00      85      22
        """
        from nbtrade.tape import book_snapshot

        return book_snapshot.book_before(self, self.start + self.upper_bound(ts, clock))

    def audit(self) -> "Audit":
        """Check all bytes against their hashes and replay all rows.

        Returns
        -------
        Audit
            Counts of rows, events, crossed event ends and invalid levels, plus the faults found in the source.

        Raises
        ------
        TapeError
            A column differs from the one that was written.

        Examples
        --------
        >>> print(tape.audit())
        17,237 events in 19,380 rows
        0 crossed event ends
        """
        from nbtrade.tape import audit

        return audit.audit(self)

    def to_df(self) -> "pd.DataFrame":
        """Book changes and trades as a DataFrame, with prices in currency and sizes in lots.

        Returns
        -------
        DataFrame
            Indexed by ts_recv (UTC): ts_event, action, side, price, size, order_id, flags, sequence, prio.

        Notes
        -----
        One line per change, whatever its size: the few changes that take several rows of the tape (schema.EVENT) are combined.

        Examples
        --------
        >>> tape.to_df()[["action", "side", "price", "size"]].tail(2).reset_index(drop=True)
           action side    price  size
        0  cancel    B  4999.79     1
        1  cancel    B  4999.98     1
        """
        from nbtrade.tape import frames

        return frames.to_df(self)

    def info(self) -> str:
        """Describe the tape: source, instrument, tick, counts, faults. `nbtrade info` prints it.

        Returns
        -------
        str
            One line per item.

        Examples
        --------
        >>> print(tape.info().splitlines()[4])
        tick        0.01 (inferred: the greatest common divisor of the prices)
        """
        from nbtrade.tape import frames

        return frames.info(self)
