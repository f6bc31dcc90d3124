"""`get_many` returns the same as single reads, with compiled code and without, and leaks nothing."""

import contextlib
import os
import random
import subprocess
import sys
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from test_blockfile import same

from nbtrade import BlockFile
from nbtrade._numba.jit import JIT
from nbtrade.errors import BlockNotFound, CorruptBlock
from nbtrade.storage.blockfile.index import PLACE_STRUCT
from nbtrade.storage.blockfile.reader import MANY

STEP = 256 << 10
SIZES = (0, 1, 63, 64, 65, 100, 4032, 4095, 4096, 4097, 16_384, 70_000, 3 << 20)
compiled = pytest.mark.skipif(not JIT, reason="counts what compiled code leaves to `get`")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.blocks"


def right(values, names, content):
    return type(values) is list and len(values) == len(names) and all(map(same, values, [content[name] for name in names]))


def of_every_size(rng, n=100):
    """Bytes of every size around the copy's limits, the large ones rarely."""
    sizes = rng.choices(SIZES, [*[9] * (len(SIZES) - 2), 3, 1], k=n)
    return {f"b{i}": rng.randbytes(size) for i, size in enumerate([*SIZES, *sizes])}


def others(n=30):
    return {f"array{i}": np.arange(i * 200) for i in range(n)} | {"empty array": np.zeros((0, 3))}


def counted(blocks, monkeypatch):
    """How often each name is read one by one."""
    read, get = Counter(), blocks.get
    monkeypatch.setattr(blocks, "get", lambda name: read.update([name]) or get(name), raising=False)
    return read


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


# --- returned values -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_any_names_in_any_order(path, seed):
    """Any names, some several times, of base and journal, plain, compressed and arrays, for writer and reader, also while some wait."""
    rng = random.Random(seed)
    content = of_every_size(rng) | others()

    def check(*readers):
        for blocks in readers:
            some, plain = rng.choices(list(content), k=rng.randint(MANY, 300)), [name for name in content if name[0] == "b"]
            for names in (some, plain, list(content)):
                assert right(blocks.get_many(names), names, content)

    with BlockFile(path, step=STEP, interval=1e6) as blocks, BlockFile(path, "r") as reader:
        blocks.put_many(content)
        check(blocks)
        blocks.checkpoint()
        check(blocks, reader)
        content |= {f"packed{i}": bytes([i]) * 5_000 for i in range(20)}
        blocks.put_many({name: value for name, value in content.items() if name.startswith("packed")}, compress=3)
        content |= {f"b{i}": rng.randbytes(1000 * i) for i in range(10)}
        blocks.put_many({f"b{i}": content[f"b{i}"] for i in range(10)})
        check(blocks)
        blocks.flush()
        check(blocks, reader)
        blocks.vacuum()
        check(blocks, reader)


@pytest.mark.parametrize("names", [tuple, dict.fromkeys, np.array], ids=["tuple", "dict", "array"])
def test_names_of_any_kind(path, names):
    """Anything with a length that can be iterated."""
    content = {f"{i}": b"%d" % i for i in range(100)}
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many(content)
        blocks.flush()
        assert blocks.get_many(names(list(content))) == list(content.values())


