"""Folders that are whole or not there: a finished one gets its name in one step, or takes that of another."""

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbtrade.errors import NbtradeError, StoreWriteError, TapeExists
from nbtrade.storage.disk import DISK

RENAME_EXCHANGE = 2
AT_FDCWD = -100
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of a full disk what did not fit, and where: the system's own error has neither."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, NbtradeError):
            raise
        free = shutil.disk_usage(path.parent if path.parent.exists() else ".").free
        raise StoreWriteError(
            error.errno,
            f"{os.strerror(error.errno)} while {path} was written ({free / 1e6:,.0f} MB are free there now). Nothing of it is left "
            "behind: make room, or choose another folder",
        ) from None


def exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step, so that `old`'s name never stands for nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):  # glibc before 2.28
        _exchange_in_two_steps(new, old)
        return
    if libc.renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(old), RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), str(old))
        _exchange_in_two_steps(new, old)  # a file system without it


def _exchange_in_two_steps(new: Path, old: Path) -> None:
    aside = new.with_name(new.name + ".old")
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)


def publish(building: Path, target: Path, replace: bool) -> None:
    """Give a finished, synced folder its final name; with `replace`, drop what had it."""
    try:
        os.rename(building, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        if not replace:
            raise TapeExists(f"{target} is there already. Pass replace=True (--replace) or another name.") from None
        exchange(building, target)
        shutil.rmtree(building, ignore_errors=True)
    DISK.sync_folder(target.parent)


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: kernels that read are compiled for this type alone."""
    view = array.view(np.recarray) if array.dtype.names else array.view()
    view.flags.writeable = False
    return view
