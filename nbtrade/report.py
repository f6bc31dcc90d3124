"""Plots of a result."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbtrade.results import Result

BUY, SELL, LINE = "#1a7f37", "#cf222e", "#57606a"


def plot(result: "Result", path: Any = None) -> Any:
    """Three panels on one time axis: mid with fills, position, net PnL.

    Returns the matplotlib Figure. Raises ImportError, saying what to install, without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "nbtrade[plot]"') from None
    figure = Figure(figsize=(10, 7), layout="constrained")
    price, position, pnl = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 2])
    equity, fills = result.equity, result.fills
    price.plot(equity.index, equity["mid"], color=LINE, linewidth=0.8, label="mid")
    for side, color, marker, label in (("B", BUY, "^", "bought"), ("A", SELL, "v", "sold")):
        mine = fills[fills["side"] == side]
        price.scatter(mine.index, mine["price"], s=14, color=color, marker=marker, label=label, zorder=3, linewidths=0)
    price.legend(loc="best", frameon=False, ncols=3)
    price.set_ylabel("price")
    price.ticklabel_format(axis="y", useOffset=False)
    price.set_title(f"{result.symbol}: {len(fills):,} fills, net PnL {result.summary['net_pnl']:,.2f}", loc="left")
    position.step(equity.index, equity["position"], where="post", color=LINE, linewidth=0.8)
    position.set_ylabel("position, lots")
    pnl.plot(equity.index, equity["gross"], color=LINE, linewidth=0.8, linestyle=":", label="before fees")
    pnl.plot(equity.index, equity["net"], color="#0550ae", linewidth=1.2, label="net")
    pnl.legend(loc="best", frameon=False)
    pnl.set_ylabel("PnL, currency")
    pnl.set_xlabel("UTC")
    for axes in (price, position, pnl):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
