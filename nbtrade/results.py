"""What a run gives: fills, orders, equity and a summary. Here integers become currency.

cash and value are exact tick-lots until now; money = tick-lots * tick * multiplier, fees are taken off here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbtrade.kernels.account import STATES
from nbtrade.schema import PRICE_SCALE, UNDEF_PRICE

if TYPE_CHECKING:
    import pandas as pd

    from nbtrade.simulation import Simulation
    from nbtrade.store.tape import Tape

YEAR_NS = 365.25 * 24 * 3600 * 1e9


@dataclass(frozen=True)
class Fees:
    """Fees in currency; negative ones are rebates.

    maker, taker : per lot      maker_rate, taker_rate : fraction of the traded value
    """

    maker: float = 0.0
    taker: float = 0.0
    maker_rate: float = 0.0
    taker_rate: float = 0.0

    def of(self, maker_qty: Any, taker_qty: Any, maker_value: Any, taker_value: Any) -> Any:
        """Fees for lots and values (in currency) traded as maker and as taker."""
        per_lot = self.maker * maker_qty + self.taker * taker_qty
        return per_lot + self.maker_rate * maker_value + self.taker_rate * taker_value


@dataclass(frozen=True)
class Instrument:
    """What a result needs to know of the instrument. tick_units: 1e-9 currency."""

    symbol: str
    tick_units: int

    @classmethod
    def of(cls, tape: "Tape") -> "Instrument":
        """The instrument of a tape."""
        return cls(tape.symbol, tape.tick_units)


class Result:
    """The outcome of one run with one account. Times are UTC, prices and money in currency, quantities in lots.

    fills, orders, equity : DataFrames        summary : Series        final_state : the state record after the last wake
    """

    def __init__(self, simulation: "Simulation", instrument: Instrument, fees: Fees, multiplier: float) -> None:
        self.symbol = instrument.symbol
        self.fees = fees
        self.tick = instrument.tick_units / PRICE_SCALE
        self.multiplier = multiplier
        self.strategy = repr(simulation.strategy)
        self.account = simulation.accounts[0].copy()
        self.final_state = simulation.states[0].copy()
        self.n_wakes = int(simulation.engine["n_wakes"][0])
        self.market = simulation.market[0].copy()
        self._fills, self._samples = simulation.log("fills"), simulation.log("samples")
        self._done, self._open = simulation.log("done"), simulation.open_orders()

    @cached_property
    def _orders(self) -> np.ndarray:
        """OWN[n] by id."""
        orders = np.concatenate((self._done, self._open))
        return orders[np.argsort(orders["id"], kind="stable")]

    def _money(self, tick_lots: Any) -> Any:
        return tick_lots * (self.tick * self.multiplier)

    def _fees(self, row: Any) -> Any:
        """Fees of anything that has maker_qty, taker_qty, maker_value and taker_value."""
        values = (self._money(row[name]) for name in ("maker_value", "taker_value"))
        return self.fees.of(row["maker_qty"], row["taker_qty"], *values)

    # --- frames ------------------------------------------------------------------------------------
    @cached_property
    def fills(self) -> "pd.DataFrame":
        """One row a fill, by exchange time: order_id, side, price, px, qty, maker, fee, row (tape row that caused it)."""
        import pandas as pd

        f = self._fills
        maker = f["maker"].astype(bool)
        value = self._money(np.abs(f["px"]) * f["qty"])
        fee = self.fees.of(f["qty"] * maker, f["qty"] * ~maker, value * maker, value * ~maker)
        return pd.DataFrame(
            {
                "order_id": f["order_id"],
                "side": np.where(f["side"] == 0, "B", "A"),
                "price": f["px"] * self.tick,
                "px": f["px"],
                "qty": f["qty"],
                "maker": maker,
                "fee": fee,
                "row": f["row"],
            },
            index=_index(f["ts"], "ts"),
        )

    @cached_property
    def orders(self) -> "pd.DataFrame":
        """One row an order: sent, arrived, done, side, type, price, px, qty, filled, state, ahead (lots before it on arrival)."""
        import pandas as pd

        o = self._orders
        market = o["kind"] == 1
        return pd.DataFrame(
            {
                "sent": _times(o["sent"]),
                "arrived": _times(o["arrived"]),
                "done": _times(o["done"]),
                "side": np.where(o["side"] == 0, "B", "A"),
                "type": np.where(market, "market", "limit"),
                "price": np.where(market, np.nan, o["px"] * self.tick),
                "px": o["px"],
                "qty": o["qty"],
                "filled": o["qty"] - o["leaves"],
                "state": np.array(STATES)[o["state"]],
                "ahead": o["ahead_first"],
            },
            index=pd.Index(o["id"], name="order_id"),
        )

    @cached_property
    def equity(self) -> "pd.DataFrame":
        """The account over time, marked at the mid: mid, position, gross, fees, net. NaN while the market is one-sided."""
        import pandas as pd

        s = self._samples
        mid = _mid(s["bid_px"], s["ask_px"])
        gross = self._money(s["cash"] + np.where(s["position"] == 0, 0.0, s["position"] * mid))
        fees = self._fees(s)
        return pd.DataFrame(
            {"mid": mid * self.tick, "position": s["position"], "gross": gross, "fees": fees, "net": gross - fees},
            index=_index(s["ts"], "ts"),
        )

    # --- numbers -----------------------------------------------------------------------------------
    @cached_property
    def summary(self) -> "pd.Series":
        """Totals of the run; `sharpe` is annualised from the equity samples, and only as good as one day can be."""
        import pandas as pd

        a = self.account
        mid = float(_mid(np.array([self.market["bid_px"]]), np.array([self.market["ask_px"]]))[0])
        position = int(a["true_position"])
        gross = self._money(int(a["true_cash"]) + (position * mid if position else 0.0))
        fees = float(self._fees(a))
        net = self.equity["net"].dropna()
        drawdown = float((net.cummax() - net).max()) if len(net) else 0.0
        return pd.Series(
            {
                "net_pnl": gross - fees,
                "gross_pnl": gross,
                "fees": fees,
                "position": position,
                "max_position": int(np.abs(self._samples["position"]).max(initial=0)),
                "max_drawdown": drawdown,
                "sharpe": self._sharpe(net),
                "traded_qty": int(a["maker_qty"] + a["taker_qty"]),
                "maker_qty": int(a["maker_qty"]),
                "turnover": self._money(int(a["maker_value"] + a["taker_value"])),
                "n_fills": int(a["n_fills"]),
                "n_orders": int(a["n_orders"]),
                "n_cancelled": int(a["n_cancelled"]),
                "n_rejected": int(a["n_rejected"]),
                "n_refused": int(a["n_refused"]),
                "n_wakes": self.n_wakes,
                "n_events": int(self.market["n_events"]),
            },
            name=self.symbol,
            dtype=object,
        )

    @staticmethod
    def _sharpe(net: "pd.Series") -> float:
        steps = net.diff().dropna()
        spread = float(steps.std()) if len(steps) > 1 else 0.0
        if spread == 0.0:
            return float("nan")
        step_ns = (net.index[-1] - net.index[0]).value / max(len(net) - 1, 1)
        return float(steps.mean() / spread * np.sqrt(YEAR_NS / step_ns))

    @property
    def hash(self) -> str:
        """xxh3-128 over fills, orders and samples: equal for equal runs, whatever the batches."""
        import xxhash

        h = xxhash.xxh3_128()
        for array, skip in ((self._fills, ()), (self._orders, ("next", "prev", "at", "in_flight", "status")), (self._samples, ())):
            for name in array.dtype.names or ():
                if name not in skip:
                    h.update(np.ascontiguousarray(array[name]))
        return h.hexdigest()

    def __repr__(self) -> str:
        s = self.summary
        width = max(map(len, s.index))
        lines = [f"{name:{width}}  {f'{value:,.2f}' if isinstance(value, float) else f'{value:,}'}" for name, value in s.items()]
        return f"<Result {self.symbol} {self.strategy}>\n" + "\n".join(lines)

    def plot(self, path: Any = None) -> Any:
        """PnL over the fills on price; needs matplotlib (extra "plot"). Returns the figure; writes it when `path` is given."""
        from nbtrade.report import plot

        return plot(self, path)


def _times(ts: np.ndarray) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.to_datetime(np.where(ts == 0, np.datetime64("NaT", "ns"), ts.astype("M8[ns]")), utc=True)


def _index(ts: np.ndarray, name: str) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.DatetimeIndex(ts.astype("M8[ns]"), tz="UTC", name=name)


def _mid(bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """Mid in ticks, f8; NaN where a side is empty."""
    bad = (bid == UNDEF_PRICE) | (ask == UNDEF_PRICE)
    return np.where(bad, np.nan, (np.where(bad, 0, bid) + np.where(bad, 0, ask)) / 2)
