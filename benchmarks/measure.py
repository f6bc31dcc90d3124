"""Shared by the bars and the asv suite: seeded days, interleaved ratios, and peers.

Every measurement first asserts its answer. A ratio is the median of nbtrade over the median of the peer. The two alternate, in one process
or in two, with warm kernels. Days are made once in $NBTRADE_BENCH_DIR (default: the temporary folder).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

import nbtrade as nt
from nbtrade import synthetic
from nbtrade._numba.jit import kernel
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.schema import FORMAT_VERSION
from nbtrade.tape.book_snapshot import book_arrays

HERE = Path(__file__).parent
LATENCY = nt.Latency(entry="1ms", response="1ms")


def bench_dir() -> Path:
    """The folder of synthetic days."""
    folder = Path(os.environ.get("NBTRADE_BENCH_DIR") or Path(tempfile.gettempdir()) / "nbtrade-bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def day(n: int, live: int = 1000, scenario: str = "ordinary") -> Path:
    """A synthetic day as .dbn.zst; n records span what n of 20 M in 6.5 hours would."""
    path = bench_dir() / f"{scenario}_{n}_{live}.dbn.zst"
    return path if path.exists() else synthetic.write_dbn(path, n, live_orders=live, scenario=scenario)


def tape_of(path: Path) -> nt.Tape:
    """The day's tape, ingested once."""
    folder = path.with_suffix("").with_suffix(f".v{FORMAT_VERSION}.tape")
    return nt.open_tape(folder) if folder.exists() else nt.ingest(path, folder, progress=False)


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(*functions: Callable[[], object], repeats: int = 7) -> list[float]:
    """Median seconds of each, alternating, after one untimed round."""
    for function in functions:
        function()
    rounds = [[timed(function) for function in functions] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


# --- peers and physical limits -------------------------------------------------------------------
def decode(path: Path, n_bytes: int = 56 << 15) -> int:
    """Merely decode a .dbn.zst with the fastest reader found (python-zstandard into one reused buffer); bytes decoded."""
    buffer, total = bytearray(n_bytes), 0
    with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_size=1 << 17, read_across_frames=True) as stream:
        while n := stream.readinto(buffer):
            total += n
    return total


@kernel
def sum_events(events):
    """Merely sum every field of the event rows."""
    total = 0
    for i in range(len(events)):
        e = events[i]
        total += e.px + e.qty + e.prio + e.kind + e.side + e["flags"] + e.d_orders
    return total


@kernel
def sum_tape(events, ts_event, ts_recv):
    """Merely sum every field that a backtest reads: the rows and both clocks."""
    total = 0
    for i in range(len(events)):
        e = events[i]
        total += e.px + e.qty + e.prio + e.kind + e.side + e["flags"] + e.d_orders + (ts_event[i] & 1) + (ts_recv[i] & 1)
    return total


class HftBacktest:
    """hftbacktest 2.4.4 in its own environment and process, one pass on demand; its touch is checked before the clock starts."""

    def __init__(self, path: Path) -> None:
        python = os.environ.get("NBTRADE_PEERS_PYTHON", "")
        if not python:
            raise NotImplementedError("set NBTRADE_PEERS_PYTHON to the Python of an environment with benchmarks/peers/requirements.txt")
        records = path.with_suffix("").with_suffix(".npy")
        if not records.exists():
            np.save(records, np.concatenate([b.copy() for b in _batches(path)]))
        self.result = records.with_suffix(".json")
        script = HERE / "peers" / "hftbacktest_l3.py"
        arguments = [python, script, records, self.result, "--tick", "0.01", "--depth", "roi", "--interleave", "--repeats", "1000"]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait for the line it prints after conversion, warm-up and touch check."""
        self.seconds()

    def seconds(self) -> float:
        """Seconds of one timed pass."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            try:
                return float(line.split()[-1])
            except (ValueError, IndexError):
                continue
        raise RuntimeError("hftbacktest stopped: see its messages above")

    def close(self) -> dict:
        """End the process; its JSON result."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        return json.loads(self.result.read_text())


def _batches(path: Path):
    from nbtrade.tape.ingest import open_source

    return open_source(path).batches(lambda n: None)


# --- the bars -------------------------------------------------------------------------------------
def ingest_ratio(n: int, repeats: int) -> dict[str, float]:
    """Ingest (decode, resolve, hash, write, sync) against merely decoding the same file."""
    path, out = day(n), bench_dir() / "ingest.tape"
    expected = tape_of(path).content_hash
    assert nt.ingest(path, out, replace=True, progress=False).content_hash == expected
    ours, peer = [], []
    for _ in range(repeats):
        shutil.rmtree(out)
        ours.append(timed(lambda: nt.ingest(path, out, progress=False)))
        peer.append(timed(lambda: decode(path)))
    ours, peer = statistics.median(ours), statistics.median(peer)
    return {"ratio": peer / ours, "records_per_second": n / ours, "decode_records_per_second": n / peer}


def book_ratio(n: int, repeats: int, live: int = 1000) -> dict[str, float]:
    """Book replay against merely summing the tape's fields."""
    tape = tape_of(day(n, live))
    book = book_arrays(tape)

    def replay():
        fresh = arrays.copied(book)
        assert books.replay(tape.events, 0, len(tape), *fresh) == len(tape)
        return fresh

    final = replay()
    state = tape.book_at(int(tape.ts_recv[-1]))
    assert (int(final.sides["best"][0]), -int(final.sides["best"][1])) == (state.bid_px, state.ask_px)
    ours, rows, all_fields = medians(
        replay, lambda: sum_events(tape.events), lambda: sum_tape(tape.events, tape.ts_event, tape.ts_recv), repeats=repeats
    )
    return {"ratio": all_fields / ours, "ratio_to_rows_alone": rows / ours, "rows_per_second": len(tape) / ours}


