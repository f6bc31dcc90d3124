"""Ingest whole files: every format, every rejection, and the choice of the tick."""

import os
from types import SimpleNamespace

import databento_dbn as dbn
import numpy as np
import pandas as pd
import pytest
import zstandard

import nbtrade
from lockstep import array_of, resolved
from model import F_LAST, UNDEF_PRICE, Record
from nbtrade import synthetic
from nbtrade.errors import SourceError
from nbtrade.schema import RECORD
from nbtrade.sources.zstd_frames import end_of_frames
from nbtrade.tape.ingest import ingest_all, parts_of

N = 3_000
SKIPPABLE_FRAME = bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"hello"


def ingest(*args, **options):
    return nbtrade.ingest(*args, progress=False, **options)


def header(schema=dbn.Schema.MBO, ts_out=False, symbols=None, dataset="XNAS.ITCH"):
    """DBN metadata for {symbol: instrument_id}."""
    symbols = symbols or {"TEST": 1}
    day, end = pd.Timestamp("2025-01-06").date(), pd.Timestamp("2025-01-07").date()
    intervals = {name: SimpleNamespace(start_date=day, end_date=end, symbol=str(number)) for name, number in symbols.items()}
    mappings = [SimpleNamespace(raw_symbol=name, intervals=[interval]) for name, interval in intervals.items()]
    return dbn.Metadata(
        dataset=dataset,
        start=0,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=schema,
        symbols=list(symbols),
        partial=[],
        not_found=[],
        mappings=mappings,
        ts_out=ts_out,
    ).encode()


DAY = synthetic.records(N, seed=1, live_orders=100).view(np.recarray)


def day(instrument_id=1, seed=1, n=N):
    return (
        DAY
        if (instrument_id, seed, n) == (1, 1, N)
        else synthetic.records(n, seed=seed, live_orders=100, instrument_id=instrument_id).view(np.recarray)
    )


@pytest.fixture
def good(tmp_path):
    """A small uncompressed file of one instrument."""
    path = tmp_path / "day.dbn"
    path.write_bytes(header() + day().tobytes())
    return path


def rows_of(tape):
    return [tape.whole[name].tobytes() for name in ("events", "ts_event", "ts_recv", "order_id", "sequence")]


EXPECTED = [resolved(DAY, 10_000_000).bytes()[name] for name in ("events", "ts_event", "ts_recv", "order_id", "sequence")]


# --- every form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dbn", "zst", "frames", "csv", "csv.zst"])
def test_every_form_of_a_file_gives_the_same_tape(tmp_path, form):
    """Raw, one zstd frame, many frames with skippable ones in between, decimal CSV, integer CSV in zstd."""
    data = header() + day().tobytes()
    path = tmp_path / {"dbn": "a.dbn", "csv": "a.csv", "csv.zst": "a.csv.zst"}.get(form, "a.dbn.zst")
    parts = [data[:1000], data[1000:1001], data[1001:]] if form == "frames" else [data]
    if form == "dbn":
        path.write_bytes(data)
    elif "csv" in form:
        write_csv(path, day(), pretty=form == "csv")
    else:
        path.write_bytes(SKIPPABLE_FRAME.join(zstandard.ZstdCompressor().compress(part) for part in parts))
    tape = ingest(path)
    assert rows_of(tape) == EXPECTED
    assert (tape.path, tape.symbol, tape.tick) == (tmp_path / "a.tape", "TEST", 0.01)
    assert tape.manifest["counts"]["records"] == N
    assert sorted(os.listdir(tmp_path)) == [path.name, "a.tape"]
    assert "lock" not in os.listdir(tape.path)


def write_csv(path, records, pretty, symbols=("TEST",)):
    """Databento's CSV, with ISO times and decimal prices or with integers."""
    frame = pd.DataFrame({name: records[name] for name in RECORD.names if name not in ("length", "action", "side")})
    frame["action"], frame["side"] = ([chr(x) for x in records[name]] for name in ("action", "side"))
    frame["symbol"] = [symbols[i - 1] for i in records["instrument_id"]]
    if pretty:
        frame["price"] = [f"{p // 10**9}.{p % 10**9:09}" if p != UNDEF_PRICE else "" for p in frame["price"].tolist()]
        for name in ("ts_event", "ts_recv"):
            frame[name] = [f"{np.datetime64(t, 'ns')}Z" for t in frame[name].tolist()]
    frame.to_csv(path, index=False)


