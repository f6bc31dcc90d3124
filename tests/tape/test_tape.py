"""A tape from its users' view: opening, bounds, slices, frames, prices, damage; and the files and searches below it."""

import json
import os
import shutil

import numba
import numpy as np
import pandas as pd
import pytest

from nbtrade import synthetic
from nbtrade._numba.jit import JIT
from nbtrade.errors import TapeError
from nbtrade.schema import COLUMNS, EVENT, FORMAT_VERSION, LAST, ROW_COLUMNS, UNDEF_PRICE
from nbtrade.storage import atomic
from nbtrade.storage.blockfile.blockfile import BlockFile
from nbtrade.storage.columns.column import Column
from nbtrade.storage.search.kernels import search
from nbtrade.tape.ingest import ingest
from nbtrade.tape.tape import open_tape
from nbtrade.times import to_ns

N = 20_000 if JIT else 3_000


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    path = synthetic.write_dbn(folder / "day.dbn", N, seed=1, live_orders=200, symbol="TEST")
    return ingest(path, progress=False)


@pytest.fixture
def copy(tape, tmp_path):
    return shutil.copytree(tape.path, tmp_path / "copy.tape")


# --- reading a tape --------------------------------------------------------------------------------------


def test_a_tape_opens_as_it_was_written(tape):
    """Columns, counts, symbol, tick and hash; every array is a read-only map of exactly its dtype."""
    again = open_tape(tape.path)
    assert repr(again) == repr(tape)
    assert "TEST" in repr(again)
    assert (again.symbol, again.tick, again.tick_units, len(again)) == ("TEST", 0.01, 10_000_000, len(tape.events))
    assert again.content_hash == tape.content_hash
    for name, column in again.whole.items():
        assert column.dtype == COLUMNS[name] or column.dtype.fields == COLUMNS[name].fields
        assert not column.flags.writeable
        assert column.tobytes() == tape.whole[name].tobytes()
    assert again.events.dtype.isalignedstruct == EVENT.isalignedstruct


def test_clocks_never_run_backwards_and_an_event_has_one_time(tape):
    """The searches rely on this, and `between` never splits an event."""
    assert np.all(np.diff(tape.ts_recv) >= 0)
    assert np.all(np.diff(tape.ts_event) >= 0)
    inside = (tape.events["flags"][:-1] & LAST) == 0
    assert np.all(np.diff(tape.ts_recv)[inside] == 0)


@pytest.mark.parametrize("clock", ["ts_recv", "ts_event"])
def test_bounds_are_numpys(tape, clock):
    """Scalars, arrays of any shape, and times beyond both ends."""
    values = getattr(tape, clock)
    rng = np.random.default_rng(1)
    xs = np.concatenate([rng.choice(values, 200), rng.choice(values, 50) + 1, values[[0, -1]] - 1, values[[0, -1]] + 1, [0, 2**62]])
    for find, side in ((tape.lower_bound, "left"), (tape.upper_bound, "right")):
        expected = np.searchsorted(values, xs, side)
        assert find(xs, clock).tolist() == expected.tolist()
        assert find(xs.reshape(2, -1), clock).tolist() == expected.reshape(2, -1).tolist()
        assert [find(int(x), clock) for x in xs] == expected.tolist()
        assert isinstance(find(xs[0], clock), int)


