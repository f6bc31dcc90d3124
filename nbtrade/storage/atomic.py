"""Folders that are whole or not there: a finished one gets its name in one step, or takes that of another."""

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbtrade.errors import NbtradeError, StoreWriteError

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


def aside(new: Path) -> Path:
    """Where the old folder is for a moment when two are swapped in steps."""
    return new.with_name(new.name + ".old")


def _exchange_in_two_steps(new: Path, old: Path) -> None:
    """The same for file systems without it. Undone when a step fails; killed between two, `old` is left at `aside(new)`."""
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
    """A read-only view: kernels that read are compiled for this type alone."""
    view = array.view(np.recarray) if array.dtype.names else array.view()
    view.flags.writeable = False
    return view
