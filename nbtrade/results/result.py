"""What a run gives: fills, orders, equity and a summary. Here integers become currency.

cash and value are exact tick-lots until now; money = tick-lots * tick * multiplier, fees are taken off here.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade._numba.jit import attributes
from nbtrade.engine.kernels.records import KINDS, REASONS, REFUSALS, SAMPLE, STATES
from nbtrade.results.kernels.positions import mark, realise
from nbtrade.schema import MARKET_ORDER, PRICE_SCALE
from nbtrade.times import ns_of

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.engine.config import Setup
    from nbtrade.engine.simulation import Simulation
    from nbtrade.tape.tape import Tape

INSIDE = {"next", "prev", "at", "account", "venue", "in_flight", "asked", "status", "left", "filled", "want_px", "want_qty"}
INSIDE |= {"cancelling", "moved"}
YEAR_NS = 365.25 * 24 * 3600 * 1e9


class Result:
    """The outcome of one account on one instrument. Times are UTC, prices and money in currency, quantities in lots.

    fills, orders, equity : DataFrames        summary : Series        final_state : the state record after the last wake
    """

    def __init__(self, simulation: "Simulation", setup: "Setup", symbol: str, tick_units: int, v: int = 0, k: int = 0) -> None:
        venue = simulation.venues[v]
        self.symbol = symbol
        self.fees = setup.fees
        self.tick = tick_units / PRICE_SCALE
        self.multiplier, self.currency = setup.instrument.multiplier, setup.instrument.currency
        self.strategy = repr(simulation.strategy)
        self.terms = setup.terms(k)
        self.account = np.asarray(venue.accounts[k : k + 1]).copy()[0]
        self.final_state = simulation.states[k].copy()
        self.n_wakes = int(simulation.run["n_wakes"][0])
        self.n_rows = venue.n_rows()
        self.market = simulation.market[v].copy()
        logs, samples = (venue.log("fills"), venue.log("done"), venue.open_orders()), simulation.all_samples()
        if len(simulation.accounts) > 1:
            logs = tuple(log[log["account"] == k] for log in logs)
            samples = samples[(samples["account"] == k) & (samples["venue"] == v)]
        (self._fills, self._done, self._open), self._samples = logs, samples

    @cached_property
    def _orders(self) -> np.ndarray:
        """OWN[n] by id."""
        orders = np.concatenate((self._done, self._open))
        return orders[np.argsort(orders["id"], kind="stable")]

    def _money(self, tick_lots: Any) -> Any:
        return tick_lots * (self.tick * self.multiplier)

    def _fees(self, row: Any) -> Any:
        """Fees of anything that has maker_qty, taker_qty, maker_value and taker_value."""
        f = self.fees
        rates = {"maker_value": f.maker_rate, "taker_value": f.taker_rate, "sell_value": f.sell_rate}
        maker, taker, sold = (self._money(row[name]) if rate else 0.0 for name, rate in rates.items())
        return f.of(row["maker_qty"], row["taker_qty"], maker, taker, row["sell_qty"], sold)

    def _fees_by(self, ts: np.ndarray) -> np.ndarray:
        """Fees paid up to each time, where a schedule says what a fill costs."""
        return self._up_to(ts, np.cumsum(self.fills["fee"].to_numpy()))

    def _up_to(self, ts: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """The running total over fills as it is at each time."""
        return np.append(0.0, totals)[np.searchsorted(self._fills["ts"], ts, side="right")]

    # --- frames ------------------------------------------------------------------------------------
    @cached_property
    def fills(self) -> "pd.DataFrame":
        """One row a fill, by exchange time: order_id, side, price, px, qty, maker, fee, row (tape row that caused it).

        average_price is that of the position after it, realised what has been earned up to then (without fees).
        """
        import pandas as pd

        f = self._fills
        maker = f["maker"].astype(bool)
        sold, qty = f["side"] == 1, f["qty"].astype(np.int64)
        value = self._money(np.abs(f["px"].astype(np.int64)) * qty)
        frame = pd.DataFrame(
            {
                "order_id": f["order_id"],
                "side": np.where(f["side"] == 0, "B", "A"),
                "price": f["px"] * self.tick,
                "px": f["px"],
                "qty": qty,
                "maker": maker,
                "row": f["row"],
            },
            index=_index(f["ts"], "ts"),
        )
        if self.fees.schedule is not None:
            fee = np.asarray(self.fees.schedule(frame.assign(traded=qty.cumsum())), np.float64)
        else:
            fee = self.fees.of(qty * maker, qty * ~maker, value * maker, value * ~maker, qty * sold, value * sold)
        frame.insert(6, "fee", fee)
        return frame.assign(average_price=self._positions[1] * self.tick, realised=self._money(self._positions[0]))

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """(tick-lots realised, average px) after each fill."""
        out = np.zeros(len(self._fills)), np.zeros(len(self._fills))
        realise(attributes(self._fills), *out)
        return out

    @cached_property
    def orders(self) -> "pd.DataFrame":
        """One row an order: sent, arrived, done, side, type, price, px, qty, filled, state, ahead (lots before it on arrival)."""
        import pandas as pd

        o = self._orders
        market = o["kind"] == MARKET_ORDER
        return pd.DataFrame(
            {
                "sent": _times(o["sent"]),
                "arrived": _times(o["arrived"]),
                "done": _times(o["done"]),
                "side": np.where(o["side"] == 0, "B", "A"),
                "type": np.array(KINDS)[o["kind"]],
                "price": np.where(market, np.nan, o["px"] * self.tick),
                "px": o["px"],
                "qty": o["qty"],
                "filled": o["qty"] - o["leaves"],
                "state": np.array(STATES)[o["state"]],
                "reason": np.array(REASONS)[o["reason"]],
                "ahead": o["ahead_first"],
            },
            index=pd.Index(o["id"], name="order_id"),
        )

    @cached_property
    def equity(self) -> "pd.DataFrame":
        """The account over time, marked at the mid: mid, position, gross, fees, net, realised. NaN while the market is one-sided."""
        import pandas as pd

        s = self._samples
        mid, gross, fees = self._marked
        realised = self._money(self._up_to(s["ts"], self._positions[0]))
        return pd.DataFrame(
            {"mid": mid * self.tick, "position": s["position"], "gross": gross, "fees": fees, "net": gross - fees, "realised": realised},
            index=_index(s["ts"], "ts"),
        )

    @cached_property
    def _marked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(mid in ticks, gross, fees) at each sample."""
        s = self._samples
        mid, worth = _valued(s)
        return mid, self._money(worth), self._fees(s) if self.fees.schedule is None else self._fees_by(s["ts"])

    # --- numbers -----------------------------------------------------------------------------------
    @cached_property
    def summary(self) -> "pd.Series":
        """Totals of the run; `sharpe` is annualised from the equity samples, and only as good as one day can be."""
        import pandas as pd

        numbers = self.totals(np.array([self.account]))
        values = {name: column[0] for name, column in numbers.items()}
        if self.fees.schedule is not None:
            values["fees"] = float(self.fills["fee"].sum())
            values["net_pnl"] = values["gross_pnl"] - values["fees"]
        values["realised_pnl"] = float(self._money(self._positions[0][-1])) if len(self._fills) else 0.0
        values["unrealised_pnl"] = values["gross_pnl"] - values["realised_pnl"]
        values |= self.over_time() | {"n_wakes": self.n_wakes, "n_rows": self.n_rows}
        return pd.Series(list(values.values()), _labels(tuple(values)).view(), object, self.symbol)

    def totals(self, a: np.ndarray) -> dict[str, list[Any]]:
        """What ACCOUNT[n] records tell, column by column: ints and floats."""
        now = np.zeros(len(a), SAMPLE)
        now["bid_px"], now["ask_px"] = self.market["bid_px"], self.market["ask_px"]
        now["position"], now["cash"] = a["true_position"], a["true_cash"]
        gross = self._money(_valued(now)[1])
        fees = self._fees(a) + np.zeros(len(a))
        columns = {
            "net_pnl": gross - fees,
            "gross_pnl": gross,
            "fees": fees,
            "position": a["true_position"],
            "traded_qty": a["maker_qty"] + a["taker_qty"],
            "maker_qty": a["maker_qty"],
            "turnover": self._money(a["maker_value"] + a["taker_value"]) + np.zeros(len(a)),
            **{name: a[name] for name in ("n_fills", "n_orders", "n_cancelled", "n_rejected", "n_refused", "n_late")},
        }
        return {name: column.tolist() for name, column in columns.items()}

    def over_time(self) -> dict[str, Any]:
        """What the equity samples tell."""
        _, gross, fees = self._marked  # arrays, not the frame: 3 ms of a run of 40
        net = gross - fees
        known = ~np.isnan(gross)
        ts, net = (self._samples["ts"], net) if known.all() else (self._samples["ts"][known], net[known])
        return {
            "peak_position": int(np.abs(self._samples["position"]).max(initial=0)),
            "max_drawdown": float((np.maximum.accumulate(net) - net).max(initial=0.0)),
            "sharpe": _sharpe(ts, net),
        }

    @classmethod
    def table(cls, simulation: "Simulation", setup: "Setup", symbol: str, tick_units: int) -> "pd.DataFrame":
        """The summaries of all accounts, one row each; what is over time only if there are samples."""
        import pandas as pd

        accounts = simulation.accounts_of(0)
        results = [
            cls(simulation, setup, symbol, tick_units, 0, k) for k in range(len(accounts) if setup.sample or setup.fees.schedule else 1)
        ]
        if setup.fees.schedule is not None:
            return pd.DataFrame([one.summary for one in results])
        frame = pd.DataFrame(results[0].totals(accounts))
        return frame.join(pd.DataFrame([one.over_time() for one in results])) if setup.sample else frame

    @property
    def hash(self) -> str:
        """xxh3-128 over fills, orders and samples: equal for equal runs, whatever the batches."""
        import xxhash

        h = xxhash.xxh3_128()
        for array, skip in ((self._fills, INSIDE), (self._orders, INSIDE), (self._samples, INSIDE)):
            for name in array.dtype.names or ():
                if name not in skip:
                    h.update(np.ascontiguousarray(array[name]))
        return h.hexdigest()

    @property
    def refusals(self) -> "pd.Series":
        """Orders and changes that were not sent, by cause."""
        import pandas as pd

        return pd.Series(self.account["refusals"][1:], index=REFUSALS[1:], name="refusals")

    def __repr__(self) -> str:
        s = self.summary
        width = max(map(len, s.index))
        lines = [f"{name:{width}}  {f'{value:,.2f}' if isinstance(value, float) else f'{value:,}'}" for name, value in s.items()]
        return f"<Result {self.symbol} {self.strategy}>\n" + "\n".join(lines)

    def explain(self, order_id: int, tape: "Tape | Sequence[Tape]") -> "pd.DataFrame":
        """An order's life, one row a change: ts, row, what, lots, ahead, px (nbtrade/results/order_history.py).

        tape : the one of the run; of sessions in sequence the list of them
        Raises StrategyError for an unknown order, and for another tape.
        """
        from nbtrade.results.order_history import explain

        return explain(self._orders, self._fills, order_id, tape)

    def markouts(self, horizons: Sequence[str | int] = ("1s", "10s", "60s")) -> "pd.DataFrame":
        """What fills were worth later: ticks a lot by which the mid is better than the fill's price, weighted by lots.

        Rows maker and taker, columns horizons (time spans) and `lots`. By the equity samples: a horizon is no finer than `sample`.
        NaN where no fill has a mid that late.
        """
        import pandas as pd

        f, s = self._fills, self._samples
        mid = self._marked[0]
        sign, qty = np.where(f["side"] == 0, 1, -1), f["qty"].astype(np.float64)
        rows = {"maker": f["maker"].astype(bool), "taker": ~f["maker"].astype(bool)}
        table: dict[str, list[float]] = {}
        for horizon in horizons:
            at = np.searchsorted(s["ts"], f["ts"] + ns_of(horizon))
            known = at < len(s)
            gain = np.full(len(f), np.nan)
            gain[known] = sign[known] * (mid[at[known]] - f["px"][known])
            table[str(horizon)] = [_weighted(gain[mine], qty[mine]) for mine in rows.values()]
        return pd.DataFrame({**table, "lots": [int(qty[mine].sum()) for mine in rows.values()]}, index=list(rows))

    def report(self, path: Any) -> Any:
        """Write a report as one HTML file: summary, terms, plot, markouts, orders, hours. Returns its path; needs matplotlib."""
        from nbtrade.results.report import report

        return report(self, path)

    def plot(self, path: Any = None) -> Any:
        """PnL over the fills on price; needs matplotlib (extra "plot"). Returns the figure; writes it when `path` is given."""
        from nbtrade.results.report import plot

        return plot(self, path)


