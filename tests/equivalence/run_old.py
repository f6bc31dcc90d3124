"""Run the scenarios with the API of the reference commit:  cd REFERENCE_TREE && python .../run_old.py OUT.json [NAME ...]

nbtrade is that of the working directory. Only this module and the two of own strategies know the API; `run_new.py` is the same for the
present one.
"""

import os
import sys

sys.path.insert(0, os.getcwd())  # before an nbtrade that is installed

import feature_strategies_old
import numpy as np
import strategies_old
from outcomes import Days, exponential, instrument_outcome, main, start_of, sweep_outcome
from scenarios import DAYS

import nbtrade as nt
from nbtrade.strategies.avellaneda_stoikov import avellaneda_stoikov
from nbtrade.strategies.execution import twap, vwap
from nbtrade.strategies.glft import glft
from nbtrade.strategies.imbalance_taker import imbalance_taker
from nbtrade.strategies.market_maker import market_maker
from nbtrade.strategies.pairs_hedge import pairs_hedge
from nbtrade.strategies.queue_joiner import queue_joiner

SHIPPED = (market_maker, avellaneda_stoikov, glft, imbalance_taker, queue_joiner, twap, vwap, pairs_hedge)
OWN = {**vars(strategies_old), **vars(feature_strategies_old)}
STRATEGIES = {one.name: one for one in (*SHIPPED, *OWN.values()) if isinstance(one, nt.Strategy)}


def tiered(fills):
    """Currency for each fill: makers are paid, takers pay less once 50 lots are traded."""
    return fills["qty"] * np.where(fills["maker"], -0.001, np.where(fills["traded"] > 50, 0.002, 0.004))


def new_days(folder):
    """Days whose files and tapes this nbtrade makes."""
    return Days(folder, nt.synthetic.write_dbn, lambda path, target: nt.ingest(path, target, progress=False))


def latency_of(spec, start):
    """A Latency."""
    kind = spec["kind"]
    if kind == "constant":
        return nt.Latency(spec["entry"], spec["response"], spec["feed"])
    if kind == "random":
        samples = exponential(spec["entry_mean"]), exponential(spec["response_mean"])
        return nt.Latency.random(*samples, seed=spec["seed"], feed=spec["feed"])
    return nt.Latency.measured([start + at * 10**9 for at in spec["at"]], spec["entry"], spec["response"])


def fees_of(spec):
    """Fees."""
    return nt.Fees(**({**spec, "schedule": tiered} if "schedule" in spec else spec))


def risk_of(spec):
    """A Risk."""
    return nt.Risk(**{name: tuple(value) if name == "max_rate" else value for name, value in spec.items()})


def instrument_of(spec):
    """An Instrument."""
    return nt.Instrument(**spec)


def options_of(scenario, days):
    """All arguments of `backtest` and `sweep` except data, strategy and parameters."""
    names = scenario["data"]["days"]
    start = start_of(names[0]) if names[0] in DAYS else 0
    options = dict(scenario["options"])
    for name in ("start", "end"):
        if name in options:
            options[name] = start + round(options[name] * 1e9)
    if "latency" in scenario:
        options["latency"] = latency_of(scenario["latency"], start)
    for name, make in (("fees", fees_of), ("risk", risk_of), ("instrument", instrument_of)):
        if name in scenario:
            each = scenario[name].get("per_instrument")
            options[name] = {day: make(spec) for day, spec in each.items()} if each else make(scenario[name])
    if "matrix" in scenario:
        options["features"] = nt.features(
            days.tape(names[0]), OWN["MATRICES"][scenario["matrix"]["columns"]], sample=scenario["matrix"]["sample"]
        )
    return options


def data_of(scenario, days):
    """What `backtest` and `sweep` take as data."""
    form, names = scenario["data"]["form"], scenario["data"]["days"]
    if form == "source":
        return days.source(names[0])
    if form == "instruments":
        return {name: days.tape(name) for name in names}
    tapes = [days.tape(name) for name in names]
    return tapes if form == "sequence" or len(tapes) > 1 else tapes[0]


def outcome_of(result):
    """The parts of a Result that are compared."""
    account = result.account
    records = result._fills, result._orders, result._samples
    return instrument_outcome(*records, account["true_cash"], account["true_position"], result.summary["net_pnl"])


def run(scenario, days):
    """One scenario's outcome."""
    strategy, data, options = STRATEGIES[scenario["strategy"]], data_of(scenario, days), options_of(scenario, days)
    params = scenario.get("params", {})
    if scenario["kind"] == "sweep":
        table = nt.sweep(data, strategy.with_(**params), scenario["sets"], progress=False, **options)
        return sweep_outcome(table["n_fills"].to_numpy(), table["position"].to_numpy(), table["net_pnl"].to_numpy())
    result = nt.backtest(data, strategy, **options, **params)
    results = list(result.values()) if isinstance(result, dict) else [result]
    return {"n_wakes": results[0].n_wakes, "instruments": [outcome_of(one) for one in results]}


if __name__ == "__main__":
    main(run, new_days)
