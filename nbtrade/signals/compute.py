"""`features(tape, [...], sample=...)`: the matrix."""

from collections.abc import Iterable, Mapping
from typing import Any

from nbtrade.errors import FeatureError
from nbtrade.signals.expression import Expression, lift
from nbtrade.signals.matrix import Matrix
from nbtrade.signals.passing import Pass
from nbtrade.signals.program import Program
from nbtrade.signals.sampling import sampling_of
from nbtrade.store.tape import Tape, open_tape


def features(tape: Any, wanted: Any, *, sample: Any = "event", out: Matrix | None = None) -> Matrix:
    """Compute features of a tape in one pass.

    tape   : a Tape, or a tape's folder; `tape.between(...)` for a part, which begins without a past (but with its book)
    wanted : features (nbtrade.feature), or a dict of name -> feature
    sample : when rows are written: "event" (every event's end), n, "100ms", "trade", "quote" (top of book), ("volume", lots),
             ("value", currency), or ascending times (i8 ns)
    out    : a Matrix whose memory is used again when it has room; touching new memory takes as long as computing

    A row at local time t is made of what was received by t (ts_recv <= t), at ends of events. Prices are in ticks, sizes in lots, times in
    seconds. A flow's column is what flowed since the sample before. Undefined values are NaN (see nbtrade/signals/expression.py).

    Returns a Matrix. Raises FeatureError, TypeError for what is no feature, ValueError for an unknown `sample`.
    """
    tape = tape if isinstance(tape, Tape) else open_tape(tape)
    columns = columns_of(wanted)
    sampling = sampling_of(sample)
    one = Pass(Program(columns), tape, sampling, None if out is None else (out.values, out.ts))
    one.feed(tape, final=True)
    return Matrix(*one.matrix(), [c.label for c in columns])


def columns_of(wanted: Any) -> list[Expression]:
    """The features asked for, under their names. Raises FeatureError for none or for two of one name."""
    if isinstance(wanted, Mapping):
        columns = [lift(e).named(str(name)) for name, e in wanted.items()]
    else:
        columns = [lift(e) for e in (wanted if isinstance(wanted, Iterable) else [wanted])]
    names = [c.label for c in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not columns or twice:
        raise FeatureError(f"two features are called {', '.join(twice)}: use .named(...)" if twice else "no features were asked for")
    return columns
