"""Results on disk: a folder of Parquet files and `metadata.json`.

    NAME/ metadata.json   fills  orders  samples  records  account  market  state .parquet        one Result
    NAME/ metadata.json   0/  1/  ...                                                             Results, one folder per instrument

Parquet and JSON because every other tool reads them, and because reading them runs no code: nothing is unpickled. Rows are kept unchanged
(ticks, lots, tick-lots, ns), so a loaded result equals the saved one bit for bit; `to_parquet` writes the frames in currency instead.

A folder is built under another name and renamed when it is complete, so a crash leaves no partial result. `metadata.json` has the
xxh3-128 of every file: damage is noticed, and so is a file that was edited. Weak case: both need pyarrow (the extra "parquet").
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nbtrade.errors import ResultError, ResultExists
from nbtrade.results.data import ResultData
from nbtrade.results.run_info import RunInfo
from nbtrade.schema import FILL, FILL_RULES, LAST_MARKET, ORDER, ORDER_TYPES, REASONS, SAMPLE, STATES, TIMES_IN_FORCE, TOTALS
from nbtrade.storage import atomic
from nbtrade.storage.disk import DISK

if TYPE_CHECKING:
    import pyarrow as pa

StrPath = str | os.PathLike[str]
FORMAT, FORMAT_VERSION = "nbtrade result", 2
METADATA = "metadata.json"
TIMES = {"ts", "sent", "arrived", "done"}  # i8 ns here, timestamp[ns, UTC] in the files
WITH_FEE = {"fills": "fill_fees", "samples": "sample_fees"}
TABLES = {"fills": FILL, "orders": ORDER, "samples": SAMPLE, "account": TOTALS, "market": LAST_MARKET}
FREE_TABLES = {"records": "record_rows", "state": "final_state"}  # their dtypes are in metadata.json
ATTRIBUTES = {"fills": "fill_rows", "orders": "order_rows", "samples": "sample_rows", "account": "account", "market": "market"}
CODES = {
    "fills": {"side": 2, "maker": 2},
    "orders": {
        "side": 2,
        "type": len(ORDER_TYPES),
        "tif": len(TIMES_IN_FORCE),
        "post_only": 2,
        "state": len(STATES),
        "reason": len(REASONS),
        "rule": len(FILL_RULES),
        "requeued": 2,
    },
}
FILES = {METADATA, *(f"{name}.parquet" for name in (*TABLES, *FREE_TABLES))}
SORTED_BY = {"fills": "ts", "orders": "id", "samples": "ts"}
ONE_ROW = {"account", "market", "state"}
FIELD_TYPES = {np.dtype(code).str for code in ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]}


def pyarrow() -> Any:
    """The module pyarrow, with `parquet` loaded. Raises ImportError that names the extra."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise ImportError('saving, loading and converting results need pyarrow: pip install "nbtrade[parquet]"') from None
    return pa


# --- folders -----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def new_folder(path: StrPath, replace: bool) -> Iterator[Path]:
    """A folder to write into; it becomes `path` when the block ends, and is removed if it raises.

    Raises ResultExists if `path` exists and may not be replaced: only a saved result may.
    """
    target = Path(os.path.abspath(path))
    if os.path.lexists(target):
        if not replace:
            raise ResultExists(f"{target} already exists. Pass replace=True or another name.")
        _check_replaceable(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target} cannot be written: the folder {target.parent} does not exist")
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with atomic.naming(target):
            os.chmod(building, 0o777 & ~_umask())  # mkdtemp's folder is private
            yield building
            for folder, _, names in os.walk(building):
                for name in names:
                    _sync(Path(folder) / name)
                DISK.sync_folder(folder)
            atomic.publish(building, target, lambda: _check_replaceable(target), lambda old: _check_replaced(old, target))
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Raise ResultExists unless the folder holds a saved result and nothing else: other files in it would be deleted too."""
    if folder.is_symlink() or not (folder / METADATA).is_file() or _metadata_of(folder).get("format") != FORMAT:
        raise ResultExists(f"{folder} is not a saved result of nbtrade, so it was not replaced. Choose another name.")
    if os.path.ismount(folder) or _is_current(folder):
        raise ResultExists(f"{folder} is the current folder or a mounted file system, so it is not replaced. Choose another name.")
    extra = _unexpected(folder)
    if extra is not None:
        raise ResultExists(f"{folder} holds {extra.relative_to(folder)}, which no saved result has. Move it away, or choose another name.")


def _is_current(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # a current folder that was removed
        return os.path.samefile(folder, os.curdir)
    return False


def _unexpected(folder: Path) -> Path | None:
    """An entry that a saved result does not have; None if there is none. Only Results have folders: one for each instrument."""
    instruments = _metadata_of(folder).get("instruments")
    numbers = {str(i) for i in range(len(instruments))} if isinstance(instruments, list) else set()
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            return entry
        if entry.is_dir() and entry.name in numbers:
            found = next((one for one in sorted(entry.iterdir()) if one.is_symlink() or not one.is_file() or one.name not in FILES), None)
            if found is not None:
                return found
        elif not entry.is_file() or entry.name not in FILES:
            return entry
    return None


def _check_replaced(old: Path, target: Path) -> None:
    """Raise ResultExists if a file appeared in the result that was swapped out."""
    extra = _unexpected(old)
    if extra is not None:
        raise ResultExists(f"{target} was changed while the new result was written: {extra.name} appeared. It was not replaced.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    fd = DISK.open(path, os.O_RDONLY)
    try:
        DISK.fsync(fd)
    finally:
        DISK.close(fd)


def _metadata_of(folder: Path) -> dict[str, Any]:
    """The content of `metadata.json`, unchecked; an empty dict when it is not JSON, or not an object."""
    try:
        values = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def write_metadata(folder: Path, values: Mapping[str, Any]) -> None:
    """Write `metadata.json`, with the format's name and version."""
    text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **values}, indent=1, allow_nan=False)
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")


