"""Columns between processes: live readers, one writer, deaths at any moment. Workers are forked, from one thread."""

import contextlib
import mmap
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

from crash_kit import LazyDisk
from nbtrade import Column, CompactColumn
from nbtrade.errors import StoreBusy
from nbtrade.storage.search.search import lower_bound

DISK = LazyDisk()


class Shared:
    """Words that forked workers and the test both see."""

    def __init__(self, n):
        self.words = np.frombuffer(mmap.mmap(-1, n * 8), np.int64)


@contextlib.contextmanager
def worker(function, *arguments):
    """Run function(*arguments) in a forked process; yields its pid. It is killed at the end unless it has ended."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = function(*arguments) or 0
        except BaseException as error:  # noqa: BLE001  the test must see any error
            os.write(2, f"worker: {error!r}\n".encode())
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ended(pid):
    """Exit code of a worker that ends without being killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "a worker does not do what it should"
        time.sleep(0.0005)


# --- readers of a growing file --------------------------------------------------------------------------------
def expected(i):
    """What row i of a growing column holds."""
    return i * 2654435761 % 1_000_003


def read_live(path, state, me):
    """Look again and again until told to stop: every row, first to last, and those that have come, is what it should be."""
    column = Column.open(path)
    n_seen, looks, stop = 0, 0, False
    while not stop:
        stop = bool(state[0])  # before the look: the last one begins when all rows are there
        rows = column.array
        assert len(rows) >= n_seen
        i = np.arange(n_seen, len(rows))
        assert np.array_equal(rows[n_seen:], expected(i))
        i = np.random.default_rng(looks).integers(0, max(len(rows), 1), 1000)[: len(rows)]
        assert np.array_equal(rows[i], expected(i))
        n_seen, looks = len(rows), looks + 1
        state[1 + me], state[3 + me] = n_seen, looks


@pytest.mark.parametrize("seconds", [5])
def test_readers_follow_a_file_that_grows(tmp_path, seconds):
    """A writer appends rows and bulks for 5 s, two processes read all of it all the time: no wrong value, no crash, to the last row."""
    state = Shared(8).words
    path = tmp_path / "x"
    with Column(path, "i8", disk=DISK) as column, worker(read_live, path, state, 0) as a, worker(read_live, path, state, 1) as b:
        sizes, n, start = set(), 0, time.monotonic()
        rng = random.Random(1)
        while (past := time.monotonic() - start) < seconds or (min(state[3:5]) <= 50 and past < 60):
            if n > 20_000_000 * past / seconds:
                time.sleep(0.001)  # the readers keep up on any machine
            elif rng.random() < 0.7:
                column.append(expected(n))
                n += 1
            else:
                k = rng.randrange(1, 5000)
                column.extend(expected(np.arange(n, n + k)))
                n += k
            sizes.add(os.path.getsize(path))
        state[0] = 1
        assert (ended(a), ended(b)) == (0, 0)
    assert len(sizes) > 10
    assert state[1:3].tolist() == [n, n]
    assert state[3:5].min() > 50


def open_live(path, state):
    """Open it again and again until told to stop: the file is whole at every moment."""
    looks = 0
    while not state[0]:
        rows = Column.open(path).array  # one read of the count: a truncation may come between two
        assert len(rows) == 0 or rows[-1] == expected(len(rows) - 1)
        looks += 1
    state[1] = looks


def test_a_growing_file_can_be_opened_at_any_moment(tmp_path):
    """A writer appends, commits and truncates; another process opens the file thousands of times and never finds it damaged."""
    state = Shared(2).words
    path = tmp_path / "x"
    with Column(path, "i8", disk=DISK) as column, worker(open_live, path, state) as pid:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            n = len(column)
            column.extend(expected(np.arange(n, n + 300)))
            column.sync()
            if n > 100_000:
                column.truncate(0)
        state[0] = 1
        assert ended(pid) == 0
    assert state[1] > 100


