"""A column after a crash of the machine, or with a full or failing disk.

Every write goes through a Disk, so every state that a crash may leave can be made (tests/helpers/crash_kit.py): each must hold the rows of
the last commit, or those of the commit in progress.
"""

import contextlib
import errno
import os
import random

import numpy as np
import pytest

from crash_kit import FailingDisk, LazyDisk, RebootedDisk, RecordingDisk, torn_states
from nbtrade import Column, CompactColumn
from nbtrade.errors import StoreDamaged, StoreWriteError
from nbtrade.storage.columns import column_file, header
from nbtrade.storage.columns.header import LIVE, ROWS

LIVE_PAGE = [("x", LIVE, 32)]


@pytest.fixture(autouse=True)
def small_writes_are_large(monkeypatch):
    """Space is reserved for writes of 1 KiB and more, as it is for those of megabytes."""
    monkeypatch.setattr(column_file, "RESERVE", 1024)


# --- (a) torn states -----------------------------------------------------------------------------------------
def promise(column, *, next_upgrade=False):
    """The rows that a crash must leave: the durable ones or, if an upgrade comes first, the published ones."""
    rows = column[:].tolist()
    return (rows[: column.n_durable], rows if next_upgrade else None)


def work_on_a_column(folder, disk):
    """Appends, commits, truncates, rows written over, a second session."""
    path = folder / "x"
    rows = np.arange(20_000, dtype=np.int32) + 1000
    column = Column(path, "i4", disk=disk)
    disk.mark(promise(column))
    for n in (3000, 1, 2000):
        column.extend(rows[len(column) : len(column) + n])
        column.append(7)
        column.sync()
        disk.mark(promise(column))
    column.extend(rows[:900])  # published, never committed as such
    column.truncate(2000)
    disk.mark(promise(column))
    column.extend(rows[12_000:14_000])
    column.sync()
    disk.mark(promise(column))
    column.truncate(3500)
    disk.mark(promise(column))
    column.append(-1)
    column.close()
    disk.mark((column[:].tolist(), None))
    with Column(path, disk=disk) as column:
        column.extend(rows[:1000])
    disk.mark((column[:].tolist(), None))


def work_on_integers(folder, disk):
    """Bits, upgrades by appending and by hand, a narrower rewrite, truncates between."""
    path = folder / "x"
    column = CompactColumn(path, disk=disk)
    for values in ([1, 0, 1, 1], [1] * 900, [200] * 700, [-1], [2**20] * 400, range(100)):
        disk.mark(promise(column, next_upgrade=True))
        column.extend(values)
        if len(values) in (4, 100, 700):
            disk.mark(promise(column))
            column.sync()
    disk.mark(promise(column))
    column.truncate(1200)
    disk.mark(promise(column))
    column.append(2**33)
    disk.mark(promise(column))
    column.truncate(1100)
    disk.mark(promise(column))
    column.optimise()
    disk.mark(promise(column))
    column.extend(range(-3, 3))
    column.close()
    disk.mark((column[:].tolist(), None))
    with CompactColumn(path, disk=disk) as column:
        column.upgrade("i56")
        disk.mark(promise(column))
        column.append(2**60)
    disk.mark((column[:].tolist(), None))


def assert_right(kind, folder, state):
    """A reader and the next writer find committed rows; leftovers are removed; rows can be added."""
    path = folder / "x"
    promised, on_the_way = state.promised or (None, None)
    allowed = [promised, on_the_way, (state.next or (None,))[0]]
    disk = RebootedDisk()
    if not path.exists():
        assert promised is None
        kind(path, *(["i4"] if kind is Column else []), disk=disk).close()
        assert os.listdir(folder) == ["x"]
        return
    found = kind.open(path, disk=disk)[:].tolist()
    assert found in allowed
    column = kind(path, disk=disk)
    assert column[:].tolist() == found
    assert os.listdir(folder) == ["x"]
    column.extend([3, 1])
    column.close()
    assert kind.open(path, disk=disk)[:].tolist() == [*found, 3, 1]


@pytest.mark.parametrize(("kind", "work", "limit"), [(Column, work_on_a_column, 500), (CompactColumn, work_on_integers, 140)])
def test_every_torn_state_has_a_commit(tmp_path, kind, work, limit):
    """At least 2,000 different states that a crash may leave: all promised rows are intact, and there are no others."""
    (tmp_path / "live").mkdir()
    disk = RecordingDisk(tmp_path / "live")
    work(tmp_path / "live", disk)
    n = 0
    for state in torn_states(disk, seed=1, limit=limit, volatile=LIVE_PAGE):
        assert_right(kind, state.restore(tmp_path / "crash"), state)
        n += 1
    assert n >= 2000