class Results(dict[str, Result]):
    """The outcome of one account on several instruments: name -> Result; `summary` and `equity` of all together."""

    @property
    def equity(self) -> "pd.DataFrame":
        """gross, fees and net of all instruments together, over time."""
        frames = [one.equity[["gross", "fees", "net"]] for one in self.values()]
        return sum(frames[1:], frames[0])

    @property
    def summary(self) -> "pd.DataFrame":
        """One column an instrument; add up what can be added."""
        import pandas as pd

        return pd.DataFrame({name: one.summary for name, one in self.items()})


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    """Average without NaN; NaN of nothing."""
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _sharpe(ts: np.ndarray, net: np.ndarray) -> float:
    """Annualised; NaN without two steps that differ. ts : ns   net : currency"""
    steps = np.diff(net)
    spread = float(steps.std(ddof=1)) if len(steps) > 1 else 0.0
    if spread == 0.0:
        return float("nan")
    step_ns = int(ts[-1] - ts[0]) / len(steps)
    return float(steps.mean() / spread * np.sqrt(YEAR_NS / step_ns))


@cache
def _labels(names: tuple[str, ...]) -> "pd.Index":
    """The same for every run: pandas takes 0.2 ms to make them. To be viewed: an index has a name that can be set."""
    import pandas as pd

    return pd.Index(names)


def _times(ts: np.ndarray) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.to_datetime(np.where(ts == 0, np.datetime64("NaT", "ns"), ts.astype("M8[ns]")), utc=True)


def _index(ts: np.ndarray, name: str) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.DatetimeIndex(ts.astype("M8[ns]"), tz="UTC", name=name)


def _valued(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mid in ticks, worth in tick-lots) of SAMPLE[n], f8 each."""
    out = np.empty(len(samples)), np.empty(len(samples))
    mark(attributes(samples), *out)
    return out
