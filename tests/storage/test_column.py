"""Column against a plain list: readers see exactly the appended rows, now, later, in other processes, after a kill."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crash_kit import LazyDisk
from nbtrade import Column
from nbtrade.errors import NbtradeError, StoreBusy, StoreDamaged
from nbtrade.storage import dtypes
from nbtrade.storage.columns import column_file, header

ROW = np.dtype([("ts", "i8"), ("px", "f4"), ("side", "i1")], align=True)
NESTED = np.dtype({"names": ["a", "b"], "formats": [("u1", (3,)), [("x", ">i2"), ("y", "M8[ns]")]], "offsets": [1, 5], "itemsize": 17})
DISK = LazyDisk()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.col"


def dies(column):
    """The writer's process is gone: its lock is free, nothing was committed."""
    column._file.close()


# --- one after the other -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "u8", "f4", "f8", ">i4", "M8[ns]", "S5", ROW, NESTED], ids=str)
def test_every_dtype_comes_back(path, dtype):
    """Random bytes of any fixed dtype are returned unchanged, and so is the dtype with its offsets, padding and alignment."""
    dtype = np.dtype(dtype)
    rows = np.frombuffer(np.random.default_rng(1).bytes(50 * dtype.itemsize), dtype)
    with Column(path, dtype) as column:
        column.extend(rows)
        column.extend(rows[::3])
        column.append(rows[7])
    reader = Column.open(path)
    expected = rows.tobytes() + b"".join(rows[i : i + 1].tobytes() for i in range(0, 50, 3))
    assert reader.array[:-1].tobytes() == expected
    assert str(reader.array[-1]) == str(rows[7]), "a single row may lose what is between its fields"
    assert (reader.dtype, reader.dtype.isalignedstruct) == (dtype, dtype.isalignedstruct)
    assert os.path.getsize(path) == header.ROWS + len(expected) + dtype.itemsize


def test_rows_are_added_in_all_their_forms(path):
    """Scalars, lists, tuples of a structured row, arrays of a narrower type."""
    with Column(path, "i4") as column:
        column.append(-5)
        column.append(np.int16(6))
        column.extend([1, 2])
        column.extend(())
        column.extend(np.array([3, 4], np.uint64))
        column.extend(np.array([True]))
        assert list(column) == [-5, 6, 1, 2, 3, 4, 1]
        assert column[-1] == 1
        assert np.asarray(column).dtype == np.int32
    with Column(path.with_suffix(".rows"), ROW) as column:
        column.append((1, 2.5, -1))
        column.extend([(2, 0.5, 1), (3, 1.5, 0)])
        assert column.array["ts"].tolist() == [1, 2, 3]
    with Column(path.with_suffix(".f"), "f4") as column:
        column.append(1)
        column.append(0.5)
        column.extend([0.25, 2])
        assert column.array.tolist() == [1, 0.5, 0.25, 2]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([1, 2**31], OverflowError, "row 1 is 2147483648: a column of int32 holds"),
        ([1, -(2**70)], OverflowError, "too large|out of bounds"),
        ([0.5], TypeError, "rows of float64 cannot be stored in a column of int32 without loss"),
        (["7"], TypeError, "rows of <U1"),
        ([[1, 2]], ValueError, r"these have the shape \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused_whole(path, rows, error, words):
    """The error says which row and why; nothing was added."""
    with Column(path, "i4") as column:
        column.append(9)
        with pytest.raises(error, match=words):
            column.extend(rows)
        assert column.array.tolist() == [9]
        with pytest.raises(error):
            column.append(rows[-1])
        assert column.array.tolist() == [9]


def test_objects_cannot_be_rows(path):
    """A dtype with Python objects is refused, and no file is made."""
    for dtype in (object, np.dtype([("a", object)]), "V0"):
        with pytest.raises(TypeError, match="cannot be stored"):
            Column(path, dtype)
    assert not path.exists()


def test_a_writer_is_alone(path):
    """A second one is told who has it; a reader is not disturbed; after `close` the next may."""
    with Column(path, "i4") as column:
        with pytest.raises(StoreBusy, match=r"x\.col is being written by another object of this process") as busy:
            Column(path, "i4")
        assert isinstance(busy.value, NbtradeError)
        assert isinstance(busy.value, BlockingIOError)
        column.append(1)
        assert len(Column.open(path)) == 1
    with pytest.raises(ValueError, match="is closed"):
        column.append(2)
    column.close()
    with Column(path) as again:
        again.append(2)
        assert again.array.tolist() == [1, 2]
        assert column.array.tolist() == [1, 2], "a closed one reads on"
    assert os.listdir(path.parent) == ["x.col"]


def test_a_column_is_opened_as_what_it_is(path):
    """Another dtype, no file, another kind of file: each raises its own error."""
    with pytest.raises(FileNotFoundError):
        Column(path)
    with pytest.raises(FileNotFoundError):
        Column.open(path)
    Column(path, "i4").close()
    with pytest.raises(StoreDamaged, match="has rows of int32, not int64"):
        Column(path, "i8")
    Column(path, "i4").close()
    path.write_bytes(b"something else" * 2000)
    for opening in (Column, Column.open):
        with pytest.raises(StoreDamaged, match="is not a column, or its first page is damaged"):
            opening(path)
    path.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="is not a column"):
        Column.open(path)


