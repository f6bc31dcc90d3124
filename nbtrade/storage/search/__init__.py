"""Search in ascending columns: `lower_bound`, `upper_bound` and `binary_search`, from Python and inside kernels.

The functions load on first use, because kernels in this folder must not import the columns that the Python side supports.
"""

from typing import Any

__all__ = ["binary_search", "lower_bound", "lower_bound_near", "upper_bound", "upper_bound_near"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nbtrade.storage.search import search

    return getattr(search, name)
