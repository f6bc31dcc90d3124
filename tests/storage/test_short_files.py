"""Files that are cut short anywhere: an nbtrade error or the right answer, never a signal. Each sweep runs in a separate process."""

import os
import subprocess
import sys
import textwrap

import pytest

import nbtrade
from nbtrade import synthetic
from nbtrade.errors import BlockFileError, BlockFileUnfinished, CorruptBlock, StoreDamaged
from nbtrade.storage.columns.listmmf import import_listmmf

PAGE = 4096
EDGES = [k * PAGE + d for k in range(5) for d in (-1, 0, 1) if k * PAGE + d >= 0]
LENGTHS = sorted({*range(0, 3 * PAGE + 1, 512), *EDGES, 100, 5000, 16_384 + 40, 20_480, 70_000})

COMMON = """
import os, shutil, sys
import numpy as np
import nbtrade
from nbtrade import BlockFile
from nbtrade.errors import NbtradeError
from nbtrade.storage.columns.column import Column
from nbtrade.storage.columns.compact import CompactColumn

folder, lengths = sys.argv[1], [int(n) for n in sys.argv[2:]]
os.chdir(folder)
counts = {"same": 0, "refused": 0}

def attempt(look):
    try:
        look()
        counts["same"] += 1
    except NbtradeError as error:
        assert len(str(error)) > 20, error
        counts["refused"] += 1

def cut(source, target, n):
    shutil.copy(source, target)
    os.truncate(target, n)

EXTRA = 0
"""


def run(folder, body, lengths=LENGTHS):
    """The words that a program prints; it must not be killed by a signal."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = COMMON + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), *map(str, lengths)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout.split()


BLOCKS = """
VALUES = {"small": b"x" * 100, "large": b"y" * 20_000, "array": np.arange(3_000.0), "packed": b"z" * 5_000}
with BlockFile("whole.blocks", step=65_536, mirror=MIRROR) as blocks:
    blocks.put_many(VALUES)
    if BASE:
        blocks.checkpoint()
    blocks.put("packed", VALUES["packed"], compress=3)
size = os.path.getsize("whole.blocks")

def read(mode):
    with BlockFile("x.blocks", mode) as blocks:
        names = blocks.list()
        if mode == "a" and not names:  # an empty file is a new one
            blocks.put("a", b"1"); blocks.flush()
            assert blocks.get("a") == b"1"
            return
        assert names == sorted(VALUES)
        for name, value in VALUES.items():
            assert bytes(np.asarray(blocks.get(name)).tobytes()) == bytes(np.asarray(value).tobytes())
        dict(blocks.scan()), blocks.verify(), blocks.get_many(names * 20)

for n in {*(n for n in lengths if n < size), *range(4 * 4096, size, 8192), size - 1, size}:
    for mode in ("r", "a"):
        cut("whole.blocks", "x.blocks", n)
        attempt(lambda: read(mode))
print(counts["same"], counts["refused"])
"""


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("base", [False, True])
def test_a_block_file_cut_anywhere(tmp_path, mirror, base):
    """To read and to write, with and without a base and a mirror of the old length: only the whole file has the blocks."""
    same, refused = run(tmp_path, f"MIRROR, BASE = {mirror}, {base}\n" + BLOCKS)
    assert int(same) >= 2
    assert int(refused) >= 50


@pytest.mark.parametrize("what", ["zeros", "ones", "text", "magic"])
def test_short_files_of_anything(tmp_path, what):
    """Zeros are an unfinished file: rejected by a reader, completed by a writer. Anything else is rejected by both and stays unchanged."""
    body = f"""
    WHAT = {{"zeros": b"\\0", "ones": b"\\xff", "text": b"hello", "magic": b"NBBLOCKS"}}[{what!r}]
    def opened(mode):
        with BlockFile("x.blocks", mode) as blocks:
            assert mode == "a" and not blocks.list()
    for n in lengths:
        for mode in ("r", "a"):
            data = (WHAT * n)[:n]
            open("x.blocks", "wb").write(data)
            attempt(lambda: opened(mode))
            if mode == "r" or (n and {what!r} != "zeros"):
                assert open("x.blocks", "rb").read() == data
    assert sorted(os.listdir()) == ["x.blocks"], os.listdir()
    print(counts["same"])
    """
    (made,) = run(tmp_path, body)
    assert int(made) == (len(LENGTHS) if what == "zeros" else 1)


def test_what_an_empty_file_is_called(tmp_path):
    """Empty, zeros, cut short and another file have their own words."""
    for data, error, words in (
        (b"", BlockFileUnfinished, "it is empty"),
        (bytes(100), BlockFileUnfinished, "100 bytes are zero"),
        (bytes(100_000), BlockFileUnfinished, "first pages of 100,000 bytes are zero"),
        (b"NBBLOCKS" + bytes(50), CorruptBlock, "its end is missing"),
        (b"PK\3\4 a zip archive", BlockFileError, "not a block file"),
    ):
        (tmp_path / "x.blocks").write_bytes(data)
        with pytest.raises(error, match=words):
            nbtrade.BlockFile(tmp_path / "x.blocks", "r")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BlockFileError, match="a pipe or a device"):
        nbtrade.BlockFile(tmp_path / "pipe", "r")


READER = """
while not os.path.exists("stop"):
    try:
        with BlockFile("new.blocks", "r") as blocks:
            assert blocks.list() in ([], ["a"])
            attempt(lambda: None)
    except FileNotFoundError:
        pass
