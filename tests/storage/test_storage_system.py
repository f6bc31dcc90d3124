"""System calls: all in storage/system.py, and each function keeps its promise."""

import ast
import gc
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nbtrade import BlockFile
from nbtrade.storage import system

PACKAGE = Path(system.__file__).parents[1]
MODULES = {"fcntl", "mmap", "resource"}
CALLS = {"fdatasync", "fsync", "sync_file_range", "renameat2", "statvfs", "nice", "setpriority", "fchmod", "register_at_fork"}
CALLS |= {"pread", "preadv", "pwrite", "pwritev"}
# ctypes is fine for addresses in memory and for the interpreter's own functions, not for the operating system
EXCEPTIONS = {("_numba/jit.py", "os.register_at_fork")}  # imported by storage, so it cannot import storage itself
LIBRARIES = {"CDLL", "WinDLL", "LibraryLoader", "cdll", "windll"}


def system_calls(tree):
    """(line, name) of every import and attribute by which a module reaches the operating system itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = (node.module or "").split(".")[0]
            named = [alias.name for alias in node.names if module in ("os", "ctypes") and is_system_call(alias.name)]
            names = [module, *named]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "ctypes"):
            if is_system_call(node.attr):
                yield node.lineno, f"{node.value.id}.{node.attr}"
            continue
        else:
            continue
        yield from ((node.lineno, name) for name in names if name in MODULES or is_system_call(name))


def is_system_call(name):
    return name in CALLS | LIBRARIES or name.startswith("posix_")


def test_only_one_module_calls_the_system():
    """No other module maps, locks, syncs or allocates files itself."""
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for _, name in system_calls(ast.parse(path.read_text()))
    }
    assert {"mmap", "fcntl", "os.fsync"} <= {name for path, name in found if path == "storage/system.py"}
    others = {(path, name) for path, name in found if path != "storage/system.py"}
    assert others == EXCEPTIONS, "call nbtrade.storage.system instead"


@pytest.mark.parametrize(
    "source",
    [
        "import mmap",
        "import fcntl as f",
        "from mmap import mmap",
        "from os import fsync",
        "from os import path, posix_fallocate as reserve",
        "import os\nos.posix_fadvise(0, 0, 0, 0)",
        "import os\nsync = os.fdatasync",
        "import ctypes\nctypes.CDLL(None)",
        "from ctypes import CDLL",
        "def f():\n    import resource",
    ],
)
def test_the_rule_finds_system_calls(source):
    assert list(system_calls(ast.parse(source)))


@pytest.mark.parametrize("source", ["import ctypes\nctypes.c_char * 4", "import os\nos.rename('a', 'b')", "from os import path"])
def test_the_rule_allows_portable_calls(source):
    assert not list(system_calls(ast.parse(source)))


@pytest.fixture
def fd(tmp_path):
    """An open file of 10,000 bytes."""
    fd = system.open_file(tmp_path / "file", system.READ_WRITE | system.CREATE)
    os.write(fd, bytes(range(250)) * 40)
    yield fd
    os.close(fd)


def test_positional_reads_and_writes(fd):
    """Reads end at the end of the file; writes go where they are told and move no file position."""
    assert system.write_once(fd, b"abc", 5) == 3
    assert system.write_vector_once(fd, [b"de", b"f"], 8) == 3
    assert system.read_once(fd, 6, 5) == b"abcdef"
    assert system.read_once(fd, 100, 10_000) == b""
    buffer = bytearray(20)
    assert system.read_into_once(fd, memoryview(buffer), 9_990) == 10
    assert buffer[:10] == bytes(range(240, 250))


def test_space_is_allocated_and_zero(fd):
    """Allocated bytes are part of the file and read as zeros; bytes already written stay."""
    system.allocate(fd, 9_000, 50_000)
    assert os.fstat(fd).st_size == 59_000
    assert os.fstat(fd).st_blocks * 512 >= 59_000
    assert system.read_once(fd, 2_000, 9_000) == (bytes(range(250)) * 4 + bytes(1_000))
    system.truncate(fd, 7)
    assert os.fstat(fd).st_size == 7


def test_syncs_and_hints_change_nothing(fd, tmp_path):
    before = system.read_once(fd, 10_000, 0)
    system.start_writeback(fd, 0, 10_000)
    system.read_ahead(fd, 0, 10_000)
    system.sync_data(fd)
    system.sync_file(fd)
    system.sync_folder(tmp_path)
    system.drop_cached(fd, 0, 10_000)
    assert system.read_once(fd, 10_000, 0) == before


def test_mappings_see_later_bytes_and_outlive_the_file(tmp_path):
    """A mapping longer than its file shows rows that are appended later, cannot be written, and outlives the descriptor."""
    fd = system.open_file(tmp_path / "grows", system.READ_WRITE | system.CREATE)
    os.write(fd, b"first")
    array = system.map_array(fd, 1 << 24)
    characters = system.map_characters(fd, 1 << 24, 1 << 20)
    view = array[:11]
    os.write(fd, b" later")
    os.close(fd)
    assert bytes(view) == characters[:11] == b"first later"
    assert len(array) == len(characters) == 1 << 24
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    del array
    assert bytes(view) == b"first later", "a view keeps the mapping"


def test_mappings_take_less_when_address_space_is_limited(fd):
    """Halved until it fits, but never below the least; an error names the bytes."""
    array = system.map_array(fd, 1 << 60, 10_000)
    assert 10_000 <= len(array) < 1 << 60
    assert bytes(array[:3]) == b"\0\1\2"
    with pytest.raises(OSError, match=r"mapping 1,152,921,504,606,846,976 bytes"):
        system.map_array(fd, 1 << 60)
    with pytest.raises(OSError, match="mapping"):
        system.map_characters(fd, 1 << 60, 1 << 59)
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.map_array(-1, 4096)


def test_mapped_words_are_shared(fd):
    """Two mappings of the same words, and the file, show one value."""
    ours, theirs = (system.map_words(fd, 4096, 3) for _ in range(2))
    ours[2] = 77
    assert theirs[2] == 77
    assert np.frombuffer(system.read_once(fd, 24, 4096), np.int64)[2] == 77


def test_a_whole_file_is_mapped(tmp_path):
    (tmp_path / "x").write_bytes(b"0123")
    with open(tmp_path / "x", "rb") as file, system.map_whole(file) as data:
        assert data[1:3] == b"12"
        assert len(data) == 4


def test_whole_file_locks_exclude_other_openings(fd, tmp_path):
    """A second opening cannot lock the file, learns who has it, and can once it is released."""
    other = system.open_file(tmp_path / "file", system.READ_ONLY)
    assert system.lock_owner(fd) is None
    assert system.try_lock_file(fd)
    assert not system.try_lock_file(other)
    assert system.lock_owner(other) in (os.getpid(), None)
    system.unlock_file(fd)
    assert system.try_lock_file(other)
    os.close(other)
    assert system.try_lock_file(fd), "closing releases"


def test_byte_range_locks(fd, tmp_path):
    """Shared locks coexist, an exclusive one conflicts; a conflict is reported clipped to the range that was asked for."""
    other = system.open_file(tmp_path / "file", system.READ_ONLY)
    far = 1 << 61
    assert system.try_lock_range(other, far + 10, 5, shared=True)
    assert system.try_lock_range(fd, far + 12, 1, shared=True)
    assert not system.try_lock_range(fd, far + 10, 1, shared=False)
    assert system.try_lock_range(fd, far, 10, shared=False), "not the same bytes"
    assert system.locked_by_others(fd, far, 12) == (far + 10, 2)
    assert system.locked_by_others(other, far + 9, 100) == (far + 9, 1)
    assert system.locked_by_others(fd, far + 15, 100) is None
    system.unlock_range(other, far, 0)
    assert system.locked_by_others(fd, 0, 1 << 62) is None
    os.close(other)


def test_names_are_exchanged(tmp_path):
    """Two folders swap names; a missing one is an error and changes nothing."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was {name}").touch()
    if not system.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange names")
    assert os.listdir(tmp_path / "a") == ["was b"]
    assert os.listdir(tmp_path / "b") == ["was a"]
    with pytest.raises(FileNotFoundError):
        system.exchange(tmp_path / "a", tmp_path / "missing")


