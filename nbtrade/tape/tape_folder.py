"""What a tape's folder may hold, and when it may be replaced: only a folder with a tape and nothing else is ever removed.

    check_target   before any work, and again just before the swap      raises TapeExists, changes nothing
    publish        .NAME.ingesting <-swap-> NAME, then remove           the old tape stands until the new one has its name
    remove         the files of a tape by name, then the empty folder   never a whole tree: what is not a tape's file stays

A folder holds a tape when its manifest.json is ours (manifest.is_ours) and every entry is a regular file with a name that tapes use.
A tape that lost a column may be replaced; one with a file of the user's own may not.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from nbtrade.errors import TapeError, TapeExists
from nbtrade.schema import COLUMNS
from nbtrade.storage import atomic
from nbtrade.storage.disk import DISK
from nbtrade.tape import manifest

FILES = frozenset({manifest.NAME, "lock", *(f"{name}.col" for name in COLUMNS)})
SHOWN = 5  # names in a message


def unexpected(folder: Path) -> list[str]:
    """Entries of a folder that are not files of a tape: other names, folders, symbolic links."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name not in FILES or not entry.is_file(follow_symlinks=False))


def remove(folder: Path) -> None:
    """Remove the files of a tape from a folder, and the folder if it is empty then. Anything else in it stays."""
    with contextlib.suppress(OSError):
        others = set(unexpected(folder))
        for name in sorted(FILES - others):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(folder / name)
        os.rmdir(folder)


def check_building(folder: Path, source: Path | None) -> None:
    """Raise TapeExists when the folder in which a tape is built exists and holds anything but what an interrupted ingest leaves."""
    if not os.path.lexists(folder):
        return
    reason = _not_a_folder(folder) or _extra(folder) or _holds_source(folder, source)
    if reason:
        raise TapeExists(f"{folder} is needed to write the tape, but {reason}. Nothing was changed. Move it away, or choose another name.")


def check_target(target: Path, replace: bool, source: Path | None = None) -> None:
    """Raise TapeExists when a tape cannot get this name: it exists, and either `replace` is not set or it is not a tape alone.

    source : the file that is read, which must not be removed
    """
    if not os.path.lexists(target):
        return
    if not replace:
        raise TapeExists(f"{target} is there already. Pass replace=True (--replace) or another name.")
    reason = _not_a_folder(target) or _not_ours(target) or _extra(target) or _holds_source(target, source) or _in_use(target)
    if reason:
        raise TapeExists(f"{target} is not a tape: it is not replaced. Reason: {reason}. Nothing was changed. {_next_step(target)}")


def _next_step(target: Path) -> str:
    if target.is_symlink():
        return "Pass the folder that the link points to, or choose another name."
    return "Choose another name, or move what you need out of it and remove the rest yourself."


def _not_a_folder(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"it is a symbolic link to {os.readlink(path)}"
    return "" if stat.S_ISDIR(mode) else "it is a file"


def _not_ours(folder: Path) -> str:
    try:
        if manifest.is_ours(manifest.read(folder)):
            return ""
    except FileNotFoundError:
        return f"it has no {manifest.NAME}"
    except TapeError as error:
        return str(error).rstrip(".")
    return f"its {manifest.NAME} is not that of a tape"


def _extra(folder: Path) -> str:
    names = unexpected(folder)
    shown = ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
    return f"it holds {shown}, which is not part of a tape" if names else ""


def _holds_source(folder: Path, source: Path | None) -> str:
    if source is None or not source.resolve().is_relative_to(folder.resolve()):
        return ""
    return f"the source {source} is in it"


def _in_use(folder: Path) -> str:
    if os.path.ismount(folder):
        return "another file system is mounted there"
    with contextlib.suppress(FileNotFoundError):  # a current folder that was removed
        if os.path.samefile(folder, os.curdir):
            return "it is the current folder"
    return ""


def publish(building: Path, target: Path, replace: bool, source: Path | None = None) -> None:
    """Give a finished, synced folder its final name; with `replace`, remove the tape that had it.

    Raises TapeExists, OSError: then whatever had the name has it still.
    """
    try:
        os.rename(building, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        check_target(target, replace, source)
        atomic.exchange(building, target)
        _remove_replaced(building, target)
    DISK.sync_folder(target.parent)


def _remove_replaced(old: Path, target: Path) -> None:
    """Remove the tape that was swapped out, unless something was put into it since it was checked: then swap back."""
    reason = _extra(old)
    if reason:
        atomic.exchange(old, target)
        raise TapeExists(f"{target} was changed while the new tape was written: {reason}. It was not replaced. {_next_step(target)}")
    remove(old)


def recover(building: Path, target: Path) -> None:
    """Undo a swap in two steps that was killed between them: the old tape gets its name back, or is removed if the new one has it."""
    aside = atomic.aside(building)
    if aside.is_symlink() or not aside.is_dir() or unexpected(aside) or _not_ours(aside):
        return
    if os.path.lexists(target):
        remove(aside)
    else:
        os.rename(aside, target)