def test_arrays_stay_as_they_were_taken(path):
    """An array keeps the rows of its moment through appends, close, and removal of the file."""
    column = Column(path, "i8")
    column.extend(range(10))
    early = column.array
    reader = Column.open(path)
    column.extend(range(1000))
    assert len(early) == 10
    assert len(reader.array) == 1010
    late = reader.array
    assert not late.flags.writeable
    assert not late.flags.owndata
    column.close()
    reader.close()
    path.unlink()
    del column, reader
    assert late.tolist() == [*range(10), *range(1000)]
    assert early.tolist() == list(range(10))


def test_truncate_lowers_the_count_and_never_the_file(path):
    """Readers' arrays remain readable; the epoch increases; rows continue from there."""
    with Column(path, "i4") as column:
        column.extend(range(5000))
        reader = Column.open(path)
        before, epoch, size = reader.array, reader.epoch, os.path.getsize(path)
        column.truncate(3)
        assert (len(reader), os.path.getsize(path)) == (3, size)
        assert reader.epoch > epoch
        assert before[-1] == 4999
        column.append(7)
        assert reader.array.tolist() == [0, 1, 2, 7]
        for wrong in (-1, 5):
            with pytest.raises(ValueError, match="truncated to 0"):
                column.truncate(wrong)
    assert Column.open(path).array.tolist() == [0, 1, 2, 7]


def test_a_file_that_was_cut_off_is_refused(path):
    """Fewer bytes than its count says: an error at opening, not a dead process later."""
    with Column(path, "i8") as column:
        column.extend(range(1000))
    for size in (header.ROWS + 7999, header.ROWS, header.ROWS - 1, 100):
        os.truncate(path, size)
        for opening in (Column, Column.open):
            with pytest.raises(StoreDamaged, match=r"cut off|damaged"):
                opening(path)


def test_a_reader_maps_again_when_a_file_outgrows_its_mapping(path, monkeypatch):
    """Beyond the address space that was taken a larger piece is, arrays of the first stay valid; where space is limited, less will do."""
    monkeypatch.setattr(column_file, "RESERVED", 1 << 16)
    with Column(path, "i8") as column:
        reader = Column.open(path)
        column.extend(range(100))
        small = reader.array
        column.extend(range(100_000))
        assert reader.array.tolist() == [*range(100), *range(100_000)]
        assert small.tolist() == list(range(100))
        assert len(column.array) == 100_100
        monkeypatch.setattr(column_file, "RESERVED", 1 << 60)
        assert Column.open(path).array[-1] == 99_999, "less address space than asked for"


def test_forked_children_do_not_hold_the_lock(path):
    """A child that inherits a writer cannot write, and does not keep the next writer out."""
    column = Column(path, "i4")
    column.append(1)
    wake, sleep = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            column.append(2)
        except ValueError as error:
            code = 0 if "before a fork" in str(error) and column.array[0] == 1 else 2
        finally:
            os.close(sleep)
            os.read(wake, 1)
            os._exit(code)
    column.append(3)
    dies(column)
    with Column(path) as following:
        assert following.array.tolist() == [1, 3]
    os.close(sleep)
    os.close(wake)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_live_page_says_what_it_says():
    """Counts come back from their words; any flipped bit of one, and zeros, are seen."""
    from nbtrade.storage.columns.kernels import live_page

    writable = np.zeros(512, np.int64)
    writable[live_page.BOOT] = 77
    page = writable.view()
    page.flags.writeable = False
    assert live_page.live(page, 76, live_page.COUNT) == live_page.NOT_LIVE
    assert live_page.live(page, 77, live_page.COUNT) == live_page.DAMAGED
    for n in (0, 1, 2**15, 12345678901, live_page.MAX_COUNT - 1):
        word = live_page.live_word(n)
        writable[live_page.COUNT] = word
        assert live_page.live(page, 77, live_page.COUNT) == n
        for bit in range(64):
            flipped = word ^ 1 << bit
            writable[live_page.COUNT] = flipped - (flipped >> 63 << 64)
            assert live_page.live(page, 77, live_page.COUNT) == live_page.DAMAGED


