"""Synthetic market-by-order days: seeded, endless, in Databento's record format.

A real matching book runs inside (`market_model`): adds join FIFO queues, market orders execute the front of
A working matching book runs inside (`market_model`): adds join FIFO queues, market orders execute the front of

    records    one array                      tests, small benchmarks
    batches    an iterator, bounded memory    long days
    write_dbn  a .dbn or .dbn.zst file        benchmarks of readers, the demo

Scenarios: `ordinary`; `stub_quotes` also adds and cancels orders at the lowest px and at 199,999.99;
`outliers` also adds and cancels about one record in ten at far-away, mostly unique prices.

The same arguments give the same bytes for any batch size. It is not a model to trade against:
the touch follows a latent random walk with a lag (some 30 ticks at 1e5 live orders), a signal that no real
market offers. Cancels always remove the whole order; there are no icebergs, auctions, hidden orders or gaps.
"""

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn as dbn
import numpy as np
import zstandard

from nbtrade._numba.jit import JIT
from nbtrade.schema import ASK, BID, NONE, PRICE_SCALE, RECORD
from nbtrade.storage.atomic import naming
from nbtrade.storage.disk import DISK
from nbtrade.storage.system import sync_file
from nbtrade.synthetic.kernels import market_model as model
from nbtrade.times import ns_of

SCENARIOS = {"ordinary": model.ORDINARY, "stub_quotes": model.STUB_QUOTES, "outliers": model.OUTLIERS}
STUB_ASK = 19_999_999 * PRICE_SCALE // 100  # 199,999.99
DEFAULT_RATE = 20_000_000 / (6.5 * 3600)  # records per second
RECORDS_PER_EVENT = 1.16
MIN_MID = model.WIDTH // 2 + 1_000
MIN_TICK, MAX_TICK = STUB_ASK // 2**31 + 1, STUB_ASK // (MIN_MID + 2 * model.WIDTH)  # a px fits in an i4
BLOCK = 1 << 16


def records(n_records: int, **options: Any) -> np.ndarray:
    """Generate a synthetic day as one array.

    Parameters
    ----------
    n_records : int
        Number of records; the last event is complete, and the array has exactly this length.
    **options
        seed : int
            The same arguments give the same bytes.
        live_orders : int
            Orders in the opening book, and about as many all day; 1 or more, designed for 1e3 to 1e5.
        start : str or int
            ISO time with a zone, or ns since the epoch, UTC.
        duration : str, int or None
            Time span such as "6.5h" or "10s", or ns. None: 20 M records take 6.5 hours, others in proportion.
        mid : int
            Opening price in ticks, at least 5,096.
        tick : int
            Price of a tick in 1e-9 units: 10_000_000 is 0.01.
        instrument_id, publisher_id : int
            Written into each record.
        scenario : {"ordinary", "stub_quotes", "outliers"}
            See the module's docstring.

    Returns
    -------
    RECORD[n_records]
        First an R, then the opening book (F_SNAPSHOT, old ts_event), then the day.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Examples
    --------
    >>> records = nbtrade.synthetic.records(1_000, seed=1, live_orders=100)
    >>> records["action"][:3].tobytes(), len(records)
    (b'RAA', 1000)
    """
    market = _Market(n_records, **options)
    out = np.empty(n_records, RECORD)
    market.fill(out)
    return out


