"""The bars of columns: upgrades, decoding, extending, size, and what a reader feels of an upgrade.

    python benchmarks/columns.py [--values 100000000] [--only NAME]...

Files are created in $NBTRADE_BENCH_DIR (default: the temporary folder) and removed. Peers alternate with nbtrade in one process; medians.
"""

import argparse
import contextlib
import mmap
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from measure import bench_dir, medians, timed

from nbtrade import Column, CompactColumn
from nbtrade._numba.jit import kernel
from nbtrade.storage.columns.header import ROWS
from nbtrade.storage.columns.kernels import packed
from nbtrade.storage.columns.upgrade import CHUNK

VALUES = 100_000_000
PYTHON_VALUES = 200_000  # copied one by one, and scaled


def steps(n):
    """Ascending values that fit 16 bits, each a few times."""
    return (np.arange(n) // max(n // 50_000, 1)).astype(np.uint16)


@contextlib.contextmanager
def file(name):
    """A path that is free before and after."""
    path = bench_dir() / name
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


# --- upgrades -----------------------------------------------------------------------------------------------
def copied(values, path, n_bytes):
    """The same output by chunks of np.copyto, written and synced: what NumPy can do."""
    out = np.zeros((CHUNK, n_bytes), np.uint8)
    narrow = out.view(np.uint32).reshape(-1) if n_bytes == 4 else out[:, :2]
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            np.copyto(narrow[: len(part)], part if n_bytes == 4 else part.view(np.uint8).reshape(-1, 2))
            file.write(out[: len(part)])
        os.fsync(file.fileno())


def copied_one_by_one(values, path, n_bytes):
    """The same, value by value in Python."""
    with open(path, "wb") as file:
        file.writelines(int(value).to_bytes(n_bytes, "little") for value in values[:PYTHON_VALUES])
        file.flush()
        os.fsync(file.fileno())


def upgrade_ratio(n=VALUES, repeats=7, width="u32"):
    """Seconds of a durable upgrade of n u16 values, against chunked np.copyto plus fsync, and against Python value by value."""
    values, n_bytes = steps(n), int(width[1:]) // 8
    ours, chunked, one_by_one = [], [], []
    with file("upgrade.col") as path, file("copy.bin") as peer, CompactColumn(path, "u16") as column:
        column.extend(values)
        column.sync()
        for _ in range(repeats):
            column.upgrade("u16")
            ours.append(timed(lambda: column.upgrade(width)))
            chunked.append(timed(lambda: copied(values, peer, n_bytes)))
            if len(one_by_one) < 3:
                assert peer.read_bytes()[:30_000_000] == column.packed().data[:30_000_000].tobytes()
                one_by_one.append(timed(lambda: copied_one_by_one(values, peer, n_bytes)) * n / PYTHON_VALUES)
            peer.unlink()
        assert np.array_equal(column.decode(n - 1000), values[-1000:])
        assert os.path.getsize(path) == ROWS + n * n_bytes
    a, b, c = (statistics.median(times) for times in (ours, chunked, one_by_one))
    return {"seconds": a, "times_a_chunked_copy": a / b, "times_faster_than_python": c / a}


# --- decoding, extending, size ---------------------------------------------------------------------------------
def decode_ratio(n=20_000_000, repeats=9, bits=24):
    """Decode of an odd width to int64 against np.copyto of u32 to int64, values per second."""
    rng = np.random.default_rng(bits)
    data = rng.integers(0, 256, n * bits // 8, np.uint8)
    expected = np.zeros((1000, 8), np.uint8)
    expected[:, : bits // 8] = data[: 1000 * bits // 8].reshape(1000, -1)
    plain, out, copy = rng.integers(0, 2**32, n, np.uint32), np.empty(n, np.int64), np.empty(n, np.int64)
    data.flags.writeable = False
    packed.unpack(data, bits, False, 0, out)
    assert np.array_equal(out[:1000], expected.view(np.int64).reshape(-1))
    times = max(1, 20_000_000 // n)

    def ours():
        for _ in range(times):
            packed.unpack(data, bits, True, 0, out)

    def peer():
        for _ in range(times):
            np.copyto(copy, plain)

    a, b = medians(ours, peer, repeats=repeats)
    return {"ratio": b / a, "values_per_second": n * times / a}


def extend_ratio(n=20_000_000, repeats=7):
    """Column.extend of n int64 in one bulk against ndarray.tofile, both without a sync."""
    values = np.arange(n)
    ours, peer = [], []
    for _ in range(repeats):
        with file("extend.col") as path:
            column = Column(path, "i8")
            ours.append(timed(lambda column=column: column.extend(values)))
            assert column[-1] == n - 1
            column._file.close()
        with file("tofile.bin") as path, open(path, "wb", buffering=0) as out:
            peer.append(timed(lambda out=out: values.tofile(out)))
    a, b = statistics.median(ours), statistics.median(peer)
    return {"ratio": b / a, "bytes_per_second": values.nbytes / a}


def size_ratio(n=10_000_000):
    """Bytes on disk of n values that need 17 bits (24 is the width), against three bytes a value."""
    with file("size.col") as path:
        with CompactColumn(path) as column:
            column.extend(np.arange(n) % 2**17)
            assert column.width == "u24"
        status = os.stat(path)
    return {"ratio": max(status.st_size, status.st_blocks * 512) / (n * 3)}


# --- a reader during an upgrade -----------------------------------------------------------------------------------
@kernel
def first_at_least(data, bits, signed, n, x):
    """lower_bound over packed values."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if packed.value_at(data, bits, signed, middle) < x:
            low = middle + 1
        else:
            high = middle
    return low


def _read(path, n, state):
    """Search and decode until told to stop; state: phase, errors, then for each phase the looks, their median and p99 in ns."""
    column, rng = CompactColumn.open(path), np.random.default_rng(1)
    step = max(n // 50_000, 1)
    latencies = ([], [])
    while state[0] < 2:
        phase = int(state[0])
        x, i = int(rng.integers(0, (n - 1) // step)), int(rng.integers(0, n - 1000))
        start = time.perf_counter_ns()
        values = column.packed()
        found = first_at_least(values.data, values.bits, values.signed, values.n, x)
        part = column.decode(i, i + 1000)
        latencies[phase].append(time.perf_counter_ns() - start)
        state[1] += found != x * step or part[0] != i // step or part[-1] != (i + 999) // step
    for phase in (0, 1):
        times = np.array(latencies[phase])
        state[2 + 3 * phase : 5 + 3 * phase] = len(times), int(np.percentile(times, 50)), int(np.percentile(times, 99))


def reader_latency(n=VALUES, upgrades=4):
    """p99 of a search and a decode of 1,000 values by another process: while the column is upgraded again and again, against idle."""
    with file("latency.col") as path, CompactColumn(path, "u16") as column:
        values = steps(n)
        column.extend(values)
        column.sync()
        first_at_least(*column.packed(), 7)
        column.upgrade("u24")
        column.decode(0, 1000)
        state = np.frombuffer(mmap.mmap(-1, 80), np.int64)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _read(path, n, state)
                code = 0
            finally:
                os._exit(code)
        time.sleep(3)
        state[0] = 1
        seconds = timed(lambda: [column.upgrade(width) for width in ("u32", "u24") * (upgrades // 2)])
        state[0] = 2
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert state[1] == 0
    return {
        "p99_ratio": state[7] / state[4],
        "idle_p50_us": state[3] / 1e3,
        "idle_p99_us": state[4] / 1e3,
        "p50_us": state[6] / 1e3,
        "p99_us": state[7] / 1e3,
        "looks": int(state[5]),
        "errors": int(state[1]),
        "seconds_of_upgrades": seconds,
    }


def bars(n):
    """Every bar by name: its measurement and its text."""
    table = {
        f"upgrade u16 to {width}": (lambda width=width: upgrade_ratio(n, width=width), "under 5 s, 2x a chunked copy at most, 50x Python")
        for width in ("u32", "u24")
    }
    for bits in (24, 40, 48, 56):
        table[f"decode {bits} bits"] = (lambda bits=bits: decode_ratio(bits=bits), "0.8x of u32 to i64")
        table[f"decode {bits} bits in cache"] = (lambda bits=bits: decode_ratio(1 << 15, bits=bits), "0.8x of u32 to i64")
    table["extend"] = (extend_ratio, "0.7x of tofile")
    table["size"] = (size_ratio, "1.01x the ideal at most")
    table["reader during upgrades"] = (lambda: reader_latency(n), "p99 3x idle at most")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=VALUES)
    parser.add_argument("--only", action="append", help="names that begin so")
    options = parser.parse_args()
    for name, (measure, bar) in bars(options.values).items():
        if not options.only or name.startswith(tuple(options.only)):
            figures = "  ".join(f"{key} {value:,.3g}" if value < 1000 else f"{key} {value:,.0f}" for key, value in measure().items())
            print(f"{name:<26} {figures}    (bar: {bar})", flush=True)


if __name__ == "__main__":
    main()
