"""BlockFile and BlockFolder return exactly the stored values: queued, committed, reopened or compacted."""

import os
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nbtrade import BlockFile
from nbtrade.errors import BlockFileError, BlockFileLocked, BlockNotFound
from nbtrade.storage.blockfile import commit
from nbtrade.storage.blockfile.folder import BlockFolder

STEP = 256 << 10
SMALL = {"step": STEP, "interval": 0.01}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


def same(a, b):
    """Equal values of equal types, dtypes and shapes."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


# --- one block ---------------------------------------------------------------------------------------------
SIZES = [0, 1, 255, 3583, 3584, 4095, 4096, 4097, 5000, 8191, 16383, 16384, 16385, 100_000, 1 << 20, (17 << 20) + 3]


@pytest.mark.parametrize("opener", [BlockFile, BlockFolder])
@pytest.mark.parametrize("compress", [None, 1])
def test_blocks_of_every_size_come_back(path, opener, compress):
    """Bytes of every size around the layout's limits come back, queued, committed and reopened, plain and compressed."""
    values = {f"b{n}": os.urandom(n // 2) + bytes(n - n // 2) for n in SIZES}
    with opener(path, compress=compress) as blocks:
        for name, value in values.items():
            blocks.put(name, value)
        assert all(blocks.get(name) == value for name, value in values.items())
        blocks.flush()
        assert blocks.get_many(values) == list(values.values())
    with opener(path) as blocks:
        assert all(blocks.get(name) == value for name, value in values.items())
        assert dict(blocks.scan()) == values
        assert blocks.verify().ok


DTYPES = [np.int8, np.int64, np.float32, ">u4", "S7", "U3", "M8[ns]", "?", "c16", [("px", "i8"), ("qty", "i4"), ("bad", "?")]]


@pytest.mark.parametrize("opener", [BlockFile, BlockFolder])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (7, 0, 2), (50, 60), (3000, 3)], ids=str)
def test_arrays_keep_dtype_and_shape(tmp_path, opener, dtype, shape):
    """An array comes back read-only with its dtype, shape and bytes."""
    dtype = np.dtype(dtype)
    array = np.frombuffer(np.random.default_rng(1).bytes(int(np.prod(shape)) * dtype.itemsize), np.uint8)
    array = np.zeros(shape, dtype) if dtype.kind in "USM?" or dtype.names else array.view(dtype).reshape(shape)
    with opener(tmp_path / "x", **({"step": STEP} if opener is BlockFile else {})) as blocks:
        blocks.put("a", array)
        assert same(blocks.get("a"), array)
        blocks.flush()
        back = blocks.get("a")
        assert same(back, array)
        assert not back.flags.writeable


def test_structured_dtypes_keep_their_alignment(path):
    """Aligned structures, nested ones and subarrays are returned unchanged."""
    inner = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    dtype = np.dtype([("x", "i2"), ("in", inner), ("levels", "i4", (2, 3))], align=True)
    array = np.zeros(1000, dtype)
    array["levels"] = np.arange(6000).reshape(1000, 2, 3)
    with BlockFile(path, step=STEP) as blocks:
        blocks.put("a", array)
        blocks.flush()
        back = blocks.get("a")
    assert back.dtype == dtype
    assert back.dtype.isalignedstruct
    assert (back["levels"] == array["levels"]).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(npst.arrays(npst.scalar_dtypes(), npst.array_shapes(max_dims=4, max_side=9)))
def test_any_array_comes_back(tmp_path, array):
    """Any scalar dtype, byte order and shape, contiguous or not."""
    with BlockFolder(tmp_path / "f") as folder:
        for value in (array, array.T, array[::2]):
            folder.put("a", value)
            assert same(folder.get("a"), value)


def test_values_are_those_at_put(path):
    """A buffer may be changed after put; the value at the time of put is returned."""
    with BlockFile(path, step=STEP, interval=10) as blocks:
        array, buffer = np.arange(5000), bytearray(b"before")
        blocks.put("array", array)
        blocks.put("buffer", buffer)
        array[:], buffer[:] = 0, b"behind"
        for _ in range(2):
            assert (blocks.get("array") == np.arange(5000)).all()
            assert blocks.get("buffer") == b"before"
            blocks.flush()
        assert blocks.stats()["rented_buffers"] == 0


def test_large_arrays_are_views_of_the_file(path):
    """An uncompressed array of 16 KiB is not copied: two reads share their memory, a compressed one's do not."""
    array = np.arange(4096)
    with BlockFile(path, step=STEP) as blocks:
        blocks.put("plain", array)
        blocks.put("packed", array, compress=3)
        blocks.flush()
        a, b = blocks.get("plain"), blocks.get("plain", verify=False)
        assert a.__array_interface__["data"] == b.__array_interface__["data"]
        assert a.__array_interface__["data"][0] % 4096 == 0
        assert blocks.info("packed").compressed
        assert blocks.info("packed").stored < array.nbytes / 2
        assert same(blocks.get("packed"), array)


