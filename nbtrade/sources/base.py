"""The interface of every source: a name, some metadata, and batches of 56-byte records.

    Source.batches() ──> RECORD[n] (reused memory: valid until the next)
    overlapped(batches)      the same, read ahead by a thread while the caller works

A source is read in one pass, front to back, in bounded memory.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nbtrade._numba.jit import as_record_array
from nbtrade.schema import LOT_SCALE

# 1.8 MB: four buffers of 7 MB do not fit in the caches, and the decoder, which is the bottleneck, took 55 ns a record instead of 51.
BATCH_RECORDS = 1 << 15
N_BUFFERS = 4

Progress = Callable[[int], None]  # called with source bytes read since the last call


@dataclass
class Source:
    """One vendor file, opened and checked.

    batches : function(progress) -> iterator of RECORD[n]
    symbols : instrument_id -> symbol, for the instruments that the source names
    lot_units : the size of one lot in 1e-9 units of the asset
    """

    path: Path
    kind: str
    dataset: str
    n_bytes: int
    batches: Callable[[Progress], Iterator[np.ndarray]]
    symbols: dict[int, str] = field(default_factory=dict)
    lot_units: int = LOT_SCALE


def new_buffers(dtype: np.dtype, n: int = BATCH_RECORDS) -> list[np.ndarray]:
    """Buffers for a batch iterator to use in rotation."""
    return [as_record_array(np.empty(n, dtype)) for _ in range(N_BUFFERS)]


def overlapped(batches: Iterator[np.ndarray]) -> Generator[np.ndarray, None, None]:
    """Run `batches` in a thread, at most N_BUFFERS - 2 batches ahead of the caller.

    An error in the thread is raised here; leaving early (an error or Ctrl-C in the caller) ends the thread.
    """
    ready: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()  # not Queue: Ctrl-C in its Python code can lose a wake-up
    room: queue.SimpleQueue[None] = queue.SimpleQueue()  # one item per batch that may still be put
    for _ in range(N_BUFFERS - 2):
        room.put(None)
    stop = threading.Event()

    def put(item: tuple[str, object]) -> bool:
        while not stop.is_set():
            try:
                room.get(timeout=0.1)
            except queue.Empty:
                continue
            ready.put(item)
            return True
        return False

    def read() -> None:
        try:
            for batch in batches:
                if not put(("batch", batch)):
                    return
            put(("end", None))
        except BaseException as error:  # any error: the caller raises it
            put(("error", error))

    thread = threading.Thread(target=read, name="nbtrade-read", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            room.put(None)
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(item, BaseException)
                raise item
            assert isinstance(item, np.ndarray)
            yield item
    finally:
        stop.set()
        thread.join()
