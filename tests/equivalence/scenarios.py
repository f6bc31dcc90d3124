"""The runs whose results must never change, as plain data that is independent of the API.

    SCENARIOS   name -> {"kind", "data", "strategy", ...}        DAYS   name -> arguments of a synthetic day

kind       "run" or "sweep"
data       {"form": "tape" | "source" | "sequence" | "instruments", "days": [names]}; instruments are named by their days.
           A day's name is one of DAYS, or one of REAL
strategy   one that nbtrade ships, or one of `strategies_old.py` and `strategies_new.py`
params     initial values of parameters
latency    {"kind": "constant", "entry", "response", "feed"}, {"kind": "random", means and seed} or {"kind": "measured", samples}
fees, risk, instrument   the fields that differ from the defaults; `per_instrument` marks {name of day: fields}
matrix     {"columns": name in MATRICES, "sample"}: the run is given this matrix
sets       of a sweep: {field: values} for all combinations, or [{field: value}]
options    sample, max_orders, fill_rule, at_close, start, end, and of sweeps block and workers. Times are seconds since the day's `start`

No two runs that trade have the same fills, so none can be mixed up. QUICK has a third of them, some of every kind.
"""

import itertools
from typing import Any

MONDAY = 1_736_173_800  # seconds since the epoch, 2025-01-06 14:30 UTC
DAY_SECONDS = 86_400

# `then`: after 30 s the feed restarts, as after a failure, with a clear, a snapshot and another day with these arguments.
DAYS: dict[str, dict[str, Any]] = {
    "calm": {"n_records": 40_000, "seed": 1, "live_orders": 300},
    "busy": {"n_records": 60_000, "seed": 2, "live_orders": 1000},
    "thin": {"n_records": 30_000, "seed": 3, "live_orders": 60, "duration": "60s", "mid": 20_000},
    "deep": {"n_records": 80_000, "seed": 4, "live_orders": 5000},
    "stubs": {"n_records": 40_000, "seed": 5, "live_orders": 300, "scenario": "stub_quotes"},
    "outliers": {"n_records": 40_000, "seed": 6, "live_orders": 300, "scenario": "outliers"},
    "fast": {"n_records": 50_000, "seed": 7, "live_orders": 500, "duration": "10s"},
    "slow": {"n_records": 20_000, "seed": 8, "live_orders": 100, "duration": "10m", "mid": 8_000},
    "coarse": {"n_records": 40_000, "seed": 9, "live_orders": 400, "tick": 250_000_000, "mid": 21_000},
    "fine": {"n_records": 40_000, "seed": 10, "live_orders": 200, "tick": 1_000_000, "mid": 900_000},
    "monday": {"n_records": 25_000, "seed": 11, "live_orders": 200, "mid": 10_000},
    "tuesday": {"n_records": 25_000, "seed": 12, "live_orders": 200, "mid": 10_050, "days_later": 1},
    "wednesday": {"n_records": 25_000, "seed": 13, "live_orders": 200, "mid": 9_980, "days_later": 2},
    "long": {"n_records": 200_000, "seed": 14, "live_orders": 1000},
    "left": {"n_records": 30_000, "seed": 15, "live_orders": 200, "duration": "40s", "mid": 10_000, "symbol": "LEFT"},
    "right": {"n_records": 40_000, "seed": 16, "live_orders": 300, "duration": "40s", "mid": 10_000, "symbol": "RIGHT"},
    "third": {"n_records": 25_000, "seed": 17, "live_orders": 100, "duration": "45s", "mid": 30_000, "symbol": "THIRD"},
    "restarted": {
        "n_records": 20_000,
        "seed": 19,
        "live_orders": 100,
        "duration": "20s",
        "mid": 10_000,
        "then": {"seed": 20, "mid": 9_988},
    },
    "zipped": {"n_records": 30_000, "seed": 18, "live_orders": 250, "suffix": ".dbn.zst"},
}
REAL = {  # name: path below the folder of real data
    "CLX5": "databento_glbx_clx5/CLX5_mbo.dbn",
    "ARL": "databento_xnas_arl/ARL_2025-07-17_mbo.csv",
    "ESM4": "databento_glbx_esm4/ESM4_2024-05-08_mbo.dbn.zst",
    "XNAS fixture": "databento_fixtures/XNAS.ITCH_test_data.mbo.dbn.zst",
    "GLBX fixture": "databento_fixtures/GLBX.MDP3_test_data.mbo.dbn.zst",
}
OPTIONS = {"sample", "max_orders", "fill_rule", "at_close", "start", "end", "block", "workers"}

SCENARIOS: dict[str, dict[str, Any]] = {}


