"""Arguments whose fields are declared in the strategy's decorator."""

from typing import Any

from nbtrade.engine.interface.argument import Argument


class _Named(Argument):
    """Fields are declared in the strategy's decorator."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Params(_Named):
    """Parameters of the strategy, declared by `params=`: read-only, one set per account.

    Examples
    --------
    >>> def strategy(params: Params) -> None:
    ...     px_offset = params.edge
    """


class State(_Named):
    """Memory of the strategy, declared by `state=`: kept from one wake to the next, one record per account.

    Examples
    --------
    >>> def strategy(state: State) -> None:
    ...     state.n_wakes += 1
    """

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Features(_Named):
    """Features as last known at this wake: `features.name`, or `features[i]` for a column of a matrix; NaN before the first.

    Examples
    --------
    >>> def strategy(market: Market, account: Account, features: Features) -> None:
    ...     if features.imbalance > 0.5:
    ...         account.quote(nbtrade.BID, market.bid_px, 1)
    """

    def __getitem__(self, i: int) -> float:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class Record(_Named):
    """Output of the strategy: float fields declared by `record=`. A wake that sets any of them appends a row to `result.records`.

    Examples
    --------
    >>> def strategy(market: Market, record: Record) -> None:
    ...     record.spread = market.ask_px - market.bid_px
    """

    def __setattr__(self, name: str, value: float) -> None:
        raise AttributeError(name)
