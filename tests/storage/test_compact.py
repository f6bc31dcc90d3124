"""CompactColumn against a plain list of integers, in the narrowest width that the list allows."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crash_kit import LazyDisk
from nbtrade import Column, CompactColumn
from nbtrade.errors import StoreBusy, StoreDamaged
from nbtrade.storage.columns import upgrade
from nbtrade.storage.columns.compact import WIDTHS
from nbtrade.storage.columns.header import ROWS
from nbtrade.storage.columns.kernels.packed import limits, narrowest

DISK = LazyDisk()
EDGES = sorted(
    {edge + d for bits in range(0, 65, 8) for edge in (2**bits, -(2 ** max(bits - 1, 0)), 2 ** max(bits - 1, 0)) for d in (-2, -1, 0, 1)}
)
EDGES = [value for value in EDGES if -(2**63) <= value < 2**64]


def name_of(low, high):
    """The width that holds low .. high, as it is called."""
    bits, signed = narrowest(low, high)
    return "bit" if bits == 1 else f"{'i' if signed else 'u'}{bits}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.col"


def opened(path, *args, **options):
    return CompactColumn(path, *args, disk=DISK, **options)


# --- widths ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", WIDTHS)
def test_boundary_values_of_every_width(path, width):
    """The minimum and maximum keep the width, one beyond widens it by as much as necessary; all values are returned."""
    low, high = limits(*WIDTHS[width])
    for beyond in (low - 1, high + 1):
        with opened(path, width) as column:
            column.extend([low, high, 0, 1])
            column.append(high)
            column.append(low)
            assert column.width == width
            stored = [low, high, 0, 1, high, low]
            if min(low, beyond) >= -(2**63) and max(high, beyond) < (2**63 if min(low, beyond) < 0 else 2**64):
                column.append(beyond)
                stored.append(beyond)
                assert column.width == name_of(min(stored), max(stored)) != width
            else:
                with pytest.raises(OverflowError, match="do not fit into one 64-bit integer type"):
                    column.append(beyond)
            assert [int(value) for value in column.decode()] == stored
            assert [column[i] for i in range(-1, len(stored) - 1)] == [stored[-1], *stored[:-1]]
        path.unlink()


@pytest.mark.parametrize("edge", EDGES)
def test_the_first_value_decides_and_the_next_widens(path, edge):
    """An empty column takes the narrowest width of its first value; 0, -1 and a bulk widen it to the narrowest of all."""
    with opened(path) as column:
        column.append(edge)
        assert (column.width, column[0]) == (name_of(edge, edge) if edge not in (0, 1) else "bit", edge)
        stored = [edge]
        for more in ([0], [-1], list(range(300))):
            if edge >= 2**63 and -1 in more:
                continue
            column.extend(more)
            stored += more
            assert column.width == name_of(min(*stored, 0), max(*stored, 1))
        assert [int(value) for value in column.decode()] == stored
        assert os.path.getsize(path) == ROWS + -(-len(stored) * WIDTHS[column.width][0] // 8)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_file_is_as_long_as_its_values(path, width):
    """Nothing is kept in reserve: four pages and the values."""
    low, high = limits(*WIDTHS[width])
    with opened(path, width) as column:
        column.extend(np.array([low, high] * 50_001, np.uint64 if high > 2**63 else np.int64))
        assert os.path.getsize(path) == ROWS + -(-100_002 * WIDTHS[width][0] // 8)


@pytest.mark.parametrize("n", [upgrade.CHUNK - 1, upgrade.CHUNK, upgrade.CHUNK + 1, 3 * upgrade.CHUNK + 5])
def test_bits_and_bytes_across_chunks(path, n):
    """Bulks longer than a chunk, from a bit that begins no byte, and their upgrade through every width, are what a list is."""
    rng = np.random.default_rng(n)
    values = rng.integers(0, 2, n)
    with opened(path) as column:
        for part in (values[:3], values[3:]):
            column.extend(part)
        for width in [*WIDTHS, "bit"]:
            column.upgrade(width)
            assert column.width == width
            assert np.array_equal(column.decode(), values)
            assert np.array_equal(column.decode(5, n - 2), values[5 : n - 2])
            assert np.array_equal(np.asarray(column), values)
        column.append(1)
        assert column[-1] == 1
        column.extend(values * 2**40 - 7)
        assert column.width == "i48"
        assert np.array_equal(column[:], [*values, 1, *(values * 2**40 - 7)])


# --- errors -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([1, 0.5], TypeError, "float"),
        (np.array([0.5]), TypeError, "an array of float64 does not hold integers"),
        (["7"], TypeError, "str"),
        ([-1, 2**63], OverflowError, r"-1 and 9223372036854775808 do not fit"),
        ([2**64], OverflowError, "do not fit"),
        (np.zeros((2, 2), int), ValueError, r"these have the shape \(2, 2\)"),
    ],
)
def test_what_is_no_integer_is_refused_whole(path, values, error, words):
    """The error says why; nothing was added, nothing was widened."""
    with opened(path) as column:
        column.append(1)
        with pytest.raises(error, match=words):
            column.extend(values)
        assert (column.width, column[:].tolist()) == ("bit", [1])


def test_a_compact_column_is_not_a_column(path):
    """Each class says which one a file is for; unknown widths and places are errors."""
    CompactColumn(path).close()
    for opening in (Column, Column.open):
        with pytest.raises(StoreDamaged, match=r"holds integers of 1 bits: open it with CompactColumn"):
            opening(path)
    other = path.with_suffix(".rows")
    Column(other, "i4").close()
    for opening in (CompactColumn, CompactColumn.open):
        with pytest.raises(StoreDamaged, match=r"holds rows of a fixed dtype: open it with Column"):
            opening(other)
    with pytest.raises(ValueError, match="'u12' is not a width: choose one of bit, u8, i8"):
        CompactColumn(path, "u12")
    with CompactColumn(path) as column:
        column.extend([1, 0])
        with pytest.raises(StoreBusy):
            CompactColumn(path)
        for place in (2, -3):
            with pytest.raises(IndexError, match="has 2 values: index"):
                column[place]
        column.extend([300])
        with pytest.raises(OverflowError, match="has values from 0 to 300: u8 holds 0 to 255"):
            column.upgrade("u8")
        assert column.width == "u16"


# --- upgrades ------------------------------------------------------------------------------------------------
def test_readers_read_on_and_find_the_new_file(path):
    """Arrays taken before an upgrade stay; at the next access a reader has the new width, a higher epoch, and all values."""
    with opened(path) as column:
        column.extend(range(1000))
        reader = CompactColumn.open(path)
        before, epoch = reader.packed(), reader.epoch
        assert np.shares_memory(before.native, before.data)
        column.extend([2**20, -1])
        assert (reader.width, len(reader)) == ("i24", 1002)
        assert reader.epoch > epoch
        assert reader.decode().tolist() == [*range(1000), 2**20, -1]
        assert (before.bits, before.n, before.native.tolist()) == (16, 1000, list(range(1000)))
        column.append(5)
        assert reader[-1] == 5
        column.truncate(10)
        column.optimise()
        assert (reader.width, reader.array.tolist()) == ("u8", list(range(10)))
        assert os.path.getsize(path) == ROWS + 10, "an optimised file no longer has the truncated values"
        column.optimise()
    assert os.listdir(path.parent) == ["x.col"]


def test_progress_is_told_and_may_cancel(path):
    """It goes to the end in order; an exception at any call stops the upgrade and leaves everything unchanged, and no second file."""
    n = 3 * upgrade.CHUNK + 1
    with opened(path) as column:
        column.extend(np.arange(n) % 200)
        reader = CompactColumn.open(path)
        data, epoch = path.read_bytes(), reader.epoch

        for stop in range(4):
            calls = []

            def progress(done, total, calls=calls, stop=stop):
                calls.append((done, total))
                assert (path.parent / "x.col.upgrading").exists()
                if len(calls) > stop:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                column.upgrade("u24", progress)
            column.progress = progress
            del calls[:]
            with pytest.raises(KeyboardInterrupt):
                column.append(1000)
            assert os.listdir(path.parent) == ["x.col"]
            assert (path.read_bytes()[:12288], path.read_bytes()[ROWS:]) == (data[:12288], data[ROWS:])
            assert (reader.width, reader.epoch, column.width, len(column)) == ("u8", epoch, "u8", n)
        column.progress = None
        calls = []
        column.upgrade("u24", lambda done, total: calls.append((done, total)))
        assert calls == [(upgrade.CHUNK, n), (2 * upgrade.CHUNK, n), (3 * upgrade.CHUNK, n), (n, n)]
        assert np.array_equal(reader.decode(), np.arange(n) % 200)


def test_left_overs_are_removed_by_the_next_writer_only(path):
    """The leftovers of a killed upgrade are removed with the lock held: not by a reader, nor by a rejected writer."""
    column = opened(path)
    column.append(1)
    side = path.parent / "x.col.upgrading"
    side.write_bytes(b"half an upgrade")
    (path.parent / "x.col.creating").write_bytes(b"")
    assert CompactColumn.open(path)[0] == 1
    with pytest.raises(StoreBusy):
        CompactColumn(path)
    assert side.exists()
    column._file.close()
    with opened(path) as again:
        assert os.listdir(path.parent) == ["x.col"]
        again.append(1000)
        assert again[:].tolist() == [1, 1000]


def test_a_reader_whose_file_is_gone_reads_on(path):
    """A file that was removed during an upgrade is what it was."""
    with opened(path) as column:
        column.extend([1, 2, 3])
        reader = CompactColumn.open(path)
        column._file.set_moving(True)
        assert reader[:].tolist() == [1, 2, 3]
        path.unlink()
        assert reader[:].tolist() == [1, 2, 3]
        column._file.set_moving(False)


# --- the state machine -------------------------------------------------------------------------------------
VALUES = st.one_of(st.sampled_from(EDGES), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))


class CompactIsAList(RuleBasedStateMachine):
    """A column of integers and its readers are at every moment what a list is, in a width that holds it."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.root))
        self.path = self.folder / "x"
        self.model, self.epoch = [], 0
        self.column = opened(self.path)
        self.reader = CompactColumn.open(self.path)

    def fits(self, values):
        return min([*self.model, *values], default=0) >= 0 or max([*self.model, *values]) < 2**63

    @rule(value=VALUES)
    def append(self, value):
        if self.fits([value]):
            self.column.append(value)
            self.model.append(value)
        else:
            with pytest.raises(OverflowError):
                self.column.append(value)

    @rule(values=st.lists(VALUES, max_size=30), times=st.integers(1, 40))
    def extend(self, values, times):
        values *= times
        if self.fits(values):
            self.column.extend(values)
            self.model += values
        else:
            with pytest.raises(OverflowError):
                self.column.extend(values)

    @rule(bits=st.lists(st.integers(0, 1), max_size=20))
    def extend_bits(self, bits):
        self.extend(bits, 1)

    @rule(part=st.floats(0, 1))
    def truncate(self, part):
        count = int(part * len(self.model))
        self.column.truncate(count)
        del self.model[count:]

    @rule()
    def optimise(self):
        self.column.optimise()
        low, high = min(self.model, default=0), max(self.model, default=0)
        assert WIDTHS[self.column.width][0] == narrowest(low, high)[0]

    @rule(width=st.sampled_from(list(WIDTHS)))
    def widen(self, width):
        low, high = limits(*WIDTHS[width])
        if all(low <= value <= high for value in self.model):
            self.column.upgrade(width)
            assert self.column.width == width
        else:
            before = self.column.width
            with pytest.raises(OverflowError, match="Nothing was changed"):
                self.column.upgrade(width)
            assert self.column.width == before

    @rule(how=st.sampled_from(["close", "dies"]))
    def writer_is_followed(self, how):
        self.column.close() if how == "close" else self.column._file.close()
        self.column = opened(self.path)

    @rule()
    def reader_is_followed(self):
        self.reader = CompactColumn.open(self.path)

    @invariant()
    def all_agree(self):
        assert len(self.column) == len(self.reader) == len(self.model)
        for column in (self.column, self.reader):
            assert [int(value) for value in column.decode()] == self.model
        if self.model:
            assert (self.reader[0], self.reader[-1]) == (self.model[0], self.model[-1])
        assert self.reader.epoch == self.column.epoch >= self.epoch
        assert self.reader.width == self.column.width
        self.epoch = self.reader.epoch
        assert os.listdir(self.folder) == ["x"]

    def teardown(self):
        if hasattr(self, "column"):
            self.column.close()
            assert [int(value) for value in CompactColumn.open(self.path).decode()] == self.model


def test_a_compact_column_is_a_list(tmp_path):
    """Any sequence of appends, extends, upgrades, truncates, closes and deaths."""
    CompactIsAList.root = tmp_path
    run_state_machine_as_test(CompactIsAList, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))
