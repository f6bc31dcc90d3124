"""The configuration of a run: strategy, params of each account, and models, all checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nbtrade.book.kernels import arrays
from nbtrade.engine.models import Fees, Instrument, Latency, Risk
from nbtrade.engine.simulation import Simulation
from nbtrade.engine.strategy import Strategy
from nbtrade.schema import FILL_RULES, PRICE_SCALE, FillRule
from nbtrade.times import ns_of

MAX_ORDERS = 10**6
MODELS = {"latency": Latency, "fees": Fees, "risk": Risk, "instrument": Instrument}


def fill_rule_of(rule: str | FillRule) -> FillRule:
    """The code of a fill rule, from a code or a name. Raises ValueError for anything else."""
    if isinstance(rule, FillRule):
        return rule
    if rule not in FILL_RULES:
        raise ValueError(f"fill_rule={rule!r}: use one of {', '.join(FILL_RULES)}")
    return FillRule(FILL_RULES.index(rule))


@dataclass(frozen=True)
class RunConfig:
    """Everything a run needs except its rows. fees, risk, instrument : one, or a tuple of one for each instrument

    params   : one PARAMS record per account
    recorded : bool per account: its recorded rows are kept; None: all
    """

    strategy: Strategy
    params: np.ndarray
    latency: Latency = field(default_factory=Latency)
    fees: Any = field(default_factory=Fees)
    risk: Any = field(default_factory=Risk)
    instrument: Any = field(default_factory=Instrument)
    fill_rule: str | FillRule | Sequence[str | FillRule] = "fifo"  # one, or one for each account
    sample: int = 1_000_000_000
    max_orders: int = 64
    keep_log: bool = True
    features: Any = None  # (local times i8[n], matrix f8[n, m]), or None
    recorded: np.ndarray | None = None

    def on(self, v: int) -> "RunConfig":
        """The configuration of instrument v alone."""
        if not any(isinstance(one, tuple) for one in (self.fees, self.risk, self.instrument)):
            return self
        fees, risk, instrument = (one[v] if isinstance(one, tuple) else one for one in (self.fees, self.risk, self.instrument))
        return replace(self, fees=fees, risk=risk, instrument=instrument)

    def parameters(self, k: int) -> dict[str, Any]:
        """Account k's parameters as plain Python values."""
        return self.strategy.params.values(self.params[k])

    def limits(self, tick_units: int) -> dict[str, Any]:
        """Nonzero initial values of ACCOUNT fields for one instrument."""
        rules = [self.fill_rule] if isinstance(self.fill_rule, (str, FillRule)) else self.fill_rule
        tick_value = tick_units / PRICE_SCALE * self.instrument.multiplier
        rule_codes = np.array([int(fill_rule_of(rule)) for rule in rules])
        return {**self.risk.limits(tick_value), "lot": self.instrument.lot, "rule": rule_codes}

    def all_limits(self, tick_units: Sequence[int]) -> dict[str, Any]:
        """`limits` for all instruments: ACCOUNT field -> value for each account of the first, then of the second, ..."""
        parts = [self.on(v).limits(units) for v, units in enumerate(tick_units)]
        return {name: np.concatenate([np.resize(part[name], len(self.params)) for part in parts]) for name in parts[0]}

    def simulation(self, books: Sequence[arrays.Book], tick_units: Sequence[int]) -> Simulation:
        """The records and arrays of the run. tick_units : of each instrument"""
        simulation = Simulation(
            self.strategy,
            self.params,
            books,
            self.latency.delays(),
            self.sample,
            self.max_orders,
            self.keep_log,
            self.all_limits(tick_units),
            self.recorded,
        )
        if self.features is not None:
            simulation.set_features(*self.features)
        return simulation


def new_config(strategy: Strategy, sets: Sequence[Mapping[str, Any]], **options: Any) -> RunConfig:
    """Make a checked RunConfig; None selects an option's default. sets : parameters of each account that differ from the strategy's"""
    given = {name: value for name, value in options.items() if value is not None}
    _check_types(strategy, given)
    slots = given.get("max_orders", 1)
    if not isinstance(slots, (int, np.integer)) or not 1 <= slots <= MAX_ORDERS:
        raise ValueError(f"max_orders={slots!r}: an account has 1 to {MAX_ORDERS:,} order slots")
    if "sample" in given:
        given["sample"] = ns_of(given["sample"])
        if given["sample"] < 0:
            raise ValueError(f"sample={options['sample']!r}: the time between points of the equity curve cannot be negative (0: none)")
    return RunConfig(strategy, strategy.params.rows(sets), **given)


def _check_types(strategy: Any, given: Mapping[str, Any]) -> None:
    """Raise TypeError for an option of the wrong type, and for one that does not exist."""
    check_strategy(strategy)
    for name, kind in MODELS.items():
        for value in given[name] if isinstance(given.get(name), tuple) else (given.get(name),):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}={value!r}: give nbtrade.{kind.__name__}(...)")
    unknown = [name for name in given if name not in RunConfig.__dataclass_fields__]
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}. Options: {', '.join(name for name in RunConfig.__dataclass_fields__)}")


def check_at_close(at_close: Any) -> None:
    """Raise ValueError unless it is "carry" or "flatten"."""
    if at_close not in ("carry", "flatten"):
        raise ValueError(f'at_close={at_close!r}: "carry" or "flatten"')


def check_strategy(strategy: Any) -> None:
    """Raise TypeError unless `strategy` was made with @nbtrade.strategy."""
    if not isinstance(strategy, Strategy):
        raise TypeError(f"strategy is {strategy!r}: give a function made with @nbtrade.strategy(wake=..., params=...), after the data")


def per_instrument(what: str, value: Any, names: list[str] | None) -> Any:
    """Convert a dict by instrument name to a tuple in the instruments' order; return other values unchanged."""
    if not isinstance(value, Mapping):
        return value
    if names is None or set(value) != set(names):
        run = f"the instruments are {', '.join(names)}" if names else "the run has one instrument"
        raise ValueError(
            f"{what} is a dict of {', '.join(map(str, value))}, but {run}: give one {what}, or one for each instrument by name"
        )
    return tuple(value[name] for name in names)