def batches(n_records: int, batch: int = BLOCK, **options: Any) -> Iterator[np.ndarray]:
    """Generate a synthetic day in bounded memory: the records of `records(n_records, **options)` in several arrays.

    Parameters
    ----------
    n_records : int
        Number of records in total.
    batch : int
        Largest number of records per array, 1 or more. The concatenation is the same for any value.
    **options
        As in `records`.

    Returns
    -------
    iterator of RECORD[m], m <= batch
        New arrays: nbtrade does not reuse their memory.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Examples
    --------
    >>> [len(part) for part in nbtrade.synthetic.batches(1_000, batch=400, live_orders=100)]
    [400, 400, 200]
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}: pass 1 record or more")
    return _batches(_Market(n_records, **options), batch)


def write_dbn(path: str | os.PathLike[str], n_records: int, *, symbol: str = "SYNTH", dataset: str = "XNAS.ITCH", **options: Any) -> Path:
    """Write a synthetic day as a DBN version 3 file, in bounded memory.

    Parameters
    ----------
    path : str or path
        Ends in `.dbn`, or in `.dbn.zst` for zstd level 3. An existing file is replaced once the new one is complete.
    n_records : int
        Number of records.
    symbol, dataset : str
        Written into the metadata.
    **options
        As in `records`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        The name has another ending, or a parameter is out of range.

    Examples
    --------
    >>> nbtrade.synthetic.write_dbn("small.dbn", 1_000, live_orders=100).stat().st_size > 56_000
    True
    """
    path = Path(path)
    if not path.name.endswith((".dbn", ".dbn.zst")):
        raise ValueError(f"{path}: the name of a DBN file must end in .dbn or .dbn.zst")
    market = _Market(n_records, **options)
    header = _metadata(market, symbol, dataset)
    with naming(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        with open(part, "wb") as file:
            _write(file, header, _batches(market, BLOCK), path.suffix == ".zst")
            file.flush()
            sync_file(file.fileno())
        os.replace(part, path)
    DISK.sync_folder(path.parent)
    return path


# --- the market's state ------------------------------------------------------------------------------


class _Market:
    """The kernel's arrays for one day."""

    def __init__(
        self,
        n_records: int,
        *,
        seed: int = 0,
        live_orders: int = 1000,
        start: str | int = "2025-01-06T14:30Z",
        duration: str | int | None = None,
        mid: int = 500_000,
        tick: int = 10_000_000,
        instrument_id: int = 1,
        publisher_id: int = 1,
        scenario: str = "ordinary",
    ) -> None:
        _check("n_records", n_records, 1, 2**40)
        _check("live_orders", live_orders, 1, 2**24)
        _check("tick", tick, MIN_TICK, MAX_TICK)
        far_px = STUB_ASK // tick
        _check("mid", mid, MIN_MID, far_px - 2 * model.WIDTH)
        _check("instrument_id", instrument_id, 0, 2**32 - 1)
        _check("publisher_id", publisher_id, 0, 2**16 - 1)
        if scenario not in SCENARIOS:
            raise ValueError(f"scenario {scenario!r} is not one of {', '.join(SCENARIOS)}")
        self.start = _ns_of(start)
        self.duration = _span_of(duration, n_records)
        self.instrument_id = instrument_id
        self.orders, self.recent = _slots(live_orders)
        self.levels = np.full((2, model.WIDTH), NONE, np.int32).repeat(2).view(model.LEVEL).reshape(2, model.WIDTH)
        self.state = np.zeros(1, model.MARKET)
        state = self.state[0]
        state["rng"] = (seed * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) % 2**64
        state["n_left"], state["target"] = n_records, live_orders
        state["n_opening"] = min(live_orders, n_records - 1)
        state["id_bits"] = max(int(live_orders).bit_length(), 20)
        state["last_id"] = model.FIRST_ID + (1 << int(state["id_bits"]))
        state["fair"], state["low"], state["far_px"] = mid, mid - model.WIDTH // 2, far_px
        state["scenario"] = SCENARIOS[scenario]
        state["start"] = state["ts"] = state["ts_recv"] = self.start
        state["tick"], state["publisher_id"], state["instrument_id"] = tick, publisher_id, instrument_id
        self.best = np.zeros(2, np.int64)
        self.best[BID], self.best[ASK] = state["low"] - 1, state["low"] + model.WIDTH
        gap = self.duration * RECORDS_PER_EVENT / max(n_records - state["n_opening"], 1)
        self.tables, state["calm_ns"] = _tables(live_orders, gap, len(self.recent))
        state["per_ns"] = 1.0 / self.duration

    @property
    def n_left(self) -> int:
        return int(self.state["n_left"][0])

    def fill(self, out: np.ndarray) -> int:
        arrays = (out, self.orders, self.levels, self.best, self.recent, self.tables, self.state)
        if JIT:
            return int(model.fill(*arrays))
        with np.errstate(over="ignore"):  # the random state wraps, and NumPy scalars would warn about it
            return int(model.fill(*(a.view(np.recarray) if a.dtype.names else a for a in arrays)))


def _slots(live_orders: int) -> tuple[np.ndarray, np.ndarray]:
    """Free order slots, linked, a quarter more than the target number of live orders; and the ring of young orders."""
    orders = np.zeros(live_orders + live_orders // 4 + 64, model.ORDER)
    orders["next"] = np.arange(1, len(orders) + 1)
    orders["next"][-1] = NONE
    return orders, np.zeros(1 << (2 * live_orders).bit_length(), np.int32)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value:,}; a synthetic market takes {low:,} to {high:,}")


