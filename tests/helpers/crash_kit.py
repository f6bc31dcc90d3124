"""What a crash or a bad disk can leave of a store: recorded, enumerated, and put back into a folder.

    disk = RecordingDisk(folder)                  # works in `folder`, and records every change
    store = Store(folder / "x", disk=disk)
    store.append(...); store.sync()
    disk.mark({...})                              # from here on the store has promised this
    for state in torn_states(disk, seed=1):       # a machine that crashes: every prefix, every part that was not synced
        state.restore(fresh)                      # the files as the disk would have them
        reopened = Store(fresh / "x", disk=RebootedDisk())
        assert reopened's content is state.promised, or state.next (the promise that was being made), or between

Surviving parts of the calls up to a crash: of each file any choice of its 512-byte sectors that were written since its last fdatasync
or fsync (each in any of the versions it had since), any of the lengths it had since; of each folder any choice of the names
created, renamed and unlinked since its last sync_folder, in their order. All choices where they are few; else none, all, each one
missing, each one alone, and seeded random ones. States with the same bytes come once.
Stores into a mapping are not seen here: `volatile` lists the places (path ending, offset, length) where they go, which are filled
with the recorded bytes, zeros or noise. A store must not trust them after a reboot (`Disk.boot` differs, as in `RebootedDisk`).

    FailingDisk(n, errno.ENOSPC)                  # the n-th change raises, once (or with `again` from there on)
    CountingDisk(), LazyDisk()                    # .calls: Counter of calls by name; the other syncs nothing
"""

import itertools
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from nbtrade.storage.disk import Disk

SECTOR = 512
CHANGES = ("open", "pwrite", "pwritev", "fdatasync", "fsync", "ftruncate", "fallocate", "rename", "unlink", "sync_folder")


class LazyDisk(Disk):
    """Syncs nothing, for tests in which no machine crashes: they would wait for the disk most of their time."""

    def fdatasync(self, fd):
        os.fstat(fd)  # a closed descriptor is an error all the same

    fsync = fdatasync

    def sync_folder(self, path):
        os.stat(path)


class RebootedDisk(LazyDisk):
    """A disk of a machine that has been started again since the files were written (and does not crash again: it syncs nothing)."""

    def boot(self):
        return super().boot() ^ 2


class CountingDisk(Disk):
    """Counts the calls by name; opening to read is not a change and is counted as `open` too."""

    def __init__(self):
        self.calls = Counter()