def add(name: str, strategy: str, *days: str, form: str = "tape", kind: str = "run", **rest: Any) -> None:
    """Note one run; options are gathered, parameters are in `params`."""
    assert name not in SCENARIOS, name
    options = {key: rest.pop(key) for key in sorted(OPTIONS & rest.keys())}
    SCENARIOS[name] = {"kind": kind, "data": {"form": form, "days": list(days)}, "strategy": strategy, **rest, "options": options}


def constant(entry: Any = 0, response: Any = 0, feed: Any = 0) -> dict[str, Any]:
    return {"kind": "constant", "entry": entry, "response": response, "feed": feed}


MS = constant("1ms", "1ms")
SLOW = constant("20ms", "15ms")
FAR = constant("3ms", "2ms", "4ms")
RANDOM = {"kind": "random", "entry_mean": 900_000, "response_mean": 600_000, "seed": 5, "feed": "1ms"}
MEASURED = {
    "kind": "measured",
    "at": [0, 5, 11, 20, 31],  # seconds
    "entry": [500_000, 2_000_000, 900_000, 8_000_000, 1_000_000],
    "response": [400_000, 1_000_000, 3_000_000, 700_000, 900_000],
}
REBATE = {"maker": -0.002, "taker": 0.003}

# --- strategies that nbtrade ships ----------------------------------------------------------------------------
SHIPPED: dict[str, dict[str, Any]] = {
    "market_maker": {"half_spread": 0.5},
    "avellaneda_stoikov": {"gamma": 0.05, "k": 2.0},
    "glft": {"gamma": 0.1, "k": 1.7, "A": 3.0},
    "imbalance_taker": {"enter": 0.3, "rest": 0.2},
    "queue_joiner": {"max_ahead": 60},
    "twap": {"total": 120, "duration": 30.0, "slices": 12, "begin": MONDAY * 10**9 + 10**9},
    "vwap": {"total": -150, "duration": 28.0, "begin": MONDAY * 10**9 + 10**9},
}
for (_name, _params), (_day, _latency) in itertools.product(
    SHIPPED.items(), [("calm", MS), ("busy", constant()), ("coarse", SLOW), ("long", FAR)]
):
    add(f"{_name} on {_day}", _name, _day, params=_params, latency=_latency)
add("market_maker as it comes", "market_maker", "fast")
add("market_maker skewed", "market_maker", "calm", params={"half_spread": 0.0, "skew": 0.5, "qty": 3, "max_position": 9}, latency=MS)
add("avellaneda_stoikov with sigma", "avellaneda_stoikov", "thin", params={"sigma": 3.0, "horizon": 7.0}, latency=MS)
add("glft wide steps", "glft", "thin", params={"levels": 5, "step": 3, "qty": 2, "max_position": 30}, latency=MS)
add("queue_joiner patient", "queue_joiner", "deep", params={"against": 1.5, "keep_ahead": 8, "qty": 2}, latency=MS)
for _ratio, _latency in [(1.0, constant()), (0.5, MS), (1.7, SLOW)]:
    add(
        f"pairs_hedge {_ratio}", "pairs_hedge", "left", "right", form="instruments", params={"ratio": _ratio, "edge": 0.2}, latency=_latency
    )

# --- own strategies: every method, order type and wake ------------------------------------------------------------
OWN = {
    "order_types": ("calm", "fine", "stubs"),
    "ladder": ("busy", "thin", "outliers"),
    "event_quoter": ("calm", "fast", "thin"),
    "top_joiner": ("busy", "fast", "slow"),
    "trade_follower": ("calm", "long", "outliers"),
    "reporter": ("thin", "slow", "busy"),
    "flattener": ("calm", "coarse", "fine"),
    "gambler": ("calm", "deep", "stubs"),
    "feature_trader": ("busy", "coarse", "thin"),
    "remembering": ("thin", "slow", "fine"),
    "queue_reader": ("busy", "calm", "deep"),
    "bookkeeper": ("thin", "busy", "slow"),
}
for _name, (_first, _second, _last) in OWN.items():
    add(f"{_name} without delay", _name, _first)
    add(f"{_name} delayed", _name, _second, latency=FAR)
    add(f"{_name} far away", _name, _last, latency=SLOW)
add("column_trader by events", "column_trader", "calm", matrix={"columns": "basic", "sample": "100ms"}, params={"level": 30.0}, latency=MS)
add(
    "column_trader by flows",
    "column_trader",
    "thin",
    matrix={"columns": "flows", "sample": "event"},
    params={"column": 2, "level": 0.3},
    latency=FAR,
)
add(
    "column_trader turned",
    "column_trader",
    "fast",
    matrix={"columns": "flows", "sample": "trade"},
    params={"column": 0, "level": 1.0, "sign": -1.0},
)
add("named_trader", "named_trader", "busy", matrix={"columns": "basic", "sample": "event"}, latency=MS)
add("named_trader far away", "named_trader", "thin", matrix={"columns": "basic", "sample": "10ms"}, latency=SLOW)

