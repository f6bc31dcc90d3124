"""What can go wrong, by name. Each message says what, where, with which values, why most likely, and what to do."""


class NbtradeError(Exception):
    """Base of all errors that nbtrade raises on purpose."""


class SourceError(NbtradeError, ValueError):
    """A vendor's file cannot be read: not what it should be, damaged, or cut short."""


class TapeError(NbtradeError, ValueError):
    """A tape cannot be opened or used."""


class TapeExists(NbtradeError, FileExistsError):
    """A tape of that name is there already, or is being written."""


class StrategyError(NbtradeError, RuntimeError):
    """A strategy cannot be compiled, or failed while it ran."""


class CapacityError(NbtradeError, RuntimeError):
    """A preallocated part of the engine is full."""


class FeatureError(NbtradeError, ValueError):
    """A feature set cannot be compiled or computed as it was asked for."""
