"""A second thread that works while the first waits for the disk.

    writer   ... fdatasync ....................| answer |     in the system call, without the interpreter's lock
    worker       work: the index, page counts ...|            with it

The calling thread syncs and the worker works, not the other way round: a thread needs the interpreter's lock to start a sync, and would
wait for the work.

The worker runs at a slightly lower priority. The system's own part of a sync (writing pages, converting extents, its journal) often runs on
the same CPU as the work, which delays it: 500 durable updates of 256 B took 1.4 ms with the work before the sync, 1.3 in parallel, and
1.03 in parallel at lower priority. Weak cases: with three busy processes on two CPUs 4.4 ms instead of 3.7; and a disk that syncs
immediately, where the caller waits for the work, plus some 50 us for waking up.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from nbtrade.storage.system import lower_thread_priority

NICE = 3  # steps of priority; 1 gains half as much, 5 no more

Work = Callable[[], Any]


class SyncWorker:
    """One thread, started at the first `run`. Used by one thread at a time."""

    def __init__(self) -> None:
        self.work: SimpleQueue[Work | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.thread: threading.Thread | None = None

    def run(self, work: Work, wait: Callable[[], None]) -> Any:
        """The result of work(), run in parallel with wait(); both have ended on return. Raises the error of `wait`, else that of `work`."""
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
        del work  # releases its references before the next one arrives
