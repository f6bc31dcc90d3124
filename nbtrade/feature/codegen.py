"""Generate one function for a set of features: its code, and the memory that the code works on.

    expressions ──equal nodes once──> order ──lower (feature/lowering.py)──> source of
        evaluate(plan, out, now, what)      what: ADVANCE | ABSORB | WRITE, see feature/kernels/event_loop.py
    s[...]   f8: averages, values in force, totals     w0, w1...  WINDOW   moving windows
    c[...]   f8: constants and parameters               p0, p1...  PAIRS    intervals, buckets
    o[...]   MARKET_SNAPSHOT, as floats                 rings      entries of windows and intervals, and tables

The only numbers in the source are positions, so sets that differ in parameters share one function, and the disk cache finds it again in
another process. Values are computed where they are needed: at every event's end for averages and windows, and at samples for the
columns. (Keeping the state in local variables, and separate straight-line code for a sample at an event's end, took as long or
longer.)
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nbtrade.feature.expression import Expression, Flow, Level
from nbtrade.feature.kernels import snapshot
from nbtrade.feature.kernels.rolling import PAIRS, WINDOW
from nbtrade.feature.windows import EVENTS, TIME, VOLUME

NOTHING = 1e-17  # 1.0 - x is 1.0 for smaller x
NOW, START, EVENT_COUNT, VOLUME_COUNT = range(4)  # of s[...]
LEVEL_FIELDS = {f"{side}_{what}" for side in ("bid", "ask") for what in ("px", "qty", "orders")}


class _Decays(NamedTuple):
    """Code lines of exponential weights."""

    weights: dict[str, list[str]]  # by clock: d{k}
    absorbed: list[str]  # values that fade when an event is absorbed, besides the totals
    passed: list[str]  # values that fade when only time passes
    flushes: dict[str, list[str]]  # by clock
    factors: list[str]  # k{k}, which turn totals into rates


class Program:
    """Code and initial memory of a feature set. Lowerings add to it; `source` is the result."""

    def __init__(self, outputs: Iterable[Expression], lowerings: Mapping[str, Callable[..., Any]]) -> None:
        self.advance: list[str] = []
        self.absorb: list[str] = []
        self.write: list[str] = []
        self.after_write: list[str] = []
        self.state = [0.0, np.inf, 0.0, 0.0]
        self.constants: list[float] = []
        self.windows: list[dict[str, float]] = []
        self.pairs: list[dict[str, float]] = []
        self.tables: list[tuple[int, tuple[float, ...]]] = []  # (slot with its position in the rings, values)
        self.grids: list[int] = []  # pairs whose first grid point depends on the start of the pass
        self.scans: list[tuple[int, int, float]] = []  # kind, side, amount
        self.always: list[bool] = []
        self.origins: list[tuple[int, float, float]] = []  # (slot, length, offset): start of the pass, modulo length
        self.own: list[Any] = []  # OwnFeature.record of each use
        self.own_bytes = 0
        self.shared: dict[tuple[str, str, float], str] = {}  # windows by input, clock, length
        self.decays: dict[tuple[str, float], int] = {}
        self.n_rates: Counter[tuple[str, float]] = Counter()  # of each clock and length
        self.fading: list[list[str]] = []  # values that each weight multiplies, adjacent: the amount missing to a weight of 1, then totals
        self.totals: dict[str, tuple[int, str]] = {}  # of rates: the weight's number and the total, by the node's key
        self.n_levels, self.n_ofi = 1, 0
        self.follow_orders, self.follow_sweeps, self.follow_quotes, self.follow_ages = False, False, False, False
        columns = [_column(e) for e in outputs]
        self.n_columns = len(columns)
        self._lower(columns, lowerings)
        # the function's code; the names in it are helpers of feature/kernels (rolling, interval_stats, scalar_math), and own_0, own_1...
        self.source = self._written()

    # --- used by lowerings --------------------------------------------------------------------------
    def slot(self, value: float) -> str:
        """A new float of the state with this initial value."""
        self.state.append(float(value))
        return f"s[{len(self.state) - 1}]"

    def constant(self, value: float) -> str:
        """A new constant. Constants are separate from the state, so that changing values are adjacent and processed four at a time."""
        self.constants.append(float(value))
        return f"c[{len(self.constants) - 1}]"

    def window(self, length: float, clock: str, stride: int = 2) -> str:
        """A new moving window; by events its ring cannot fill up."""
        bounded = clock == EVENTS
        entries = _power_of_two(int(length) + 3) if bounded else 64
        self.windows.append({"length": length, "entries": entries, "stride": stride, "bounded": bounded})
        return f"w{len(self.windows) - 1}"

    def level_window(self, key: str, x: str, clock: str, length: float) -> tuple[str, list[str], list[str]]:
        """(name, absorb, advance) of the window over a level; mean, deviation and lag of the same level and length share it."""
        known = self.shared.get((key, clock, length))
        if known:
            return known, [], []
        w = self.shared[key, clock, length] = self.window(length, clock)
        forward, hold = f"forward({w}, rings, {self.clock(clock)})", f"hold_value({w}, rings, {x}, plan)"
        if clock == TIME:
            return w, [hold], [forward]
        return w, [hold, forward] if clock == EVENTS else [forward, hold], []

    def own_record(self, record: np.ndarray) -> tuple[int, int]:
        """(number, byte offset) of a new record of a user-defined feature."""
        offset = self.own_bytes
        self.own.append(record)
        self.own_bytes += -(-record.dtype.itemsize // 16) * 16
        return len(self.own) - 1, offset

    def intervals(self, max_pairs: float, every: float, grid: bool) -> str:
        """The last `max_pairs` intervals of `every` (ns of a time grid, or lots; ignored otherwise)."""
        if grid:
            self.grids.append(len(self.pairs))
        self.pairs.append({"max_pairs": max_pairs, "every": every, "entries": _power_of_two(int(max_pairs) + 1)})
        return f"p{len(self.pairs) - 1}"

    def clock(self, clock: str) -> str:
        """The name of a clock's value in the code."""
        return {TIME: "now", EVENTS: f"s[{EVENT_COUNT}]", VOLUME: f"s[{VOLUME_COUNT}]"}[clock]

    def decay(self, clock: str, length: float) -> int:
        """Number k of the exponential weight for this clock and length: local d{k} is exp(-step / length), see `_decays`."""
        if (clock, length) not in self.decays:
            self.decays[clock, length] = len(self.decays)
            self.fading.append([self.slot(1.0), *(self.slot(0.0) for _ in range(self.n_rates[clock, length]))])
        return self.decays[clock, length]

    def fading_total(self, clock: str, length: float) -> tuple[int, str]:
        """(k as returned by `decay`, a total that fades by that weight)."""
        k = self.decay(clock, length)
        total = self.fading[k][-self.n_rates[clock, length]]
        self.n_rates[clock, length] -= 1
        return k, total

    def scan(self, kind: int, side: int, amount: float) -> str:
        """A walk over the book at every event's end, or only at samples if nothing else absorbs it."""
        self.scans.append((kind, side, amount))
        self.always.append(False)
        if len(self.scans) > snapshot.N_SCANS:
            raise ValueError(f"a feature set can have at most {snapshot.N_SCANS} features of depth_within and cost_to_fill: use fewer")
        return f"o[{snapshot.SCANS + len(self.scans) - 1}]"

    # --- lowering ----------------------------------------------------------------------------------
    def _lower(self, columns: list[Expression], lowerings: Mapping[str, Callable[..., Any]]) -> None:
        order = _in_order(columns)
        index = {node.key: k for k, node in enumerate(order)}
        self.n_rates.update((node.shape[0], node.params[0]) for node in order if node.op == "rate")
        lowered = [lowerings[node.op](self, node, [f"v{index[i.key]}" for i in node.inputs]) for node in order]
        inputs = [[index[i.key] for i in node.inputs] for node in order]
        taken = _needed(inputs, [j for k, e in enumerate(lowered) if e.absorb for j in inputs[k]], [e.in_state for e in lowered])
        shown = _needed(inputs, [index[c.key] for c in columns], [e.in_state for e in lowered])
        for k, e in enumerate(lowered):
            self.advance += e.advance
            self.absorb += e.absorb
            if k in taken:
                self.absorb.append(f"v{k} = {e.value}")
                if e.scan is not None:
                    self.always[e.scan] = True
            if k in shown:
                self.write.append(f"v{k} = {e.value}")
        self.write += [f"out[{j}] = v{index[c.key]}" for j, c in enumerate(columns)]
        self.write += [line for e in lowered for line in e.after_write]

    def _decays(self) -> "_Decays":
        """Code lines of all exponential weights.

        r: 1 / length;  u: amount missing to a weight of 1 since the first event;  k: 1 / (length in the clock's unit * weight so far)
        """
        lines = _Decays({TIME: [], EVENTS: [], VOLUME: []}, [], [], {TIME: [], EVENTS: [], VOLUME: []}, [])
        for (clock, length), k in self.decays.items():
            missing, every = self.fading[k][0], f"for i in range({self.fading[k][0][2:-1]}, {int(self.fading[k][-1][2:-1]) + 1}):"
            if clock == EVENTS:
                lines.weights[clock] += [f"d{k} = {self.constant(np.exp(-1.0 / length))}"]
                unit = 1.0 / (1.0 - np.exp(-1.0 / length))
            else:
                step = {TIME: "dt", VOLUME: "dv"}[clock]
                lines.weights[clock] += [f"d{k} = decay_of({step} * {self.constant(1.0 / length)})"]
                unit = length / (1e9 if clock == TIME else 1.0)
            lines.absorbed.append(f"{missing} *= d{k}")
            lines.passed.extend([every, f"    s[i] *= d{k}"] if clock == TIME else [])
            flush = self.slot(0.0)  # clock at which tiny totals are next set to 0
            lines.flushes[clock] += [
                f"if {self.clock(clock)} >= {flush}:",
                f"    {flush} = {self.clock(clock)} + {self.constant(100.0 * length)}",
            ]
            lines.flushes[clock] += [f"    {every}", "        s[i] = flush_tiny(s[i])"]
            begin = f"s[{START}]" if clock == TIME else "0.0"
            warm = f"{self.clock(clock)} - {begin} >= {self.constant(length)}"
            # once nothing is missing, the division and its latency are skipped
            full = f"1.0 / ({self.constant(unit)} * (1.0 - {missing}))"
            share = f"{full} if {missing} > {NOTHING!r} else {self.constant(1.0 / unit)}"
            lines.factors.append(f"k{k} = ({share}) if {warm} else nan")
        return lines

    def _written(self) -> str:
        decays = self._decays()
        weights, flushes, rates = decays.weights, decays.flushes, decays.factors
        size, pair = WINDOW.itemsize, PAIRS.itemsize
        head = [
            "plan = plan_of(plan_at)",
            "o = floats(plan.snapshot)",
            "s = floats(plan.state)",
            "c = floats(plan.constants)",
            "rings = floats(plan.rings)",
        ]
        head += [f"w{k} = window_at(plan.windows + {k * size})" for k in range(len(self.windows))]
        head += [f"p{k} = pairs_at(plan.pairs + {k * pair})" for k in range(len(self.pairs))]
        first = [f"if s[{START}] == inf:", f"    s[{START}] = now", f"    s[{NOW}] = now"]
        advance = _block(f"dt = now - s[{NOW}]", "if dt > 0.0:", [f"s[{NOW}] = now", *weights[TIME], *self.advance, *flushes[TIME]])
        taken = [*weights[EVENTS], *weights[VOLUME], *decays.absorbed, *_used(rates, self.absorb), *self.absorb]
        taken += [*flushes[EVENTS], *flushes[VOLUME]]
        absorb = [*first, *_clocks(" ".join(taken)), *taken]
        write = ["out = floats(out_at)", *_used(rates, self.write), *self.write]
        body = [
            *head,
            "now = float(moment)",
            *(f"d{k} = 1.0" for (clock, _), k in self.decays.items() if clock == TIME),
            f"if what & {snapshot.ADVANCE} and s[{START}] < inf:",
            *_indented(advance),
            *_block_if(f"if not what & {snapshot.ABSORB}:", decays.passed),  # otherwise each total fades where it absorbs the event
            f"if what & {snapshot.ABSORB}:",
            *_indented(absorb),
            f"if what & {snapshot.WRITE}:",
            *_indented(write),
            "return 0",
        ]
        return "\n".join(["def evaluate(plan_at, out_at, moment, what):", *_indented(body), ""])

    @property
    def digest(self) -> str:
        """Hash of the code: sets with equal code share one function."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def snapshot_float(name: str, k: int = 0) -> str:
    """A number of the snapshot, as code."""
    return f"o[{snapshot.at(name, k)}]"


def _clocks(code: str) -> list[str]:
    """Lines that advance the clocks used by the code."""
    lots, events = f"s[{VOLUME_COUNT}]", f"s[{EVENT_COUNT}]"
    volume = [f"dv = {snapshot_float('volume')} - {lots}", f"{lots} += dv"] if lots in code or re.search(r"\bdv\b", code) else []
    return volume + ([f"{events} += 1.0"] if events in code else [])


def _used(rates: list[str], lines: list[str]) -> list[str]:
    """The factors of rates that lines use."""
    text = " ".join(lines)
    return [line for k, line in enumerate(rates) if re.search(rf"\bk{k}\b", text)]


def _column(e: Expression) -> Expression:
    return Level("since_sample", (e,), label=e.label) if isinstance(e, Flow) else e


def _in_order(columns: list[Expression]) -> list[Expression]:
    """All nodes, each once, inputs first."""
    order: dict[str, Expression] = {}

    def visit(node: Expression) -> None:
        if node.key not in order:
            for one in node.inputs:
                visit(one)
            order[node.key] = node

    for column in columns:
        visit(column)
    return list(order.values())


def _needed(inputs: list[list[int]], roots: list[int], is_stateful: list[bool]) -> set[int]:
    """Nodes to compute for `roots`; the search stops at values kept in the state."""
    found: set[int] = set()
    todo = list(roots)
    while todo:
        k = todo.pop()
        if k not in found:
            found.add(k)
            if not is_stateful[k]:
                todo += inputs[k]
    return found


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _block_if(head: str, lines: list[str]) -> list[str]:
    return [head, *_indented(lines)] if lines else []


def _block(first: str, head: str, lines: list[str]) -> list[str]:
    return [first, head, *_indented(lines)]
