"""Results of a finished run: converts the engine's records to plain data.

    Simulation, Setup ──> Outcome ──> result(v, k): Result of account k on instrument v
                                 └──> rows(): metrics of all accounts, for the table of a sweep

Logs of several accounts are sorted by account once. Fees are computed here: for each fill, at each sample, and in total.
"""

from collections.abc import Sequence
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from nbtrade._numba.jit import as_record_array
from nbtrade.engine.config import RunConfig
from nbtrade.engine.declaration import HIDDEN
from nbtrade.engine.kernels.outcome import public_orders, public_totals
from nbtrade.engine.models import Fees, Latency
from nbtrade.engine.recording import named_rows
from nbtrade.engine.simulation import Simulation
from nbtrade.prices import TickSize
from nbtrade.results import metrics
from nbtrade.results.data import Later, up_to
from nbtrade.results.frames import fills_frame
from nbtrade.results.result import Result
from nbtrade.results.run_info import RunInfo, Session
from nbtrade.schema import ASK, FIFO, FILL_RULES, LAST_MARKET, ORDER, PRICE_SCALE, TOTALS
from nbtrade.tape.rows import TapeRows


def session_of(tape: TapeRows) -> Session:
    """The rows of a tape that a run used."""
    first, last = (int(tape.ts_recv[0]), int(tape.ts_recv[-1])) if len(tape) else (0, 0)
    return Session(str(tape.path), str(tape.manifest.get("content_hash", "")), tape.start, len(tape), first, last)


def result_of(simulation: Simulation, config: RunConfig, symbol: str = "", tick_units: int = 1, v: int = 0, k: int = 0) -> Result:
    """The result of account k on instrument v of a finished run."""
    return Outcome(simulation, config, symbol, tick_units, v).result(k)


