"""The strategies of the equivalence runs that nbtrade does not ship, in the current API.

Together with `feature_strategies_new.py` they use every method of an account and of a market, every order type, every wake, timers,
features by name and by number, arrays in the state and random numbers. `strategies_old.py` has the same strategies in
the API of the reference commit: change one only together with the other.
"""

from nbtrade import (
    ASK,
    BID,
    DAY,
    FOK,
    IOC,
    LIMIT,
    UNDEF_PRICE,
    Wake,
    normal,
    strategy,
    uniform,
)
from nbtrade._numba.jit import helper


@helper
def is_two_sided(market):
    """True when both sides have a price and are not crossed."""
    return market.bid_px != UNDEF_PRICE and market.ask_px != UNDEF_PRICE and market.bid_px < market.ask_px


@strategy(wake="50ms", params={"qty": 2, "away": 1, "limit": 8, "every": 40}, state={"n": 0})
def order_types(market, account, params, state):
    """One order of each type in turn, sides alternating; everything is cancelled periodically."""
    if not is_two_sided(market):
        return
    n = state.n
    state.n += 1
    side = BID if n // 6 % 2 == 0 else ASK
    if account.position >= params.limit:
        side = ASK
    elif account.position <= -params.limit:
        side = BID
    near, far, out = (market.bid_px, market.ask_px, -1) if side == BID else (market.ask_px, market.bid_px, 1)
    step = n % 6
    if step == 0:
        account.submit(side, near, params.qty, LIMIT)
    elif step == 1:
        account.submit(side, near + out * params.away, params.qty, tif=DAY)
    elif step == 2:
        account.submit(side, near, params.qty, post_only=True)
    elif step == 3:
        account.submit(side, far, params.qty, tif=IOC)
    elif step == 4:
        account.submit(side, far, 3 * params.qty, tif=FOK)
    else:
        account.market(side, 1)
    if n % params.every == params.every - 1:
        account.cancel_all()


@strategy(wake="100ms", params={"levels": 3, "step": 2, "qty": 2, "limit": 20, "drift": 1}, state={"slots": "(2,6)i8", "n_moved": 0})
def ladder(market, account, params, state):
    """Orders at several prices a side, kept in an array: moved by `replace` when the touch leaves them, cancelled beyond the limit."""
    if not is_two_sided(market):
        return
    for side in range(2):
        touch, out = (market.bid_px, -1) if side == BID else (market.ask_px, 1)
        held = account.position if side == BID else -account.position
        for level in range(params.levels):
            slot = state.slots[side, level] - 1
            px = touch + out * level * params.step
            if not account.is_open(slot):
                is_full = held + (account.open_bid if side == BID else account.open_ask) + params.qty > params.limit
                state.slots[side, level] = 0 if is_full else account.submit(side, px, params.qty, LIMIT) + 1
                continue
            own = account.order(slot)
            if own.cancelling != 0:
                continue
            if held >= params.limit:
                account.cancel(slot)
            elif abs(own.requested_px - px) > params.drift:
                state.n_moved += account.replace(slot, px, own.filled + params.qty)


@strategy(wake="event", params={"edge": 0, "qty": 1, "limit": 5}, state={"n": 0})
def event_quoter(market, account, params, state):
    """Quotes at or behind the touch at every event; a side's quote is cancelled at the position limit."""
    state.n += market.wake & Wake.EVENT
    if not is_two_sided(market):
        return
    account.quote(BID, market.bid_px - params.edge, params.qty if account.position < params.limit else 0)
    account.quote(ASK, market.ask_px + params.edge, params.qty if account.position > -params.limit else 0)


@strategy(wake="top", params={"ratio": 2.0, "qty": 1, "limit": 4}, state={"n_top": 0})
def top_joiner(market, account, params, state):
    """Joins the heavier side of the touch, post-only; cancels everything when the imbalance flips or the spread is wide."""
    state.n_top += 1 if market.wake & Wake.TOP else 0
    if not is_two_sided(market):
        return
    if market.ask_px - market.bid_px > 4:
        account.cancel_all()
        return
    if account.n_open >= 2:
        is_bid_heavy, is_ask_heavy = market.bid_qty > params.ratio * market.ask_qty, market.ask_qty > params.ratio * market.bid_qty
        if (is_bid_heavy and account.open_ask > 0) or (is_ask_heavy and account.open_bid > 0):
            account.cancel_all()
        return
    if market.bid_qty * market.bid_orders >= market.ask_qty * market.ask_orders:
        if account.position + account.open_bid < params.limit:
            account.submit(BID, market.bid_px, params.qty, post_only=True)
    elif account.position - account.open_ask > -params.limit:
        account.submit(ASK, market.ask_px, params.qty, post_only=True)


