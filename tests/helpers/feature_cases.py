"""All built-in features with their slow forms, and the streams for testing both."""

import random

import numpy as np

import model_features as slow
import model_windows as windowed
from lockstep import array_of, resolved
from model import F_LAST, UNDEF_PRICE, Record
from nbtrade import feature as f
from nbtrade.schema import ASK, BID

MS, S = 10**6, 10**9
TABLE = [[0.01 * (i + 10 * j) for j in range(2)] for i in range(5)]


def instant():
    """name -> (feature, slow form): current values of the book and the trades."""
    return {
        "bid_px": (f.bid_px(), lambda ms: slow.px(ms, 0)),
        "ask_px_3": (f.ask_px(3), lambda ms: slow.px(ms, 1, 2)),
        "spread": (f.spread(), slow.spread),
        "mid": (f.mid(), slow.mid),
        "weighted_mid": (f.weighted_mid(), slow.weighted_mid),
        "microprice": (f.microprice(TABLE), lambda ms: slow.microprice(ms, TABLE)),
        "bid_qty": (f.bid_qty(2), lambda ms: slow.qty(ms, 0, 1)),
        "ask_qty": (f.ask_qty(), lambda ms: slow.qty(ms, 1)),
        "qty_at": (f.qty_at("ask", 4), lambda ms: slow.qty(ms, 1, 3)),
        "imbalance": (f.imbalance(2), lambda ms: slow.balance(slow.qty(ms, 0, 1), slow.qty(ms, 1, 1))),
        "imbalance_orders": (f.imbalance(1, "orders"), lambda ms: slow.balance(slow.count(ms, 0), slow.count(ms, 1))),
        "depth": (f.depth(ASK, 10), lambda ms: slow.depth(ms, 1, 10)),
        "depth_orders": (f.depth(BID, 3, "orders"), lambda ms: slow.depth(ms, 0, 3, 2)),
        "depth_imbalance": (f.depth_imbalance(5), lambda ms: slow.balance(slow.depth(ms, 0, 5), slow.depth(ms, 1, 5))),
        "depth_within": (f.depth_within(BID, 3), lambda ms: slow.depth_within(ms, 0, 3)),
        "cost_to_fill": (f.cost_to_fill(ASK, 9), lambda ms: slow.cost_to_fill(ms, 1, 9)),
        "cost_to_fill_bid": (f.cost_to_fill(BID, 25), lambda ms: slow.cost_to_fill(ms, 0, 25)),
        "slope": (f.slope(BID, 3), lambda ms: slow.slope(ms, 0, 3)),
        "last_px": (f.last_px(), lambda ms: slow.last_trade(ms, 1)),
        "last_qty": (f.last_qty(), lambda ms: slow.last_trade(ms, 2)),
        "trade_sign": (f.trade_sign(), lambda ms: slow.last_trade(ms, 0)),
        "run_length": (f.run_length(), slow.run_length),
        "effective_spread": (f.effective_spread(), slow.effective_spread),
        "time_since_trade": (f.time_since_trade(), lambda ms: slow.since(ms, slow.last_trade(ms, "ts"))),
        "time_since_quote": (f.time_since_quote(), lambda ms: slow.since(ms, slow.last_quote(ms))),
        "time_of_day": (f.time_of_day("-5h"), lambda ms: slow.time_of_day(ms, -5 * 3600 * S)),
        "session": (f.session("1h", "2h"), lambda ms: [t / 3600 - 1 for t in slow.time_of_day(ms)]),
        "mean_age": (f.mean_age(BID), lambda ms: slow.mean_age(ms, 0)),
        "mean_age_ask": (f.mean_age(ASK), lambda ms: slow.mean_age(ms, 1)),
        "mean_size": (f.mean_size(ASK), lambda ms: slow.mean_size(ms, 1)),
    }


