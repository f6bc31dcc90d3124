"""The strategies of the equivalence runs that nbtrade does not ship, in the API of the reference commit.

Together with `feature_strategies_old.py` they use every method of an account and of a market, every order type, every wake, timers,
features by name and by number, arrays in the state and random numbers. `strategies_new.py` has the same strategies in
the present API: change one only together with the other.
"""

from nbtrade import (
    ASK,
    BID,
    DAY,
    END,
    EVENT_END,
    FOK,
    IOC,
    LIMIT,
    OWN_ACK,
    OWN_FILL,
    POST_ONLY,
    START,
    TIMER,
    TOP,
    TRADES,
    UNDEF_PRICE,
    normal,
    strategy,
    uniform,
)
from nbtrade._jit import helper


@helper
def is_two_sided(market):
    """True when both sides have a price and are not crossed."""
    return market.bid_px != UNDEF_PRICE and market.ask_px != UNDEF_PRICE and market.bid_px < market.ask_px


@strategy(
    state=[("n", "i8"), ("qty", "i8"), ("away", "i8"), ("limit", "i8"), ("every", "i8")], wake="50ms", qty=2, away=1, limit=8, every=40
)
def order_types(market, features, account, state):
    """One order of each type in turn, sides alternating; everything is cancelled periodically."""
    if not is_two_sided(market):
        return
    n = state.n
    state.n += 1
    side = BID if n // 6 % 2 == 0 else ASK
    if account.position >= state.limit:
        side = ASK
    elif account.position <= -state.limit:
        side = BID
    near, far, out = (market.bid_px, market.ask_px, -1) if side == BID else (market.ask_px, market.bid_px, 1)
    step = n % 6
    if step == 0:
        account.submit(side, near, state.qty, LIMIT)
    elif step == 1:
        account.submit(side, near + out * state.away, state.qty, DAY)
    elif step == 2:
        account.submit(side, near, state.qty, POST_ONLY)
    elif step == 3:
        account.submit(side, far, state.qty, IOC)
    elif step == 4:
        account.submit(side, far, 3 * state.qty, FOK)
    else:
        account.market(side, 1)
    if n % state.every == state.every - 1:
        account.cancel_all()


@strategy(
    state=[("levels", "i8"), ("step", "i8"), ("qty", "i8"), ("limit", "i8"), ("drift", "i8"), ("slots", "i8", (2, 6)), ("n_moved", "i8")],
    wake="100ms",
    levels=3,
    step=2,
    qty=2,
    limit=20,
    drift=1,
)
def ladder(market, features, account, state):
    """Orders at several prices a side, kept in an array: moved by `replace` when the touch leaves them, cancelled beyond the limit."""
    if not is_two_sided(market):
        return
    for side in range(2):
        touch, out = (market.bid_px, -1) if side == BID else (market.ask_px, 1)
        held = account.position if side == BID else -account.position
        for level in range(state.levels):
            slot = state.slots[side, level] - 1
            px = touch + out * level * state.step
            if not account.is_open(slot):
                is_full = held + (account.open_bid if side == BID else account.open_ask) + state.qty > state.limit
                state.slots[side, level] = 0 if is_full else account.submit(side, px, state.qty, LIMIT) + 1
                continue
            own = account.order(slot)
            if own.cancelling != 0:
                continue
            if held >= state.limit:
                account.cancel(slot)
            elif abs(own.want_px - px) > state.drift:
                state.n_moved += account.replace(slot, px, own.filled + state.qty)


@strategy(state=[("edge", "i8"), ("qty", "i8"), ("limit", "i8"), ("n", "i8")], wake="event", edge=0, qty=1, limit=5)
def event_quoter(market, features, account, state):
    """Quotes at or behind the touch at every event; a side's quote is cancelled at the position limit."""
    state.n += market.wake & EVENT_END
    if not is_two_sided(market):
        return
    account.quote(BID, market.bid_px - state.edge, state.qty if account.position < state.limit else 0)
    account.quote(ASK, market.ask_px + state.edge, state.qty if account.position > -state.limit else 0)


@strategy(state=[("ratio", "f8"), ("qty", "i8"), ("limit", "i8"), ("n_top", "i8")], wake="top", ratio=2.0, qty=1, limit=4)
def top_joiner(market, features, account, state):
    """Joins the heavier side of the touch, post-only; cancels everything when the imbalance flips or the spread is wide."""
    state.n_top += 1 if market.wake & TOP else 0
    if not is_two_sided(market):
        return
    if market.ask_px - market.bid_px > 4:
        account.cancel_all()
        return
    if account.n_open >= 2:
        is_bid_heavy, is_ask_heavy = market.bid_qty > state.ratio * market.ask_qty, market.ask_qty > state.ratio * market.bid_qty
        if (is_bid_heavy and account.open_ask > 0) or (is_ask_heavy and account.open_bid > 0):
            account.cancel_all()
        return
    if market.bid_qty * market.bid_orders >= market.ask_qty * market.ask_orders:
        if account.position + account.open_bid < state.limit:
            account.submit(BID, market.bid_px, state.qty, POST_ONLY)
    elif account.position - account.open_ask > -state.limit:
        account.submit(ASK, market.ask_px, state.qty, POST_ONLY)