def read_metadata(folder: Path) -> dict[str, Any]:
    """The contents of `metadata.json`, with its format checked. Raises ResultError for another format or version."""
    path = folder / METADATA
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ResultError(f"{folder} is not a saved result: it has no {METADATA}. Is the name right?") from None
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} cannot be read: {error}. Save the result again.") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ResultError(f'{path} does not describe a saved result: "format" is not "{FORMAT}"')
    version = values.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ResultError(
            f"{folder} has result format {version!r}, this nbtrade reads {FORMAT_VERSION}. Read it with the version that wrote it."
        )
    return values


# --- one result --------------------------------------------------------------------------------------------
def write_data(data: ResultData, folder: Path) -> None:
    """Write a result's files into an existing folder."""
    pyarrow()
    dtypes, digests = {}, {}
    for name, attribute in {**ATTRIBUTES, **FREE_TABLES}.items():
        rows = np.atleast_1d(np.asarray(getattr(data, attribute)))
        if name in FREE_TABLES:
            dtypes[name] = [[field, rows.dtype[field].base.str, list(rows.dtype[field].shape)] for field in rows.dtype.names or ()]
        table = table_of(rows)
        if name in WITH_FEE:
            table = table.append_column("fee", [getattr(data, WITH_FEE[name])])
        path = folder / f"{name}.parquet"
        pyarrow().parquet.write_table(table, path)
        digests[name] = xxhash.xxh3_128_hexdigest(path.read_bytes())
    write_metadata(folder, {"info": data.info.to_json(), "dtypes": dtypes, "xxh3_128": digests, "hash": data.hash})


