"""The synthetic market against a plain replay that shares no code with it."""

import io
import os
import subprocess
import sys
from collections import defaultdict

import databento_dbn as dbn
import numpy as np
import pytest
import zstandard

from nbtrade import synthetic
from nbtrade._numba.jit import JIT
from nbtrade.schema import RECORD, UNDEF_PRICE
from nbtrade.synthetic import market as market_module
from nbtrade.synthetic.kernels import market_model

SCENARIOS = ["ordinary", "stub_quotes", "outliers"]
N = 50_000
needs_jit = pytest.mark.skipif(not JIT, reason="a million records take minutes without the JIT")


class Replay:
    """A dict exchange: every rule of the record stream is an assertion here."""

    def __init__(self):
        self.orders = {}  # id -> [side, price, size]
        self.queues = {"B": defaultdict(dict), "A": defaultdict(dict)}  # side -> price -> ids in queue order
        self.hits = {}  # id -> size, price and side of an F that its C or M has yet to explain
        self.trade = None  # aggressor side, id, lots still to be explained by F
        self.n_lots = {"T": 0, "F": 0}

    def apply(self, action, side, order_id, price, size):
        getattr(self, action)(side, order_id, price, size)
        if action in "TF":
            self.n_lots[action] += size

    def R(self, side, order_id, price, size):
        assert (side, order_id, price, size) == ("N", 0, UNDEF_PRICE, 0) and not self.orders

    def A(self, side, order_id, price, size):
        assert order_id not in self.orders and size > 0 and price > 0
        self.orders[order_id] = [side, price, size]
        self.queues[side][price][order_id] = True

    def C(self, side, order_id, price, size):
        assert self.orders[order_id] == [side, price, size]
        if order_id in self.hits:
            assert self.hits.pop(order_id) == size
        self.take_out(order_id)

    def M(self, side, order_id, price, size):
        own_side, old_price, old_size = self.orders[order_id]
        assert side == own_side and size > 0
        if order_id in self.hits:
            assert price == old_price and size == old_size - self.hits.pop(order_id)
            self.orders[order_id][2] = size
        elif price == old_price and size < old_size:
            self.orders[order_id][2] = size
        else:
            assert (price, size) != (old_price, old_size)
            self.take_out(order_id)
            self.A(side, order_id, price, size)

    def T(self, side, order_id, price, size):
        assert size > 0 and (self.trade is None or self.trade[2] == 0)
        self.trade = [side, order_id, size, price]

    def F(self, side, order_id, price, size):
        own_side, own_price, own_size = self.orders[order_id]
        assert (side, price) == (own_side, own_price) and side != self.trade[0] and price == self.trade[3]
        assert 0 < size <= own_size
        queue = [i for i in self.queues[side][price] if i not in self.hits]
        assert queue[0] == order_id, "F at the head of its queue"
        better = max if side == "B" else min
        left = [p for p, ids in self.queues[side].items() if any(i not in self.hits for i in ids)]
        assert better(left) == price, "F at the best price"
        self.hits[order_id] = size
        self.trade[2] -= size

    def take_out(self, order_id):
        side, price, _ = self.orders.pop(order_id)
        del self.queues[side][price][order_id]
        if not self.queues[side][price]:
            del self.queues[side][price]

    def close_event(self):
        assert not self.hits and (self.trade is None or self.trade[2] == 0)
        self.trade = None
        if self.queues["B"] and self.queues["A"]:
            assert max(self.queues["B"]) < min(self.queues["A"]), "never crossed"


@pytest.fixture(scope="module", params=SCENARIOS)
def day(request):
    return request.param, synthetic.records(N, seed=3, scenario=request.param)


def body_of(path):
    """Header and records of a DBN file, decompressed."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    n = int.from_bytes(data[4:8], "little")
    return data[: 8 + n], data[8 + n :]


def test_replay(day):
    """Every record fits a dict exchange: sizes left, queue heads, best prices, and no crossing at an event's end."""
    _, records = day
    replay = Replay()
    for row in records:
        action, side = chr(row["action"]), chr(row["side"])
        replay.apply(action, side, int(row["order_id"]), int(row["price"]), int(row["size"]))
        if row["flags"] & 128:
            replay.close_event()
    assert replay.n_lots["T"] == replay.n_lots["F"] > 0
    assert 800 < len(replay.orders) < 1200