class Stumbling(RecordingDisk):
    """Records, and occasionally fails a sync: unsynced data are then permanently lost or not."""

    def __init__(self, root, rng):
        super().__init__(root)
        self.rng, self.chance, self.chances = rng, 0.0, []

    def fdatasync(self, fd):
        chance = self.chances.pop(0) if self.chances else self.chance
        if self.rng.random() < chance:
            self.lose(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fdatasync(fd)


def stumble(folder, disk, rng):
    """Random work on a disk whose syncs fail; marks the rows that a crash may leave: durable ones, and possibly durable ones."""
    column = Column(folder / "x", "i4", disk=disk)
    durable = [[]]
    for _ in range(9):
        before, sequence = column[:].tolist(), column._file.slot.sequence
        step = rng.choice(["extend", "extend", "truncate", "sync"])
        rows = [rng.randrange(10**9) for _ in range(rng.randrange(1, 300))]
        wanted = {"extend": before + rows, "truncate": before[: rng.randrange(len(before) + 1)], "sync": before}[step]
        disk.mark([*durable, before, wanted])
        disk.chance = 0.35
        try:
            getattr(column, step)(*{"extend": [rows], "truncate": [len(wanted)], "sync": []}[step])
        except StoreWriteError:
            durable += [before, wanted]
        else:
            assert column[:].tolist() == wanted
            if step != "extend":
                durable = [wanted]
            elif column._file.slot.sequence != sequence:  # what a failed truncate had left to do
                durable = [before]
        disk.mark(list(durable))
    disk.chance = 0.0
    disk.mark([*durable, column[:].tolist()])
    column.close()


def test_failed_syncs_and_a_crash_after_them(tmp_path):
    """Work continues after failed syncs, and then the machine crashes: rows that may have been durable exist, never a mixture."""
    n = 0
    for seed in range(12):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        disk = Stumbling(folder, rng)
        stumble(folder, disk, rng)
        for state in torn_states(disk, seed=seed, limit=14, volatile=LIVE_PAGE):
            path = state.restore(tmp_path / "crash") / "x"
            if state.promised is not None:
                found = Column.open(path, disk=RebootedDisk())[:].tolist()
                assert found in state.promised or found in state.next
                n += 1
    assert n > 1000


def test_a_commit_never_writes_over_the_last_one(tmp_path):
    """Slots take turns; one whose sync failed is written again, not the other."""
    disk = Stumbling(tmp_path, random.Random(1))
    column = Column(tmp_path / "x", "i4", disk=disk)
    for chance in (0, 0, 0, 1, 0, 0):
        column.append(1)
        disk.chances = [0, chance]  # the rows' sync works, the slot's may not
        with contextlib.suppress(StoreWriteError):
            column.sync()
    slots = [entry[2] for entry in disk.log if entry[0] == "write" and entry[2] in header.SLOTS]
    assert slots == [8192, 4096, 8192, 4096, 4096, 8192]


@pytest.mark.parametrize("without", ["fdatasync", "sync_folder", "fsync"])
def test_each_sync_is_needed(tmp_path, without):
    """Leave a kind of sync out, and the states above find rows lost: they would notice."""

    class Forgetful(RecordingDisk):
        pass

    setattr(Forgetful, without, getattr(LazyDisk, without))
    (tmp_path / "live").mkdir()
    disk = Forgetful(tmp_path / "live")
    work_on_integers(tmp_path / "live", disk)
    wrong = 0
    for state in torn_states(disk, seed=1, limit=12):
        try:
            assert_right(CompactColumn, state.restore(tmp_path / "crash"), state)
        except (AssertionError, StoreDamaged):
            wrong += 1
    assert wrong


# --- (c) a disk that refuses ----------------------------------------------------------------------------------
VALUES = ([1, 0, 1], [100] * 700, [-1], [2**20] * 600)
STEPS = [*(step for values in VALUES for step in (("extend", values), ("sync",))), ("truncate", 500), ("append", 5), ("extend", [6] * 9)]


def content_after(before, step, *argument):
    """What a step makes of a list."""
    if step == "truncate":
        return before[: argument[0]]
    return before + ([argument[0]] if step == "append" else argument[0] if step == "extend" else [])


def opened(kind, path, disk):
    """The column, made at the second attempt if the first is refused."""
    arguments = [path] if kind is CompactColumn else [path, "i4"]
    try:
        return kind(*arguments, disk=disk)
    except StoreWriteError as error:
        assert_clear(error, path, disk)
        return kind(*arguments, disk=disk)


def assert_clear(error, path, disk):
    """It names the file, the reason and what to do; the disk is repaired."""
    assert (error.errno, disk.failed is not None) == (disk.code, True)
    assert str(path) in str(error)
    assert os.strerror(disk.code) in str(error)
    assert "again" in str(error) or "unchanged" in str(error) or "Nothing was lost" in str(error)
    disk.n = 10**9


def step_made(column, step, disk):
    """Do a step; if the disk refuses, check the remaining rows, and repeat it."""
    before, durable = column[:].tolist(), column.n_durable
    wanted = content_after(before, *step)
    try:
        getattr(column, step[0])(*step[1:])
    except StoreWriteError as error:
        assert_clear(error, column.path, disk)
        left = column[:].tolist()
        assert left == wanted[: len(left)], "the remaining rows are right"
        assert len(left) in {len(before), durable, len(wanted) if step[0] == "truncate" else durable}
        column.extend(wanted[len(left) :])
    assert column[:].tolist() == wanted


def script_survives(kind, path, disk):
    """All steps, close, and what a reader and the next writer find."""
    column = opened(kind, path, disk)
    for step in STEPS:
        step_made(column, step, disk)
    wanted, durable = column[:].tolist(), column[: column.n_durable].tolist()
    try:
        column.close()
    except StoreWriteError as error:
        assert_clear(error, path, disk)
    found = kind.open(path)[:].tolist()
    assert found in (wanted, durable)
    with kind(path) as column:
        assert column[:].tolist() == found
        column.append(1)
    assert kind.open(path)[:].tolist() == [*found, 1]
    assert os.listdir(path.parent) == ["x"]


@pytest.mark.parametrize("kind", [Column, CompactColumn])
@pytest.mark.parametrize(
    ("code", "again", "short"),
    [(errno.ENOSPC, False, True), (errno.ENOSPC, True, False), (errno.EIO, True, True), (errno.EIO, False, False)],
)
def test_a_full_or_failing_disk_at_every_change(tmp_path, kind, code, again, short):
    """Whichever call is refused, once or until it is repaired: a clear error, intact rows, and work continues."""
    n, failed = 0, set()
    while True:
        folder = tmp_path / str(n)
        folder.mkdir()
        disk = FailingDisk(n, code, again=again, short=short)
        script_survives(kind, folder / "x", disk)
        if disk.failed is None:
            break
        failed.add(disk.failed)
        n += 1
    assert n > 30
    assert failed >= {"open", "pwrite", "fallocate", "fdatasync", "fsync", "rename", "sync_folder"}


def test_after_a_failed_sync_only_what_is_durable_is_left(tmp_path):
    """Rows whose sync failed may be missing on the disk even if the next sync succeeds: they are dropped, and readers are notified."""
    disk = FailingDisk(10**9, errno.EIO, names=("fdatasync",))
    column = Column(tmp_path / "x", "i8", disk=disk)
    column.extend(range(10))
    column.sync()
    reader = Column.open(tmp_path / "x")
    column.extend(range(10, 30))
    epoch = reader.epoch
    disk.n = disk.i + 1
    with pytest.raises(
        StoreWriteError, match=r"Input/output error while syncing 30 rows\. The 10 durable rows remain; append the others again"
    ):
        column.sync()
    assert reader[:].tolist() == column[:].tolist() == list(range(10))
    assert reader.epoch > epoch
    column.extend(range(5))
    column.close()
    assert Column.open(tmp_path / "x", disk=RebootedDisk())[:].tolist() == [*range(10), *range(5)]


def test_a_real_limit_on_file_size(tmp_path):
    """The system's own refusal (RLIMIT_FSIZE) in another process: a clear error, and the earlier rows are intact."""
    child = os.fork()
    if child == 0:
        os._exit(_fill_up(tmp_path / "x"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Column.open(tmp_path / "x")[:].tolist() == list(range(1000))


def _fill_up(path):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    column = Column(path, "i8")
    column.extend(range(1000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROWS + 50_000, ROWS + 50_000))
    try:
        column.extend(range(10_000))
    except StoreWriteError as error:
        column.close()
        return 0 if error.errno == errno.EFBIG and len(column) == 1000 else 2
    return 3
