"""BlockFile's bars against its peers, interleaved in one process; `python benchmarks/blockfile.py` prints them.

    python benchmarks/blockfile.py [--repeats 9] [--only updates reads scan memory writer]

Peers in their fastest form: SQLite with WAL and synchronous=FULL, executemany in one transaction; LMDB, all puts in one transaction
(`pip install lmdb`); the naive design (peers/naive_blockfile.py); the directory mode. Fresh random payloads for each turn, made before
the clock runs; every answer is checked.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import xxhash
from measure import bench_dir
from peers.naive_blockfile import NaiveBlockFile

from nbtrade import BlockFile
from nbtrade.storage.blockfile.folder import BlockFolder
from nbtrade.storage.blockfile.pool import Pool

N_BLOCKS, N = 2_000, 500
NAMES = [f"features/{i:06d}" for i in range(N_BLOCKS)]


class Ours:
    def __init__(self, folder):
        self.blocks = BlockFile(folder / "x.blocks")

    def update(self, items):
        self.blocks.put_many(items)
        self.blocks.flush()

    def read(self, names):
        return self.blocks.get_many(names)

    def read_singly(self, names):
        get = self.blocks.get
        return [get(name) for name in names]

    def close(self):
        self.blocks.close()


class Folder(Ours):
    def __init__(self, folder):
        self.blocks = BlockFolder(folder / "blocks")


class Naive(Ours):
    def __init__(self, folder):
        self.blocks = NaiveBlockFile(folder / "naive")

    def update(self, items):
        for name, value in items:
            self.blocks.put(name, value)

    def read(self, names):
        return [self.blocks.get(name) for name in names]


class Sqlite:
    def __init__(self, folder):
        self.db = sqlite3.connect(folder / "x.sqlite", isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table blocks(name text primary key, value blob)")

    def update(self, items):
        self.db.execute("begin")
        self.db.executemany("insert or replace into blocks values(?, ?)", items)
        self.db.execute("commit")

    def read(self, names):
        execute = self.db.execute
        return [execute("select value from blocks where name = ?", (name,)).fetchone()[0] for name in names]

    def close(self):
        self.db.close()


class Lmdb:
    def __init__(self, folder):
        try:
            import lmdb
        except ImportError:
            raise NotImplementedError("pip install lmdb") from None
        self.env = lmdb.open(str(folder / "lmdb"), map_size=1 << 30)

    def update(self, items):
        with self.env.begin(write=True) as transaction:
            put = transaction.put
            for name, value in items:
                put(name.encode(), value)

    def read(self, names):
        with self.env.begin() as transaction:
            get = transaction.get
            return [get(name.encode()) for name in names]

    def read_verified(self, names):
        digest = xxhash.xxh3_64_intdigest
        values = self.read(names)
        for value in values:
            digest(value)
        return values

    def close(self):
        self.env.close()


def seconds(function, *args):
    start = time.perf_counter()
    answer = function(*args)
    return time.perf_counter() - start, answer


def shuffled(ways):
    """In another order each turn: who comes first finds the caches as the last one left them."""
    items = list(ways.items())
    random.shuffle(items)
    return items


class Stores:
    """The stores under test in a fresh folder, each with the same blocks."""

    def __init__(self, size, kinds):
        self.size = size
        self.folder = Path(tempfile.mkdtemp(dir=bench_dir()))
        self.stores = {kind.__name__.lower(): kind(self.folder) for kind in kinds}
        self.content = {}
        for store in self.stores.values():
            self.content = {name: os.urandom(size) for name in NAMES} if not self.content else self.content
            if isinstance(store, Naive):
                for name in NAMES:  # as if put one by one, in a fraction of the time
                    at = os.pwrite(store.blocks.fd, self.content[name], store.blocks.end) and store.blocks.end
                    store.blocks.end += size
                    store.blocks.registry[name] = (at, size, __import__("hashlib").sha256(self.content[name]).hexdigest())
            else:
                store.update(list(self.content.items()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for store in self.stores.values():
            store.close()
        shutil.rmtree(self.folder)


def update_ratios(size, repeats, naive=True):
    """500 durable updates: BlockFile's time divided by each peer's, and the naive design's divided by BlockFile's.

    As many rounds as for reads: the naive design takes 2 s per round, and the next one starts with a cold core and cold caches,
    which is a third of nine turns and a ninth of these.
    """
    kinds = [Ours, Sqlite, Lmdb] + [Naive] * naive
    with Stores(size, kinds) as stores:
        times = {name: [] for name in stores.stores}
        for turn in range(3 * repeats + 1):
            chosen = random.sample(NAMES, N)
            items = [(name, os.urandom(size)) for name in chosen]
            stores.content.update(items)
            for name, store in shuffled(stores.stores):
                if name == "naive" and turn > 3:
                    continue
                t, _ = seconds(store.update, items)
                if turn:
                    times[name].append(t)
            for store in stores.stores.values():
                if not isinstance(store, Naive) or turn <= 3:
                    assert store.read(chosen) == [value for _, value in items]
        ms = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    ratios = {f"over_{peer}": ms["ours"] / ms[peer] for peer in ("sqlite", "lmdb")}
    if naive:
        ratios["naive_over_ours"] = ms["naive"] / ms["ours"]
    return ratios | {f"{name}_ms": t for name, t in ms.items()}


def read_ratios(size, repeats):
    """500 verified reads of random blocks: our time over each peer's, whose reads are not verified (lmdb_verified: they are)."""
    with Stores(size, [Ours, Folder, Sqlite, Lmdb]) as stores:
        ways = {name: store.read for name, store in stores.stores.items()}
        ways |= {"ours_singly": stores.stores["ours"].read_singly, "lmdb_verified": stores.stores["lmdb"].read_verified}
        times = {name: [] for name in ways}
        for turn in range(3 * repeats + 1):
            names = random.sample(NAMES, N)
            right = [stores.content[name] for name in names]
            for way, read in shuffled(ways):
                t, answer = seconds(read, names)
                assert answer == right
                del answer
                if turn:
                    times[way].append(t)
    ms = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    ratios = {f"over_{peer}": ms["ours"] / ms[peer] for peer in ("folder", "sqlite", "lmdb", "lmdb_verified")}
    ratios |= {f"singly_over_{peer}": ms["ours_singly"] / ms[peer] for peer in ("folder", "sqlite", "lmdb", "lmdb_verified")}
    return ratios | {f"{name}_ms": t for name, t in ms.items()}