def test_what_is_no_block_is_refused(path):
    """Objects, other types and bad names raise before anything is queued, and rented buffers come back."""
    with BlockFile(path, step=STEP) as blocks:
        with pytest.raises(TypeError, match="Python objects"):
            blocks.put("a", np.array([None]))
        with pytest.raises(TypeError, match="bytes or a NumPy array"):
            blocks.put("a", 3)
        with pytest.raises(ValueError, match="1,024 bytes"):
            blocks.put("é" * 513, b"")
        with pytest.raises(ValueError, match="1 to"):
            blocks.put_many({"x": bytearray(5), "": b""})
        with pytest.raises(TypeError, match="a str"):
            blocks.put(3, b"")
        for change in (lambda: blocks.delete("a"), lambda: blocks.rename("a", "b"), lambda: blocks.get("a"), lambda: blocks.metadata("a")):
            with pytest.raises(BlockNotFound, match="has no block 'a'"):
                change()
        assert len(blocks) == 0
        assert blocks.stats()["rented_buffers"] == 0
    with pytest.raises(BlockFileError, match="is closed"):
        blocks.get("a")
    with pytest.raises(BlockFileError, match="is closed"):
        blocks.put("a", b"")


def test_names_are_any_text_of_1024_bytes(path):
    """Longest names, other scripts, separators and NUL; listed in order by prefix."""
    names = sorted(["a" * 1024, "é" * 512, "特徴/1", "特徴/2", "a/../b", "a\0b", "%2F", " "])
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many((name, name.encode()) for name in names)
        assert blocks.list() == names
        assert blocks.list("特徴/") == ["特徴/1", "特徴/2"]
        blocks.checkpoint()
        assert blocks.list() == names
        assert blocks.list("特徴/") == ["特徴/1", "特徴/2"]
        assert [blocks.get(name) for name in names] == [name.encode() for name in names]


def test_metadata_and_info(path):
    """Metadata are kept by block, through rename, checkpoint, reopen and vacuum."""
    matrix = np.ones((300, 20))
    with BlockFile(path, step=STEP) as blocks:
        blocks.put("m", matrix, metadata={"columns": ["a"] * 20})
        blocks.put("b", b"xyz", metadata={"day": "2025-01-06"})
        assert blocks.metadata("m") == {"columns": ["a"] * 20}
        assert blocks.info("m").queued
        blocks.rename("m", "n")
        blocks.checkpoint()
        blocks.vacuum()
    with BlockFile(path, "r") as blocks:
        assert blocks.metadata("n") == {"columns": ["a"] * 20}
        assert blocks.metadata("b") == {"day": "2025-01-06"}
        info = blocks.info("n")
        assert (info.size, info.shape, info.dtype) == (48_000, (300, 20), np.float64)


def test_borrowed_bytes_are_checked_and_given_back(path):
    """`borrow` gives a block's bytes, queued, plain, compressed or array, and its buffer back on every path."""
    with BlockFile(path, step=STEP, interval=10) as blocks:
        blocks.put("b", b"bytes")
        blocks.put("z", b"zeros" * 100, compress=1)
        blocks.put("a", np.arange(9000))
        for _ in range(2):
            for name, want in (("b", b"bytes"), ("z", b"zeros" * 100), ("a", np.arange(9000).tobytes())):
                with blocks.borrow(name) as view:
                    assert bytes(view) == want
            blocks.flush()
        with pytest.raises(KeyError), blocks.borrow("b"):
            raise KeyError
        assert blocks.stats()["rented_buffers"] == 0


# --- who may open it -------------------------------------------------------------------------------------------
def test_a_second_writer_gets_a_clear_error(path):
    """Two writers: the second is told who has it; readers are not kept out; afterwards the place is free."""
    with BlockFile(path, step=STEP) as blocks:
        with pytest.raises(BlockFileLocked, match=rf"open for writing \(pid {os.getpid()}\)"):
            BlockFile(path)
        blocks.put("a", b"1")
        blocks.flush()
        with BlockFile(path, "r") as reader:
            assert reader.get("a") == b"1"
            with pytest.raises(BlockFileError, match="opened for reading"):
                reader.put("a", b"2")
    BlockFile(path, step=STEP).close()


