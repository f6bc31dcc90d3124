"""A second thread for what can be done while the first waits for the disk.

    writer   ... fdatasync ....................| answer |     in the system: it does not hold the interpreter's lock
    beside       work: the index, page counts ...|            has it meanwhile

The waiting is done here and the work there, not the other way round: whoever syncs needs the interpreter's lock to begin, and would
wait for the work.

The thread is a little nice. The system's own steps of a sync (pages written, extents converted, its journal) often run on the CPU where
the work is done, and the sync ends the later the longer they wait for it: 500 durable updates of 256 B took 1.4 ms with the work before
the sync, 1.3 beside it, 1.03 beside it and nice. Weak case: with three busy processes on two CPUs 4.4 ms instead of 3.7; and a disk that
syncs at once, where the work is waited for, with some 50 us of waking up.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from nbtrade.storage.system import lower_thread_priority

NICE = 3  # 1 gives half of it, 5 no more

Work = Callable[[], Any]


class SyncWorker:
    """One thread, started with the first work. Used by one thread at a time."""

    def __init__(self) -> None:
        self.work: SimpleQueue[Work | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.thread: threading.Thread | None = None

    def run(self, work: Work, wait: Callable[[], None]) -> Any:
        """work(), done beside wait(); both have ended when it returns. Raises what `wait` raises, else what `work` does."""
        if self.thread is None:
            self.thread = threading.Thread(target=_serve, args=(self.work, self.answers), name="nbtrade-blocks-index", daemon=True)
            self.thread.start()
        self.work.put(work)
        try:
            wait()
        finally:
            answer, error = self.answers.get()
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """End the thread."""
        if self.thread is not None:
            self.work.put(None)
            self.thread.join()
            self.thread = None


def _serve(queue: "SimpleQueue[Work | None]", answers: "SimpleQueue[tuple[Any, BaseException | None]]") -> None:
    lower_thread_priority(NICE)
    while (work := queue.get()) is not None:
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))
        del work  # what it holds is not kept until the next one comes
