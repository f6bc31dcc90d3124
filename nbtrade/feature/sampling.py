"""When the rows of a feature matrix are written.

"event"  every event's end          n         every n-th            "100ms"    multiples of a time span since the epoch
"trade"  events with a trade        "quote"   changes of the best prices or their sizes
("volume", lots)   each time this volume has traded      ("value", amount)   each time this value in currency has traded
i8[n]    given times, ascending, ns: for example another matrix's `ts`
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbtrade.feature.kernels import snapshot
from nbtrade.tape.tape import Tape
from nbtrade.times import all_to_ns, ns_of

NAMES = {"event": snapshot.SAMPLE_EVENTS, "trade": snapshot.SAMPLE_TRADES, "quote": snapshot.SAMPLE_QUOTES}
AMOUNTS = {"volume": snapshot.SAMPLE_VOLUME, "value": snapshot.SAMPLE_VALUE}


@dataclass(frozen=True)
class Sampling:
    """mode: SAMPLE_*; every: events or ns; amount: lots or currency; times: ns."""

    mode: int
    every: int = 1
    amount: float = 0.0
    times: np.ndarray | None = None

    def max_rows(self, tape: Tape) -> int:
        """Upper bound for the number of rows that a tape can give."""
        if self.times is not None:
            return len(self.times)
        if self.mode == snapshot.SAMPLE_TIME:
            return (int(tape.ts_recv[-1]) - int(tape.ts_recv[0])) // self.every + 2 if len(tape) else 0
        return len(tape) // (self.every if self.mode == snapshot.SAMPLE_EVENTS else 1) + 1

    def key(self) -> str:
        """Everything that distinguishes the sampling, as text."""
        import xxhash

        times = "" if self.times is None else xxhash.xxh3_128_hexdigest(self.times.tobytes())
        return f"{self.mode} {self.every} {self.amount} {times}"


def sampling_of(sample: Any) -> Sampling:
    """Parse the argument `sample`. Raises ValueError that lists all forms."""
    if isinstance(sample, Sampling):
        return sample
    if isinstance(sample, str) and sample in NAMES:
        return Sampling(NAMES[sample])
    if isinstance(sample, tuple) and len(sample) == 2 and sample[0] in AMOUNTS:
        if not float(sample[1]) > 0:
            raise ValueError(f"sample={sample!r}: the {sample[0]} between samples must be positive")
        return Sampling(AMOUNTS[sample[0]], amount=float(sample[1]))
    if isinstance(sample, (int, np.integer, str)) and not isinstance(sample, bool):
        return _regular(sample)
    times = np.ascontiguousarray(all_to_ns(sample)) if np.ndim(sample) == 1 else None
    if times is None:
        raise ValueError(f"sample={sample!r}: pass 'event', n, '100ms', 'trade', 'quote', ('volume', lots), ('value', amount) or times")
    if len(times) > 1 and (np.diff(times) < 0).any():
        raise ValueError("sample: the times must be ascending: sort them, for example with np.sort")
    return Sampling(snapshot.SAMPLE_TIMES, times=times)


def _regular(sample: Any) -> Sampling:
    """Every n-th event, or a time span."""
    mode = snapshot.SAMPLE_TIME if isinstance(sample, str) else snapshot.SAMPLE_EVENTS
    every = ns_of(sample)
    if every <= 0:
        raise ValueError(f"sample={sample!r}: the distance between samples must be positive")
    return Sampling(mode, every)