@strategy(
    state=[("least", "i8"), ("limit", "i8"), ("gap", "i8"), ("volume", "i8"), ("events", "i8")], wake="trade", least=3, limit=6, gap=20
)
def trade_follower(market, features, account, state):
    """Follows the aggressor of trades of some size, at most once in `gap` events, with FOK orders."""
    if market.wake & TRADES == 0 or not is_two_sided(market) or market.last_side < 0:
        return
    if market.last_qty < state.least or market.n_events - state.events < state.gap:
        return
    state.events = market.n_events
    side = market.last_side
    lots = 1 + (market.volume - state.volume) % 3
    state.volume = market.volume
    if side == BID and account.position < state.limit:
        account.submit(BID, max(market.last_px, market.ask_px), lots, IOC)
    elif side == ASK and account.position > -state.limit:
        account.submit(ASK, min(market.last_px, market.bid_px), lots, FOK)


@strategy(
    state=[("profit", "i8"), ("qty", "i8"), ("counts", "i8", 8), ("n_sent", "i8")],
    wake=("start", "end", "ack", "fill", "200ms"),
    profit=1,
    qty=1,
)
def reporter(market, features, account, state):
    """Acts on its own reports: a fill sends the order that takes profit, an ack adds to a count, the end cancels everything."""
    for bit in range(8):
        state.counts[bit] += market.wake >> bit & 1
    if market.wake & END:
        account.cancel_all()
        return
    if not is_two_sided(market):
        return
    if market.wake & START:
        account.submit(BID, market.bid_px, state.qty, DAY)
    if market.wake & OWN_FILL and account.position != 0:
        if account.position > 0 and account.open_ask < account.position:
            account.submit(ASK, market.bid_px + state.profit, account.position - account.open_ask, LIMIT)
        elif account.position < 0 and account.open_bid < -account.position:
            account.submit(BID, market.ask_px - state.profit, -account.position - account.open_bid, LIMIT)
    if market.wake & OWN_ACK:
        state.n_sent += 1
    if market.wake & TIMER:
        if account.n_open == 0 and account.position == 0:
            account.submit(state.n_sent % 2, market.bid_px if state.n_sent % 2 == BID else market.ask_px, state.qty, POST_ONLY)
        elif state.counts[0] % 10 == 0:
            account.cancel_all()
        if state.counts[0] % 25 == 0:
            account.flatten()


@strategy(state=[("hold", "i8"), ("most", "i8"), ("n", "i8"), ("n_flat", "i8"), ("n_refused", "i8")], wake="100ms", hold=7, most=4)
def flattener(market, features, account, state):
    """Builds a position with market orders and quotes, then flattens it; also makes requests that are refused."""
    n = state.n
    state.n += 1
    if not is_two_sided(market):
        return
    if n % state.hold == state.hold - 1:
        state.n_flat += account.flatten() >= 0
        return
    side = n // state.hold % 2
    if abs(account.position) < state.most:
        account.market(side, 1 + n % 2)
    account.quote(1 - side, market.ask_px if side == BID else market.bid_px, 1)
    if n % 5 == 0:
        account.submit(side, market.bid_px, 0, LIMIT)  # no lots
        account.cancel(account.capacity)  # no such slot
        state.n_refused = account.n_refused


@strategy(
    state=[("rng", "i8"), ("spread", "f8"), ("limit", "i8"), ("bias", "f8"), ("n", "i8")],
    wake="40ms",
    rng=7,
    spread=2.0,
    limit=15,
    bias=0.5,
)
def gambler(market, features, account, state):
    """Random actions: side, price, lots and type of new orders, replaces and cancels of any slot."""
    if not is_two_sided(market):
        return
    state.n += 1
    what = uniform(state)
    side = BID if uniform(state) < state.bias else ASK
    if (account.position if side == BID else -account.position) >= state.limit:
        side = 1 - side
    px = round((market.bid_px + market.ask_px) / 2 + state.spread * normal(state))
    qty = 1 + int(5 * uniform(state))
    slot = int(account.capacity * uniform(state))
    if what < 0.4:
        account.submit(side, px, qty, LIMIT)
    elif what < 0.5:
        account.submit(side, px, qty, POST_ONLY)
    elif what < 0.6:
        account.submit(side, px, qty, IOC)
    elif what < 0.65:
        account.submit(side, px, qty, FOK)
    elif what < 0.7:
        account.submit(side, px, qty, DAY)
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


