"""Exceptions that nbtrade raises. Each message has the location, the values, the likely cause and the next step."""


class NbtradeError(Exception):
    """Base class of all exceptions that nbtrade raises deliberately: catch it to catch them all."""


class SourceError(NbtradeError, ValueError):
    """A vendor's file cannot be read: unsupported, damaged or cut short. Download it again, or request schema 'mbo'."""


class TapeError(NbtradeError, ValueError):
    """A tape cannot be opened or used. Ingest the source again, or restore the tape from a copy."""


class TapeExists(NbtradeError, FileExistsError):
    """A tape of that name already exists or is being written. Pass replace=True, or choose another name."""


class OffTick(NbtradeError, ValueError):
    """A price is not a whole number of ticks. Round it, or check the tick."""


class StrategyError(NbtradeError, RuntimeError):
    """A strategy cannot be compiled, or failed during a run. The message quotes the offending line of the strategy."""


class CapacityError(NbtradeError, RuntimeError):
    """A preallocated part of nbtrade is full. The message names the limit and how to avoid or raise it."""


class StoreDamaged(NbtradeError, ValueError):
    """A stored file has a wrong checksum, length or kind. Restore it from a copy, or create it again."""


class StoreBusy(NbtradeError, BlockingIOError):
    """A stored file is being written by another process or object. Close that one, or retry later."""


class StoreWriteError(NbtradeError, OSError):
    """The disk rejected a write or sync: it is full or failing. Committed data is intact: free some space and retry."""


class BlockFileError(NbtradeError, ValueError):
    """A block file cannot be opened, or cannot be used in this way. The message has the reason."""


class BlockFileUnfinished(BlockFileError):
    """A block file is empty or contains only zeros: its creation was never completed. Remove it, or open it for writing."""


class BlockFileLocked(NbtradeError, BlockingIOError):
    """Another process, or another object in this one, has the block file open for writing. Close it, or open the file read-only."""


class BlockWriteError(NbtradeError, OSError):
    """Queued blocks could not be written (disk full, I/O error). Committed data is intact: free some space and write them again."""


class BlockNotFound(NbtradeError, KeyError):
    """No block has that name. List the names with `list()`."""

    __str__ = Exception.__str__  # KeyError would show the message's repr


class CorruptBlock(BlockFileError):
    """Stored bytes differ from those written, and no valid copy was found. Restore the file from a backup.

    name : of the block;  offset : of the bytes in the file
    """

    def __init__(self, message: str, name: str = "", offset: int = -1) -> None:
        super().__init__(message)
        self.name = name
        self.offset = offset


class FeatureError(NbtradeError, ValueError):
    """A feature set cannot be compiled or computed. The message names the feature and the valid values."""


class ResultError(NbtradeError, ValueError):
    """A result cannot be built, loaded or combined. The message names the file or column and the expected value."""


class ResultExists(NbtradeError, FileExistsError):
    """The folder for a result already exists. Choose another folder, or remove the old result."""
