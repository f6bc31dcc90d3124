"""Invalid prices, sizes, sides, kinds and slots: every method of the account refuses and counts them, with and without the JIT."""

import math

import numpy as np
import pytest

import child
import nbtrade as nt
from nbtrade import feature, synthetic
from nbtrade.errors import StrategyError
from streams import tape_of


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Five seconds of a market."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("numbers"))


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def floors_nan(account, features):
    account.submit(nt.ASK, math.floor(features.m), 1)


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def ceils_nan(account, features):
    account.submit(nt.BID, math.ceil(features.m) + 3, 1)


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def rounds_nan(account, features):
    account.quote(nt.BID, round(features.m), 1)


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def cuts_nan(account, features):
    account.market(nt.ASK, int(features.m))


@nt.strategy(wake="1s")
def infinite(market, account):
    account.submit(nt.ASK, math.floor(-math.inf if market.bid_px > 0 else 1.0), 1)


@nt.strategy(wake="1s")
def constant_nan(account):
    account.submit(nt.ASK, math.floor(math.nan), 1)
    account.submit(nt.ASK, int(math.nan), 1)
    account.submit(nt.ASK, round(1e30), 1)


@nt.strategy(wake="1s")
def beyond_undefined(account):
    account.submit(nt.ASK, nt.UNDEF_PRICE + 1, 1)


@nt.strategy(wake="1s")
def undefined(account):
    account.quote(nt.ASK, nt.UNDEF_PRICE, 1)


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def to_even_ticks(market, features, account, state):
    account.submit(nt.BID, math.floor(features.m) * 2, 1)  # twice the lowest integer is 0
    account.submit(nt.BID, int(features.m / 10) * 10, 1)


@nt.strategy(wake="1s", features={"m": feature.mid().mean("5min")})
def beside_the_touch(market, features, account, state):
    account.submit(nt.BID, market.bid_px - int(features.m * 0), 1)  # for LLVM, int(x * 0) is 0


@nt.strategy(state={"px": "i8", "low": "i4"}, wake="1s", features={"m": feature.mid().mean("5min")})
def kept_in_the_state(market, features, account, state):
    state.px = round(features.m)
    account.submit(nt.BID, np.int32(state.px), 1)


NO_NUMBERS = [
    to_even_ticks,
    beside_the_touch,
    kept_in_the_state,
    floors_nan,
    ceils_nan,
    rounds_nan,
    cuts_nan,
    infinite,
    constant_nan,
    beyond_undefined,
    undefined,
]


@pytest.mark.parametrize("strategy", NO_NUMBERS, ids=lambda s: s.name)
def test_no_number_is_no_order(tape, strategy):
    """NaN, infinity and an undefined price are not sent: each counts as a "bad order". They used to be orders at price 0."""
    result = nt.backtest(tape, strategy)
    assert len(result.orders) == 0
    assert result.refusals["bad order"] == result.summary["n_refused"] > 3


@nt.strategy(wake="1s", state={"slot": 0, "n": 0}, features={"m": feature.mid().mean("1s")})
def quotes_what_may_be_nan(account, state, features):
    state.n += 1
    m = features.m if state.n < 3 else math.nan
    state.slot = account.quote(nt.BID, math.floor(m) - 5, 1)


def test_a_quote_without_a_price_is_withdrawn(tape):
    """A quote whose price becomes NaN is cancelled instead of staying at its last price."""
    result = nt.backtest(tape, quotes_what_may_be_nan)
    assert result.summary["n_fills"] == 0
    assert list(result.orders["reason"]) == ["by us"]
    assert result.final_state["slot"] == -1