def test_exchange_reports_a_system_that_cannot(tmp_path, monkeypatch):
    """Without the call the answer is False, and nothing has changed."""
    monkeypatch.setattr(system, "_libc", object())
    (tmp_path / "a").mkdir()
    assert system.exchange(tmp_path / "a", tmp_path / "a") is False
    assert os.listdir(tmp_path) == ["a"]


def test_priority_is_lowered_for_one_thread():
    """The calling thread becomes nicer; the others do not change."""
    before, inside = os.getpriority(os.PRIO_PROCESS, 0), []

    def work():
        system.lower_thread_priority(2)
        inside.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [min(before + 2, 19)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_boot_number():
    """The same in every process of this start of the machine, positive and within 63 bits."""
    import subprocess

    code = "from nbtrade.storage.system import boot_number; print(boot_number())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert int(other.stdout) == system.boot_number()
    assert 0 < system.boot_number() < 1 << 63


def test_permissions(fd):
    system.set_mode(fd, 0o600)
    assert os.fstat(fd).st_mode & 0o777 == 0o600


def test_closed_files_that_wait_for_the_collector_take_no_address_space(tmp_path):
    """With the collector off, more block files are opened and closed than address space holds at once."""
    gc.disable()
    try:
        for _ in range(200):  # 1 TiB each, of 128
            with BlockFile(tmp_path / "x.blocks") as blocks:
                blocks.put("a", b"x")
                blocks.itself = blocks  # a reference cycle
    finally:
        gc.enable()
    with BlockFile(tmp_path / "x.blocks", mode="r") as blocks:
        assert blocks.get("a") == b"x"
