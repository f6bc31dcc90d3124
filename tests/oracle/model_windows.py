"""Windows, averages and statistics over intervals, slowly, in plain Python: part of model_features. Imports nothing from nbtrade.

A level feature is a list with a value for each event's end; a flow feature the same. Undefined is NaN.
"""

import itertools
import math

from model_features import NAN, mid, ratio, signed_volume, trade_value, volume


# --- grids in time ---------------------------------------------------------------------------------------------
def grid(ms, k, every):
    """Indices of the moments just before each grid point, from the first one after the start to moment k's ts; -1 before any."""
    points, g = [], (ms[0].ts // every + 1) * every
    while g <= ms[k].ts:
        points.append(max((i for i in range(k) if ms[i].ts < g), default=-1))
        g += every
    return points


def intervals(ms, xs, flow, k, every, n):
    """The last n (change, flow) over the grid's intervals, or None; an undefined value keeps the previous one."""
    points = grid(ms, k, every)
    held, value = [], NAN
    for x in xs:
        value = value if math.isnan(x) else x
        held.append(value)
    pairs = []
    for i, j in itertools.pairwise(points):
        if i >= 0 and not math.isnan(held[i]):
            pairs.append((held[j] - held[i], sum(flow[i + 1 : j + 1])))
    return pairs[-n:] if len(pairs) >= n else None


def over_grid(ms, xs, flow, every, n, statistic):
    out = []
    for k in range(len(ms)):
        pairs = intervals(ms, xs, flow, k, every, n)
        out.append(NAN if pairs is None else statistic(pairs))
    return out


def log(xs):
    return [math.log(x) if x > 0 else NAN for x in xs]


def realised_volatility(ms, every, n):
    return over_grid(ms, log(mid(ms)), [0] * len(ms), every, n, lambda p: math.sqrt(sum(y * y for y, _ in p)))


def bipower(ms, every, n):
    """n products, so n + 1 returns."""
    return over_grid(
        ms, log(mid(ms)), [0] * len(ms), every, n + 1,
        lambda p: math.pi / 2 * sum(abs(a) * abs(b) for (a, _), (b, _) in itertools.pairwise(p)),
    )  # fmt: skip


def kyle_lambda(ms, every, n):
    def slope_of(pairs):
        my, mx = sum(y for y, _ in pairs) / n, sum(x for _, x in pairs) / n
        var = sum((x - mx) ** 2 for _, x in pairs)
        return sum((x - mx) * (y - my) for y, x in pairs) / var if var > 1e-9 else NAN

    return over_grid(ms, mid(ms), signed_volume(ms), every, n, slope_of)


def amihud(ms, every, n):
    def mean(pairs):
        with_trades = [abs(y) / x for y, x in pairs if x > 0]
        return sum(with_trades) / len(with_trades) if with_trades else NAN

    return over_grid(ms, log(mid(ms)), trade_value(ms), every, n, mean)


# --- windows -----------------------------------------------------------------------------------------------------
def begins(ms, clock):
    """(the clock when each value takes effect, the clock at each moment)."""
    if clock == "time":
        return [m.ts for m in ms], [m.ts for m in ms]
    if clock == "events":
        return list(range(len(ms))), list(range(1, len(ms) + 1))
    total, out = 0, []
    for v in volume(ms):
        total += v
        out.append(total)
    return out, out


def pieces(ms, xs, clock, k, w):
    """[(value, how long it held)] within the last w of the clock, or None before the window is full."""
    begin, now = begins(ms, clock)
    first = next((j for j in range(k + 1) if not math.isnan(xs[j])), None)
    if first is None or now[k] - begin[first] < w:
        return None
    out = []
    for j in range(k, -1, -1):
        end = begin[j + 1] if j < k else now[k]
        if end <= now[k] - w:
            break
        length = end - max(begin[j], now[k] - w)
        if length > 0 and not math.isnan(xs[j]):
            out.append((xs[j], length))
    return out


def windowed(ms, xs, clock, w, statistic):
    out = []
    for k in range(len(ms)):
        parts = pieces(ms, xs, clock, k, w)
        out.append(statistic(parts, xs[k]) if parts else NAN)
    return out


def mean_of(parts, x=None):
    return sum(v * d for v, d in parts) / sum(d for _, d in parts)


def std_of(parts, x=None):
    m = mean_of(parts)
    return math.sqrt(sum((v - m) ** 2 * d for v, d in parts) / sum(d for _, d in parts))


def zscore_of(parts, x):
    return ratio(x - mean_of(parts), std_of(parts)) if len({v for v, _ in parts}) > 1 else NAN


def extreme(ms, xs, clock, w, best):
    """`best` (min or max) of the values that held within the window and the current value."""
    out = []
    for k, x in enumerate(xs):
        parts = pieces(ms, xs, clock, k, w)
        values = [] if parts is None else [v for v in (*(v for v, _ in parts), x) if not math.isnan(v)]
        out.append(best(values) if values else NAN)
    return out


def lag(ms, xs, clock, w):
    begin, now = begins(ms, clock)
    out = []
    for k in range(len(ms)):
        first = next((j for j in range(k + 1) if not math.isnan(xs[j])), None)
        held = [j for j in range(k + 1) if begin[j] <= (now[k] - 1 if clock == "events" else now[k]) - w]
        warm = first is not None and held and begin[held[-1]] >= begin[first]
        out.append(xs[held[-1]] if warm else NAN)
    return out


def ema(ms, xs, clock, w):
    """The step function's exponential average, updated from moment to moment; by events the new value counts immediately."""
    begin, now = begins(ms, clock)
    out, mean, first = [], NAN, None
    for k, x in enumerate(xs):
        if clock == "events":
            held, step = x, 1
        else:
            held, step = (xs[k - 1], now[k] - now[k - 1]) if k else (NAN, 0)
        if not math.isnan(mean) and not math.isnan(held):
            mean = held + (mean - held) * math.exp(-step / w)
        if math.isnan(mean) and not math.isnan(x):
            mean, first = x, begin[k]
        out.append(mean if first is not None and now[k] - first >= w else NAN)
    return out


def rate(ms, fs, clock, w, unit):
    begin, now = begins(ms, clock)
    start = begin[0] if clock == "time" else 0
    out = []
    for k in range(len(ms)):
        if now[k] - start < w:
            out.append(NAN)
            continue
        total = sum(f * math.exp(-(now[k] - now[j]) / w) for j, f in enumerate(fs[: k + 1]) if f)
        weight = 1 - math.exp(-(now[k] - start) / w)
        out.append(total * (1 - math.exp(-1 / w)) / weight if clock == "events" else total / (w / unit) / weight)
    return out


def window_sum(ms, fs, clock, w):
    _, now = begins(ms, clock)
    start = ms[0].ts if clock == "time" else 0
    return [sum(f for j, f in enumerate(fs[: k + 1]) if now[j] > now[k] - w) if now[k] - start >= w else NAN for k in range(len(ms))]


def change(xs):
    return [0 if k == 0 or math.isnan(x - xs[k - 1]) else x - xs[k - 1] for k, x in enumerate(xs)]
