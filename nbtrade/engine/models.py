"""The models a backtest assumes: latency, fees, limits on risk, and what the instrument is.

Plain data, checked here, turned into the kernels' integers (`delays`, `limits`) or into currency (`Fees`).
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
    """Constant delays: ns, or text such as "500us". `Latency.random` and `Latency.measured` give delays that vary.

    feed : from the capture server to us      entry : from us to the exchange      response : from the exchange to us
    """

    entry: int | str = 0
    response: int | str = 0
    feed: int | str = 0
    varying: Delays | None = field(default=None, repr=False, compare=False)

    @classmethod
    def random(cls, entry: Any, response: Any, *, seed: int = 0, feed: int | str = 0) -> "Latency":
        """Delays drawn by moment: what leaves at one moment takes equally long; nothing overtakes.

        entry, response : samples (ns, any number) whose distribution is drawn from, or a quantile function such as scipy's `ppf`
        """
        tables = [_quantiles(entry, "entry"), _quantiles(response, "response")]
        entry_mean, response_mean = (int(t.mean()) for t in tables)
        return cls(entry_mean, response_mean, feed, Delays(_delay(feed, "feed"), 0, 0, RANDOM, seed, None, *tables))

    @classmethod
    def measured(cls, times: Any, entry: Any, response: Any, *, feed: int | str = 0) -> "Latency":
        """Delays measured at ascending `times`: linear between them, constant beyond. entry, response : ns at each of them"""
        at = all_to_ns(times)
        values = [np.ascontiguousarray(v, np.int64) for v in (entry, response)]
        if len(at) == 0 or {v.shape for v in values} != {at.shape} or np.any(np.diff(at) <= 0):
            raise ValueError(f"latency samples need ascending times and as many entry and response values: got {len(at)} times")
        for name, v in zip(("entry", "response"), values, strict=True):
            _not_negative(v, name)
        entry_mean, response_mean = (int(v.mean()) for v in values)
        delays = Delays(_delay(feed, "feed"), 0, 0, MEASURED, 0, np.ascontiguousarray(at), *values)
        return cls(entry_mean, response_mean, feed, delays)

    def delays(self) -> Delays:
        """What the kernels take. Raises ValueError for a negative latency."""
        if self.varying is not None:
            return self.varying
        return Delays(_delay(self.feed, "feed"), _delay(self.entry, "entry"), _delay(self.response, "response"))


def _delay(value: int | str, name: str) -> int:
    ns = ns_of(value)
    if ns < 0:
        raise ValueError(f"latency {name}={value!r}: no part may be negative")
    return ns


def _not_negative(values: np.ndarray, name: str) -> None:
    if len(values) == 0 or values.min() < 0:
        raise ValueError(f"latency {name}: needs values, and none may be negative")


def _quantiles(source: Any, name: str) -> np.ndarray:
    """i8[N_QUANTILES]: the middle of each of N_QUANTILES equally likely parts of the distribution."""
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
    """Fees in currency; negative ones are rebates.

    maker, taker : per lot             maker_rate, taker_rate : fraction of the traded value
    sell, sell_rate : on what is sold, on top (as the SEC's and FINRA's fees)
    schedule : instead of all of them, a function (fills) -> currency for each fill, for tiers; fills is a frame by time with the columns
               order_id, side, price, px, size, maker, row, and `traded`, the lots traded up to and with this fill
    """

    maker: float = 0.0
    taker: float = 0.0
    maker_rate: float = 0.0
    taker_rate: float = 0.0
    sell: float = 0.0
    sell_rate: float = 0.0
    schedule: Callable[[Any], Any] | None = None

    def of(self, maker_qty: Any, taker_qty: Any, maker_value: Any, taker_value: Any, sell_qty: Any = 0, sell_value: Any = 0) -> Any:
        """Fees for lots and values (in currency) traded as maker, as taker, and sold."""
        rates = self.maker, self.taker, self.sell, self.maker_rate, self.taker_rate, self.sell_rate
        charged = maker_qty, taker_qty, sell_qty, maker_value, taker_value, sell_value
        return sum((rate * amount for rate, amount in zip(rates, charged, strict=True) if rate), 0.0 * maker_qty)


@dataclass(frozen=True)
class Risk:
    """Limits checked before an order leaves, by what the account knows; 0 is none. What they stop is refused, counted and not sent.

    max_order    : lots of one order
    max_position : lots held, with all open orders of that side filled
    max_open     : orders open at one time
    max_loss     : currency lost, marked at the mid; beyond it only orders that reduce the position leave
    max_rate     : (orders and replaces, time span), as (100, "1s"); cancels are always allowed
    """

    max_order: int = 0
    max_position: int = 0
    max_open: int = 0
    max_loss: float = 0.0
    max_rate: tuple[int, int | str] = (0, 1)

    def __post_init__(self) -> None:
        if not isinstance(self.max_rate, (tuple, list)) or len(self.max_rate) != 2:
            raise ValueError(f'max_rate={self.max_rate!r}: give (orders, time span), as (100, "1s")')

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
            raise ValueError(f"{self}: limits are not negative, and a rate's time span is more than 0 ns")
        return values


@dataclass(frozen=True)
class Instrument:
    """What the contract is.

    multiplier : currency per price unit and lot      lot : order quantities are multiples of it      currency : its name

    Raises ValueError for a multiplier or a lot that is not positive.
    """

    multiplier: float = 1.0
    lot: int = 1
    currency: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.multiplier < float("inf"):
            raise ValueError(f"{self}: the multiplier is more than 0: currency per price unit and lot, such as 50 for ES")
        if self.lot < 1:
            raise ValueError(f"{self}: a lot is 1 or more")
