"""Lower each operation of an expression to code: its value, and its updates as time passes and as events arrive.

    value    an expression of the inputs' values and of the state; after an event's ABSORB it includes that event
    advance  lines for the time that passed (dt > 0); they may use the state only, because the book already includes the new event
    absorb   lines for an event's end, after those of the inputs

One small function per operation, in a table by name.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from nbtrade.feature.codegen import LEVEL_FIELDS, Program, snapshot_float
from nbtrade.feature.expression import Expression, Flow
from nbtrade.feature.kernels import interval_stats
from nbtrade.feature.windows import EVENTS, TIME


@dataclass
class Lowered:
    """One node's code."""

    value: str
    absorb: list[str] = field(default_factory=list)
    advance: list[str] = field(default_factory=list)
    after_write: list[str] = field(default_factory=list)
    scan: int | None = None
    shares: bool = False  # it uses another node's memory, whose lines update it

    @property
    def in_state(self) -> bool:
        """True if the value is kept in the state, so that reading it does not need the inputs."""
        return self.shares or bool(self.absorb)


Lowering = Callable[[Program, Expression, list[str]], Lowered]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*ops: str) -> Callable[[Lowering], Lowering]:
    """Register a function for operations."""

    def register(function: Lowering) -> Lowering:
        for op in ops:
            LOWERINGS[op] = function
        return function

    return register