def test_bounds_take_any_way_to_say_a_time(tape):
    """ns, text, Timestamp in any zone, datetime64 and indexes of any unit mean the same moment."""
    ns = int(tape.ts_recv[len(tape) // 2]) // 10**6 * 10**6
    stamp, row = pd.Timestamp(ns, tz="UTC"), tape.lower_bound(ns)
    for same in (
        stamp,
        stamp.tz_convert("America/New_York"),
        str(stamp),
        stamp.tz_localize(None),
        np.datetime64(ns, "ns"),
        stamp.to_pydatetime(),
    ):
        assert (to_ns(same), tape.lower_bound(same)) == (ns, row)
    days = np.array([ns, ns], "M8[ns]")
    for same in (days, days.astype("M8[ms]"), pd.DatetimeIndex([stamp, stamp]), [str(stamp)] * 2, pd.DatetimeIndex(days.astype("M8[us]"))):
        assert tape.lower_bound(same).tolist() == [row, row]
    with pytest.raises(ValueError, match="clock is 'ts'"):
        tape.lower_bound(ns, "ts")


def test_bounds_work_inside_a_kernel(tape):
    """Python and kernels use the same search functions."""

    @numba.njit
    def rows_within(values, start, stop):
        return search.lower_bound(values, stop) - search.lower_bound(values, start), search.upper_bound(values, stop)

    lower, upper = search.lower_bound, search.upper_bound
    start, stop = int(tape.ts_recv[100]), int(tape.ts_recv[1500])
    found = (
        rows_within(tape.ts_recv, start, stop)
        if JIT
        else (lower(tape.ts_recv, stop) - lower(tape.ts_recv, start), upper(tape.ts_recv, stop))
    )
    expected = np.searchsorted(tape.ts_recv, stop) - np.searchsorted(tape.ts_recv, start), np.searchsorted(tape.ts_recv, stop, "right")
    assert found == expected


def test_between_is_the_rows_of_a_half_open_time(tape):
    """start <= ts_recv < end, shared memory, whole events, slices of slices, open ends."""
    start, end = int(tape.ts_recv[len(tape) // 4]), int(tape.ts_recv[len(tape) // 2])
    part = tape.between(start, end)
    inside = (tape.ts_recv >= start) & (tape.ts_recv < end)
    assert part.ts_recv.tobytes() == tape.ts_recv[inside].tobytes()
    assert np.shares_memory(part.events, tape.events)
    assert part.events["flags"][-1] & LAST
    assert part.between(start, end).events.tobytes() == part.events.tobytes()
    assert len(tape.between(None, start)) + len(part) + len(tape.between(end)) == len(tape.between()) == len(tape)
    with pytest.raises(ValueError, match="before start"):
        tape.between(end, start)
    empty = part.between(end, end)
    assert len(empty) == 0
    assert "no rows" in repr(empty)
    assert empty.book_at(end).orders.tobytes() == tape.book_at(int(part.ts_recv[-1])).orders.tobytes()


def test_a_part_replays_from_the_book_before_it(tape):
    """book_at and audit of a part agree with the whole tape's."""
    middle = int(tape.ts_recv[len(tape) // 2])
    first, second = tape.between(None, middle), tape.between(middle)
    assert second.book_at(UNDEF_PRICE).orders.tobytes() == tape.book_at(UNDEF_PRICE).orders.tobytes()
    audits = [part.audit() for part in (first, second, tape)]
    assert audits[0].n_events + audits[1].n_events == audits[2].n_events == tape.manifest["counts"]["events"]
    assert [audit.n_crossed + audit.n_negative for audit in audits] == [0, 0, 0]
    assert f"{audits[2].n_rows:,} rows" in str(audits[2])


def test_book_at_shows_levels_and_orders_in_the_fields_names(tape):
    """Levels are sums over the orders; frames list the best price first, in queue order; before the first event the book is empty."""
    book = tape.book_at(int(tape.ts_recv[-1]))
    levels, orders = book.levels(), book.to_df()
    assert len(orders) == tape.manifest["counts"]["live_at_end"]
    for side, name, best in (("B", "bid", book.bid_px), ("A", "ask", book.ask_px)):
        mine = orders[orders["side"] == side]
        sums = mine.groupby("price", sort=False)["size"].agg(["sum", "size"])
        found = levels[[f"{name}_px", f"{name}_sz", f"{name}_ct"]].dropna().to_numpy().tolist()
        assert found == [[price, *row] for price, row in zip(sums.index, sums.to_numpy().tolist(), strict=True)]
        assert found[0][0] == tape.price(best)
        assert (mine[mine["place"] == 0]["price"].to_numpy() == sums.index).all()
    assert list(book.levels(2).columns) == ["bid_px", "bid_sz", "bid_ct", "ask_px", "ask_sz", "ask_ct"]
    assert len(book.levels(2)) == 2
    before = tape.book_at(int(tape.ts_recv[0]) - 1)
    assert (len(before.orders), before.bid_px, before.ask_px, before.ts_recv) == (0, UNDEF_PRICE, UNDEF_PRICE, -1)
    assert len(before.to_df()) == len(before.levels()) == 0


def test_to_df_has_the_fields_names_currency_and_times(tape):
    """One row each, indexed by ts_recv in UTC."""
    frame = tape.to_df()
    assert list(frame.columns) == ["ts_event", "action", "side", "price", "size", "order_id", "flags", "sequence", "prio"]
    assert (frame.index.name, str(frame.index.tz), len(frame)) == ("ts_recv", "UTC", len(tape))
    assert frame.index.as_unit("ns").asi8.tolist() == tape.ts_recv.tolist()
    assert np.allclose(frame["price"], tape.events["px"] * 0.01)
    assert set(frame["action"].unique()) >= {"add", "cancel", "exec", "trade"}
    assert (frame["size"] >= 0).all()


def test_info_says_where_what_and_how_many(tape):
    """Source, instrument, tick and its origin, counts, content hash."""
    text = tape.info()
    for part in (str(tape.path), "day.dbn", "TEST (id 1", "0.01 (inferred", f"{N:,} read", tape.content_hash, "faults      none"):
        assert part in text


def test_prices_and_px_are_each_others_inverse(tape):
    """Scalars and arrays of every width: 32-bit px must not overflow on the way to currency."""
    px = tape.events["px"][tape.events["kind"] < 3]
    prices = tape.price(px)
    assert prices.tolist() == (px.astype(np.int64) * 10**7 / 10**9).tolist()
    assert [tape.px(price) for price in prices[:500].tolist()] == px[:500].tolist()
    for one in (500_012, np.int32(500_012), np.int64(500_012)):
        assert tape.price(one) == 5000.12
        assert isinstance(tape.price(one), float)
    assert tape.price(500_012.5) == pytest.approx(5000.125)
    assert tape.price(np.array([0.5])).tolist() == pytest.approx([0.005])
    with pytest.raises(ValueError, match=r"price 5.005 is not a multiple of the tick 0.01 of TEST"):
        tape.px(5.005)


# --- damage ----------------------------------------------------------------------------------------------


def edited(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_missing_or_short_or_long_column_is_named(copy, name):
    """The message has the file, its size and the expected number of rows."""
    path = copy / f"{name}.col"
    data = path.read_bytes()
    for damaged in (data + b"x", data[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(TapeError, match=rf"{name}\.col has .* bytes; .* rows of .* ingest the source again"):
            open_tape(copy)
    path.write_bytes(bytes(4096) + data[4096:])
    with pytest.raises(TapeError, match=rf"{name}\.col is not a column, .* ingest the source again"):
        open_tape(copy)
    other = "live" if name == "events" else "events"
    shutil.copy(copy / f"{other}.col", path)
    with pytest.raises(TapeError, match=rf"{name}\.col has rows of .*, not .* ingest the source again"):
        open_tape(copy)
    path.unlink()
    with pytest.raises(TapeError, match=rf"{name}\.col is missing. .* ingest the source again"):
        open_tape(copy)
    path.write_bytes(data)
    open_tape(copy)


@pytest.mark.parametrize("name", ROW_COLUMNS)
def test_audit_looks_at_every_byte(copy, name):
    """A flipped bit in any column is reported by the column's name, before a replay could access invalid memory."""
    open_tape(copy).audit()
    with open(copy / f"{name}.col", "r+b") as file:
        rows = open_tape(copy).whole[name].view(np.uint8)
        data = (copy / f"{name}.col").read_bytes()
        place = data.index(rows.tobytes()[:64]) + len(rows) // 2
        file.seek(place)
        file.write(bytes([data[place] ^ 1]))
    with pytest.raises(TapeError, match=rf"{name}\.col is damaged"):
        open_tape(copy).audit()


def test_a_column_of_another_tape_is_noticed(copy, tmp_path):
    """Rows of the right kind, but a number that differs from the manifest."""
    path = synthetic.write_dbn(tmp_path / "short.dbn", 1000, seed=1, live_orders=50)
    shutil.copy(ingest(path, progress=False).path / "ts_recv.col", copy)
    with pytest.raises(TapeError, match=r"ts_recv\.col has [\d,]+ rows, the manifest has [\d,]+\. .* ingest the source again"):
        open_tape(copy)


def test_a_tapes_columns_are_columns(tape):
    """A program without any code for tapes can open each file as a Column, with the same rows."""
    for name, rows in tape.whole.items():
        column = Column.open(tape.path / f"{name}.col")
        assert column.dtype == COLUMNS[name]
        assert column.array.tobytes() == rows.tobytes()


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_an_older_format_is_refused(copy, version):
    """The error gives the next step: rows of format 2 lack the flags for turning levels, so an engine would compute wrong books."""
    with pytest.raises(TapeError, match=rf"format {version}; .*Ingest the source again, with replace=True \(--replace\)"):
        open_tape(edited(copy, format_version=version))


def test_a_newer_format_is_refused(copy):
    """It shows both versions and the next step, even if everything else is unexpected."""
    with pytest.raises(TapeError, match=f"format {FORMAT_VERSION + 1}; this version of nbtrade reads format {FORMAT_VERSION}. Upgrade"):
        open_tape(edited(copy, format_version=FORMAT_VERSION + 1, columns=None))


def test_what_is_not_a_tape_is_said(tape, tmp_path, copy):
    """Not a folder, a file, a folder without a manifest or with another one, a truncated manifest."""
    with pytest.raises(TapeError, match=r"no manifest.json. Check the name"):
        open_tape(tmp_path / "nothing")
    (tmp_path / "file.dbn").write_bytes(b"DBN")
    with pytest.raises(TapeError, match=r"nbtrade.ingest"):
        open_tape(tmp_path / "file.dbn")
    for text, message in (
        ((tape.path / "manifest.json").read_text()[:50], "cannot be read"),
        ("{}", "not a tape's manifest"),
        ("[]", "not a tape's manifest"),
    ):
        (copy / "manifest.json").write_text(text)
        with pytest.raises(TapeError, match=message):
            open_tape(copy)
    (copy / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(TapeError, match="cannot be read"):
        open_tape(copy)


# --- files below it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("swap", [atomic.exchange, atomic._exchange_in_two_steps])
def test_exchange_swaps_two_folders(tmp_path, swap):
    """Each name refers to the other's former content, and no other file is left."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    swap(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "who").read_text() for name in ("a", "b")] == ["b", "a"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_exchange_with_nothing_is_an_error(tmp_path):
    """The existing folder remains."""
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        atomic.exchange(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]


def test_a_book_lives_in_a_block_file(tape, tmp_path):
    """A user-defined checkpoint: dtype, order and every byte are preserved, in another process's mapping too."""
    ts = int(tape.ts_recv[len(tape) // 2])
    orders = tape.book_at(ts).orders
    with BlockFile(tmp_path / "x.blocks") as blocks:
        blocks.put("books/middle", orders, metadata={"ts": ts})
    with BlockFile(tmp_path / "x.blocks", "r") as blocks:
        back = blocks.get("books/middle")
        assert blocks.metadata("books/middle") == {"ts": ts}
    assert len(back) > 0
    assert back.dtype.fields == orders.dtype.fields
    assert back.tobytes() == orders.tobytes()
