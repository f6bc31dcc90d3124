"""Base of the documented arguments."""

from typing import Any


class Argument:
    """Base of the classes here: they are for annotations, not to be made."""

    def __new__(cls, *args: Any, **kws: Any) -> Any:
        raise TypeError(f"nbtrade.{cls.__name__} annotates an argument of a strategy; the engine makes the object itself")