def run(data) -> nt.Result:
    """A full backtest of the market maker, with its summary."""
    result = nt.backtest(data, nt.market_maker, latency=LATENCY, fees=nt.Fees(maker=-0.1, taker=0.3))
    _ = result.summary
    return result


def backtest_ratio(n: int, repeats: int, live: int) -> dict[str, float]:
    """Full backtest from a tape against hftbacktest L3 FIFO on the same records and strategy."""
    path = day(n, live)
    tape = tape_of(path)
    expected = run(tape).hash
    peer = HftBacktest(path)
    ours, theirs = [], []
    for _ in range(repeats):  # three of nbtrade per round: the first, after seconds of waiting, runs on a cold core
        theirs.append(peer.seconds())
        ours.extend(timed(lambda: run(tape)) for _ in range(3))
    assert run(tape).hash == expected
    answer = peer.close()
    a, b = statistics.median(ours), statistics.median(theirs)
    return {"ratio": b / a, "records_per_second": n / a, "peer_records_per_second": n / b, "peer_fills": answer["fills"]}


def tape_backtest_ratio(n: int, repeats: int) -> dict[str, float]:
    """Full backtest from a tape against merely summing the tape's fields."""
    tape = tape_of(day(n))
    ours, peer = medians(lambda: run(tape), lambda: sum_tape(tape.events, tape.ts_event, tape.ts_recv), repeats=repeats)
    return {"ratio": peer / ours, "rows_per_second": len(tape) / ours}


def source_ratio(n: int, repeats: int) -> dict[str, float]:
    """Full backtest straight from .dbn.zst against merely reading that file."""
    path = day(n)
    assert run(path).hash == run(tape_of(path)).hash
    ours, peer = medians(lambda: run(path), lambda: decode(path), repeats=repeats)
    return {"ratio": peer / ours, "records_per_second": n / ours}


def pathological_ratio(n: int, repeats: int, scenario: str) -> dict[str, float]:
    """Book replay and backtest of a stub-quote or outlier stream against the ordinary stream, per row."""
    plain, odd = tape_of(day(n)), tape_of(day(n, scenario=scenario))

    def replay(tape):
        book = book_arrays(tape)
        at = 0
        while (at := books.replay(tape.events, at, len(tape), *book)) < len(tape):
            book = arrays.grown(book)

    a, b, c, d = medians(lambda: replay(plain), lambda: replay(odd), lambda: run(plain), lambda: run(odd), repeats=repeats)
    rows = len(odd) / len(plain)
    return {"book_ratio": a / b * rows, "backtest_ratio": c / d * rows}


def second_process_seconds(repeats: int) -> dict[str, float]:
    """A new process: import to first result on a small tape, over a bare `import numba`."""
    tape = tape_of(day(20_000))
    run(tape)
    ours = f"import nbtrade as nt; r = nt.backtest({str(tape.path)!r}, nt.market_maker); assert r.account['n_orders'] > 0"
    bare = "import numba"
    a, b = medians(*(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True) for code in (ours, bare)), repeats=repeats)
    return {"seconds_over_numba": a - b, "seconds": a, "import_numba": b}


MEMORY_CODE = """
import sys, threading, time
def anon():
    return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1]) // 1024
peak, stop = [0], []
def watch():
    while not stop:
        peak[0] = max(peak[0], anon()); time.sleep(0.01)
import nbtrade as nt
thread = threading.Thread(target=watch); thread.start()
r = nt.backtest(sys.argv[1], nt.market_maker, latency=nt.Latency('1ms', '1ms'))
assert r.summary['n_fills'] > 0
stop.append(1); thread.join()
print(peak[0], r.summary['n_rows'])
"""


def private_memory(n: int) -> dict[str, float]:
    """Peak private (anonymous) memory of a process that backtests a tape of n records, MB."""
    path = bench_dir() / f"long_{n}.v{FORMAT_VERSION}.tape"
    if not path.exists():
        ingest_from_memory(n, path)
    done = subprocess.run([sys.executable, "-c", MEMORY_CODE, str(path)], capture_output=True, text=True, check=True)
    peak, events = done.stdout.split()
    return {"peak_private_mb": float(peak), "events": float(events), "rows": len(nt.open_tape(path))}


def ingest_from_memory(n: int, out: Path) -> None:
    """The tape of a synthetic day, without a file between."""
    from nbtrade.sources.base import Source
    from nbtrade.tape import ingest

    source = Source(out, "memory", "", 1, lambda progress: synthetic.batches(n))
    ingest._ingest(source, lambda _: out, ingest.Choice(source, None, None), None, False, False, one=True)


ALLOCATION_CODE = """
import sys
import nbtrade as nt
from numba.core.runtime import rtsys
tape = nt.open_tape(sys.argv[1])
run = lambda: nt.backtest(tape, nt.market_maker, latency=nt.Latency('1ms', '1ms'))
run()
before = rtsys.get_allocation_stats()
result = run()
after = rtsys.get_allocation_stats()
assert result.account['n_fills'] > 0
print((after.alloc - before.alloc) / len(tape) * 1e6)
"""


def allocations(n: int) -> dict[str, float]:
    """Heap allocations in the kernels, as counted by Numba's runtime, per million rows of a backtest."""
    environment = {**os.environ, "NUMBA_NRT_STATS": "1"}
    command = [sys.executable, "-c", ALLOCATION_CODE, str(tape_of(day(n)).path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {"allocations_per_million": float(done.stdout)}
