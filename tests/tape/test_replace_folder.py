"""`replace=True` removes a folder with a tape and nothing else. Any other folder stays untouched, and the error has the reason."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nbtrade
from nbtrade import synthetic
from nbtrade.errors import ResultExists, TapeExists
from nbtrade.storage import atomic
from nbtrade.tape import tape_folder
from nbtrade.tape.writer import TapeWriter

N = 2_000
CLI = [sys.executable, "-m", "nbtrade"]


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two sources, and the tape of the first."""
    folder = tmp_path_factory.mktemp("days")
    paths = [synthetic.write_dbn(folder / f"day{k}.dbn", N, seed=k, live_orders=50) for k in (1, 2)]
    return *paths, nbtrade.ingest(paths[0], folder / "day.tape", progress=False).path


@pytest.fixture
def source(days, tmp_path):
    return shutil.copy(days[1], tmp_path / "new.dbn")


@pytest.fixture
def tape(days, tmp_path):
    return shutil.copytree(days[2], tmp_path / "x.tape")


def everything(folder):
    """Every path below a folder, with its type and content."""
    found = {}
    for at, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(at, name)
            if path.is_symlink():
                found[path] = "-> " + os.readlink(path)
            else:
                found[path] = path.read_bytes() if path.is_file() else "folder"
    return found


def ingest(source, out, **options):
    return nbtrade.ingest(source, out, replace=True, progress=False, **options)


# --- rejections --------------------------------------------------------------------------------------------
def written(name, data=b"precious"):
    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return make


def without_manifest(folder):
    (folder / "manifest.json").unlink()


def with_manifest(text):
    return written("manifest.json", text.encode())


def with_linked_column(folder):
    (folder / "live.col").rename(folder.parent / "live.col")
    (folder / "live.col").symlink_to(folder.parent / "live.col")


def with_linked_manifest(folder):
    (folder / "manifest.json").rename(folder.parent / "m.json")
    (folder / "manifest.json").symlink_to(folder.parent / "m.json")


def with_column_folder(folder):
    (folder / "live.col").unlink()
    (folder / "live.col" / "photos").mkdir(parents=True)


def with_nested_tape(folder):
    shutil.copytree(folder, folder / "inner.tape")


REFUSED = {
    "notes": (written("notes.txt"), "'notes.txt'"),
    "hidden": (written(".DS_Store"), r"'\.DS_Store'"),
    "thumbs": (written("Thumbs.db"), r"'Thumbs\.db'"),
    "nearly a column": (written("events.col.bak"), r"'events\.col\.bak'"),
    "other case": (written("Manifest.json"), "'Manifest.json'"),
    "sub-folder": (written("plots/a.png"), "'plots'"),
    "many": (lambda folder: [written(f"{k}.txt")(folder) for k in range(9)], "'0.txt', .*and 4 more"),
    "nested tape": (with_nested_tape, "'inner.tape'"),
    "linked column": (with_linked_column, "'live.col'"),
    "linked manifest": (with_linked_manifest, "'manifest.json'"),
    "folder as column": (with_column_folder, "'live.col'"),
    "no manifest": (without_manifest, "no manifest.json"),
    "extension": (with_manifest('{"name": "my extension", "manifest_version": 3, "version": "1.0"}'), "not a tape's manifest"),
    "resource pack": (with_manifest('{"format_version": 2, "header": {}, "modules": []}'), "not a tape's manifest"),
    "other maker": (
        with_manifest('{"format_version": 3, "made_by": "webpack", "instrument": 1, "content_hash": "a", "columns": {}}'),
        "not a tape's manifest",
    ),
    "list": (with_manifest("[1, 2]"), "not a tape's manifest"),
    "cut manifest": (with_manifest('{"format_version": 3, "made_by": "nbtra'), "cannot be read"),
    "deep manifest": (with_manifest("[" * 200_000), "cannot be read"),
    "bytes": (written("manifest.json", b"\xff\xfe\x00"), "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_with_more_than_a_tape_is_not_replaced(tmp_path, source, tape, case):
    """The error names the obstacle; every byte below the folder is unchanged, and nothing else is left behind."""
    make, words = REFUSED[case]
    make(tape)
    before = everything(tmp_path)
    with pytest.raises(TapeExists, match=rf"x\.tape is not a tape, so it was not replaced: .*{words}"):
        ingest(source, tape)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["webapp", "a/b/webapp"])
def test_another_programs_folder_stays(tmp_path, source, name):
    """A web extension has a manifest.json too."""
    folder = tmp_path / name
    written("src/main.js")(folder)
    (folder / "manifest.json").write_text('{"name": "my extension"}')
    before = everything(tmp_path)
    with pytest.raises(TapeExists, match=r"its manifest\.json is not a tape's manifest"):
        ingest(source, folder)
    with pytest.raises(TapeExists, match="not replaced"):
        TapeWriter(folder, replace=True)
    assert everything(tmp_path) == before


def test_files_links_and_the_current_folder_stay(tmp_path, source, tape, monkeypatch):
    """A file, a link to a tape, to nothing and to a file, an empty folder, the current folder."""
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    for name, where in (("link", tape), ("nothing", tmp_path / "gone"), ("to_file", tmp_path / "file")):
        (tmp_path / name).symlink_to(where)
    before = everything(tmp_path)
    for name, words in {
        "file": "it is a file",
        "empty": "no manifest.json",
        "link": r"symbolic link to .*x\.tape\. .*Pass the folder that the link points to",
        "nothing": "symbolic link",
        "to_file": "symbolic link",
    }.items():
        with pytest.raises(TapeExists, match=words):
            ingest(source, tmp_path / name)
    monkeypatch.chdir(tape)
    for here in (".", tape, "../x.tape"):
        with pytest.raises(TapeExists, match="it is the current folder"):
            ingest(source, here)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TapeExists, match="no manifest"):
        ingest(source, tape / "..")
    assert everything(tmp_path) == before


