"""A BlockFile after a crash of the machine: committed blocks exist, groups are complete or absent."""

import os
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest

from crash_kit import RecordingDisk, torn_states
from nbtrade import BlockFile
from nbtrade.storage.blockfile import commit
from nbtrade.storage.blockfile.layout import PAGE

STEP = 64 << 10
QUIET = {"step": STEP, "interval": 1e6}  # groups are committed by flush alone


@pytest.fixture
def fast(tmp_path):
    """A folder in memory where there is one: thousands of states are written and synced."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def content(blocks):
    """Everything in it, as comparable bytes."""
    return {name: np.asarray(value).tobytes() if isinstance(value, np.ndarray) else value for name, value in dict(blocks.scan()).items()}


# --- torn states -----------------------------------------------------------------------------------------------
class Life:
    """A store on a recording disk, and the dict that it has promised."""

    def __init__(self, folder, **options):
        self.disk = RecordingDisk(folder)
        self.path = folder / "x.blocks"
        self.options = options
        self.model = {}
        self.disk.mark({})
        self.open()

    def open(self):
        self.blocks = BlockFile(self.path, disk=self.disk, **QUIET, **self.options)

    def group(self, *, puts=(), deletes=(), renames=()):
        self.blocks.put_many(dict(puts))
        self.model.update(puts)
        for name in deletes:
            self.blocks.delete(name)
            del self.model[name]
        for old, new in renames:
            self.blocks.rename(old, new)
            self.model[new] = self.model.pop(old)
        self.blocks.flush()
        self.disk.mark(dict(self.model))

    def random_groups(self, rng, n):
        for _ in range(n):
            names = [f"n{i}" for i in rng.sample(range(12), rng.randint(1, 4))]
            puts = {name: rng.randbytes(rng.choice((0, 9, 300, 2000, 4096, 5000, 16384, 20_000))) for name in names}
            gone = [name for name in self.model if name not in puts and rng.random() < 0.1]
            moved = [(name, name + "'") for name in self.model if name not in puts and name not in gone and rng.random() < 0.05]
            self.group(puts=puts, deletes=gone, renames=moved)


def plain(folder, monkeypatch):
    life = Life(folder)
    life.random_groups(random.Random(1), 14)
    life.blocks.close()
    return life


def checkpoints(folder, monkeypatch):
    """A checkpoint after every second group or so."""
    monkeypatch.setattr(commit, "JOURNAL_MIN", PAGE)
    life = Life(folder)
    life.random_groups(random.Random(2), 10)
    life.blocks.close()
    return life


def synced_first(folder, monkeypatch):
    """Every group's data are synced before its record."""
    monkeypatch.setattr(commit, "SYNC_FIRST", 0)
    life = Life(folder)
    life.random_groups(random.Random(3), 8)
    return life


def jumps(folder, monkeypatch):
    """Records longer than a journal segment."""
    life = Life(folder)
    for i in range(4):
        life.group(puts={f"{i}/{k}" + "x" * 900: b"v" for k in range(12)})
    return life


def mirrored(folder, monkeypatch):
    life = Life(folder, mirror=True)
    life.random_groups(random.Random(4), 6)
    life.blocks.close()
    return life


def reopened(folder, monkeypatch):
    life = Life(folder)
    for seed in range(3):
        life.random_groups(random.Random(seed), 3)
        life.blocks.close()
        life.open()
    return life


def vacuumed(folder, monkeypatch):
    life = Life(folder)
    life.random_groups(random.Random(5), 4)
    life.blocks.vacuum()
    life.random_groups(random.Random(6), 3)
    return life


@pytest.mark.parametrize("scenario", [plain, checkpoints, synced_first, jumps, mirrored, reopened, vacuumed])
def test_after_any_crash_groups_are_whole_or_absent(fast, monkeypatch, scenario):
    """Any prefix of the disk's calls, any part of the unsynced data: it opens, for reading and writing, with every promised group and all
    or nothing of the next one; and it can be written to and opened again. At least 3,000 states in all scenarios together."""
    (fast / "life").mkdir()
    life = scenario(fast / "life", monkeypatch)
    life.blocks.close()
    n, next_seen = 0, 0
    for state in torn_states(life.disk, seed=7, limit=28):
        n += 1
        path = state.restore(fast / "crashed") / "x.blocks"
        expected = [state.promised, state.next]
        if path.exists() and any(path.read_bytes()):
            with BlockFile(path, "r") as reader:
                seen = content(reader)
            assert seen in expected
        with BlockFile(path, **QUIET) as blocks:
            seen = content(blocks)
            assert seen in expected
            assert blocks.verify(catalog=False).ok
            assert len(blocks) == len(seen)
            next_seen += seen != state.promised
            if n % 5 == 0:
                blocks.put("after", b"the crash" * 1000)
        with BlockFile(path, **QUIET) as blocks:
            assert content(blocks) == (seen | {"after": b"the crash" * 1000} if n % 5 == 0 else seen)
    assert n >= 100
    assert next_seen
    N_STATES.append(n)


N_STATES = []


def test_enough_torn_states_were_tried():
    """At least 3,000, when all scenarios ran."""
    assert len(N_STATES) < 7 or sum(N_STATES) >= 3000
