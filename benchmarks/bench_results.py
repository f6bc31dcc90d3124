"""Results: the cost of Python after the engine has run, for one day and for the sets of a sweep."""

import tempfile
from pathlib import Path

import nbtrade as nt
from nbtrade import synthetic
from nbtrade.engine.backtest import run_tapes
from nbtrade.engine.config import new_config
from nbtrade.engine.outcome import Outcome
from nbtrade.results import metrics

LATENCY = nt.Latency("1ms", "1ms")
FEES = nt.Fees(maker=-0.1, taker=0.3)


class Results:
    """The market maker's day."""

    timeout = 300
    number = 1
    warmup_time = 0

    def setup_cache(self):
        folder = Path(tempfile.mkdtemp())
        return str(nt.ingest(synthetic.write_dbn(folder / "day.dbn", 500_000, seed=7), progress=False).path)

    def setup(self, path):
        self.tape = nt.open_tape(path)
        one = new_config(nt.market_maker, [{}], latency=LATENCY, fees=FEES)
        many = new_config(nt.market_maker, [{"half_spread": 1 + k / 100} for k in range(1000)], latency=LATENCY, fees=FEES, sample=0)
        self.one, self.many = self.outcome(one), self.outcome(many)
        assert self.one.result().summary["n_fills"] > 100
        assert len(self.many.rows()) == 1000

    def outcome(self, setup):
        simulation = run_tapes([self.tape], setup)
        simulation.close_session(False)
        return Outcome(simulation, setup, "DAY", self.tape.tick_units)

    def time_result_and_summary(self, path):
        assert self.one.result().summary["n_fills"] > 100

    def time_fills_and_orders(self, path):
        result = self.one.result()
        assert len(result.fills) <= len(result.orders)

    def time_save_and_load(self, path):
        result = self.one.result()
        with tempfile.TemporaryDirectory() as folder:
            assert nt.load_result(result.save(Path(folder) / "saved")) == result

    def time_totals_of_1000_sets(self, path):
        assert sum(row["n_fills"] for row in self.many.rows()) > 1000

    def time_user_metric_of_1000_sets(self, path):
        nt.metric(mean_fill)
        try:
            assert "mean_fill" in self.many.rows()[0]
        finally:
            metrics.remove_metric("mean_fill")


def mean_fill(result):
    """A user-defined metric without frames, so the time is that of making the Result."""
    return float(result.fill_rows["qty"].mean()) if len(result.fill_rows) else 0.0