class FailingDisk(LazyDisk):
    """Syncs nothing, and raises OSError(code) at the `n`-th change (from 0), or at it and all later ones with `again`.

    Opening without O_CREAT never fails.
    short : every write is done in pieces of at most 1,000 bytes, and a failing one has written half of its bytes
    names : only these calls count

    .failed : the call that failed, None as long as none has
    """

    def __init__(self, n, code, *, again=False, short=False, names=CHANGES):
        self.n, self.code, self.again, self.short, self.names = n, code, again, short, names
        self.i = -1
        self.failed = None

    def fails(self, name):
        if name not in self.names:
            return False
        self.i += 1
        if self.i == self.n or (self.again and self.i > self.n):
            self.failed = self.failed or name
            return True
        return False

    def error(self):
        return OSError(self.code, os.strerror(self.code))

    def _pwrite(self, fd, data, offset):
        return super()._pwrite(fd, data[:1000] if self.short else data, offset)

    def _pwritev(self, fd, buffers, offset):
        return super()._pwrite(fd, buffers[0][:1000], offset) if self.short else super()._pwritev(fd, buffers, offset)

    def pwrite(self, fd, data, offset):
        if self.fails("pwrite"):
            if self.short:
                super().pwrite(fd, memoryview(data).cast("B")[: memoryview(data).nbytes // 2], offset)
            raise self.error()
        super().pwrite(fd, data, offset)

    def pwritev(self, fd, buffers, offset):
        if self.fails("pwritev"):
            if self.short:
                super().pwritev(fd, buffers[: len(buffers) // 2], offset)
            raise self.error()
        super().pwritev(fd, buffers, offset)

    def open(self, path, flags, mode=0o644):
        if flags & os.O_CREAT and self.fails("open"):
            raise self.error()
        return super().open(path, flags, mode)


def _failing(name):
    def call(self, *args):
        if self.fails(name):
            raise self.error()
        return getattr(LazyDisk, name)(self, *args)

    return call


def _counting(name):
    def call(self, *args):
        self.calls[name] += 1
        return getattr(Disk, name)(self, *args)

    return call


for _name in CHANGES:
    if _name not in vars(FailingDisk):
        setattr(FailingDisk, _name, _failing(_name))
    setattr(CountingDisk, _name, _counting(_name))


class RecordingDisk(Disk):
    """Does everything for real and keeps it in `.log`, from the empty folder `root` on. Single-threaded or locked by the store."""

    def __init__(self, root):
        self.root = Path(root).absolute()
        self.log = []
        self.names = {}  # path -> number of the file
        self.files = {}  # descriptor -> number of the file
        self.n_files = 0

    def mark(self, promise):
        """From here on the store has promised `promise`; `promised` of the states of a later crash."""
        self.log.append(("mark", promise))

    def _name(self, path):
        return os.path.relpath(os.path.abspath(path), self.root)

    def open(self, path, flags, mode=0o644):
        name = self._name(path)
        existed = os.path.lexists(path)
        fd = super().open(path, flags, mode)
        if os.path.isdir(path) or flags & getattr(os, "O_TMPFILE", 0) == os.O_TMPFILE:
            return fd
        if not existed:
            self.n_files += 1
            self.names[name] = self.n_files
            self.log.append(("create", name, self.n_files))
        self.files[fd] = self.names[name]
        if existed and flags & os.O_TRUNC:
            self.log.append(("resize", self.files[fd], 0))
        return fd

    def close(self, fd):
        self.files.pop(fd, None)
        super().close(fd)

    def pwrite(self, fd, data, offset):
        super().pwrite(fd, data, offset)
        self.log.append(("write", self.files[fd], offset, bytes(memoryview(data).cast("B"))))

    def pwritev(self, fd, buffers, offset):
        self.pwrite(fd, b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers), offset)

    def fdatasync(self, fd):
        super().fdatasync(fd)
        self.log.append(("sync", self.files[fd]))

    fsync = fdatasync

    def lose(self, fd):
        """A sync that fails: unsynced data may or may not be on the disk, and no later sync writes them unless they are written again."""
        self.log.append(("lose", self.files[fd]))

    def ftruncate(self, fd, n):
        super().ftruncate(fd, n)
        self.log.append(("resize", self.files[fd], n))

    def fallocate(self, fd, offset, n):
        super().fallocate(fd, offset, n)
        if os.fstat(fd).st_size == offset + n:
            self.log.append(("resize", self.files[fd], offset + n))

    def rename(self, old, new):
        super().rename(old, new)
        self.names[self._name(new)] = self.names.pop(self._name(old))
        self.log.append(("rename", self._name(old), self._name(new)))

    def unlink(self, path):
        super().unlink(path)
        del self.names[self._name(path)]
        self.log.append(("unlink", self._name(path)))

    def sync_folder(self, path):
        super().sync_folder(path)
        self.log.append(("sync_folder", self._name(path)))


@dataclass
class _File:
    """A file as the disk may have it: what is durable, and every version of what is not."""

    durable: bytes = b""
    data: bytes = b""  # as the system sees it
    sizes: list = field(default_factory=list)  # lengths since the last sync
    sectors: dict = field(default_factory=dict)  # sector -> its contents since the last sync, in order
    lost: set = field(default_factory=set)  # sectors whose sync failed: clean for the system, unknown on the disk

    def write(self, offset, data):
        grown = self.data.ljust(offset + len(data), b"\0")
        self.change(grown[:offset] + data + grown[offset + len(data) :], offset, offset + len(data))

    def resize(self, n):
        old = len(self.data)
        self.change(self.data[:n].ljust(n, b"\0"), min(n, old), max(n, old) if n < old else old)

    def change(self, data, start, stop):
        if len(data) != len(self.data):
            self.sizes.append(len(data))
        self.data = data
        for i in range(start // SECTOR, -(-stop // SECTOR)):
            self.sectors.setdefault(i, []).append(data[i * SECTOR : (i + 1) * SECTOR].ljust(SECTOR, b"\0"))
            self.lost.discard(i)

    def sync(self):
        durable = bytearray(self.data)
        for i in self.lost:
            durable[i * SECTOR : (i + 1) * SECTOR] = self.durable[i * SECTOR : (i + 1) * SECTOR].ljust(SECTOR, b"\0")
        self.durable, self.sizes = bytes(durable[: len(self.data)]), []
        self.sectors = {i: versions for i, versions in self.sectors.items() if i in self.lost}

    def lose(self):
        self.lost |= set(self.sectors)

    def choices(self):
        """How many versions each part has: the length first, then each sector."""
        return [len(self.sizes) + 1, *(len(versions) + 1 for versions in self.sectors.values())]

    def state(self, choice):
        """The bytes for one choice of versions; 0 is the durable one."""
        size = self.sizes[choice[0] - 1] if choice[0] else len(self.durable)
        data = bytearray(self.durable.ljust(size, b"\0"))
        for at, (i, versions) in zip(choice[1:], self.sectors.items(), strict=True):
            if at and i * SECTOR < size:
                data[i * SECTOR : (i + 1) * SECTOR] = versions[at - 1]
        return bytes(data[:size])


class _Model:
    """Files and names after a prefix of the log."""

    def __init__(self):
        self.files = {}
        self.durable_names = {}
        self.pending = []  # changes of names since the last sync of their folder
        self.names = {}

    def apply(self, what, *args):
        if what == "create":
            self.files[args[1]] = _File()
            self.rename_all(("create", *args))
        elif what == "rename":
            self.rename_all(("rename", args[0], args[1], self.names[args[0]]))
        elif what == "unlink":
            self.rename_all(("unlink", args[0]))
        elif what == "sync_folder":
            here = [change for change in self.pending if os.path.dirname(change[1]) == args[0].removeprefix(".")]
            self.durable_names = self.names_after(here, [True] * len(here))
            self.pending = [change for change in self.pending if change not in here]
        elif what == "write":
            self.files[args[0]].write(*args[1:])
        elif what == "resize":
            self.files[args[0]].resize(args[1])
        elif what == "sync":
            self.files[args[0]].sync()
        elif what == "lose":
            self.files[args[0]].lose()

    def rename_all(self, change):
        self.pending.append(change)
        _change_names(self.names, change)

    def names_after(self, pending, taken):
        names = dict(self.durable_names)
        for change, take in zip(pending, taken, strict=True):
            if take:
                _change_names(names, change)
        return names


def _change_names(names, change):
    if change[0] == "create":
        names[change[1]] = change[2]
    elif change[0] == "rename":
        names.pop(change[1], None)
        names[change[2]] = change[3]
    else:
        names.pop(change[1], None)


@dataclass
class State:
    """The files of a machine that crashed after `n_calls` recorded calls."""

    files: dict  # path -> bytes
    promised: object  # of the last mark before the crash; None: no mark yet
    next: object  # of the next mark: what was being done; the same as `promised` after the last
    n_calls: int

    def restore(self, folder):
        """Make `folder` hold these files and nothing else."""
        folder = Path(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder


def _picks(sizes, rng, limit):
    """Choices of one number below each of `sizes`: all if at most `limit`, else the telling ones and random ones."""
    total = 1
    for n in sizes:
        total *= n
    if total <= limit:
        yield from itertools.product(*(range(n) for n in sizes))
        return
    last = tuple(n - 1 for n in sizes)
    yield from ((0,) * len(sizes), last)
    several = [i for i, n in enumerate(sizes) if n > 1]
    for i in rng.sample(several, min(len(several), limit // 4)):
        yield (*last[:i], 0, *last[i + 1 :])  # this one missing
        yield (*(0 for _ in last[:i]), last[i], *(0 for _ in last[i + 1 :]))  # this one alone
    for _ in range(limit // 2):
        kept = rng.choice((0.1, 0.5, 0.9))
        yield tuple(rng.randrange(n) if rng.random() < 0.5 else (n - 1 if rng.random() < kept else 0) for n in sizes)


def torn_states(disk, *, seed=0, limit=64, volatile=()):
    """Every different State that a crash during the recorded run may leave; at most about `limit` for each prefix of it.

    volatile : (path ending, offset, length) of places written through mappings
    """
    rng = random.Random(seed)
    seen = set()
    marks = [(i, entry[1]) for i, entry in enumerate(disk.log) if entry[0] == "mark"]
    model = _Model()
    for n_calls in range(len(disk.log) + 1):
        if n_calls:
            model.apply(*disk.log[n_calls - 1])
        n_marks = sum(i < n_calls for i, _ in marks)
        promised = marks[n_marks - 1][1] if n_marks else None
        coming = marks[n_marks][1] if n_marks < len(marks) else promised
        for files in _crashes(model, rng, limit):
            _fill(files, volatile, rng)
            key = (hash(frozenset(files.items())), n_marks)
            if key not in seen:
                seen.add(key)
                yield State(files, promised, coming, n_calls)


def _crashes(model, rng, limit):
    """The contents of all files, for choices of the surviving parts."""
    order = list(model.files)
    parts = [model.files[i].choices() for i in order]
    sizes = [2] * len(model.pending) + [n for part in parts for n in part]
    for pick in _picks(sizes, rng, limit):
        names = model.names_after(model.pending, pick[: len(model.pending)])
        at, contents = len(model.pending), {}
        for i, part in zip(order, parts, strict=True):
            contents[i] = model.files[i].state(pick[at : at + len(part)])
            at += len(part)
        yield {name: contents[i] for name, i in names.items()}


def _fill(files, volatile, rng):
    """Put zeros, noise or nothing new where mappings are stored into."""
    for ending, offset, n in volatile:
        for name, data in files.items():
            kind = rng.randrange(3)
            if name.endswith(ending) and len(data) >= offset + n and kind:
                files[name] = data[:offset] + (rng.randbytes(n) if kind == 1 else bytes(n)) + data[offset + n :]