def test_opening(day):
    """A day opens with an R and a snapshot of `live_orders` adds whose last row closes the event."""
    _, records = day
    assert chr(records["action"][0]) == "R"
    assert set(records["action"][1:1001]) == {ord("A")}
    assert np.all(records["flags"][:1000] == 32) and records["flags"][1000] == 160
    assert not np.any(records["flags"][1001:] & 32)
    assert np.any(np.diff(records["order_id"][1:1001]) < 0)


def test_mix(day):
    """Adds and cancels are about 42 % each, modifies 6 %, the others trades and fills."""
    _, records = day
    share = np.bincount(records["action"][1001:], minlength=128) / (N - 1001)
    assert 0.38 < share[ord("A")] < 0.46 and 0.38 < share[ord("C")] < 0.46
    assert 0.04 < share[ord("M")] < 0.08
    assert 0.07 < share[ord("T")] + share[ord("F")] < 0.14


def test_times(day):
    """Clocks never run backwards, an event has one ts_event, and the feed is tens of microseconds late."""
    _, records = day
    live = records[1001:]
    ts, late = live["ts_event"], live["ts_recv"] - live["ts_event"]
    assert np.all(np.diff(ts) >= 0) and np.all(np.diff(records["ts_recv"]) >= 0)
    assert np.all(ts[1:][(live["flags"][:-1] & 128) == 0] == ts[:-1][(live["flags"][:-1] & 128) == 0])
    assert late.min() > 5_000 and 20_000 < np.median(late) < 100_000
    assert np.all(np.diff(records["sequence"].astype("i8")) >= 0)
    gaps = np.diff(ts[(live["flags"] & 128) != 0])
    assert np.median(gaps) < 100_000 and gaps.std() > 3 * gaps.mean(), "bursts and quiet times"


