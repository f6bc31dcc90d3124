"""The strategies of the equivalence runs that read features, and the matrices that some of them get, in the present API."""

from nbtrade import ASK, BID, IOC, feature, strategy
from strategies_new import is_two_sided


@strategy(
    state=[("enter", "f8"), ("limit", "i8"), ("qty", "i8")],
    wake="100ms",
    features={
        "ofi": feature.ofi(5).ema("1s"),
        "imbalance": feature.imbalance(),
        "trend": feature.mid().ema("500ms") - feature.mid().ema("5s"),
        "flow": feature.signed_volume().sum("2s"),
    },
    enter=0.2,
    limit=5,
    qty=1,
)
def feature_trader(market, features, account, state):
    """Takes with flow and imbalance, quotes against the trend; its features are computed for it."""
    if not is_two_sided(market) or not features.trend < 1e9:  # NaN until its window is full
        return
    if features.imbalance > state.enter and features.flow > 0 and account.position < state.limit:
        account.submit(BID, market.ask_px, state.qty, tif=IOC)
    elif features.imbalance < -state.enter and features.flow < 0 and account.position > -state.limit:
        account.submit(ASK, market.bid_px, state.qty, tif=IOC)
    away = 1 if features.ofi > 0 else 0
    account.quote(BID, market.bid_px - 1 + away, state.qty if features.trend < 0 and account.position < state.limit else 0)
    account.quote(ASK, market.ask_px + away, state.qty if features.trend > 0 and account.position > -state.limit else 0)


@strategy(state=[("column", "i8"), ("level", "f8"), ("limit", "i8"), ("sign", "f8")], wake="event", column=1, limit=3, sign=1.0)
def column_trader(market, features, account, state):
    """Takes on the sign of one column of a matrix that it is given, by number, at events."""
    if not is_two_sided(market) or account.n_open > 0:
        return
    value = state.sign * features[state.column]
    if value > state.level and account.position < state.limit:
        account.submit(BID, market.ask_px, 1, tif=IOC)
    elif value < -state.level and account.position > -state.limit:
        account.submit(ASK, market.bid_px, 1, tif=IOC)


@strategy(state=[("spread", "f8"), ("fast", "f8"), ("n", "i8"), ("limit", "i8")], wake="top", features=("fast", "spread"), limit=4)
def named_trader(market, features, account, state):
    """Quotes around one named column of a matrix that it is given, by the width of another."""
    if not is_two_sided(market) or not features.fast < 1e9:
        return
    state.n += 1
    state.spread += features.spread
    state.fast = features.fast
    half = state.spread / state.n / 2
    account.quote(BID, min(int(features.fast - half), market.ask_px - 1), 1 if account.position < state.limit else 0)
    account.quote(ASK, max(int(features.fast + half) + 1, market.bid_px + 1), 1 if account.position > -state.limit else 0)


MATRICES = {  # columns for runs that are given a matrix
    "basic": {
        "spread": feature.spread(),
        "flow": feature.ofi(3).ema("500ms"),
        "fast": feature.mid().ema("1s"),
        "imbalance": feature.imbalance(),
    },
    "flows": {
        "trend": feature.mid().ema("300ms") - feature.mid().ema("3s"),
        "volume": feature.signed_volume().ema("1s"),
        "depth": feature.depth_imbalance(5),
    },
}
