"""Scripted accounts in the engine: the jitted strategy that plays a script out of its state (see tests/scripted.py).

    state   actions as columns, one number each        at what i px qty kind ref      next: the first one not yet done
            slot_of[id]                                what the script names by id
            looks[LOOK * n], owns[OWN * n]             what it saw: one row a call, one row an open order

`ran(...)` gives the engine's outcome in the oracle's words, so that the two can be compared by ==.
"""

import copy
from typing import NamedTuple

import numpy as np
from model_backtest import WAKES
from model_exchange import Fill
from scripted import Look

import nbtrade as nt
from nbtrade import runner
from nbtrade.kernels import records
from nbtrade.results import Result
from nbtrade.schema import UNDEF_PRICE

N_ACTIONS, N_LOOKS, N_OWNS = 256, 1024, 8192
LOOK = 15
OWN = 9
WHATS = ("submit", "market", "cancel", "replace", "quote", "cancel_all", "flatten")
SUBMIT, MARKET, CANCEL, REPLACE, QUOTE, CANCEL_ALL, FLATTEN = range(7)

STATE = [
    *((name, "i8", N_ACTIONS) for name in ("at", "what", "i", "px", "qty", "kind", "ref", "slot_of")),
    ("looks", "i8", LOOK * N_LOOKS),
    ("owns", "i8", OWN * N_OWNS),
    ("n", "i8"),
    ("next", "i8"),
    ("n_sent", "i8"),
    ("n_looks", "i8"),
    ("n_owns", "i8"),
]


@nt.strategy(state=STATE, wake="1ms")
def scripted(market, features, account, state):
    """Look, then do what is due."""
    at = state.n_looks * LOOK
    state.n_looks += 1
    state.looks[at] = market.ts
    state.looks[at + 1] = market.wake
    state.looks[at + 2] = market.bid_px
    state.looks[at + 3] = market.bid_qty
    state.looks[at + 4] = market.ask_px
    state.looks[at + 5] = market.ask_qty
    state.looks[at + 6] = account.position
    state.looks[at + 7] = account.cash
    state.looks[at + 8] = market.volume
    state.looks[at + 9] = market.n_events
    state.looks[at + 10] = account.n_open
    state.looks[at + 11] = account.open_bid
    state.looks[at + 12] = account.open_ask
    state.looks[at + 13] = account.refused
    state.looks[at + 14] = account.n_refused
    for i in range(state.n_sent):
        slot = state.slot_of[i]
        if account.is_open(slot) and account.order(slot).id == i:
            own = account.order(slot)
            at = state.n_owns * OWN
            state.n_owns += 1
            state.owns[at] = state.n_looks - 1
            state.owns[at + 1] = i
            state.owns[at + 2] = own.status
            state.owns[at + 3] = own.left
            state.owns[at + 4] = own.filled
            state.owns[at + 5] = own.want_px
            state.owns[at + 6] = own.want_qty
            state.owns[at + 7] = account.ahead(slot)
            state.owns[at + 8] = account.behind(slot)
    while state.next < state.n and state.at[state.next] <= market.ts:
        k = state.next
        state.next += 1
        what = state.what[k]
        i = state.i[k]
        px = state.px[k]
        if state.ref[k] >= 0:
            best = market.bid_px if state.ref[k] == 0 else market.ask_px
            if best == UNDEF_PRICE:
                continue
            px += best
        slot = -1
        if what == CANCEL or what == REPLACE:
            if i < state.n_sent:
                slot = state.slot_of[i]
            if slot < 0 or not account.is_open(slot) or account.order(slot).id != i:
                continue
        if what == SUBMIT:
            slot = account.submit(i, px, state.qty[k], state.kind[k])
        elif what == MARKET:
            slot = account.market(i, state.qty[k])
        elif what == CANCEL:
            account.cancel(slot)
        elif what == REPLACE:
            account.replace(slot, px, state.qty[k])
        elif what == QUOTE:
            slot = account.quote(i, px, state.qty[k])
        elif what == CANCEL_ALL:
            account.cancel_all()
        elif what == FLATTEN:
            slot = account.flatten()
        if what != CANCEL and what != REPLACE and slot >= 0 and account.order(slot).id == state.n_sent:
            state.slot_of[state.n_sent] = slot
            state.n_sent += 1


def strategy_of(wakes, interval):
    """Return the scripted strategy with these wakes; it is compiled once for all."""
    scripted.address  # noqa: B018
    other = copy.copy(scripted)
    other.wakes = sum(1 << WAKES.index(wake) for wake in wakes)
    other.interval = interval if "timer" in wakes else 1
    return other


def values_of(script):
    """Return the state fields of a script."""
    actions = [(ts, action) for ts in sorted(script) for action in script[ts]]
    assert len(actions) <= N_ACTIONS
    columns = np.zeros((7, N_ACTIONS), np.int64)
    for k, (ts, (what, i, px, qty, kind, ref)) in enumerate(actions):
        columns[:, k] = ts, WHATS.index(what), i, px, qty, records.KINDS.index(kind), ref
    return dict(zip(("at", "what", "i", "px", "qty", "kind", "ref"), columns, strict=True)) | {"n": len(actions)}