def test_what_is_no_block_file_is_refused_and_not_touched(tmp_path):
    """Other files, folders, cut and missing files."""
    text = tmp_path / "text"
    text.write_bytes(b"hello" * 10_000)
    for mode in ("r", "a"):
        with pytest.raises(BlockFileError, match="is not a block file"):
            BlockFile(text, mode)
        with pytest.raises(BlockFileError, match="is a folder"):
            BlockFile(tmp_path, mode)
    assert text.read_bytes() == b"hello" * 10_000
    with pytest.raises(FileNotFoundError):
        BlockFile(tmp_path / "none", "r")
    with pytest.raises(BlockFileError, match="is a file"):
        BlockFolder(text)
    whole = tmp_path / "whole"
    with BlockFile(whole, step=STEP) as blocks:
        blocks.put("a", bytes(300_000))
    os.truncate(whole, STEP)
    for mode in ("r", "a"):
        with pytest.raises(BlockFileError, match=r"the copy is incomplete|its end is missing"):
            BlockFile(whole, mode)


# --- the state machine -----------------------------------------------------------------------------------------
NAMES = st.sampled_from([f"{a}/{i}" for a in "ab" for i in range(6)])
VALUES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.sampled_from([200, 3600, 4096, 5000, 16384, 40_000, 300_000]), st.integers(0, 255)).map(lambda t: bytes([t[1]]) * t[0]),
    st.tuples(st.sampled_from([3, 2500, 9000]), st.integers(0, 99)).map(lambda t: np.full((t[0], 1), t[1], "i8")),
)


class Machine(RuleBasedStateMachine):
    """BlockFile against a dict."""

    @initialize(mirror=st.booleans(), least=st.sampled_from([1, 20_000, 4 << 20]))
    def start(self, mirror, least):
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "x.blocks")
        self.least, commit.JOURNAL_MIN = commit.JOURNAL_MIN, least
        self.model = {}
        self.views = []
        self.blocks = BlockFile(self.path, mirror=mirror, **SMALL)
        self.reader = None

    def teardown(self):
        if hasattr(self, "blocks"):
            self.views.clear()
            self.blocks.close()
            assert self.blocks.pool.rented == 0
            if self.reader:
                self.reader.close()
            commit.JOURNAL_MIN = self.least
            shutil.rmtree(self.folder)

    @rule(name=NAMES, value=VALUES, compress=st.sampled_from([-1, 1]))
    def put(self, name, value, compress):
        self.blocks.put(name, value, compress=compress)
        self.model[name] = value

    @rule(values=st.dictionaries(NAMES, VALUES, max_size=8))
    def put_many(self, values):
        self.blocks.put_many(values)
        self.model.update(values)

    @rule(name=NAMES)
    def delete(self, name):
        if name in self.model:
            self.blocks.delete(name)
            del self.model[name]
        else:
            with pytest.raises(BlockNotFound):
                self.blocks.delete(name)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old, new):
        if old in self.model:
            self.blocks.rename(old, new)
            self.model[new] = self.model.pop(old)

    @rule(name=NAMES)
    def hold(self, name):
        """Keep a view: it must never change."""
        if name in self.model:
            self.views.append((self.blocks.get(name), self.model[name]))

    @rule()
    def drop(self):
        self.views = self.views[1:]

    @rule()
    def flush(self):
        self.blocks.flush()

    @rule()
    def vacuum(self):
        self.blocks.vacuum()

    @rule()
    def checkpoint(self):
        self.blocks.checkpoint()

    @precondition(lambda self: self.reader is None)
    @rule()
    def open_reader(self):
        self.reader = BlockFile(self.path, "r")

    @rule()
    def reopen(self):
        self.blocks.close()
        self.blocks = BlockFile(self.path, **SMALL)

    @rule()
    def verify(self):
        report = self.blocks.verify()
        assert report.ok
        assert report.n_blocks == len(self.model)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def read_elsewhere(self):
        self.blocks.flush()
        assert self.reader.list() == sorted(self.model)
        for name, value in self.model.items():
            assert same(self.reader.get(name), value)

    @invariant()
    def holds_the_same(self):
        if not hasattr(self, "blocks"):
            return
        assert self.blocks.list() == sorted(self.model)
        assert len(self.blocks) == len(self.model)
        for name, value in self.model.items():
            assert same(self.blocks.get(name), value)
        for view, value in self.views:
            assert same(view, value)


class MachineReopened(Machine):
    """The same, with a reopen after every step."""

    @invariant()
    def reopened(self):
        if hasattr(self, "blocks"):
            self.blocks.close()
            assert self.blocks.pool.rented == 0
            self.blocks = BlockFile(self.path, **SMALL)
            space = self.blocks.session.committer.allocator
            assert all(same(self.blocks.get(name), value) for name, value in self.model.items())
            assert space.free.n_pages <= self.blocks.session.file.n_bytes // 4096 - 4


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachineReopened = MachineReopened.TestCase
TestMachineReopened.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
