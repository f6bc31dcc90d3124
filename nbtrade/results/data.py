"""The data of a result: plain arrays and records, from which all frames and metrics are computed.

    fill_rows FILL[n]     fill_fees f8[n]          order_rows ORDER[m]        record_rows (ts, fields)[r]
    sample_rows SAMPLE[s] sample_fees f8[s]        account TOTALS             market LAST_MARKET      final_state      info RunInfo

Ticks, lots and ns are integers here; frames and metrics convert tick-lots to currency (`tick_lot`). Fees are amounts, not rates, because a
fee schedule is a function, which cannot be stored in a file or sent to another process. Results come from the engine
(engine/outcome.py), `Result.from_frames` and `nbtrade.load_result`.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nbtrade._numba.jit import as_record_array
from nbtrade.prices import TickSize
from nbtrade.results.frames import fills_frame, orders_frame, records_frame, time_index
from nbtrade.results.kernels.positions import mark_to_mid, realise
from nbtrade.results.run_info import RunInfo, Session
from nbtrade.schema import FILL, LAST_MARKET, NO_RECORDS, ORDER, PRICE_SCALE, SAMPLE, TOTALS, UNDEF_PRICE

if TYPE_CHECKING:
    import pandas as pd

Later = np.ndarray | Callable[[], np.ndarray]  # an array, or a function that makes it when it is first needed
NO_STATE: np.dtype = np.dtype([])
SERIES = ("fill_rows", "fill_fees", "order_rows", "sample_rows", "sample_fees", "record_rows")  # arrays
SINGLE = ("account", "market", "final_state")  # one record each
INSIDE = {"account", "instrument"}  # fields that number accounts and instruments within a run
ONE_SIDED = np.zeros((), LAST_MARKET)
ONE_SIDED["bid_px"] = ONE_SIDED["ask_px"] = ONE_SIDED["last_px"] = UNDEF_PRICE
ONE_SIDED["last_side"] = -1


class ResultData:
    """The outcome of one account on one instrument, as data.

    Parameters
    ----------
    fill_rows : FILL[n]
        By time.
    fill_fees : f8[n], or function that returns it
        Fee of each fill, currency.
    order_rows : ORDER[m], or function that returns it
        By id.
    sample_rows : SAMPLE[s]
        By time.
    sample_fees : f8[s]
        Fees paid up to each sample, currency.
    record_rows : (ts i8, name f8, ...)[r], optional
        Recorded fields, by time.
    account : TOTALS, optional
        Totals of the account.
    market : LAST_MARKET, optional
        The last market, which marks the open position.
    final_state : record, optional
        The strategy's state after its last call.
    info : RunInfo, optional
        Instrument, strategy, configuration, sessions, versions.

    Notes
    -----
    Two results are equal (`==`) if all of their numbers are, bit for bit: fills with their fees, orders, samples, records, totals, the
    last market, the final state, the counts of wakes and rows; and if symbol, tick, multiplier and currency are equal. The origin of the
    numbers does not count: strategy, parameters, configuration, sessions, versions. `hash` covers fills, orders, samples and records but
    not fees, so two runs that differ only in fees have equal hashes and are unequal.

    All arrays are read-only. Orders and fees can be passed as functions, which are called once, on first use. A summary needs neither.

    Examples
    --------
    >>> import nbtrade
    >>> fills = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 2]}
    >>> data = nbtrade.Result.from_frames(fills=fills, symbol="ES", tick=0.25, multiplier=50)
    >>> isinstance(data, nbtrade.ResultData), data.fill_rows["qty"].tolist()
    (True, [2, 2])
    """

    summary_cache: Any = None  # the last result of metrics.summary

    def __init__(
        self,
        *,
        fill_rows: np.ndarray,
        fill_fees: Later,
        order_rows: Later,
        sample_rows: np.ndarray,
        sample_fees: np.ndarray,
        record_rows: np.ndarray | None = None,
        account: np.ndarray | np.void | None = None,
        market: np.ndarray | np.void | None = None,
        final_state: np.ndarray | np.void | None = None,
        info: RunInfo | None = None,
    ) -> None:
        self.fill_rows = _array(fill_rows, FILL)
        self._given: dict[str, Later] = {"fill_fees": fill_fees, "order_rows": order_rows}
        self.sample_rows = _array(sample_rows, SAMPLE)
        self.sample_fees = _array(sample_fees, np.dtype("f8"))
        self.record_rows = _array(np.zeros(0, NO_RECORDS) if record_rows is None else record_rows, None)
        self.account: np.void = _record(np.zeros((), TOTALS) if account is None else account)
        self.market: np.void = _record(ONE_SIDED if market is None else market)
        self.final_state: np.void = _record(np.zeros((), NO_STATE) if final_state is None else final_state)
        self.info = RunInfo() if info is None else info
        if len(self.sample_rows) != len(self.sample_fees):
            raise ValueError(f"{len(self.sample_rows):,} samples and {len(self.sample_fees):,} fees: pass one fee per sample")
        for name, given in list(self._given.items()):
            if isinstance(given, np.ndarray):
                getattr(self, name)

    @cached_property
    def fill_fees(self) -> np.ndarray:
        """Fee of each fill: f8[n], currency."""
        fees = _array(self._made("fill_fees"), np.dtype("f8"))
        if len(fees) != len(self.fill_rows):
            raise ValueError(f"{len(self.fill_rows):,} fills and {len(fees):,} fees: pass one fee per fill")
        return fees

    @cached_property
    def order_rows(self) -> np.ndarray:
        """ORDER[m] by id."""
        return _array(self._made("order_rows"), ORDER)

    def _made(self, name: str) -> np.ndarray:
        """The array passed in; a function is called once and then released."""
        given = self._given[name]
        self._given[name] = made = given if isinstance(given, np.ndarray) else given()
        return made

    # --- origin ------------------------------------------------------------------------------------
    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.info.symbol

    @property
    def tick(self) -> float:
        """Price of one tick, currency."""
        return self.info.tick_units / PRICE_SCALE

    @property
    def multiplier(self) -> float:
        """Currency per price unit and lot."""
        return self.info.multiplier

    @property
    def currency(self) -> str:
        """Name of the currency; empty if it was not given."""
        return self.info.currency

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.info.strategy

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The strategy's parameters."""
        return self.info.parameters

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Latency, fees, risk, instrument, fill rule, order slots, sample and at_close of the run."""
        return self.info.configuration

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Path, content hash, rows and span of each tape of the run."""
        return self.info.sessions

    @property
    def n_wakes(self) -> int:
        """Number of calls of the strategy."""
        return self.info.n_wakes

    @property
    def n_rows(self) -> int:
        """Number of rows that the exchange's clock passed."""
        return self.info.n_rows

    # --- frames ------------------------------------------------------------------------------------
    @cached_property
    def fills(self) -> "pd.DataFrame":
        """One row per fill, indexed by exchange time `ts` (UTC).

        Returns
        -------
        pandas.DataFrame
            order_id, side ("B" bought, "A" sold), price (currency), px (ticks), size (lots), maker (bool), fee (currency, negative for a
            rebate), row (tape row that caused it), average_price (of the position after it, currency), realised (profit of closed parts so
            far, currency, before fees).

        Examples
        --------
        >>> sorted(set(result.fills["side"]))
        ['A', 'B']
        """
        frame = fills_frame(self.fill_rows, self.tick_size)
        frame.insert(6, "fee", self.fill_fees)
        realised, average = self.positions
        return frame.assign(average_price=average * self.tick, realised=realised * self.tick_lot)

    @cached_property
    def orders(self) -> "pd.DataFrame":
        """One row per order, indexed by `order_id`.

        Returns
        -------
        pandas.DataFrame
            sent, arrived, done (UTC, NaT if it did not happen), side, type, price (currency, NaN for a market order), px (ticks), size,
            filled (lots), state, reason, ahead (lots ahead of it when it joined its queue).

        Examples
        --------
        >>> len(result.orders) == result.summary["n_orders"]
        True
        """
        return orders_frame(self.order_rows, self.tick_size)

    @cached_property
    def equity(self) -> "pd.DataFrame":
        """The account over time, marked to mid, indexed by `ts` (UTC).

        Returns
        -------
        pandas.DataFrame
            mid (currency), position (lots), gross, fees, net, realised (currency). gross and net are NaN while a position is open and the
            market is one-sided.

        Examples
        --------
        >>> result.equity.columns.tolist()
        ['mid', 'position', 'gross', 'fees', 'net', 'realised']
        """
        import pandas as pd

        rows, (mid, gross) = self.sample_rows, self.marked
        realised = up_to(self.fill_rows["ts"], self.positions[0], rows["ts"]) * self.tick_lot
        return pd.DataFrame(
            {
                "mid": mid * self.tick,
                "position": rows["position"],
                "gross": gross,
                "fees": self.sample_fees,
                "net": gross - self.sample_fees,
                "realised": realised,
            },
            index=time_index(rows["ts"]),
        )

    @cached_property
    def records(self) -> "pd.DataFrame":
        """Recorded fields of the strategy, f8 each, indexed by `ts` (UTC); NaN where a field was not set."""
        return records_frame(self.record_rows)

    # --- derived arrays ------------------------------------------------------------------------------
    @property
    def tick_size(self) -> TickSize:
        """The tick, for exact prices."""
        return TickSize.of_units(self.info.tick_units, self.symbol)

    @property
    def tick_lot(self) -> float:
        """Currency of one tick of one lot."""
        return self.tick * self.info.multiplier

    @cached_property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """(realised, average price) after each fill: f8[n] tick-lots and f8[n] ticks."""
        out = np.zeros(len(self.fill_rows)), np.zeros(len(self.fill_rows))
        realise(as_record_array(self.fill_rows), *out)
        return out

    @cached_property
    def marked(self) -> tuple[np.ndarray, np.ndarray]:
        """(mid, gross) at each sample: f8[s] ticks and f8[s] currency; NaN where the market is one-sided."""
        mid, worth = np.empty(len(self.sample_rows)), np.empty(len(self.sample_rows))
        mark_to_mid(as_record_array(self.sample_rows), mid, worth)
        worth *= self.tick_lot
        return mid, worth

    @cached_property
    def net_path(self) -> tuple[np.ndarray, np.ndarray]:
        """(ts, net) at the samples whose net is known: i8[k] ns and f8[k] currency."""
        gross = self.marked[1]
        net, ts, known = gross - self.sample_fees, self.sample_rows["ts"], ~np.isnan(gross)
        return (ts, net) if known.all() else (ts[known], net[known])

    # --- identity ----------------------------------------------------------------------------------
    @property
    def hash(self) -> str:
        """xxh3-128 of fills, orders, samples and records: equal for equal runs, on any machine. Fees are not included."""
        h = xxhash.xxh3_128()
        for array in (self.fill_rows, self.order_rows, self.sample_rows, self.record_rows):
            h.update(f"{len(array)};".encode())
            for name in array.dtype.names or ():
                if name not in INSIDE:
                    h.update(f"{name};".encode())
                    h.update(np.ascontiguousarray(array[name]))
        return h.hexdigest()

    def __eq__(self, other: object) -> bool:
        """True if all numbers are equal, bit for bit; see the notes of the class."""
        if not isinstance(other, ResultData):
            return NotImplemented
        a, b = self.info, other.info
        return (
            all(getattr(a, name) == getattr(b, name) for name in ("symbol", "tick_units", "multiplier", "currency", "n_wakes", "n_rows"))
            and all(_same(getattr(self, name), getattr(other, name)) for name in SINGLE)
            and all(_same(getattr(self, name), getattr(other, name)) for name in SERIES)
        )

    def __hash__(self) -> int:
        return int(self.hash, 16)

    def __getstate__(self) -> dict[str, Any]:
        """The data only; frames and other derived values are recomputed."""
        return {name: getattr(self, name) for name in (*SERIES, *SINGLE, "info")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # arrays become read-only again


def up_to(ts: np.ndarray, totals: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The running total `totals` f8[n] at times `ts` i8[n], as of times `at` i8[m]: f8[m]."""
    return np.append(0.0, totals)[np.searchsorted(ts, at, side="right")]


def _array(rows: np.ndarray, dtype: np.dtype | None) -> np.ndarray:
    """A read-only view. Raises ValueError for another dtype."""
    if rows.ndim != 1 or (dtype is not None and rows.dtype != dtype):
        raise ValueError(f"an array of shape {rows.shape} and dtype {rows.dtype}: expected one dimension of {dtype}")
    view = rows.view(np.ndarray)
    view.flags.writeable = False
    return view


def _record(one: Any) -> Any:
    """A read-only copy of one record."""
    copy = np.array(one)
    copy.flags.writeable = False
    return copy[()]


def _same(a: np.ndarray | np.void, b: np.ndarray | np.void) -> bool:
    """True for equal dtypes and bytes: NaN equals NaN, and 0.0 differs from -0.0."""
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
