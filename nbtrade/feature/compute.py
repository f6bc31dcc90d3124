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

    tape   : a Tape, or a tape's folder; `tape.between(...)` for a part, which begins without a past (but with its book)
    wanted : features (nbtrade.feature), or a dict of name -> feature
    sample : when rows are written: "event" (every event's end), n, "100ms", "trade", "quote" (top of book), ("volume", lots),
             ("value", currency), or ascending times (i8 ns): another matrix's `ts`, say
    out    : a FeatureMatrix whose memory is used again; touching new memory takes a fifth of the time
    cache  : a BlockFile's path in which matrices are kept by the hash of what they are made of; the second request maps it

    A row at local time t is made of what was received by t (ts_recv <= t), at ends of events. Prices are in ticks, sizes in lots, times in
    seconds. A flow's column is what flowed since the sample before. Undefined values are NaN (see nbtrade/feature/expression.py).

    Returns a FeatureMatrix. Raises FeatureError, TypeError for what is no feature, ValueError for an unknown `sample`.
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
    """Whether arrays out of a cache's file are those of a matrix: f8[n, n_columns] and i8[n]. Others are computed again."""
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
    """The features asked for, under their names. Raises FeatureError for none or for two of one name."""
    if isinstance(wanted, Mapping):
        columns = [lift(e).named(str(name)) for name, e in wanted.items()]
    else:
        columns = [lift(e) for e in (wanted if isinstance(wanted, Iterable) else [wanted])]
    _check_names([c.label for c in columns])
    return columns


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise FeatureError(f"two columns are called {', '.join(twice)}: use .named(...)" if twice else "no features were asked for")


def targets(tape: Tape | str | os.PathLike[str], wanted: Any, *, sample: Any = "event") -> FeatureMatrix:
    """Compute targets (nbtrade.target) at the samples of `features(tape, ..., sample=sample)`.

    wanted : targets, or a dict of name -> target

    A pass for what is known at the samples, and one for each distance ahead. NaN where the data end before. Returns a FeatureMatrix.
    Raises TypeError for what is no target.
    """
    tape = tape if isinstance(tape, Tape) else open_tape(tape)
    if isinstance(wanted, Mapping):
        wanted = [target.named(name) for name, target in wanted.items()]
    wanted = [wanted] if isinstance(wanted, (Target, Expression)) else list(wanted)
    for one in wanted:
        if not isinstance(one, Target):
            raise TypeError(f"{one!r} is no target: compute it with nbtrade.features")
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
    """The columns of `left`, and those of `right` as they were last sampled by each row's ts: the last row with ts + delay <= left's.

    suffix : added to names that both have      delay : ns until the right side's rows are known to us (another line's latency)

    NaN before the right side's first row. To have another tape's features at the very moment instead of at their last sample, sample
    them at this one's times: `features(other, [...], sample=left.ts)`.
    """
    at = np.searchsorted(right.ts, left.ts - delay, side="right")
    values = np.full((len(left), len(right.names)), np.nan)
    values[at > 0] = right.values[at[at > 0] - 1]
    names = [name + suffix if name in left.names else name for name in right.names]
    _check_names([*left.names, *names])
    return FeatureMatrix(np.hstack([left.values, values]), left.ts, [*left.names, *names])
