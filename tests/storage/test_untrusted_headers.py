"""Headers that someone else wrote: dtypes with objects, numbers that lead anywhere. Each batch runs in a separate process, so that a
crash is seen as one; see untrusted.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nbtrade
from nbtrade import BlockFile
from nbtrade.errors import CorruptBlock, ResultError, StoreDamaged
from nbtrade.storage import dtypes
from nbtrade.storage.blockfile.folder import BlockFolder
from nbtrade.storage.columns import header
from nbtrade.storage.columns.column import Column
from nbtrade.storage.columns.listmmf import import_listmmf

BATCHES = {  # what: least number of refused files
    "column_dtypes": 500,
    "column_headers": 700,
    "block_dtypes": 600,
    "block_files": 200,
    "block_folders": 0,
    "manifests": 500,
    "listmmf": 50,
}


@pytest.mark.parametrize("what", BATCHES)
def test_wrong_headers_are_refused_or_change_nothing(tmp_path, what):
    """Thousands of seeded mutations with right checksums: an nbtrade error or the original bytes; no other error, no signal."""
    program = Path(__file__).parents[1] / "helpers" / "untrusted.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(program), what, str(tmp_path), "1"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    assert int(done.stdout.split()[1]) >= BATCHES[what], done.stdout


def test_an_object_column_says_why(tmp_path):
    """Path, dtype and what to do."""
    head = header.new_head({"dtype": "|O", "bits": 64}, header.Slot(2, 4, 0))
    (tmp_path / "o.col").write_bytes(head + bytes(32))
    with pytest.raises(StoreDamaged, match=r"o\.col: .* in its first page .* '\|O' is not a fixed-size dtype without Python objects"):
        Column.open(tmp_path / "o.col")


ACCEPTED = [
    "?", "<i1", "<u8", ">i4", "<f2", "<f8", "<c16", "S7", "<U3", ">U3", "V9", "<M8[ns]", "<m8[25s]", "<M8", np.dtype("longdouble"),
    ("<i4", (2, 3)),
    [("a", "<i8"), ("b", "S3", (2,)), ("c", [("d", ">f4"), ("e", "<M8[D]")])], np.dtype([("a", "u1"), ("b", "i8")], align=True),
    {"names": ["z", "a"], "formats": ["<i4", "<i2"], "offsets": [8, 2], "itemsize": 32},
]  # fmt: skip


@pytest.mark.parametrize("dtype", ACCEPTED, ids=str)
def test_every_dtype_that_is_written_is_read(tmp_path, dtype):
    """Writers and readers accept the same dtypes: columns, block files and folders return the stored values."""
    dtype = np.dtype(dtype)
    assert dtypes.from_json(json.loads(json.dumps(dtypes.to_json(dtype)))) == dtype
    values = np.frombuffer(np.random.default_rng(1).integers(0, 2, 12 * dtype.base.itemsize * 6, "u1").tobytes(), dtype.base)[:12].copy()
    for kind, path in ((BlockFile, "x.blocks"), (BlockFolder, "x.folder")):
        with kind(tmp_path / path) as blocks:
            blocks.put("a", values)
            blocks.put("scalar", values[0].reshape(()) if isinstance(values[0], np.ndarray) else np.asarray(values[0], dtype.base))
        with kind(tmp_path / path) as blocks:
            assert (blocks.get("a").dtype, blocks.get("a").tobytes()) == (dtype.base, values.tobytes())
            assert blocks.get("scalar").shape == ()


@pytest.mark.parametrize(
    "dtype",
    ["O", [("a", "O")], [("a", "i4"), ("b", [("c", "O")])], "V0", [], {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}]
    + [np.dtype({"names": ["a"], "formats": ["i4"], "titles": ["title"]}), [("a", "i4", (0,))]]
    + ([np.dtypes.StringDType()] if hasattr(np.dtypes, "StringDType") else []),
    ids=str,
)
def test_what_cannot_be_read_cannot_be_written(tmp_path, dtype):
    """Objects, nothing, fields that overlap, titles, strings of any size: TypeError before anything is written."""
    with pytest.raises(TypeError):
        Column(tmp_path / "x.col", dtype)
    with BlockFile(tmp_path / "x.blocks") as blocks, pytest.raises(TypeError):
        blocks.put("a", np.empty(3, dtype))
    (tmp_path / "x.mmf").write_bytes((1).to_bytes(4, "little") + bytes(4) + (2).to_bytes(8, "little") + b"\xef\xbe\xad\xde" * 8)
    with pytest.raises(TypeError):
        import_listmmf(tmp_path / "x.mmf", tmp_path / "y.col", np.dtype(dtype))
    assert sorted(os.listdir(tmp_path)) == ["x.blocks", "x.mmf"]


def test_a_bomb_is_not_unpacked(tmp_path):
    """A compressed block whose entry and frame claim a terabyte takes no memory."""
    from nbtrade.storage.blockfile import values

    frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x03\x00\x00x"
    with pytest.raises(CorruptBlock, match="bytes, not "):
        values.decompressed(frame, 1 << 40, "bomb")
    with pytest.raises(CorruptBlock, match="bytes, not "):
        values.decompressed(frame, 100, "bomb")


@pytest.mark.parametrize("content", [b"[1, 2]", b"{", b"\xff", b"[" * 100_000, b"5", np.arange(3.0)])
def test_a_kept_row_of_a_sweep_is_checked(tmp_path, content):
    """The error for an invalid row has the block's name."""
    from nbtrade.sweeps.cache import SweepCache

    class FakeTape:
        content_hash, start = "a", 0

        def __len__(self):
            return 1

    with BlockFile(tmp_path / "r.blocks") as blocks:
        kept = SweepCache(blocks, nbtrade.market_maker, {})
        blocks.put(kept.name(FakeTape(), {}), content)
        with pytest.raises(CorruptBlock, match=r"'sweep/.*is not a row of a sweep"):
            kept.get(FakeTape(), {})


@pytest.mark.parametrize("wrong", [np.zeros(3, "i4"), np.zeros((3, 9)), np.zeros(()), b"bytes", np.zeros((2, 1), "S8")])
def test_a_feature_cache_with_other_arrays_is_computed_again(tmp_path, wrong):
    """Right name, wrong dtype, shape or kind: the matrix is computed, and stored again."""
    from nbtrade import synthetic

    tape = nbtrade.ingest(synthetic.write_dbn(tmp_path / "d.dbn", 1_000, live_orders=50), progress=False)
    wanted, cache = [nbtrade.feature.spread()], tmp_path / "f.blocks"
    first = nbtrade.features(tape, wanted, sample=100, cache=cache)
    with BlockFile(cache) as blocks:
        for name in blocks.list():
            blocks.put(name, wrong)
    for _ in range(2):
        again = nbtrade.features(tape, wanted, sample=100, cache=cache)
        assert again.values.tobytes() == first.values.tobytes()


@pytest.mark.parametrize("code", [["<i8"], {}, None, 8, "|O", "<M8[ns]"])
@pytest.mark.parametrize("name", ["state", "records"])
def test_a_saved_results_dtype_is_checked(tmp_path, name, code):
    """JSON that is not a type name raises the package's own error."""
    pytest.importorskip("pyarrow")
    tape = nbtrade.ingest(nbtrade.synthetic.write_dbn(tmp_path / "d.dbn", 500, live_orders=50), progress=False)
    folder = nbtrade.backtest(tape, nbtrade.market_maker).save(tmp_path / "r")
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["dtypes"][name] = [["ts", code, []]]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ResultError, match="expected a list of"):
        nbtrade.load_result(folder)
