"""The log of rows that strategies record: written by the kernels, drained when full, split by account."""

from collections.abc import Sequence

import numpy as np

from nbtrade._numba.pointers import array_address
from nbtrade.engine.instrument_state import LOG_ROWS, copy_of
from nbtrade.engine.kernels.recording import HEAD_WORDS, record_row


class Recording:
    """The recorded rows of one run.

    run  : RUN[1], whose fields are set here       names : fields that the strategy records; none: nothing is allocated
    kept : bool[n]: accounts whose rows are kept; None: all
    """

    def __init__(self, run: np.ndarray, names: Sequence[str], n_accounts: int, kept: np.ndarray | None) -> None:
        self.run, self.names = run, tuple(names)
        self.kept = np.ones(n_accounts, np.int64) if kept is None else np.asarray(kept, np.int64)
        self.parts: list[np.ndarray] = []
        self.words = HEAD_WORDS + len(self.names)
        self.spare = np.zeros(self.words + 1, np.int64)
        n_kept = int(self.kept.sum()) if self.names else 0
        self.log = np.empty(max(LOG_ROWS, 2 * n_kept) * self.words if n_kept else 0, np.int64)
        run["n_record_fields"], run["n_recorded"] = len(self.names), n_kept
        run["recorded_at"], run["spare_row_at"] = array_address(self.kept), array_address(self.spare)
        self._set_log()

    def _set_log(self) -> None:
        self.run["n_records"] = 0
        self.run["records_at"], self.run["records_capacity"] = array_address(self.log), len(self.log) // self.words

    def drain(self) -> None:
        """Copy the rows out of the log and empty it."""
        n = int(self.run["n_records"][0])
        if n:
            self.parts.append(copy_of(self.log[: n * self.words]))
            self._set_log()

    def rows(self) -> np.ndarray:
        """All rows, by time and account: record_row(n)[]."""
        words = np.concatenate([np.zeros(0, np.int64), *self.parts])
        self.parts = [words]
        return words.view(record_row(len(self.names)))


def named_rows(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(ts, names ...)[n] of record_row(n)[]."""
    out = np.empty(len(rows), [("ts", "i8"), *((name, "f8") for name in names)])
    out["ts"] = rows["ts"]
    for i, name in enumerate(names):
        out[name] = rows["fields"][:, i]
    return out