def read_data(folder: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ResultData of a saved result. Raises ResultError that names the file and the fault."""
    where = folder / METADATA
    info = RunInfo.from_json(metadata.get("info"), f"{where}: info")
    dtypes, digests = metadata.get("dtypes"), metadata.get("xxh3_128")
    if not isinstance(dtypes, dict) or not isinstance(digests, dict):
        raise ResultError(f"{where}: dtypes and xxh3_128 must be objects. Save the result again.")
    arguments: dict[str, Any] = {"info": info}
    for name, attribute in {**ATTRIBUTES, **FREE_TABLES}.items():
        path = folder / f"{name}.parquet"
        dtype = TABLES[name] if name in TABLES else _dtype_of(dtypes.get(name), f"{where}: dtypes: {name}")
        table = _read_table(path, digests.get(name))
        if name in WITH_FEE:
            arguments[WITH_FEE[name]] = _column(table, "fee", np.dtype("f8"), path)
            table = table.drop_columns(["fee"])
        rows = rows_of(table, dtype, path)
        arguments[attribute] = _only(rows, bool(table.column_names), path) if name in ONE_ROW else rows
    if arguments["record_rows"].dtype.names[:1] != ("ts",):
        raise ResultError(f"{where}: dtypes: records must begin with the field ts")
    for name in ATTRIBUTES:
        _check_values(arguments[ATTRIBUTES[name]], name, folder / f"{name}.parquet")
    return arguments


def _check_values(rows: np.ndarray, name: str, path: Path) -> None:
    """Raise ResultError for a code without a meaning, and for rows out of order."""
    for field, n in CODES.get(name, {}).items():
        wrong = np.flatnonzero((rows[field] < 0) | (rows[field] >= n))
        if len(wrong):
            raise ResultError(f"{path}: column {field}, row {wrong[0]:,} is {rows[field][wrong[0]]}; codes are 0 to {n - 1}")
    key = SORTED_BY.get(name)
    if key and (np.diff(rows[key]) < 0).any():
        raise ResultError(f"{path}: row {int(np.argmax(np.diff(rows[key]) < 0)) + 1:,} is not in order of {key}")


def _only(rows: np.ndarray, has_columns: bool, path: Path) -> np.ndarray | np.void:
    """The one record of a table; a table without columns has no rows either."""
    if has_columns and len(rows) != 1:
        raise ResultError(f"{path} has {len(rows):,} rows instead of one")
    return rows[0] if has_columns else np.zeros((), rows.dtype)


def _read_table(path: Path, digest: Any) -> "pa.Table":
    """A Parquet file whose bytes have this digest. Raises ResultError."""
    pa = pyarrow()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}. The copy is incomplete; save the result again.") from None
    if xxhash.xxh3_128_hexdigest(content) != digest:
        raise ResultError(f"{path} differs from the saved file: its checksum is wrong. It is damaged, or another program has written it.")
    try:
        return pa.parquet.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ResultError(f"{path} is not a Parquet file that pyarrow {pa.__version__} reads: {error}") from None


def _dtype_of(fields: Any, where: str) -> np.dtype:
    """The dtype of fields [[name, "<f8", [shape]], ...]: numbers only. Raises ResultError for anything else."""
    right = isinstance(fields, list) and all(
        isinstance(one, list)
        and len(one) == 3
        and isinstance(one[0], str)
        and isinstance(one[1], str)
        and one[1] in FIELD_TYPES
        and isinstance(one[2], list)
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in one[2])
        for one in fields
    )
    try:
        return np.dtype([(name, code, tuple(shape)) for name, code, shape in fields]) if right else _wrong_dtype(fields, where)
    except ValueError as error:
        raise ResultError(f"{where}: {error}") from None


def _wrong_dtype(fields: Any, where: str) -> np.dtype:
    raise ResultError(f'{where} is {str(fields)[:200]}: expected a list of [name, type, shape], with types such as "<f8"')


# --- rows and tables -----------------------------------------------------------------------------------------
def table_of(rows: np.ndarray) -> "pa.Table":
    """A structured array as a table: one column per field, times as timestamps, arrays as fixed-size lists."""
    pa = pyarrow()
    columns = {}
    for name in _columns_of(rows.dtype):
        values = np.ascontiguousarray(rows[name])
        column = pa.array(values.reshape(-1))
        if name in TIMES and values.dtype == np.int64:
            column = column.cast(pa.timestamp("ns", "UTC"))
        n = int(np.prod(rows.dtype[name].shape))
        columns[name] = pa.FixedSizeListArray.from_arrays(column, n) if rows.dtype[name].shape else column
    return pa.table(columns)


def _columns_of(dtype: np.dtype) -> list[str]:
    """The fields that have bytes: a list of length 0 is left out."""
    return [name for name in dtype.names or () if dtype[name].itemsize]


def rows_of(table: "pa.Table", dtype: np.dtype, path: Path) -> np.ndarray:
    """The structured array that `table_of` made into a table. Raises ResultError for other columns or types."""
    names = _columns_of(dtype)
    if table.column_names != names:
        raise ResultError(f"{path} has the columns {', '.join(table.column_names) or 'none'}; expected {', '.join(names) or 'none'}")
    rows = np.zeros(table.num_rows, dtype)
    for name in names:
        rows[name] = _column(table, name, dtype[name], path)
    return rows


def _column(table: "pa.Table", name: str, dtype: np.dtype, path: Path) -> np.ndarray:
    """One column as an array of dtype.base, each row with the shape of dtype."""
    pa = pyarrow()
    kind = pa.from_numpy_dtype(dtype.base)
    if name in TIMES and dtype == np.int64:
        kind = pa.timestamp("ns", "UTC")
    n = int(np.prod(dtype.shape))
    whole = pa.list_(kind, n) if dtype.shape else kind
    if name not in table.column_names or not _is_type(table.schema.field(name).type, whole):
        found = table.schema.field(name).type if name in table.column_names else "missing"
        raise ResultError(f"{path}: column {name} is {found}; expected {whole}")
    column = table.column(name).combine_chunks()
    values = column.flatten() if dtype.shape else column
    if column.null_count or values.null_count or len(values) != table.num_rows * n:
        raise ResultError(f"{path}: column {name} has empty values; expected a number in every row")
    array = values.cast(pa.int64()) if kind != pa.from_numpy_dtype(dtype.base) else values
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype.base).reshape(table.num_rows, *dtype.shape)


def _is_type(found: Any, expected: Any) -> bool:
    """True for the same type; names of list items do not count."""
    pa = pyarrow()
    if pa.types.is_fixed_size_list(expected) and pa.types.is_fixed_size_list(found):
        return found.list_size == expected.list_size and found.value_type == expected.value_type
    return bool(found == expected)


# --- frames ------------------------------------------------------------------------------------------------
def write_frames(tables: Mapping[str, "pa.Table"], folder: StrPath) -> Path:
    """Write tables as NAME.parquet, each atomically; returns the folder."""
    pa, target = pyarrow(), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        path = target / f"{name}.parquet"
        with atomic.naming(path), tempfile.TemporaryDirectory(dir=target, prefix=f".{name}.") as folder_of_new:  # a unique name
            new = Path(folder_of_new) / path.name
            pa.parquet.write_table(table, new)
            _sync(new)
            DISK.rename(new, path)
    DISK.sync_folder(target)
    return target
