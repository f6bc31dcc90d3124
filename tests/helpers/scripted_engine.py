"""Scripted accounts in the engine: a compiled strategy that plays the script in its params (see tests/helpers/scripted.py).

    params  actions as columns, one number each        at what i px qty kind ref on
    state   next: the first action still to do
            slot_of[instrument, id]                    slot of each order that the script names by id
            looks[LOOK * n], owns[OWN * n]             observations: a row per call, a row per open order

`ran(...)` returns the engine's outcome in the oracle's form, so the two compare with ==.
"""

import copy
from typing import NamedTuple

import numpy as np

import nbtrade as nt
from model_backtest import WAKES
from model_exchange import Fill
from nbtrade import schema
from nbtrade.engine import backtest
from nbtrade.engine.config import new_config
from nbtrade.engine.kernels import records
from nbtrade.engine.outcome import result_of
from nbtrade.schema import UNDEF_PRICE
from scripted import FIXED_PX, Look

N_ACTIONS, N_LOOKS, N_OWNS = 256, 1024, 8192
N_VENUES = 3
LOOK = 33
DEEP = 21  # from here on: levels below the top, bids then asks
OWN = 12
WHATS = ("submit", "market", "cancel", "replace", "quote", "cancel_all", "flatten")
SUBMIT, MARKET, CANCEL, REPLACE, QUOTE, CANCEL_ALL, FLATTEN = range(7)

SCRIPT = {name: np.zeros(N_ACTIONS, np.int64) for name in ("at", "what", "i", "px", "qty", "type", "tif", "post_only", "ref", "on")} | {
    "n": 0,
    "n_venues": 0,
}
STATE = {
    "slot_of": np.zeros(N_VENUES * N_ACTIONS, np.int64),
    "n_sent": np.zeros(N_VENUES, np.int64),
    "looks": np.zeros(LOOK * N_LOOKS, np.int64),
    "owns": np.zeros(OWN * N_OWNS, np.int64),
    "next": 0,
    "n_looks": 0,
    "n_owns": 0,
}


@nt.strategy(wake="1ms", params=SCRIPT, state=STATE)
def scripted(market, account, params, state):
    """Record a `Look`, then perform the actions that are due."""
    for v in range(params.n_venues):
        seen = market.on(v)
        ours = account.on(v)
        at = state.n_looks * LOOK
        state.n_looks += 1
        state.looks[at] = v
        state.looks[at + 1] = seen.ts
        state.looks[at + 2] = market.wake
        state.looks[at + 3] = seen.bid_px
        state.looks[at + 4] = seen.bid_qty
        state.looks[at + 5] = seen.ask_px
        state.looks[at + 6] = seen.ask_qty
        state.looks[at + 7] = ours.position
        state.looks[at + 8] = ours.cash
        state.looks[at + 9] = seen.volume
        state.looks[at + 10] = seen.n_events
        state.looks[at + 11] = ours.n_open
        state.looks[at + 12] = ours.open_bid
        state.looks[at + 13] = ours.open_ask
        state.looks[at + 14] = ours.reject_reason
        state.looks[at + 15] = ours.n_refused
        state.looks[at + 16] = seen.bid_orders
        state.looks[at + 17] = seen.ask_orders
        state.looks[at + 18] = seen.last_px
        state.looks[at + 19] = seen.last_qty
        state.looks[at + 20] = seen.last_side
        for side in range(2):
            deep = at + DEEP + 6 * side
            state.looks[deep] = seen.level(side, 1)
            state.looks[deep + 1] = seen.level(side, 3)
            state.looks[deep + 2] = seen.depth(side, 2)
            state.looks[deep + 3] = seen.depth(side, 99)
            state.looks[deep + 4] = seen.qty_at(side, FIXED_PX)
            state.looks[deep + 5] = seen.orders_at(side, FIXED_PX)
        for i in range(state.n_sent[v]):
            slot = state.slot_of[v * N_ACTIONS + i]
            own = ours.order(slot)
            if ours.is_open(slot) and own.id == i:
                at = state.n_owns * OWN
                state.n_owns += 1
                state.owns[at] = state.n_looks - 1
                state.owns[at + 1] = i
                state.owns[at + 2] = own.status
                state.owns[at + 3] = own.leaves
                state.owns[at + 4] = own.filled
                state.owns[at + 5] = own.requested_px
                state.owns[at + 6] = own.requested_qty
                state.owns[at + 7] = ours.ahead(slot)
                state.owns[at + 8] = ours.behind(slot)
                state.owns[at + 9] = own.type
                state.owns[at + 10] = own.tif
                state.owns[at + 11] = own.post_only
    while state.next < params.n and params.at[state.next] <= market.ts:
        k = state.next
        state.next += 1
        v = params.on[k]
        seen = market.on(v)
        ours = account.on(v)
        what = params.what[k]
        i = params.i[k]
        px = params.px[k]
        if params.ref[k] >= 0:
            best = seen.bid_px if params.ref[k] == 0 else seen.ask_px
            if best == UNDEF_PRICE:
                continue
            px += best
        slot = -1
        if what == CANCEL or what == REPLACE:
            if i < state.n_sent[v]:
                slot = state.slot_of[v * N_ACTIONS + i]
            if slot < 0 or not ours.is_open(slot) or ours.order(slot).id != i:
                continue
        if what == SUBMIT:
            slot = ours.submit(i, px, params.qty[k], params.type[k], params.tif[k], params.post_only[k])
        elif what == MARKET:
            slot = ours.market(i, params.qty[k])
        elif what == CANCEL:
            ours.cancel(slot)
        elif what == REPLACE:
            ours.replace(slot, px, params.qty[k])
        elif what == QUOTE:
            slot = ours.quote(i, px, params.qty[k], params.tif[k], post_only=params.post_only[k])
        elif what == CANCEL_ALL:
            ours.cancel_all()
        elif what == FLATTEN:
            slot = ours.flatten()
        if what != CANCEL and what != REPLACE and slot >= 0 and ours.order(slot).id >= state.n_sent[v]:
            state.n_sent[v] = ours.order(slot).id  # closing the position used up an order id
            state.slot_of[v * N_ACTIONS + state.n_sent[v]] = slot
            state.n_sent[v] += 1


