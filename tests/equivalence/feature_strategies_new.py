"""The strategies of the equivalence runs that read features, and the matrices that some of them get, in the present API."""

from nbtrade import ASK, BID, IOC, feature, strategy
from strategies_new import is_two_sided


@strategy(
    wake="100ms",
    params={"enter": 0.2, "limit": 5, "qty": 1},
    features={
        "ofi": feature.ofi(5).ema("1s"),
        "imbalance": feature.imbalance(),
        "trend": feature.mid().ema("500ms") - feature.mid().ema("5s"),
        "flow": feature.signed_volume().sum("2s"),
    },
)
def feature_trader(market, account, params, features):
    """Takes with flow and imbalance, quotes against the trend; the engine computes its features."""
    if not is_two_sided(market) or not features.trend < 1e9:  # NaN until its window is full
        return
    if features.imbalance > params.enter and features.flow > 0 and account.position < params.limit:
        account.submit(BID, market.ask_px, params.qty, tif=IOC)
    elif features.imbalance < -params.enter and features.flow < 0 and account.position > -params.limit:
        account.submit(ASK, market.bid_px, params.qty, tif=IOC)
    away = 1 if features.ofi > 0 else 0
    account.quote(BID, market.bid_px - 1 + away, params.qty if features.trend < 0 and account.position < params.limit else 0)
    account.quote(ASK, market.ask_px + away, params.qty if features.trend > 0 and account.position > -params.limit else 0)


@strategy(wake="event", params={"column": 1, "level": 0.0, "limit": 3, "sign": 1.0})
def column_trader(market, account, params, features):
    """Takes on the sign of one column of its matrix, read by number, at events."""
    if not is_two_sided(market) or account.n_open > 0:
        return
    value = params.sign * features[params.column]
    if value > params.level and account.position < params.limit:
        account.submit(BID, market.ask_px, 1, tif=IOC)
    elif value < -params.level and account.position > -params.limit:
        account.submit(ASK, market.bid_px, 1, tif=IOC)


@strategy(wake="top", params={"limit": 4}, state={"spread": 0.0, "fast": 0.0, "n": 0}, features=("fast", "spread"))
def named_trader(market, account, params, state, features):
    """Quotes around one named column of its matrix, at the distance given by another."""
    if not is_two_sided(market) or not features.fast < 1e9:
        return
    state.n += 1
    state.spread += features.spread
    state.fast = features.fast
    half = state.spread / state.n / 2
    account.quote(BID, min(int(features.fast - half), market.ask_px - 1), 1 if account.position < params.limit else 0)
    account.quote(ASK, max(int(features.fast + half) + 1, market.bid_px + 1), 1 if account.position > -params.limit else 0)


MATRICES = {  # columns of the matrices passed to runs
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
