"""Feature rows of a strategy: at each wake it sees the last row with a local time at or before the wake.

    strategy(features={"ofi": feature.ofi(5).ema("1s")}) ──> one pass over the tape ──> matrix ──> features.ofi at each wake, all accounts

The matrix is computed once before the run: at the timers' times if only timers wake the strategy, otherwise at the end of every event.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbtrade.engine.strategy import Strategy
from nbtrade.errors import StrategyError
from nbtrade.schema import Wake
from nbtrade.tape.tape import Tape


def feature_rows(strategy: Strategy, given: Any, tapes: Sequence[Tape] | None, feed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(local times i8[n] from which rows are known, rows f8[n, k] with columns in the strategy's order); None without features.

    given : a FeatureMatrix; None: the strategy's expressions are computed on each tape in turn
    feed  : ns from the capture server to the strategy
    Raises StrategyError when the strategy reads a column that the matrix lacks.
    """
    names = strategy.feature_names
    if given is None and strategy.expressions:
        if tapes is None:
            raise StrategyError(f"{strategy.name} declares features, and features are computed on a tape: ingest the source first.")
        parts = [_computed(strategy, tape, feed) for tape in tapes]
        ts, values = np.concatenate([m.ts for m in parts]), np.concatenate([m.values for m in parts])
        return ts + feed, values
    if given is None:
        if names:
            raise StrategyError(f"{strategy.name} reads features {', '.join(names)}: pass a matrix that has these columns, features=.")
        return None
    if not hasattr(given, "values") or not hasattr(given, "index"):
        raise StrategyError(f"features is {given!r}: give a FeatureMatrix, the result of nbtrade.features(tape, [...])")
    columns = [_column(given, name, strategy) for name in names] or list(range(given.values.shape[1]))
    values = given.values if columns == list(range(given.values.shape[1])) else given.values[:, columns]
    return given.ts + feed, np.ascontiguousarray(values)


def _column(matrix: Any, name: str, strategy: Strategy) -> int:
    try:
        return int(matrix.index(name))
    except KeyError as error:
        raise StrategyError(f"{strategy.name} reads features.{name}, and {error.args[0]}") from None


def _computed(strategy: Strategy, tape: Tape, feed: int) -> Any:
    from nbtrade.feature.compute import features

    sample: Any = "event"
    if strategy.wakes == Wake.TIMER and len(tape):
        first, last = (-(-(int(tape.ts_recv[i]) + feed) // strategy.interval) for i in (0, -1))
        sample = np.arange(first, last + 1, dtype=np.int64) * strategy.interval - feed
    return features(tape, strategy.expressions, sample=sample)
