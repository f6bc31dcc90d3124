"""The origin of a result: instrument, strategy, configuration, sessions and versions, as plain data that fits into JSON."""

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

import numba
import numpy as np

from nbtrade._version import __version__
from nbtrade.errors import ResultError
from nbtrade.schema import PRICE_SCALE

UNSUITED = "a number, text, a boolean, or a list or dict of them"


@cache
def versions() -> dict[str, str]:
    """Versions of nbtrade and of everything whose version can change a result."""
    return {"nbtrade": __version__, "numba": numba.__version__, "numpy": np.__version__, "python": platform.python_version()}


@dataclass(frozen=True)
class Session:
    """The data of one session of a run.

    Attributes
    ----------
    path : str
        The tape's folder, or the source file of a run straight from a source.
    content_hash : str
        xxh3-128 of the whole tape; empty for a source file.
    first_row, n_rows : int
        The rows of the tape that the run used.
    first_ts, last_ts : int
        Receive times of the first and the last row, ns; 0 without rows.
    """

    path: str = ""
    content_hash: str = ""
    first_row: int = 0
    n_rows: int = 0
    first_ts: int = 0
    last_ts: int = 0


@dataclass(frozen=True)
class RunInfo:
    """Everything about a run except its numbers.

    Attributes
    ----------
    symbol : str
    tick_units : int
        Price of one tick in 1e-9 currency.
    multiplier : float
        Currency per price unit and lot.
    currency : str
        Empty if it was not given.
    strategy : str
        The strategy's name.
    parameters : dict
        Its initial values.
    configuration : dict
        Latency, fees, risk, instrument (each a dict), fill rule, order slots, sample, at_close.
    sessions : tuple of Session
    versions : dict
    n_wakes, n_rows : int
        Calls of the strategy, and rows that the exchange's clock passed.
    """

    symbol: str = ""
    tick_units: int = PRICE_SCALE
    multiplier: float = 1.0
    currency: str = ""
    strategy: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    versions: Mapping[str, str] = field(default_factory=versions)
    n_wakes: int = 0
    n_rows: int = 0

    def described_strategy(self) -> str:
        """Name and parameters: "market_maker(half_spread=1)"."""
        return (
            f"{self.strategy}({', '.join(f'{name}={value}' for name, value in self.parameters.items())})"
            if self.strategy
            else "no strategy"
        )

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {f.name: as_json(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "sessions"} | {
            "sessions": [asdict(session) for session in self.sessions]
        }

    @classmethod
    def from_json(cls, values: Any, where: str) -> "RunInfo":
        """The RunInfo that `to_json` wrote. Raises ResultError for a missing field or one of another type."""
        has_limits = _checked(values, JSON_TYPES, where)
        sessions = tuple(Session(**_checked(one, SESSION_TYPES, f"{where}: sessions")) for one in has_limits.pop("sessions"))
        mappings = {name: from_json(has_limits[name]) for name in ("parameters", "configuration", "versions")}
        if not 0 < has_limits["tick_units"] < 2**63 or not 0 < has_limits["multiplier"] < 1e300:
            raise ResultError(f"{where}: tick_units {has_limits['tick_units']} and multiplier {has_limits['multiplier']} must be positive")
        return cls(**{**has_limits, **mappings, "multiplier": float(has_limits["multiplier"])}, sessions=sessions)


JSON_TYPES: dict[str, tuple[type, ...]] = {
    "symbol": (str,),
    "tick_units": (int,),
    "multiplier": (int, float),
    "currency": (str,),
    "strategy": (str,),
    "parameters": (dict,),
    "configuration": (dict,),
    "sessions": (list,),
    "versions": (dict,),
    "n_wakes": (int,),
    "n_rows": (int,),
}
SESSION_TYPES: dict[str, tuple[type, ...]] = {f.name: (f.type,) for f in fields(Session) if isinstance(f.type, type)}


def _checked(values: Any, types: Mapping[str, tuple[type, ...]], where: str) -> dict[str, Any]:
    """The values of these names, each of one of its types."""
    if not isinstance(values, dict):
        raise ResultError(f"{where} holds {type(values).__name__} instead of an object with the fields {', '.join(types)}")
    if set(values) != set(types):
        missing, unknown = ([*sorted(a - b)] for a, b in ((set(types), set(values)), (set(values), set(types))))
        raise ResultError(f"{where}: missing fields {missing}, unknown fields {unknown}")
    for name, kinds in types.items():
        if not isinstance(values[name], kinds) or isinstance(values[name], bool):
            raise ResultError(f"{where}: {name} is {values[name]!r}, not {' or '.join(kind.__name__ for kind in kinds)}")
    return dict(values)


def as_json(name: str, value: Any) -> Any:
    """A value in JSON's types. Numbers that JSON lacks become {"float": "nan"}. Raises ResultError for other objects."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [as_json(name, one) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: as_json(f"{name}[{key!r}]", one) for key, one in value.items()}
    raise ResultError(f"{name} is {value!r}, which cannot be saved in a result: give {UNSUITED}")


def from_json(value: Any) -> Any:
    """The value that `as_json` made into JSON; arrays and tuples come back as lists."""
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"float"} and value["float"] in ("nan", "inf", "-inf"):
        return float(value["float"])
    return {key: from_json(one) for key, one in value.items()}