@given(
    st.recursive(
        st.sampled_from(["i1", "<u4", ">f8", "M8[us]", "S3", "?"]), lambda part: st.lists(part, min_size=1, max_size=4), max_leaves=8
    ),
    st.booleans(),
)
def test_descriptions_of_dtypes_are_exact(parts, aligned):
    """Nested structures come back equal, with their alignment and size."""
    dtype = made(parts, aligned)
    again = dtypes.from_json(dtypes.to_json(dtype))
    assert (again, again.itemsize, again.isalignedstruct) == (dtype, dtype.itemsize, dtype.isalignedstruct)


def made(parts, aligned):
    if isinstance(parts, str):
        return np.dtype(parts)
    return np.dtype([(f"f{i}", made(part, aligned), (2,) if i == 1 else ()) for i, part in enumerate(parts)], align=aligned)


# --- the state machine -----------------------------------------------------------------------------------
class ColumnIsAList(RuleBasedStateMachine):
    """A column and its readers are at every moment what a list is."""

    @initialize(
        dtype=st.sampled_from(["i2", "f8", "rows"]),
    )
    def start(self, dtype):
        self.dtype = np.dtype([("ts", "i8"), ("px", "f4"), ("n", "u4")]) if dtype == "rows" else np.dtype(dtype)
        self.folder = Path(tempfile.mkdtemp(dir=self.root))
        self.path = self.folder / "x"
        self.model, self.n, self.epoch = [], 0, 0
        self.column = Column(self.path, self.dtype, disk=DISK)
        self.reader = Column.open(self.path)

    def new_rows(self, count):
        """Rows that were never there before."""
        data = np.arange(self.n * self.dtype.itemsize, (self.n + count) * self.dtype.itemsize) * 7919 >> 3 & 63
        self.n += count
        return data.astype(np.uint8).view(self.dtype)

    @rule()
    def append(self):
        row = self.new_rows(1)
        self.column.append(row[0].item())
        self.model.append(row.tobytes())

    @rule(count=st.integers(0, 700))
    def extend(self, count):
        rows = self.new_rows(count)
        self.column.extend(rows)
        self.model += [row.tobytes() for row in rows]

    @rule(part=st.floats(0, 1))
    def truncate(self, part):
        count = int(part * len(self.model))
        self.column.truncate(count)
        del self.model[count:]
        assert self.reader.epoch > self.epoch
        self.epoch = self.reader.epoch

    @rule()
    def sync(self):
        self.column.sync()
        assert self.column.n_durable == len(self.model)

    @rule(how=st.sampled_from(["close", "dies"]))
    def writer_is_followed(self, how):
        self.column.close() if how == "close" else dies(self.column)
        self.column = Column(self.path, self.dtype, disk=DISK)

    @rule()
    def reader_is_followed(self):
        self.reader = Column.open(self.path)

    @invariant()
    def all_agree(self):
        expected = b"".join(self.model)
        assert len(self.column) == len(self.reader) == len(self.model)
        assert self.reader.array.tobytes() == self.column.array.tobytes() == expected
        assert self.reader.epoch == self.column.epoch == self.epoch

    def teardown(self):
        if hasattr(self, "column"):
            self.column.close()
            assert os.listdir(self.folder) == ["x"]
            assert Column.open(self.path).array.tobytes() == b"".join(self.model)


def test_a_column_is_a_list(tmp_path):
    """Any sequence of appends, extends, truncates, syncs, closes and deaths."""
    from hypothesis.stateful import run_state_machine_as_test

    ColumnIsAList.root = tmp_path
    run_state_machine_as_test(ColumnIsAList, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))


def test_importing_columns_is_light():
    """The class needs neither pandas nor a source."""
    import subprocess

    code = "import nbtrade.storage.columns.compact, sys; print(sorted({'pandas', 'databento_dbn', 'tqdm'}.intersection(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
