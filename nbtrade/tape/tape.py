"""A tape: one instrument, one session, resolved; a folder of memory-mapped columns and a manifest.

    events    EVENT[n]      ts_event, ts_recv  i8[n]      order_id  i8[n]      sequence  u4[n]
    checkpoints             live                          manifest.json

Every array is a zero-copy, read-only map: opening costs the same for any length, and pages not looked at are not read.
`between` gives the same kind of object over fewer rows; `prio` keeps counting in rows of the whole tape.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.errors import StoreDamaged, TapeError
from nbtrade.schema import COLUMNS, FORMAT_VERSION
from nbtrade.storage import atomic
from nbtrade.storage.columns.immutable import open_sealed
from nbtrade.tape.rows import TapeRows

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.tape.audit import Audit
    from nbtrade.tape.book_snapshot import BookState


def open_tape(path: str | os.PathLike[str]) -> "Tape":
    """Map the tape in folder `path`.

    Raises TapeError when it is no tape, is of another format, or a column is not as long as the manifest says.
    """
    folder = Path(path)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        hint = "It is a file: make a tape of it with nbtrade.ingest(...)." if folder.is_file() else "Is the name right?"
        raise TapeError(f"{folder} is not a tape: it has no manifest.json. {hint}") from None
    except ValueError as error:
        raise TapeError(f"{folder}/manifest.json cannot be read ({error}). Ingest the source again.") from None
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and 0 < version < FORMAT_VERSION:
        raise TapeError(
            f"{folder} has tape format {version}, this nbtrade reads {FORMAT_VERSION}. "
            "Ingest the source again, with replace=True (--replace)."
        )
    if not isinstance(version, int) or ("columns" not in manifest and version <= FORMAT_VERSION):
        raise TapeError(f"{folder}/manifest.json is not that of a tape. Ingest the source again, or choose another folder.")
    if version > FORMAT_VERSION:
        raise TapeError(f"{folder} has tape format {manifest['format_version']}, this nbtrade reads {FORMAT_VERSION}. Upgrade nbtrade.")
    _check_lot(folder, manifest)
    return Tape(folder, manifest, {name: _column(folder, name, manifest) for name in COLUMNS})


def _check_lot(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise TapeError when the manifest does not say how large a lot is."""
    instrument = manifest.get("instrument")
    units = instrument.get("lot_units") if isinstance(instrument, dict) else None
    if type(units) is not int or not 0 < units < 2**63:
        raise TapeError(
            f"{folder}/manifest.json says that a lot is {units!r} units of 1e-9; it must be an integer from 1 to 2**63 - 1 "
            "(instrument.lot_units). The manifest was edited or is damaged: ingest the source again, with replace=True (--replace)."
        )


def _column(folder: Path, name: str, manifest: dict[str, Any]) -> np.ndarray:
    path, again = folder / f"{name}.col", "The copy is incomplete or damaged; ingest the source again."
    try:
        rows = open_sealed(path, COLUMNS[name])
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