CASES = """
import sys
import numpy as np
import nbtrade as nt
from nbtrade.errors import StrategyError

ODD = (-(2**63), -(2**62), -(2**32), -(2**31) - 1, -(2**30) - 1, -1, 2, 7, 64, 2**30 + 1, 2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1)
N = len(ODD)

@nt.strategy(wake="start", params={"small": np.uint8(200), "wide": np.uint64(2**63 + 5)}, state={"got": f"({N},20)i8"})
def tries(market, account, params, state):
    px = market.bid_px - 10
    stands = account.submit(nt.BID, px, 1)
    account.quote(nt.ASK, market.ask_px + 10, 2)
    for k in range(N):
        x, got = ODD[k], state.got[k]
        if x < 0 or x > 2**30:
            got[0] = account.submit(nt.BID, x, 1)
            got[1] = account.replace(stands, x, 1)
            got[2] = account.submit(nt.BID, px, x)
            got[3] = account.replace(stands, px, x)
            got[4] = account.market(nt.ASK, x)
        if x < 0 or x > 1:
            got[5] = account.submit(x, px, 1)
            got[6] = account.market(x, 1)
            got[7] = account.quote(x, px, 1)
        if x < 0 or x > 6:
            got[8] = account.submit(nt.BID, px, 1, x)
        if x < 0 or x > 20:
            got[9] = account.cancel(x)
            got[10] = account.replace(x, px, 1)
            got[11] = account.is_open(x)
            got[12] = account.ahead(x)
            got[13] = account.behind(x)
        got[14] = market.qty_at(nt.BID, x)
        got[15] = market.orders_at(nt.ASK, x)
        if x >= 0:
            got[16] = market.level(nt.BID, x)
            got[17] = market.depth(nt.ASK, x)
        got[18] = account.reject_reason
        got[19] = account.n_refused
    for k in range(N):
        x = ODD[k]
        if x < -1 or x > 2**30:
            account.quote(nt.ASK, x, 2)
            account.quote(nt.ASK, market.ask_px + 10, x)
    account.quote(nt.BID, px - 1, params.small)
    account.quote(nt.BID, px - 2, params.wide)

tape = nt.open_tape(sys.argv[1])
result = nt.backtest(tape, tries)
print(result.final_state["got"].tolist())
print(result.refusals.to_dict(), result.orders[["side", "px", "size", "reason"]].to_dict("records"))

LOOKS = ("market.level({}, 0)", "market.depth({}, 1)", "market.qty_at({}, 5)", "market.orders_at({}, 5)", "market.on({})", "account.on({})",
         "account.order({})", "market.level(0, {})", "market.depth(0, {})")
for look in LOOKS:
    for odd in (-(2**63), -1, 2**62):
        if odd > 0 and look.endswith("(0, {})"):
            continue
        text = f"@nt.strategy(wake='start')\\ndef looks(market, account):\\n    {look.format(odd)}\\n"
        scope = {"nt": nt}
        exec(compile(text, "<looks>", "exec"), scope)
        try:
            nt.backtest(tape, scope["looks"])
            print("nothing raised", look, odd)
        except StrategyError as error:
            print(str(error).split(" raised ")[1].splitlines()[:2])
"""


def test_every_entry_with_and_without_the_jit(tape, tmp_path):
    """Each method, with integers of every width, does the same in plain Python and compiled, and sends no invalid order."""
    script = tmp_path / "cases.py"
    script.write_text(CASES)
    compiled, plain = (child.run(script, tape.path, jit=jit) for jit in (True, False))
    assert compiled == plain
    assert not any("nothing raised" in line for line in compiled)
    got = np.array(eval(compiled[0]))
    refused = got[:, -1]
    assert refused[-1] > 100
    assert (got[:, [9, 10, 11]] == 0).all()
    assert (got[:, 0][[0, -1]] == -1).all()
    assert "'bad order': " in compiled[1]
    assert compiled[1].count("'px'") == 4  # the orders sent: two orders (one at -1, a valid price) and two quotes


def test_floats_are_refused_when_compiled(tape):
    """A float is refused as a price, size or slot, even if its value is whole."""

    @nt.strategy(wake="1s")
    def floats(account):
        account.submit(nt.BID, math.nan, 1)

    with pytest.raises(StrategyError, match=r"'px' of submit must be an integer, not float64"):
        nt.backtest(tape, floats)


@pytest.mark.parametrize("value", ["2**31", "-(2**31) - 1", "math.floor(math.nan)", "market.bid_px << 30"])
def test_an_integer_that_a_field_does_not_hold_is_an_error(tape, value):
    """It was cut to the field's bits: NaN became a price of 0. Now it is what it is without the JIT."""
    text = f"@nt.strategy(state={{'low': 'i4'}}, wake='1s')\ndef cuts(market, features, account, state):\n    state.low = {value}\n"
    scope = {"nt": nt, "math": math}
    exec(compile(text, "<cuts>", "exec"), scope)
    with pytest.raises(StrategyError, match="OverflowError: the value does not fit a state field of type int32\nIn <cuts>, line 3"):
        nt.backtest(tape, scope["cuts"])


def test_an_integer_that_a_field_holds_is_kept(tape):
    """To the last bit of each width."""

    @nt.strategy(state={"a": "i4", "b": "u4", "c": "u1", "d": "i2"}, wake="1s")
    def fits(market, features, account, state):
        state.a, state.b, state.c, state.d = -(2**31), 2**32 - 1, 255, -(2**15)

    assert nt.backtest(tape, fits).final_state.item()[:4] == (-(2**31), 2**32 - 1, 255, -(2**15))
