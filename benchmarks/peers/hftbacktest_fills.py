"""Fills of hftbacktest 2.4.4 (L3 FIFO) for a maker that does not react to its fills; used by tests/engine/test_hftbacktest.py.

    python hftbacktest_fills.py RECORDS.npy FILLS.npy --tick 0.01 --interval NS --entry NS --response NS

At every wake each side's last order is cancelled if it is still open, and another one is sent: where, and for how many lots, is drawn
from the number of the wake (`drawn`), around the touch. So an order that fills in one program and not in the other changes no other
order, and fills can be compared one by one.

    FILLS.npy  i8[n orders, 7]   sent (ts), side, px (ticks), lots; filled: exchange ts (0: not filled), px, lots
"""

import argparse
from pathlib import Path

import hftbacktest as hb
import numpy as np
from hftbacktest_l3 import NO_ASK, NO_BID, OPTIONS, checked, convert, new_backtest
from numba import njit

FILLED = hb.FILLED


@njit
def drawn(k, side, n):
    """A number below n from a wake and a side."""
    x = (2 * (k % 1_000_000) + side + 1) * 1103515245 + 12345
    x = ((x >> 7) & 0x7FFFFFFF) * 1103515245 + 12345
    return ((x & 0x7FFFFFFF) >> 9) % n


@njit
def make_market(hbt, interval, tick, out):
    """Run to the end; return (hftbacktest's status, orders sent)."""
    n = 0
    last = np.zeros(2, np.uint64)
    status = hbt.elapse(interval)
    while True:
        status = hbt.elapse(interval - hbt.current_timestamp % interval)  # to the next multiple
        if status != 0:
            break
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        if bid == NO_BID or ask == NO_ASK or n + 2 > len(out):
            continue
        for side in range(2):
            order = hbt.orders(0).get(last[side]) if last[side] > 0 else None
            if order is not None and order.cancellable:
                hbt.cancel(0, last[side], False)
            k = hbt.current_timestamp // interval
            away, qty = drawn(k, side, 4) - 1, 1 + drawn(k + 7, side, 3)
            px = bid - away if side == 0 else ask + away
            n += 1
            last[side] = np.uint64(n)
            out[n - 1, 0], out[n - 1, 1], out[n - 1, 2], out[n - 1, 3] = hbt.current_timestamp, side, px, qty
            if side == 0:
                hbt.submit_buy_order(0, n, px * tick, float(qty), hb.GTC, hb.LIMIT, False)
            else:
                hbt.submit_sell_order(0, n, px * tick, float(qty), hb.GTC, hb.LIMIT, False)
    for i in range(n):
        order = hbt.orders(0).get(np.uint64(i + 1))
        if order is not None and order.status == FILLED:
            out[i, 4], out[i, 5], out[i, 6] = order.exch_timestamp, order.exec_price_tick, round(order.exec_qty)
    return status, n


def main():
    """Convert, run, write."""
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("records", type=Path)
    p.add_argument("fills", type=Path)
    for name, default, meaning in OPTIONS:
        p.add_argument(f"--{name}", type=type(default), default=default, help=meaning)
    a = p.parse_args()
    rows, _ = convert(checked(np.load(a.records)), a.feed)
    hbt = new_backtest(rows, "hashmap", a)
    out = np.zeros((1_000_000, 7), np.int64)
    status, n = make_market(hbt, a.interval, a.tick, out)
    hbt.close()
    if status != 1:
        raise SystemExit(f"hftbacktest stopped with status {status}")
    np.save(a.fills, out[:n])


if __name__ == "__main__":
    main()
