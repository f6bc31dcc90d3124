"""Databento Binary Encoding: `.dbn` and `.dbn.zst`, versions 1 to 3, schema mbo.

databento-dbn reads the metadata; the records after it are read in bulk, straight into 56-byte structured arrays. Files captured live
contain other kinds of records too, and `ts_out` makes records longer: such files are walked record by record.
Source: DBN specification; the MBO record is the same in all versions.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard

from nbtrade._numba.jit import kernel
from nbtrade.errors import SourceError
from nbtrade.schema import RECORD, RTYPE_MBO
from nbtrade.sources.base import BATCH_RECORDS, Progress, Source, new_buffers
from nbtrade.sources.zstd_frames import MAGIC, SKIPPABLE, end_of_frames
from nbtrade.storage.system import map_whole

ITEM = RECORD.itemsize
READ_SIZE = 1 << 17


def open_dbn(path: Path) -> Source:
    """Check the start of a DBN file, and its end if it is compressed.

    Raises SourceError: not DBN, legacy DBZ, another schema, empty, cut short.
    """
    n_bytes = path.stat().st_size
    if n_bytes == 0:
        raise SourceError(f"{path} is empty (0 bytes). Was the download completed?")
    _check_start(path)
    with _opened(path) as (stream, _):
        version, metadata, mixed = _metadata(path, stream)

    def batches(progress: Progress) -> Iterator[np.ndarray]:
        with _opened(path) as (stream, file):
            _metadata(path, stream)
            records = _walked(path, stream) if mixed else _whole(path, stream)
            at = 0
            for batch in records:
                yield batch
                progress(file.tell() - at)
                at = file.tell()

    return Source(path, f"DBN v{version}", metadata.dataset, n_bytes, batches, _symbols(metadata))


class _opened:
    """Context manager: (stream of decoded bytes, the underlying file)."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb")
        self.stream: Any = self.file
        if self.file.read(4) == MAGIC.to_bytes(4, "little"):
            self.stream = zstandard.ZstdDecompressor().stream_reader(self.file, read_size=READ_SIZE, read_across_frames=True)
        self.file.seek(0)

    def __enter__(self) -> tuple[Any, BinaryIO]:
        return self.stream, self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _check_start(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(8)
        magic = int.from_bytes(start[:4], "little")
        if magic in SKIPPABLE:
            raise SourceError(
                f"{path} is in the legacy DBZ format (before DBN, 2023). Convert it first: "
                "`dbn FILE.dbz -o FILE.dbn.zst` with Databento's dbn tool, or download it again."
            )
        if magic == MAGIC:
            with map_whole(file) as data:
                end = end_of_frames(data)
                if end < len(data):
                    raise SourceError(
                        f"{path} is cut short or damaged: its last complete zstd frame ends at byte {end:,} of {len(data):,}. "
                        "Download or copy it again."
                    )
        elif start[:3] != b"DBN":
            raise SourceError(f"{path} is not a DBN file: it starts with {start!r}, not with b'DBN' or a zstd frame.")


def _read(path: Path, stream: Any, n: int, what: str) -> bytes:
    data = b""
    try:
        while len(data) < n:
            part = stream.read(n - len(data))
            if not part:
                raise SourceError(f"{path} is cut short: its {what} has {len(data):,} of {n:,} bytes. Download or copy it again.")
            data += part
    except zstandard.ZstdError as error:
        raise SourceError(f"{path} is damaged: {error}, in its {what}. Download or copy it again.") from None
    return data


def _metadata(path: Path, stream: Any) -> tuple[int, Any, bool]:
    """Read the metadata from the stream. Returns the file's version, the metadata, and whether records must be walked one by one."""
    import databento_dbn

    start = _read(path, stream, 8, "header")
    if start[:3] != b"DBN":
        raise SourceError(f"{path} is not a DBN file: its content starts with {start[:4]!r}, not with b'DBN'.")
    if not 1 <= start[3] <= 3:
        raise SourceError(f"{path} has DBN version {start[3]}; this version of nbtrade reads versions 1 to 3. Upgrade nbtrade.")
    data = start + _read(path, stream, int.from_bytes(start[4:8], "little"), "metadata")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about dates in the sample files
            metadata = databento_dbn.Metadata.decode(data)
    except Exception as error:  # databento-dbn raises its own exceptions and plain ones
        raise SourceError(f"{path}: the DBN metadata cannot be read ({error}). The file is damaged: download or copy it again.") from None
    schema = None if metadata.schema is None else str(metadata.schema)
    if schema not in (None, "mbo"):
        raise SourceError(
            f"{path} has schema {schema!r}; nbtrade needs 'mbo' (every order), from which the other schemas can be derived. "
            "Request the file with schema='mbo'."
        )
    return start[3], metadata, schema is None or bool(metadata.ts_out)


def _symbols(metadata: Any) -> dict[int, str]:
    """instrument_id -> symbol from the metadata's mappings (the last one wins)."""
    symbols = {}
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            if str(interval["symbol"]).isdigit():
                symbols[int(interval["symbol"])] = symbol
            elif symbol.isdigit():
                symbols[int(symbol)] = interval["symbol"]
    return symbols


def _fill(path: Path, stream: Any, into: memoryview) -> int:
    """Read until `into` is full or the data ends; returns the bytes read."""
    n = 0
    try:
        while n < len(into):
            part = stream.readinto(into[n:])
            if not part:
                break
            n += part
    except zstandard.ZstdError as error:
        raise SourceError(f"{path} is damaged: {error}. Download or copy it again.") from None
    return n


def _whole(path: Path, stream: Any) -> Iterator[np.ndarray]:
    """Batches of a stream that contains 56-byte records only."""
    buffers = new_buffers(RECORD)
    n_records, k = 0, 0
    while True:
        records = buffers[k % len(buffers)]
        n = _fill(path, stream, memoryview(records.view(np.uint8).reshape(-1)))
        if n % ITEM:
            raise SourceError(
                f"{path} is cut short: record {n_records + n // ITEM:,} has {n % ITEM} of {ITEM} bytes. Download or copy it again."
            )
        batch = records[: n // ITEM]
        n_records += len(batch)
        k += 1
        if len(batch):
            yield batch
        if len(batch) < len(records):
            return


@kernel
def extract(data, n, out):
    """Copy the MBO records among records of any length. data: u1[>= n]; out: u1[m, 56].

    Returns (records copied, bytes used). Stops at an incomplete record, a length of 0, or when `out` is full.
    """
    at, k = 0, 0
    while at < n and k < len(out):
        length = data[at] * 4
        if length == 0 or at + length > n:
            break
        if data[at + 1] == RTYPE_MBO and length >= ITEM:
            for i in range(ITEM):
                out[k, i] = data[at + i]
            out[k, 0] = ITEM // 4
            k += 1
        at += length
    return k, at


def _walked(path: Path, stream: Any) -> Iterator[np.ndarray]:
    """Batches of a stream with records of several kinds or with ts_out."""
    buffers = new_buffers(RECORD)
    data = np.empty(BATCH_RECORDS * ITEM, np.uint8)
    left, k, offset = 0, 0, 0
    while True:
        n = left + _fill(path, stream, memoryview(data)[left:])
        records = buffers[k % len(buffers)]
        found, used = extract(data, n, records.view(np.uint8).reshape(-1, ITEM))
        if used == 0 and n:
            raise SourceError(f"{path} is cut short or damaged: no whole record at byte {offset:,} of its records.")
        offset += used
        left = n - used
        data[:left] = data[used:n].copy()
        k += 1
        if found:
            yield records[:found]
        if n == 0:
            return
