"""Features of what flows: orders, trades, and what prices do in answer. Used as `nbtrade.feature.ofi()` and so on."""

from typing import Any

from nbtrade.feature.book_features import mid
from nbtrade.feature.expression import Flow, Level
from nbtrade.feature.inputs import check, flow_of, length_of, level_of, level_offset, side_name, span_label, total
from nbtrade.schema import ASK, BID


# --- order flow ------------------------------------------------------------------------------------------
def ofi(levels: int = 1) -> Flow:
    """Order-flow imbalance, lots: what joined the bids less what joined the asks, summed over the best `levels` levels.

    e = [P >= P'] q - [P <= P'] q' for the bids, less the same with prices reversed for the asks; ' is the event before. An empty side is
    worse than any price; snapshots and clears bring none.

    Source: Cont, Kukanov and Stoikov 2014, The price impact of order book events, eq. 2; by levels: Xu, Gould and Howison 2018.
    """
    return total([flow_of("ofi", k) for k in range(level_offset(levels) + 1)]).named(f"ofi({levels})")


def adds(side: Any) -> Flow:
    """Orders that joined a side (snapshots and clears never count, modified orders neither)."""
    return flow_of(f"{side_name(side)}_adds").named(f"adds({side_name(side)})")


def cancels(side: Any) -> Flow:
    """Orders withdrawn from a side."""
    return flow_of(f"{side_name(side)}_cancels").named(f"cancels({side_name(side)})")


def modifies(side: Any) -> Flow:
    """Orders of a side that were moved, made larger, or reduced.

    On the tape: taken out and put back in one event, or cancelled in part.
    """
    return flow_of(f"{side_name(side)}_modifies").named(f"modifies({side_name(side)})")


def cancel_to_add(side: Any, window: Any = "1s") -> Level:
    """Cancels over adds of a side, both exponentially weighted."""
    out = cancels(side).ema(window) / adds(side).ema(window)
    return out.named(f"cancel_to_add({side_name(side)}, {span_label(window)})")


def cancel_to_trade(window: Any = "1s") -> Level:
    """Cancels of both sides over trades, exponentially weighted."""
    out = (cancels(BID) + cancels(ASK)).ema(window) / trades().ema(window)
    return out.named(f"cancel_to_trade({span_label(window)})")


def refills(side: Any) -> Flow:
    """Iceberg refills: an executed order that came back at its price in the same event (CME's native icebergs)."""
    return flow_of(f"{side_name(side)}_refills").named(f"refills({side_name(side)})")


def refilled(side: Any) -> Flow:
    """Lots of iceberg refills."""
    return flow_of(f"{side_name(side)}_refilled").named(f"refilled({side_name(side)})")


def swept(side: Any) -> Flow:
    """Levels of a side that executions emptied."""
    return flow_of(f"{side_name(side)}_swept").named(f"swept({side_name(side)})")


def sweeps(levels: int = 2) -> Flow:
    """Sweeps: 1 when the executions of one ts_event emptied their `levels`-th ask level, -1 for bids.

    By ts_event, because a venue may report one aggressive order in several events (Nasdaq: each fill is one).
    """
    check(levels >= 1, f"levels={levels!r}: 1 or more")
    bid, ask = (Flow("reaches", (level_of(f"{s}_sweep"), flow_of(f"{s}_swept")), (), (levels,), s) for s in ("bid", "ask"))
    return (ask - bid).named(f"sweeps({levels})")


# --- trades ----------------------------------------------------------------------------------------------
def trades() -> Flow:
    """Trades."""
    return flow_of("n_trades").named("trades()")


def volume() -> Flow:
    """Lots traded."""
    return (flow_of("buy_qty") + flow_of("sell_qty") + flow_of("unsigned_qty")).named("volume()")


def signed_volume() -> Flow:
    """Lots bought less lots sold by aggressors; trades without a side bring none."""
    return (flow_of("buy_qty") - flow_of("sell_qty")).named("signed_volume()")


def trade_value() -> Flow:
    """Sum of price * lots traded, in ticks * lots."""
    return flow_of("trade_value").named("trade_value()")


def trade_imbalance(window: Any = "1s") -> Level:
    """Signed volume over volume, both exponentially weighted: -1 to 1."""
    out = signed_volume().ema(window) / volume().ema(window)
    return out.named(f"trade_imbalance({span_label(window)})")


