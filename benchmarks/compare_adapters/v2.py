"""The functions that `compare_bars.py` needs, in the current API (v1.py: in the API of the reference commit).

It runs with the tree that is measured first on the path, so `nbtrade` and `benchmarks` are that tree's own.
"""

import nbtrade as nt
from benchmarks import bench_features, measure, measure_sweep
from nbtrade import BlockFile, Column, CompactColumn
from nbtrade.book.kernels import arrays
from nbtrade.book.kernels import book as books
from nbtrade.storage.search import search
from nbtrade.tape.book_snapshot import book_arrays

open_tape = nt.open_tape
lower_bound = search.lower_bound

FIRST_RESULT = """
import sys
import nbtrade as nt
result = nt.backtest(sys.argv[1], nt.market_maker)
print(result.account["n_fills"], result.account["cash"], result.account["position"])
"""


def write_day(path, n, live=1000, duration=None):
    """A synthetic day as a DBN file."""
    nt.synthetic.write_dbn(path, n, live_orders=live, duration=duration)


def ingest(source, target):
    """A file's tape."""
    return nt.ingest(source, target, progress=False)


def rows_of(tape):
    """name -> column: the contents of a tape's rows, independent of the format."""
    return {**{name: tape.events[name] for name in ("px", "qty", "kind", "side")}, "ts_event": tape.ts_event, "ts_recv": tape.ts_recv}


def replay_of(tape):
    """A function that replays the book and returns (rows, best bid, best ask)."""
    book = book_arrays(tape)

    def replay():
        fresh = arrays.copied(book)
        n = books.replay(tape.events, 0, len(tape), *fresh)
        return n, int(fresh.sides["best"][0]), -int(fresh.sides["best"][1])

    return replay


@nt.strategy(wake="event", state={"n": 0})
def by_events(market, account, state):
    """Quotes at the touch, looked at again at every event."""
    state.n += 1
    if market.bid_px < market.ask_px and market.ask_px != nt.UNDEF_PRICE:
        account.quote(nt.BID, market.bid_px, 1 if account.position < 5 else 0)
        account.quote(nt.ASK, market.ask_px, 1 if account.position > -5 else 0)


def run_market_maker(tape):
    """A full backtest with its summary."""
    return measure.run(tape)


def run_by_events(tape):
    """A backtest that wakes at every event."""
    return nt.backtest(tape, by_events, latency=measure.LATENCY)


def outcome_of(result):
    """(name -> column of the fills, cash in tick-lots, position)."""
    return result.fill_rows, int(result.account["cash"]), int(result.account["position"])


def run_sweep(tape, n_sets):
    """One pass over many sets: (n_fills, positions, cash)."""
    simulation, _ = measure_sweep.one_pass(tape, measure_sweep.sets(n_sets), measure.LATENCY)
    accounts = simulation.accounts_of(0)
    return accounts["n_fills"], accounts["true_position"], accounts["true_cash"]


def features_of(tape):
    """A function that computes twenty features at every event, and returns their values."""
    wanted = bench_features.twenty()
    matrix = nt.features(tape, wanted)
    return lambda: nt.features(tape, wanted, out=matrix).values


def new_column(path):
    """An empty column of int64 that can be extended."""
    return Column(path, "i8")


def read_column(path):
    """A column's values."""
    return Column.open(path).array


def new_compact(path):
    """An empty column that chooses its width."""
    return CompactColumn(path)


def decode_compact(path):
    """A packed column's values."""
    return CompactColumn.open(path).decode()


def open_blocks(path):
    """A BlockFile with put_many, flush, get_many and close."""
    return BlockFile(path)
