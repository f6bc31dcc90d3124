"""ListMmf's own files, written here byte by byte as its format has them."""

import os

import numpy as np
import pytest

from nbtrade.errors import StoreDamaged
from nbtrade.storage.columns.listmmf import NAMES, import_listmmf, read_header

HEX = bytes.fromhex
# (data type, name, data as hex, values): by hand from the format
VECTORS = [
    (2, "SByte", "00 7f 80 ff", [0, 127, -128, -1]),
    (3, "Byte", "00 7f 80 ff", [0, 127, 128, 255]),
    (4, "Int16", "0100 ff7f 0080 ffff", [1, 32767, -32768, -1]),
    (5, "UInt16", "0100 ff7f 0080 ffff", [1, 32767, 32768, 65535]),
    (6, "Int32", "01000000 ffffff7f 00000080", [1, 2147483647, -2147483648]),
    (7, "UInt32", "01000000 ffffff7f 000000 80 ffffffff", [1, 2147483647, 2147483648, 4294967295]),
    (8, "Int64", "0200000000000000 ffffffffffffffff 0000000000000080", [2, -1, -(2**63)]),
    (9, "UInt64", "0200000000000000 ffffffffffffffff", [2, 2**64 - 1]),
    (10, "Single", "0000803f 000000c0 0000003e", [1.0, -2.0, 0.125]),
    (11, "Double", "000000000000f03f 000000000000e0bf", [1.0, -0.5]),
    (14, "Int24AsInt64", "010000 ffff7f 000080 ffffff", [1, 8388607, -8388608, -1]),
    (15, "Int40AsInt64", "0100000000 ffffffff7f 0000000080", [1, 2**39 - 1, -(2**39)]),
    (16, "Int48AsInt64", "010000000000 ffffffffff7f 000000000080", [1, 2**47 - 1, -(2**47)]),
    (17, "Int56AsInt64", "01000000000000 ffffffffffff7f 00000000000080", [1, 2**55 - 1, -(2**55)]),
    (18, "UInt24AsInt64", "010000 ffff7f 000080 ffffff", [1, 8388607, 8388608, 16777215]),
    (19, "UInt40AsInt64", "0100000000 ffffffffff", [1, 2**40 - 1]),
    (20, "UInt48AsInt64", "010000000000 ffffffffffff", [1, 2**48 - 1]),
    (21, "UInt56AsInt64", "01000000000000 ffffffffffffff", [1, 2**56 - 1]),
]


def listmmf(path, kind, data, count, version=0):
    """A file: int32 version, int32 data type, int64 count, data, and unused capacity behind."""
    path.write_bytes(
        version.to_bytes(4, "little") + kind.to_bytes(4, "little") + count.to_bytes(8, "little", signed=True) + data + bytes(1000)
    )
    return path


@pytest.mark.parametrize(("kind", "name", "data", "values"), VECTORS, ids=[vector[1] for vector in VECTORS])
def test_numbers(tmp_path, kind, name, data, values):
    """Each type's vector comes back; an empty list is an empty column."""
    assert NAMES[kind] == name
    for n in (len(values), 1, 0):
        path = listmmf(tmp_path / "a.mmf", kind, HEX(data), n, version=3)
        column = import_listmmf(path, tmp_path / f"{n}.col")
        assert column[:].tolist() == values[:n]
    assert read_header(path) == (3, kind, 0, 16)
    assert sorted(os.listdir(tmp_path)) == sorted(["a.mmf", *(f"{n}.col" for n in {len(values), 1, 0})])


def test_the_22_types():
    """The vectors, bits, times and structures are all there are."""
    assert len(NAMES) == 22
    assert {vector[0] for vector in VECTORS} | {0, 1, 12, 13} == set(range(22))
    assert [NAMES[i] for i in (0, 1, 12, 13)] == ["AnyStruct", "Bit", "DateTime", "UnixSeconds"]