@strategy(
    state=[("mids", "f8", N_MIDS), ("seen", "u1", 16), ("short", "i8"), ("band", "f8"), ("limit", "i8"), ("n", "i8")],
    wake=("100ms", "fill"),
    short=5,
    band=1.0,
    limit=4,
)
def remembering(market, features, account, state):
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
        if i < state.short:
            fast += state.mids[(state.n - 1 - i) % N_MIDS] / state.short
    if fast > slow + state.band and account.position < state.limit:
        account.market(BID, 1)
    elif fast < slow - state.band and account.position > -state.limit:
        account.market(ASK, 1)
    account.quote(ASK, market.ask_px, max(account.position, 0))
    account.quote(BID, market.bid_px, max(-account.position, 0))


@strategy(
    state=[
        ("most_ahead", "i8"),
        ("least_behind", "i8"),
        ("depth", "i8"),
        ("limit", "i8"),
        ("slots", "i8", 2),
        ("n_left", "i8"),
        ("told", "i8"),
    ],
    wake=("20ms", "trade"),
    most_ahead=40,
    least_behind=1,
    depth=4,
    limit=4,
)
def queue_reader(market, features, account, state):
    """Reads the depth of the book and its queue positions, and keeps, cancels or reduces its order accordingly."""
    if not is_two_sided(market):
        return
    weight = market.depth(BID, state.depth) - market.depth(ASK, state.depth)
    for side in range(2):
        slot = state.slots[side] - 1
        px = market.level(side, 1)
        touch = market.bid_px if side == BID else market.ask_px
        if account.is_open(slot):
            own = account.order(slot)
            ahead, behind = account.ahead(slot), account.behind(slot)
            state.told += max(ahead, 0) + max(behind, 0)
            if ahead >= 0 and own.cancelling == 0:
                if own.want_px != touch and own.want_px != px:
                    account.cancel(slot)
                    state.n_left += 1
                elif ahead > state.most_ahead and behind < state.least_behind:
                    account.replace(slot, touch, own.filled + own.left)
                elif own.left > 1 and ahead < 5:
                    account.replace(slot, own.want_px, own.filled + own.left - 1)  # keeps its queue position
            continue
        held = account.position if side == BID else -account.position
        if held >= state.limit or px == UNDEF_PRICE:
            continue
        is_favoured = weight > 0 if side == BID else weight < 0
        wanted = touch if is_favoured and market.qty_at(side, touch) < state.most_ahead else px
        if market.orders_at(side, wanted) > 0:
            state.slots[side] = account.submit(side, wanted, 3, LIMIT) + 1


@strategy(
    state=[("target", "f8"), ("stop", "f8"), ("qty", "i8"), ("most_refused", "i8"), ("n_stops", "i8")],
    wake=("100ms", "fill"),  # not "ack": without latency its own cancels would wake it forever
    target=2.0,
    stop=3.0,
    qty=2,
    most_refused=1000,
)
def bookkeeper(market, features, account, state):
    """Quotes, and closes positions based on its account: average price, cash, realised profit, open lots and refusals."""
    if not is_two_sided(market) or account.n_refused > state.most_refused:
        return
    mid = (market.bid_px + market.ask_px) / 2
    if account.position != 0:
        gain = (mid - account.average_px) * (1 if account.position > 0 else -1)
        worth = account.cash + account.position * mid
        if gain <= -state.stop or (worth < 0 and account.realised < 0 and abs(account.position) > 3 * state.qty):
            state.n_stops += 1
            account.flatten()
            return
        if gain >= state.target and account.n_open < 3:
            account.submit(ASK if account.position > 0 else BID, market.bid_px if account.position > 0 else market.ask_px, 1, IOC)
    if account.open_bid < state.qty:
        account.submit(BID, market.bid_px, state.qty - account.open_bid, LIMIT)
    if account.open_ask < state.qty:
        account.submit(ASK, market.ask_px, state.qty - account.open_ask, LIMIT)
    if account.n_open > 6:
        account.cancel_all()


@strategy(state=[("qty", "i8"), ("limit", "i8"), ("n", "i8"), ("lots", "i8", 4)], wake=("100ms", "top"), qty=1, limit=6)
def everywhere(market, features, account, state):
    """Quotes on every instrument of the run and moves lots from the longest to the shortest with market orders."""
    longest, shortest = 0, 0
    for i in range(market.n_venues):
        there, mine = market.on(i), account.on(i)
        state.lots[i] = mine.position
        if mine.position > account.on(longest).position:
            longest = i
        if mine.position < account.on(shortest).position:
            shortest = i
        if is_two_sided(there):
            mine.quote(BID, there.bid_px, state.qty if mine.position < state.limit else 0)
            mine.quote(ASK, there.ask_px, state.qty if mine.position > -state.limit else 0)
    state.n += 1
    if account.on(longest).position - account.on(shortest).position > state.limit and account.n_open < 8:
        account.on(longest).market(ASK, 1)
        account.on(shortest).market(BID, 1)
