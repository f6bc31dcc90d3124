"""What can go wrong, by name. Each message says what, where, with which values, why most likely, and what to do."""


class NbtradeError(Exception):
    """Base of all errors that nbtrade raises on purpose."""


class SourceError(NbtradeError, ValueError):
    """A vendor's file cannot be read: not what it should be, damaged, or cut short."""


class TapeError(NbtradeError, ValueError):
    """A tape cannot be opened or used."""


class TapeExists(NbtradeError, FileExistsError):
    """A tape of that name is there already, or is being written."""


class OffTick(NbtradeError, ValueError):
    """A price is no whole number of ticks."""


class StrategyError(NbtradeError, RuntimeError):
    """A strategy cannot be compiled, or failed while it ran."""


class CapacityError(NbtradeError, RuntimeError):
    """A preallocated part of the engine is full."""


class StoreDamaged(NbtradeError, ValueError):
    """A stored file is not what it should be: its checksums, its length or its kind are wrong."""


class StoreBusy(NbtradeError, BlockingIOError):
    """A stored file is being written by another process or object."""


class StoreWriteError(NbtradeError, OSError):
    """The disk refused a write or a sync: full, or failing. What was committed before is intact."""


class BlockFileError(NbtradeError, ValueError):
    """A block file cannot be opened or used as asked."""


class BlockFileUnfinished(BlockFileError):
    """A block file is empty or has only zeros: it is still to be made."""


class BlockFileLocked(NbtradeError, BlockingIOError):
    """Another process, or another part of this one, has the block file open for writing."""


class BlockWriteError(NbtradeError, OSError):
    """Queued blocks could not be written (disk full, I/O error). What was committed before is intact."""


class BlockNotFound(NbtradeError, KeyError):
    """There is no block of that name."""

    __str__ = Exception.__str__  # KeyError would show the message's repr


class CorruptBlock(BlockFileError):
    """Stored bytes are not what was written, and no valid copy was found. `name`: of the block, `offset`: in the file."""

    def __init__(self, message: str, name: str = "", offset: int = -1) -> None:
        super().__init__(message)
        self.name = name
        self.offset = offset


class FeatureError(NbtradeError, ValueError):
    """A feature set cannot be compiled or computed as it was asked for."""


class ResultError(NbtradeError, ValueError):
    """A result cannot be built, loaded or combined: the message names the file or column and the expected value."""


class ResultExists(NbtradeError, FileExistsError):
    """The folder for a result already exists."""