def test_threads_read_what_their_process_writes(tmp_path):
    """Readers in other threads follow the writer's own column and one opened to read."""
    path = tmp_path / "x"
    wrong, stop = [], threading.Event()

    def read(column):
        n = 0
        while not stop.is_set() or n < len(column):
            rows = column.array
            if len(rows) < n or not np.array_equal(rows[n:], expected(np.arange(n, len(rows)))):
                wrong.append((n, len(rows)))
            n = len(rows)

    with Column(path, "i8", disk=DISK) as column:
        threads = [threading.Thread(target=read, args=(which,)) for which in (column, Column.open(path))]
        for thread in threads:
            thread.start()
        for n in range(0, 100_000, 50):
            column.extend(expected(np.arange(n, n + 50)))
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def read_through_upgrades(path, state, n, me):
    """Search, decode and look while the column is rewritten again and again."""
    column = CompactColumn.open(path)
    rng = np.random.default_rng(me)
    epochs, widths, looks = {column.epoch}, set(), 0
    while not state[0]:
        values = column.packed()
        assert values.n >= n
        i = int(rng.integers(0, n))
        assert column[i] == i // 3
        start = int(rng.integers(0, n - 1000))
        assert np.array_equal(column.decode(start, start + 1000), np.arange(start, start + 1000) // 3)
        if values.native is not None:
            assert lower_bound(values.native.astype(np.int64)[:10_000] if looks % 50 else values.native[:n].astype(np.int64), 77) == 231
        epoch = column.epoch
        assert epoch >= max(epochs)
        epochs.add(epoch)
        widths.add(column.width)
        looks += 1
    state[1 + me], state[3 + me], state[5 + me] = len(epochs), len(widths), looks


def test_readers_read_through_upgrades(tmp_path):
    """Two processes read two million values while they are rewritten in every width: no wrong value, every new epoch is found in time."""
    n = 2_000_000
    state = Shared(8).words
    path = tmp_path / "x"
    with CompactColumn(path, "u24", disk=DISK) as column:
        column.extend(np.arange(n) // 3)
        reader = (path, state, n)
        with worker(read_through_upgrades, *reader, 0) as a, worker(read_through_upgrades, *reader, 1) as b:
            for width in ("u32", "i40", "u48", "i64", "u56", "u24", "i32"):
                column.upgrade(width)
                column.append(2_000_000)
            column.append(-1)
            column.append(2**40)
            time.sleep(0.2)
            state[0] = 1
            assert (ended(a), ended(b)) == (0, 0)
        assert column.width == "i48"
        assert len(column) == n + 9
    assert state[1:7].min() >= 2


# --- kill -9 -------------------------------------------------------------------------------------------------
def write_until_killed(path, state, seed):
    """Append and extend forever; `state` has the number of acknowledged rows, and of those being added."""
    rng = random.Random(seed)
    with Column(path, "i8") as column:
        n = len(column)
        state[0] = state[1] = n
        while True:
            k = rng.choice((1, 1, 1, 700))
            state[1] = n + k
            column.extend(expected(np.arange(n, n + k)))
            n += k
            state[0] = n
            if rng.random() < 0.05:
                column.sync()
                state[2] = n


def upgrade_until_killed(path, state, seed):
    """Append values that widen, and narrow again, forever."""
    rng = random.Random(seed)
    column = CompactColumn(path, disk=DISK)
    n = len(column)
    state[0] = state[1] = n
    while True:
        state[1] = n + 50
        column.extend([(n + i) * 37 % 101 for i in range(50)])
        n += 50
        state[0] = n
        column.upgrade(rng.choice(("u8", "u16", "u24", "i40", "i64")))


@pytest.mark.parametrize(
    ("kind", "work", "value", "kills"),
    [(Column, write_until_killed, expected, 120), (CompactColumn, upgrade_until_killed, lambda i: i * 37 % 101, 100)],
    ids=["append", "upgrade"],
)
def test_kill_9_at_any_moment(tmp_path, kind, work, value, kills):
    """220 writers killed: the next one has the lock at once, all acknowledged rows, none that was never added, and leaves nothing over."""
    path = tmp_path / "x"
    rng = random.Random(3)
    state = Shared(4).words
    least = 0
    for seed in range(kills):
        state[:] = -1
        with worker(work, path, state, seed) as pid:
            wait_until(lambda: state[0] >= 0)
            time.sleep(rng.random() * 0.012)
            os.kill(pid, signal.SIGKILL)
            assert ended(pid) == -signal.SIGKILL
        n = len(kind.open(path))
        assert max(state[0], least) <= n <= state[1]
        least = n
        if seed % 10 == 0 or seed == kills - 1:
            with kind(path) as column:
                assert np.array_equal(column[:], value(np.arange(n)))
                assert os.listdir(tmp_path) == ["x"]
    assert least > 1000


# --- the lock -----------------------------------------------------------------------------------------------
def race(folder, state, me, n, rounds):
    """In each round: wait for the start, try to write, say how it went, hold until all have tried."""
    for i in range(rounds):
        wait_until(lambda i=i: state[0] == i + 1)
        held, outcome = None, 0
        try:
            held = Column(folder / str(i // 2), "i4", disk=DISK)  # every file twice: new, and there already
            held.append(me)
            outcome = os.getpid()
        except StoreBusy as busy:
            pid = str(busy).split("is being written by process ")[1].split(".", maxsplit=1)[0]
            outcome = -int(pid)
        state[10 + me] = outcome
        wait_until(lambda i=i: state[1] == i + 1)
        if held is not None:
            held.close()
        state[10 + n + me] = i + 1


def test_of_eight_processes_one_is_the_writer(tmp_path):
    """100 times: exactly one gets the lock, the errors of the seven others have its pid, and all its rows exist."""
    n, rounds = 8, 100
    state = Shared(10 + 2 * n).words
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(worker(race, tmp_path, state, me, n, rounds)) for me in range(n)]
        for i in range(rounds):
            state[10 : 10 + n] = 0
            state[0] = i + 1
            wait_until(lambda: np.all(state[10 : 10 + n]))
            outcomes = state[10 : 10 + n].tolist()
            assert sum(outcome > 0 for outcome in outcomes) == 1
            assert all(outcome == max(outcomes) or -outcome in pids for outcome in outcomes)
            state[1] = i + 1
            wait_until(lambda i=i: np.all(state[10 + n :] == i + 1))
        assert [ended(pid) for pid in pids] == [0] * n
    assert sorted(os.listdir(tmp_path), key=int) == [str(i) for i in range(rounds // 2)]
    assert all(len(Column.open(tmp_path / str(i))) == 2 for i in range(rounds // 2))


def hold(path, state):
    """Take the lock, report it, and wait for the end."""
    column = Column(path, "i4", disk=DISK)
    state[0] = 1
    time.sleep(60)
    column.close()


def test_the_next_writer_wins_at_once_after_a_kill(tmp_path):
    """While a process writes, its pid is in the error; as soon as it is dead its place is free."""
    state = Shared(1).words
    path = tmp_path / "x"
    with worker(hold, path, state) as pid:
        wait_until(lambda: state[0])
        with pytest.raises(StoreBusy, match=rf"is being written by process {pid}\. Wait for it, stop it, or open the file for reading"):
            Column(path, "i4")
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        with Column(path, "i4", disk=DISK) as column:
            column.append(1)
