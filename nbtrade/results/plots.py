"""Plots of results: mid with fills, position and PnL on one time axis.

A few extreme values (marks at stub quotes) are cut off instead of flattening everything else, and the panel states how many.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.results.data import ResultData

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUY, SELL, LINE, NET = "#1a7f37", "#cf222e", "#57606a", "#0550ae"
WILD = 10  # values this many times the usual range away come from stub quotes


def new_figure(n_rows: int, heights: list[float]) -> "tuple[Figure, list[Axes]]":
    """A figure of panels with one time axis. Raises ImportError, naming the extra, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "nbtrade[plot]"') from None
    figure = Figure(figsize=(10, 2 + sum(heights) * 0.85), layout="constrained")
    return figure, list(figure.subplots(n_rows, 1, sharex=True, height_ratios=heights))


def plot(result: ResultData, summary: "pd.Series", path: "str | os.PathLike[str] | None" = None) -> "Figure":
    """See `Result.plot`. summary : of the result"""
    figure, (price, position, pnl) = new_figure(3, [3, 1, 2])
    draw_price(price, result)
    draw_position(position, result)
    draw_pnl(pnl, result.equity, result.currency)
    title = f"{result.symbol}: {len(result.fill_rows):,} fills, net PnL {summary['net_pnl']:,.2f} {result.currency}"
    price.set_title(title, loc="left")
    return finished(figure, path)


def plot_several(results: Mapping[str, ResultData], total: "pd.DataFrame | None", path: "str | os.PathLike[str] | None" = None) -> "Figure":
    """See `Results.plot`. total : combined equity; None without a common currency, which gives each instrument its own PnL panel"""
    n = len(results)
    panels_of_pnl = 1 if total is not None else n
    figure, axes = new_figure(2 * n + panels_of_pnl, [2.0] * n + [1.0] * n + [2.0] * panels_of_pnl)
    for i, (name, result) in enumerate(results.items()):
        draw_price(axes[i], result)
        axes[i].set_title(name, loc="left")
        draw_position(axes[n + i], result)
        axes[n + i].set_ylabel(f"{name}, lots")
        if total is None:
            draw_pnl(axes[2 * n + i], result.equity, f"{name}, {result.currency}")
    if total is not None:
        draw_pnl(axes[-1], total, next(iter(results.values())).currency)
    return finished(figure, path)


def draw_price(axes: "Axes", result: ResultData) -> None:
    """The mid, and fills on it."""
    equity, fills = result.equity, result.fills
    axes.plot(equity.index, equity["mid"], color=LINE, linewidth=0.8, label="mid")
    for side, color, marker, label in (("B", BUY, "^", "bought"), ("A", SELL, "v", "sold")):
        mine = fills[fills["side"] == side]
        axes.scatter(mine.index, mine["price"], s=14, color=color, marker=marker, label=label, zorder=3, linewidths=0)
    axes.legend(loc="best", frameon=False, ncols=3)
    axes.set_ylabel("price")
    axes.ticklabel_format(axis="y", useOffset=False)
    _fit(axes, equity["mid"].to_numpy(), fills["price"].to_numpy())


def draw_position(axes: "Axes", result: ResultData) -> None:
    """The position."""
    axes.step(result.equity.index, result.equity["position"], where="post", color=LINE, linewidth=0.8)
    axes.set_ylabel("position, lots")


def draw_pnl(axes: "Axes", equity: "pd.DataFrame", currency: str) -> None:
    """PnL before and after fees."""
    axes.plot(equity.index, equity["gross"], color=LINE, linewidth=0.8, linestyle=":", label="before fees")
    axes.plot(equity.index, equity["net"], color=NET, linewidth=1.2, label="net")
    axes.legend(loc="best", frameon=False)
    axes.set_ylabel(f"PnL, {currency or 'currency'}")
    _fit(axes, equity["net"].to_numpy())


def finished(figure: "Figure", path: "str | os.PathLike[str] | None") -> "Figure":
    """The figure with its time axis and grid, written to `path` if given."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    last = figure.axes[-1]
    last.set_xlabel("UTC")
    last.xaxis.set_major_locator(locator := AutoDateLocator())
    last.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _fit(axes: Any, values: np.ndarray, *also: np.ndarray) -> None:
    """Keep a few extreme values (marks at stub quotes) from flattening all others: they are cut off, and a note states how many."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return
    inner = np.concatenate((np.quantile(known, (0.05, 0.95)), *also))
    low, room = inner.min(), np.ptp(inner)
    high = low + room
    if room == 0 or (known.min() > low - WILD * room and known.max() < high + WILD * room):
        return
    low, high = low - room / 2, high + room / 2
    axes.set_ylim(low, high)
    n = np.count_nonzero((known < low) | (known > high))
    note = f"{n:,} of {len(known):,} points outside, from {known.min():,.2f} to {known.max():,.2f}"
    axes.text(0.99, 0.02, note, transform=axes.transAxes, ha="right", fontsize="small", color=LINE)