def test_bits(tmp_path):
    """Words of 32 bits, lowest first, after their own count at byte 16."""
    words = HEX("05000080 03000000")  # bits 0, 2, 31, 32, 33
    path = listmmf(tmp_path / "a.mmf", 1, (35).to_bytes(8, "little") + words, 2)
    column = import_listmmf(path, tmp_path / "x.col")
    assert np.flatnonzero(column[:]).tolist() == [0, 2, 31, 32, 33]
    assert (len(column), column.width) == (35, "bit")


def test_times(tmp_path):
    """Ticks of 100 ns since the year 1, and seconds since 1970, as datetime64[ns]."""
    ticks = [621_355_968_000_000_000, 621_355_968_000_000_001, 638_712_864_000_000_000]
    path = listmmf(tmp_path / "a.mmf", 12, b"".join(t.to_bytes(8, "little") for t in ticks), 3)
    column = import_listmmf(path, tmp_path / "x.col")
    assert column.array.astype(str).tolist() == [
        "1970-01-01T00:00:00.000000000",
        "1970-01-01T00:00:00.000000100",
        "2025-01-01T00:00:00.000000000",
    ]
    path = listmmf(tmp_path / "b.mmf", 13, HEX("00000000 80857467 ffffffff"), 3)
    column = import_listmmf(path, tmp_path / "y.col")
    assert column.array.astype("M8[s]").astype(str).tolist() == ["1970-01-01T00:00:00", "2025-01-01T00:00:00", "1969-12-31T23:59:59"]
    path = listmmf(tmp_path / "c.mmf", 12, bytes(8), 1)
    with pytest.raises(ValueError, match=r"value 0 is 0 ticks, outside the range of datetime64"):
        import_listmmf(path, tmp_path / "z.col")
    assert not (tmp_path / "z.col").exists()


def test_structures(tmp_path):
    """Rows of a dtype that the caller knows; without it, and for other types with it, an error."""
    dtype = np.dtype([("px", "<f8"), ("qty", "<i4")])
    rows = np.array([(0.5, 1), (0.25, -7)], dtype)
    path = listmmf(tmp_path / "a.mmf", 0, rows.tobytes(), 2)
    assert np.array_equal(import_listmmf(path, tmp_path / "x.col", dtype).array, rows)
    with pytest.raises(TypeError, match="has values of AnyStruct: pass the dtype of its rows"):
        import_listmmf(path, tmp_path / "y.col")
    with pytest.raises(TypeError, match="has values of Byte: a dtype is not accepted"):
        import_listmmf(listmmf(tmp_path / "b.mmf", 3, b"1", 1), tmp_path / "y.col", dtype)
    with pytest.raises(FileExistsError, match="already exists"):
        import_listmmf(path, tmp_path / "x.col", dtype)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "has 0 bytes: a ListMmf file starts with a header of 16"),
        (bytes(4) + HEX("16000000") + bytes(8), "data type 22 and count 0"),
        (bytes(4) + HEX("06000000") + HEX("ffffffffffffffff"), "data type 6 and count -1"),
        (bytes(4) + HEX("06000000 0300000000000000") + bytes(11), r"claims 3 values of Int32 \(28 bytes\) but has 27 bytes. It is cut off"),
        (bytes(4) + HEX("01000000 0100000000000000") + bytes(4), "starts with a header of 24"),
        (bytes(4) + HEX("01000000 0100000000000000 2100000000000000") + bytes(4), "claims 33 bits in 1 words of 32"),
    ],
)
def test_what_is_no_such_file(tmp_path, data, words):
    """Each damage is named, and no column is made."""
    (tmp_path / "a.mmf").write_bytes(data)
    with pytest.raises(StoreDamaged, match=words.replace(".", r"\.")):
        import_listmmf(tmp_path / "a.mmf", tmp_path / "x.col")
    assert os.listdir(tmp_path) == ["a.mmf"]


def test_more_than_a_chunk(tmp_path):
    """A long list of an odd width."""
    values = np.arange(150_000)
    data = np.ascontiguousarray(values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :3]).tobytes()
    column = import_listmmf(listmmf(tmp_path / "a.mmf", 18, data, len(values)), tmp_path / "x.col")
    assert np.array_equal(column.decode(), values)
    assert column.width == "u24"
