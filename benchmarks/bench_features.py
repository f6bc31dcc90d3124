"""Twenty features at every event: rows per second, and the same twenty in pandas, Polars and a dict of strings.

    python benchmarks/bench_features.py [--records 2000000] [--repeats 7]      prints every bar

Peers receive the levels of the book and the flows of events as columns, for free; nbtrade starts from the tape. Averages in pandas are
weighted by time exactly as in nbtrade, and all twenty columns are compared before the clock starts. Polars has no rate of a flow, so it
computes the time-weighted mean of the same column, which is less work; the columns that are the same are compared. The order flow of the
dict is simplified too, in its favour.
"""

import argparse
import os
import subprocess
import sys
import threading
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the bar is for one core
sys.path.insert(0, str(Path(__file__).parent))
import measure
import numba
import numpy as np

import nbtrade as nt
from nbtrade import ASK, BID
from nbtrade import feature as f
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.tape.book_snapshot import book_arrays

N = int(os.environ.get("NBTRADE_BENCH_RECORDS", "400000"))
TAU = 1.0  # seconds


def twenty(w="1s"):
    """Twenty standard features."""
    change = f.mid().change()
    columns = {
        "spread": f.spread(),
        "mid": f.mid(),
        "weighted_mid": f.weighted_mid(),
        "imbalance": f.imbalance(),
        "imbalance_orders": f.imbalance(1, "orders"),
        "depth_imbalance": f.depth_imbalance(5),
        "bid_depth": f.depth(BID, 5),
        "ask_depth": f.depth(ASK, 5),
        "ofi": f.ofi().ema(w),
        "ofi_5": f.ofi(5).ema(w),
        "signed_volume": f.signed_volume().ema(w),
        "volume": f.volume().ema(w),
        "trade_imbalance": f.trade_imbalance(w),
    }
    for side, name in ((BID, "bid"), (ASK, "ask")):
        columns |= {f"{name}_adds": f.adds(side).ema(w), f"{name}_cancels": f.cancels(side).ema(w)}
    return columns | {"since_trade": f.time_since_trade(), "trend": f.mid().ema(w) - f.mid(), "variance": (change * change).sum("10s")}


def given(tape):
    """The columns that peers receive for free, and the times of events."""
    columns = {f"bid_px_{k}": f.bid_px(k + 1) for k in range(5)} | {f"ask_px_{k}": f.ask_px(k + 1) for k in range(5)}
    columns |= {f"{side}_qty_{k}": f.qty_at(side, k + 1) for side in ("bid", "ask") for k in range(5)}
    columns |= {
        "bid_orders": f.depth(BID, 1, "orders"),
        "ask_orders": f.depth(ASK, 1, "orders"),
        "buy": (f.volume() + f.signed_volume()) * 0.5,
    }
    columns |= {"sell": (f.volume() - f.signed_volume()) * 0.5, "trades": f.trades()}
    for side in ("bid", "ask"):
        columns |= {f"{side}_adds": f.adds(side), f"{side}_cancels": f.cancels(side)}
    return nt.features(tape, columns)


# --- pandas ------------------------------------------------------------------------------------------
def with_pandas(m):
    """The same twenty, vectorised. m: DataFrame of `given`, indexed by time."""
    import pandas as pd

    out = {}
    mid = (m.bid_px_0 + m.ask_px_0) / 2
    bid, ask = (sum(m[f"{s}_qty_{k}"] for k in range(5)) for s in ("bid", "ask"))
    out["spread"], out["mid"] = m.ask_px_0 - m.bid_px_0, mid
    out["weighted_mid"] = (m.bid_px_0 * m.ask_qty_0 + m.ask_px_0 * m.bid_qty_0) / (m.bid_qty_0 + m.ask_qty_0)
    out["imbalance"] = (m.bid_qty_0 - m.ask_qty_0) / (m.bid_qty_0 + m.ask_qty_0)
    out["imbalance_orders"] = (m.bid_orders - m.ask_orders) / (m.bid_orders + m.ask_orders)
    out["depth_imbalance"], out["bid_depth"], out["ask_depth"] = (bid - ask) / (bid + ask), bid, ask
    dt = m.index.to_series().diff().dt.total_seconds().fillna(0)
    length = TAU * (1 - np.exp(-dt / TAU))  # the weight of an interval at its end

    def mean(x):
        return x.ewm(halflife=pd.Timedelta(TAU * np.log(2), "s"), times=m.index).mean()

    seconds = mean(length)
    flow = [ofi_of(m, k) for k in range(5)]
    out["ofi"], out["ofi_5"] = mean(flow[0]) / seconds, mean(sum(flow)) / seconds
    out["signed_volume"], out["volume"] = mean(m.buy - m.sell) / seconds, mean(m.buy + m.sell) / seconds
    out["trade_imbalance"] = out["signed_volume"] / out["volume"]
    for name in ("bid_adds", "bid_cancels", "ask_adds", "ask_cancels"):
        out[name] = mean(m[name]) / seconds
    stamps = m.index.to_series()
    out["since_trade"] = (stamps - stamps.where(m.trades > 0).ffill()).dt.total_seconds()
    out["trend"] = mean(mid.shift().fillna(mid) * length) / seconds - mid
    out["variance"] = (mid.diff().fillna(0) ** 2).rolling("10s").sum()
    return pd.DataFrame(out)


