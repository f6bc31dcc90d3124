"""Write a matrix's rows past the caches: for data that is written once and read much later.

    stage    ...moved|line|line|line|....staged| <- the next row          its offset 0 maps to the address out_at, where a line starts
    matrix   .......|line|                                                64 bytes each, one line after another, some rows later

An ordinary store fetches the cache line before it writes into it, so a matrix larger than the caches crosses the memory bus twice and
evicts data in use. Whole lines written in one go need neither: 23 GB/s instead of 8 (Sapphire Rapids, 26 November 2026).
Lines are written one by one between events, so the next event is processed while they are in flight: 8 KB at a time took 3 ns a row more.
Weak case: code that reads a row right after it was written waits for memory.
"""

import ctypes

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbtrade._numba.jit import JIT, helper, kernel, noinline
from nbtrade.feature.kernels.snapshot import floats

LINE = 64  # bytes of a cache line
LAG = 512  # bytes that remain in the stage


@intrinsic
def _copy_line(typingctx, to, source):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        line = ir.VectorType(ir.DoubleType(), LINE // 8).as_pointer()
        value = builder.load(builder.inttoptr(args[1], line), align=8)
        store = builder.store(value, builder.inttoptr(args[0], line), align=LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _fence(typingctx):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _python_copy_line(to: int, source: int) -> None:
    ctypes.memmove(int(to), int(source), LINE)


copy_line = _copy_line if JIT else _python_copy_line
fence = _fence if JIT else (lambda: None)


@helper
def copy_words(to, source, n_bytes):
    """Copy n_bytes, a multiple of 8, by ordinary stores; ascending, so `to` may be below `source` in the same memory."""
    for k in range(n_bytes // 8):
        floats(to)[k] = floats(source)[k]


@kernel
def copy_part(w):
    """Copy the staged bytes that share the first staged byte's line; the minimum."""
    noinline()
    n = min(LINE - w.unloaded % LINE, w.staged - w.unloaded)
    copy_words(w.out_at + w.unloaded, w.stage_at + w.unloaded, n)
    w.unloaded += n


@helper
def unload(w):
    """Copy a stage's whole lines except the newest: reading a line back right after its parts were written stalls."""
    while w.unloaded + LINE + LAG <= w.staged:
        if w.unloaded % LINE:
            copy_part(w)
        else:
            copy_line(w.out_at + w.unloaded, w.stage_at + w.unloaded)
            w.unloaded += LINE
    if w.staged >= w.stage_bytes:
        rewind_stage(w)


@kernel
def rewind_stage(w):
    """Start at the stage's front again, with the remaining bytes."""
    noinline()
    first = w.unloaded - w.unloaded % LINE
    copy_words(w.stage_at, w.stage_at + first, w.staged - first)
    w.out_at += first
    w.unloaded -= first
    w.staged -= first


@kernel
def unload_all(w):
    """Copy all remaining bytes; other threads see them before anything written afterwards."""
    noinline()
    while w.unloaded < w.staged:
        if w.unloaded % LINE or w.unloaded + LINE > w.staged:
            copy_part(w)
        else:
            copy_line(w.out_at + w.unloaded, w.stage_at + w.unloaded)
            w.unloaded += LINE
    fence()
