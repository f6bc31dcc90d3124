"""Expressions: what a feature is made of, before anything is computed.

    Level   a value that holds until it changes: a price, a depth, an average       (spread(), mid(), x.ema("1s"))
    Flow    what an event brings, and 0 between: lots traded, orders cancelled       (signed_volume(), ofi(), mid().change())

The difference decides what an average means. A Level's mean over a second weighs each value by how long it held; a Flow's is its sum by
the second. As a column of the matrix a Flow is what flowed since the sample before, a Level what holds at the sample.

An expression is a node of a graph: an operation, its inputs, its shape (part of the code: levels, sides, clocks) and its parameters (data:
window lengths, constants). Equal nodes are computed once; another parameter compiles nothing.

NaN: a side that is empty has no price, so what is made of it is NaN. A window over `w` is NaN until its clock has run `w` since its input
was first defined; undefined inputs are left out of it. A quotient by 0 is NaN.
"""

import math
from typing import Any, Self

from nbtrade.times import UNITS, ns_of

TIME, EVENTS, VOLUME = "time", "events", "volume"
CLOCK_UNIT = {TIME: 1e9, EVENTS: 1.0, VOLUME: 1.0}  # a flow's mean is by the second, by the event, by the lot


class Expression:
    """A node: `op(inputs)` with its shape and parameters. Made by `nbtrade.feature`; combine with + - * / and the methods."""

    __slots__ = ("inputs", "key", "label", "op", "own", "params", "shape")
    op: str
    key: str
    label: str
    inputs: tuple["Expression", ...]
    shape: tuple[Any, ...]
    params: tuple[float, ...]

    def __init__(
        self, op: str, inputs: tuple["Expression", ...] = (), shape: tuple[Any, ...] = (), params: tuple[float, ...] = (), label: str = ""
    ) -> None:
        self.op, self.inputs, self.shape = op, inputs, shape
        self.params = tuple(float(p) for p in params)
        self.key = f"{type(self).__name__}:{op}{shape}{self.params}({','.join(i.key for i in inputs)})"
        self.label = label or f"{op}({', '.join(i.label for i in inputs)})"
        self.own: Any = None

    def named(self, label: str) -> Self:
        """The same under another name: the column's in the matrix."""
        other = type(self)(self.op, self.inputs, self.shape, self.params, label)
        other.own, other.key = self.own, self.key
        return other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self.label} has no truth value: it is worked out in the pass over a tape. Use where, clip or sign.")

    # --- arithmetic ------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Any:
        return _binary("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary("/", other, self)

    def __neg__(self) -> Self:
        return type(self)("neg", (self,), label=f"-{_part(self)}")

    def __abs__(self) -> Self:
        return type(self)("abs", (self,), label=f"abs({self.label})")

    def sign(self) -> Self:
        """1, 0 or -1."""
        return type(self)("sign", (self,), label=f"sign({self.label})")

    def clip(self, low: float, high: float) -> Self:
        """At least `low` and at most `high`."""
        return type(self)("clip", (self,), (), (low, high), f"{_part(self)}.clip({low:g}, {high:g})")


class Level(Expression):
    """A value that holds until it changes."""

    __slots__ = ()

    def log(self) -> "Level":
        """Natural logarithm; NaN where it is not positive."""
        return Level("log", (self,), label=f"log({self.label})")

    def sqrt(self) -> "Level":
        """Square root; NaN where it is negative."""
        return Level("sqrt", (self,), label=f"sqrt({self.label})")

    def change(self) -> "Flow":
        """What each event changes it by: x(n) - x(n - 1) over event ends, 0 where one of them is undefined."""
        return Flow("change", (self,), label=f"{_part(self)}.change()")

    def mean(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """Mean over the last `window` of time (each value by how long it held), `events` (each event's end once) or `volume` lots."""
        return self._windowed("mean", window, events, volume)

    def std(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """Standard deviation (of the population), weighed as `mean`."""
        return self._windowed("std", window, events, volume)

    def zscore(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """(x - mean) / std over the window; NaN where it did not move."""
        return self._windowed("zscore", window, events, volume)

    def min(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """Smallest value in the last `window` of time, `events` or `volume` lots, the value in force among them."""
        return self._windowed("min", window, events, volume)

    def max(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """Largest value, as `min`."""
        return self._windowed("max", window, events, volume)

    def lag(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """The value that held `window` ago, `events` event ends ago, or `volume` lots ago."""
        return self._windowed("lag", window, events, volume)

    def diff(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """x - x.lag(...)."""
        text = span_text(*span_of(window, events, volume))
        return (self - self.lag(window, events=events, volume=volume)).named(f"{_part(self)}.diff({text})")

    def ema(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> "Level":
        """Exponential average with time constant `window`: the weight of what held a clock distance d ago is exp(-d / window).

        By time and volume each value weighs by how long it held, so an event's own new value has no weight yet; by events
        m(n) = x(n) + (m(n-1) - x(n)) exp(-1/events). It starts at the first defined value.
        """
        return self._windowed("ema", window, events, volume)

    def _windowed(self, op: str, window: Any, events: int | None, volume: float | None) -> "Level":
        clock, length = span_of(window, events, volume)
        return Level(op, (self,), (clock,), (length,), f"{_part(self)}.{op}({span_text(clock, length)})")


class Flow(Expression):
    """What each event brings."""

    __slots__ = ()

    def sum(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Sum of what came in the last `window` of time, `events` or `volume` lots: clock > now - window."""
        clock, length = span_of(window, events, volume)
        return Level("sum", (self,), (clock,), (length,), f"{_part(self)}.sum({span_text(clock, length)})")

    def mean(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Its sum over the window by the second, by the event, or by the lot."""
        clock, length = span_of(window, events, volume)
        out = self.sum(window, events=events, volume=volume) / (length / CLOCK_UNIT[clock])
        return out.named(f"{_part(self)}.mean({span_text(clock, length)})")

    def ema(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Exponentially weighted rate by the second, by the event, or by the lot.

        sum of x exp(-d / window), over the same integral of 1 since the first event: no bias at the start.
        """
        clock, length = span_of(window, events, volume)
        return Level("rate", (self,), (clock,), (length,), f"{_part(self)}.ema({span_text(clock, length)})")

    def cumsum(self) -> Level:
        """Sum of all that came since the pass began."""
        return Level("cumsum", (self,), label=f"{_part(self)}.cumsum()")


# --- how they combine ----------------------------------------------------------------------------------
def number(value: float) -> Level:
    """A constant, as a parameter."""
    return Level("const", (), (), (value,), f"{value:g}")


def lift(value: Any) -> Expression:
    """An expression as it is, a number as a constant. Raises TypeError for anything else."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    forward = " It looks forward, so it can't be part of a feature." if type(value).__name__ == "Target" else ""
    raise TypeError(f"{value!r} is neither a feature nor a number.{forward}")


def _binary(op: str, a: Any, b: Any) -> Any:
    a, b = lift(a), lift(b)
    label = f"{_part(a)} {op} {_part(b)}"
    flows = isinstance(a, Flow), isinstance(b, Flow)
    if op in "+-" and flows[0] != flows[1]:
        raise TypeError(f"{label}: one is a flow and one is a level. Make the flow a level first, by .ema(...), .sum(...) or .cumsum().")
    if op == "/" and flows[1]:
        raise TypeError(f"{label}: a flow is 0 between events. Divide by its .ema(...) or .sum(...).")
    return (Flow if any(flows) else Level)(op, (a, b), label=label)


def _part(e: Expression) -> str:
    return f"({e.label})" if (" " in e.label and not e.label.endswith(")")) or (e.op in "+-*/" and " " in e.label) else e.label


def span_of(window: Any, events: int | None, volume: float | None) -> tuple[str, float]:
    """(clock, length) of a window: ns, event ends or lots. Raises ValueError unless exactly one is given and it is positive."""
    given: list[tuple[str, Any]] = [(c, v) for c, v in ((TIME, window), (EVENTS, events), (VOLUME, volume)) if v is not None]
    if len(given) != 1:
        raise ValueError("a window is one of: a time span such as '1s', events=n, volume=lots")
    clock, value = given[0]
    length = float(ns_of(value)) if clock == TIME else float(value)
    if clock == EVENTS and length != int(length):
        raise ValueError(f"events={value!r}: a window by events is a whole number of them")
    if not 0 < length < math.inf:
        raise ValueError(f"a window of {value!r} is empty or endless: give a positive length")
    return clock, length


def span_text(clock: str, length: float) -> str:
    """A window's length as it is written: 1s, events=100, volume=50."""
    if clock != TIME:
        return f"{clock}={length:g}"
    unit = next(u for u in ("h", "min", "s", "ms", "us", "ns") if length % UNITS[u] == 0)
    return f"{int(length) // UNITS[unit]}{unit}"