print(counts["same"])
"""


def test_a_reader_while_files_are_made(tmp_path):
    """It sees no file or a whole one: never an unfinished one, and never a signal."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", COMMON + READER, str(tmp_path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        for _ in range(80):
            with nbtrade.BlockFile(tmp_path / "new.blocks", step=65_536) as blocks:
                blocks.put("a", b"1")
            os.unlink(tmp_path / "new.blocks")
            assert reader.poll() is None, reader.stderr.read()
        (tmp_path / "stop").touch()
        out, error = reader.communicate(timeout=30)
    assert reader.returncode == 0, error
    assert int(out) >= 0


def test_what_a_killed_creator_left_is_taken_over(tmp_path):
    """And a user's file of that name is not."""
    side = tmp_path / "x.blocks.creating"
    for left in (b"", bytes(9_000), b"NBBLOCKS" + bytes(70_000)):
        side.write_bytes(left)
        with nbtrade.BlockFile(tmp_path / "x.blocks") as blocks:
            blocks.put("a", b"1")
        assert os.listdir(tmp_path) == ["x.blocks"]
        side.write_bytes(left)
        with nbtrade.BlockFile(tmp_path / "x.blocks") as blocks:
            assert blocks.get("a") == b"1"
        assert os.listdir(tmp_path) == ["x.blocks"]
        os.unlink(tmp_path / "x.blocks")
    side.write_bytes(b"my thesis")
    with pytest.raises(BlockFileError, match="is some other file"):
        nbtrade.BlockFile(tmp_path / "x.blocks")
    assert side.read_bytes() == b"my thesis"


def test_an_empty_file_keeps_its_mode_and_links(tmp_path):
    """What a program made with its own rights, or points to by a link, becomes the block file there."""
    real = tmp_path / "real.blocks"
    real.touch(mode=0o600)
    (tmp_path / "link.blocks").symlink_to(real)
    with nbtrade.BlockFile(tmp_path / "link.blocks") as blocks:
        blocks.put("a", b"1")
    assert (tmp_path / "link.blocks").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    with nbtrade.BlockFile(real, "r") as blocks:
        assert blocks.get("a") == b"1"


@pytest.mark.parametrize("size", [0, 5, 20_000, 12 << 20])
def test_a_feature_cache_that_was_never_finished_is_used(tmp_path, size):
    """Zeros, as a process that was killed while it made the file leaves them: computed, kept, and found the second time."""
    tape = nbtrade.ingest(synthetic.write_dbn(tmp_path / "d.dbn", 2_000, live_orders=50), progress=False)
    cache = tmp_path / "features.blocks"
    cache.write_bytes(bytes(size))
    wanted = [nbtrade.feature.spread()]
    first = nbtrade.features(tape, wanted, sample=100, cache=cache)
    again = nbtrade.features(tape, wanted, sample=100, cache=cache)
    with nbtrade.BlockFile(cache, "r") as blocks:
        assert len(blocks) == 2
    assert again.values.tobytes() == first.values.tobytes()


def test_columns_cut_anywhere(tmp_path):
    """Plain, structured and packed; to read, and to append."""
    body = """
    DTYPE = np.dtype([("a", "i8"), ("b", "S5", (2,))])
    with Column("a.col", "i4") as c: c.extend(np.arange(6_000, dtype="i4"))
    with Column("b.col", DTYPE) as c: c.extend(np.ones(500, DTYPE))
    with CompactColumn("c.col", "u24") as c: c.extend(range(7_000))
    with CompactColumn("d.col") as c: c.extend([1, 0, 1] * 1_000)
    def read(kind):
        with kind.open("x.col") as c:
            assert c.array.tobytes() == whole
    def append(kind):
        with kind("x.col") as c:
            row = c[0]
            c.append(row if kind is CompactColumn else tuple(row) if c.dtype.names else int(row))
    for name, kind in (("a", Column), ("b", Column), ("c", CompactColumn), ("d", CompactColumn)):
        size, whole = os.path.getsize(f"{name}.col"), kind.open(f"{name}.col").array.tobytes()
        for n in {*(n for n in lengths if n < size), size - 1, size}:
            for look in (read, append):
                if kind is Column or look is read:
                    cut(f"{name}.col", "x.col", n)
                    attempt(lambda: look(kind))
    print(counts["same"], counts["refused"])
    """
    same, refused = run(tmp_path, body)
    assert int(same) == 6
    assert int(refused) > 100


def test_tapes_with_a_column_cut_anywhere(tmp_path):
    """Each column at each length: TapeError, as only the whole tape has the manifest's rows. A folder or a pipe is not a column either."""
    tape = nbtrade.ingest(synthetic.write_dbn(tmp_path / "d.dbn", 1_500, live_orders=50), tmp_path / "x.tape", progress=False)
    assert len(tape)
    body = """
    for name in ("events", "ts_event", "ts_recv", "order_id", "sequence", "checkpoints", "live"):
        path = f"x.tape/{name}.col"
        shutil.move(path, "whole.col")
        size = os.path.getsize("whole.col")
        for n in {*(n for n in lengths[::3] if n < size), size - 1}:
            cut("whole.col", path, n)
            attempt(lambda: nbtrade.open_tape("x.tape"))
        os.unlink(path)
        for make in (os.mkfifo, os.mkdir):
            make(path)
            attempt(lambda: nbtrade.open_tape("x.tape"))
            os.unlink(path) if make is os.mkfifo else os.rmdir(path)
        shutil.move("whole.col", path)
    assert counts["same"] == 0
    attempt(lambda: nbtrade.open_tape("x.tape"))
    print(counts["same"], counts["refused"])
    """
    same, refused = run(tmp_path, body)
    assert int(same) == 1
    assert int(refused) > 100


@pytest.mark.parametrize("kind", ["block file", "zeros", "folder", "pipe"])
def test_a_file_is_not_created_through_a_link(tmp_path, kind):
    """If the new file's name is already a link, its target does not change."""
    other = tmp_path / "other.blocks"
    if kind == "block file":
        with nbtrade.BlockFile(other) as blocks:
            blocks.put("a", b"1")
    elif kind == "zeros":
        other.write_bytes(bytes(100))
    before = other.read_bytes() if other.exists() else None
    side = tmp_path / "x.blocks.creating"
    {"folder": side.mkdir, "pipe": lambda: os.mkfifo(side)}.get(kind, lambda: side.symlink_to(other))()
    with pytest.raises(BlockFileError, match="is needed to create a block file, but it is a link, a folder or a device"):
        nbtrade.BlockFile(tmp_path / "x.blocks")
    assert (other.read_bytes() if other.exists() else None) == before
    assert not (tmp_path / "x.blocks").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "folder", "device"])
def test_a_listmmf_file_is_a_file(tmp_path, make):
    """A pipe, folder or device is refused at once; opening a pipe used to block forever."""
    make(tmp_path / "x.mmf")
    with pytest.raises(StoreDamaged, match=r"x\.mmf is a (folder|pipe or a device), not a file"):
        import_listmmf(tmp_path / "x.mmf", tmp_path / "y.col")