def strategy_of(wakes, interval):
    """Return the scripted strategy with these wakes; all of them share one compilation."""
    scripted.address  # noqa: B018
    other = copy.copy(scripted)
    other.wakes = sum(1 << WAKES.index(wake) for wake in wakes)
    other.interval = interval if "timer" in wakes else 1
    return other


def values_of(script, n_venues=1):
    """Return the parameters of a script."""
    actions = [(ts, action) for ts in sorted(script) for action in script[ts]]
    assert len(actions) <= N_ACTIONS
    columns = np.zeros((10, N_ACTIONS), np.int64)
    for k, (ts, (what, i, px, qty, type_, tif, post_only, ref, on)) in enumerate(actions):
        kinds = schema.ORDER_TYPES.index(type_), schema.TIMES_IN_FORCE.index(tif), post_only
        columns[:, k] = ts, WHATS.index(what), i, px, qty, *kinds, ref, on
    names = ("at", "what", "i", "px", "qty", "type", "tif", "post_only", "ref", "on")
    return dict(zip(names, columns, strict=True)) | {"n": len(actions), "n_venues": n_venues}


class Outcome(NamedTuple):
    """Outcome of a run in the oracle's form."""

    fills: list
    orders: list  # (id, side, type, tif, post_only, px, qty, filled, state, reason)
    looks: list
    samples: list  # (ts, bid_px, ask_px, position, cash)
    totals: tuple  # true position and cash, maker and taker lots, late messages


def setup_of(scripts, n_venues=1, *, wakes, interval=1, entry=0, response=0, feed=0, rule="fifo", capacity=64, limits=None, sample=0):
    """Return the engine's RunConfig for one script per account, from settings in the oracle's form."""
    latency = entry if isinstance(entry, nt.Latency) else nt.Latency(entry=entry, response=response, feed=feed)
    strategy = strategy_of(wakes, interval)
    risk, lot = nt.Risk(), 1
    if limits is not None:
        lot = limits.lot
        rate = limits.max_rate, limits.rate_interval
        # a tick-lot is worth 0.01 here, and the loss limit is in currency
        risk = nt.Risk(limits.max_order, limits.max_position, limits.max_open, limits.max_loss * 0.01, rate)
    return new_config(
        strategy,
        [values_of(script, n_venues) for script in scripts],
        latency=latency,
        risk=risk,
        instrument=nt.Instrument(lot=lot),
        fill_rule=rule,
        sample=sample,
        max_orders=capacity,
    )