@strategy(wake="trade", params={"least": 3, "limit": 6, "gap": 20}, state={"volume": 0, "events": 0})
def trade_follower(market, account, params, state):
    """Follows the aggressor of trades of some size, at most once in `gap` events, with FOK orders."""
    if market.wake & Wake.TRADE == 0 or not is_two_sided(market) or market.last_side < 0:
        return
    if market.last_qty < params.least or market.n_events - state.events < params.gap:
        return
    state.events = market.n_events
    side = market.last_side
    lots = 1 + (market.volume - state.volume) % 3
    state.volume = market.volume
    if side == BID and account.position < params.limit:
        account.submit(BID, max(market.last_px, market.ask_px), lots, tif=IOC)
    elif side == ASK and account.position > -params.limit:
        account.submit(ASK, min(market.last_px, market.bid_px), lots, tif=FOK)


@strategy(wake=("start", "end", "ack", "fill", "200ms"), params={"profit": 1, "qty": 1}, state={"counts": "(8,)i8", "n_sent": 0})
def reporter(market, account, params, state):
    """Acts on its own reports: a fill sends the order that takes profit, an ack adds to a count, the end cancels everything."""
    for bit in range(8):
        state.counts[bit] += market.wake >> bit & 1
    if market.wake & Wake.END:
        account.cancel_all()
        return
    if not is_two_sided(market):
        return
    if market.wake & Wake.START:
        account.submit(BID, market.bid_px, params.qty, tif=DAY)
    if market.wake & Wake.FILL and account.position != 0:
        if account.position > 0 and account.open_ask < account.position:
            account.submit(ASK, market.bid_px + params.profit, account.position - account.open_ask, LIMIT)
        elif account.position < 0 and account.open_bid < -account.position:
            account.submit(BID, market.ask_px - params.profit, -account.position - account.open_bid, LIMIT)
    if market.wake & Wake.ACK:
        state.n_sent += 1
    if market.wake & Wake.TIMER:
        if account.n_open == 0 and account.position == 0:
            account.submit(state.n_sent % 2, market.bid_px if state.n_sent % 2 == BID else market.ask_px, params.qty, post_only=True)
        elif state.counts[0] % 10 == 0:
            account.cancel_all()
        if state.counts[0] % 25 == 0:
            account.flatten()


@strategy(wake="100ms", params={"hold": 7, "most": 4}, state={"n": 0, "n_flat": 0, "n_refused": 0})
def flattener(market, account, params, state):
    """Builds a position with market orders and quotes, then flattens it; also makes requests that are refused."""
    n = state.n
    state.n += 1
    if not is_two_sided(market):
        return
    if n % params.hold == params.hold - 1:
        state.n_flat += account.flatten() >= 0
        return
    side = n // params.hold % 2
    if abs(account.position) < params.most:
        account.market(side, 1 + n % 2)
    account.quote(1 - side, market.ask_px if side == BID else market.bid_px, 1)
    if n % 5 == 0:
        account.submit(side, market.bid_px, 0, LIMIT)  # no lots
        account.cancel(account.capacity)  # no such slot
        state.n_refused = account.n_refused


@strategy(wake="40ms", params={"rng": 7, "spread": 2.0, "limit": 15, "bias": 0.5}, state={"rng": 0, "n": 0})
def gambler(market, account, params, state):
    """Random actions: side, price, lots and type of new orders, replaces and cancels of any slot."""
    if not is_two_sided(market):
        return
    if state.n == 0:
        state.rng = params.rng
    state.n += 1
    what = uniform(state)
    side = BID if uniform(state) < params.bias else ASK
    if (account.position if side == BID else -account.position) >= params.limit:
        side = 1 - side
    px = round((market.bid_px + market.ask_px) / 2 + params.spread * normal(state))
    qty = 1 + int(5 * uniform(state))
    slot = int(account.capacity * uniform(state))
    if what < 0.4:
        account.submit(side, px, qty, LIMIT)
    elif what < 0.5:
        account.submit(side, px, qty, post_only=True)
    elif what < 0.6:
        account.submit(side, px, qty, tif=IOC)
    elif what < 0.65:
        account.submit(side, px, qty, tif=FOK)
    elif what < 0.7:
        account.submit(side, px, qty, tif=DAY)
    elif what < 0.75:
        account.market(side, 1)
    elif what < 0.85:
        account.replace(slot, px, qty)
    elif what < 0.93:
        account.cancel(slot)
    elif what < 0.95:
        account.cancel_all()
    elif what < 0.96:
        account.flatten()
    else:
        account.quote(side, px, qty)


N_MIDS = 32


