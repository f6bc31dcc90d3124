"""Check a tape: compare its bytes with the hashes, and replay its rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.errors import TapeError
from nbtrade.tape.book_snapshot import book_arrays
from nbtrade.tape.rows import TapeRows


@dataclass(frozen=True)
class Audit:
    """The findings of a replay. `print` shows them.

    Parameters
    ----------
    n_rows, n_events : int
        Rows and events of the tape.
    n_crossed : int
        Events after which the best bid is at or above the best ask.
    n_negative : int
        Rows that take a level below zero or have a wrong TURN flag: above 0 the tape is damaged.
    crossed_rows : i8[n]
        Rows (of the whole tape) of the first 10,000 crossed event ends.
    faults : dict
        Faults in the source's records: kind -> count and the first record numbers.

    Examples
    --------
    >>> tape.audit().n_crossed
    0
    """

    n_rows: int
    n_events: int
    n_crossed: int
    n_negative: int
    crossed_rows: np.ndarray
    faults: dict[str, Any]

    def __str__(self) -> str:
        lines = [f"{self.n_events:,} events in {self.n_rows:,} rows", f"{self.n_crossed:,} crossed event ends"]
        if self.n_negative:
            lines.append(f"{self.n_negative:,} rows take a level below zero or have a wrong TURN flag: the tape is damaged")
        lines += [f"{fault['count']:,} {name}, first at record {fault['first']}" for name, fault in self.faults.items()]
        return "\n".join(lines)


def audit(tape: TapeRows) -> Audit:
    """See Tape.audit."""
    check_hashes(tape)  # first: replaying damaged rows may access any memory
    book, at = book_arrays(tape), 0
    crossed, counts = np.zeros(10_000, np.int64), np.zeros(3, np.int64)
    while (at := books.audit(tape.events, at, len(tape), *book, crossed, counts)) < len(tape):
        book = arrays.grown(book)
    n_crossed = int(counts[1])
    rows = crossed[: min(n_crossed, len(crossed))] + tape.start
    return Audit(len(tape), int(counts[0]), n_crossed, int(counts[2]), rows, tape.manifest["faults"])


def check_hashes(tape: TapeRows) -> None:
    """Raise TapeError for a column that differs from the one written."""
    import xxhash

    for name, column in tape.manifest.get("columns", {}).items():
        if xxhash.xxh3_128_hexdigest(tape.whole[name].view(np.uint8)) != column["xxh3_128"]:
            raise TapeError(
                f"{tape.path / name}.col is damaged: its hash differs from the xxh3-128 in the manifest, {column['xxh3_128']}. "
                "Restore the tape from a copy, or ingest the source again with replace=True (--replace)."
            )
