"""Expressions: the graph of operations that a feature consists of, before anything is computed.

    Level   a value that holds until it changes: a price, a depth, an average       (spread(), mid(), x.ema("1s"))
    Flow    an amount per event, 0 between events: lots traded, orders cancelled     (signed_volume(), ofi(), mid().change())

The difference determines the meaning of an average. A Level's mean over a second weights each value by how long it held; a Flow's is its
sum per second. In a matrix a Flow's column is the sum since the previous sample, a Level's column the value at the sample.

An expression is a node of a graph: an operation, its inputs, its shape (part of the code: levels, sides, clocks) and its parameters (data:
window lengths, constants). Equal nodes are computed once; a different parameter compiles nothing.

NaN: an empty side has no price, so everything computed from it is NaN. A window over `w` is NaN until its clock has run `w` since its
input was first defined; undefined inputs are left out of it. A quotient by 0 is NaN.
"""

from typing import Any, Self

from nbtrade.feature.windows import CLOCK_UNIT, LevelWindows, span_of, span_text


class Expression:
    """A node: `op(inputs)` with its shape and parameters. Created by `nbtrade.feature`; combine nodes with + - * / and the methods."""

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
        """Rename an expression: its column in the matrix gets this name.

        Parameters
        ----------
        label : str
            The new name.

        Returns
        -------
        Level or Flow
            The same expression.

        Examples
        --------
        >>> nbtrade.feature.mid().ema("1s").named("slow")
        <Level slow>
        """
        other = type(self)(self.op, self.inputs, self.shape, self.params, label)
        other.own, other.key = self.own, self.key
        return other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self.label} has no truth value: it is computed only in a pass over a tape. Use clip or sign.")

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
        """Sign of the value.

        Returns
        -------
        Level or Flow
            1, 0 or -1; NaN stays NaN.

        Examples
        --------
        >>> nbtrade.feature.ofi().sign()
        <Flow sign(ofi(1))>
        """
        return type(self)("sign", (self,), label=f"sign({self.label})")

    def clip(self, low: float, high: float) -> Self:
        """Limit the value to a range.

        Parameters
        ----------
        low, high : float
            Bounds.

        Returns
        -------
        Level or Flow
            At least `low` and at most `high`; NaN stays NaN.

        Examples
        --------
        >>> nbtrade.feature.spread().clip(1, 5)
        <Level spread().clip(1, 5)>
        """
        return type(self)("clip", (self,), (), (low, high), f"{_part(self)}.clip({low:g}, {high:g})")


class Level(LevelWindows, Expression):
    """A value that holds until it changes."""

    __slots__ = ()

    def log(self) -> "Level":
        """Natural logarithm.

        Returns
        -------
        Level
            NaN where the value is not positive.

        Examples
        --------
        >>> nbtrade.feature.mid().log()
        <Level log(mid())>
        """
        return Level("log", (self,), label=f"log({self.label})")

    def sqrt(self) -> "Level":
        """Square root.

        Returns
        -------
        Level
            NaN where the value is negative.

        Examples
        --------
        >>> nbtrade.feature.bid_qty().sqrt()
        <Level sqrt(bid_qty(1))>
        """
        return Level("sqrt", (self,), label=f"sqrt({self.label})")

    def change(self) -> "Flow":
        """Change at each event: x(n) - x(n - 1) over event ends.

        Returns
        -------
        Flow
            0 where one of the values is undefined.

        Examples
        --------
        >>> nbtrade.feature.mid().change()
        <Flow mid().change()>
        """
        return Flow("change", (self,), label=f"{_part(self)}.change()")

    def _windowed(self, op: str, window: Any, events: int | None, volume: float | None) -> Self:
        clock, length = span_of(window, events, volume)
        label = f"{_part(self)}.{op}({span_text(clock, length)})"
        if op == "diff":
            return type(self)("-", (self, self._windowed("lag", window, events, volume)), label=label)
        return type(self)(op, (self,), (clock,), (length,), label)


class Flow(Expression):
    """An amount per event, 0 between events."""

    __slots__ = ()

    def sum(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Sum over a window: of all events with clock > now - window.

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
        >>> nbtrade.feature.signed_volume().sum("1s")
        <Level signed_volume().sum(1s)>
        """
        clock, length = span_of(window, events, volume)
        return Level("sum", (self,), (clock,), (length,), f"{_part(self)}.sum({span_text(clock, length)})")

    def mean(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Rate over a window: the sum per second, per event or per lot.

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
        >>> nbtrade.feature.volume().mean("10s")
        <Level volume().mean(10s)>
        """
        clock, length = span_of(window, events, volume)
        out = self.sum(window, events=events, volume=volume) / (length / CLOCK_UNIT[clock])
        return out.named(f"{_part(self)}.mean({span_text(clock, length)})")

    def ema(self, window: Any = None, *, events: int | None = None, volume: float | None = None) -> Level:
        """Exponentially weighted rate per second, per event or per lot.

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
            NaN until one time constant has passed.

        Notes
        -----
        The sum of x exp(-d / window) divided by the integral of the same weights since the first event, so the start is unbiased.
        Pass exactly one of the three arguments.

        Examples
        --------
        >>> nbtrade.feature.ofi().ema("1s")
        <Level ofi(1).ema(1s)>
        """
        clock, length = span_of(window, events, volume)
        return Level("rate", (self,), (clock,), (length,), f"{_part(self)}.ema({span_text(clock, length)})")

    def cumsum(self) -> Level:
        """Sum since the start of the pass.

        Returns
        -------
        Level
            Same unit as the flow.

        Examples
        --------
        >>> nbtrade.feature.signed_volume().cumsum()
        <Level signed_volume().cumsum()>
        """
        return Level("cumsum", (self,), label=f"{_part(self)}.cumsum()")


# --- how they combine ----------------------------------------------------------------------------------
def number(value: float) -> Level:
    """A constant, as a parameter."""
    return Level("const", (), (), (value,), f"{value:g}")


def lift(value: Any) -> Expression:
    """Return an expression unchanged, a number as a constant. Raises TypeError for anything else."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    forward = " It looks forward, so it cannot be part of a feature." if type(value).__name__ == "Target" else ""
    raise TypeError(f"{value!r} is neither a feature nor a number.{forward}")


def _binary(op: str, a: Any, b: Any) -> Any:
    a, b = lift(a), lift(b)
    label = f"{_part(a)} {op} {_part(b)}"
    flows = isinstance(a, Flow), isinstance(b, Flow)
    if op in "+-" and flows[0] != flows[1]:
        raise TypeError(
            f"{label}: one is a flow and the other a level. Turn the flow into a level first, with .ema(...), .sum(...) or .cumsum()."
        )
    if op == "/" and flows[1]:
        raise TypeError(f"{label}: a flow is 0 between events. Divide by its .ema(...) or .sum(...).")
    return (Flow if any(flows) else Level)(op, (a, b), label=label)


def _part(e: Expression) -> str:
    return f"({e.label})" if (" " in e.label and not e.label.endswith(")")) or (e.op in "+-*/" and " " in e.label) else e.label