@strategy(wake=("100ms", "fill"), params={"short": 5, "band": 1.0, "limit": 4}, state={"mids": f"({N_MIDS},)f8", "seen": "(16,)u1", "n": 0})
def remembering(market, account, params, state):
    """Two moving averages over an array of mids: takes when they cross, closes the position with a quote."""
    if not is_two_sided(market):
        return
    state.mids[state.n % N_MIDS] = (market.bid_px + market.ask_px) / 2
    state.seen[state.n % 16] += 1
    state.n += 1
    if state.n < N_MIDS:
        return
    fast, slow = 0.0, 0.0
    for i in range(N_MIDS):
        slow += state.mids[i] / N_MIDS
        if i < params.short:
            fast += state.mids[(state.n - 1 - i) % N_MIDS] / params.short
    if fast > slow + params.band and account.position < params.limit:
        account.market(BID, 1)
    elif fast < slow - params.band and account.position > -params.limit:
        account.market(ASK, 1)
    account.quote(ASK, market.ask_px, max(account.position, 0))
    account.quote(BID, market.bid_px, max(-account.position, 0))


@strategy(
    wake=("20ms", "trade"),
    params={"most_ahead": 40, "least_behind": 1, "depth": 4, "limit": 4},
    state={"slots": "(2,)i8", "n_left": 0, "told": 0},
)
def queue_reader(market, account, params, state):
    """Reads the depth of the book and its queue positions, and keeps, cancels or reduces its order accordingly."""
    if not is_two_sided(market):
        return
    weight = market.depth(BID, params.depth) - market.depth(ASK, params.depth)
    for side in range(2):
        slot = state.slots[side] - 1
        px = market.level(side, 1)
        touch = market.bid_px if side == BID else market.ask_px
        if account.is_open(slot):
            own = account.order(slot)
            ahead, behind = account.ahead(slot), account.behind(slot)
            state.told += max(ahead, 0) + max(behind, 0)
            if ahead >= 0 and own.cancelling == 0:
                if own.requested_px != touch and own.requested_px != px:
                    account.cancel(slot)
                    state.n_left += 1
                elif ahead > params.most_ahead and behind < params.least_behind:
                    account.replace(slot, touch, own.filled + own.leaves)
                elif own.leaves > 1 and ahead < 5:
                    account.replace(slot, own.requested_px, own.filled + own.leaves - 1)  # keeps its queue position
            continue
        held = account.position if side == BID else -account.position
        if held >= params.limit or px == UNDEF_PRICE:
            continue
        is_favoured = weight > 0 if side == BID else weight < 0
        wanted = touch if is_favoured and market.qty_at(side, touch) < params.most_ahead else px
        if market.orders_at(side, wanted) > 0:
            state.slots[side] = account.submit(side, wanted, 3, LIMIT) + 1


# no "ack" wakes: without latency its own cancels would wake it forever
@strategy(wake=("100ms", "fill"), params={"target": 2.0, "stop": 3.0, "qty": 2, "most_refused": 1000}, state={"n_stops": 0})
def bookkeeper(market, account, params, state):
    """Quotes, and closes positions based on its account: average price, cash, realised profit, open lots and refusals."""
    if not is_two_sided(market) or account.n_refused > params.most_refused:
        return
    mid = (market.bid_px + market.ask_px) / 2
    if account.position != 0:
        gain = (mid - account.average_px) * (1 if account.position > 0 else -1)
        worth = account.cash + account.position * mid
        if gain <= -params.stop or (worth < 0 and account.realised < 0 and abs(account.position) > 3 * params.qty):
            state.n_stops += 1
            account.flatten()
            return
        if gain >= params.target and account.n_open < 3:
            account.submit(ASK if account.position > 0 else BID, market.bid_px if account.position > 0 else market.ask_px, 1, tif=IOC)
    if account.open_bid < params.qty:
        account.submit(BID, market.bid_px, params.qty - account.open_bid, LIMIT)
    if account.open_ask < params.qty:
        account.submit(ASK, market.ask_px, params.qty - account.open_ask, LIMIT)
    if account.n_open > 6:
        account.cancel_all()


@strategy(wake=("100ms", "top"), params={"qty": 1, "limit": 6}, state={"n": 0, "lots": "(4,)i8"})
def everywhere(market, account, params, state):
    """Quotes on every instrument of the run and moves lots from the longest to the shortest with market orders."""
    longest, shortest = 0, 0
    for i in range(market.n_instruments):
        there, mine = market.on(i), account.on(i)
        state.lots[i] = mine.position
        if mine.position > account.on(longest).position:
            longest = i
        if mine.position < account.on(shortest).position:
            shortest = i
        if is_two_sided(there):
            mine.quote(BID, there.bid_px, params.qty if mine.position < params.limit else 0)
            mine.quote(ASK, there.ask_px, params.qty if mine.position > -params.limit else 0)
    state.n += 1
    if account.on(longest).position - account.on(shortest).position > params.limit and account.n_open < 8:
        account.on(longest).market(ASK, 1)
        account.on(shortest).market(BID, 1)
