"""The type of a target: a value from the future, which no feature may use. The targets themselves are in nbtrade/target.py."""

from typing import Any

from nbtrade.feature.expression import Level


class Target:
    """A value that is known only `after` ns from its sample.

    now   : features at the sample      later : a feature `after` it
    kind  : "change" later - now, "return" later / now - 1, "signed" now[0] * (later - now[1])
    """

    def __init__(self, kind: str, now: tuple[Level, ...], later: Level, after: int, label: str) -> None:
        self.kind, self.now, self.later, self.after, self.label = kind, now, later, after, label

    def named(self, label: str) -> "Target":
        """The same under another name."""
        return Target(self.kind, self.now, self.later, self.after, label)

    def __repr__(self) -> str:
        return f"<Target {self.label}>"

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(f"{self.label} looks forward: it can't be part of a feature. Compute it with nbtrade.targets.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = __abs__ = _refuse
