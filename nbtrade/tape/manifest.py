"""A tape's manifest.json: read it, recognise it as nbtrade's, and check its values before use."""

import stat
from pathlib import Path
from typing import Any

from nbtrade.errors import TapeError
from nbtrade.schema import COLUMNS, FORMAT_VERSION
from nbtrade.storage import dtypes

NAME = "manifest.json"
MOST_BYTES = 16 << 20
MADE_BY = "nbtrade "  # the start of `made_by`
AGAIN = "Ingest the source again into another folder, or restore the tape from a copy."
INT32 = 1 << 31


def read(folder: Path) -> Any:
    """The JSON of a folder's manifest, unchecked. Raises FileNotFoundError, NotADirectoryError, TapeError."""
    path = folder / NAME
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
        raise TapeError(f"{path} is not a tape's manifest: it is not a regular file, or exceeds {MOST_BYTES >> 20} MiB. {AGAIN}")
    try:
        return dtypes.parsed(path.read_bytes())
    except dtypes.MalformedError as error:
        raise TapeError(f"{path} cannot be read: {error}. {AGAIN}") from None


def is_ours(manifest: Any) -> bool:
    """Whether JSON is the manifest of a tape, of any format: other programs use the name manifest.json too."""
    if not isinstance(manifest, dict) or not {"format_version", "made_by", "instrument", "content_hash"} <= manifest.keys():
        return False
    version, made_by = manifest["format_version"], manifest["made_by"]
    return dtypes.is_count(version) and version > 0 and isinstance(made_by, str) and made_by.startswith(MADE_BY)


def checked(manifest: Any, folder: Path) -> dict[str, Any]:
    """Return the manifest if this version of nbtrade supports the format and every entry has the right type. Raises TapeError."""
    version: Any = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not dtypes.is_count(version) or version == 0:
        raise TapeError(f"{folder}/{NAME} is not a tape's manifest. Ingest the source again, or choose another folder.")
    if version < FORMAT_VERSION:
        raise TapeError(
            f"{folder} has tape format {version}; this version of nbtrade reads format {FORMAT_VERSION}. "
            "Ingest the source again, with replace=True (--replace)."
        )
    if version > FORMAT_VERSION:
        raise TapeError(f"{folder} has tape format {version}; this version of nbtrade reads format {FORMAT_VERSION}. Upgrade nbtrade.")
    if "columns" not in manifest:
        raise TapeError(f"{folder}/{NAME} is not a tape's manifest. Ingest the source again, or choose another folder.")
    wrong = _wrong(manifest)
    if wrong:
        raise TapeError(f"{folder}/{NAME} is damaged: {wrong} is missing or has a wrong value. {AGAIN}")
    return manifest


def _wrong(manifest: dict[str, Any]) -> str:
    """The first entry that is missing or has the wrong type, or ""."""
    for path, fits in _ENTRIES.items():
        value: Any = manifest
        for key in path.split("."):
            value = value[key] if isinstance(value, dict) and key in value else _MISSING
        if not fits(value):
            return path
    if manifest["px"]["min"] > manifest["px"]["max"]:
        return "px"
    return next((f"faults.{name}" for name, fault in manifest["faults"].items() if not _is_fault(fault)), "")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_px(value: Any) -> bool:
    return type(value) is int and -INT32 <= value < INT32


def _is_fault(value: Any) -> bool:
    return isinstance(value, dict) and dtypes.is_count(value.get("count")) and "first" in value


_MISSING = object()
_ENTRIES = {
    "instrument.symbol": _is_text,
    "instrument.instrument_id": dtypes.is_count,
    "instrument.publisher_id": dtypes.is_count,
    "instrument.tick": lambda value: dtypes.is_count(value) and value > 0,
    "instrument.tick_from": _is_text,
    "instrument.lot_units": lambda value: dtypes.is_count(value) and 0 < value < 2**63,
    "source.name": _is_text,
    "source.kind": _is_text,
    "source.dataset": lambda value: value is None or isinstance(value, str),
    **{f"counts.{name}": dtypes.is_count for name in ("records", "skipped", "rows", "events", "live_at_end", "most_live")},
    "px.min": _is_px,
    "px.max": _is_px,
    "faults": lambda value: isinstance(value, dict),
    "content_hash": _is_text,
    **{f"columns.{name}.n": dtypes.is_count for name in COLUMNS},
    **{f"columns.{name}.xxh3_128": _is_text for name in COLUMNS},
}
