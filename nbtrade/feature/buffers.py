"""The memory of a feature pass: arrays that the compiled function points to, allocated once, grown between two calls.

rings f8[...]   | tables | ring of window 0 | ring of window 1 | ... | ring of pairs 0 | ...
"""

from typing import Any

import numpy as np

from nbtrade._numba.jit import as_record_array
from nbtrade.feature.codegen import Program
from nbtrade.feature.kernels.rolling import PAIRS, WINDOW
from nbtrade.feature.kernels.snapshot import MARKET_SNAPSHOT, PLAN, WIDTH, at

UNDEFINED_AT_START = ("last_px", "last_qty", "last_sign", "last_trade", "last_quote", "mid_before")  # initially NaN


class FeatureBuffers:
    """The arrays of a feature set. `plan` is passed to the function; `t0` (ns since the epoch) is the start of the pass."""

    def __init__(self, program: Program, t0: int) -> None:
        self.snapshot = np.zeros(MARKET_SNAPSHOT.itemsize // 8)
        for name in UNDEFINED_AT_START:
            self.snapshot[at(name)] = np.nan
        for name in ("bid_px", "ask_px", "old_bid_px", "old_ask_px"):
            self.snapshot[at(name) : at(name, WIDTH)] = np.nan
        self.state, self.constants = np.array(program.state), np.array([*program.constants, 0.0])
        self.windows = as_record_array(np.zeros(max(len(program.windows), 1), WINDOW))
        self.pairs = as_record_array(np.zeros(max(len(program.pairs), 1), PAIRS))
        self.own = np.zeros(program.own_bytes // 8 + 2)
        self.rings = np.zeros(1)
        self.plan = as_record_array(np.zeros(1, PLAN))
        self._lay_out(program)
        self._set_intervals(program, t0)
        self._set_own(program)
        for slot, length, offset in program.origins:
            self.state[slot] = (t0 + int(offset)) % int(length)
        self._set_addresses()

    def _lay_out(self, program: Program) -> None:
        parts: list[np.ndarray] = []
        n = 0

        def append(values: Any) -> int:
            nonlocal n
            parts.append(np.asarray(values, np.float64))
            n += len(parts[-1])
            return n - len(parts[-1])

        for slot, values in program.tables:
            self.state[slot] = append(values)
        for w, spec in zip(self.windows, program.windows, strict=False):
            w["length"], w["stride"], w["bounded"] = spec["length"], spec["stride"], spec["bounded"]
            w["mask"], w["since"], w["x"], w["s1"] = spec["entries"] - 1, np.inf, np.nan, spec.get("s1", 0.0)
            w["start"] = append(np.zeros(int(spec["entries"] * spec["stride"])))
        for p, spec in zip(self.pairs, program.pairs, strict=False):
            p["max_pairs"], p["every"], p["mask"] = spec["max_pairs"], spec["every"], spec["entries"] - 1
            p["start"] = append(np.zeros(int(spec["entries"] * 2)))
        self.rings = np.concatenate([*parts, np.zeros(1)])

    def _set_intervals(self, program: Program, t0: int) -> None:
        self.pairs["last"] = self.pairs["before"] = self.pairs["x"] = np.nan
        for k in program.grids:
            every = int(self.pairs["every"][k])
            self.pairs["next"][k] = (t0 // every + 1) * every - t0

    def _set_own(self, program: Program) -> None:
        memory = self.own.view(np.uint8)
        at_byte = 0
        for record in program.own:
            data = np.frombuffer(record.initial.tobytes(), np.uint8)
            memory[at_byte : at_byte + len(data)] = data
            at_byte += -(-len(data) // 16) * 16

    def _set_addresses(self) -> None:
        for name in ("snapshot", "state", "constants", "windows", "pairs", "own", "rings"):
            self.plan[name] = getattr(self, name).ctypes.data

    def grow(self) -> None:
        """Double the size of full rings."""
        parts = [self.rings]
        n = len(self.rings)
        for w in self.windows:
            entries, stride = int(w["mask"]) + 1, int(w["stride"])
            if int(w["n"]) == entries:
                start, head = int(w["start"]), int(w["head"]) & int(w["mask"])
                old = self.rings[start : start + entries * stride].reshape(entries, stride)
                new = np.zeros((2 * entries, stride))
                new[:entries] = np.roll(old, -head, axis=0)
                w["start"], w["mask"], w["head"] = n, 2 * entries - 1, 0
                parts.append(new.reshape(-1))
                n += new.size
        self.rings = np.concatenate(parts)
        self.plan["full"] = 0
        self._set_addresses()
