"""BlockFile's parts: free extents against a bitmap, the pool's balance, locks between descriptions, the base's look-ups."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrade.storage.blockfile import locks
from nbtrade.storage.blockfile.allocator import runs, touched
from nbtrade.storage.blockfile.free_extents import FreeExtents
from nbtrade.storage.blockfile.layout import ROW
from nbtrade.storage.blockfile.pool import Pool
from nbtrade.storage.blockfile.snapshot_index import SnapshotIndex, merged

STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 10**6)), max_size=80)


def free_runs(bitmap):
    return runs(np.flatnonzero(bitmap))


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_free_space_is_a_bitmap_with_best_fit(steps):
    """Extents are exactly the runs of a bitmap; take gives the lowest of the smallest runs that are large enough."""
    free, bitmap, taken = FreeExtents(), np.zeros(400, bool), []
    free.add(0, 400)
    bitmap[:] = True
    for take, n, pick in steps:
        if take:
            fitting = [(size, start) for start, size in free_runs(bitmap) if size >= n]
            start = free.take(n)
            assert start == (min(fitting)[1] if fitting else None)
            if start is not None:
                bitmap[start : start + n] = False
                taken.append((start, n))
        elif taken:
            start, n = taken.pop(pick % len(taken))  # noqa: PLW2901
            free.add(start, n)
            bitmap[start : start + n] = True
        assert list(free) == free_runs(bitmap)
        assert free.n_pages == bitmap.sum()
        assert free.largest == max((size for _, size in free_runs(bitmap)), default=0)


@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 20_000)), max_size=20))
def test_touched_pages(blocks):
    """Every page that a block has a byte on, once for each block and page; an empty block may count on the page that it is in."""
    offset = np.array([a for a, _ in blocks], np.int64)
    end = offset + np.array([n for _, n in blocks], np.int64)
    right = [page for a, n in blocks for page in range(a // 4096, (a + n - 1) // 4096 + 1)]
    assert sorted(touched(offset, end).tolist()) == sorted(right)


def test_the_pool_reuses_and_balances():
    """A returned buffer is rented again; returning one twice is an error; with limit 0 nothing is kept."""
    pool = Pool()
    first = pool.rent(5000)
    assert len(first) == 8192
    with pool.buffer(5000) as view:
        assert len(view) == 5000
        assert pool.rented == 2
    pool.give_back(first)
    assert pool.rent(8000) is first
    pool.give_back(first)
    with pytest.raises(ValueError, match="not rented"):
        pool.give_back(first)
    assert pool.rented == 0
    assert pool.allocated_bytes == 2 * 8192
    none = Pool(limit=0)
    for _ in range(3):
        with none.buffer(1):
            pass
    assert none.allocated_bytes == 3 * 4096


def test_locks_are_of_descriptions(tmp_path):
    """Another description sees a lock, its ranges, and not its own; shared locks need only read access; all are released together."""
    path = tmp_path / "x"
    path.write_bytes(b"")
    ours, theirs = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    assert locks.try_lock(ours, locks.WRITER_AT)
    for start, n in ((10, 5), (100, 1), (15, 2)):
        assert locks.try_lock(theirs, locks.PAGES_AT + start, n, shared=True)
    assert not locks.is_locked(ours, locks.WRITER_AT)
    assert locks.is_locked(theirs, locks.WRITER_AT)
    pages = {page - locks.PAGES_AT for at, n in locks.locked(ours, locks.PAGES_AT, 1 << 40) for page in range(at, at + n)}
    assert pages == {10, 11, 12, 13, 14, 15, 16, 100}
    assert not locks.try_lock(ours, locks.PAGES_AT + 100)
    locks.unlock(theirs, locks.PAGES_AT + 100)
    assert locks.try_lock(ours, locks.PAGES_AT + 100)
    locks.unlock_all(ours)
    assert locks.locked(theirs, locks.WRITER_AT, 1 << 40) == []
    os.close(ours)
    os.close(theirs)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(st.booleans(), st.binary(max_size=5)), max_size=30), max_size=4))
def test_a_base_is_a_sorted_dict(generations):
    """Bases merged with changes, generation after generation, find what a dict finds, with metadata, and list prefixes in order."""
    base, model = SnapshotIndex(), {}
    for i, changes in enumerate(generations):
        rows = np.zeros(len(changes), ROW)
        rows["offset"] = np.arange(len(changes)) + 100 * i
        rows["kind"] = [kept for kept, _ in changes.values()]
        base = SnapshotIndex(b"".join(merged(base, list(changes), rows, [meta for _, meta in changes.values()])))
        for k, (name, (kept, meta)) in enumerate(changes.items()):
            model.pop(name, None)
            if kept:
                model[name] = (100 * i + k, meta)
        assert base.n == len(model)
        assert list(base.with_prefix(b"")) == sorted(model)
        names = [*model, *changes, "none"]
        assert base.rows_of([name.encode() for name in names]).tolist() == [base.row_of(name.encode()) for name in names]
        assert [(name, entry.offset, entry.meta) for name, entry in base.items(b"")] == [(name, *model[name]) for name in sorted(model)]
        for name in names:
            row = base.row_of(name.encode())
            assert (row >= 0) == (name in model)
            if row >= 0:
                assert (base.entry(row).offset, base.entry(row).meta) == model[name]
            assert list(base.with_prefix(name.encode())) == sorted(other for other in model if other.startswith(name))


def test_names_with_one_hash(monkeypatch):
    """Names with equal hashes are distinguished, in single and bulk look-ups."""
    monkeypatch.setattr("nbtrade.storage.blockfile.snapshot_index._hash", len)
    keys = [b"b", b"a", b"c", b"aa", b"bb"]
    rows = np.zeros(3, ROW)
    rows["kind"], rows["offset"] = 1, [1, 2, 3]
    base = SnapshotIndex(b"".join(merged(SnapshotIndex(), ["a", "b", "aa"], rows, [b"", b"", b""])))
    assert base.rows_of(keys).tolist() == [base.row_of(key) for key in keys] == [2, 0, -1, 1, -1]


def test_runs_of_pages():
    """Consecutive pages are one extent, however often each is listed."""
    assert runs(np.array([3, 3, 4, 7, 9, 9, 10])) == [(3, 2), (7, 1), (9, 2)]
    assert runs(np.array([5])) == [(5, 1)]
    assert runs(np.zeros(0, np.int64)) == []