def orders_of(parts: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """ORDER[n], sorted by id. parts : (OWN[], the account's row numbers in it; None: all rows)"""
    whole = [(rows, np.arange(len(rows)) if numbers is None else numbers) for rows, numbers in parts]
    ids = np.concatenate([rows["id"][numbers] for rows, numbers in whole])
    at = np.empty(len(ids), np.int64)
    at[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    out, start = np.empty(len(ids), ORDER), 0
    for rows, numbers in whole:
        public_orders(as_record_array(rows), numbers, at[start : start + len(numbers)], as_record_array(out))
        start += len(numbers)
    return out


def fees_of_fills(fees: Fees, fills: np.ndarray, tick_lot: float) -> np.ndarray:
    """Fee of each fill from fee rates: f8[n]. fills : FILL[n]"""
    maker, sold, qty = fills["maker"] != 0, fills["side"] == ASK, fills["qty"].astype(np.int64)
    value = np.abs(fills["px"].astype(np.int64)) * qty * tick_lot
    return fees.of(qty * maker, qty * ~maker, value * maker, value * ~maker, qty * sold, value * sold)


class _ByAccount:
    """The rows of a log, grouped by account."""

    def __init__(self, rows: np.ndarray, account: np.ndarray, n: int) -> None:
        self.rows = rows
        keys = account.astype(np.uint16) if n < 1 << 16 else account  # two bytes are sorted by radix
        self.order = np.argsort(keys, kind="stable")
        self.bounds = np.searchsorted(account[self.order], np.arange(n + 1))

    def numbers(self, k: int) -> np.ndarray:
        """Row numbers of account k, ascending."""
        return self.order[self.bounds[k] : self.bounds[k + 1]]

    def of(self, k: int) -> np.ndarray:
        """Rows of account k, renumbered to account 0 for its own result."""
        rows = self.rows[self.numbers(k)]
        rows["account"] = 0
        return rows


class Outcome:
    """One instrument of a finished run.

    config : of the run; fees, risk and instrument may be tuples with one entry per instrument
    """

    def __init__(
        self,
        simulation: Simulation,
        config: RunConfig,
        symbol: str,
        tick_units: int,
        v: int = 0,
        sessions: Sequence[Session] = (),
        at_close: str = "carry",
    ) -> None:
        self.simulation, self.config, self.v = simulation, config.on(v), v
        self.instrument, self.n_accounts = simulation.instruments[v], simulation.n_accounts
        self.symbol, self.tick_units, self.sessions, self.at_close = symbol, tick_units, tuple(sessions), at_close
        self.tick_lot = tick_units / PRICE_SCALE * self.config.instrument.multiplier
        self.market: Any = np.array(simulation.market[v].tolist()[: len(LAST_MARKET.names or ())], LAST_MARKET)[()]

    # --- results -----------------------------------------------------------------------------------
    def result(self, k: int = 0) -> Result:
        """The result of account k."""
        fills, samples, account = self._fills(k), self._samples(k), self.totals[k].copy()
        if self.config.fees.schedule is not None:
            scheduled = self._scheduled_fees(fills)
            account["fees"] = float(scheduled.sum())
            fill_fees: Later = scheduled
            sample_fees = up_to(fills["ts"], np.cumsum(scheduled), samples["ts"])
        else:  # these functions hold a few arrays, so the simulation can be freed
            fill_fees, sample_fees = partial(fees_of_fills, self.config.fees, fills, self.tick_lot), self._fees_of(samples)
        return Result(
            fill_rows=fills,
            fill_fees=fill_fees,
            order_rows=partial(orders_of, self._own_orders(k)),
            sample_rows=samples,
            sample_fees=sample_fees,
            record_rows=self.records(k),
            account=account,
            market=self.market,
            final_state=_state(self.simulation.states[k]),
            info=self._info(k),
        )

    def rows(self) -> list[dict[str, metrics.Number]]:
        """Metrics of every account: of totals, of samples if the run has any, and user-defined."""
        by_schedule, sampled = self.config.fees.schedule is not None, bool(self.config.sample)
        needed = by_schedule or sampled or metrics.USER_METRICS
        results = [self.result(k) for k in range(self.n_accounts)] if needed else []
        totals = self.totals.copy()
        if by_schedule:
            totals["fees"] = [result.account["fees"] for result in results]
        rows = metrics.of_accounts(metrics.Accounts(totals, self.market, self.tick_lot))
        for row, result in zip(rows, results, strict=bool(results)):
            row.update(metrics.of_samples(result) if sampled else {})
            row.update(metrics.of_user(result))
        return rows

    # --- totals and logs ---------------------------------------------------------------------------------
    @cached_property
    def totals(self) -> np.ndarray:
        """TOTALS[k] of all accounts; fees from rates, 0 when a schedule sets them."""
        out = np.zeros(self.n_accounts, TOTALS)
        public_totals(self.instrument.accounts, as_record_array(out))
        if self.config.fees.schedule is None:
            out["fees"] = self._fees_of(out)
        return out

    def _fills(self, k: int) -> np.ndarray:
        """FILL[n] of account k, by time."""
        return self._split_fills.of(k) if self.n_accounts > 1 else self.instrument.log("fills")

    @cached_property
    def _split_fills(self) -> _ByAccount:
        fills = self.instrument.log("fills")
        return _ByAccount(fills, fills["account"], self.n_accounts)

    def _samples(self, k: int) -> np.ndarray:
        """SAMPLE[n] of account k on this instrument, by time."""
        if len(self.simulation.accounts) == 1:
            return self.simulation.all_samples()
        samples = self._split_samples.of(k)
        samples["instrument"] = 0
        return samples

    @cached_property
    def _split_samples(self) -> _ByAccount:
        samples = self.simulation.all_samples()
        samples = samples[samples["instrument"] == self.v] if len(self.simulation.instruments) > 1 else samples
        return _ByAccount(samples, samples["account"], self.n_accounts)

    def records(self, k: int) -> np.ndarray:
        """(ts, fields)[n] that account k recorded, by time: the same for every instrument, because one strategy trades all of them."""
        names = self.simulation.strategy.recorded
        rows = self._split_records.of(k) if self.n_accounts > 1 else self.simulation.recording.rows()
        return named_rows(rows, names)

    @cached_property
    def _split_records(self) -> _ByAccount:
        rows = self.simulation.recording.rows()
        return _ByAccount(rows, rows["account"], self.n_accounts)

    def _own_orders(self, k: int) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """[(OWN[], account k's row numbers in it; None: all rows)] for finished and for open orders."""
        if self.n_accounts == 1:
            return [(self.instrument.log("done"), None), (self.instrument.open_orders(), None)]
        return [(log.rows, log.numbers(k)) for log in self._split_orders]

    @cached_property
    def _split_orders(self) -> list[_ByAccount]:
        logs = self.instrument.log("done"), self.instrument.open_orders()
        return [_ByAccount(log, log["account"], self.n_accounts) for log in logs]

    # --- fees --------------------------------------------------------------------------------------
    def _fees_of(self, rows: Any) -> np.ndarray:
        """Fees f8[n] from rates, for TOTALS[n] or SAMPLE[n]."""
        fees = self.config.fees
        rates = {"maker_value": fees.maker_rate, "taker_value": fees.taker_rate, "sell_value": fees.sell_rate}
        maker, taker, sold = (rows[name] * self.tick_lot if rate else 0.0 for name, rate in rates.items())
        return fees.of(rows["maker_qty"], rows["taker_qty"], maker, taker, rows["sell_qty"], sold)

    def _scheduled_fees(self, fills: np.ndarray) -> np.ndarray:
        """Fee of each fill from the schedule: f8[n]. Raises ValueError unless it returns one finite number per fill."""
        schedule: Any = self.config.fees.schedule
        frame = fills_frame(fills, TickSize.of_units(self.tick_units, self.symbol))
        answer = np.asarray(schedule(frame.assign(traded=frame["size"].cumsum())), np.float64)
        answer = np.full(len(fills), answer) if answer.ndim == 0 else answer
        if answer.shape != (len(fills),) or not np.isfinite(answer).all():
            odd = "" if np.isfinite(answer).all() else ", some of them not finite"
            raise ValueError(
                f"Fees(schedule=) returned values of shape {answer.shape}{odd} for {len(fills):,} fills: "
                "return one fee in currency per fill"
            )
        return answer

    # --- how the run was set up --------------------------------------------------------------------
    def _info(self, k: int) -> RunInfo:
        config, instrument = self.config, self.config.instrument
        return RunInfo(
            symbol=self.symbol,
            tick_units=self.tick_units,
            multiplier=float(instrument.multiplier),
            currency=instrument.currency,
            strategy=self.simulation.strategy.name,
            parameters=config.parameters(k),
            configuration={**self._configuration, "fill_rule": FILL_RULES[int(self.instrument.accounts["rule"][k])]},
            sessions=self.sessions,
            n_wakes=int(self.simulation.run["n_wakes"][0]),
            n_rows=self.instrument.n_rows(),
        )

    @cached_property
    def _configuration(self) -> dict[str, Any]:
        """The configuration shared by all accounts of the run."""
        config = self.config
        fees = {**vars(config.fees)}
        if config.fees.schedule is not None:
            fees = {"schedule": getattr(config.fees.schedule, "__qualname__", repr(config.fees.schedule))}
        return {
            "latency": _latency(config.latency),
            "fees": fees,
            "risk": {**vars(config.risk)},
            "instrument": {**vars(config.instrument)},
            "fill_rule": FILL_RULES[FIFO],
            "max_orders": int(config.max_orders),
            "sample": int(config.sample),
            "at_close": self.at_close,
        }


def _latency(latency: Latency) -> dict[str, Any]:
    """Latencies in ns; averages for random and measured ones."""
    values = {"entry": latency.entry, "response": latency.response, "feed": latency.feed}
    if latency.varying is None:
        return values
    return {**values, "kind": ("constant", "random", "measured")[latency.varying.kind], "seed": latency.varying.seed}


def _state(state: np.void) -> np.ndarray:
    """The strategy's fields of a state record, without gaps and without the engine's own field."""
    out = np.zeros((), _state_dtype(state.dtype))
    for name in out.dtype.names or ():
        out[name] = state[name]
    return out


@cache
def _state_dtype(dtype: np.dtype) -> np.dtype:
    """The strategy's fields without gaps."""
    return np.dtype([(name, dtype[name]) for name in dtype.names or () if name != HIDDEN])