def test_the_source_is_never_removed(tmp_path, source, tape):
    """Not even a file with the name of a tape's file, in a tape's folder or where tapes are built."""
    for folder in (tape, tmp_path / ".new.tape.ingesting"):
        folder.mkdir(exist_ok=True)
        inside = folder / "lock"
        shutil.copy(source, inside)
        before = everything(tmp_path)
        with pytest.raises(TapeExists, match=r"it contains the source .*lock"):
            ingest(inside, tape if folder == tape else tmp_path / "new.tape")
        assert everything(tmp_path) == before
    with pytest.raises(TapeExists, match="it is a file"):
        ingest(source, source)
    with pytest.raises(TapeExists, match="not replaced"):
        ingest(source, tmp_path)
    assert everything(tmp_path) == before


def test_a_mount_stays(source, tape, monkeypatch):
    """Another file system's root cannot be renamed, and is not emptied either."""
    monkeypatch.setattr(tape_folder.os.path, "ismount", lambda path: True)
    with pytest.raises(TapeExists, match="mounted"):
        ingest(source, tape)
    assert nbtrade.open_tape(tape)


@pytest.mark.parametrize("left_over", ["thesis.txt", "sub/x.col", "events.col/x"])
def test_what_is_in_the_way_of_the_new_tape_stays(tmp_path, source, left_over):
    """The folder where a tape is built is cleared of a tape's files alone."""
    building = tmp_path / ".x.tape.ingesting"
    written(left_over)(building)
    before = everything(tmp_path)
    with pytest.raises(TapeExists, match=r"\.x\.tape\.ingesting is needed to write the tape, but it contains"):
        nbtrade.ingest(source, tmp_path / "x.tape", progress=False)
    assert everything(tmp_path) == before


def test_a_linked_building_folder_is_not_followed(tmp_path, source):
    """A symbolic link with the name of the build folder is an error, and its target is unchanged."""
    written("events.col")(tmp_path / "elsewhere")
    (tmp_path / ".x.tape.ingesting").symlink_to(tmp_path / "elsewhere")
    before = everything(tmp_path)
    with pytest.raises(TapeExists, match="symbolic link"):
        nbtrade.ingest(source, tmp_path / "x.tape", progress=False)
    assert everything(tmp_path) == before


# --- replacements ------------------------------------------------------------------------------------------
def older(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))


def cut(folder):
    os.truncate(folder / "events.col", 5_000)


REPLACED = {
    "whole": lambda folder: None,
    "a column missing": lambda folder: (folder / "live.col").unlink(),
    "no column left": lambda folder: [path.unlink() for path in folder.glob("*.col")],
    "cut short": cut,
    "older format": older,
    "a killed writer's lock": written("lock", b""),
}


@pytest.mark.parametrize("case", REPLACED)
def test_a_tape_alone_is_replaced(tmp_path, source, tape, case):
    """Whole, damaged or old: the new one has the name, and nothing of the old one is left."""
    REPLACED[case](tape)
    new = ingest(source, tape)
    assert nbtrade.open_tape(tape).content_hash == new.content_hash
    assert sorted(os.listdir(tmp_path)) == ["new.dbn", "x.tape"]
    assert set(os.listdir(tape)) == tape_folder.FILES - {"lock"}


def test_a_file_that_comes_while_the_tape_is_written_stays(tmp_path, source, tape, monkeypatch):
    """It is looked for before the swap and after it; then all is as before."""
    exchange, old = atomic.exchange, nbtrade.open_tape(tape).content_hash

    def with_late_file(new, old):
        (old / "notes.txt").write_bytes(b"precious")
        exchange(new, old)
        monkeypatch.setattr(atomic, "exchange", exchange)

    monkeypatch.setattr(atomic, "exchange", with_late_file)
    with pytest.raises(TapeExists, match=r"x\.tape was changed while the new tape was written: it contains 'notes\.txt'"):
        ingest(source, tape)
    assert (tape / "notes.txt").read_bytes() == b"precious"
    assert nbtrade.open_tape(tape).content_hash == old
    assert sorted(os.listdir(tmp_path)) == ["new.dbn", "x.tape"]


