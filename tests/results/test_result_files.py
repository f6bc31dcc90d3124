"""A loaded result equals the saved one; every kind of damage is named; tables equal the frames."""

import json
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import xxhash

import nbtrade as nt
import result_cases
from nbtrade.errors import ResultError, ResultExists
from nbtrade.results import saving
from result_cases import FILLS, kinds, parts

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def tape():
    return result_cases.tape()


@pytest.fixture(scope="module")
def result():
    return result_cases.result()


@pytest.fixture(scope="module")
def pair():
    return result_cases.pair()


@pytest.fixture
def saved(result, tmp_path):
    return result.save(tmp_path / "saved")


# --- saved and loaded ----------------------------------------------------------------------------------------
def test_saved_results_are_equal(tape, tmp_path):
    """Hash, metrics, frames, state, parameters, and everything else, of every kind of result."""
    for name, one in kinds().items():
        loaded = nt.load_result(one.save(tmp_path / name))
        assert type(loaded) is type(one)
        assert (loaded == one, loaded.hash) == (True, one.hash), name
        for frame in ("fills", "orders", "equity", "records"):
            pd.testing.assert_frame_equal(getattr(loaded, frame), getattr(one, frame))
        assert loaded.summary.equals(one.summary)
        for a, b in zip(parts(loaded), parts(one), strict=True):
            assert json.dumps(a.info.to_json()) == json.dumps(b.info.to_json())
            assert a.final_state.dtype == b.final_state.dtype
            assert (a.configuration["sample"], repr(a)) == (b.configuration["sample"], repr(b)) if b.configuration else True
    idle_again = nt.load_result(tmp_path / "idle")
    assert np.isnan(idle_again.parameters["level"])
    assert np.isnan(idle_again.final_state["level"])
    assert idle_again.final_state["deep"][1, 2] == idle_again.n_wakes > 0


def test_other_tools_read_it(saved, result):
    """Plain Parquet with times as timestamps, and plain JSON."""
    fills = pd.read_parquet(saved / "fills.parquet")
    assert str(fills["ts"].dtype) == "datetime64[ns, UTC]"
    assert fills["px"].tolist() == result.fill_rows["px"].tolist()
    assert fills["fee"].tolist() == result.fills["fee"].tolist()
    assert json.loads((saved / "metadata.json").read_text())["format_version"] == 2


def test_saved_beside_others(result, saved, tmp_path):
    """An existing folder stays unless it is a result and replace=True; nothing else is ever replaced, and no leftovers remain."""
    with pytest.raises(ResultExists, match="already exists"):
        result.save(saved)
    precious = tmp_path / "webapp"
    precious.mkdir()
    (precious / "metadata.json").write_text('{"format": "my own"}')
    (tmp_path / "file").write_text("precious")
    for path in (precious, tmp_path / "file"):
        with pytest.raises(ResultExists, match="not a saved result"):
            result.save(path, replace=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResultExists):
        result.save(tmp_path / "link")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        result.save(tmp_path / "no" / "folder")
    other = nt.Result.from_frames(fills=FILLS, tick=0.5)
    other.save(saved, replace=True)
    assert nt.load_result(saved) == other
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "saved", "webapp"]


def test_a_failed_save_leaves_nothing(tape, tmp_path):
    """An object among the parameters is refused by name, and no folder is left."""
    odd = nt.Result.from_frames(fills=FILLS, tick=0.5, parameters={"model": object()})
    with pytest.raises(ResultError, match=r"parameters\['model'\] is <object"):
        odd.save(tmp_path / "odd")
    assert os.listdir(tmp_path) == []


def edit(folder, change):
    path = folder / "metadata.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def rewritten(folder, name, change):
    """Replace a table, with the right checksum."""
    path = folder / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    edit(folder, lambda m: m["xxh3_128"].update({name: xxhash.xxh3_128_hexdigest(path.read_bytes())}))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def no_parquet(folder):
    (folder / "fills.parquet").write_bytes(pickle.dumps([1]))
    edit(folder, lambda m: m["xxh3_128"].update(fills=xxhash.xxh3_128_hexdigest(pickle.dumps([1]))))


