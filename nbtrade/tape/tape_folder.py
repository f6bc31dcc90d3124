"""The files of a tape's folder, and when it may be replaced: only a folder with a tape and nothing else is ever removed.

    check_target   before any work, and again just before the swap      raises TapeExists, changes nothing
    publish        .NAME.ingesting <-swap-> NAME, then remove           the old tape keeps the name until the swap
    remove         the files of a tape by name, then the empty folder   never a whole tree: other files stay

A folder holds a tape when its manifest.json is nbtrade's (manifest.is_ours) and every entry is a regular file with a name that tapes use.
A tape that lost a column may be replaced; a folder with a user's file may not.
"""

import contextlib
import os
import stat
from pathlib import Path

from nbtrade.errors import TapeError, TapeExists
from nbtrade.schema import COLUMNS
from nbtrade.storage import atomic
from nbtrade.tape import manifest

FILES = frozenset({manifest.NAME, "lock", *(f"{name}.col" for name in COLUMNS)})
SHOWN = 5  # names in a message


def unexpected(folder: Path) -> list[str]:
    """Entries of a folder that are not files of a tape: unknown names, folders, symbolic links."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name not in FILES or not entry.is_file(follow_symlinks=False))


def remove(folder: Path) -> None:
    """Remove the files of a tape from a folder, and the folder if it is then empty. All other files stay."""
    with contextlib.suppress(OSError):
        others = set(unexpected(folder))
        for name in sorted(FILES - others):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(folder / name)
        os.rmdir(folder)


def check_building(folder: Path, source: Path | None) -> None:
    """Raise TapeExists if the build folder exists and contains anything but the leftovers of an interrupted ingest."""
    if not os.path.lexists(folder):
        return
    reason = _not_a_folder(folder) or _extra(folder) or _holds_source(folder, source)
    if reason:
        raise TapeExists(f"{folder} is needed to write the tape, but {reason}. Nothing was changed. Move it, or choose another name.")


def check_target(target: Path, replace: bool, source: Path | None = None) -> None:
    """Raise TapeExists if the name is taken: the folder exists, and `replace` is not set or it contains more than a tape.

    source : the file being read, which must not be removed
    """
    if not os.path.lexists(target):
        return
    if not replace:
        raise TapeExists(f"{target} already exists. Pass replace=True (--replace) or choose another name.")
    reason = _not_a_folder(target) or _not_ours(target) or _extra(target) or _holds_source(target, source) or _in_use(target)
    if reason:
        raise TapeExists(f"{target} is not a tape, so it was not replaced: {reason}. Nothing was changed. {_next_step(target)}")


def _next_step(target: Path) -> str:
    if target.is_symlink():
        return "Pass the folder that the link points to, or choose another name."
    return "Choose another name, or move the files you need elsewhere and remove the folder yourself."


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
    return f"its {manifest.NAME} is not a tape's manifest"


def _extra(folder: Path) -> str:
    names = unexpected(folder)
    shown = ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
    return f"it contains {shown}, which is not part of a tape" if names else ""


def _holds_source(folder: Path, source: Path | None) -> str:
    if source is None or not source.resolve().is_relative_to(folder.resolve()):
        return ""
    return f"it contains the source {source}"


def _in_use(folder: Path) -> str:
    if os.path.ismount(folder):
        return "another file system is mounted there"
    with contextlib.suppress(FileNotFoundError):  # the current folder has been removed
        if os.path.samefile(folder, os.curdir):
            return "it is the current folder"
    return ""


def publish(building: Path, target: Path, replace: bool, source: Path | None = None) -> None:
    """Give a finished, synced folder its final name; with `replace`, remove the tape that had the name.

    Raises TapeExists, OSError: then the name still belongs to the folder that had it before.
    """
    if atomic.publish(building, target, lambda: check_target(target, replace, source), lambda old: _check_replaced(old, target)):
        remove(building)


def _check_replaced(old: Path, target: Path) -> None:
    """Raise TapeExists if the tape that was swapped out has been changed since the check."""
    reason = _extra(old)
    if reason:
        raise TapeExists(f"{target} was changed while the new tape was written: {reason}. It was not replaced. {_next_step(target)}")


def recover(building: Path, target: Path) -> None:
    """Undo a two-step swap that was killed in between: rename the old tape back, or remove it if the new one has the name."""
    aside = atomic.aside(building)
    if aside.is_symlink() or not aside.is_dir() or unexpected(aside) or _not_ours(aside):
        return
    if os.path.lexists(target):
        remove(aside)
    else:
        os.rename(aside, target)
