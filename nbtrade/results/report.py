"""Plots of a result, and its report: one HTML file that needs nothing else.

summary, terms | mid with fills, position, PnL | what fills were worth later | orders by outcome | by hour
"""

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.results.result import Result

BUY, SELL, LINE = "#1a7f37", "#cf222e", "#57606a"
WILD = 10  # a value this many times the ordinary range away is one of a stub quote
STYLE = """body{font:14px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1f2328}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse}img{width:100%}
th,td{padding:.15em .8em;text-align:right;border-bottom:1px solid #d1d9e0;white-space:nowrap}th:first-child,td:first-child{text-align:left}
.beside{display:flex;gap:3em;flex-wrap:wrap;align-items:flex-start}p{color:#59636e}"""

LATER = "Ticks a lot, weighted by lots, by which the mid was better than the price: below zero, the market went against our fills."


# --- the plot -----------------------------------------------------------------------------------------------
def plot(result: "Result", path: Any = None) -> Any:
    """Three panels on one time axis: mid with fills, position, net PnL.

    Returns the matplotlib Figure. Raises ImportError, saying what to install, without matplotlib.
    """
    try:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
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
    price.set_title(f"{result.symbol}: {len(fills):,} fills, net PnL {result.summary['net_pnl']:,.2f} {result.currency}", loc="left")
    position.step(equity.index, equity["position"], where="post", color=LINE, linewidth=0.8)
    position.set_ylabel("position, lots")
    pnl.plot(equity.index, equity["gross"], color=LINE, linewidth=0.8, linestyle=":", label="before fees")
    pnl.plot(equity.index, equity["net"], color="#0550ae", linewidth=1.2, label="net")
    pnl.legend(loc="best", frameon=False)
    pnl.set_ylabel(f"PnL, {result.currency or 'currency'}")
    pnl.set_xlabel("UTC")
    pnl.xaxis.set_major_locator(locator := AutoDateLocator())
    pnl.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    _fit(price, equity["mid"].to_numpy(), fills["price"].to_numpy())
    _fit(pnl, equity["net"].to_numpy())
    for axes in (price, position, pnl):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _fit(axes: Any, values: np.ndarray, *also: np.ndarray) -> None:
    """Keep a few wild values (marks at stub quotes) from flattening all others: they leave the panel, which says how many."""
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


# --- the report -----------------------------------------------------------------------------------------------
def report(result: "Result", path: Any) -> Path:
    """Write the report of a result as one HTML file. Returns its path. Raises ImportError without matplotlib, OSError."""
    picture = io.BytesIO()
    plot(result).savefig(picture, format="png", dpi=120)
    image = base64.b64encode(picture.getvalue()).decode()
    parts = [
        f"<h1>{html.escape(f'{result.symbol}, {result.strategy}')}</h1><p>{html.escape(_span(result))}</p>",
        f'<div class="beside">{_table(result.summary.to_frame("summary"))}{_table(_terms(result))}</div>',
        f'<h2>Price, position, PnL</h2><img alt="mid with fills, position, PnL" src="data:image/png;base64,{image}">',
        f"<h2>What fills were worth later</h2><p>{LATER}</p>{_table(result.markouts())}",
        f'<h2>Orders</h2><div class="beside">{_table(_outcomes(result))}{_table(_waits(result))}</div>',
        f"<h2>By hour, UTC</h2>{_table(_hours(result))}",
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(result.symbol)}</title><style>{STYLE}</style>'
    path = Path(path)
    path.write_text(page + "\n".join(parts) + "</html>\n", encoding="utf-8")
    return path


def _span(result: "Result") -> str:
    if not len(result.equity):
        return f"{result.n_rows:,} rows"
    return f"{result.equity.index[0]:%Y-%m-%d %H:%M:%S} to {result.equity.index[-1]:%Y-%m-%d %H:%M:%S} UTC, {result.n_rows:,} rows"


def _table(frame: "pd.DataFrame") -> str:
    if not len(frame):
        return "<p>none</p>"
    return str(frame.map(_text).to_html(border=0))


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else str(value)


def _terms(result: "Result") -> "pd.DataFrame":
    import pandas as pd

    return pd.Series(result.terms, name="terms").to_frame()


def _outcomes(result: "Result") -> "pd.DataFrame":
    """Orders and lots by type, state and reason."""
    columns = {"orders": ("qty", "size"), "lots": ("qty", "sum"), "filled": ("filled", "sum")}
    grouped = result.orders.groupby(["type", "state", "reason"], observed=True).agg(**columns).reset_index()
    return grouped.set_index(grouped.pop("type"))


def _waits(result: "Result") -> "pd.DataFrame":
    """Lots ahead on arrival, and seconds from arrival to the end, of orders that filled and that were cancelled: quartiles."""
    import pandas as pd

    orders = result.orders.assign(seconds=lambda o: (o["done"] - o["arrived"]).dt.total_seconds())
    done = orders[orders["state"].isin(("filled", "cancelled")) & orders["arrived"].notna()]
    rows = {
        f"{state}: {what}": mine[name].quantile([0.25, 0.5, 0.75]).to_numpy()
        for state, mine in done.groupby("state")
        for name, what in (("ahead", "lots ahead on arrival"), ("seconds", "seconds to its end"))
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["25 %", "50 %", "75 %"])


def _hours(result: "Result") -> "pd.DataFrame":
    """Net PnL, fills and lots of each hour."""
    import pandas as pd

    net, fills = result.equity["net"].ffill(), result.fills["qty"]
    at_ends = net.resample("1h").last().ffill()
    traded = fills.resample("1h").agg(["size", "sum"]).set_axis(["fills", "lots"], axis=1)
    hours = pd.DataFrame({"net PnL": at_ends.diff().fillna(at_ends)}).join(traded, how="outer")
    hours.index = hours.index.strftime("%Y-%m-%d %H:%M")
    return hours.fillna({"fills": 0, "lots": 0}).astype({"fills": int, "lots": int})
