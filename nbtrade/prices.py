"""Convert between prices in currency and whole ticks: exact both ways, for any decimal or binary tick.

    TickSize("0.25")   TickSize(0.01)   TickSize("1/64")   TickSize(1e-9)

    .ticks(5000.25)  ->  20001          .price(20001)  ->  5000.25        numbers
    .ticks(array)    ->  i8[n]          .price(array)  ->  f8[n]          arrays

A tick is stored as a fraction of integers, so the tick itself is never rounded. `price` returns the float nearest to the exact price,
so `ticks(price(n)) == n` always holds. `ticks` accepts a float within 4 units in the last place of a whole number of ticks, since results
of arithmetic are that close (0.1 + 0.2 is 3 ticks of 0.1). It raises OffTick for all other prices, and for floats so large that their
spacing is too coarse to distinguish ticks. Text, integers, Decimal and Fraction are exact.

Weak case: integers beyond 2**53 units of the tick's fraction use Python's integers, a hundred times slower.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from nbtrade.errors import OffTick
from nbtrade.schema import PRICE_SCALE

EXACT = 2**53  # below, a float holds every integer
SLACK = 4  # units in the last place that a float may have lost to arithmetic
BINARY = 2**30  # a float with a denominator up to this is exact: 1/64; any other means its shortest decimal: 0.01
_LIMIT = 2**63


class TickSize:
    """The price of one tick.

    Parameters
    ----------
    tick : int, float, str, Decimal or Fraction
        Price of a tick in currency; text such as "0.005" or "1/64".
    of : str
        Symbol of the instrument, for error messages.

    Raises
    ------
    ValueError
        `tick` is not a positive number.
    TypeError
        `tick` is not a number or text.

    Examples
    --------
    >>> tick = nbtrade.prices.TickSize("0.25")
    >>> tick.ticks(5000.25), tick.price(20001)
    (20001, 5000.25)
    """

    def __init__(self, tick: Any, of: str = "") -> None:
        self.exact = _fraction(tick)
        self.of = f" of {of}" if of else ""
        if self.exact <= 0:
            raise ValueError(f"tick {tick} is not positive")

    @classmethod
    def of_units(cls, units: int, of: str = "") -> "TickSize":
        """Create a tick size from an integer number of 1e-9 units.

        Parameters
        ----------
        units : int
            Price of a tick in 1e-9 units of the currency.
        of : str
            Symbol of the instrument, for error messages.

        Returns
        -------
        TickSize
            The tick size.

        Examples
        --------
        >>> nbtrade.prices.TickSize.of_units(10_000_000)
        TickSize('1/100')
        """
        return cls(Fraction(units, PRICE_SCALE), of)

    @property
    def units(self) -> int:
        """The tick as sources and tapes store it.

        Returns
        -------
        int
            In 1e-9 units of the currency.

        Raises
        ------
        ValueError
            The tick is not a multiple of 1e-9.

        Examples
        --------
        >>> nbtrade.prices.TickSize(0.01).units
        10000000
        """
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
        """Convert ticks to currency.

        Parameters
        ----------
        ticks : int, float or array
            Ticks; floats may be fractions of a tick.

        Returns
        -------
        float or f8 array
            The nearest float; an array has the same shape.

        Examples
        --------
        >>> nbtrade.prices.TickSize("1/64").price(np.array([6401, 6402]))
        array([100.015625, 100.03125 ])
        """
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
        """Convert currency to whole ticks.

        Parameters
        ----------
        prices : number, str or array
            Prices in currency.

        Returns
        -------
        int or i8 array
            Ticks; an array has the same shape.

        Raises
        ------
        OffTick
            A price is not a multiple of the tick. The message has the price, its index in the array and its neighbours.

        Examples
        --------
        >>> nbtrade.prices.TickSize(0.01).ticks([100.0, 100.01])
        array([10000, 10001])
        >>> nbtrade.prices.TickSize(1).ticks(0.3)
        Traceback (most recent call last):
        nbtrade.errors.OffTick: price 0.3 is not a multiple of the tick 1; its neighbours are 0.0 and 1.0. Round it, or check the tick.
        """
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
        """Nearest ticks. Raises OffTick unless they match the prices and floats of that size can distinguish ticks."""
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
        """Ticks of integers in whole currency units."""
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
            return OffTick(f"{message}: it is not a number")
        if isinstance(price, float | np.floating) and 4 * SLACK * np.spacing(abs(float(price))) >= float(self):
            return OffTick(f"{message}, or floats of that size are too coarse to decide. Pass text, Decimal or ticks.")
        return OffTick(f"{message}; its neighbours are {self.price(below)} and {self.price(below + 1)}. Round it, or check the tick.")


def _largest(array: np.ndarray) -> int:
    """The largest absolute value."""
    return max(abs(int(array.max())), abs(int(array.min()))) if array.size else 0


def _fraction(value: Any) -> Fraction:
    """The exact value of a number. Raises ValueError, or TypeError for other types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        try:
            exact = Fraction(value)
        except (OverflowError, ValueError):
            raise ValueError(f"{value} is not a price: it must be finite") from None
        return exact if exact.denominator <= BINARY else Fraction(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | Fraction):
        raise TypeError(f"{value!r} is not a price: pass a number, text, Decimal or Fraction")
    try:
        return Fraction(value)
    except (OverflowError, ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is not a price: pass a number, or text such as '0.25' or '1/64'") from None