def test_csv_prices_that_are_whole_numbers_of_currency_are_not_1e_9(tmp_path):
    """A decimal point anywhere in the column means decimals, even with empty prices; large ids keep all bits."""
    rows = "R,N,,0,0\nA,B,5.000000000,1,18446744073709551615\nA,A,7.000000000,1,2"
    lines = [f"{k},{line},128" for k, line in enumerate(rows.split("\n"))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["ts_event,action,side,price,size,order_id,flags", *lines, ""]))
    tape = ingest(path, tick=0.5)
    assert tape.book_at(9).to_df()[["price", "order_id"]].to_numpy().tolist() == [[5.0, -1], [7.0, 2]]


def mixed_file(tmp_path, ids=(1, 2), n=N):
    """Two instruments alternating, a few records each."""
    days = [day(number, seed=number, n=n) for number in ids]
    chunks = [chunk for pair in zip(*(np.array_split(d, 40) for d in days), strict=True) for chunk in pair]
    path = tmp_path / "two.dbn"
    path.write_bytes(header(symbols={"AAA": ids[0], "B/B": ids[1]}) + b"".join(chunk.tobytes() for chunk in chunks))
    return path, days


def test_of_several_instruments_ingest_takes_the_one_chosen(tmp_path):
    """Select by symbol or id; without a selection the error names all instruments and nothing is left behind."""
    path, days = mixed_file(tmp_path)
    with pytest.raises(SourceError, match=r"several instruments: AAA \(id 1\), B/B \(id 2\)\. Choose one with symbol= or instrument_id="):
        ingest(path)
    assert os.listdir(tmp_path) == ["two.dbn"]
    expected = resolved(days[1].copy(), 10_000_000)
    assert expected.resolver.get("n_skipped") == N
    for k, choice in enumerate([{"symbol": "B/B"}, {"instrument_id": 2}]):
        tape = ingest(path, tmp_path / f"{k}.tape", **choice)
        assert (tape.symbol, tape.manifest["counts"]["records"], tape.manifest["counts"]["skipped"]) == ("B/B", N, N)
    for choice in ({"symbol": "CCC"}, {"instrument_id": 3}):
        with pytest.raises(SourceError, match=r"has no .*('CCC'|3).*It has: AAA \(id 1\), B/B"):
            ingest(path, tmp_path / "no.tape", **choice)
    assert not (tmp_path / "no.tape").exists()


@pytest.mark.parametrize("form", ["dbn", "csv"])
def test_ingest_all_gives_a_tape_each(tmp_path, form):
    """Each tape is the same as from a separate file; names are safe file names; both count the other instruments' records."""
    path, days = mixed_file(tmp_path)
    if form == "csv":
        path = tmp_path / "two.csv"
        write_csv(path, np.concatenate(days), pretty=False, symbols=("AAA", "B/B"))
    tapes = ingest_all(path, tmp_path / "out", progress=False)
    assert sorted(os.listdir(tmp_path / "out")) == ["AAA.tape", "B_B.tape"]
    for tape, records in zip(tapes.values(), days, strict=True):
        alone = records.copy()
        alone["instrument_id"] = 1
        assert tape.events.tobytes() == resolved(alone, 10_000_000).bytes()["events"]
        assert [tape.manifest["counts"][name] for name in ("records", "skipped")] == [N, N]
    assert [tape.symbol for tape in tapes.values()] == ["AAA", "B/B"]


@pytest.mark.parametrize("schema", [None, dbn.Schema.MBO])
def test_other_kinds_of_records_and_ts_out_are_passed_over(tmp_path, schema):
    """Files captured live: MBO records among other kinds, each longer by ts_out."""
    other = bytes([20, 23]) + bytes(78)  # an 80-byte system message
    records = [row.tobytes() for row in day()]
    stamped = [bytes([16]) + row[1:] + (7).to_bytes(8, "little") for row in records]
    body = b"".join(other * (k % 50 == 0 and schema is None) + row for k, row in enumerate(stamped))
    path = tmp_path / "live.dbn"
    path.write_bytes(header(schema, ts_out=True) + body)
    assert rows_of(ingest(path)) == EXPECTED
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="cut short"):
        ingest(path, replace=True)


