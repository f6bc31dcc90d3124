"""`features(tape, [...], sample=...)`, `targets(...)` and `asof(...)`: matrices."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nbtrade.errors import FeatureError
from nbtrade.feature import cache as caches
from nbtrade.feature.expression import Expression, lift
from nbtrade.feature.feature_pass import FeaturePass
from nbtrade.feature.kernels import snapshot
from nbtrade.feature.lowering import lower
from nbtrade.feature.matrix import FeatureMatrix
from nbtrade.feature.sampling import Sampling, sampling_of
from nbtrade.feature.targets import Target
from nbtrade.tape.tape import Tape, open_tape


def features(
    tape: Tape | str | os.PathLike[str],
    wanted: Any,
    *,
    sample: Any = "event",
    out: FeatureMatrix | None = None,
    cache: str | os.PathLike[str] | caches.MatrixCache | None = None,
) -> FeatureMatrix:
    """Compute features of a tape in one pass.

    Parameters
    ----------
    tape : Tape, str or path
        A tape or its folder. `tape.between(...)` selects a part, which starts without history (but with its book).
    wanted : Level, Flow, a list of them, or dict of str to them
        Features from `nbtrade.feature`; a dict sets the column names.
    sample : str, int, tuple or i8 array
        When rows are written: "event" (every event's end), n (every n-th), "100ms" (a time grid), "trade", "quote" (changes of the top of
        book), ("volume", lots), ("value", currency), or ascending times in ns, such as another matrix's `ts`.
    out : FeatureMatrix, optional
        A matrix whose memory is reused, since touching new memory takes a fifth of the time.
    cache : str or path, optional
        A BlockFile in which matrices are stored by the hash of their inputs; a repeated request maps the stored matrix.

    Returns
    -------
    FeatureMatrix
        f8[rows, features]; prices in ticks, sizes in lots, times in seconds, undefined values NaN.

    Raises
    ------
    FeatureError
        No features, duplicate names, `out` too small, or a user-defined feature that fails.
    TypeError
        An element of `wanted` is not a feature.
    ValueError
        `sample` is not one of the forms above.

    Notes
    -----
    A row at local time t uses only data received by t (ts_recv <= t), at ends of events. A flow's column is its sum since the previous
    sample.

    Examples
    --------
    >>> f = nbtrade.feature
    >>> m = nbtrade.features(tape, [f.spread(), f.ofi(), f.mid().ema("1s")], sample=5_000)
    >>> m
    <FeatureMatrix 3 samples of 3 columns: spread(), ofi(1), mid().ema(1s)>
    >>> m["ofi(1)"]
    array([ -78., -197.,  283.])
    """
    tape = tape if isinstance(tape, Tape) else open_tape(tape)
    columns, sampling = columns_of(wanted), sampling_of(sample)
    names = [c.label for c in columns]
    store = caches.MatrixCache(cache) if isinstance(cache, (str, os.PathLike)) else cache
    name = caches.name_of(tape, columns, sampling) if store is not None else None
    known = store.get(name) if store is not None and name is not None else None
    if known is not None and _is_matrix(known, len(columns)):
        return FeatureMatrix(known["values"], known["ts"], names)
    _check_room(out, columns)
    one = FeaturePass(lower(columns), tape, sampling, None if out is None else (out.values, out.ts))
    one.feed(tape, final=True)
    matrix = FeatureMatrix(*one.matrix(), names)
    if store is not None and name is not None:
        store.put(name, {"values": matrix.values, "ts": matrix.ts})
    return matrix


def _is_matrix(known: dict[str, np.ndarray], n_columns: int) -> bool:
    """Whether arrays from a cache's file form a matrix: f8[n, n_columns] and i8[n]. Others are computed again."""
    values, ts = (np.asarray(known.get(key, b"")) for key in ("values", "ts"))
    return values.dtype == np.float64 and ts.dtype == np.int64 and ts.ndim == 1 and values.shape == (len(ts), n_columns)


def _check_room(out: FeatureMatrix | None, columns: list[Expression]) -> None:
    if out is None:
        return
    v = out.values
    if v.dtype != np.float64 or v.shape[1:] != (len(columns),) or not v.flags.c_contiguous or not v.flags.writeable:
        raise FeatureError(f"out is {v.dtype}{list(v.shape)}; {len(columns)} features need a writable, contiguous f8[rows, {len(columns)}]")
    ts = out.ts
    if ts.dtype != np.int64 or ts.shape != v.shape[:1] or not ts.flags.c_contiguous or not ts.flags.writeable:
        raise FeatureError(f"out's times are {ts.dtype}{list(ts.shape)}; {len(v)} rows need a writable, contiguous i8[{len(v)}]")