def ofi_of(m, k):
    """Order-flow imbalance of level k, vectorised."""
    total = 0
    for side, sign in (("bid", 1), ("ask", -1)):
        px, qty = sign * m[f"{side}_px_{k}"], m[f"{side}_qty_{k}"]
        total = total + sign * (qty.where(px >= px.shift(), 0) - qty.shift().where(px <= px.shift(), 0))
    return total.fillna(0)


# --- Polars ------------------------------------------------------------------------------------------
def with_polars(frame):
    """The same twenty as one lazy query. frame: pl.DataFrame of `given` with a column ts (datetime)."""
    import polars as pl

    c = pl.col
    half = f"{round(TAU * np.log(2) * 1e9)}ns"
    mid = (c("bid_px_0") + c("ask_px_0")) / 2
    bid, ask = (pl.sum_horizontal(f"{s}_qty_{k}" for k in range(5)) for s in ("bid", "ask"))

    def flow(k):
        total = 0
        for side, sign in (("bid", 1), ("ask", -1)):
            px, qty = sign * c(f"{side}_px_{k}"), c(f"{side}_qty_{k}")
            joined = pl.when(px >= px.shift()).then(qty).otherwise(0)
            total = total + sign * (joined - pl.when(px <= px.shift()).then(qty.shift()).otherwise(0))
        return total

    def mean(x):
        return x.ewm_mean_by("ts", half_life=half)

    ofi = [flow(k) for k in range(5)]
    signed, volume = mean(c("buy") - c("sell")), mean(c("buy") + c("sell"))
    return (
        frame.lazy()
        .select(
            spread=c("ask_px_0") - c("bid_px_0"),
            mid=mid,
            weighted_mid=(c("bid_px_0") * c("ask_qty_0") + c("ask_px_0") * c("bid_qty_0")) / (c("bid_qty_0") + c("ask_qty_0")),
            imbalance=(c("bid_qty_0") - c("ask_qty_0")) / (c("bid_qty_0") + c("ask_qty_0")),
            imbalance_orders=(c("bid_orders") - c("ask_orders")) / (c("bid_orders") + c("ask_orders")),
            depth_imbalance=(bid - ask) / (bid + ask),
            bid_depth=bid,
            ask_depth=ask,
            ofi=mean(ofi[0]),
            ofi_5=mean(sum(ofi[1:], ofi[0])),
            signed_volume=signed,
            volume=volume,
            trade_imbalance=signed / volume,
            bid_adds=mean(c("bid_adds")),
            bid_cancels=mean(c("bid_cancels")),
            ask_adds=mean(c("ask_adds")),
            ask_cancels=mean(c("ask_cancels")),
            since_trade=(c("ts") - pl.when(c("trades") > 0).then(c("ts")).forward_fill()).dt.total_nanoseconds() * 1e-9,
            trend=mean(mid) - mid,
            variance=(mid.diff() ** 2).rolling_sum_by("ts", "10s"),
        )
        .collect()
    )


