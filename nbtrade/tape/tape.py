"""A tape: one instrument, one session, resolved; a folder of memory-mapped columns and a manifest.

    events    EVENT[n]      ts_event, ts_recv  i8[n]      order_id  i8[n]      sequence  u4[n]
    checkpoints             live                          manifest.json

Every array is a zero-copy, read-only map: opening costs the same for any length, and pages not looked at are not read.
`between` gives the same kind of object over fewer rows; `prio` keeps counting in rows of the whole tape.
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
    """Map the tape in folder `path`.

    Raises TapeError when it is not a tape, is of another format, or a column or the manifest is damaged.
    """
    folder = Path(path)
    try:
        found = manifests.read(folder)
    except (FileNotFoundError, NotADirectoryError):
        hint = "It is a file: make a tape of it with nbtrade.ingest(...)." if folder.is_file() else "Is the name right?"
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
        raise TapeError(f"{path} has {len(rows):,} rows, the manifest says {manifest['columns'][name]['n']:,}. {again}")
    return atomic.frozen(rows)


class Tape(TapeRows):
    """Rows `start`..`stop` of an opened tape (all of it, unless it comes from `between`)."""

    def book_at(self, ts: Any, clock: str = "ts_recv") -> "BookState":
        """The book after the last event with clock <= ts: levels and orders in queue order."""
        from nbtrade.tape import book_snapshot

        return book_snapshot.book_before(self, self.start + self.upper_bound(ts, clock))

    def audit(self) -> "Audit":
        """Check all bytes, replay all rows and report crossed event ends and other oddities, besides the source's faults.

        Raises TapeError when a column is not what was written.
        """
        from nbtrade.tape import audit

        return audit.audit(self)

    def to_df(self) -> "pd.DataFrame":
        """Book changes and trades as a DataFrame indexed by ts_recv (UTC), with the field's names, prices in currency and sizes in lots.

        One line is one change, whatever its size: the few that take several rows of the tape (schema.EVENT) are put together.
        """
        from nbtrade.tape import frames

        return frames.to_df(self)

    def info(self) -> str:
        """What `nbtrade info` prints."""
        from nbtrade.tape import frames

        return frames.info(self)