def flows():
    """name -> (flow, slow form)."""
    named = {
        "ofi": (f.ofi(), lambda ms: slow.ofi(ms, 1)),
        "ofi_5": (f.ofi(5), lambda ms: slow.ofi(ms, 5)),
        "trades": (f.trades(), slow.n_trades),
        "volume": (f.volume(), slow.volume),
        "signed_volume": (f.signed_volume(), slow.signed_volume),
        "trade_value": (f.trade_value(), slow.trade_value),
        "sweeps": (f.sweeps(2), lambda ms: slow.sweeps(ms, 2)),
        "mid_change": (f.mid().change(), lambda ms: windowed.change(slow.mid(ms))),
    }
    for name in ("adds", "cancels", "modifies", "refills", "refilled", "swept"):
        for side, word in ((BID, "bid"), (ASK, "ask")):
            named[f"{name}_{word}"] = (getattr(f, name)(side), lambda ms, name=name, side=side: slow.of_side(ms, name, side))
    return named


def windows(w=40 * MS, n=7, v=30):
    """name -> (feature, slow form): features over a window of w ns, n events or v lots, or over intervals."""
    m, i, fl = f.mid(), f.imbalance(), f.ofi(2)
    spans = {"time": (w, {"window": w}), "events": (n, {"events": n}), "volume": (v, {"volume": v})}
    named = {}
    for clock, (length, given) in spans.items():
        unit = S if clock == "time" else 1
        for name, x, xs in (("mid", m, slow.mid), ("imbalance", i, lambda ms: slow.balance(slow.qty(ms, 0), slow.qty(ms, 1)))):
            for op in ("mean", "std", "zscore"):
                statistic = getattr(windowed, f"{op}_of")

                def form(ms, xs=xs, c=clock, w=length, s=statistic):
                    return windowed.windowed(ms, xs(ms), c, w, s)

                named[f"{name}_{op}_{clock}"] = (getattr(x, op)(**given), form)
            for best in (min, max):

                def extreme(ms, xs=xs, c=clock, w=length, b=best):
                    return windowed.extreme(ms, xs(ms), c, w, b)

                named[f"{name}_{best.__name__}_{clock}"] = (getattr(x, best.__name__)(**given), extreme)
            named[f"{name}_lag_{clock}"] = (x.lag(**given), lambda ms, xs=xs, c=clock, w=length: windowed.lag(ms, xs(ms), c, w))
            named[f"{name}_ema_{clock}"] = (x.ema(**given), lambda ms, xs=xs, c=clock, w=length: windowed.ema(ms, xs(ms), c, w))
        named[f"ofi_sum_{clock}"] = (fl.sum(**given), lambda ms, c=clock, w=length: windowed.window_sum(ms, slow.ofi(ms, 2), c, w))
        named[f"ofi_ema_{clock}"] = (fl.ema(**given), lambda ms, c=clock, w=length, u=unit: windowed.rate(ms, slow.ofi(ms, 2), c, w, u))
    return named


def statistics(every=20 * MS, n=4):
    """name -> (feature, slow form): volatility, impact, toxicity."""
    window = every * n
    return {
        "realised_volatility": (f.realised_volatility(window, every), lambda ms: windowed.realised_volatility(ms, every, n)),
        "bipower": (f.bipower(window, every), lambda ms: windowed.bipower(ms, every, n)),
        "kyle_lambda": (f.kyle_lambda(window, every), lambda ms: windowed.kyle_lambda(ms, every, n)),
        "amihud": (f.amihud(window, every), lambda ms: windowed.amihud(ms, every, n)),
        "roll": (f.roll(5), lambda ms: slow.roll(ms, 5)),
        "vpin": (f.vpin(12, 3), lambda ms: slow.vpin(ms, 12, 3)),
        "realised_spread": (f.realised_spread(every), lambda ms: slow.realised_spread(ms, every)),
        "trade_imbalance": (
            f.trade_imbalance(window),
            lambda ms: [
                slow.ratio(a, b)
                for a, b in zip(
                    windowed.rate(ms, slow.signed_volume(ms), "time", window, S),
                    windowed.rate(ms, slow.volume(ms), "time", window, S),
                    strict=True,
                )
            ],
        ),
        "cancel_to_add": (
            f.cancel_to_add(BID, window),
            lambda ms: [
                slow.ratio(a, b)
                for a, b in zip(
                    windowed.rate(ms, slow.of_side(ms, "cancels", 0), "time", window, S),
                    windowed.rate(ms, slow.of_side(ms, "adds", 0), "time", window, S),
                    strict=True,
                )
            ],
        ),
        "cancel_to_trade": (
            f.cancel_to_trade(window),
            lambda ms: [
                slow.ratio(a, b)
                for a, b in zip(
                    windowed.rate(ms, [sum(m.cancels) for m in ms], "time", window, S),
                    windowed.rate(ms, slow.n_trades(ms), "time", window, S),
                    strict=True,
                )
            ],
        ),
    }