def ran(tapes, scripts, *, flatten=False, **setup):
    """Run one script per account over one tape per instrument; return [[Outcome of account k] of instrument v]."""
    setup = setup_of(scripts, len(tapes), **setup)
    simulation = backtest.run_tapes(tapes, setup)
    simulation.close_session(flatten)
    return [
        [outcome_of(result_of(simulation, setup, tape.symbol, tape.tick_units, v, k), v) for k in range(len(scripts))]
        for v, tape in enumerate(tapes)
    ]


def ran_days(tapes, script, *, flatten=False, **setup):
    """Run one account's script over tapes in sequence; return its Outcome."""
    setup = setup_of([script], **setup)
    return outcome_of(result_of(backtest.run_days(tapes, setup, flatten), setup, tapes[0].symbol, tapes[0].tick_units))


def outcome_of(result, v=0, *, with_looks=True):
    f, o, a = result.fill_rows, result.order_rows, result.account
    columns = (f[name].tolist() for name in ("order_id", "ts", "side", "px", "qty"))
    fills = [Fill(*row) for row in zip(*columns, f["maker"].astype(bool).tolist(), strict=True)]
    names = ("id", "side", "type", "tif", "post_only", "px", "qty", "leaves", "state", "reason")
    orders = [order_of(*row) for row in zip(*(o[name].tolist() for name in names), strict=True)]
    s = result.sample_rows
    samples = [
        (ts, none(bid), none(ask), position, cash)
        for ts, bid, ask, position, cash in zip(*(s[n].tolist() for n in ("ts", "bid_px", "ask_px", "position", "cash")), strict=True)
    ]
    totals = tuple(int(a[name]) for name in ("position", "cash", "maker_qty", "taker_qty", "n_too_late"))
    return Outcome(fills, orders, looks_of(result.final_state, v) if with_looks else [], samples, totals)


def order_of(id_, side, type_, tif, post_only, px, qty, leaves, state, reason):
    state = schema.STATES[state]
    reason = "" if state in ("sent", "working", "filled") else REASONS[reason]  # a working order's reason is that of a rejected replace
    return id_, side, schema.ORDER_TYPES[type_], schema.TIMES_IN_FORCE[tif], bool(post_only), px, qty, qty - leaves, state, reason


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


def looks_of(state, v):
    """Return the `Look`s that the strategy recorded for an instrument."""
    n, n_owns = int(state["n_looks"]), int(state["n_owns"])
    assert n < N_LOOKS
    assert n_owns < N_OWNS
    owns = [{} for _ in range(n)]
    for look, i, status, *numbers in state["owns"][: n_owns * OWN].reshape(-1, OWN).tolist():
        *rest, type_, tif, post_only = numbers
        owns[look][i] = (schema.STATES[status], *rest, schema.ORDER_TYPES[type_], schema.TIMES_IN_FORCE[tif], bool(post_only))
    looks = []
    for own, row in zip(owns, state["looks"][: n * LOOK].reshape(-1, LOOK).tolist(), strict=True):
        venue, ts, wake, bid_px, bid_qty, ask_px, ask_qty, position, cash, *counts = row[:14]
        names = frozenset(name for b, name in enumerate(WAKES) if wake >> b & 1)
        if venue != v:
            continue
        top = none(bid_px), bid_qty, none(ask_px), ask_qty
        last = none(row[18]), *row[19:21]
        deep = tuple((none(row[at]), none(row[at + 1]), *row[at + 2 : at + 6]) for at in (DEEP, DEEP + 6))
        refused = REFUSALS.get(row[14], ""), row[15]
        looks.append(Look(v, ts, names, *top, position, cash, *row[16:18], last, deep, *counts, *refused, own))
    return looks


def expected(result, looks, v=0):
    """Convert the oracle's result to an Outcome."""
    looks = [look for look in looks if look.venue == v]
    orders = [
        (
            o.id,
            o.side,
            o.type,
            o.tif,
            o.post_only,
            o.px,
            o.qty,
            o.filled,
            o.state,
            "" if o.state in ("sent", "working", "filled") else o.reason,
        )
        for o in result.orders
    ]
    samples = [(s.ts, s.bid_px, s.ask_px, s.position, s.cash) for s in result.samples]
    totals = result.position, result.cash, result.maker_qty, result.taker_qty, result.exchange.n_late
    return Outcome(result.fills, orders, looks, samples, totals)