def _ns_of(start: str | int) -> int:
    """ISO time with a zone, or ns, as ns since the epoch UTC."""
    if isinstance(start, str):
        moment = dt.datetime.fromisoformat(start)
        if moment.tzinfo is None:
            raise ValueError(f"start {start!r} has no zone; write {start}Z for UTC")
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    return int(start)


def _span_of(duration: str | int | None, n_records: int) -> int:
    """Length of the day in ns."""
    if duration is None:
        return max(int(n_records / DEFAULT_RATE * PRICE_SCALE), 1)
    span = ns_of(duration)
    _check("duration in ns", span, 1, 10**18)
    return span


# --- distributions -----------------------------------------------------------------------------------


def _tables(live_orders: int, gap: float, ring: int) -> tuple[np.ndarray, float]:
    """Quantiles of every distribution (i4[N_TABLES, TABLE]) and the mean calm gap in ns.

    gap : mean ns between events over the day
    """
    u = (np.arange(model.TABLE) + 0.5) / model.TABLE
    burst = 400.0 * 200.0**u  # log-uniform, 0.4 to 80 us
    burst *= min(1.0, 0.5 * gap / (1.5 * burst.mean()))
    # A thin touch and a hump some ticks behind it; the tail falls as distance ** -2.2
    scale = 4.0 * (live_orders / 1000) ** 0.3
    tables = np.zeros((model.N_TABLES, model.TABLE), np.int32)
    tables[model.DISTANCE] = np.minimum(scale * ((1 - u) ** (-1 / 1.2) - 1), 990)
    tables[model.SIZE] = _sizes(u, 1.6)
    tables[model.TAKE] = _sizes(u, 1.15)
    tables[model.BURST_GAP] = np.maximum(burst, 1)
    tables[model.CALM_GAP] = -np.log1p(-u) * model.CALM_UNIT
    tables[model.LATENCY] = np.minimum(18_000 + 9_000 * (1 - u) ** -0.4, 400_000)
    tables[model.ID_GAP] = np.minimum((1 - u) ** -0.9, 3_000)
    tables[model.SEQUENCE_GAP] = np.minimum((1 - u) ** -1.2, 1_000)
    tables[model.AGE] = np.maximum(1, ring**u)
    calm_ns = (gap - (1 - model.CALM_SHARE) * 1.5 * burst.mean()) / model.CALM_SHARE
    return tables, calm_ns


def _sizes(u: np.ndarray, exponent: float) -> np.ndarray:
    """Lots: half of them 1, a power tail, the larger ones mostly rounded to 5, 10, 50 or 100."""
    lots = np.minimum((1 - u) ** (-1 / exponent), 900).astype(np.int64)
    step = np.select([lots < 4, lots < 12, lots < 40, lots < 150], [1, 5, 10, 50], 100)
    keep = np.arange(len(u)) % 5 == 0
    return np.where(keep, lots, np.maximum((lots + step // 2) // step * step, 1))


# --- writing -----------------------------------------------------------------------------------------


def _batches(market: _Market, batch: int) -> Iterator[np.ndarray]:
    rows = max(batch, 4096)
    while market.n_left > 0:
        block = np.empty(min(rows, market.n_left), RECORD)
        n = market.fill(block)
        for first in range(0, n, batch):
            yield block[first : min(first + batch, n)]


def _write(file: Any, header: bytes, blocks: Iterator[np.ndarray], zstd: bool) -> None:
    if zstd:
        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as sink:
            return _write(sink, header, blocks, False)
    file.write(header)
    for block in blocks:
        file.write(block.view(np.uint8))


def _metadata(market: _Market, symbol: str, dataset: str) -> bytes:
    """DBN header: one symbol, mapped to the instrument id on every UTC day that the records touch."""
    day = dt.datetime.fromtimestamp(market.start // PRICE_SCALE, dt.UTC).date()
    # The records do not exist yet; a factor of two covers the variation in the length of a short day
    last = dt.datetime.fromtimestamp((market.start + 2 * market.duration) // PRICE_SCALE + 60, dt.UTC).date()
    end = last + dt.timedelta(days=1)
    interval = SimpleNamespace(start_date=day, end_date=end, symbol=str(market.instrument_id))
    return dbn.Metadata(
        dataset=dataset,
        start=market.start,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.MBO,
        symbols=[symbol],
        partial=[],
        not_found=[],
        mappings=[SimpleNamespace(raw_symbol=symbol, intervals=[interval])],
        end=_ns_of(f"{end}T00:00Z"),
        version=3,
    ).encode()