def everything(**options):
    """All of these features."""
    return {**instant(), **flows(), **windows(**options), **statistics()}


# --- streams ---------------------------------------------------------------------------------------------
def noise(seed, n=200, unit=1):
    """A tape of n random events: few prices, empty sides, moves, icebergs, sweeps over levels, trades without a side, equal clocks.

    Sizes are 1 to 8 times `unit`.
    """
    rng = random.Random(seed)
    live, records, ts, next_id = {}, [], 1_700_000_000 * S, 1

    def put(action, side, order_id=0, price=UNDEF_PRICE, size=0, last=True):
        records.append(Record(ts, ts + 10, order_id, price, size * unit, F_LAST if last else 0, action, side))

    for _ in range(n):
        ts += rng.choice((0, 1, 1000, MS, 5 * MS, 60 * MS))
        side = rng.choice("BA")
        mine = [i for i in live if live[i][0] == side]
        what = rng.choice("AAAACCMTTTR") if mine else "A"
        if what == "A":
            live[next_id] = [side, (1000 + rng.randrange(6) * (1 if side == "A" else -1)) * 10**7, rng.randrange(1, 9)]
            put("A", side, next_id, *live[next_id][1:])
            next_id += 1
        elif what == "C":
            i = rng.choice(mine)
            lots = rng.choice((live[i][2], 1))
            live[i][2] -= lots
            put("C", side, i, live[i][1], lots)
        elif what == "M":
            i = rng.choice(mine)
            live[i][1] += rng.choice((0, 10**7, -(10**7)))
            live[i][2] = rng.randrange(1, 9)
            put("M", side, i, *live[i][1:])
        elif what == "T":
            best = sorted(mine, key=lambda i: (live[i][1] * (1 if side == "A" else -1), i))
            for i in best[: rng.randrange(1, 4)]:
                lots = rng.randrange(1, live[i][2] + 1)
                put("T", rng.choice(("B" if side == "A" else "A", "N")), 0, live[i][1], lots, last=False)
                put("F", side, i, live[i][1], lots, last=False)
                live[i][2] -= lots
                if live[i][2] == 0 and rng.random() < 0.3:  # an iceberg shows its next part
                    live[i][2] = 3
                    put("M", side, i, live[i][1], 3, last=False)
                else:
                    put("C", side, i, live[i][1], lots, last=False)
            records[-1] = records[-1]._replace(flags=F_LAST)
        elif rng.random() < 0.1:
            live.clear()
            put("R", "N")
        live = {i: order for i, order in live.items() if order[2] > 0}
    return resolved(array_of(records), tick=10**7).tape()


def rows_of(tape):
    """A tape's rows for the model."""
    e = tape.events
    names = ("px", "qty", "prio", "kind", "side", "flags", "d_orders")
    columns = [e[name].tolist() for name in names] + [tape.ts_event.tolist(), tape.ts_recv.tolist(), tape.order_id.tolist()]
    return [slow.Row(*row) for row in zip(*columns, strict=True)]


def moments_of(tape):
    """A tape's events for the model."""
    return slow.market(rows_of(tape))


def assert_close(name, got, expected, rtol=1e-8, atol=1e-9):
    """Equal except for rounding, NaN with NaN; reports the first difference."""
    expected = np.array(expected, float)
    if "zscore" in name or "std" in name:
        rtol, atol = 1e-3, 1e-6  # a brief move in an otherwise constant window: its variance has lost digits
    if name == "roll":
        atol = 1e-6  # the root of a covariance that is 0 except for rounding
    assert len(got) == len(expected), name
    wrong = np.flatnonzero(~np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True))
    assert not len(wrong), f"{name} at event {wrong[0]} ({len(wrong)} in all): {got[wrong[0]]!r}, expected {expected[wrong[0]]!r}"
