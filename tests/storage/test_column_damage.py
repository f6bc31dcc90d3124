"""Flipped bits and strange pages in the header of a column: healed from the other copy, or an error that says which page."""

import contextlib
import itertools
import os

import pytest

from crash_kit import RebootedDisk
from nbtrade import Column
from nbtrade.errors import StoreDamaged
from nbtrade.storage.columns import header
from nbtrade.storage.columns.header import LIVE, PAGE
from nbtrade.storage.columns.kernels.live_page import BOOT, COUNT, EPOCH


@pytest.fixture
def two_commits(tmp_path):
    """A closed column of several commits, its bytes, and its rows."""
    path = tmp_path / "x"
    with Column(path, "i4") as column:
        column.extend(range(100))
        column.sync()
        column.extend(range(50))
    return path, path.read_bytes(), [*range(100), *range(50)]


def flip(path, *bits):
    """Flip bits of a file in place."""
    fd = os.open(path, os.O_RDWR)
    for bit in bits:
        os.pwrite(fd, bytes([os.pread(fd, 1, bit >> 3)[0] ^ 1 << (bit & 7)]), bit >> 3)
    os.close(fd)


@contextlib.contextmanager
def flipped(path, *bits):
    """The file with some bits flipped, for a while."""
    flip(path, *bits)
    yield
    flip(path, *bits)


def used_bits(data, stop):
    """Bits of the bytes that hold something in the first `stop` bytes, and of a few that do not."""
    return [at * 8 + bit for at in range(stop) if data[at] or at % 301 == 0 for bit in range(8)]


def test_one_flipped_bit_of_the_header_heals_or_is_found(two_commits):
    """Every bit of the durable pages: the rows are the same, from the other copy. Both copies hit: an error that says which page."""
    path, data, rows = two_commits
    for bit in used_bits(data, LIVE):
        with flipped(path, bit):
            assert Column.open(path, disk=RebootedDisk())[:].tolist() == rows
    for page in (0, *header.SLOTS):
        for bit in range(0, 40 * 8, 3):
            with flipped(path, page * 8 + bit, (page + 2048) * 8 + bit):
                for opening in (Column, Column.open):
                    with pytest.raises(StoreDamaged, match=r"x.* is (not a column|damaged)|page at byte"):
                        opening(path, disk=RebootedDisk())


def test_a_flipped_bit_of_the_live_page_is_found(two_commits):
    """Of its count: an error. Of its boot: the commit counts. After a restart the page means nothing at all."""
    path, _, rows = two_commits
    for word, bit in itertools.product((BOOT, COUNT, EPOCH), range(64)):
        with flipped(path, (LIVE + word * 8) * 8 + bit):
            assert Column.open(path, disk=RebootedDisk())[:].tolist() == rows
            if word == BOOT:
                assert Column.open(path)[:].tolist() == rows
            elif word == COUNT:
                for opening in (Column, Column.open):
                    with pytest.raises(StoreDamaged, match=r"the live page \(byte 12288\) is damaged"):
                        opening(path)
            else:
                with pytest.raises(StoreDamaged, match="the live page"):
                    _ = Column.open(path).epoch


def test_pages_of_other_files_and_versions_are_found(two_commits, tmp_path):
    """A slot of another column is rejected; the error for a later version names the version."""
    path, data, _ = two_commits
    with Column(tmp_path / "y", "f8") as other:
        other.append(0.5)
    stranger = (tmp_path / "y").read_bytes()
    path.write_bytes(data[:PAGE] + stranger[PAGE : 3 * PAGE] + data[3 * PAGE :])
    with pytest.raises(StoreDamaged, match="the page at byte 4096 is damaged"):
        Column.open(path)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(header, "VERSION", 2)
        path.write_bytes(header.what_page({"bits": 32, "dtype": "<i4"}) + data[PAGE:])
    with pytest.raises(StoreDamaged, match="has column format 2, not 1"):
        Column.open(path)
    with pytest.raises(ValueError, match="description of a row takes"):
        Column(tmp_path / "z", [(f"a_long_name_of_a_field_{i}", "i4") for i in range(100)])
