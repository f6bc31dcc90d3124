"""Prices in currency and whole ticks: exact both ways, for any decimal or binary tick.

    TickSize("0.25")   TickSize(0.01)   TickSize("1/64")   TickSize(1e-9)

    .ticks(5000.25)  ->  20001          .price(20001)  ->  5000.25        a number for a number
    .ticks(array)    ->  i8[n]          .price(array)  ->  f8[n]          an array for an array

A tick is kept as a fraction of integers, so nothing is ever rounded on its account. `price` gives the float nearest to the true price,
so `ticks(price(n)) == n` always; `ticks` takes a float that is within 4 units in the last place of a whole number of ticks, as results of
arithmetic are (0.1 + 0.2 is 3 ticks of 0.1), and raises OffTick for anything else, also where floats lie too wide apart to tell ticks.
Text, integers, Decimal and Fraction are taken as they are.

Weak case: integers beyond 2**53 units of the tick's fraction go through Python's own integers, a hundred times slower.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from nbtrade.errors import OffTick
from nbtrade.schema import PRICE_SCALE

EXACT = 2**53  # below, a float is any integer
SLACK = 4  # units in the last place that arithmetic may have cost a float
BINARY = 2**30  # a float with at most this denominator means just what it is: 1/64; another the shortest decimal: 0.01
_LIMIT = 2**63


class TickSize:
    """The price of one tick in currency: an int, a float, text as "0.005" or "1/64", Decimal or Fraction.

    of : whose tick it is, for messages

    Raises ValueError when it is not positive or no number.
    """

    def __init__(self, tick: Any, of: str = "") -> None:
        self.exact = _fraction(tick)
        self.of = f" of {of}" if of else ""
        if self.exact <= 0:
            raise ValueError(f"tick {tick} is not positive")

    @classmethod
    def of_units(cls, units: int, of: str = "") -> "TickSize":
        """The tick of `units` times 1e-9 currency."""
        return cls(Fraction(units, PRICE_SCALE), of)

    @property
    def units(self) -> int:
        """The tick in units of 1e-9 currency, as sources and tapes have it. Raises ValueError when it is no whole number of them."""
        units = self.exact * PRICE_SCALE
        if units.denominator != 1:
            raise ValueError(f"tick {self} is not a positive multiple of 1e-9")
        return units.numerator

    def __float__(self) -> float:
        return float(self.exact)

    def __str__(self) -> str:
        return f"{float(self):.15g}"

    def __repr__(self) -> str:
        return f"TickSize('{self.exact}')"

    def price(self, ticks: Any) -> Any:
        """The price of so many ticks: the nearest float; f8 of the same shape for an array. Ticks may be fractions of one, as floats."""
        n, d = self.exact.numerator, self.exact.denominator
        if np.ndim(ticks) == 0:
            return ticks * float(self) if isinstance(ticks, float | np.floating) else int(ticks) * n / d
        array = np.asarray(ticks)
        if array.dtype.kind == "f":
            return array * float(self)
        if _largest(array) * n < EXACT:
            return array.astype(np.int64) * n / d
        return np.array([int(k) * n / d for k in array.reshape(-1)], np.float64).reshape(array.shape)

    def ticks(self, prices: Any) -> Any:
        """Whole ticks: an int, or i8 of the same shape for an array. Raises OffTick, with the price and, in an array, its index."""
        if np.ndim(prices) == 0 and not isinstance(prices, float | np.floating):
            return self._of_fraction(prices)
        array = np.asarray(prices)
        found = self._of_floats(array) if array.dtype.kind == "f" else self._of_integers(array)
        return found if array.ndim else int(found)

    def _of_fraction(self, price: Any) -> int:
        ticks = _fraction(price) / self.exact
        if ticks.denominator != 1:
            raise self._off(price, None)
        return ticks.numerator

    def _of_floats(self, prices: np.ndarray) -> np.ndarray:
        """Nearest ticks; wrong unless their price is the one given, and floats there are fine enough to tell."""
        n, d = float(self.exact.numerator), float(self.exact.denominator)
        prices = prices.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            ticks = np.rint(prices * d / n)
            last_place = np.spacing(np.abs(prices))
            right = (
                (np.abs(ticks * n / d - prices) <= SLACK * last_place) & (4 * SLACK * last_place < float(self)) & (np.abs(ticks) < EXACT)
            )
        if not right.all():
            wrong = int(np.argmin(right))
            raise self._off(prices.reshape(-1)[wrong], np.unravel_index(wrong, prices.shape) if prices.ndim else None)
        return ticks.astype(np.int64)

    def _of_integers(self, prices: np.ndarray) -> np.ndarray:
        """Of whole currency."""
        if prices.dtype.kind not in "iu" or _largest(prices) * self.exact.denominator >= _LIMIT:
            found = [self._of_fraction(price) for price in prices.reshape(-1).tolist()]
            return np.array(found, np.int64).reshape(prices.shape)
        ticks, rest = np.divmod(prices.astype(np.int64) * self.exact.denominator, self.exact.numerator)
        if rest.any():
            wrong = int(np.argmax(rest != 0))
            raise self._off(prices.reshape(-1)[wrong], np.unravel_index(wrong, prices.shape))
        return ticks

    def _off(self, price: Any, place: tuple[Any, ...] | None) -> OffTick:
        where = "" if place is None else f" at index {', '.join(str(int(i)) for i in place)}"
        message = f"price {price}{where} is not a multiple of the tick {self}{self.of}"
        try:
            below = _fraction(price) // self.exact
        except ValueError:
            return OffTick(f"{message}: it is no number")
        if isinstance(price, float | np.floating) and 4 * SLACK * np.spacing(abs(float(price))) >= float(self):
            return OffTick(f"{message}, or cannot be told from one: floats of that size are too coarse. Pass text, Decimal or ticks.")
        return OffTick(f"{message}; its neighbours are {self.price(below)} and {self.price(below + 1)}. Round it, or check the tick.")


def _largest(array: np.ndarray) -> int:
    """The largest absolute value."""
    return max(abs(int(array.max())), abs(int(array.min()))) if array.size else 0


def _fraction(value: Any) -> Fraction:
    """What a number means; raises ValueError when it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        try:
            exact = Fraction(value)
        except (OverflowError, ValueError):
            raise ValueError(f"{value} is no price") from None
        return exact if exact.denominator <= BINARY else Fraction(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | Fraction):
        raise TypeError(f"{value!r} is no price: give a number, text, Decimal or Fraction")
    try:
        return Fraction(value)
    except (OverflowError, ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no price") from None