def scan_ratio(repeats, n_mb=64, size=4096):
    """Cold sequential scan: rate with read-ahead over rate without. The page cache is dropped for the file before each scan."""
    folder = Path(tempfile.mkdtemp(dir=bench_dir()))
    try:
        path = folder / "x.blocks"
        n = n_mb * (1 << 20) // size
        with BlockFile(path) as blocks:
            for i in range(n):
                blocks.put(f"{i:06d}", os.urandom(size))
        times = {True: [], False: []}
        for turn in range(repeats + 1):
            for read_ahead, kept in times.items():
                fd = os.open(path, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
                with BlockFile(path, "r") as blocks:
                    t, total = seconds(lambda: sum(len(value) for _, value in blocks.scan(read_ahead=read_ahead)))  # noqa: B023
                assert total == n * size
                if turn:
                    kept.append(t)
    finally:
        shutil.rmtree(folder)
    with_it, without = statistics.median(times[True]), statistics.median(times[False])
    return {"rate_ratio": without / with_it, "MB_per_s": n_mb / with_it, "without_MB_per_s": n_mb / without}


def writer_ratio(repeats, size=4096, reads=20_000):
    """Reads per second with a writer running (500 updates, flush, again) over reads without."""
    folder = Path(tempfile.mkdtemp(dir=bench_dir()))
    try:
        with BlockFile(folder / "x.blocks") as blocks:
            blocks.put_many((name, os.urandom(size)) for name in NAMES)
            blocks.flush()
            chosen = [random.choice(NAMES) for _ in range(reads)]
            running, stop = threading.Event(), threading.Event()
            n_updates = 0

            def write():
                nonlocal n_updates
                while not stop.is_set():
                    if running.is_set():
                        blocks.put_many((name, os.urandom(size)) for name in random.sample(NAMES, N))
                        blocks.flush()
                        n_updates += N
                    else:
                        time.sleep(0.001)

            def read():
                get = blocks.get
                for name in chosen:
                    assert len(get(name)) == size

            thread = threading.Thread(target=write)
            thread.start()
            times = {True: [], False: []}
            for turn in range(repeats + 1):
                for on, kept in times.items():
                    (running.set if on else running.clear)()
                    time.sleep(0.02)
                    t, _ = seconds(read)
                    if turn:
                        kept.append(t)
            stop.set()
            thread.join()
    finally:
        shutil.rmtree(folder)
    alone, together = statistics.median(times[False]), statistics.median(times[True])
    return {"rate_ratio": alone / together, "reads_per_s": reads / together, "alone_per_s": reads / alone, "updates": n_updates}


def pool_ratio():
    """Bytes allocated for buffers by 500 updates, 1,000 reads and 1,000 inserts of 4 KiB arrays, with the pool over without it."""
    import numpy as np

    def run(pool):
        folder = Path(tempfile.mkdtemp(dir=bench_dir()))
        try:
            with BlockFile(folder / "x.blocks", pool=pool) as blocks:
                rows = np.frombuffer(os.urandom(4096 * 64), np.uint8).reshape(64, 4096)
                for i, name in enumerate(NAMES[:1000]):
                    blocks.put(name, rows[i % 64])
                blocks.flush()
                before = pool.allocated_bytes
                for i in range(500):
                    blocks.put(NAMES[2 * i], rows[(i + 1) % 64])
                for i in range(1000):
                    with blocks.borrow(NAMES[i]) as view:
                        assert len(view) == 4096
                for i in range(1000):
                    blocks.put(NAMES[1000 + i], rows[i % 64])
                blocks.flush()
                assert pool.rented == 0
                return pool.allocated_bytes - before
        finally:
            shutil.rmtree(folder)

    with_it, without = run(Pool()), run(Pool(limit=0))
    return {"bytes_ratio": with_it / without, "with_MB": with_it / 1e6, "without_MB": without / 1e6}


def bars(repeats):
    """name -> (what, bar, function)."""
    found = {}
    for size in (256, 4096):
        found[f"updates{size}"] = (
            f"500 durable updates of {size} B",
            "naive/BlockFile >= 50, /sqlite <= 0.5, /lmdb <= 1",
            lambda size=size: update_ratios(size, repeats),
        )
        found[f"reads{size}"] = (
            f"500 verified reads of {size} B",
            "/folder <= 1, /sqlite <= 0.15, /lmdb <= 1.5",
            lambda size=size: read_ratios(size, repeats),
        )
    found["scan"] = ("cold scan, read-ahead against without", ">= 1.3", lambda: scan_ratio(repeats))
    found["memory"] = ("bytes allocated with the pool / without", "<= 0.5", pool_ratio)
    found["writer"] = ("reads with a writer running / without", ">= 0.6", lambda: writer_ratio(repeats))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    results = {}
    for name, (what, bar, function) in bars(options.repeats).items():
        if options.only and not any(name.startswith(one) for one in options.only):
            continue
        try:
            results[name] = function()
        except NotImplementedError as missing:
            print(f"{what:42} skipped: {missing}")
            continue
        print(f"{what:42} bar {bar:45} " + ", ".join(f"{k} {v:,.3g}" for k, v in results[name].items()), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
