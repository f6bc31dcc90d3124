"""Real files as tapes: every event against the oracle, every number published by vendors or others."""

import json
import os
import subprocess
import sys
from itertools import groupby

import pytest

import lockstep
import real
from lockstep import array_of, assert_lockstep, resolved
from model import ASK, BID, UNDEF_PRICE
from nbtrade._numba.jit import JIT
from nbtrade.errors import SourceError
from nbtrade.tape.ingest import ingest, ingest_all, open_source

needs_jit = pytest.mark.skipif(not JIT, reason="whole files take minutes without the JIT")


def tape_and_records(tmp_path, source, records):
    """Ingest a file; return the tape's data in the form that `compare` needs."""
    kept = resolved(array_of(records), 10_000_000 if source != real.ESM4 else 250_000_000)
    tape = ingest(real.real_path(*source), tmp_path / "t.tape", progress=False)
    for name in ("events", "ts_event", "ts_recv", "order_id"):
        assert tape.whole[name].tobytes() == kept.columns()[name].tobytes(), name
    return kept, tape


@needs_jit
def test_clx5_is_the_oracles_book_at_every_event_and_the_third_partys_at_the_end(tmp_path):
    """All levels of 32,053 events; 113 final levels from an independent program; 172 crossed event ends."""
    records = real.dbn_records(real.real_path(*real.CLX5))
    kept, tape = tape_and_records(tmp_path, real.CLX5, records)
    _, replay = assert_lockstep(records, kept, every_queues=500)
    final = json.loads(real.real_path(*real.CLX5_FINAL).read_text())
    for side, name in ((BID, "bids"), (ASK, "asks")):
        assert replay.levels(side) == [(x["price"], x["size"], x["count"]) for x in final[name]]
    audit = tape.audit()
    assert (audit.n_events, audit.n_crossed, audit.n_negative) == (32_053, 172, 0)
    assert tape.manifest["counts"] | {"live_at_end": 147, "most_live": 558, "records": 38_212, "skipped": 0} == tape.manifest["counts"]
    assert {name: fault["count"] for name, fault in audit.faults.items()} == {
        "unknown_cancel": 1224,
        "unknown_modify": 216,
        "unknown_fill": 29,
    }


@needs_jit
def test_esm4_ends_as_published(tmp_path):
    """A snapshot of 13,600 orders and 2 s: 5214.00 / 5214.25, 976 and 571 levels, no fault."""
    records = real.dbn_records(real.real_path(*real.ESM4))
    kept, tape = tape_and_records(tmp_path, real.ESM4, records)
    assert_lockstep(records, kept, every_levels=20, every_queues=60)
    book = tape.book_at(tape.ts_recv[-1])
    assert [tape.price(book.bid_px), tape.price(book.ask_px)] == [5214.0, 5214.25]
    assert [len(book.side(side)[0]) for side in (BID, ASK)] == [976, 571]
    assert len(book.orders) == tape.manifest["counts"]["live_at_end"] == 13_598
    assert not tape.manifest["faults"]


@needs_jit
def test_arl_is_the_oracles_book_and_gives_every_expected_mbp10_row(tmp_path):
    """The top ten levels after every tape row match the vendor's 3,928 rows (one per record), ignoring repetitions."""
    rows = real.csv_rows(real.real_path(*real.ARL))
    kept, _tape = tape_and_records(tmp_path, real.ARL, [real.record_of_row(row) for row in rows])
    assert_lockstep([real.record_of_row(row) for row in rows], kept, every_queues=100)
    expected = [top_of_row(row) for row in real.csv_rows(real.real_path(*real.ARL_MBP10))]
    replay, tops = lockstep.Replay(kept.tape()), [[[(UNDEF_PRICE, 0, 0)] * 10] * 2]
    for row in range(len(kept.tape())):
        replay.to(row + 1)
        tops.append([(replay.levels(side) + [(UNDEF_PRICE, 0, 0)] * 10)[:10] for side in (BID, ASK)])
    assert len(expected) == 3928
    assert [top for top, _ in groupby(tops)] == [top for top, _ in groupby(expected)]


def top_of_row(row):
    names = [[[f"{side}_{x}_{i:02d}" for x in ("px", "sz", "ct")] for i in range(10)] for side in ("bid", "ask")]
    return [[(real.price_of(row[p]), int(row[s]), int(row[c])) for p, s, c in side] for side in names]


VERSIONS = sorted((real.ROOT / "dbn_versions").glob("*mbo*.db[nz]*")) if (real.ROOT / "dbn_versions").exists() else []


@pytest.mark.parametrize("path", [p for p in VERSIONS if p.suffix != ".dbz"], ids=lambda p: p.name)
def test_every_dbn_version_reads(tmp_path, path):
    """Versions 1 to 3, raw and zstd: each instrument's records resolve as in the oracle."""
    tapes = ingest_all(path, tmp_path, progress=False)
    assert tapes
    for tape in tapes.values():
        records = real.dbn_records(path, tape.manifest["instrument"]["instrument_id"])
        kept = resolved(array_of(records), tape.tick_units)
        assert_lockstep(records, kept)
        assert tape.events.tobytes() == kept.columns()["events"].tobytes()


@pytest.mark.parametrize("path", [p for p in VERSIONS if p.suffix == ".dbz"], ids=lambda p: p.name)
def test_legacy_dbz_is_an_error_that_says_what_to_do(path):
    """It names the format and the tool that converts it."""
    with pytest.raises(SourceError, match=r"legacy DBZ format.*dbn FILE\.dbz -o"):
        open_source(path)


SMALL = """
import hashlib, sys
import numpy as np
import lockstep, real
from nbtrade.tape.resolver import Resolver
records = real.dbn_records(real.real_path(*real.CLX5))[:3000]
kept = lockstep.resolved(lockstep.array_of(records), 0, 700)
book, replay = lockstep.assert_lockstep(records, kept, every_queues=100)
digest = hashlib.sha256(repr([sorted(kept.bytes().items()), replay.levels(0), replay.levels(1)]).encode())
print(len(kept.tape()), digest.hexdigest())
"""


def test_plain_python_gives_the_bytes_of_the_compiled_kernels():
    """CLX5's first 3,000 records, NUMBA_DISABLE_JIT 0 and 1: the same tape and book."""
    real.real_path(*real.CLX5)
    outputs = []
    for disabled in "01":
        environment = os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-W", "error", "-c", SMALL]
        outputs.append(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    assert outputs[0] == outputs[1]
    assert int(outputs[0].split()[0]) > 2000
