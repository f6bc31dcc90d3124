"""Arguments whose fields the strategy's decorator names."""

from typing import Any

from nbtrade.engine.interface.argument import Argument


class _Named(Argument):
    """Fields that the strategy's own decorator names."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Params(_Named):
    """Parameters of the strategy: what `params=` names, read-only, one set for each account.

    Examples
    --------
    >>> def strategy(params: Params) -> None:
    ...     px_offset = params.edge
    """


class State(_Named):
    """Memory of the strategy: what `state=` names. Kept from one wake to the next, one record for each account."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Features(_Named):
    """Features, as last known at this wake: `features.name`, or `features[i]` for a column of a matrix; NaN before the first."""

    def __getitem__(self, i: int) -> float:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class Record(_Named):
    """What the strategy records: float fields named by `record=`. A wake that sets any of them appends a row to `result.records`."""

    def __setattr__(self, name: str, value: float) -> None:
        raise AttributeError(name)