def last_px() -> Level:
    """Price of the last trade, ticks."""
    return level_of("last_px").named("last_px()")


def last_qty() -> Level:
    """Lots of the last trade."""
    return level_of("last_qty").named("last_qty()")


def trade_sign() -> Level:
    """1 when the aggressor of the last trade that has a side bought, -1 when it sold."""
    return level_of("last_sign").named("trade_sign()")


def run_length() -> Level:
    """How many trades in a row had the same aggressor side, with its sign; trades without a side don't end a run."""
    return level_of("run").named("run_length()")


def vpin(bucket: float, n: int = 50) -> Level:
    """Mean of |bought - sold| / bucket over the last n buckets of `bucket` lots, by the trades' own signs.

    A trade that fills a bucket goes on in the next; within one event bought lots come first; lots without a side fill with no sign.

    Source: Easley, Lopez de Prado and O'Hara 2012, Flow toxicity and liquidity in a high-frequency world, eq. 8.
    """
    check(bucket > 0 and n >= 1, f"bucket={bucket!r}, n={n!r}: both are more than 0")
    return Level("vpin", (flow_of("buy_qty"), flow_of("sell_qty"), flow_of("unsigned_qty")), (), (bucket, n), f"vpin({bucket:g}, {n})")


# --- volatility and impact -------------------------------------------------------------------------------
def realised_volatility(window: Any = "1m", every: Any = "1s") -> Level:
    """Square root of the sum of squared log returns of the mid over the last `window`, sampled at multiples of `every`.

    The value at a grid point is that just before it. Source: Andersen, Bollerslev, Diebold and Labys 2003.
    """
    return _on_grid("volatility", (mid().log(),), window, every, "realised_volatility")


def bipower(window: Any = "1m", every: Any = "1s") -> Level:
    """Bipower variation: (pi/2) times the sum of |r(k)| |r(k-1)| of the last log returns: the part of variance that is not jumps.

    Source: Barndorff-Nielsen and Shephard 2004, eq. 5.
    """
    return _on_grid("bipower", (mid().log(),), window, every, "bipower")


def kyle_lambda(window: Any = "1m", every: Any = "1s") -> Level:
    """Slope of mid changes (ticks) on signed volume (lots) over the intervals of a grid: ticks a lot. Source: Kyle 1985; Hasbrouck 2009."""
    return _on_grid("impact", (mid(), signed_volume()), window, every, "kyle_lambda")


def amihud(window: Any = "1m", every: Any = "1s") -> Level:
    """Mean of |log return| / value traded (ticks * lots) over the intervals that had trades. Source: Amihud 2002, eq. 1."""
    return _on_grid("illiquidity", (mid().log(), trade_value()), window, every, "amihud")


def roll(n: int = 100) -> Level:
    """2 sqrt(-cov) of neighbouring changes of the price at the last n + 2 events with trades, ticks; NaN where the covariance is positive.

    Source: Roll 1984, eq. 7.
    """
    check(n >= 2, f"n={n!r}: a covariance needs 2 pairs or more")
    return Level("roll", (level_of("last_px"), flow_of("n_trades")), (), (n,), f"roll({n})")


def effective_spread() -> Level:
    """2 sign (price - mid before), mean over the lots of the last event with trades that have a side, ticks; the mid of the event before.

    Source: Lee and Ready 1991; Bessembinder 2003.
    """
    return Level("effective", (level_of("mid_before"), *_signed()), label="effective_spread()")


def realised_spread(after: Any = "5s") -> Level:
    """2 sign (price - mid `after` it) of the last event with trades that is so long ago, ticks: what its maker kept.

    Source: Huang and Stoll 1996, eq. 3.
    """
    return Level("realised", (mid(), *_signed()), (), (length_of(after),), f"realised_spread({span_label(after)})")


def _signed() -> tuple[Flow, Flow, Flow]:
    return flow_of("signed_value"), flow_of("buy_qty"), flow_of("sell_qty")


def _on_grid(op: str, inputs: tuple[Any, ...], window: Any, every: Any, name: str) -> Level:
    length, step = length_of(window), length_of(every)
    n = length // step
    check(n >= 1 and n * step == length, f"{name}: window {window!r} is not a multiple of every={every!r}")
    return Level(op, inputs, (), (step, n), f"{name}({span_label(window)}, {span_label(every)})")