# --- a dict of strings in a kernel -------------------------------------------------------------------
@numba.njit
def with_dict(m, ts, at, names, values, out):
    """Features kept by name in a typed dict, as kernels with named features do. m: `given`'s values; at: column of each name."""
    tau = 1e9
    weight, last_trade, before = 0.0, np.nan, np.nan
    for i in range(len(m)):
        row = m[i]
        bid, ask = row[at["bid_px_0"]], row[at["ask_px_0"]]
        d = np.exp(-(ts[i] - ts[max(i - 1, 0)]) / tau)
        weight = 1.0 - (1.0 - weight) * d
        q, r = row[at["bid_qty_0"]], row[at["ask_qty_0"]]
        values["spread"] = ask - bid
        values["mid"] = 0.5 * (bid + ask)
        values["weighted_mid"] = (bid * r + ask * q) / (q + r)
        values["imbalance"] = (q - r) / (q + r)
        n, k = row[at["bid_orders"]], row[at["ask_orders"]]
        values["imbalance_orders"] = (n - k) / (n + k)
        x, y = 0.0, 0.0
        for j in range(5):
            x += row[at["bid_qty_0"] + j]
            y += row[at["ask_qty_0"] + j]
        values["bid_depth"], values["ask_depth"] = x, y
        values["depth_imbalance"] = (x - y) / (x + y)
        values["ofi"] = values["ofi"] * d + q - r
        values["ofi_5"] = values["ofi_5"] * d + x - y
        values["signed_volume"] = values["signed_volume"] * d + row[at["buy"]] - row[at["sell"]]
        values["volume"] = values["volume"] * d + row[at["buy"]] + row[at["sell"]]
        values["trade_imbalance"] = values["signed_volume"] / values["volume"] if values["volume"] > 0 else np.nan
        values["bid_adds"] = values["bid_adds"] * d + row[at["bid_adds"]]
        values["ask_adds"] = values["ask_adds"] * d + row[at["ask_adds"]]
        values["bid_cancels"] = values["bid_cancels"] * d + row[at["bid_cancels"]]
        values["ask_cancels"] = values["ask_cancels"] * d + row[at["ask_cancels"]]
        if row[at["trades"]] > 0:
            last_trade = float(ts[i])
        values["since_trade"] = (ts[i] - last_trade) * 1e-9
        mid = values["mid"]
        change = 0.0 if np.isnan(before) else mid - before
        before = mid
        values["trend"] = values["trend"] * d + change
        values["variance"] = values["variance"] * d + change * change
        for j in range(len(names)):
            out[i, j] = values[names[j]]


def dict_run(m):
    """A call of `with_dict` on fresh state."""
    names = list(twenty())
    at, values = (
        numba.typed.Dict.empty(numba.types.unicode_type, numba.int64),
        numba.typed.Dict.empty(numba.types.unicode_type, numba.float64),
    )
    for name in m.names:
        at[name] = m.index(name)
    for name in names:
        values[name] = 0.0
    listed, out = numba.typed.List(names), np.empty((len(m), len(names)))
    return lambda: with_dict(m.values, m.ts - m.ts[0], at, listed, values, out)


# --- the bars ------------------------------------------------------------------------------------------
def tape_of(n):
    """A synthetic day of n records, without its opening snapshot."""
    tape = measure.tape_of(measure.day(n))
    return tape.between(int(tape.ts_recv[0]) + 1)


def rate(n, repeats):
    """Rows per second of the twenty at every event into a preallocated matrix and into a new one; against book replay."""
    tape, columns = tape_of(n), twenty()
    matrix = nt.features(tape, columns)
    book = book_arrays(tape)
    assert len(matrix) == int((tape.events["flags"] & 1).sum())
    state = tape.book_at(int(tape.ts_recv[-1]))
    assert matrix["mid"][-1] == (state.bid_px + state.ask_px) / 2

    def replay():
        assert books.replay(tape.events, 0, len(tape), *arrays.copied(book)) == len(tape)

    a, b, c = measure.medians(lambda: nt.features(tape, columns, out=matrix), lambda: nt.features(tape, columns), replay, repeats=repeats)
    return {"rows_per_second": len(tape) / a, "rows_per_second_new_memory": len(tape) / b, "ratio_to_book": c / a}


def against_peers(n, repeats):
    """How many times faster than pandas, Polars and the dict of strings."""
    tape, columns = tape_of(n), twenty()
    ours, free = nt.features(tape, columns), given(tape)
    frame = free.to_df()
    late = ours.ts - ours.ts[0] > 20 * TAU * 1e9  # beginnings differ
    assert late.sum() > 1000
    theirs = with_pandas(frame)
    for name in columns:
        np.testing.assert_allclose(ours[name][late], theirs[name].to_numpy()[late], rtol=1e-3, atol=1e-3, err_msg=name)
    runs = {"pandas": lambda: with_pandas(frame), "dict": dict_run(free)}
    runs |= _polars_run(frame, ours)
    seconds = measure.medians(lambda: nt.features(tape, columns, out=ours), *runs.values(), repeats=repeats)
    return {f"times_{name}": s / seconds[0] for name, s in zip(runs, seconds[1:], strict=True)}


