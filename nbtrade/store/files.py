"""Files and folders that are whole or not there: locks, syncs, and one atomic exchange.

A lock is `flock` on an open file: the operating system frees it when the process ends, however it ends, so there are no
stale locks and no PID guesswork.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from pathlib import Path

import numpy as np

from nbtrade.errors import TapeExists

RENAME_EXCHANGE = 2
AT_FDCWD = -100


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock(path: Path) -> int:
    """Take the lock file `path`; returns its descriptor, which holds the lock until closed.

    Raises TapeExists, naming the holder, when another process has it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise TapeExists(f"{path.parent} is being written by another process (pid {holder}). Wait for it or stop it.") from None
    if not _is_still_there(fd, path):  # its last holder removed it between our open and flock
        os.close(fd)
        return lock(path)
    os.ftruncate(fd, 0)
    os.write(fd, str(os.getpid()).encode())
    return fd


def _is_still_there(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


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
    sync_folder(target.parent)


def map_array(path: Path, dtype: np.dtype, n: int) -> np.ndarray:
    """Map `n` items of a file read-only, as a plain array of exactly `dtype` (aligned dtypes stay aligned)."""
    if n == 0:
        return frozen(np.empty(0, dtype))
    mapped = np.memmap(path, dtype=np.uint8, mode="r", shape=(n * dtype.itemsize,))
    return frozen(np.ndarray(n, dtype, buffer=mapped))


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: kernels that read are compiled for this type alone."""
    view = array.view(np.recarray) if array.dtype.names else array.view()
    view.flags.writeable = False
    return view