# --- models: latency, fill rules, fees, risk, the instrument ---------------------------------------------------------
for _rule in ("optimistic", "conservative"):
    add(f"market_maker {_rule}", "market_maker", "deep", params={"half_spread": 0.0, "qty": 2}, fill_rule=_rule, latency=MS)
    add(f"ladder {_rule}", "ladder", "calm", fill_rule=_rule, latency=MS)
    add(f"gambler {_rule}", "gambler", "outliers", params={"rng": 99}, fill_rule=_rule, latency=FAR)
for _name, _latency in (("random", RANDOM), ("measured", MEASURED)):
    add(f"market_maker {_name} latency", "market_maker", "thin", params={"half_spread": 0.5}, latency=_latency)
    add(f"gambler {_name} latency", "gambler", "coarse", params={"rng": 3}, latency=_latency)
    add(f"event_quoter {_name} latency", "event_quoter", "busy", latency=_latency)
    add(f"everywhere {_name} latency", "everywhere", "left", "right", form="instruments", latency=_latency)
add("only the feed is late", "top_joiner", "calm", latency=constant(0, 0, "25ms"))
add("only reports are late", "ladder", "fine", latency=constant(0, "30ms", 0))
add("only orders are late", "queue_reader", "thin", latency=constant("30ms", 0, 0))
add("fees per lot", "ladder", "stubs", fees=REBATE, latency=MS)
add("fees by rate", "order_types", "busy", fees={"maker_rate": -1e-5, "taker_rate": 2e-5, "sell": 0.001, "sell_rate": 1e-6}, latency=MS)
add("fees by a schedule", "gambler", "thin", fees={"schedule": "tiered"}, latency=MS)
add("risk position", "gambler", "busy", params={"rng": 21, "limit": 1000}, risk={"max_position": 4}, latency=MS)
add("risk order and open", "gambler", "fast", params={"rng": 22}, risk={"max_order": 3, "max_open": 5}, latency=MS)
add(
    "risk loss",
    "order_types",
    "coarse",
    params={"qty": 3, "limit": 30},
    risk={"max_loss": 1500.0},
    instrument={"multiplier": 50.0},
    latency=MS,
)
add("risk rate", "ladder", "slow", risk={"max_rate": [3, "1s"]}, latency=MS)
add("instrument with lots", "gambler", "fine", params={"rng": 31}, instrument={"multiplier": 10.0, "lot": 2, "currency": "EUR"}, latency=MS)
add("few order slots", "gambler", "long", params={"rng": 41}, max_orders=3, latency=MS)
add("many order slots", "gambler", "slow", params={"rng": 42}, max_orders=500, latency=MS)

# --- options: sampling, the close, parts, sessions, sources, instruments ------------------------------------------------
add("fine samples", "ladder", "fast", sample="10ms", latency=MS)
add("no samples", "flattener", "fast", sample=0, latency=MS)
add("flattened at the close", "ladder", "long", params={"limit": 30}, at_close="flatten", latency=MS)
add("from a start", "event_quoter", "long", start=100.0, latency=MS)
add("to an end", "order_types", "long", end=60.0, latency=MS)
add("a part of the day", "gambler", "long", params={"rng": 51}, start=50.5, end=150.25, latency=FAR)
for _rule, _name in itertools.product(("fifo", "optimistic", "conservative"), ("ladder", "gambler")):
    add(f"{_name} {_rule} through a snapshot", _name, "restarted", fill_rule=_rule, latency=MS)
add("queue_reader through a snapshot", "queue_reader", "restarted", latency=FAR)
add("straight from a file through a snapshot", "order_types", "restarted", form="source", params={"away": 5}, latency=MS)
WEEK = ("monday", "tuesday", "wednesday")
for _name in ("market_maker", "order_types", "gambler", "reporter", "bookkeeper", "feature_trader"):
    add(f"{_name} for three sessions", _name, *WEEK, form="sequence", latency=FAR)