@pytest.mark.parametrize("step", range(3))
def test_a_swap_in_steps_that_fails_is_undone(tmp_path, source, tape, monkeypatch, step):
    """On a file system without an exchange: whichever rename fails, the old tape has its name."""
    old, rename, calls = nbtrade.open_tape(tape).content_hash, os.rename, []

    def failing(a, b):
        calls.append((a, b))
        if len(calls) == step + 2:  # the first is tried without a swap
            raise OSError(5, "Input/output error")
        rename(a, b)

    monkeypatch.setattr(atomic, "exchange", atomic._exchange_in_two_steps)
    monkeypatch.setattr(atomic.os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        ingest(source, tape)
    assert nbtrade.open_tape(tape).content_hash == old
    assert sorted(os.listdir(tmp_path)) == ["new.dbn", "x.tape"]


def test_a_swap_in_steps_that_was_killed_is_undone_by_the_next_writer(tmp_path, source, tape):
    """The old tape, found under the temporary name, is renamed back: it is not replaced without a request."""
    old = nbtrade.open_tape(tape).content_hash
    aside = atomic.aside(tmp_path / ".x.tape.ingesting")
    tape.rename(aside)
    with pytest.raises(TapeExists, match="replace=True"):
        nbtrade.ingest(source, tape, progress=False)
    assert nbtrade.open_tape(tape).content_hash == old
    tape.rename(aside)
    ingest(source, tape)
    shutil.copytree(tape, aside)  # killed after the new tape had its name
    ingest(source, tape)
    assert sorted(os.listdir(tmp_path)) == ["new.dbn", "x.tape"]


# --- other callers -------------------------------------------------------------------------------------------
def test_ingest_all_replaces_tapes_alone(tmp_path, source):
    """One folder in the way stops it before any tape is replaced."""
    first = nbtrade.ingest_all(source, tmp_path / "all", progress=False)
    (name,) = first
    again = nbtrade.ingest_all(source, tmp_path / "all", replace=True, progress=False)
    assert again[name].content_hash == first[name].content_hash
    written("notes.txt")(again[name].path)
    before = everything(tmp_path)
    with pytest.raises(TapeExists, match=r"'notes\.txt'"):
        nbtrade.ingest_all(source, tmp_path / "all", replace=True, progress=False)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("more", [["--out", "x.tape"], ["--all", "--out", "."]])
def test_the_command_line_says_the_same(tmp_path, source, tape, more):
    """One line on stderr, status 2, nothing changed."""
    if "--all" in more:
        tape = tape.rename(tmp_path / "SYNTH.tape")
    written("notes.txt")(tape)
    before = everything(tmp_path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*CLI, "ingest", "new.dbn", "--replace", *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "it contains 'notes.txt', which is not part of a tape" in done.stderr
    assert everything(tmp_path) == before


# --- saved results -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def result(days):
    pytest.importorskip("pyarrow")
    return nbtrade.backtest(nbtrade.open_tape(days[2]), nbtrade.market_maker)


RESULT_EXTRAS = {
    "a result with a number": lambda folder, result: result.save(folder / "7"),
    "one of its tables in a folder": lambda folder, result: written("5/fills.parquet")(folder),
    "folders in folders": lambda folder, result: (folder / "0" / "3").mkdir(parents=True),
    "deep metadata": lambda folder, result: (folder / "metadata.json").write_text("[" * 200_000),
}


@pytest.mark.parametrize("case", RESULT_EXTRAS)
@pytest.mark.parametrize("several", [False, True])
def test_what_is_not_of_the_result_stays(tmp_path, days, result, case, several):
    """A folder with a number as its name is the result's only if the metadata have that many instruments."""
    saved = nbtrade.Results({"A": result, "B": result}) if several else result
    folder = saved.save(tmp_path / "r")
    RESULT_EXTRAS[case](folder, result)
    before = everything(tmp_path)
    with pytest.raises(ResultExists):
        saved.save(folder, replace=True)
    assert everything(tmp_path) == before


def test_the_current_folder_is_no_result_to_replace(tmp_path, result, monkeypatch):
    """It would be gone under the shell's feet."""
    folder = result.save(tmp_path / "r")
    monkeypatch.chdir(folder)
    with pytest.raises(ResultExists, match="current folder"):
        result.save(".", replace=True)
    assert nbtrade.load_result(tmp_path / "r") == result


def test_tables_are_not_written_through_links(tmp_path, source, result):
    """A link with a table's name, or its temporary name, is replaced; its target does not change."""
    (tmp_path / "tables").mkdir()
    for name in (".fills.parquet.new", "fills.parquet"):
        (tmp_path / "tables" / name).symlink_to(source)
    before = Path(source).read_bytes()
    result.to_parquet(tmp_path / "tables")
    assert Path(source).read_bytes() == before
    assert not (tmp_path / "tables" / "fills.parquet").is_symlink()


@pytest.mark.parametrize("there", [False, True])
def test_a_column_that_lies_aside_without_a_manifest_stays(tmp_path, source, tape, there):
    """Only a tape is put back or removed by the next writer."""
    target = tape if there else tmp_path / "y.tape"
    aside = atomic.aside(tmp_path / f".{target.name}.ingesting")
    written("live.col")(aside)
    ingest(source, target)
    assert (aside / "live.col").read_bytes() == b"precious"
