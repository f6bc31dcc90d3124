"""The result of one account on one instrument, as users have it.

backtest ─┐                     ┌─> fills, orders, equity, records    frames, in currency and lots
load_result ─> ResultData ──────┼─> summary, markouts, refusals      numbers
from_frames ┘                   ├─> explain, plot, report            an order's life, a figure, a page
                                └─> save, to_parquet, to_arrow       files and tables for other tools
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nbtrade.errors import StrategyError
from nbtrade.results import conversion, metrics, order_history, saving
from nbtrade.results.data import ResultData
from nbtrade.results.markouts import HORIZONS, markouts
from nbtrade.schema import PRICE_SCALE, REFUSALS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from nbtrade.tape.tape import Tape

FRAMES = ("fills", "orders", "equity", "records")


class Result(ResultData):
    """The outcome of one account on one instrument. Times are UTC, prices and money in currency, sizes in lots.

    `backtest`, `load_result` and `Result.from_frames` return one.

    Attributes
    ----------
    fills, orders, equity, records : pandas.DataFrame
        One row per fill, order, equity sample, and call of the strategy that recorded something.
    summary : pandas.Series
        All metrics.
    final_state : record
        The strategy's state after its last call.
    symbol, tick, multiplier, currency, strategy, parameters, configuration, sessions, n_wakes, n_rows
        The instrument, and the origin of the result.

    See Also
    --------
    ResultData : the arrays behind it; defines `==` and `hash`.

    Examples
    --------
    >>> import nbtrade
    >>> fills = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 2]}
    >>> result = nbtrade.Result.from_frames(fills=fills, symbol="ES", tick=0.25, multiplier=50)
    >>> result.summary["net_pnl"]
    50.0
    >>> result.fills["px"].tolist()
    [400, 402]
    """

    @property
    def summary(self) -> "pd.Series":
        """All metrics: built-in ones and those registered with `nbtrade.metric`.

        Returns
        -------
        pandas.Series
            Ints and floats by the metric's name. Money is in currency, sizes in lots. The docstrings in nbtrade/results/metrics.py define
            each metric.
        """
        return metrics.summary(self)

    @property
    def refusals(self) -> "pd.Series":
        """Orders and changes that were not sent, by cause.

        Returns
        -------
        pandas.Series
            Counts (int) by cause, such as "max position" or "bad order".

        Examples
        --------
        >>> int(result.refusals.sum()) == result.summary["n_refused"]
        True
        """
        import pandas as pd

        return pd.Series(self.account["refusals"][1:], index=REFUSALS[1:], name="refusals")

    def markouts(self, horizons: Sequence[str | int] = HORIZONS) -> "pd.DataFrame":
        """Average markouts in ticks per lot: the mid after a fill minus the fill's price, signed so that gains are positive.

        Parameters
        ----------
        horizons : sequence of str or int
            Time spans such as "10s", or ns.

        Returns
        -------
        pandas.DataFrame
            Rows `maker` and `taker`; one column per horizon, and `lots`. Averages are weighted by lots. Negative values mean that the
            market moved against the fills. NaN if there is no mid that late.

        Raises
        ------
        ValueError
            If a horizon is not a time span.

        Notes
        -----
        The mid is taken from the first equity sample at or after the horizon, so horizons are no finer than `sample` in the backtest.

        Examples
        --------
        A lot bought at 100.00 whose mid is 100.50 ten seconds later has gained two ticks of 0.25:

        >>> import nbtrade
        >>> fills = {"ts": ["2025-01-06 14:30:00"], "side": ["B"], "price": [100.0], "size": [1], "maker": [True]}
        >>> equity = {"ts": ["2025-01-06 14:30:00", "2025-01-06 14:30:10"], "mid": [100.125, 100.5]}
        >>> one = nbtrade.Result.from_frames(fills=fills, equity=equity, tick=0.25)
        >>> float(one.markouts(["10s"]).loc["maker", "10s"])
        2.0
        """
        return markouts(self, horizons)

    def explain(self, order_id: int, tape: "Tape | Sequence[Tape]") -> "pd.DataFrame":
        """The life of one order: why it filled, or did not.

        Parameters
        ----------
        order_id : int
            As in the index of `orders` and the column `order_id` of `fills`.
        tape : Tape or sequence of Tape
            The tape of the run; for sessions in sequence, the list of tapes.

        Returns
        -------
        pandas.DataFrame
            One row per change, in order: ts (UTC, exchange clock), row (of the tape), what, lots, ahead (lots ahead of the order
            afterwards; -1 outside a queue), px (ticks).

        Raises
        ------
        StrategyError
            If the order does not exist, or the tape is not the tape of the run.

        Notes
        -----
        After a replace that lost queue position, only the last queue is shown.

        Examples
        --------
        >>> life = result.explain(0, tape)
        >>> life.columns.tolist()
        ['ts', 'row', 'what', 'lots', 'ahead', 'px']
        >>> life["what"].iloc[1]
        'arrived'
        """
        known = {session.content_hash for session in self.sessions} - {""}
        for one in tape if isinstance(tape, Sequence) else (tape,):
            if known and one.content_hash not in known:
                paths = ", ".join(session.path for session in self.sessions)
                raise StrategyError(f"{one} ({one.path}) is not the tape of the run: its content differs from that of {paths}")
        return order_history.order_history(self.order_rows, self.fill_rows, order_id, tape)

    def plot(self, path: saving.StrPath | None = None) -> "Figure":
        """Plot mid with fills, position and PnL over time.

        Parameters
        ----------
        path : path, optional
            File to write; its suffix selects the format (.png, .svg, .pdf).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib (the extra "plot").

        Examples
        --------
        >>> figure = result.plot("pnl.png")
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['price', 'position, lots', 'PnL, currency']
        """
        from nbtrade.results.plots import plot

        return plot(self, self.summary, path)

    def report(self, path: saving.StrPath) -> Path:
        """Write a report as one self-contained HTML file: summary, configuration, plot, markouts, orders, hours.

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
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> result.report("day.html").name
        'day.html'
        """
        from nbtrade.results.report import report

        return report(self, path)

    # --- files and tables --------------------------------------------------------------------------
    def save(self, path: saving.StrPath, *, replace: bool = False) -> Path:
        """Save the result as a folder of Parquet files and `metadata.json`; `nbtrade.load_result` loads it.

        Parameters
        ----------
        path : path
            The new folder. It appears under this name only when it is complete.
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
            If a parameter of the strategy does not fit into JSON.
        ImportError
            Without pyarrow (the extra "parquet").

        Notes
        -----
        A loaded result equals the saved one, bit for bit. A fee schedule is a function and cannot be saved; the fee of each fill is.

        Examples
        --------
        >>> import nbtrade
        >>> nbtrade.load_result(result.save("monday")) == result
        True
        """
        with saving.new_folder(path, replace) as folder:
            saving.write_data(self, folder)
        return Path(path)

    def to_arrow(self) -> "dict[str, pa.Table]":
        """The frames as Arrow tables.

        Returns
        -------
        dict of pyarrow.Table
            fills, orders, equity and records, with the columns of the frames, the index first.

        Raises
        ------
        ImportError
            Without pyarrow (the extra "parquet").

        Examples
        --------
        >>> result.to_arrow()["fills"].column_names[:4]
        ['ts', 'order_id', 'side', 'price']
        """
        pa = saving.pyarrow()
        return {name: pa.Table.from_pandas(getattr(self, name).reset_index(), preserve_index=False) for name in FRAMES}

    def to_parquet(self, folder: saving.StrPath) -> Path:
        """Write the frames as Parquet for other tools: prices and money in currency, sizes in lots.

        To load a result again, use `save` and `nbtrade.load_result`.

        Parameters
        ----------
        folder : path
            Created if it does not exist. fills.parquet, orders.parquet, equity.parquet and records.parquet are replaced, each atomically.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ImportError
            Without pyarrow (the extra "parquet").

        Examples
        --------
        >>> import pandas as pd
        >>> folder = result.to_parquet("tables")
        >>> len(pd.read_parquet(folder / "fills.parquet")) == len(result.fills)
        True
        """
        return saving.write_frames(self.to_arrow(), folder)

    @classmethod
    def from_frames(
        cls,
        *,
        fills: conversion.Frame,
        orders: conversion.Frame | None = None,
        equity: conversion.Frame | None = None,
        records: conversion.Frame | None = None,
        tick: float | str | Fraction,
        symbol: str = "",
        multiplier: float = 1.0,
        currency: str = "",
        mid: float | None = None,
        strategy: str = "",
        parameters: dict[str, Any] | None = None,
    ) -> Self:
        """Make a result from frames, such as another backtester's fills or a broker's report.

        The frames of a Result are accepted unchanged.

        Parameters
        ----------
        fills : DataFrame or dict of columns
            ts (UTC, column or index), side ("B" or "A"), price (currency) or px (ticks), size (lots, > 0). Optional: fee (currency,
            default 0), maker (default False), order_id (default 0, 1, ...), row.
        orders : DataFrame or dict of columns, optional
            side, price or px, size. Optional: order_id (column or index), sent, arrived, done, type, filled, state, reason, ahead.
        equity : DataFrame or dict of columns, optional
            ts, mid (currency, a multiple of half a tick, NaN for a one-sided market). Optional: position, gross, fees; computed from the
            fills if missing.
        records : DataFrame or dict of columns, optional
            ts and any numeric columns.
        tick : float, str or Fraction
            Price of one tick: 0.25, "1/64".
        symbol : str
            The instrument.
        multiplier : float
            Currency per price unit and lot.
        currency : str
            Its name.
        mid : float, optional
            The last mid, which marks an open position; by default the mid of the last row of `equity`.
        strategy : str
            Name of the strategy.
        parameters : dict, optional
            Its parameters.

        Returns
        -------
        Result
            PnL is NaN if a position is open and there is no mid.

        Raises
        ------
        ResultError
            For a missing column, a value of the wrong kind, or a price that is not a multiple of the tick; it names column and row.

        Examples
        --------
        >>> import nbtrade
        >>> fills = {"ts": ["2025-01-06 14:30"], "side": ["B"], "price": [100.0], "size": [2], "fee": [0.5]}
        >>> nbtrade.Result.from_frames(fills=fills, tick=0.25, mid=100.25).summary["net_pnl"]
        0.0
        """
        size, info = conversion.instrument(tick, symbol, multiplier, currency)
        tick_lot = info.tick_units / PRICE_SCALE * info.multiplier
        fill_rows, fill_fees = conversion.fills_of(fills, size)
        order_rows = conversion.orders_of(orders, size)
        sample_rows, sample_fees = conversion.samples_of(equity, fill_rows, fill_fees, size, tick_lot)
        return cls(
            fill_rows=fill_rows,
            fill_fees=fill_fees,
            order_rows=order_rows,
            sample_rows=sample_rows,
            sample_fees=sample_fees,
            record_rows=conversion.records_of(records),
            account=conversion.totals_of(fill_rows, fill_fees, order_rows),
            market=conversion.market_of(mid, sample_rows, size),
            info=replace(info, strategy=strategy, parameters=dict(parameters or {})),
        )

    def __repr__(self) -> str:
        s = self.summary
        width = max(map(len, s.index))
        lines = [f"{name:{width}}  {f'{value:,.2f}' if isinstance(value, float) else f'{value:,}'}" for name, value in s.items()]
        return f"<Result {self.symbol} {self.info.described_strategy()}>\n" + "\n".join(lines)
