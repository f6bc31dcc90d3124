"""Outcomes of runs, and the command line shared by `run_old.py` and `run_new.py`. Nothing here depends on the API of nbtrade.

    run(scenario, days) -> outcome    of a run:   {"n_wakes", "instruments": [{"fills", "n_fills", "cash", "position", ...}]}
                                      of a sweep: {"rows", "n_sets", "n_fills", "position"}

`fills` is the SHA-256 of the fills' bytes in order, column by column, with the dtypes of FILLS; `orders` (by id) and `equity` (by time)
are made the same way. `cash` is in tick-lots. A sweep's `rows` is the hash of n_fills, position and net_pnl of all sets; the sums next to
it help to find a difference.
"""

import hashlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from scenarios import DAYS, MONDAY, REAL, SCENARIOS

REAL_DATA = Path(os.environ.get("NBTRADE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
RECORD_BYTES = 56
FILLS = {"ts": "<i8", "side": "i1", "px": "<i8", "qty": "<i8", "maker": "i1"}
ORDERS = dict.fromkeys(("side", "px", "qty", "leaves", "sent", "arrived", "done", "ahead_first"), "<i8")
EQUITY = {"ts": "<i8", "position": "<i8", "cash": "<i8"}


def digest(columns, dtypes):
    """SHA-256 of columns, a mapping of name -> array, each cast to the dtype that is fixed here."""
    h = hashlib.sha256()
    for name, dtype in dtypes.items():
        h.update(np.ascontiguousarray(columns[name], dtype))
    return h.hexdigest()


def number(value):
    """A float for JSON; None for NaN, so that it equals itself."""
    return None if math.isnan(value) else float(value)


def instrument_outcome(fills, orders, equity, cash, position, net_pnl):
    """The outcome of one instrument of a run. fills, orders, equity : name -> array"""
    return {
        "fills": digest(fills, FILLS),
        "n_fills": len(fills["ts"]),
        "cash": int(cash),
        "position": int(position),
        "orders": digest(orders, ORDERS),
        "n_orders": len(orders["side"]),
        "equity": digest(equity, EQUITY),
        "net_pnl": number(net_pnl),
    }


def sweep_outcome(n_fills, position, net_pnl):
    """The outcome of a sweep. Arguments: one value per set, in order."""
    rows = {"n_fills": n_fills, "position": position, "net_pnl": net_pnl}
    return {
        "rows": digest(rows, {"n_fills": "<i8", "position": "<i8", "net_pnl": "<f8"}),
        "n_sets": len(n_fills),
        "n_fills": int(np.sum(n_fills)),
        "position": int(np.sum(position)),
    }


# --- days ---------------------------------------------------------------------------------------------------------
def start_of(day):
    """ns since the epoch at which a synthetic day starts."""
    return (MONDAY + 86_400 * DAYS[day].get("days_later", 0)) * 10**9


def day_arguments(day):
    """(suffix of the file, arguments of the synthetic day)."""
    arguments = {"start": start_of(day), **DAYS[day]}
    arguments.pop("days_later", None)
    return arguments.pop("suffix", ".dbn"), arguments


def is_there(scenario):
    """False for a run on real data that is not available."""
    return all((REAL_DATA / REAL[day]).exists() for day in scenario["data"]["days"] if day in REAL)


class Days:
    """Files and tapes of days, each made once. write(path, **arguments) makes a file, ingest(path, target) its tape."""

    def __init__(self, folder, write, ingest):
        self.folder, self.write, self.ingest = Path(folder), write, ingest
        self.tapes = {}

    def source(self, day):
        """Path of a day's file."""
        if day in REAL:
            return REAL_DATA / REAL[day]
        suffix, arguments = day_arguments(day)
        path = self.folder / f"{day}{suffix}"
        if not path.exists():
            then = arguments.pop("then", None)
            self.write(path, **arguments)
            if then:
                self.go_on(path, {**arguments, "start": arguments["start"] + 30 * 10**9, **then})
        return path

    def go_on(self, path, arguments):
        """Append the records of another synthetic day, which begin with a clear and a snapshot."""
        more = path.with_suffix(".more.dbn")
        self.write(more, **arguments)
        with open(path, "ab") as file:
            file.write(more.read_bytes()[-RECORD_BYTES * arguments["n_records"] :])

    def tape(self, day):
        """A day's open tape."""
        if day not in self.tapes:
            self.tapes[day] = self.ingest(self.source(day), self.folder / f"{day}.tape")
        return self.tapes[day]

    def hashes(self):
        """SHA-256 of the records of the synthetic days made so far: different days explain different fills."""
        found = {}
        for day in DAYS:
            suffix, arguments = day_arguments(day)
            path = self.folder / f"{day}{suffix}"
            if suffix == ".dbn" and path.exists():
                n_days = 2 if "then" in arguments else 1
                records = path.read_bytes()[-RECORD_BYTES * arguments["n_records"] * n_days :]
                found[day] = hashlib.sha256(records).hexdigest()
        return found


def exponential(mean):
    """ns: 1,000 quantiles of an exponential distribution."""
    return -mean * np.log1p(-(np.arange(1000) + 0.5) / 1000)


# --- command line ---------------------------------------------------------------------------------------------------
def as_json(outcomes, hashes):
    """One line for each run, so that differences are easy to see."""
    lines = [f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in outcomes.items()]
    return '{"days": ' + json.dumps(hashes) + ',\n "scenarios": {\n' + ",\n".join(lines) + "\n}}\n"


def main(run, new_days):
    """RUNNER.py OUT.json [WORD ...]: run every scenario, or those whose name has one of the words; print the slowest.

    run : (scenario, days) -> outcome      new_days : folder -> Days
    """
    import nbtrade

    print(f"nbtrade of {os.path.dirname(nbtrade.__file__)}", flush=True)
    found, seconds, words = {}, {}, sys.argv[2:]
    chosen = {name: one for name, one in SCENARIOS.items() if not words or any(word in name for word in words)}
    with tempfile.TemporaryDirectory() as folder:
        days = new_days(folder)
        for name, scenario in chosen.items():
            if not is_there(scenario):
                print(f"skipped, its data are not available: {name}")
                continue
            begin = time.perf_counter()
            found[name] = run(scenario, days)
            seconds[name] = time.perf_counter() - begin
        Path(sys.argv[1]).write_text(as_json(found, days.hashes()))
    slowest = sorted(seconds, key=seconds.get, reverse=True)[:5]
    print(f"{len(found)} runs in {sum(seconds.values()):.1f} s; slowest: " + ", ".join(f"{name} {seconds[name]:.1f} s" for name in slowest))
