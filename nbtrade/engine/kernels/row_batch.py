"""Locate the levels of many rows at once, with vector instructions, before any of the rows is applied.

    rows x..x+m ──> i_levels[k]  index of the level that row x + k changes
                    changes[k]   its change of the level's lots and orders (book.held); 0 for rows that change no level
                    bit k        set when row x + k is watched: it turns its level (TURN), is an execution through our best price on
                                 its side, or changes a level with own entries, other than by an order that joins behind them
                                 (an ADD that is not from a snapshot)

Why: changes to levels commute, so their order matters only when something reads a level in between. The rows that need such a read
(one in ten) are found first; every other row is one addition, without a branch that could be mispredicted.
Sixteen rows are processed at once as LLVM vectors, which run on any processor; page numbers are gathered. Level indices stay valid
until a page is opened or closed, so the caller checks `n_free` while it applies the rows. Weak case: streams that open and close pages
all the time.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbtrade._numba.bits import MASK, SHIFT, WORD
from nbtrade._numba.jit import JIT, helper
from nbtrade.book.kernels.book import LOTS_BITS, held
from nbtrade.schema import EXEC, SNAPSHOT, TRADE, TURN

BATCH_ROWS = 64  # rows located before their changes are applied
LANES = 16
# Fields of ROW.word
KIND, SIDE_BIT, FLAGS_BIT, D_ORDERS_BIT = 0xFF, 8, 16, 24
NO_NEW_ORDER = KIND | SNAPSHOT << FLAGS_BIT  # none of these bits set: an ADD (code 0) of a new order, not from a snapshot
# `own_filter`, a filter for levels with own entries: bits by px & 31 for bids and for asks, bits by px >> 5 & 31, and the keys of our best
# bid and ask. A level with own entries always has both its bits set; any other level rarely does.
NEAR_SLOTS, BEST_KEYS, N_FILTER = 2, 3, 5
NO_OWN = -(2**31)  # best key without an order


@helper
def locate_one(rows, x, pages, first_slot, own_filter, i_levels, changes, k):
    """Write level index and change of row x; returns 1 when it is watched, else 0. The definition that `locate_group` must match."""
    row = rows[x]
    word, px = np.int64(row.word), np.int64(row.px)
    kind, side = word & KIND, word >> SIDE_BIT & 1
    moves = kind < TRADE
    page = np.int64(pages[(px >> SHIFT) - first_slot if moves else 0])
    i_level = (page << (SHIFT + 1)) | (side << SHIFT) | (px & MASK)
    i_levels[k] = i_level
    changes[k] = held(row.qty, word >> D_ORDERS_BIT) if moves else 0
    key = -px if side else px
    near = own_filter[side] >> (px & MASK) & own_filter[NEAR_SLOTS] >> (px >> SHIFT & MASK) & 1
    leaves = moves and word & NO_NEW_ORDER != 0
    return int(word & (TURN << FLAGS_BIT) != 0 or (kind == EXEC and own_filter[BEST_KEYS + side] > key) or (leaves and near != 0))


# --- the same with vectors; plain functions, because the disk cache's fingerprint covers them ---------------------------------
def _vector(bits: int) -> Any:
    """The type of LANES integers, each `bits` wide."""
    return ir.VectorType(ir.IntType(bits), LANES)


def _const(c: int, bits: int = 32) -> Any:
    return ir.Constant(_vector(bits), [c] * LANES)


def _broadcast(b: Any, value: Any, bits: int = 32) -> Any:
    """The low bits of an i64 in every lane."""
    undefined = ir.Constant(_vector(bits), ir.Undefined)
    low = value if bits == 64 else b.trunc(value, ir.IntType(bits))
    return b.shuffle_vector(b.insert_element(undefined, low, ir.Constant(ir.IntType(32), 0)), undefined, _const(0))


def _word(b: Any, words: Any, k: int) -> Any:
    """The k-th i64 at an address."""
    return b.load(b.gep(b.bitcast(words, ir.IntType(64).as_pointer()), [ir.Constant(ir.IntType(32), k)]))


def _shuffled(b: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    """The chosen lanes of two vectors; the second vector's lanes are numbered after the first's."""
    return b.shuffle_vector(first, second, ir.Constant(_vector(32), lanes))


def _columns(b: Any, rows: Any) -> tuple[Any, Any, Any]:
    """px, qty and word of LANES ROWs at an address: four vectors of rows, then two of px and qty and two of words, then one of each."""
    at, half = b.bitcast(rows, _vector(32).as_pointer()), LANES // 2
    parts = [b.load(b.gep(at, [ir.Constant(ir.IntType(32), k)])) for k in range(4)]
    for part in parts:
        part.align = 4
    px_qty, word = ([4 * k for k in range(half)] + [4 * k + 1 for k in range(half)]), [4 * k + 3 for k in range(half)]
    low, high = (_shuffled(b, parts[k], parts[k + 1], px_qty) for k in (0, 2))
    words = [_shuffled(b, parts[k], parts[k + 1], word + word) for k in (0, 2)]
    firsts, lasts = ([vector + lane + k for vector in (0, LANES) for k in range(half)] for lane in (0, half))
    return _shuffled(b, low, high, firsts), _shuffled(b, low, high, lasts), _shuffled(b, words[0], words[1], firsts)


def _gather(b: Any, base: Any, index: Any) -> Any:
    """i32s at base[index]."""
    offset = b.shl(b.sext(index, _vector(64)), _const(2, 64))
    pointers, mask, i32 = ir.VectorType(ir.IntType(32).as_pointer(), LANES), _vector(1), ir.IntType(32)
    kind = ir.FunctionType(_vector(32), [pointers, i32, mask, _vector(32)])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.gather.v{LANES}i32.v{LANES}p0")
    where = b.inttoptr(b.add(_broadcast(b, b.ptrtoint(base, ir.IntType(64)), 64), offset), pointers)
    return b.call(function, [where, ir.Constant(i32, 4), _const(1, 1), ir.Constant(_vector(32), ir.Undefined)])


def _store(b: Any, value: Any, base: Any, k: Any, bits: int = 32) -> None:
    """Store to base[k : k + LANES]."""
    at = b.gep(b.bitcast(base, ir.IntType(bits).as_pointer()), [k])
    b.store(value, b.bitcast(at, _vector(bits).as_pointer())).align = 4


def _change(b: Any, still: Any, qty: Any, word: Any) -> Any:
    """`held` of lots and orders, i64s; 0 for rows that change no level."""
    lots, orders = (b.sext(b.select(still, _const(0), one), _vector(64)) for one in (qty, b.ashr(word, _const(D_ORDERS_BIT))))
    return b.add(lots, b.shl(orders, _const(LOTS_BITS, 64)))


def _located(b: Any, rows: Any, pages: Any, first_slot: Any, own_filter: Any) -> tuple[Any, Any, Any]:
    """Level indices, changes and watched bits, as in `locate_one`."""
    px, qty, word = _columns(b, rows)
    kind = b.and_(word, _const(KIND))
    still = b.icmp_signed(">=", kind, _const(TRADE))
    high = b.ashr(px, _const(SHIFT))
    slot = b.select(still, _const(0), b.sub(high, _broadcast(b, first_slot)))
    is_ask = b.icmp_signed("!=", b.and_(word, _const(1 << SIDE_BIT)), _const(0))
    key = b.select(is_ask, b.sub(_const(0), px), px)
    near_bid, near_ask, near_slots, own_bid, own_ask = (_broadcast(b, _word(b, own_filter, k)) for k in range(N_FILTER))
    through = b.and_(b.icmp_signed("==", kind, _const(EXEC)), b.icmp_signed(">", b.select(is_ask, own_ask, own_bid), key))
    turns = b.icmp_signed("!=", b.and_(word, _const(TURN << FLAGS_BIT)), _const(0))
    side = b.and_(b.lshr(word, _const(SIDE_BIT - SHIFT)), _const(WORD))
    page, at = _gather(b, pages, slot), b.and_(px, _const(MASK))
    near = b.and_(b.lshr(b.select(is_ask, near_ask, near_bid), at), b.lshr(near_slots, b.and_(high, _const(MASK))))
    moves = b.and_(b.icmp_signed("!=", b.and_(word, _const(NO_NEW_ORDER)), _const(0)), b.not_(still))
    watched = b.or_(b.or_(through, turns), b.and_(moves, b.trunc(near, _vector(1))))
    return b.or_(b.or_(b.shl(page, _const(SHIFT + 1)), side), at), _change(b, still, qty, word), watched


@intrinsic
def _locate_group(typingctx, rows, x, pages, first_slot, own_filter, i_levels, changes, k):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        at = builder.gep(args[0], [builder.mul(args[1], ir.Constant(ir.IntType(64), 16))])
        i_level, changes, watched = _located(builder, at, *args[2:5])
        _store(builder, i_level, args[5], args[7])
        _store(builder, changes, args[6], args[7], 64)
        return builder.zext(builder.bitcast(watched, ir.IntType(LANES)), ir.IntType(64))

    i8 = types.int64
    return i8(rows, i8, pages, i8, own_filter, i_levels, changes, i8), codegen


def _locate_each(rows, x, pages, first_slot, own_filter, i_levels, changes, k):  # type: ignore[no-untyped-def]
    watched = 0
    for j in range(LANES):
        watched |= locate_one(rows, x + j, pages, first_slot, own_filter, i_levels, changes, k + j) << j
    return watched


# (rows, x, pages, first_slot, own_filter, i_levels, changes, k): writes i_levels[k : k + LANES] and changes[k : k + LANES] for rows
# x..x+LANES; bit j of the return value: row x + j is watched
locate_group = _locate_group if JIT else _locate_each


@helper
def first_bits(m):
    """The bits 0 to m - 1 of a word; m : 1 to 64. (int: without the JIT, 2 << 63 would overflow a NumPy integer.)"""
    return (2 << (int(m) - 1)) - 1


@helper
def locate_rows(rows, x, m, n, pages, first_slot, own_filter, i_levels, changes):
    """Write level indices and changes of m of the n rows, starting at x; bit k of the return value: row x + k is watched.

    rows : ROW[n]   pages : i4, the book's   own_filter : i8[N_FILTER], see above   i_levels : i4[BATCH_ROWS], changes : i8[BATCH_ROWS] out
    """
    k = watched = 0
    while k < m and x + k + LANES <= n:  # a group may extend past m: the extra entries are never read
        watched |= locate_group(rows, x + k, pages, first_slot, own_filter, i_levels, changes, k) << k
        k += LANES
    while k < m:
        watched |= locate_one(rows, x + k, pages, first_slot, own_filter, i_levels, changes, k) << k
        k += 1
    return watched & first_bits(m)
