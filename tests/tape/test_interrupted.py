"""Files and threads after an ingest was stopped: by a full disk, Ctrl-C, kill -9, or another ingest."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nbtrade
from nbtrade import synthetic
from nbtrade.errors import StoreWriteError, TapeExists
from nbtrade.storage import atomic
from nbtrade.tape import ingest as ingest_module
from nbtrade.tape import writer

N = 3_000


def ingest(*args, **options):
    return nbtrade.ingest(*args, progress=False, **options)


@pytest.fixture
def good(tmp_path):
    return synthetic.write_dbn(tmp_path / "day.dbn", N, seed=1, live_orders=100)


@pytest.fixture
def other(tmp_path_factory):
    return synthetic.write_dbn(tmp_path_factory.mktemp("other") / "other.dbn", N, seed=2, live_orders=100)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_, **__):
    raise KeyboardInterrupt


def break_at(monkeypatch, where, what):
    """Make one step of an ingest fail."""
    if where == "write":
        monkeypatch.setattr(writer.os, "pwrite", what)
    elif where == "sync":
        monkeypatch.setattr(writer.os, "fsync", what)
    elif where == "feed":
        monkeypatch.setattr(ingest_module._Router, "feed", what)
    elif where == "manifest":
        monkeypatch.setattr(writer.json, "dump", what)
    elif where == "publish":
        monkeypatch.setattr(writer.tape_folder, "publish", what)
    elif where == "rename":
        monkeypatch.setattr(atomic.os, "rename", what)
    else:
        monkeypatch.setattr(atomic, "exchange", what)


STEPS = [(where, what) for where in ("write", "sync", "feed", "manifest", "publish", "rename") for what in (full_disk, interrupted)]
EXCHANGE = [("exchange", full_disk), ("exchange", interrupted)]


@pytest.mark.parametrize(("where", "what"), STEPS)
def test_an_ingest_that_fails_at_any_step_leaves_nothing(tmp_path, monkeypatch, good, where, what):
    """A full disk or Ctrl-C while reading, writing, syncing or naming: it is raised, the folder is unchanged, the next ingest works."""
    with monkeypatch.context() as patch:
        break_at(patch, where, what)
        with pytest.raises(KeyboardInterrupt if what is interrupted else OSError, match=None if what is interrupted else "No space left"):
            ingest(good)
    assert os.listdir(tmp_path) == [good.name]
    assert len(ingest(good)) > 0


def test_ctrl_c_at_any_line_of_an_append_lets_go(tmp_path):
    """On an interrupt at any line, even inside the queue's code, leaving the writer ends the thread and removes everything."""
    for k in range(1, 200):
        reached = append_interrupted(tmp_path / "x.tape", k)
        assert os.listdir(tmp_path) == [], k
        if not reached:
            break
    assert 1 < k < 199


def append_interrupted(target, k):
    """Append until KeyboardInterrupt is raised at the k-th line that an append runs here; False when it has no k lines."""
    n = 0

    def trace(frame, event, _):
        nonlocal n
        n += event == "line"
        if event == "line" and n == k:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    def too_late(*_):
        raise AssertionError(f"leaving after an interrupt at line {k} of an append waits forever")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        with writer.TapeWriter(target) as one:
            one.append(ts_event=np.arange(5))
            time.sleep(0.02)  # the writing thread waits for more
            sys.settrace(trace)
            one.append(ts_event=np.arange(5))
            sys.settrace(None)
            time.sleep(0.02)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return False


def test_a_full_disk_says_what_did_not_fit(tmp_path, monkeypatch, good):
    """The system's error has no name; nbtrade's names the tape and the free space."""
    break_at(monkeypatch, "write", full_disk)
    with pytest.raises(StoreWriteError, match=r"No space left on device while writing .*day\.tape .*MB are free") as caught:
        ingest(good, tmp_path / "day.tape")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("where", "what"), STEPS + EXCHANGE)
def test_a_replace_that_fails_at_any_step_keeps_the_old_tape(tmp_path, monkeypatch, good, other, where, what):
    """The old tape keeps its name until the new one takes it."""
    old = ingest(good)
    with monkeypatch.context() as patch:
        break_at(patch, where, what)
        with pytest.raises((KeyboardInterrupt, OSError)):
            ingest(other, old.path, replace=True)
    assert nbtrade.open_tape(old.path).content_hash == old.content_hash
    assert sorted(os.listdir(tmp_path)) == ["day.dbn", "day.tape"]


def test_a_second_ingest_needs_replace(tmp_path, good, other):
    """TapeExists suggests replace; with replace the new tape has the name; a folder that is not a tape is never replaced."""
    old = ingest(good)
    with pytest.raises(TapeExists, match=r"day\.tape already exists\. Pass replace=True \(--replace\)"):
        ingest(other, old.path)
    assert nbtrade.open_tape(old.path).content_hash == old.content_hash
    new = ingest(other, old.path, replace=True)
    assert new.content_hash == nbtrade.open_tape(old.path).content_hash != old.content_hash
    assert sorted(os.listdir(tmp_path)) == ["day.dbn", "day.tape"]
    assert old.audit().n_events == old.manifest["counts"]["events"], "a tape that is open stays readable"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(TapeExists, match="not a tape, so it was not replaced"):
        ingest(good, tmp_path / "mine", replace=True)
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


SLOW = """
import sys, time, nbtrade
from nbtrade.tape import ingest
feed = ingest._Router.feed
def slow(self, records):
    feed(self, records)
    print("writing", flush=True)
    time.sleep(60)
ingest._Router.feed = slow
nbtrade.ingest(sys.argv[1], progress=False)
"""


@pytest.fixture
def slow_ingest(good):
    """A process in the middle of ingesting `good`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", SLOW, str(good)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_of_two_ingests_at_once_one_is_told_who_is_writing(tmp_path, good, slow_ingest):
    """It names the other process's pid and leaves its work alone."""
    before = sorted(os.listdir(tmp_path / ".day.tape.ingesting"))
    with pytest.raises(TapeExists, match=rf"day\.tape: .* is being written by process {slow_ingest.pid}\. Wait for it"):
        ingest(good)
    assert sorted(os.listdir(tmp_path / ".day.tape.ingesting")) == before
    assert slow_ingest.poll() is None


def test_a_killed_ingest_leaves_no_tape_and_the_next_one_works(tmp_path, good, slow_ingest):
    """kill -9: no tape has the name; the leftovers are taken over and removed."""
    slow_ingest.kill()
    slow_ingest.wait()
    assert sorted(os.listdir(tmp_path)) == [".day.tape.ingesting", "day.dbn"]
    (tmp_path / ".day.tape.ingesting" / "events.col").write_bytes(b"left over" * 1000)
    tape = ingest(good)
    assert sorted(os.listdir(tmp_path)) == ["day.dbn", "day.tape"]
    assert "lock" not in os.listdir(tape.path)
    assert tape.content_hash == ingest(good, tmp_path / "again.tape").content_hash


def test_the_reading_thread_ends_with_the_ingest(monkeypatch, good):
    """An error in the middle leaves no thread behind."""
    import threading

    before = threading.active_count()
    monkeypatch.setattr(ingest_module._Router, "feed", full_disk)
    with pytest.raises(OSError, match="No space"):
        ingest(good)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_error_of_the_source_is_raised_by_the_ingest(tmp_path, monkeypatch, good):
    """Any exception of the reading thread is raised by `ingest` unchanged."""
    monkeypatch.setattr("nbtrade.sources.dbn._fill", full_disk)
    with pytest.raises(OSError, match="No space"):
        ingest(good)
    assert os.listdir(tmp_path) == ["day.dbn"]
