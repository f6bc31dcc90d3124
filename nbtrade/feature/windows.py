"""Windows of features: by time, by events or by volume, and the methods of a Level that use one."""

import math
from typing import Any, Self

from nbtrade.times import UNITS, ns_of

TIME, EVENTS, VOLUME = "time", "events", "volume"
CLOCK_UNIT = {TIME: 1e9, EVENTS: 1.0, VOLUME: 1.0}  # a flow's mean is per second, per event, per lot


class LevelWindows:
    """Windowed statistics of a level. `_windowed` makes the expression of an operation."""

    __slots__ = ()

    def mean(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Mean over a window.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        By time and volume each value is weighted by how long it held, by events each event end counts once. Pass exactly one of
        the three arguments.

        Examples
        --------
        >>> nbtrade.feature.spread().mean("10s")
        <Level spread().mean(10s)>
        """
        return self._windowed("mean", window, events, volume)

    def std(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Standard deviation over a window, of the population.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        Weighted as in `mean`. Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().std(events=100)
        <Level mid().std(events=100)>
        """
        return self._windowed("std", window, events, volume)

    def zscore(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Standard score over a window: (x - mean) / std.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full, or where the value is constant.

        Notes
        -----
        Weighted as in `mean`. Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.imbalance().zscore("1m")
        <Level (imbalance(1, qty)).zscore(1min)>
        """
        return self._windowed("zscore", window, events, volume)

    def min(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Minimum over a window, including the current value.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().min("1m")
        <Level mid().min(1min)>
        """
        return self._windowed("min", window, events, volume)

    def max(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Maximum over a window, including the current value.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().max(volume=500)
        <Level mid().max(volume=500)>
        """
        return self._windowed("max", window, events, volume)

    def lag(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Earlier value: the one that held one window ago.

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().lag("100ms")
        <Level mid().lag(100ms)>
        """
        return self._windowed("lag", window, events, volume)

    def diff(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Difference from the value one window ago: x - x.lag(...).

        Parameters
        ----------
        window : str or int, optional
            Time span such as "1s", or ns.
        events : int, optional
            Number of event ends.
        volume : float, optional
            Lots traded.

        Returns
        -------
        Level
            NaN until the window is full.

        Notes
        -----
        Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().diff("1s")
        <Level mid().diff(1s)>
        """
        return self._windowed("diff", window, events, volume)

    def ema(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Self:
        """Exponential moving average.

        Parameters
        ----------
        window : str or int, optional
            Time constant such as "1s", or ns.
        events : int, optional
            Time constant in event ends.
        volume : float, optional
            Time constant in lots traded.

        Returns
        -------
        Level
            Starts at the first defined value; NaN until one time constant has passed.

        Notes
        -----
        A value that held at a distance d on the clock has the weight exp(-d / window). By time and volume each value is weighted
        by how long it
        held, so an event's new value has no weight yet; by events m(n) = x(n) + (m(n-1) - x(n)) exp(-1/events). Pass exactly one
        of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.mid().ema("1s")
        <Level mid().ema(1s)>
        """
        return self._windowed("ema", window, events, volume)

    def _windowed(self, op: str, window: Any, events: int | None, volume: float | None) -> Self:
        raise NotImplementedError


def span_of(window: Any, events: int | None, volume: float | None) -> tuple[str, float]:
    """(clock, length) of a window: ns, event ends or lots. Raises ValueError unless exactly one is given and it is positive."""
    given: list[tuple[str, Any]] = [(c, v) for c, v in ((TIME, window), (EVENTS, events), (VOLUME, volume)) if v is not None]
    if len(given) != 1:
        raise ValueError("a window needs exactly one of: a time span such as '1s', events=n, volume=lots")
    clock, value = given[0]
    length = float(ns_of(value)) if clock == TIME else float(value)
    if clock == EVENTS and length != int(length):
        raise ValueError(f"events={value!r}: a window by events needs a whole number")
    if not 0 < length < math.inf:
        raise ValueError(f"a window of {value!r} is not valid: pass a positive, finite length")
    return clock, length


def span_text(clock: str, length: float) -> str:
    """A window's length as text: 1s, events=100, volume=50."""
    if clock != TIME:
        return f"{clock}={length:g}"
    unit = next(u for u in ("h", "min", "s", "ms", "us", "ns") if length % UNITS[u] == 0)
    return f"{int(length) // UNITS[unit]}{unit}"