def test_records_are_well_formed(day):
    """Constant fields have the values of an MBO record with the market's tick."""
    _, records = day
    assert np.all(records["length"] == RECORD.itemsize // 4) and np.all(records["rtype"] == 160)
    assert np.all(records["instrument_id"] == 1) and np.all(records["publisher_id"] == 1)
    assert np.all(records["price"][1:] % 10_000_000 == 0)


def test_scenarios(day):
    """Stub quotes are at 0.01 and 199,999.99; outliers are a tenth of the records, mostly at unique prices."""
    scenario, records = day
    far = records[np.abs(records["price"] // 10_000_000 - 500_000) > 5_000][1:]
    if scenario == "ordinary":
        assert len(far) == 0
    if scenario == "stub_quotes":
        assert {(chr(s), p) for s, p in zip(far["side"], far["price"], strict=True)} == {
            ("B", 10_000_000),
            ("A", 199_999_990_000_000),
        }
        assert {"A", "C"} <= {chr(a) for a in far["action"]}
    if scenario == "outliers":
        assert 0.07 < len(far) / N < 0.13
        assert len(np.unique(far["price"])) > 0.8 * np.count_nonzero(far["action"] == ord("A"))


@needs_jit
@pytest.mark.parametrize("live_orders", [1, 30, 10_000, 100_000])
def test_live_orders(live_orders):
    """The number of live orders stays near the requested one."""
    market = market_module._Market(3 * live_orders + 20_000, live_orders=live_orders)
    while market.n_left:
        market.fill(np.empty(min(8192, market.n_left), RECORD))
        if market.state["n_opening"][0] == 0:
            assert abs(market.state["n_live"][0] - live_orders) < 0.1 * live_orders + 30


@pytest.mark.parametrize("n_records", [1, 2, 10, 60, 1001, 1002, 1300])
def test_few_records(n_records):
    """The array has exactly the requested number of records, and the last one closes its event."""
    records = synthetic.records(n_records)
    assert len(records) == n_records and records["flags"][-1] & 128


def test_seed():
    """The same seed gives the same bytes, another seed gives different ones."""
    one, again, other = (synthetic.records(5_000, seed=s).tobytes() for s in (7, 7, 8))
    assert one == again != other


@pytest.mark.parametrize("batch", [1, 7, 1000, 65_536])
def test_batch_sizes(batch):
    """Any batch size gives the same bytes, in arrays of at most that many rows."""
    parts = list(synthetic.batches(20_000, batch, seed=5, scenario="outliers"))
    assert max(len(p) for p in parts) <= batch
    assert np.concatenate(parts).tobytes() == synthetic.records(20_000, seed=5, scenario="outliers").tobytes()


@needs_jit
def test_duration():
    """A day lasts about as long as requested, and is busier at its ends than in the middle."""
    records = synthetic.records(300_000, duration="6.5h", start="2025-01-06T09:30:00-05:00")
    assert records["ts_recv"][0] == np.datetime64("2025-01-06T14:30", "ns").astype("i8")
    hours = (records["ts_event"][1001:] - records["ts_recv"][0]) / 3.6e12
    assert 6.0 < hours[-1] < 7.0
    ends, middle = np.sum((hours < 1) | (hours > 5.5)), np.sum((hours > 2.25) & (hours < 4.25))
    assert ends > 1.5 * middle


@needs_jit
def test_volatility():
    """The price diffuses slowly: some tens of ticks in a million records."""
    ticks = synthetic.records(1_000_000, seed=2)
    ticks = ticks["price"][ticks["action"] == ord("T")] / 10_000_000
    assert 20 < ticks.max() - ticks.min() < 400


@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
def test_write_dbn(tmp_path, suffix):
    """A written file has the same records, byte for byte, for zstandard and for databento_dbn."""
    path = synthetic.write_dbn(tmp_path / f"day{suffix}", 3_000, symbol="TEST", seed=4, instrument_id=77)
    assert os.listdir(tmp_path) == [path.name]
    header, body = body_of(path)
    expected = synthetic.records(3_000, seed=4, instrument_id=77)
    assert body == expected.tobytes()
    decoder = dbn.DBNDecoder()
    decoder.write(header + body)
    metadata, *rows = decoder.decode()
    assert (metadata.version, metadata.symbols, metadata.schema) == (3, ["TEST"], dbn.Schema.MBO)
    assert metadata.mappings["TEST"][0]["symbol"] == "77"
    assert metadata.start <= expected["ts_recv"][0] and expected["ts_recv"][-1] < metadata.end
    assert [(r.ts_event, r.order_id, r.price, r.size, r.sequence) for r in rows] == [
        tuple(r) for r in expected[["ts_event", "order_id", "price", "size", "sequence"]].tolist()
    ]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_interrupted_write(tmp_path, monkeypatch, error):
    """An interrupted write leaves no files behind, and an older file unchanged."""
    path = tmp_path / "day.dbn.zst"
    path.write_bytes(b"older")
    real = market_module._batches

    def broken(market, batch):
        yield next(real(market, 1000))
        raise error

    monkeypatch.setattr(market_module, "_batches", broken)
    with pytest.raises(error):
        synthetic.write_dbn(path, 10_000)
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"older"


@pytest.mark.parametrize(
    "options",
    [
        {"n_records": 0},
        {"live_orders": 0},
        {"mid": 10},
        {"tick": 0},
        {"scenario": "calm"},
        {"start": "2025-01-06T14:30"},
        {"duration": "6 days"},
        {"duration": 0},
    ],
)
def test_bad_parameters(options):
    """A parameter out of range raises a ValueError that shows its value."""
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        synthetic.records(**({"n_records": 10} | options))


def test_bad_name(tmp_path):
    """A file name without a DBN suffix is rejected before anything is written."""
    with pytest.raises(ValueError, match=r"day\.csv"):
        synthetic.write_dbn(tmp_path / "day.csv", 10)
    with pytest.raises(ValueError, match="batch is 0"):
        synthetic.batches(10, 0)


def test_without_jit():
    """Plain Python gives the bytes of the compiled kernel."""
    code = (
        "import sys; from nbtrade.synthetic import records\n"
        "sys.stdout.buffer.write(records(2_500, live_orders=300, scenario='outliers').tobytes())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    plain = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert plain.stdout == synthetic.records(2_500, live_orders=300, scenario="outliers").tobytes()


@needs_jit
def test_event_bound():
    """No event is longer than the kernel's reserve."""
    ends = np.flatnonzero(synthetic.records(200_000)["flags"] & 128)
    assert np.diff(ends).max() <= market_model.MAX_EVENT