@pytest.mark.parametrize("n", [MANY - 1, MANY])
def test_a_missing_name_is_said(path, n):
    """A missing or deleted name at any position is in the error. After closing nothing can be read."""
    content = {f"{i}": b"%d" % i for i in range(n)}
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many(content)
        blocks.flush()
        for at in (0, 1, n // 2, n - 1):
            names = [*content]
            names[at] = "none"
            with pytest.raises(BlockNotFound, match="has no block 'none'"):
                blocks.get_many(names)
        blocks.delete("5")
        blocks.flush()
        with pytest.raises(BlockNotFound, match="has no block '5'"):
            blocks.get_many(content)
    with pytest.raises(ValueError, match="is closed"):
        blocks.get_many(content)


@pytest.mark.parametrize("size", [1, 64, 4096, 70_000])
@pytest.mark.parametrize("mirror", [False, True])
def test_damage_in_one_of_many(path, size, mirror):
    """A flipped bit at either end of one block: CorruptBlock names it and its offset; with a mirror it is healed and all come back."""
    content = {f"{i}": os.urandom(size) for i in range(80)}
    names = random.sample(list(content), 80)
    with BlockFile(path, step=STEP, mirror=mirror, interval=1e6) as blocks:
        blocks.put_many(content)
        blocks.flush()
        for name in (names[0], names[40], names[-1]):
            for end in (0, size - 1):
                offset = blocks.info(name).offset
                flip(path, offset + end)
                if mirror:
                    assert right(blocks.get_many(names), names, content)
                    blocks.flush()
                    assert blocks.verify().ok
                    continue
                with pytest.raises(CorruptBlock) as caught:
                    blocks.get_many(names)
                assert (caught.value.name, caught.value.offset) == (name, offset)
                flip(path, offset + end)
        assert right(blocks.get_many(names), names, content)


# --- copies and leaks -------------------------------------------------------------------------------------------
@compiled
def test_only_what_is_not_plain_is_read_one_by_one(path, monkeypatch):
    """Plain bytes are copied all at once; arrays, compressed and damaged blocks among them are each read by one `get`."""
    plain = {f"b{i}": os.urandom(1000 + i) for i in range(100)}
    with BlockFile(path, step=STEP, mirror=True, interval=1e6) as blocks:
        blocks.put_many(plain)
        blocks.put_many(others(20))
        blocks.put("packed", bytes(9000), compress=3)
        blocks.flush()
        content = plain | others(20) | {"packed": bytes(9000)}
        flip(path, blocks.info("b7").offset)
        read = counted(blocks, monkeypatch)
        names = random.sample(list(content), len(content))
        assert right(blocks.get_many(names), names, content)
        assert read == Counter({*content} - {*plain} | {"b7"})


def test_a_damaged_place_is_not_followed(path):
    """Places beyond the mapping, before it, or with their end before their start: not touched, `get` finds the block's entry."""
    content = {f"b{i}": bytes([i]) * 100 for i in range(2 * MANY)}
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many(content)
        blocks.flush()
        overlay = blocks.session.catalog.index.overlay
        bad = (1 << 50, (1 << 50) + 100), ((1 << 64) - 100, 1 << 20), (1 << 16, 1 << 15)
        for i, (start, end) in enumerate(bad):
            *_, check, number = PLACE_STRUCT.unpack(overlay[f"b{i * 7}"])
            overlay[f"b{i * 7}"] = PLACE_STRUCT.pack(start, end, check, number)
        assert right(blocks.get_many(list(content)), list(content), content)


@compiled
def test_other_threads_have_their_turn(path, monkeypatch):
    """Each 4 MiB one block is read in Python, where the interpreter may give its lock to another thread."""
    content = {f"{i}": os.urandom(256 << 10) for i in range(80)}
    with BlockFile(path) as blocks:
        blocks.put_many(content)
        blocks.flush()
        read = counted(blocks, monkeypatch)
        assert right(blocks.get_many(content), content, content)
        assert read == Counter(list(content)[15::16])


def test_bytes_are_ones_own(path):
    """Returned values survive replacing blocks, compacting and closing: they are not views."""
    content = {f"{i}": os.urandom(3000) for i in range(100)}
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many(content)
        blocks.flush()
        values = blocks.get_many(content)
        for _ in range(3):
            blocks.put_many({name: bytes(3000) for name in content})
            blocks.flush()
        blocks.vacuum()
    assert values == list(content.values())
    assert len({id(value) for value in values}) == 100


def test_nothing_is_left_behind(path):
    """Thousands of calls, half of which raise: no memory leaks, and no references to names, places or functions remain."""
    content = {f"{i}": os.urandom(i * 50) for i in range(100)} | others(5)
    missing = [*content, "none"]
    with BlockFile(path, step=STEP) as blocks:
        blocks.put_many(content)
        blocks.flush()
        overlay = blocks.session.catalog.index.overlay

        def read(n):
            for _ in range(n):
                blocks.get_many(content)
                with contextlib.suppress(BlockNotFound):  # pytest.raises keeps 48 bytes a time
                    pytest.fail(f"{blocks.get_many(missing)}")

        read(1)
        held = [sys.getrefcount(one) for one in (*content, *overlay.values(), blocks.session.mapped, b"")]
        tracemalloc.start()
        try:
            read(50)  # one-time allocations
            before = tracemalloc.get_traced_memory()[0]
            read(1000)
            kept = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        after = [sys.getrefcount(one) for one in (*content, *overlay.values(), blocks.session.mapped, b"")]
    assert kept < 20_000  # one number of each call would be 64 KB, one block more
    assert after[:-1] == held[:-1]
    assert abs(after[-1] - held[-1]) < 100  # b"" is everybody's


# --- in other processes --------------------------------------------------------------------------------------------
CODE = """
import sys
from nbtrade import BlockFile
from nbtrade.storage.blockfile.index import PLACE_STRUCT
from nbtrade.storage.blockfile.reader import MANY
content = {f"{i}": bytes([i]) * 1000 for i in range(MANY)}
with BlockFile(sys.argv[1]) as blocks:
    blocks.put_many(content)
    blocks.flush()
    assert blocks.get("1") == content["1"]
    few = list(content)[1:]
    assert blocks.get_many(few) == [content[name] for name in few]
    assert blocks.get_many(content) == list(content.values())
    print("numba" in sys.modules, "nbtrade.storage.blockfile.bulk_read" in sys.modules, end=" ")
    import numba
    assert blocks.get_many(content) == list(content.values())
    blocks.put("0", memoryview(bytes(10)))
    blocks.flush()
    assert blocks.get_many(content) == [bytes(10), *list(content.values())[1:]]
    print("nbtrade.storage.blockfile.bulk_read" in sys.modules)
"""


def elsewhere(path, **settings):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **settings}
    done = subprocess.run([sys.executable, "-c", CODE, str(path)], check=False, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_blocks_load_no_numba(path):
    """Opening, writing and reading, however many blocks, load no Numba; where it is loaded the compiled code reads many."""
    assert elsewhere(path) == ["False", "False", "True"]


def test_without_compiled_code(path):
    """NUMBA_DISABLE_JIT: the same values, read one by one."""
    assert elsewhere(path, NUMBA_DISABLE_JIT="1") == ["False", "False", "True"]


def test_second_process_compiles_nothing(path, tmp_path):
    """The compiled code comes from the disk cache in another process: no file is added or changed."""
    cache = tmp_path / "cache"
    elsewhere(path, NBTRADE_CACHE_DIR=str(cache), NUMBA_DISABLE_JIT="0")
    files = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert [name.split("-")[0] for name in files] == ["_read_blocks"]
    elsewhere(path, NBTRADE_CACHE_DIR=str(cache), NUMBA_DISABLE_JIT="0")
    assert {file.name: file.stat().st_mtime_ns for file in cache.iterdir()} == files