class Outcome(NamedTuple):
    """What a run gave, in the oracle's words."""

    fills: list
    orders: list  # (id, side, kind, px, qty, filled, state, reason)
    looks: list
    samples: list  # (ts, bid_px, ask_px, position, cash)
    totals: tuple  # true position and cash, lots made and taken, late messages


def setup_of(scripts, *, wakes, interval=1, entry=0, response=0, feed=0, rule="fifo", capacity=64, limits=None, sample=0):
    """Return the engine's Setup for scripts, one an account, from the oracle's words."""
    latency = entry if isinstance(entry, nt.Latency) else nt.Latency(entry=entry, response=response, feed=feed)
    strategy = strategy_of(wakes, interval)
    risk, lot = nt.Risk(), 1
    if limits is not None:
        lot = limits.lot
        rate = limits.max_rate, limits.rate_interval
        # a tick of a lot is worth 0.01 here: the loss is given in currency
        risk = nt.Risk(limits.max_order, limits.max_position, limits.max_open, limits.max_loss * 0.01, rate)
    return runner.new_setup(
        strategy,
        [values_of(script) for script in scripts],
        latency=latency,
        risk=risk,
        instrument=nt.Instrument(lot=lot),
        fill_rule=rule,
        sample=sample,
        max_orders=capacity,
    )


def ran(tapes, scripts, *, flatten=False, **setup):
    """Run scripts, one an account, over tapes, one an instrument; return [[Outcome of account k] of instrument v]."""
    setup = setup_of(scripts, **setup)
    simulation = runner.run_tapes(tapes, setup)
    simulation.close_session(carry=True, flatten=flatten)
    return [
        [outcome_of(Result(simulation, setup, tape.symbol, tape.tick_units, v, k)) for k in range(len(scripts))]
        for v, tape in enumerate(tapes)
    ]


def outcome_of(result, *, with_looks=True):
    f, o, a = result._fills, result._orders, result.account
    columns = (f[name].tolist() for name in ("order_id", "ts", "side", "px", "qty"))
    fills = [Fill(*row) for row in zip(*columns, f["maker"].astype(bool).tolist(), strict=True)]
    names = ("id", "side", "kind", "px", "qty", "leaves", "state", "reason")
    orders = [order_of(*row) for row in zip(*(o[name].tolist() for name in names), strict=True)]
    s = result._samples
    samples = [
        (ts, none(bid), none(ask), position, cash)
        for ts, bid, ask, position, cash in zip(*(s[n].tolist() for n in ("ts", "bid_px", "ask_px", "position", "cash")), strict=True)
    ]
    totals = tuple(int(a[name]) for name in ("true_position", "true_cash", "maker_qty", "taker_qty", "n_late"))
    return Outcome(fills, orders, looks_of(result.final_state) if with_looks else [], samples, totals)


def order_of(id_, side, kind, px, qty, leaves, state, reason):
    state = records.STATES[state]
    reason = "" if state in ("sent", "working", "filled") else REASONS[reason]  # of a working order: why it was not replaced
    return id_, side, records.KINDS[kind], px, qty, qty - leaves, state, reason


REASONS = {
    getattr(records, name.upper()): name
    for name in ("would_cross", "killed", "unfilled", "self_match", "replaced_down", "expired", "by_us")
}
REASONS[records.OK] = ""
REFUSALS = {
    getattr(records, name.upper()): name
    for name in ("no_slot", "bad_order", "risk_order", "risk_position", "risk_open", "risk_loss", "risk_rate", "not_open", "too_many")
}


def none(px):
    return None if px == UNDEF_PRICE else px


def looks_of(state):
    """Return what the strategy noted as Looks."""
    n, n_owns = int(state["n_looks"]), int(state["n_owns"])
    assert n < N_LOOKS
    assert n_owns < N_OWNS
    owns = [{} for _ in range(n)]
    for look, i, status, *rest in state["owns"][: n_owns * OWN].reshape(-1, OWN).tolist():
        owns[look][i] = (records.STATES[status], *rest)
    looks = []
    for own, row in zip(owns, state["looks"][: n * LOOK].reshape(-1, LOOK).tolist(), strict=True):
        ts, wake, bid_px, bid_qty, ask_px, ask_qty, *rest, refused, n_refused = row
        names = frozenset(name for b, name in enumerate(WAKES) if wake >> b & 1)
        looks.append(Look(ts, names, none(bid_px), bid_qty, none(ask_px), ask_qty, *rest, REFUSALS.get(refused, ""), n_refused, own))
    return looks


def expected(result, looks):
    """Return the oracle's result as an Outcome."""
    orders = [
        (o.id, o.side, o.kind, o.px, o.qty, o.filled, o.state, "" if o.state in ("sent", "working", "filled") else o.reason)
        for o in result.orders
    ]
    samples = [(s.ts, s.bid_px, s.ask_px, s.position, s.cash) for s in result.samples]
    totals = result.position, result.cash, result.maker_qty, result.taker_qty, result.exchange.n_late
    return Outcome(result.fills, orders, looks, samples, totals)
