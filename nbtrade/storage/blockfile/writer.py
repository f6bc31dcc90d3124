"""The writer thread: a bounded queue of changes, committed in groups.

    put ... put ... put        queue.put, flush, close: any thread
        |  waits while `capacity` ops or CAPACITY_BYTES are queued
        v
    ops [.........]   queued: name -> newest op not yet committed       reads check here first
        |  a group is taken when `group` ops are queued, `interval` seconds after its first op, or at a flush
        v
    commit(ops)       in the writer thread, without the mutex

The error of a group is stored and raised by the next put, flush or close; only once, if later groups can succeed.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from nbtrade.errors import BlockWriteError
from nbtrade.storage.blockfile.layout_batch import Batch, Op, Queued
from nbtrade.storage.blockfile.pool import Pool

_name = itemgetter(0)
CAPACITY_BYTES = 256 << 20


class WriteQueue:
    """Commits through `commit`, which may raise OSError. idle : called while the queue is empty, until it returns False."""

    def __init__(
        self,
        commit: Callable[[list[Op | Batch]], object],
        pool: Pool,
        capacity: int,
        group: int,
        interval: float,
        idle: Callable[[], bool],
    ) -> None:
        self.commit, self.pool, self.idle = commit, pool, idle
        self.capacity, self.group, self.interval = capacity, group, interval
        self.queued: dict[str, Queued] = {}
        self.ops: list[Op | Batch] = []
        self.n_ops = self.n_bytes = 0
        self.calls: list[tuple[Callable[[], Any], list[Any]]] = []
        self.n_put = self.n_done = self.flush_to = 0
        self.first_at = 0.0
        self.closing = False
        self.error: BaseException | None = None
        self.mutex = threading.Lock()
        self.work, self.room, self.done = (threading.Condition(self.mutex) for _ in range(3))
        self.thread = threading.Thread(target=self._run, name="nbtrade-blocks", daemon=True)
        self.thread.start()

    # --- any thread -----------------------------------------------------------------------------------
    def put(self, ops: list[Op]) -> None:
        """Queue changes that belong to one group, at most `capacity`; waits for room."""
        n_bytes = _bytes_in(ops)
        with self.mutex:
            self._wait_for_room(len(ops), n_bytes)
            self._add(ops, n_bytes)

    def put_batch(self, batch: Batch) -> None:
        """Queue plain bytes that belong to one group, at most `capacity`; waits for room."""
        n_bytes = sum(map(len, batch.values()))
        with self.mutex:
            self._wait_for_room(len(batch), n_bytes)
            self._queue([batch], len(batch), n_bytes)
            self.queued.update(batch)

    def change(self, make: Callable[[], list[Op]]) -> None:
        """Queue the result of `make`, which is called with the queue locked."""
        with self.mutex:
            self._wait_for_room(2, 0)
            ops = make()
            self._add(ops, _bytes_in(ops))

    def offer(self, op: Op, wanted: Callable[[], bool]) -> None:
        """Queue a change if there is room now, no newer change of that name is queued, and wanted() is still true."""
        with self.mutex:
            if op.name not in self.queued and not self.closing and self._has_room(1, len(op.data)) and wanted():
                self._add([op], len(op.data))

    def _wait_for_room(self, n: int, n_bytes: int) -> None:
        while not self._has_room(n, n_bytes):
            self.flush_to = self.n_put  # a full queue does not wait for its interval
            self.work.notify()
            self.room.wait()
        self._raise()

    def _has_room(self, n: int, n_bytes: int) -> bool:
        if not self.ops or self.error:
            return True
        return self.n_ops + n <= self.capacity and self.n_bytes + n_bytes <= CAPACITY_BYTES

    def _add(self, ops: list[Op], n_bytes: int) -> None:
        self._queue(ops, len(ops), n_bytes)
        self.queued.update(zip(map(_name, ops), ops, strict=True))

    def _queue(self, changes: Sequence[Op | Batch], n: int, n_bytes: int) -> None:
        if not self.ops:
            self.first_at = time.monotonic()
            self.work.notify()
        self.ops += changes
        self.n_ops += n
        self.n_bytes += n_bytes
        self.n_put += n
        if self.n_ops >= self.group:
            self.work.notify()

    def flush(self) -> None:
        """Wait until all queued changes are durable. Raises the stored error, if any."""
        with self.mutex:
            target = self.flush_to = self.n_put
            self.work.notify()
            while self.n_done < target and self.thread.is_alive():
                self.done.wait()
            self._raise()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` in the writer thread after all queued changes. Returns its result or raises its error."""
        answer: list[Any] = []
        with self.mutex:
            self.calls.append((function, answer))
            self.flush_to = self.n_put
            self.work.notify()
            while not answer:
                self.done.wait()
            self._raise()
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    def close(self) -> None:
        """Commit all changes and end the thread. Raises the stored error, if any."""
        with self.mutex:
            self.closing = True
            self.work.notify()
        self.thread.join()
        self.commit = self.idle = _nothing  # breaks a cycle, so that the mapping is freed with its last reference
        with self.mutex:
            self._raise()

    def _raise(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    # --- the writer thread ----------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self.mutex:
                n, ops, calls = self._take()
                if not ops and not calls:
                    return
            error = self._commit(ops) if ops else None
            answers = [(answer, _answer(function)) for function, answer in calls]
            with self.mutex:
                self._forget(ops)
                self.n_done += n
                self.error = self.error or error
                for answer, value in answers:
                    answer.append(value)
                self.done.notify_all()
            for op in ops:
                if isinstance(op, Op) and op.rented is not None:
                    self.pool.give_back(op.rented)

    def _forget(self, ops: list[Op | Batch]) -> None:
        """Remove committed changes from the queue: reads find them in the index."""
        queued = self.queued
        if not self.ops:  # nothing else is queued
            queued.clear()
            return
        for op in ops:
            for name, value in op.items() if isinstance(op, dict) else [(op.name, op)]:
                if queued.get(name) is value:
                    del queued[name]

    def _take(self) -> tuple[int, list[Op | Batch], list[tuple[Callable[[], Any], list[Any]]]]:
        """Wait for a group or for calls; returns neither when closed and drained."""
        while not self.ops and not self.calls and not self.closing:
            self._wait_idly()
        while not self._is_due():
            self.work.wait(max(0.0, self.first_at + self.interval - time.monotonic()))
        n, ops = self.n_ops, self.ops
        self.ops, self.n_ops, self.n_bytes = [], 0, 0
        calls, self.calls = self.calls, []
        self.room.notify_all()
        return n, ops, calls

    def _is_due(self) -> bool:
        if self.closing or self.calls or self.n_ops >= self.group or self.flush_to > self.n_done:
            return True
        return time.monotonic() >= self.first_at + self.interval

    def _wait_idly(self) -> None:
        self.mutex.release()
        more = _answer(self.idle)
        self.mutex.acquire()
        if isinstance(more, BaseException):
            self.error = self.error or more
        if not more and not self.ops and not self.calls and not self.closing:
            self.work.wait()

    def _commit(self, ops: list[Op | Batch]) -> BaseException | None:
        try:
            self.commit(ops)
        except BlockWriteError as error:
            return error
        except OSError as error:
            return not_written(error, (name for op in ops for name in (op if isinstance(op, dict) else (op.name,))))
        except BaseException as error:
            return error
        return None


def _bytes_in(ops: list[Op]) -> int:
    return sum([len(op[1]) for op in ops if op[1] is not None])


def _nothing(*_: object) -> bool:
    return False


def _answer(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except BaseException as error:
        return error


def not_written(error: OSError, names: Iterable[str]) -> BlockWriteError:
    """The error for a failed group, none of which is stored."""
    lost = list(dict.fromkeys(names))
    shown = ", ".join(repr(name) for name in lost[:5]) + (f" and {len(lost) - 5:,} more" if len(lost) > 5 else "")
    return BlockWriteError(
        error.errno or 0,
        f"{error.strerror or error}: {len(lost):,} queued changes were not written and are dropped ({shown}). "
        "Earlier commits are intact. Free some space and put them again",
        str(error.filename) if error.filename else None,
    )
