"""The feature matrix: columns by name for callers, by index in kernels."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class FeatureMatrix:
    """Samples of features: one row per sample, one column per feature.

    Parameters
    ----------
    values : f8[n, k]
        The samples, in row-major order.
    ts : i8[n]
        Times of the samples: ns since the epoch, UTC, on the local (receive) clock.
    names : list of str
        Names of the k columns.

    Examples
    --------
    >>> m = nbtrade.features(tape, nbtrade.feature.spread(), sample=5_000)
    >>> m["spread()"]
    array([1., 1., 1.])
    >>> np.asarray(m).shape
    (3, 1)
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
        """Column number of a name.

        Parameters
        ----------
        name : str
            Name of a column.

        Returns
        -------
        int
            Its index in `values`.

        Raises
        ------
        KeyError
            No column has this name; the message lists all names.

        Examples
        --------
        >>> nbtrade.features(tape, nbtrade.feature.spread(), sample=5_000).index("spread()")
        0
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"no column {name!r}; the columns are: {', '.join(self.names)}") from None

    def __getitem__(self, name: str) -> np.ndarray:
        """One column, f8[n], as a view."""
        return self.values[:, self.index(name)]

    def to_df(self) -> "pd.DataFrame":
        """Convert to a DataFrame.

        Returns
        -------
        DataFrame
            Columns by name, indexed by ts_recv (UTC); shares the memory of `values`.

        Examples
        --------
        >>> nbtrade.features(tape, nbtrade.feature.spread(), sample=5_000).to_df().shape
        (3, 1)
        """
        import pandas as pd

        index = pd.DatetimeIndex(pd.to_datetime(self.ts, utc=True), name="ts_recv")
        return pd.DataFrame(self.values, index=index, columns=self.names, copy=False)