def _polars_run(frame, ours):
    try:
        import polars as pl
    except ImportError:
        return {}
    table = pl.DataFrame({"ts": frame.index.tz_localize(None).to_numpy(), **{name: frame[name].to_numpy() for name in frame}})
    theirs = with_polars(table)
    for name in ("spread", "mid", "weighted_mid", "imbalance", "depth_imbalance", "bid_depth", "since_trade"):
        np.testing.assert_allclose(ours[name], theirs[name].to_numpy(), rtol=1e-9, atol=1e-9, err_msg=name)
    return {"polars": lambda: with_polars(table)}


def two_cores(n, repeats):
    """Two passes in two threads against one after the other."""
    tape, columns = tape_of(n), twenty()
    outs = [nt.features(tape, columns) for _ in range(2)]
    expected = outs[0].values.tobytes()

    def run(k):
        nt.features(tape, columns, out=outs[k])

    def both():
        threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    one, two = measure.medians(lambda: run(0), both, repeats=repeats)
    assert outs[0].values.tobytes() == outs[1].values.tobytes() == expected
    return {"ratio": 2 * one / two}


MEMORY_CODE = """
import sys, threading, time
sys.path.insert(0, sys.argv[2])
from bench_features import nt, twenty
def anon():
    return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1]) // 1024
tape = nt.open_tape(sys.argv[1])
nt.features(tape.between(end=int(tape.ts_recv[1000])), twenty())
before, peak, stop = anon(), [0], []
def watch():
    while not stop:
        peak[0] = max(peak[0], anon()); time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
m = nt.features(tape, twenty())
stop.append(1); thread.join()
print(peak[0] - before, (m.values.nbytes + m.ts.nbytes) >> 20)
"""


def extra_memory(n):
    """Private memory of a pass beyond the matrix (20 columns and the times), MB."""
    tape = measure.tape_of(measure.day(n))
    command = [sys.executable, "-c", MEMORY_CODE, str(tape.path), str(Path(__file__).parent)]
    peak, matrix = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return {"extra_mb": peak - matrix, "matrix_mb": matrix}


class Features:
    """Twenty features at every event; bars 15 M rows/s, 0.1 of book replay, 1.8 on two cores."""

    timeout = 900

    def track_rows_per_second(self):
        """Bar 15e6 (on a long day)."""
        return rate(N, 3)["rows_per_second"]

    def track_ratio_to_book(self):
        """Bar 0.1."""
        return rate(N, 3)["ratio_to_book"]

    def track_two_cores(self):
        """Bar 1.8."""
        return two_cores(N, 3)["ratio"]

    def track_extra_memory_mb(self):
        """Nothing but the matrix, the book and the windows."""
        return extra_memory(N)["extra_mb"]


class FeaturePeers:
    """Times faster than the same twenty by other means; bars 20, 1.5, 1.5."""

    timeout = 900
    params = ("pandas", "polars", "dict")
    param_names = ("peer",)

    def track_times_faster(self, peer):
        """Skipped where Polars is missing."""
        ratios = against_peers(min(N, 200_000), 3)
        if f"times_{peer}" not in ratios:
            raise NotImplementedError(f"{peer} is not installed")
        return ratios[f"times_{peer}"]


def main():
    """Print one line a bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*")
    o = parser.parse_args()
    for name, bar, function in (
        ("rate", ">= 15e6 rows/s, >= 0.1 of book replay", lambda: rate(o.records, o.repeats)),
        ("peers", "pandas >= 20, polars >= 1.5, dict >= 1.5", lambda: against_peers(o.records // 4, o.repeats)),
        ("cores", ">= 1.8", lambda: two_cores(o.records, o.repeats)),
        ("memory", "the matrix", lambda: extra_memory(o.records)),
    ):
        if not o.only or name in o.only:
            print(f"{name:8} bar {bar:42} " + ", ".join(f"{k} {v:,.3g}" for k, v in function().items()), flush=True)


if __name__ == "__main__":
    main()
