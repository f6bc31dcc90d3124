"""The log of recorded rows: one per strategy call that assigned a field of `record`.

    open_row   the next row of the log, its fields UNSET   ──>  strategy(record)  ──>   close_row   kept if a field is no longer UNSET

A row is [ts, account, fields f8 ...] in 64-bit words. UNSET is a NaN with a payload that no operation produces, so a NaN assigned by
the strategy counts as a value; fields that stay UNSET become plain NaNs. Before each wake the engine ensures room for one row per account.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at

UNSET = 0x7FF8_A5C3_96E1_5A3C
NAN = 0x7FF8_0000_0000_0000
HEAD_WORDS = 2  # ts, account


def record_row(n_fields: int) -> np.dtype:
    """dtype of a row of the log."""
    return np.dtype([("ts", "i8"), ("account", "i8"), ("fields", "f8", (n_fields,))])


@helper
def place_of_row(run, k):
    """(words of the log, or of the spare row; offset of account k's next row)."""
    if i8_at(run.recorded_at)[k] != 0:
        return i8_at(run.records_at), run.n_records * (HEAD_WORDS + run.n_record_fields)
    return i8_at(run.spare_row_at), np.int64(0)


@kernel
def open_row(run, k):
    """Address of the fields, all UNSET, of account k's next row."""
    noinline()
    words, start = place_of_row(run, k)
    for i in range(HEAD_WORDS, HEAD_WORDS + run.n_record_fields):
        words[start + i] = UNSET
    return (run.records_at if i8_at(run.recorded_at)[k] != 0 else run.spare_row_at) + 8 * (start + HEAD_WORDS)


@kernel
def close_row(run, k):
    """Keep account k's row if the strategy assigned a field."""
    noinline()
    if i8_at(run.recorded_at)[k] == 0:
        return
    words, start = place_of_row(run, k)
    is_set = False
    for i in range(HEAD_WORDS, HEAD_WORDS + run.n_record_fields):
        if words[start + i] == UNSET:
            words[start + i] = NAN
        else:
            is_set = True
    if is_set:
        words[start] = run.wake
        words[start + 1] = k
        run.n_records += 1
