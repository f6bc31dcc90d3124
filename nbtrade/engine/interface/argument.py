"""Base of the documented arguments."""

from typing import Any


class Argument:
    """Base of the documented arguments: for annotations only, never instantiated."""

    def __new__(cls, *args: Any, **kws: Any) -> Any:
        raise TypeError(f"nbtrade.{cls.__name__} is for annotations only: the engine creates the object and passes it to your strategy")