add("sessions flattened", "ladder", *WEEK, form="sequence", at_close="flatten", latency=MS)
add("sessions of DAY orders", "reporter", "monday", "wednesday", form="sequence", params={"qty": 3}, latency=constant("40ms", "40ms"))
add("straight from a file", "market_maker", "zipped", form="source", params={"half_spread": 0.0}, latency=MS)
add("straight from a raw file", "gambler", "fast", form="source", params={"rng": 61}, latency=FAR)
add("straight from a file of outliers", "event_quoter", "outliers", form="source", latency=MS)
add("straight from a file by top", "top_joiner", "zipped", form="source", latency=SLOW)
TRIPLE = ("left", "right", "third")
add("everywhere on three", "everywhere", *TRIPLE, form="instruments", latency=MS)
add("everywhere without delay", "everywhere", "third", "left", form="instruments", params={"limit": 2})
add(
    "pairs_hedge conservative",
    "pairs_hedge",
    "left",
    "third",
    form="instruments",
    params={"beta": 1 / 3, "edge": 0.3},
    fill_rule="conservative",
)
add(
    "everywhere on its own terms",
    "everywhere",
    "left",
    "right",
    form="instruments",
    params={"qty": 2},
    fees={"per_instrument": {"left": REBATE, "right": {"taker": 0.01}}},
    risk={"per_instrument": {"left": {"max_position": 5}, "right": {"max_position": 3, "max_rate": [20, "1s"]}}},
    instrument={"per_instrument": {"left": {"multiplier": 5.0}, "right": {"lot": 2}}},
    at_close="flatten",
    start=4.0,
    latency=FAR,
)

# --- sweeps ---------------------------------------------------------------------------------------------------------
SPREADS = [0.0, 0.5, 1.0, 1.5]
add(
    "sweep of makers",
    "market_maker",
    "busy",
    kind="sweep",
    sets={"half_spread": SPREADS, "max_position": [2, 5, 10]},
    latency=MS,
    fees=REBATE,
)
add(
    "sweep of fill rules",
    "ladder",
    "calm",
    kind="sweep",
    sets={"fill_rule": ["fifo", "optimistic", "conservative"], "step": [1, 2]},
    latency=MS,
)
add("sweep of seeds", "gambler", "thin", kind="sweep", sets={"rng": list(range(40))}, latency=FAR, workers=2, block=7)
add("sweep by events", "event_quoter", "fast", kind="sweep", sets={"edge": [0, 1, 2], "qty": [1, 2, 3]}, latency=MS, block=4)
add("sweep of features", "feature_trader", "coarse", kind="sweep", sets={"enter": [0.1, 0.3, 0.5], "limit": [2, 6]}, latency=MS)
add(
    "sweep of a matrix",
    "named_trader",
    "calm",
    kind="sweep",
    sets={"limit": [1, 2, 3]},
    matrix={"columns": "basic", "sample": "event"},
    latency=MS,
)
add(
    "sweep of days", "glft", *WEEK, kind="sweep", sets=[{"levels": 2}, {"levels": 4, "step": 2}, {"A": 5.0}], latency=MS, at_close="flatten"
)
add(
    "sweep with samples",
    "avellaneda_stoikov",
    "thin",
    kind="sweep",
    sets={"gamma": [0.02, 0.1], "sigma": [0.0, 2.0]},
    latency=RANDOM,
    sample="1s",
)
add(
    "sweep of a part", "queue_joiner", "long", kind="sweep", sets={"max_ahead": [20, 60], "thin": [0, 4]}, latency=MS, start=20.0, end=120.0
)
add(
    "sweep with risk",
    "order_types",
    "stubs",
    kind="sweep",
    sets={"qty": [1, 2, 4], "away": [0, 2]},
    risk={"max_position": 6},
    latency=MEASURED,
)
_MANY = [{"half_spread": 0.5 * (k % 6), "skew": 0.05 * (k // 6 % 5), "max_position": 2 + k // 30} for k in range(300)]
add("sweep of many makers", "market_maker", "fast", kind="sweep", sets=_MANY, latency=MS, workers=2)

# --- real days: skipped where the data are absent -----------------------------------------------------------------------
for _day, _form in (("CLX5", "tape"), ("ARL", "tape"), ("ESM4", "source")):
    for _name in ("market_maker", "order_types", "event_quoter", "gambler", "queue_reader"):
        add(f"{_name} on {_day}", _name, _day, form=_form, latency=MS)
add("straight from a CSV file", "event_quoter", "ARL", form="source", params={"qty": 3}, latency=FAR)
add("imbalance_taker on CLX5", "imbalance_taker", "CLX5", params={"enter": 0.2, "rest": 0.1}, latency=MS)
add("reporter on CLX5", "reporter", "CLX5", latency=FAR, fill_rule="conservative")
add("event_quoter on the XNAS fixture", "event_quoter", "XNAS fixture")
add("event_quoter on the GLBX fixture", "event_quoter", "GLBX fixture", form="source")
add("sweep on CLX5", "market_maker", "CLX5", kind="sweep", sets={"half_spread": SPREADS, "fill_rule": ["fifo", "conservative"]}, latency=MS)

QUICK = list(SCENARIOS)[::3]
