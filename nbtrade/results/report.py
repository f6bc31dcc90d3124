"""The report of a result, or of several instruments: one self-contained HTML file.

summary, configuration | mid with fills, position, PnL | markouts | orders by outcome | by hour
"""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.results.data import ResultData
from nbtrade.results.markouts import markouts
from nbtrade.results.metrics import summary
from nbtrade.results.plots import plot

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.figure import Figure

STYLE = """body{font:14px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1f2328}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse}img{width:100%}
th,td{padding:.15em .8em;text-align:right;border-bottom:1px solid #d1d9e0;white-space:nowrap}th:first-child,td:first-child{text-align:left}
.columns{display:flex;gap:3em;flex-wrap:wrap;align-items:flex-start}p{color:#59636e}"""
MARKOUTS = "Ticks per lot, weighted by lots, by which a later mid is better than the price. Negative: the market went against the fills."


def report(result: ResultData, path: "str | os.PathLike[str]") -> Path:
    """See `Result.report`."""
    return write_page(f"{result.symbol}, {result.info.described_strategy()}", sections(result), path)


def write_page(title: str, parts: list[str], path: "str | os.PathLike[str]") -> Path:
    """Write one HTML page; returns its path."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    path = Path(path)
    path.write_text("\n".join([f"{head}<h1>{html.escape(title)}</h1>", *parts, "</html>", ""]), encoding="utf-8")
    return path


def sections(result: ResultData) -> list[str]:
    """The parts of a page about one result."""
    numbers = summary(result)
    return [
        f"<p>{html.escape(_span(result))}</p>",
        f'<div class="columns">{table(numbers.to_frame("summary"))}{table(_configuration(result))}</div>',
        f"<h2>Price, position, PnL</h2>{picture(plot(result, numbers))}",
        f"<h2>Markouts</h2><p>{MARKOUTS}</p>{table(markouts(result))}",
        f'<h2>Orders</h2><div class="columns">{table(_outcomes(result))}{table(_waits(result))}</div>',
        f"<h2>By hour, UTC</h2>{table(_hours(result))}",
    ]


def picture(figure: "Figure") -> str:
    """A figure as an inline image."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return f'<img alt="mid with fills, position, PnL" src="data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}">'


def _span(result: ResultData) -> str:
    if not len(result.equity):
        return f"{result.n_rows:,} rows"
    return f"{result.equity.index[0]:%Y-%m-%d %H:%M:%S} to {result.equity.index[-1]:%Y-%m-%d %H:%M:%S} UTC, {result.n_rows:,} rows"


def table(frame: "pd.DataFrame") -> str:
    if not len(frame):
        return "<p>none</p>"
    return str(frame.map(_text).to_html(border=0))


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else str(value)


def _configuration(result: ResultData) -> "pd.DataFrame":
    import pandas as pd

    texts = {name.replace("_", " "): _described(value) for name, value in result.configuration.items()}
    return pd.Series(texts, name="configuration", dtype=object).to_frame()


def _described(value: Any) -> str:
    """A value of the configuration as text; of a group of fields, those that are set: "entry 1ms, response 1ms"."""
    if isinstance(value, Mapping):
        said = [f"{name} {_described(one)}" for name, one in value.items() if one and not (isinstance(one, list | tuple) and not one[0])]
        return ", ".join(said) or "none"
    if isinstance(value, list | tuple):
        return " in ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _outcomes(result: ResultData) -> "pd.DataFrame":
    """Orders and lots by type, state and reason."""
    columns = {"orders": ("size", "size"), "lots": ("size", "sum"), "filled": ("filled", "sum")}
    grouped = result.orders.groupby(["type", "state", "reason"], observed=True).agg(**columns).reset_index()
    return grouped.set_index(grouped.pop("type"))


def _waits(result: ResultData) -> "pd.DataFrame":
    """Quartiles of lots ahead on arrival and of seconds from arrival to the end, for filled and for cancelled orders."""
    import pandas as pd

    orders = result.orders.assign(seconds=lambda o: (o["done"] - o["arrived"]).dt.total_seconds())
    done = orders[orders["state"].isin(("filled", "cancelled")) & orders["arrived"].notna()]
    rows = {
        f"{state}: {what}": mine[name].quantile([0.25, 0.5, 0.75]).to_numpy()
        for state, mine in done.groupby("state")
        for name, what in (("ahead", "lots ahead on arrival"), ("seconds", "seconds to its end"))
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["25 %", "50 %", "75 %"])


def _hours(result: ResultData) -> "pd.DataFrame":
    """Net PnL, fills and lots of each hour."""
    import pandas as pd

    net, fills = result.equity["net"].ffill(), result.fills["size"]
    at_ends = net.resample("1h").last().ffill()
    traded = fills.resample("1h").agg(["size", "sum"]).set_axis(["fills", "lots"], axis=1)
    hours = pd.DataFrame({"net PnL": at_ends.diff().fillna(at_ends)}).join(traded, how="outer")
    hours.index = hours.index.strftime("%Y-%m-%d %H:%M")
    return hours.fillna({"fills": 0, "lots": 0}).astype({"fills": int, "lots": int})
