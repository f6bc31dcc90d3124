"""Fills compared with hftbacktest 2.4.4's L3 FIFO exchange: equal, or different for a named reason.

Both programs get the same records, the same maker and the same latency. The maker does not react to its fills (see
benchmarks/peers/hftbacktest_fills.py), so each order can be compared separately. Runs where hftbacktest is installed (extra
`peers`), or where NBTRADE_PEERS_PYTHON names a Python that has it, because it needs an older NumPy.
"""

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import synthetic
from nbtrade.engine.kernels.records import SELF_MATCH
from nbtrade.schema import BID, EXEC, UNDEF_PRICE
from streams import tape_of

PEER = Path(__file__).parents[2] / "benchmarks" / "peers" / "hftbacktest_fills.py"
INTERVAL, LATENCY = 100_000_000, 1_000_000


@nt.strategy(wake=INTERVAL, state={"last": "(2,)i8", "id": "(2,)i8"})
def maker(market, account, state):
    """Cancel each side's order, and send another one whose price and size are derived from the time."""
    if market.bid_px == UNDEF_PRICE or market.ask_px == UNDEF_PRICE or market.n_events == 0:
        return
    for side in range(2):
        slot = state.last[side] - 1
        if slot >= 0 and account.is_open(slot) and account.order(slot).id == state.id[side]:  # otherwise the slot belongs to another order
            account.cancel(slot)
        k = market.ts // INTERVAL
        for turn in range(2):
            x = (2 * ((k + 7 * turn) % 1_000_000) + side + 1) * 1103515245 + 12345
            x = ((x >> 7) & 0x7FFFFFFF) * 1103515245 + 12345
            x = (x & 0x7FFFFFFF) >> 9
            if turn == 0:
                away = x % 4 - 1
            else:
                qty = 1 + x % 3
        px = market.bid_px - away if side == BID else market.ask_px + away
        slot = account.submit(side, px, qty)
        state.last[side] = slot + 1
        state.id[side] = account.order(slot).id


def theirs(records, folder):
    """Return hftbacktest's orders: i8[n, 7] sent side px lots, and ts px lots of their fills (0: none)."""
    python = os.environ.get("NBTRADE_PEERS_PYTHON") or (sys.executable if importlib.util.find_spec("hftbacktest") else "")
    if not python:
        pytest.skip("no hftbacktest: install the extra `peers`, or set NBTRADE_PEERS_PYTHON to a Python that has it")
    np.save(folder / "records.npy", records)
    command = [
        python,
        PEER.name,
        folder / "records.npy",
        folder / "fills.npy",
        "--interval",
        INTERVAL,
        "--entry",
        LATENCY,
        "--response",
        LATENCY,
    ]
    subprocess.run([*map(str, command)], check=True, cwd=PEER.parent, timeout=170)
    return np.load(folder / "fills.npy")


class Ours:
    """Our side of the comparison: orders by (sent, side), and what explains a difference."""

    def __init__(self, tape):
        result = nt.backtest(tape, maker, latency=nt.Latency(entry=LATENCY, response=LATENCY))
        self.events, self.fills, self.orders = tape.events, result.fill_rows, result.order_rows
        self.by_key = {key: i for i, key in enumerate(zip(self.orders["sent"].tolist(), self.orders["side"].tolist(), strict=True))}
        self.fills_of = [[] for _ in self.orders]
        for fill in self.fills:
            self.fills_of[fill["order_id"]].append(fill)

    def explained(self, sent, side, px, qty, ts, their_px, their_qty):
        """Return the name of the rule by which the fills of an order differ; "equal" when they do not; "" when none explains it."""
        i = self.by_key[sent, side]
        order, fills = self.orders[i], self.fills_of[i]
        assert (order["px"], order["qty"]) == (px, qty)
        if [(f["ts"], f["px"], f["qty"]) for f in fills] == ([(ts, their_px, their_qty)] if ts else []):
            return "equal"
        first = fills[0] if fills else None
        if first is not None and ts == first["ts"] and first["px"] == their_px and first["qty"] < their_qty:
            return "they fill all lots where fewer trade"
        if first is not None and (ts == 0 or first["ts"] < ts) and self.is_better(first):
            return "hftbacktest misses executions at worse prices when the order is better than the best price"
        if ts and order["reason"] == SELF_MATCH and order["done"] <= ts:
            return "hftbacktest lets orders of one account trade with each other"
        if ts and self.others(order, ts):
            return "hftbacktest gives the same lots to several orders, repeatedly"
        return ""

    def is_better(self, fill):
        """True if the row that filled an order executed at a worse price."""
        row, sign = self.events[fill["row"]], 1 if fill["side"] == BID else -1
        return bool(fill["maker"]) and row["kind"] == EXEC and sign * int(row["px"]) < sign * int(fill["px"])

    def others(self, order, ts):
        """True if another order of the account on that side had the lots: it filled then, or took from that level earlier."""
        f = self.fills
        mine = (f["side"] == order["side"]) & (f["order_id"] != order["id"])
        took = (f["maker"] == 0) | (self.events["kind"][np.minimum(f["row"], len(self.events) - 1)] != EXEC)
        return bool((mine & (f["ts"] == ts)).any() or (mine & took & (f["ts"] < ts) & (f["px"] == order["px"])).any())


def test_fills(tmp_path):
    """Nine in ten of 8,000 orders have equal fills; every other one differs for a named reason, and each reason occurs."""
    records = synthetic.records(200_000, seed=3, live_orders=1000, duration="400s")
    orders = theirs(records, tmp_path)
    ours = Ours(tape_of(records, tmp_path, 0.01))
    counts = Counter()
    for order in orders.tolist():
        why = ours.explained(*order)
        assert why, order
        counts[why] += 1
    assert len(counts) == 5
    assert min(counts.values()) > 20
    assert counts["equal"] > 0.9 * len(orders)
    assert (orders[:, 4] > 0).sum() > 2000