# --- rejections ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.dbn", b"", r"empty \(0 bytes\)"),
        ("a.csv", b"", r"empty \(0 bytes\)"),
        ("a.dbn", b"hello world", "not a DBN file: it starts with b'hello wo'"),
        ("a.dbn.zst", zstandard.ZstdCompressor().compress(b"hello world"), "content starts with b'hell'"),
        ("a.dbn", b"DBN\x09" + bytes(20), "DBN version 9"),
        ("a.dbn", b"DBN\x03" + (9).to_bytes(4, "little") + b"ninebytes", "metadata cannot be read"),
        ("a.dbz", SKIPPABLE_FRAME, "legacy DBZ"),
        ("a.dbn", header(dbn.Schema.TRADES), "schema 'trades'; nbtrade needs 'mbo'"),
        ("a.dbn", header(dbn.Schema.MBP_10), "schema 'mbp-10'"),
        ("a.dbn", header(), "no records. Nothing was written"),
        ("a.dbn", header() + bytes(56), "record 0.*its length is 0 bytes"),
        ("a.csv", b"a,b\n1,2\n", "column 'ts_event' is missing"),
        (
            "a.csv",
            b"rtype,ts_event,action,side,price,size,order_id,flags\n10,5,A,B,1.5,1,1,128\n",
            "rtype 10; nbtrade needs 160, schema mbo",
        ),
        ("a.csv", b"ts_event,action,side,price,size,order_id,flags\n5,A,B,x,1,1,128\n", "rows after row 1 is invalid"),
        ("a.csv", b"ts_event,action,side,price,size,order_id,flags\n5,A,B,1.5,1,1,128", "no line break"),
        ("a.csv", b"ts_event,action,side,price,size,order_id,flags\n,A,B,1.5,1,1,128\n", "empty time"),
    ],
)
def test_what_is_no_mbo_file_is_refused_with_the_reason(tmp_path, name, content, message):
    """SourceError, and no file is left behind."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        ingest(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_what_is_not_there_or_a_folder_is_said(tmp_path, good):
    """The error lists similar names, or the call that opens a tape."""
    with pytest.raises(SourceError, match=r"does not exist\. Near it: day\.dbn"):
        ingest(tmp_path / "day1.dbn")
    with pytest.raises(SourceError, match=r"already a tape: open it with nbtrade\.open_tape"):
        ingest(ingest(good).path)
    with pytest.raises(SourceError, match="a folder"):
        ingest(tmp_path)


PLAIN = header() + DAY[:400].tobytes()
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN)
N_HEADER = len(header())
CUTS = [("a.dbn", n) for n in (1, 2, 3, 4, 7, 8, 9, 60, N_HEADER - 1, N_HEADER, N_HEADER + 1, N_HEADER + 55, N_HEADER + 57, len(PLAIN) - 1)]
CUTS += [("a.dbn.zst", n) for n in (1, 3, 4, 5, 6, 9, 12, 20, 100, len(ZSTD) // 2, len(ZSTD) - 5, len(ZSTD) - 4, len(ZSTD) - 1)]


@pytest.mark.parametrize(("name", "n"), CUTS)
def test_a_file_cut_anywhere_is_refused_and_leaves_nothing(tmp_path, name, n):
    """Cut in the header, the metadata, a record, a zstd header, block or checksum, or before the last byte."""
    (tmp_path / name).write_bytes((PLAIN if name == "a.dbn" else ZSTD)[:n])
    with pytest.raises(SourceError, match=r"cut short|damaged|not a DBN file|no records"):
        ingest(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_the_end_of_whole_frames_is_the_length_only_for_whole_files():
    """Every cut of a two-frame file is detected from its block headers alone."""
    two = ZSTD[:0] + zstandard.ZstdCompressor().compress(b"a" * 5000) + SKIPPABLE_FRAME + ZSTD
    assert end_of_frames(two) == len(two)
    first = two.index(SKIPPABLE_FRAME)
    whole = {0, first, first + len(SKIPPABLE_FRAME)}
    assert {end_of_frames(two[:n]) for n in range(len(two))} == whole
    assert {n for n in range(len(two)) if end_of_frames(two[:n]) == n} == whole


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
def test_a_damaged_zstd_block_is_refused_or_changes_nothing(tmp_path, at):
    """A flipped byte is detected by the decoder or the checksum."""
    data = bytearray(ZSTD)
    data[int(len(data) * at)] ^= 0x55
    (tmp_path / "a.dbn.zst").write_bytes(data)
    with pytest.raises(SourceError, match="damaged"):
        ingest(tmp_path / "a.dbn.zst")
    assert os.listdir(tmp_path) == ["a.dbn.zst"]


# --- ticks -----------------------------------------------------------------------------------------------


def small(tmp_path, prices, symbol="TEST", dataset="XNAS.ITCH"):
    records = [Record(k, k, k + 1, price * 10**6, 1, F_LAST, "A", "B") for k, price in enumerate(prices)]
    path = tmp_path / f"{symbol}.dbn"
    path.write_bytes(header(symbols={symbol: 1}, dataset=dataset) + array_of(records).tobytes())
    return path


@pytest.mark.parametrize(
    ("symbol", "dataset", "tick", "expected"),
    [
        ("ESM4", "GLBX.MDP3", None, (0.25, "looked up by symbol")),
        ("ESM4", "GLBX.MDP3", 0.05, (0.05, "given")),
        ("ESM4", "XNAS.ITCH", None, (0.5, "inferred: the greatest common divisor of the prices")),
        ("CLM4", "GLBX.MDP3", None, (0.01, "looked up by symbol")),
        ("ESM4-ESU4", "GLBX.MDP3", None, (0.5, "inferred: the greatest common divisor of the prices")),
    ],
)
def test_the_manifest_says_the_tick_and_where_it_is_from(tmp_path, symbol, dataset, tick, expected):
    """Given, else looked up for outright futures, else inferred."""
    tape = ingest(small(tmp_path, [1000, 1500, 2500], symbol, dataset), tick=tick)
    assert (tape.tick, tape.manifest["instrument"]["tick_from"]) == expected
    assert tape.price(tape.events["px"]).tolist() == [1.0, 1.5, 2.5]


def test_a_price_off_the_tick_names_the_record_or_refines_a_tick_that_was_looked_up(tmp_path):
    """A given tick must fit all prices; the table may be wrong."""
    path = small(tmp_path, [1000, 1250, 1100], "ESM4", "GLBX.MDP3")
    with pytest.raises(SourceError, match=r"record 2 \(sequence 2, order 3\): price 1\.1 is not a multiple of the tick 0\.25.*right tick="):
        ingest(path, tick=0.25)
    tape = ingest(path)
    assert (tape.tick, tape.manifest["instrument"]["tick_from"][:8]) == (0.05, "inferred")
    assert tape.price(tape.events["px"]).tolist() == [1.0, 1.25, 1.1]
    for tick in (0, -1, 1e-10, 0.25 + 1e-11):
        with pytest.raises(ValueError, match=f"tick {tick} is not"):
            ingest(path, tick=tick, replace=True)


def test_a_tick_found_late_rewrites_what_is_on_disk(tmp_path, monkeypatch):
    """Rows written with a coarse tick, in many batches, end up as the tape of the given tick."""
    monkeypatch.setattr("nbtrade.sources.dbn.new_buffers", lambda dtype: [np.empty(7, dtype).view(np.recarray) for _ in range(4)])
    prices = [1000, 2000, 3000, 1000, 4000, 2000, 5000] * 3 + [1500] * 9 + [1510, 2000]
    path = small(tmp_path, prices)
    late, given = ingest(path), ingest(path, tmp_path / "given.tape", tick=0.01)
    assert (late.tick, late.content_hash) == (0.01, given.content_hash)
    assert late.manifest["px"] == given.manifest["px"] == {"min": 100, "max": 500}


@pytest.mark.parametrize("n_keys", [1, 2, 50])
def test_a_batch_is_parted_by_instrument_in_file_order(n_keys):
    """Every record once, in order, and the instruments in order of appearance; a batch with one instrument is not copied."""
    rng = np.random.default_rng(n_keys)
    records = np.zeros(1000, RECORD)
    records["instrument_id"], records["publisher_id"] = rng.integers(0, n_keys, 1000), rng.integers(0, min(n_keys, 2), 1000)
    records["sequence"] = np.arange(1000)
    parts = parts_of(records)
    for (publisher, instrument), mine in parts.items():
        expected = records[(records["publisher_id"] == publisher) & (records["instrument_id"] == instrument)]
        assert mine.tobytes() == expected.tobytes()
    assert sum(map(len, parts.values())) == 1000
    assert [int(mine["sequence"][0]) for mine in parts.values()] == sorted(int(mine["sequence"][0]) for mine in parts.values())
    assert n_keys > 1 or next(iter(parts.values())) is records