# --- leaves ------------------------------------------------------------------------------------------
@lowers("const")
def _const(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(p.constant(node.params[0]))


@lowers("snapshot")
def _snapshot(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """A number of the MARKET_SNAPSHOT record; marks the parts of it that the pass must follow."""
    name, k = node.shape
    if name in LEVEL_FIELDS or name == "ofi":
        p.n_levels = max(p.n_levels, k + 1)
    if name == "ofi":
        p.n_ofi = max(p.n_ofi, k + 1)
    if name.split("_")[-1] in ("adds", "cancels", "modifies", "refills", "refilled", "swept", "sweep"):
        p.follow_orders = True
    p.follow_sweeps = p.follow_sweeps or name.endswith(("swept", "sweep"))
    p.follow_quotes = p.follow_quotes or name == "last_quote"
    if name.endswith("_since"):
        p.follow_ages = True
    return Lowered(snapshot_float(name, k))


@lowers("now")
def _now(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered("now")


@lowers("clock")
def _clock(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """(ns since the epoch + an offset) modulo a length; the pass supplies its start time."""
    begin, (length, offset) = p.slot(0.0), node.params
    p.origins.append((int(begin[2:-1]), length, offset))
    return Lowered(f"(now + {begin}) % {p.constant(length)}")


@lowers("scan")
def _scan(p: Program, node: Expression, xs: list[str]) -> Lowered:
    kind, side = node.shape
    value = p.scan(kind, side, node.params[0])
    return Lowered(value, scan=len(p.scans) - 1)


@lowers("table")
def _table(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """A number from a table of parameters: rows by the first input (0 to 1), columns by the second (1, 2, ...)."""
    n_rows, n_columns, *values = node.params
    start, rows, columns = p.slot(0.0), p.constant(n_rows), p.constant(n_columns)
    p.tables.append((int(start[2:-1]), tuple(values)))
    return Lowered(f"table_of(rings, {start}, {rows}, {columns}, {xs[0]}, {xs[1]})")


@lowers("own")
def _own(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """A user-defined function, called at every event's end."""
    held = p.slot(0.0 if isinstance(node, Flow) else np.nan)
    k, offset = p.own_record(node.own)
    p.n_levels, p.n_ofi = max(p.n_levels, node.own.levels), max(p.n_ofi, node.own.levels)
    p.follow_orders = p.follow_sweeps = p.follow_quotes = p.follow_ages = True
    arguments = ", ".join(["snapshot_at(plan.snapshot)", f"own_record_{k}(plan.own + {offset})", *xs])
    return Lowered(held, [f"{held} = float(own_{k}({arguments}))"])


# --- arithmetic ----------------------------------------------------------------------------------------
@lowers("+", "-", "*")
def _binary(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"{xs[0]} {node.op} {xs[1]}")


@lowers("/")
def _quotient(p: Program, node: Expression, xs: list[str]) -> Lowered:
    a, b = (p.totals.get(one.key, (-1, x)) for one, x in zip(node.inputs, xs, strict=True))
    if a[0] == b[0] >= 0:  # two rates with the same factor: it cancels out, which saves a multiplication and the factor's latency
        return Lowered(f"{a[1]} / {b[1]} if {b[1]} != 0.0 and k{a[0]} == k{a[0]} else nan")
    return Lowered(f"{xs[0]} / {xs[1]} if {xs[1]} != 0.0 else nan")


@lowers("neg")
def _negative(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"-{xs[0]}")


@lowers("abs")
def _absolute(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"abs({xs[0]})")


@lowers("sign")
def _sign(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"sign_of({xs[0]})")


@lowers("clip")
def _clip(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"clip({xs[0]}, {p.constant(node.params[0])}, {p.constant(node.params[1])})")


@lowers("log")
def _log(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"math.log({xs[0]}) if {xs[0]} > 0.0 else nan")


@lowers("sqrt")
def _sqrt(p: Program, node: Expression, xs: list[str]) -> Lowered:
    return Lowered(f"math.sqrt({xs[0]}) if {xs[0]} >= 0.0 else nan")


@lowers("first_of")
def _first_of(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """The first input where it is defined, otherwise the second."""
    return Lowered(f"{xs[0]} if {xs[0]} == {xs[0]} else {xs[1]}")


@lowers("reaches")
def _reaches(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """1 where the event's contribution (second input) takes the total (first) to a bound that it had not reached before."""
    bound = p.constant(node.params[0])
    return Lowered(f"1.0 if {xs[0]} >= {bound} and {xs[0]} - {xs[1]} < {bound} else 0.0")


# --- memory ----------------------------------------------------------------------------------------------
@lowers("since_sample")
def _since_sample(p: Program, node: Expression, xs: list[str]) -> Lowered:
    total = p.slot(0.0)
    return Lowered(total, [f"{total} += {xs[0]}"], after_write=[f"{total} = 0.0"])


@lowers("cumsum")
def _cumsum(p: Program, node: Expression, xs: list[str]) -> Lowered:
    total = p.slot(0.0)
    return Lowered(total, [f"{total} += {xs[0]}"])


@lowers("change")
def _change(p: Program, node: Expression, xs: list[str]) -> Lowered:
    before, flow = p.slot(np.nan), p.slot(0.0)
    return Lowered(flow, [f"{flow} = difference({xs[0]}, {before})", f"{before} = {xs[0]}"])


@lowers("hold")
def _hold(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """The first input at the last event where the second, a flow, was not 0."""
    held = p.slot(np.nan)
    return Lowered(held, [f"if {xs[1]} != 0.0:", f"    {held} = {xs[0]}"])


@lowers("ema")
def _ema(p: Program, node: Expression, xs: list[str]) -> Lowered:
    (clock,), (length,) = node.shape, node.params
    mean, since, k = p.slot(np.nan), p.slot(np.inf), p.decay(clock, length)
    value = f"{mean} if {p.clock(clock)} - {since} >= {p.constant(length)} else nan"
    if clock == EVENTS:
        first = [f"if {mean} != {mean} and {xs[0]} == {xs[0]}:", f"    {mean} = {xs[0]}", f"    {since} = {p.clock(clock)} - 1.0"]
        return Lowered(value, [*first, f"{mean} = ema_step({mean}, {xs[0]}, d{k})"])
    x = p.slot(np.nan)
    move = [f"{mean} = ema_step({mean}, {x}, d{k})"]
    first = [f"if {mean} != {mean} and {xs[0]} == {xs[0]}:", f"    {mean} = {xs[0]}", f"    {since} = {p.clock(clock)}"]
    take = [*first, f"{x} = {xs[0]}"]
    return Lowered(value, take, move) if clock == TIME else Lowered(value, move + take)


@lowers("rate")
def _rate(p: Program, node: Expression, xs: list[str]) -> Lowered:
    (clock,), (length,) = node.shape, node.params
    k, total = p.fading_total(clock, length)
    p.totals[node.key] = k, total
    return Lowered(f"{total} * k{k}", [f"{total} = {total} * d{k} + {xs[0]}"])  # k: NaN before it is warm


@lowers("mean", "std", "zscore", "lag")
def _window(p: Program, node: Expression, xs: list[str]) -> Lowered:
    (clock,), (length,) = node.shape, node.params
    if node.op == "lag" and clock == EVENTS:
        length += 1.0  # the value n event ends ago held before the last n events
    w, absorb, advance = p.level_window(node.inputs[0].key, xs[0], clock, length)
    value = f"lag_of({w}, rings)" if node.op == "lag" else f"{node.op}_of({w})"
    return Lowered(value, absorb, advance, shares=not absorb)


@lowers("min", "max")
def _extreme(p: Program, node: Expression, xs: list[str]) -> Lowered:
    (clock,), (length,), sign = node.shape, node.params, 1.0 if node.op == "max" else -1.0
    w = p.window(length, clock)
    hold, forward = f"hold_extreme({w}, {xs[0]})", f"forward_extreme({w}, rings, {p.clock(clock)}, {sign}, plan)"
    value = f"extreme_of({w}, rings, {sign})"
    if clock == TIME:
        return Lowered(value, [hold], [forward])
    return Lowered(value, [hold, forward] if clock == EVENTS else [forward, hold])


@lowers("sum")
def _sum(p: Program, node: Expression, xs: list[str]) -> Lowered:
    (clock,), (length,) = node.shape, node.params
    w = p.window(length, clock)
    forward = f"forward_flow({w}, rings, {p.clock(clock)})"
    add = f"add_flow({w}, rings, {xs[0]}, plan)"
    if clock == TIME:
        # at the first event no time has passed, and the window's clock is 0
        return Lowered(f"sum_of({w})", [f"{w}.c = now", add], [forward])
    return Lowered(f"sum_of({w})", [f"{w}.since = 0.0", forward, add])


# --- intervals -------------------------------------------------------------------------------------------
VALUES = {
    "volatility": (interval_stats.REALISED, "volatility_of"),
    "bipower": (interval_stats.BIPOWER, "bipower_of"),
    "impact": (interval_stats.IMPACT, "impact_of"),
    "illiquidity": (interval_stats.ILLIQUIDITY, "illiquidity_of"),
}


@lowers(*VALUES)
def _grid(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """Statistics over a time grid: params are its step and the number of intervals kept; inputs a level and, for some, a flow."""
    every, max_pairs = node.params
    g = p.intervals(max_pairs, every, True)
    what, value = VALUES[node.op]
    take = [f"{g}.x = {xs[0]} if {xs[0]} == {xs[0]} else {g}.x"] + [f"{g}.flow += {x}" for x in xs[1:]]
    return Lowered(f"{value}({g})", take, [f"if now >= {g}.next:", f"    close_intervals({g}, rings, now, {what})"])


@lowers("roll")
def _roll(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """Inputs: price, the event's trades."""
    g = p.intervals(node.params[0], 0.0, False)
    return Lowered(f"roll_of({g})", [f"if {xs[1]} > 0.0:", f"    step_trade({g}, rings, {xs[0]})"])


@lowers("vpin")
def _vpin(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """Inputs: lots bought, sold, unsigned."""
    g = p.intervals(node.params[1], node.params[0], False)
    fills = [f"    fill_buckets({g}, rings, {x}, {sign})" for x, sign in zip(xs, ("1.0", "-1.0", "0.0"), strict=True)]
    return Lowered(f"vpin_of({g})", [f"if {' + '.join(xs)} > 0.0:", *fills])


@lowers("effective")
def _effective(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """2 * mean of sign * (px - mid before) over the event's lots. Inputs: mid before, signed value, lots bought, lots sold."""
    held, (mid, value, bought, sold) = p.slot(np.nan), xs
    return Lowered(
        held, [f"if {bought} + {sold} > 0.0:", f"    {held} = 2.0 * ({value} - {mid} * ({bought} - {sold})) / ({bought} + {sold})"]
    )


@lowers("realised")
def _realised(p: Program, node: Expression, xs: list[str]) -> Lowered:
    """The same with the mid one length later. Inputs: mid, signed value, lots bought, lots sold."""
    (mid, value, bought, sold), w = xs, p.window(node.params[0], TIME, stride=4)
    p.windows[-1]["s1"] = np.nan
    call = f"schedule({w}, rings, now, 2.0 * {value} / ({bought} + {sold}), 2.0 * ({bought} - {sold}) / ({bought} + {sold}), plan)"
    return Lowered(f"{w}.s1", [f"{w}.x = {mid}", f"if {bought} + {sold} > 0.0:", f"    {call}"], [f"release_due({w}, rings, now)"])


def lower(outputs: Iterable[Expression]) -> Program:
    """The compiled form of a set of expressions: code and initial memory."""
    return Program(outputs, LOWERINGS)
