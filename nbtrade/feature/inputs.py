"""Building blocks of the features: observed numbers, and checks of arguments."""

import math
from collections.abc import Sequence
from typing import Any

from nbtrade.feature.expression import Flow, Level
from nbtrade.feature.kernels.snapshot import LEVELS
from nbtrade.feature.windows import span_of, span_text
from nbtrade.schema import ASK, BID
from nbtrade.times import ns_of

SIDES = {BID: "bid", ASK: "ask", "bid": "bid", "ask": "ask"}


def level_of(name: str, k: int = 0) -> Level:
    return Level("snapshot", (), (name, k), label=name if k == 0 else f"{name}_{k:02d}")


def flow_of(name: str, k: int = 0) -> Flow:
    return Flow("snapshot", (), (name, k), label=name)


def now() -> Level:
    """Time on the local clock, ns since the start of the pass."""
    return Level("now", label="now")


def side_name(side: Any) -> str:
    if side not in SIDES:
        raise ValueError(f"side is {side!r}: pass BID (0, 'bid') or ASK (1, 'ask')")
    return SIDES[side]


def level_offset(level: int) -> int:
    if not (isinstance(level, int) and 1 <= level <= LEVELS):
        raise ValueError(f"level is {level!r}: pass an integer from 1, the best level, to {LEVELS}")
    return level - 1


def total(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def span_label(window: Any) -> str:
    return span_text(*span_of(window, None, None))


def length_of(span: Any) -> int:
    length = ns_of(span)
    check(0 < length < math.inf, f"{span!r} is not a positive time span: pass text such as '1s', or ns")
    return length


def check(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)
