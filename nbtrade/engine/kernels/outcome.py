"""Convert the engine's records of orders and accounts to those of a result."""

from nbtrade._numba.jit import kernel
from nbtrade.engine.kernels.records import IS_MARKET, POST, TIF, TIF_BITS


@kernel
def public_orders(own, rows, at, out):
    """Write the orders of one account as a result stores them.

    own : OWN[n]   rows : i8[m], the account's rows of `own`   at : i8[m], their rows in `out`   out : ORDER[k] out
    `requeued` is undefined before arrival: it may come from the slot's previous order.
    """
    for i in range(len(rows)):
        o, r = own[rows[i]], out[at[i]]
        r.id, r.sent, r.arrived, r.done, r.joined = o.id, o.sent, o.arrived, o.done, o.joined
        r.ahead, r.ahead_last = o.ahead_first, o.ahead
        r.px, r.qty, r.leaves = o.px, o.qty, o.leaves
        r.side, r.state, r.reason, r.rule = o.side, o.state, o.reason, o.rule
        r.type, r.tif, r.post_only = o.instructions & IS_MARKET, (o.instructions & TIF_BITS) >> TIF, o.instructions >> POST
        r.requeued = 1 if o.requeued != 0 and o.arrived != 0 else 0


@kernel
def public_totals(accounts, out):
    """Write the accounts' totals as of the exchange's clock; `fees` is left unchanged.

    accounts : ACCOUNT[k]   out : TOTALS[k] out
    """
    for k in range(len(accounts)):
        a, t = accounts[k], out[k]
        t.position, t.cash, t.realised = a.true_position, a.true_cash, a.realised
        t.maker_qty, t.taker_qty, t.maker_value, t.taker_value = a.maker_qty, a.taker_qty, a.maker_value, a.taker_value
        t.sell_qty, t.sell_value, t.n_fills, t.n_orders = a.sell_qty, a.sell_value, a.n_fills, a.n_orders
        t.n_cancelled, t.n_rejected, t.n_refused, t.n_too_late = a.n_cancelled, a.n_rejected, a.n_refused, a.n_too_late
        for cause in range(len(t.refusals)):
            t.refusals[cause] = a.refusals[cause]
