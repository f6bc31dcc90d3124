"""Rows of a result from user-provided frames: another backtester's fills, a broker's report, a live account.

    fills, orders, equity, records (frames or dicts of columns)  ──>  FILL, ORDER, SAMPLE, records, TOTALS

The frames of a Result are accepted unchanged. Everything that can be computed from fills is; columns that contradict each other are
refused, naming the column and the first row.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.errors import OffTick, ResultError
from nbtrade.prices import TickSize
from nbtrade.results.data import ONE_SIDED
from nbtrade.results.run_info import RunInfo
from nbtrade.schema import (
    ASK,
    BID,
    FILL,
    IOC,
    MARKET,
    NONE,
    ORDER,
    ORDER_TYPES,
    REASONS,
    SAMPLE,
    STATES,
    TIMES_IN_FORCE,
    TOTALS,
    UNDEF_PRICE,
)
from nbtrade.times import all_to_ns

if TYPE_CHECKING:
    import pandas as pd

SIDE_CODES = {"B": BID, "A": ASK, "BUY": BID, "SELL": ASK, "BID": BID, "ASK": ASK, "S": ASK, str(BID): BID, str(ASK): ASK}
MAX_I4 = 2**31 - 1
Frame = Any  # a DataFrame, or a mapping of columns


def instrument(tick: Any, symbol: str, multiplier: float, currency: str) -> tuple[TickSize, RunInfo]:
    """The tick and a checked RunInfo. Raises ResultError."""
    try:
        size = TickSize(tick, symbol)
        units = size.units
    except (TypeError, ValueError) as error:
        raise ResultError(f"tick={tick!r}: {error}") from None
    if isinstance(multiplier, bool) or not isinstance(multiplier, int | float) or not 0 < multiplier < float("inf"):
        raise ResultError(f"multiplier={multiplier!r}: give currency per price unit and lot, such as 50 for ES")
    for name, text in (("symbol", symbol), ("currency", currency)):
        if not isinstance(text, str):
            raise ResultError(f"{name}={text!r}: give text")
    return size, RunInfo(symbol=symbol, tick_units=units, multiplier=float(multiplier), currency=currency)


def frame_of(given: Frame, name: str, index: str) -> "pd.DataFrame":
    """A DataFrame with its index as a column. Raises ResultError unless given a frame or a dict of columns."""
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        named = given.index.name == index or (index == "ts" and isinstance(given.index, pd.DatetimeIndex))
        return given.rename_axis(index).reset_index() if named and index not in given.columns else given
    if not isinstance(given, Mapping):
        raise ResultError(f"{name} is {type(given).__name__}: give a DataFrame or a dict of columns")
    try:
        return pd.DataFrame(dict(given))
    except ValueError as error:
        raise ResultError(f"{name}: {error}") from None


def is_text(values: "pd.Series") -> bool:
    """True for a column of text. It is read as ISO 8601: guessed formats would depend on the machine."""
    return any(isinstance(value, str) for value in values)


class _Columns:
    """The columns of one frame, checked as they are taken."""

    def __init__(self, frame: "pd.DataFrame", name: str) -> None:
        self.frame, self.name = frame, name

    def __contains__(self, column: str) -> bool:
        return column in self.frame.columns

    def __len__(self) -> int:
        return len(self.frame)

    def need(self, *columns: str) -> None:
        """Raise ResultError when a column is missing."""
        missing = [column for column in columns if column not in self]
        if missing:
            have = ", ".join(map(str, self.frame.columns))
            raise ResultError(f"{self.name} has no column {', '.join(missing)}. It has {have or 'no columns'}.")

    def times(self, column: str, missing: int | None = None) -> np.ndarray:
        """ns: i8[n]. missing : for NaT; None: not allowed"""
        import pandas as pd

        self.need(column)
        values = self.frame[column]
        try:
            if values.dtype.kind in "iu":
                return values.to_numpy(np.int64)
            stamps = pd.DatetimeIndex(pd.to_datetime(values, utc=True, format="ISO8601" if is_text(values) else None)).as_unit("ns")
        except (ValueError, TypeError) as error:
            raise ResultError(f"{self.name}: column {column}: {error}. Give times (UTC if they have no time zone) or ns.") from None
        out = all_to_ns(stamps.tz_localize(None).to_numpy())
        empty = np.asarray(stamps.isna())
        if empty.any() and missing is None:
            raise self.wrong(column, int(np.argmax(empty)), "a time")
        return np.where(empty, missing or 0, out)

    def integers(self, column: str, default: Any = None, low: int = -(2**62), high: int = 2**62) -> np.ndarray:
        """i8[n] between low and high. default : for a missing column"""
        if column not in self and default is not None:
            return np.broadcast_to(np.asarray(default, np.int64), len(self)).copy()
        values = self.numbers(column)
        whole = np.isfinite(values) & (values == np.rint(values)) & (values >= low) & (values <= high)
        if not whole.all():
            raise self.wrong(column, int(np.argmin(whole)), f"a whole number from {low:,} to {high:,}")
        raw = self.frame[column].to_numpy()
        return raw.astype(np.int64) if raw.dtype.kind in "iub" else values.astype(np.int64)

    def numbers(self, column: str) -> np.ndarray:
        """f8[n], NaN for missing values."""
        self.need(column)
        try:
            return self.frame[column].to_numpy(np.float64, na_value=np.nan)
        except (ValueError, TypeError) as error:
            raise ResultError(f"{self.name}: column {column} is not numeric: {error}") from None

    def codes(self, column: str, known: Mapping[str, int] | Sequence[str], default: int | None = None) -> np.ndarray:
        """Codes i8[n] of text. default : for a missing column"""
        if column not in self and default is not None:
            return np.full(len(self), default)
        self.need(column)
        table = known if isinstance(known, Mapping) else {text: code for code, text in enumerate(known)}
        texts = [getattr(value, "name", value) for value in self.frame[column].tolist()]
        keys = [str(text).upper() if table is SIDE_CODES else str(text) for text in texts]
        odd = [i for i, key in enumerate(keys) if key not in table]
        if odd:
            raise self.wrong(column, odd[0], f"one of {', '.join(filter(None, table))}")
        return np.array([table[key] for key in keys], np.int64)

    def ticks(self, tick: TickSize, missing: int | None = None) -> np.ndarray:
        """Prices in ticks: of column px, else of column price. missing : for NaN; None: not allowed"""
        if "px" in self:
            return self.integers("px", low=-MAX_I4, high=MAX_I4)
        prices = self.numbers("price")
        empty = np.isnan(prices)
        if empty.any() and missing is None:
            raise self.wrong("price", int(np.argmax(empty)), "a price")
        try:
            px = tick.ticks(np.where(empty, 0.0, prices))
        except OffTick as error:
            raise ResultError(f"{self.name}: {error}") from None
        if np.abs(px).max(initial=0) > MAX_I4:
            raise self.wrong("price", int(np.argmax(np.abs(px))), f"a price of at most {MAX_I4:,} ticks")
        return np.where(empty, missing or 0, px)

    def wrong(self, column: str, i: int, expected: str) -> ResultError:
        """The error for row i."""
        return ResultError(f"{self.name}: column {column}, row {i:,} is {self.frame[column].iloc[i]!r}: expected {expected}")


def fills_of(given: Frame, tick: TickSize) -> tuple[np.ndarray, np.ndarray]:
    """(FILL[n] by time, fees f8[n])."""
    columns = _Columns(frame_of(given, "fills", "ts"), "fills")
    columns.need("ts", "side", "size")
    rows = np.zeros(len(columns), FILL)
    rows["ts"], rows["side"] = columns.times("ts"), columns.codes("side", SIDE_CODES)
    rows["px"], rows["qty"] = columns.ticks(tick), columns.integers("size", low=1, high=MAX_I4)
    rows["order_id"] = columns.integers("order_id", np.arange(len(columns)))
    rows["row"], rows["maker"] = columns.integers("row", NONE), columns.integers("maker", 0, low=0, high=1)
    fees = columns.numbers("fee") if "fee" in columns else np.zeros(len(columns))
    if not np.isfinite(fees).all():
        raise columns.wrong("fee", int(np.argmin(np.isfinite(fees))), "a fee in currency")
    by_time = np.argsort(rows["ts"], kind="stable")
    return rows[by_time], fees[by_time]


def orders_of(given: Frame | None, tick: TickSize) -> np.ndarray:
    """ORDER[n] by id."""
    if given is None:
        return np.zeros(0, ORDER)
    columns = _Columns(frame_of(given, "orders", "order_id"), "orders")
    columns.need("side", "size")
    rows = np.zeros(len(columns), ORDER)
    rows["id"] = columns.integers("order_id", np.arange(len(columns)))
    for name in ("sent", "arrived", "done"):
        rows[name] = columns.times(name, missing=0) if name in columns else 0
    rows["px"] = columns.ticks(tick, missing=0)
    rows["qty"] = columns.integers("size", low=1, high=MAX_I4)
    filled = columns.integers("filled", 0, low=0, high=MAX_I4)
    if (filled > rows["qty"]).any():
        raise columns.wrong("filled", int(np.argmax(filled > rows["qty"])), "at most the order's size")
    rows["leaves"] = rows["qty"] - filled
    rows["side"], rows["type"] = columns.codes("side", SIDE_CODES), columns.codes("type", ORDER_TYPES, 0)
    rows["tif"] = columns.codes("time_in_force", TIMES_IN_FORCE, 0)
    rows["tif"][(rows["type"] == MARKET) & (rows["tif"] < IOC)] = IOC
    rows["post_only"] = columns.integers("post_only", 0, low=0, high=1)
    rows["state"] = columns.codes("state", STATES) if "state" in columns else np.where(filled == rows["qty"], 3, 2)
    rows["reason"] = columns.codes("reason", REASONS, 0)
    rows["ahead"] = rows["ahead_last"] = columns.integers("ahead", 0)
    rows["joined"] = NONE
    rows = rows[np.argsort(rows["id"], kind="stable")]
    twice = np.flatnonzero(np.diff(rows["id"]) == 0)
    if len(twice):
        raise ResultError(f"orders: order_id {rows['id'][twice[0]]} occurs twice")
    return rows


def samples_of(given: Frame | None, fills: np.ndarray, fees: np.ndarray, tick: TickSize, tick_lot: float) -> tuple[np.ndarray, np.ndarray]:
    """(SAMPLE[n] by time, fees f8[n]) of an equity frame: mid, and position, gross and fees if present, else from the fills."""
    if given is None:
        return np.zeros(0, SAMPLE), np.zeros(0)
    columns = _Columns(frame_of(given, "equity", "ts"), "equity")
    columns.need("ts", "mid")
    rows = np.zeros(len(columns), SAMPLE)
    rows["ts"] = columns.times("ts")
    rows["bid_px"], rows["ask_px"] = _around(columns, tick)
    at = np.searchsorted(fills["ts"], rows["ts"], side="right")
    for name, totals in _running(fills).items():
        rows[name] = np.append(0, totals)[at]
    sample_fees = np.append(0.0, np.cumsum(fees))[at]
    if "position" in columns:
        rows["position"] = columns.integers("position")
    if "gross" in columns:
        known = rows["bid_px"] != UNDEF_PRICE
        mid = np.where(known, (rows["bid_px"] + rows["ask_px"]) / 2, 0.0)
        cash = columns.numbers("gross") / tick_lot - np.where(rows["position"] == 0, 0.0, rows["position"] * mid)
        cash = np.where(np.isfinite(cash) & (known | (rows["position"] == 0)), cash, rows["cash"])
        rows["cash"] = np.rint(cash)
    if "fees" in columns:
        sample_fees = columns.numbers("fees")
        if not np.isfinite(sample_fees).all():
            raise columns.wrong("fees", int(np.argmin(np.isfinite(sample_fees))), "fees in currency")
    by_time = np.argsort(rows["ts"], kind="stable")
    return rows[by_time], sample_fees[by_time]


def _around(columns: _Columns, tick: TickSize) -> tuple[np.ndarray, np.ndarray]:
    """(bid, ask) in ticks whose middle is the mid; UNDEF_PRICE where it is NaN."""
    mid = columns.numbers("mid")
    empty = np.isnan(mid)
    try:
        halves = TickSize(tick.exact / 2).ticks(np.where(empty, 0.0, mid))
    except OffTick as error:
        raise ResultError(f"equity: column mid: {error} (half a tick)") from None
    return np.where(empty, UNDEF_PRICE, halves // 2), np.where(empty, UNDEF_PRICE, halves - halves // 2)


def _running(fills: np.ndarray) -> dict[str, np.ndarray]:
    """SAMPLE fields after each fill."""
    qty, maker, sold = fills["qty"].astype(np.int64), fills["maker"] != 0, fills["side"] == ASK
    value, signed = fills["px"] * qty, np.where(sold, -qty, qty)
    parts = {
        "position": signed,
        "cash": -signed * fills["px"],
        "maker_qty": qty * maker,
        "taker_qty": qty * ~maker,
        "maker_value": np.abs(value) * maker,
        "taker_value": np.abs(value) * ~maker,
        "sell_qty": qty * sold,
        "sell_value": np.abs(value) * sold,
    }
    return {name: np.cumsum(part) for name, part in parts.items()}


def records_of(given: Frame | None) -> np.ndarray:
    """(ts, fields)[n] by time."""
    if given is None:
        return np.zeros(0, [("ts", "i8")])
    columns = _Columns(frame_of(given, "records", "ts"), "records")
    names = [str(name) for name in columns.frame.columns if name != "ts"]
    columns.frame.columns = [str(name) for name in columns.frame.columns]
    rows = np.zeros(len(columns), [("ts", "i8"), *((name, "f8") for name in names)])
    rows["ts"] = columns.times("ts")
    for name in names:
        rows[name] = columns.numbers(name)
    return rows[np.argsort(rows["ts"], kind="stable")]


def totals_of(fills: np.ndarray, fees: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """TOTALS of fills and orders."""
    out = np.zeros((), TOTALS)
    for name, totals in _running(fills).items():
        out[name] = totals[-1] if len(totals) else 0
    out["n_fills"], out["fees"] = len(fills), fees.sum()
    out["n_orders"] = len(orders) or len(np.unique(fills["order_id"]))
    for name in ("cancelled", "rejected"):
        out[f"n_{name}"] = np.count_nonzero(orders["state"] == STATES.index(name))
    return out


def market_of(mid: Any, samples: np.ndarray, tick: TickSize) -> np.ndarray:
    """LAST_MARKET that marks the open position: at `mid`, else at the last sample's mid."""
    market = ONE_SIDED.copy()
    if mid is not None:
        columns = _Columns(frame_of({"mid": [mid]}, "mid", ""), "mid")
        (market["bid_px"],), (market["ask_px"],) = _around(columns, tick)
    elif len(samples):
        market["bid_px"], market["ask_px"] = samples["bid_px"][-1], samples["ask_px"][-1]
        market["ts"] = samples["ts"][-1]
    return market