def columns_of(wanted: Any) -> list[Expression]:
    """The requested features under their names. Raises FeatureError for an empty request or duplicate names."""
    if isinstance(wanted, Mapping):
        columns = [lift(e).named(str(name)) for name, e in wanted.items()]
    else:
        columns = [lift(e) for e in (wanted if isinstance(wanted, Iterable) else [wanted])]
    _check_names([c.label for c in columns])
    return columns


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise FeatureError(f"two columns are called {', '.join(twice)}: use .named(...)" if twice else "no features: pass at least one")


def targets(tape: Tape | str | os.PathLike[str], wanted: Any, *, sample: Any = "event") -> FeatureMatrix:
    """Compute targets (nbtrade.target) at the samples of `features(tape, ..., sample=sample)`.

    Parameters
    ----------
    tape : Tape, str or path
        A tape or its folder.
    wanted : Target, a list of them, or dict of str to Target
        Targets from `nbtrade.target`; a dict sets the column names.
    sample : str, int, tuple or i8 array
        As in `features`.

    Returns
    -------
    FeatureMatrix
        f8[rows, targets]; NaN where the data end before the target's time.

    Raises
    ------
    TypeError
        An element of `wanted` is not a target.

    Notes
    -----
    One pass for the values at the samples, and one for each distance ahead.

    Examples
    --------
    >>> nbtrade.targets(tape, nbtrade.target.mid_change("1s"), sample=5_000).values
    array([[-1.],
           [-1.],
           [-2.]])
    """
    tape = tape if isinstance(tape, Tape) else open_tape(tape)
    if isinstance(wanted, Mapping):
        wanted = [target.named(name) for name, target in wanted.items()]
    wanted = [wanted] if isinstance(wanted, (Target, Expression)) else list(wanted)
    for one in wanted:
        if not isinstance(one, Target):
            raise TypeError(f"{one!r} is not a target: compute it with nbtrade.features")
    _check_names([one.label for one in wanted])
    known = {e.key: e for one in wanted for e in one.now}
    now = features(tape, known, sample=sample)
    values = np.empty((len(now), len(wanted)))
    for after in sorted({one.after for one in wanted}):
        ahead = [one for one in wanted if one.after == after]
        later = _later(tape, now.ts + after, {one.later.key: one.later for one in ahead})
        for one in ahead:
            values[:, wanted.index(one)] = _value(one, [now[e.key] for e in one.now], later[one.later.key])
    return FeatureMatrix(values, now.ts, [one.label for one in wanted])


def _later(tape: Tape, times: np.ndarray, wanted: dict[str, Expression]) -> FeatureMatrix:
    matrix = features(tape, wanted, sample=Sampling(snapshot.SAMPLE_TIMES, times=times))
    if len(tape):
        matrix.values[times > tape.ts_recv[-1]] = np.nan
    return matrix


def _value(target: Target, now: list[np.ndarray], later: np.ndarray) -> np.ndarray:
    if target.kind == "change":
        return later - now[0]
    if target.kind == "return":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(now[0] != 0, later / now[0] - 1, np.nan)
    return now[0] * (later - now[1])


def asof(left: FeatureMatrix, right: FeatureMatrix, *, suffix: str = "_right", delay: int = 0) -> FeatureMatrix:
    """Join two matrices by time: the columns of `left`, and the latest row of `right` known at each of its times.

    Parameters
    ----------
    left : FeatureMatrix
        Determines the rows.
    right : FeatureMatrix
        For each row the last one with ts + delay <= left's ts.
    suffix : str
        Appended to names of `right` that `left` has too.
    delay : int
        ns until the rows of `right` are known: another line's latency.

    Returns
    -------
    FeatureMatrix
        The columns of both; NaN before the first row of `right`.

    Raises
    ------
    FeatureError
        Two columns have the same name.

    Notes
    -----
    To sample another tape's features at exactly these times, use `features(other, [...], sample=left.ts)`.

    Examples
    --------
    >>> f = nbtrade.feature
    >>> slow = nbtrade.features(tape, f.mid(), sample="10s")
    >>> fast = nbtrade.features(tape, f.spread(), sample="1s")
    >>> nbtrade.asof(fast, slow).names
    ['spread()', 'mid()']
    """
    at = np.searchsorted(right.ts, left.ts - delay, side="right")
    values = np.full((len(left), len(right.names)), np.nan)
    values[at > 0] = right.values[at[at > 0] - 1]
    names = [name + suffix if name in left.names else name for name in right.names]
    _check_names([*left.names, *names])
    return FeatureMatrix(np.hstack([left.values, values]), left.ts, [*left.names, *names])
