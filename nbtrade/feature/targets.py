"""The type of a target: a future value, which no feature may use. The targets themselves are in nbtrade/target.py."""

from typing import Any

from nbtrade.feature.expression import Level


class Target:
    """A value that is known only `after` ns after its sample. Created by the functions of `nbtrade.target`.

    Parameters
    ----------
    kind : {"change", "return", "signed"}
        later - now, later / now - 1, or now[0] * (later - now[1]).
    now : tuple of Level
        Features at the sample.
    later : Level
        The feature `after` ns later.
    after : int
        ns.
    label : str
        Name of the column.

    Examples
    --------
    >>> nbtrade.target.mid_return("1s")
    <Target mid_return(1s)>
    """

    def __init__(self, kind: str, now: tuple[Level, ...], later: Level, after: int, label: str) -> None:
        self.kind, self.now, self.later, self.after, self.label = kind, now, later, after, label

    def named(self, label: str) -> "Target":
        """Rename a target: its column in the matrix gets this name.

        Parameters
        ----------
        label : str
            The new name.

        Returns
        -------
        Target
            The same target.

        Examples
        --------
        >>> nbtrade.target.mid_return("1s").named("y")
        <Target y>
        """
        return Target(self.kind, self.now, self.later, self.after, label)

    def __repr__(self) -> str:
        return f"<Target {self.label}>"

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(f"{self.label} looks forward, so it cannot be part of a feature. Compute it with nbtrade.targets.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = __abs__ = _refuse
