"""One pass of a feature set over rows: the book, the set's memory, the matrix; calls the kernel and grows full buffers.

Rows may arrive in any pieces: the state carries over from one piece to the next, so a day in two halves gives the same rows as the whole.
"""

import numpy as np

from nbtrade._numba.bits import SHIFT
from nbtrade._numba.jit import as_record_array
from nbtrade._numba.pointers import array_address
from nbtrade.book.kernels import arrays as book_memory
from nbtrade.book.kernels.pointers import BOOK_FIELDS
from nbtrade.errors import FeatureError
from nbtrade.feature.buffers import FeatureBuffers
from nbtrade.feature.codegen import Program
from nbtrade.feature.jit import address_of
from nbtrade.feature.kernels import snapshot, top_levels
from nbtrade.feature.kernels.event_loop import run_pass
from nbtrade.feature.kernels.streaming_stores import LINE
from nbtrade.feature.sampling import Sampling
from nbtrade.schema import UNDEF_PRICE
from nbtrade.tape.book_snapshot import book_arrays, book_before
from nbtrade.tape.tape import Tape

BATCH_ROWS = 1 << 22  # rows between two checks for Ctrl-C
STAGE_BYTES = 1 << 13  # at least, for rows not yet in the matrix: they stay in the L1 cache


class FeaturePass:
    """A pass that starts before the first row of `tape`; `feed` it that tape's rows, then the following ones.

    values : f8[rows, features] and ts : i8[rows] are filled during the pass; n_out rows of them so far.
    """

    def __init__(self, program: Program, tape: Tape, sampling: Sampling, out: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        self.program, self.sampling = program, sampling
        self.tape = tape
        t0 = int(tape.ts_recv[0]) if len(tape) else 0
        self.buffers = FeatureBuffers(program, t0)
        self.n_columns = program.n_columns
        rows = sampling.max_rows(tape)
        arrays = out or (np.empty((rows, self.n_columns)), np.empty(rows, np.int64))
        self.values: np.ndarray = arrays[0]
        self.ts: np.ndarray = arrays[1]
        self.has_given_memory = out is not None
        self.times = np.zeros(0, np.int64) if sampling.times is None else np.ascontiguousarray(sampling.times, np.int64)
        self.book = book_arrays(tape)
        self.since = np.zeros(len(self.book.levels) if program.follow_ages else 1, np.int64)
        self.scans = self._new_scans()
        self.stage = np.zeros(max(STAGE_BYTES, 4 * 8 * self.n_columns) // 8 + self.n_columns)
        self.pass_state = self._new_pass_state(t0)
        self._set_book_addresses()
        self._set_out_addresses()
        self._begin()

    @property
    def n_out(self) -> int:
        """Rows written so far."""
        return int(self.pass_state["n_out"][0])

    # --- setting up --------------------------------------------------------------------------------
    def _new_scans(self) -> np.ndarray:
        scans = as_record_array(np.zeros(len(self.program.scans), snapshot.SCAN))
        for scan, (kind, side, amount), always in zip(scans, self.program.scans, self.program.always, strict=True):
            scan["kind"], scan["side"], scan["amount"] = kind, side, amount
            scan["always"], scan["seen"] = always, -1
        return scans

    def _new_pass_state(self, t0: int) -> np.ndarray:
        p, s = self.program, self.sampling
        w = as_record_array(np.zeros(1, snapshot.PASS_STATE))
        w["t0"], w["n_levels"], w["n_ofi"] = t0, p.n_levels, p.n_ofi
        w["n_scans"], w["changes"] = len(p.scans), 1
        w["stateful"] = bool(p.absorb)
        w["follow_orders"], w["follow_sweeps"], w["follow_ages"] = p.follow_orders, p.follow_sweeps, p.follow_ages
        w["follow_quotes"] = p.follow_quotes or s.mode == snapshot.SAMPLE_QUOTES
        w["follow_more"], w["follows_touch"] = bool(p.follow_ages or p.scans), w["follow_quotes"] | w["follow_ages"]
        w["prev_kind"] = w["exec_side"] = -1
        w["sweep_ts"] = -UNDEF_PRICE
        w["mode"], w["every"], w["amount"] = s.mode, s.every, s.amount
        if s.mode == snapshot.SAMPLE_VALUE:
            w["amount"] = s.amount / self.tape.tick
        w["next_time"], w["n_times"] = snapshot.NO_NEXT_TIME, len(self.times)
        if s.mode == snapshot.SAMPLE_TIME and len(self.tape):
            w["next_time"] = -(-t0 // s.every) * s.every - t0
        elif len(self.times):
            w["next_time"] = int(self.times[0]) - t0
        w["evaluate_at"], w["plan_at"], w["snapshot_at"] = (
            address_of(p),
            array_address(self.buffers.plan),
            array_address(self.buffers.snapshot),
        )
        w["scans_at"], w["times_at"] = array_address(self.scans), array_address(self.times)
        w["row_bytes"], w["stage_at"], w["stage_bytes"] = (
            self.n_columns * 8,
            array_address(self.stage),
            self.stage.nbytes - self.n_columns * 8,
        )
        return w

    def _set_book_addresses(self) -> None:
        for name, array in zip((*BOOK_FIELDS, "since_at"), (*self.book, self.since), strict=True):
            self.pass_state[name] = array_address(array)

    def _set_out_addresses(self) -> None:
        w = self.pass_state
        w["capacity"], w["out_ts_at"] = len(self.ts), array_address(self.ts)
        at = self.values.ctypes.data + self.n_out * self.n_columns * 8
        w["unloaded"] = w["staged"] = at % LINE
        w["out_at"] = at - at % LINE

    def _begin(self) -> None:
        """Initialise the snapshot from the book before the first row."""
        top_levels.load_all_levels(self.pass_state.ctypes.data)
        if self.program.follow_ages and self.tape.start:
            t0 = int(self.pass_state["t0"][0])
            orders = book_before(self.tape, self.tape.start).orders
            px = orders["px"].astype(np.int64)
            page = self.book.pages[(px >> SHIFT) - int(self.book.sides["first_slot"][0])].astype(np.int64)
            at = (page << (SHIFT + 1)) + (orders["side"].astype(np.int64) << SHIFT) + (px & 31)
            np.add.at(self.since, at, self.tape.whole["ts_recv"][orders["prio"]] - t0)

    # --- running -----------------------------------------------------------------------------------
    def feed(self, tape: Tape, *, final: bool = False, batch: int = BATCH_ROWS) -> None:
        """Process the rows of `tape`, which follow those of the previous call. Raises FeatureError when a user-defined feature fails."""
        start, n = 0, len(tape)
        columns = tape.events, tape.ts_event, tape.ts_recv, tape.order_id, tape.whole["ts_recv"]
        for name, column in zip(snapshot.COLUMN_FIELDS, columns, strict=True):
            self.pass_state[name] = array_address(column)
        while True:
            stop = min(n, start + batch)
            start = int(run_pass(self.pass_state.ctypes.data, start, stop, final and stop == n))
            status = int(self.pass_state["status"][0])
            if status == snapshot.DONE and start == n:
                return
            self._recover(status)

    def _recover(self, status: int) -> None:
        if status == snapshot.RINGS_FULL:
            self.buffers.grow()
        elif status == snapshot.PAGES_FULL:
            self.book = book_memory.grown(self.book)
            if self.program.follow_ages:
                self.since = np.concatenate([self.since, np.zeros_like(self.since)])
            self._set_book_addresses()
        elif status == snapshot.OUT_FULL:
            self._grow_out()
        elif status == snapshot.FAILED:
            names = ", ".join(record.function.__name__ for record in self.program.own)
            when = np.datetime64(int(self.pass_state["t0"][0]) + int(self.buffers.snapshot[snapshot.NOW]), "ns")
            raise FeatureError(
                f"a user-defined feature ({names}) raised an exception at the event that ended at {when} UTC. Most likely a division by "
                "zero or an index out of range; run with NUMBA_DISABLE_JIT=1 to see the line."
            )

    def _grow_out(self) -> None:
        more = max(len(self.ts), 1024)
        self.values = np.concatenate([self.values, np.empty((more, self.n_columns))])
        self.ts = np.concatenate([self.ts, np.empty(more, np.int64)])
        self._set_out_addresses()

    def matrix(self) -> tuple[np.ndarray, np.ndarray]:
        """(values, ts) written so far, trimmed to the rows written."""
        n = self.n_out
        if self.has_given_memory:
            return self.values[:n], self.ts[:n]
        self.values.resize((n, self.n_columns), refcheck=False)
        self.ts.resize(n, refcheck=False)
        return self.values, self.ts
