"""The assumptions of a backtest: latency, fees, risk limits and the instrument.

Plain data, validated here and converted to the integers that kernels use (`delays`, `limits`) or to currency (`Fees`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nbtrade.engine.instrument_state import Delays
from nbtrade.engine.kernels.latency import N_QUANTILES
from nbtrade.engine.kernels.records import MEASURED, RANDOM
from nbtrade.times import all_to_ns, ns_of

Quantiles = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Latency:
    """Constant delays. `Latency.random` and `Latency.measured` make delays that vary.

    Parameters
    ----------
    entry : int or str
        From the strategy to the exchange: ns, or text such as "500us".
    response : int or str
        From the exchange back to the strategy.
    feed : int or str
        From the vendor's capture (`ts_recv`) to the strategy.
    varying : internal
        Set by `random` and `measured`; entry and response are then the means.

    Raises
    ------
    ValueError
        From `backtest` and `sweep`, if a delay is negative or not a time span.

    Notes
    -----
    Messages of one account never overtake each other, in either direction. At equal times, market data come before reports.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.Latency(entry="500us", response="1ms")
    Latency(entry='500us', response='1ms', feed=0)
    """

    entry: int | str = 0
    response: int | str = 0
    feed: int | str = 0
    varying: Delays | None = field(default=None, repr=False, compare=False)

    @classmethod
    def random(cls, entry: Any, response: Any, *, seed: int = 0, feed: int | str = 0) -> "Latency":
        """Random delays with a given distribution.

        Parameters
        ----------
        entry, response : array_like or callable
            Samples in ns, any number of them, whose distribution is used; or a quantile function ``(u: f8[n]) -> ns`` such as scipy's
            `ppf`.
        seed : int
            Equal seeds give equal delays.
        feed : int or str
            Constant delay from the vendor's capture to the strategy.

        Returns
        -------
        Latency
            `entry` and `response` are the means, ns.

        Raises
        ------
        ValueError
            If a sample is negative, or there are none.

        Notes
        -----
        A delay is a function of the seed and the time of sending, so messages sent at the same moment take equally long, and an account's
        result does not depend on the other accounts of a run. Values come from a table of 4,096 quantiles, so tails beyond 1 in 8,192 are
        cut off.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.Latency.random([400_000, 600_000, 2_000_000], [500_000], seed=1).response
        500000
        """
        tables = [_quantiles(entry, "entry"), _quantiles(response, "response")]
        entry_mean, response_mean = (int(t.mean()) for t in tables)
        return cls(entry_mean, response_mean, feed, Delays(_delay(feed, "feed"), 0, 0, RANDOM, seed, None, *tables))

    @classmethod
    def measured(cls, times: Any, entry: Any, response: Any, *, feed: int | str = 0) -> "Latency":
        """Delays measured at given times: linear between them, constant outside.

        Parameters
        ----------
        times : array_like
            Ascending times (UTC), or ns since the epoch.
        entry, response : array_like of int
            The delay at each time, ns.
        feed : int or str
            Constant delay from the vendor's capture to the strategy.

        Returns
        -------
        Latency
            `entry` and `response` are the means of the values, ns.

        Raises
        ------
        ValueError
            If times do not ascend, the arrays differ in length, or a delay is negative.

        Examples
        --------
        >>> import nbtrade
        >>> times = ["2025-01-06 14:30", "2025-01-06 15:00"]
        >>> nbtrade.Latency.measured(times, [1_000_000, 3_000_000], [500_000, 500_000])
        Latency(entry=2000000, response=500000, feed=0)
        """
        at = all_to_ns(times)
        values = [np.ascontiguousarray(v, np.int64) for v in (entry, response)]
        if len(at) == 0 or {v.shape for v in values} != {at.shape} or np.any(np.diff(at) <= 0):
            raise ValueError(f"latency samples need ascending times and one entry and one response value for each: got {len(at)} times")
        for name, v in zip(("entry", "response"), values, strict=True):
            _not_negative(v, name)
        entry_mean, response_mean = (int(v.mean()) for v in values)
        delays = Delays(_delay(feed, "feed"), 0, 0, MEASURED, 0, np.ascontiguousarray(at), *values)
        return cls(entry_mean, response_mean, feed, delays)

    def delays(self) -> Delays:
        """The delays in ns, for the kernels. Raises ValueError for a negative latency."""
        if self.varying is not None:
            return self.varying
        return Delays(_delay(self.feed, "feed"), _delay(self.entry, "entry"), _delay(self.response, "response"))


def _delay(value: int | str, name: str) -> int:
    ns = ns_of(value)
    if ns < 0:
        raise ValueError(f"latency {name}={value!r}: delays cannot be negative")
    return ns


def _not_negative(values: np.ndarray, name: str) -> None:
    if len(values) == 0 or values.min() < 0:
        raise ValueError(f"latency {name}: needs at least one value, and none can be negative")


def _quantiles(source: Any, name: str) -> np.ndarray:
    """The median of each of N_QUANTILES equally likely parts of the distribution: i8[N_QUANTILES]."""
    u = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    if callable(source):
        values = np.asarray(source(u), np.float64)
    else:
        values = np.quantile(np.asarray(source, np.float64), u) if np.size(source) else np.empty(0)
    table = np.ascontiguousarray(np.rint(values), np.int64)
    _not_negative(table, name)
    return table


@dataclass(frozen=True)
class Fees:
    """Fees in currency. Negative fees are rebates.

    Parameters
    ----------
    maker, taker : float
        Per lot.
    maker_rate, taker_rate : float
        Fraction of the traded value.
    sell, sell_rate : float
        Per lot and fraction of the value of sales, added to the others (such as the SEC's and FINRA's fees).
    schedule : callable, optional
        ``(fills: DataFrame) -> array_like``, the fee of each fill in currency; replaces all other fees. Use it for tiers. `fills` is
        ordered by time, with the columns order_id, side, price, px, size, maker, row, and `traded`: lots traded so far, this fill
        included.

    Notes
    -----
    A strategy does not see fees: `account.cash` inside a run is before fees.

    Examples
    --------
    A rebate for makers, and a tier for takers:

    >>> import nbtrade
    >>> import numpy as np
    >>> fees = nbtrade.Fees(maker=-0.2, taker=0.3)
    >>> round(fees.of(maker_qty=10, taker_qty=2, maker_value=0.0, taker_value=0.0), 2)
    -1.4
    >>> tiers = nbtrade.Fees(schedule=lambda fills: fills["size"] * np.where(fills["traded"] > 1_000, 0.1, 0.3))
    """

    maker: float = 0.0
    taker: float = 0.0
    maker_rate: float = 0.0
    taker_rate: float = 0.0
    sell: float = 0.0
    sell_rate: float = 0.0
    schedule: Callable[[Any], Any] | None = None

    def of(self, maker_qty: Any, taker_qty: Any, maker_value: Any, taker_value: Any, sell_qty: Any = 0, sell_value: Any = 0) -> Any:
        """Fees of lots and values, without the schedule.

        Parameters
        ----------
        maker_qty, taker_qty, sell_qty : int or array
            Lots traded as maker, as taker, and sold.
        maker_value, taker_value, sell_value : float or array
            Their values, currency.

        Returns
        -------
        float or array
            Currency.
        """
        rates = self.maker, self.taker, self.sell, self.maker_rate, self.taker_rate, self.sell_rate
        charged = maker_qty, taker_qty, sell_qty, maker_value, taker_value, sell_value
        return sum((rate * amount for rate, amount in zip(rates, charged, strict=True) if rate), 0.0 * maker_qty)


@dataclass(frozen=True)
class Risk:
    """Limits that are checked before an order is sent, from the account's own view. 0 means no limit.

    Parameters
    ----------
    max_order : int
        Lots of one order.
    max_position : int
        Lots held if all open orders of that side were filled.
    max_open : int
        Open orders.
    max_loss : float
        Loss in currency, marked to mid. Beyond it, only orders that reduce the position are sent.
    max_rate : (int, int or str)
        Orders and replaces per time span, such as ``(100, "1s")``. Cancels are always allowed.

    Raises
    ------
    ValueError
        If `max_rate` is not a pair. `backtest` and `sweep` also raise it for a negative limit.

    Notes
    -----
    A refused order is not sent. `account.reject_reason` has the cause, and `Result.refusals` counts each cause.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.Risk(max_position=5, max_rate=(50, "1s"))
    Risk(max_order=0, max_position=5, max_open=0, max_loss=0.0, max_rate=(50, '1s'))
    """

    max_order: int = 0
    max_position: int = 0
    max_open: int = 0
    max_loss: float = 0.0
    max_rate: tuple[int, int | str] = (0, 1)

    def __post_init__(self) -> None:
        if not isinstance(self.max_rate, (tuple, list)) or len(self.max_rate) != 2:
            raise ValueError(f'max_rate={self.max_rate!r}: give (orders, time span), such as (100, "1s")')

    def limits(self, tick_value: float) -> dict[str, int]:
        """ACCOUNT fields. tick_value : currency of one tick of one lot"""
        rate, interval = self.max_rate[0], ns_of(self.max_rate[1])
        values = {
            "max_order": self.max_order,
            "max_position": self.max_position,
            "max_open": self.max_open,
            "max_loss": round(self.max_loss / tick_value),
            "max_rate": rate,
            "rate_interval": interval,
        }
        if min(values.values()) < 0 or interval <= 0:
            raise ValueError(f"{self}: limits cannot be negative, and the time span of max_rate must be positive")
        return values


@dataclass(frozen=True)
class Instrument:
    """The contract's terms.

    Parameters
    ----------
    multiplier : float
        Currency per price unit and lot, such as 50 for ES.
    lot : int
        Order sizes must be multiples of it.
    currency : str
        Its name, for reports. Money in different currencies is never added.

    Raises
    ------
    ValueError
        If `multiplier` or `lot` is not positive.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.Instrument(multiplier=50, currency="USD")
    Instrument(multiplier=50, lot=1, currency='USD')
    """

    multiplier: float = 1.0
    lot: int = 1
    currency: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.multiplier < float("inf"):
            raise ValueError(f"{self}: the multiplier must be positive: currency per price unit and lot, such as 50 for ES")
        if self.lot < 1:
            raise ValueError(f"{self}: the lot must be at least 1")
