"""Folders that appear complete: finished under a temporary name, then renamed or exchanged atomically with an existing folder."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nbtrade.errors import NbtradeError, StoreWriteError
from nbtrade.storage import system
from nbtrade.storage.disk import DISK

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise StoreWriteError for a full disk, with the path and the free space: the system's error has neither."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, NbtradeError):
            raise
        free = shutil.disk_usage(path.parent if path.parent.exists() else ".").free
        raise StoreWriteError(
            error.errno,
            f"{os.strerror(error.errno)} while writing {path} ({free / 1e6:,.0f} MB are free there now). The incomplete output was "
            "removed: free some space, or choose another folder",
        ) from None


def exchange(new: Path, old: Path) -> None:
    """Swap two folders, atomically where the file system can, so that `old` always exists."""
    if not system.exchange(new, old):
        _exchange_in_two_steps(new, old)


def publish(building: Path, target: Path, check: Callable[[], object], check_replaced: Callable[[Path], object]) -> bool:
    """Rename a finished, synced folder to `target`, swapping it with a folder that has the name. Returns True if it was swapped.

    check          : raises if the folder at `target` must not be replaced
    check_replaced : the same for that folder once it is swapped out, now at `building`: then the swap is undone

    Raises what the checks raise, and OSError: then the name still belongs to the folder that had it before.
    """
    try:
        os.rename(building, target)
        is_swapped = False
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        is_swapped = True
    if is_swapped:
        check()
        exchange(building, target)
        try:
            check_replaced(building)
        except BaseException:
            exchange(building, target)
            raise
    DISK.sync_folder(target.parent)
    return is_swapped


def aside(new: Path) -> Path:
    """Temporary name of the old folder when two are swapped in steps."""
    return new.with_name(new.name + ".old")


def _exchange_in_two_steps(new: Path, old: Path) -> None:
    """Swap by three renames. A failed step undoes the earlier ones; if the process is killed in between, `old` may be at `aside(new)`."""
    between = aside(new)
    steps = [(old, between), (new, old), (between, new)]
    for done, (source, target) in enumerate(steps):
        try:
            os.rename(source, target)
        except BaseException:
            for before, after in reversed(steps[:done]):
                os.rename(after, before)
            raise


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: reading kernels are compiled for this type only."""
    view = array.view(np.recarray) if array.dtype.names else array.view()
    view.flags.writeable = False
    return view
