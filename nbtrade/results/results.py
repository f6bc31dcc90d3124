"""Results of one account on several instruments: everything a Result has, with the instrument's name.

Currencies are never added: money of all instruments together exists only if they have one currency.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from nbtrade.errors import ResultError
from nbtrade.results import saving
from nbtrade.results.markouts import HORIZONS
from nbtrade.results.result import FRAMES, Result

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from nbtrade.tape.tape import Tape

ADDED = ("net_pnl", "gross_pnl", "fees", "turnover", "realised_pnl", "unrealised_pnl")  # money
MONEY = ("gross", "fees", "net")


class Results(dict[str, Result]):
    """The outcome of one account on several instruments: a dict, name -> Result.

    Attributes
    ----------
    fills, orders, equity, records : pandas.DataFrame
        The frames of all instruments with a column `instrument`, by time (orders: by instrument and id).
    summary : pandas.DataFrame
        One column per instrument.
    total_equity : pandas.DataFrame
        gross, fees and net of all instruments together, over time.
    totals : pandas.Series
        Sums of the metrics in currency.

    Notes
    -----
    Two Results are equal (`==`) if they have the same names and equal results. Money in different currencies is never added.

    Examples
    --------
    >>> import nbtrade
    >>> fills = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 2]}
    >>> one = nbtrade.Result.from_frames(fills=fills, symbol="ES", tick=0.25, multiplier=50)
    >>> both = nbtrade.Results({"ES": one, "NQ": one})
    >>> float(both.totals["net_pnl"])
    100.0
    >>> both.fills["instrument"].tolist()
    ['ES', 'NQ', 'ES', 'NQ']
    """

    # --- frames ------------------------------------------------------------------------------------
    @property
    def fills(self) -> "pd.DataFrame":
        """Fills of all instruments by time: `instrument` and the columns of `Result.fills`."""
        return self._frame("fills").sort_index(kind="stable")

    @property
    def orders(self) -> "pd.DataFrame":
        """Orders of all instruments: `instrument` and the columns of `Result.orders`. Ids are counted per instrument."""
        return self._frame("orders")

    @property
    def equity(self) -> "pd.DataFrame":
        """Equity of each instrument by time: `instrument` and the columns of `Result.equity`, each in the instrument's currency."""
        return self._frame("equity").sort_index(kind="stable")

    @property
    def records(self) -> "pd.DataFrame":
        """Recorded fields of all instruments by time: `instrument` and one column per field."""
        return self._frame("records").sort_index(kind="stable")

    def _frame(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        if not self:
            raise ResultError("this Results has no instruments, so it has no frames")
        parts = []
        for instrument, result in self.items():
            part = getattr(result, name).copy()
            part.insert(0, "instrument", instrument)
            parts.append(part)
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled)

    # --- totals ------------------------------------------------------------------------------------
    @property
    def currency(self) -> str:
        """The currency of all instruments. Raises ResultError if they have several."""
        found = {name: result.currency for name, result in self.items()}
        if len(set(found.values())) > 1:
            said = ", ".join(f"{name} {currency or 'unknown'}" for name, currency in found.items())
            raise ResultError(f"the instruments have different currencies ({said}), which cannot be added. Use the single results.")
        return next(iter(found.values()), "")

    @property
    def total_equity(self) -> "pd.DataFrame":
        """gross, fees and net of all instruments together, indexed by `ts` (UTC).

        Raises
        ------
        ResultError
            If the instruments have different currencies.
        """
        _ = self.currency
        if not self:
            raise ResultError("this Results has no instruments, so it has no equity")
        frames = [result.equity[list(MONEY)] for result in self.values()]
        return sum(frames[1:], frames[0])

    @property
    def totals(self) -> "pd.Series":
        """Sums over all instruments: net_pnl, gross_pnl, fees, turnover, realised_pnl, unrealised_pnl.

        Raises
        ------
        ResultError
            If the instruments have different currencies.
        """
        _ = self.currency
        return self.summary.loc[list(ADDED)].sum(axis=1).astype(float).rename("totals")

    # --- numbers -----------------------------------------------------------------------------------
    @property
    def summary(self) -> "pd.DataFrame":
        """One column per instrument, one row per metric; money in the instrument's currency."""
        import pandas as pd

        return pd.DataFrame({name: one.summary for name, one in self.items()})

    @property
    def refusals(self) -> "pd.DataFrame":
        """Orders and changes that were not sent: one column per instrument, one row per cause."""
        import pandas as pd

        return pd.DataFrame({name: one.refusals for name, one in self.items()})

    def markouts(self, horizons: Sequence[str | int] = HORIZONS) -> "pd.DataFrame":
        """Average markouts of each instrument; see `Result.markouts`.

        Parameters
        ----------
        horizons : sequence of str or int
            Time spans such as "10s", or ns.

        Returns
        -------
        pandas.DataFrame
            As from `Result.markouts`, with rows (instrument, "maker" or "taker").

        Raises
        ------
        ValueError
            If a horizon is not a time span.

        Examples
        --------
        >>> pair.markouts(["1s"]).index.tolist()
        [('ES', 'maker'), ('ES', 'taker'), ('NQ', 'maker'), ('NQ', 'taker')]
        """
        import pandas as pd

        return pd.concat({name: one.markouts(horizons) for name, one in self.items()}, names=["instrument", "role"])

    @property
    def hash(self) -> str:
        """xxh3-128 of the names and hashes of all instruments, in the order of their names."""
        return str(xxhash.xxh3_128_hexdigest("".join(f"{name}={self[name].hash};" for name in sorted(self)).encode()))

    def explain(self, instrument: str, order_id: int, tape: "Tape | Sequence[Tape]") -> "pd.DataFrame":
        """The life of one order on one instrument; see `Result.explain`.

        Parameters
        ----------
        instrument : str
            One of the names.
        order_id : int
            Orders are numbered per instrument.
        tape : Tape or sequence of Tape
            The instrument's tape.

        Returns
        -------
        pandas.DataFrame
            As from `Result.explain`.

        Raises
        ------
        ResultError
            If the instrument does not exist.
        StrategyError
            If the order does not exist, or the tape is not the tape of the run.

        Examples
        --------
        >>> pair.explain("ES", 0, tape)["what"].iloc[1]
        'arrived'
        """
        if instrument not in self:
            raise ResultError(f"there is no instrument {instrument!r}: the run has {', '.join(map(str, self)) or 'none'}")
        return self[instrument].explain(order_id, tape)

    # --- pictures ----------------------------------------------------------------------------------
    def plot(self, path: saving.StrPath | None = None) -> "Figure":
        """Plot mid with fills and position of each instrument, and PnL: combined if all have one currency, else one panel each.

        Parameters
        ----------
        path : path, optional
            File to write; its suffix selects the format.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib (the extra "plot").

        Examples
        --------
        >>> len(pair.plot().axes)
        5
        """
        from nbtrade.results.plots import plot_several

        return plot_several(self, self.total_equity if self._one_currency() else None, path)

    def report(self, path: saving.StrPath) -> Path:
        """Write a report as one HTML file: all instruments together, then each as in `Result.report`.

        Parameters
        ----------
        path : path
            The file; replaced if it exists.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ImportError
            Without matplotlib (the extra "plot").

        Examples
        --------
        >>> pair.report("pair.html").name
        'pair.html'
        """
        from nbtrade.results.report import picture, sections, table, write_page

        parts = [table(self.totals.to_frame())] if self._one_currency() else []
        parts += [table(self.summary), picture(self.plot())]
        for name, result in self.items():
            parts += [f"<h1>{name}</h1>", *sections(result)]
        return write_page(", ".join(self), parts, path)

    def _one_currency(self) -> bool:
        return len({result.currency for result in self.values()}) == 1

    # --- files and tables --------------------------------------------------------------------------
    def save(self, path: saving.StrPath, *, replace: bool = False) -> Path:
        """Save all instruments in one folder; `nbtrade.load_result` loads it. See `Result.save`.

        Parameters
        ----------
        path : path
            The new folder.
        replace : bool
            Replace an existing saved result.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ResultExists
            If `path` exists and `replace` is False, or if it is anything but a saved result.
        ResultError
            If the name of an instrument is not text.
        ImportError
            Without pyarrow (the extra "parquet").

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.load_result(pair.save("pair")) == pair
        True
        """
        odd = [name for name in self if not isinstance(name, str)]
        if odd:
            raise ResultError(f"the instrument {odd[0]!r} cannot be saved: a name is text")
        with saving.new_folder(path, replace) as folder:
            for i, result in enumerate(self.values()):
                (folder / str(i)).mkdir()
                saving.write_data(result, folder / str(i))
            saving.write_metadata(folder, {"instruments": list(self)})
        return Path(path)

    def to_arrow(self) -> "dict[str, pa.Table]":
        """The frames as Arrow tables with a column `instrument`; see `Result.to_arrow`.

        Returns
        -------
        dict of pyarrow.Table
            fills, orders, equity and records.

        Examples
        --------
        >>> pair.to_arrow()["fills"].column_names[:2]
        ['ts', 'instrument']
        """
        pa = saving.pyarrow()
        return {name: pa.Table.from_pandas(getattr(self, name).reset_index(), preserve_index=False) for name in FRAMES}

    def to_parquet(self, folder: saving.StrPath) -> Path:
        """Write fills, orders, equity and records.parquet with a column `instrument`; see `Result.to_parquet`.

        Parameters
        ----------
        folder : path
            Created if it does not exist; files of these names are replaced.

        Returns
        -------
        Path
            The folder.

        Examples
        --------
        >>> sorted(file.name for file in pair.to_parquet("pair-tables").iterdir())
        ['equity.parquet', 'fills.parquet', 'orders.parquet', 'records.parquet']
        """
        return saving.write_frames(self.to_arrow(), folder)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        return f"<Results of {', '.join(map(str, self)) or 'no instruments'}>\n{self.summary.to_string()}"


def load_result(path: saving.StrPath) -> Result | Results:
    """Load a result that `Result.save` or `Results.save` wrote.

    Parameters
    ----------
    path : path
        The folder.

    Returns
    -------
    Result or Results
        Equal to the saved one, with the same hash and metrics.

    Raises
    ------
    ResultError
        If the folder is not a saved result or has another format version, or if a file in it is missing, damaged, or has other columns.
    ImportError
        Without pyarrow (the extra "parquet").

    Notes
    -----
    Loading never runs code from a file: everything is Parquet and JSON, and nothing is unpickled.

    Examples
    --------
    >>> import nbtrade
    >>> saved = result.save("tuesday")
    >>> nbtrade.load_result("tuesday").summary.equals(result.summary)
    True
    """
    folder = Path(path)
    metadata = saving.read_metadata(folder)
    names = metadata.get("instruments")
    if names is None:
        return Result(**saving.read_data(folder, metadata))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ResultError(f"{folder / saving.METADATA}: instruments is {str(names)[:200]}, not a list of different names")
    parts = [folder / str(i) for i in range(len(names))]
    return Results({name: Result(**saving.read_data(part, saving.read_metadata(part))) for name, part in zip(names, parts, strict=True)})
