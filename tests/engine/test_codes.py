"""The public codes are plain integers wherever a strategy or a kernel uses them, and the kernel cache knows their values."""

import enum
import importlib

import numba
import numpy as np
import pytest

import child
import nbtrade as nt
from nbtrade import schema, synthetic
from nbtrade._numba.jit import JIT, fingerprint
from nbtrade.schema import ASK, BID, FOK, GTC, LIMIT, MARKET, FillRule, OrderType, Side, TimeInForce, Wake
from streams import tape_of

VALUES = {
    Side: ("BID", "ASK"),
    OrderType: ("LIMIT", "MARKET"),
    TimeInForce: ("GTC", "DAY", "IOC", "FOK"),
    FillRule: ("FIFO", "OPTIMISTIC", "CONSERVATIVE"),
}


@pytest.mark.parametrize("group", VALUES, ids=lambda group: group.__name__)
def test_values(group):
    """Members count from 0 and are integers; a bid is 0."""
    assert [(one.name, int(one)) for one in group] == [(name, i) for i, name in enumerate(VALUES[group])]
    for name in VALUES[group]:
        assert getattr(nt, name, getattr(schema, name)) is group[name]
        assert getattr(nt, group.__name__) is group


def test_wakes_are_bits():
    """Wakes add up."""
    assert [int(one) for one in Wake] == [1 << i for i in range(8)]
    assert [one.name for one in Wake] == ["TIMER", "EVENT", "TOP", "TRADE", "ACK", "FILL", "START", "END"]


def uses(x, items):
    """Codes in every place where an integer can stand."""
    side = BID if x > 3 else 1 - ASK
    for one in (Side.BID, ASK):
        side = side * 2 + one
    items[Side.ASK] += 5
    pair = (7, 8.5)
    return (
        x == Side.ASK,
        x + TimeInForce.FOK * 2,
        items[ASK] + items[nt.Side.BID],
        pair[ASK],
        side ^ OrderType.MARKET,
        -MARKET,
        GTC <= x <= FOK,
        Wake.FILL | x & nt.Wake.EVENT,
        min(x, FOK),
        LIMIT or 3,
        max(FillRule.OPTIMISTIC, FillRule.CONSERVATIVE),
        float(Side.ASK),
    )


def test_same_in_compiled_code():
    """Compiled code gives what Python gives."""
    compiled = numba.njit(uses)
    for x in range(6):
        ours, theirs = np.arange(3), np.arange(3)
        got, expected = compiled(x, ours), uses(x, theirs)
        assert tuple(map(float, got)) == tuple(map(float, expected))
        assert ours.tolist() == theirs.tolist()


def test_as_arguments():
    """A member passed to a compiled function, positionally, by name, or as a default, is an integer and compiles nothing again."""

    @numba.njit
    def doubled(x, side=Side.ASK):
        return 2 * x + side

    assert (doubled(Side.ASK), doubled(1, side=BID), doubled(FOK, 1)) == (3, 2, 7)
    if JIT:
        n = len(doubled.signatures)
        doubled(Wake.FILL, Side.BID)
        assert len(doubled.signatures) == n


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A few seconds."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("codes"))


def test_in_strategies(tape):
    """Groups and plain names are the same orders in a strategy, given by position, by name, stored and compared."""

    def by_group(market, features, account, state):
        if market.wake & nt.Wake.TIMER and account.n_orders < 4 and market.bid_px != nt.UNDEF_PRICE:
            side = nt.Side.ASK if account.n_orders % 2 == 1 else nt.Side.BID
            state.side = side
            account.submit(nt.Side.BID, market.bid_px, 1, nt.OrderType.LIMIT, nt.TimeInForce.DAY, True)
            account.submit(side, market.ask_px, 1, tif=nt.TimeInForce.IOC)

    def by_name(market, features, account, state):
        if market.wake & 1 and account.n_orders < 4 and market.bid_px != nt.UNDEF_PRICE:
            state.side = nt.ASK if account.n_orders % 2 == 1 else 0
            account.submit(0, market.bid_px, 1, nt.LIMIT, nt.DAY, post_only=1)
            account.submit(state.side, market.ask_px, 1, type=0, tif=2)

    results = [nt.backtest(tape, nt.strategy(state={"side": "i8"}, wake="100ms")(one)) for one in (by_group, by_name)]
    assert results[0].order_rows.tobytes() == results[1].order_rows.tobytes()
    assert len(results[0].orders) == 4


def test_fill_rule_by_code(tape):
    """`fill_rule` takes a code or its name."""
    results = [nt.backtest(tape, nt.market_maker, fill_rule=rule) for rule in (FillRule.OPTIMISTIC, "optimistic")]
    assert results[0].order_rows.tobytes() == results[1].order_rows.tobytes()
    with pytest.raises(ValueError, match="use one of fifo, optimistic, conservative"):
        nt.backtest(tape, nt.market_maker, fill_rule="first")


# --- the cache's key ---------------------------------------------------------------------------------------
def named(group):
    """Functions that use a group, and one of its members."""
    member = group.A
    return (lambda: group.A), (lambda: member), (lambda: group)


@pytest.mark.parametrize("base", [enum.IntEnum, enum.Enum, enum.IntFlag])
def test_fingerprint_knows_values(base):
    """Another value of a member, of another name's or of an alias is another key, through the class and through the member."""
    groups = [base("Group", names) for names in ({"A": 1, "B": 2}, {"A": 4, "B": 2}, {"A": 1, "B": 8}, {"A": 1, "B": 2, "C": 1})]
    by_class, by_member, bare = zip(*(map(fingerprint, named(group)) for group in groups), strict=True)
    assert None not in {*by_class, *by_member, *bare}
    assert len(set(by_class)) == len(set(bare)) == len(groups)
    assert by_member[0] != by_member[1]
    assert fingerprint(named(base("Group", {"A": 1, "B": 2}))[0]) == by_class[0]


def test_member_is_not_its_number():
    """A member and the integer of its value are two keys; so are members of two groups."""
    one, other = enum.IntEnum("One", {"A": 1}), enum.IntEnum("Other", {"A": 1})
    keys = {fingerprint(lambda x=x: x) for x in (one.A, other.A, 1)}
    assert len(keys) == 3


SCRIPT = """
import sys
import nbtrade
@nbtrade.strategy(wake="100ms")
def uses_codes(market, features, account, state):
    if account.n_orders == 0 and market.wake & nbtrade.Wake.TIMER:
        account.submit(nbtrade.Side.BID, market.bid_px, 1, nbtrade.OrderType.LIMIT, tif=nbtrade.TimeInForce.DAY)
uses_codes.address
print("ready")
"""


def test_second_process_finds_it(tmp_path):
    """A strategy that uses groups of codes comes from the disk in a second process."""
    script, cache = tmp_path / "script.py", child.new_cache(tmp_path / "cache")
    script.write_text(SCRIPT)
    found = []
    for _ in range(2):
        assert child.run(script, cache=cache) == ["ready"]
        found.append({path: path.stat().st_mtime_ns for path in cache.glob("strategy_uses_codes*.nbc")})
    assert len(found[0]) == 1
    assert found[1] == found[0]


def test_codes_are_loaded_with_the_layer():
    """Every kernel can use the codes: the module that compiles kernels registers their types."""
    assert (Side, OrderType, TimeInForce, FillRule, Wake) == importlib.import_module("nbtrade._numba.jit")._codes.GROUPS
