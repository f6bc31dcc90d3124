"""The feature matrix: names at the border, indices inside."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class FeatureMatrix:
    """Samples of features.

    values : f8[n, k], row by row     ts : i8[n], ns UTC, the local (receive) clock     names : k of them

    `m["spread()"]` is a column without a copy, `m.index(name)` its number, `m.to_df()` a frame, `np.asarray(m)` the values.
    """

    def __init__(self, values: np.ndarray, ts: np.ndarray, names: list[str]) -> None:
        self.values, self.ts, self.names = values, ts, list(names)

    def __len__(self) -> int:
        return len(self.ts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __repr__(self) -> str:
        return f"<FeatureMatrix {len(self):,} samples of {len(self.names)} columns: {', '.join(self.names)}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def index(self, name: str) -> int:
        """Number of the column `name`. Raises KeyError that lists all."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"there is no column {name!r}; there are: {', '.join(self.names)}") from None

    def __getitem__(self, name: str) -> np.ndarray:
        """f8[n]: one column, a view."""
        return self.values[:, self.index(name)]

    def to_df(self) -> "pd.DataFrame":
        """Columns by name, indexed by ts_recv (UTC); shares the memory of `values`."""
        import pandas as pd

        index = pd.DatetimeIndex(pd.to_datetime(self.ts, utc=True), name="ts_recv")
        return pd.DataFrame(self.values, index=index, columns=self.names, copy=False)