DAMAGE = {
    "no metadata": (lambda f: (f / "metadata.json").unlink(), "has no metadata.json"),
    "no JSON": (lambda f: (f / "metadata.json").write_text("{"), "cannot be read"),
    "a list": (lambda f: (f / "metadata.json").write_text("[]"), '"format" is not'),
    "deep": (lambda f: (f / "metadata.json").write_text("[" * 10**6), "cannot be read"),
    "another format": (lambda f: edit(f, lambda m: m.update(format="tape")), '"format" is not'),
    "a newer version": (lambda f: edit(f, lambda m: m.update(format_version=3)), "result format 3, this nbtrade reads 2"),
    "an odd version": (lambda f: edit(f, lambda m: m.update(format_version=True)), "result format True"),
    "no info": (lambda f: edit(f, lambda m: m.pop("info")), "metadata.json: info"),
    "a field less": (lambda f: edit(f, lambda m: m["info"].pop("symbol")), r"missing fields \['symbol'\]"),
    "a field more": (lambda f: edit(f, lambda m: m["info"].update(x=1)), r"unknown fields \['x'\]"),
    "no tick": (lambda f: edit(f, lambda m: m["info"].update(tick_units="1")), "tick_units is '1', not int"),
    "tick 0": (lambda f: edit(f, lambda m: m["info"].update(tick_units=0)), "must be positive"),
    "odd session": (lambda f: edit(f, lambda m: m["info"].update(sessions=[1])), "sessions holds int"),
    "no dtypes": (lambda f: edit(f, lambda m: m.update(dtypes=[])), "dtypes and xxh3_128 must be objects"),
    "objects": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "|O", []]])), "dtypes: state is"),
    "huge": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "<i8", [2**40]]])), "dtypes: state is"),
    "twice": (lambda f: edit(f, lambda m: m["dtypes"].update(state=[["x", "<i8", []]] * 2)), "dtypes: state"),
    "records": (lambda f: edit(f, lambda m: m["dtypes"].update(records=[["t", "<i8", []]])), "records.parquet has the columns"),
    "a file less": (lambda f: (f / "orders.parquet").unlink(), "orders.parquet cannot be read"),
    "a flipped byte": (lambda f: flip(f / "fills.parquet"), "its checksum is wrong"),
    "no Parquet": (no_parquet, "is not a Parquet file"),
    "a column less": (lambda f: rewritten(f, "fills", lambda t: t.drop_columns(["px"])), "fills.parquet has the columns"),
    "no fee": (lambda f: rewritten(f, "fills", lambda t: t.drop_columns(["fee"])), "column fee is missing"),
    "another order": (lambda f: rewritten(f, "fills", lambda t: t.select(t.column_names[::-1])), "fills.parquet has the columns"),
    "another type": (lambda f: rewritten(f, "orders", lambda t: cast(t, "px", pa.int64())), "column px is int64; expected int32"),
    "times as text": (lambda f: rewritten(f, "fills", lambda t: cast(t, "ts", pa.string())), "column ts is string"),
    "nulls": (lambda f: rewritten(f, "fills", lambda t: nulled(t, "px")), "column px has empty values"),
    "two accounts": (lambda f: rewritten(f, "account", lambda t: pa.concat_tables([t, t])), "2 rows instead of one"),
    "a code": (lambda f: rewritten(f, "orders", lambda t: filled(t, "tif", 77)), "column tif, row 0 is 77; codes are 0 to 3"),
    "a negative code": (lambda f: rewritten(f, "fills", lambda t: filled(t, "side", -1)), "column side, row 0 is -1"),
    "backwards": (lambda f: rewritten(f, "orders", lambda t: t.take(list(range(t.num_rows))[::-1])), "row 1 is not in order of id"),
    "no account": (lambda f: rewritten(f, "account", lambda t: t.slice(0, 0)), "0 rows instead of one"),
}


def filled(table, name, value):
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array([value] * table.num_rows, table.schema.field(name).type))


def cast(table, name, kind):
    return table.set_column(table.column_names.index(name), name, table.column(name).cast(kind))


def nulled(table, name):
    at = table.column_names.index(name)
    return table.set_column(
        at, table.schema.field(name).with_nullable(True), pa.array([None] * table.num_rows, table.schema.field(name).type)
    )


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(saved, damage):
    """The error is a ResultError that names the file and the fault."""
    change, words = DAMAGE[damage]
    change(saved)
    with pytest.raises(ResultError, match=words):
        nt.load_result(saved)


def test_not_a_saved_result(tmp_path):
    """A missing folder, a file, and another folder are refused."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path / "file", tmp_path):
        with pytest.raises(ResultError, match=r"has no metadata\.json"):
            nt.load_result(path)


def test_several_are_checked_too(pair, tmp_path):
    """Names are data, not paths; a missing instrument and odd names are refused."""
    folder = pair.save(tmp_path / "pair")
    assert sorted(os.listdir(folder)) == ["0", "1", "metadata.json"]
    assert os.listdir(tmp_path) == ["pair"]
    assert list(nt.load_result(folder)) == ["ES", "../NQ"]
    shutil.rmtree(folder / "1")
    with pytest.raises(ResultError, match=r"1 is not a saved result"):
        nt.load_result(folder)
    for names in (["ES", "ES"], [1], "ES", {"0": "ES"}):
        edit(folder, lambda m, names=names: m.update(instruments=names))
        with pytest.raises(ResultError, match="instruments is"):
            nt.load_result(folder)
    with pytest.raises(ResultError, match="a name is text"):
        nt.Results({1: pair["ES"]}).save(tmp_path / "odd")


def test_without_pyarrow(result, saved, tmp_path, monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for action in (
        lambda: result.save(tmp_path / "x"),
        result.to_arrow,
        lambda: result.to_parquet(tmp_path / "y"),
        lambda: nt.load_result(saved),
    ):
        with pytest.raises(ImportError, match=r"nbtrade\[parquet\]"):
            action()
    assert os.listdir(tmp_path) == ["saved"]


# --- tables ------------------------------------------------------------------------------------------------
def test_tables_are_the_frames(tape, tmp_path):
    """to_arrow and to_parquet have the frames' columns, the index first; written again they are replaced."""
    for name, one in kinds().items():
        tables = one.to_arrow()
        assert list(tables) == ["fills", "orders", "equity", "records"]
        folder = one.to_parquet(tmp_path / name)
        assert one.to_parquet(tmp_path / name) == folder
        assert sorted(os.listdir(folder)) == ["equity.parquet", "fills.parquet", "orders.parquet", "records.parquet"]
        for frame, table in tables.items():
            expected = getattr(one, frame).reset_index()
            assert table.column_names == list(expected.columns)
            assert table.num_rows == len(expected)
            assert pq.read_table(folder / f"{frame}.parquet").equals(table)


def test_saved_format_is_documented():
    """The docstring of the module names the files that are written."""
    for name in (*saving.ATTRIBUTES, *saving.FREE_TABLES):
        assert name in saving.__doc__
