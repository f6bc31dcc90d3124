"""Stores into anything but the strategy's state are refused with their line, by any route; stores into the state work."""

import numpy as np
import pytest

import child
import nbtrade as nt
from nbtrade import synthetic
from nbtrade.errors import StrategyError
from streams import tape_of

HELPERS = """
import sys
import numba, numpy as np
import nbtrade as nt
from nbtrade import feature
from nbtrade._numba.jit import helper
from nbtrade.engine.kernels.market import MARKET
from nbtrade.engine.kernels.records import ACCOUNT, OWN
from nbtrade.errors import FeatureError, StrategyError

@numba.njit
def sets(record):
    record.position = 7  # helper

@numba.njit
def sets_deep(record):
    sets(record)

@helper
def sets_inline(record):
    record.requested_px = 1  # helper

@numba.njit(inline="always")
def sets_ir(record):
    record.bid_px = 1  # helper

@numba.njit
def sets_items(items):
    items[0] = 1  # helper

@numba.njit
def sets_any(record, x):
    record.x = x

@numba.njit
def sets_edge(record):
    record.edge = 2  # helper

@numba.njit
def fills(items):
    items.fill(3)  # helper

@numba.njit
def first(pair):
    return pair[0]

TEN = tuple(range(10))
PLAIN_STATE = np.dtype([("position", "i8"), ("x", "f8")], align=True)
filled = np.zeros(1, PLAIN_STATE).view(np.recarray)
sets(filled[0]); sets_items(np.zeros(2)); fills(np.zeros(2, np.int64))  # compiled before, for records that can be set
"""
# lines of the body; the store is the last line, unless another line ends in "# here"
STORES = {
    "alias": "a = account\na.position = 10**9",
    "alias of an alias": "a = account\nb = a\nb.position += 1",
    "alias through a tuple": "t = (account, 1)\nt[0].position = 1",
    "unpacked tuple": "a, m = account, market\nm.bid_px = 1",
    "conditional alias": "a = account if market.bid_px > 0 else account.on(0)\na.cash = 1",
    "alias in a branch": "a = account\nif market.bid_px > 5:\n    a = account.on(0)\na.cash -= 5",
    "loop variable": "for a in (account, account):\n    a.n_open = 0",
    "through a function's result": "first((account, 1)).position = 1",
    "other instrument": "account.on(0).position = 3",
    "other market": "market.on(0).bid_px = 1",
    "market's alias": "m = market\nm.ask_qty *= 2",
    "order": "account.order(account.submit(0, market.bid_px - 9, 1)).requested_px = 5",
    "order's alias": "o = account.order(0)\no.leaves = 5",
    "order, augmented": "account.order(0).requested_px += 5",
    "order of another instrument": "account.on(0).order(0).status = 5",
    "item by name": "a = account\na['position'] = 5",
    "item by number": "a = account\na[0] = 5",
    "item of an order": "account.order(0)['requested_px'] = 5",
    "array": "account.refusals[0] = 1",
    "array, augmented": "account.refusals[2] += 1",
    "array, slice": "account.refusals[:] = 0",
    "array, part of a slice": "r = account.refusals[2:]\nr[0] = 1",
    "array, reversed": "account.refusals[::-1][0] = 1",
    "array, whole": "a = account\na.refusals = state.w",
    "array of another instrument": "account.on(0).refusals[1] = 1",
    "array, filled": "account.refusals.fill(0)",
    "array, flat": "account.refusals.flat[0] = 1",
    "array, sorted": "account.refusals[:].sort()",
    "array, augmented as a whole": "r = account.refusals\nr += 1",
    "array, augmented slice": "account.refusals[1:3] += 1",
    "array, nditer": "for x in np.nditer(account.refusals): x[()] = 1",
    "array, nditer of two": "for x, y in np.nditer((account.refusals, state.w)): x[()] = 1",
    "array, reshaped": "account.refusals.reshape(2, 5)[0, 0] = 1",
    "params array": "params.curve[0] = 1",
    "params array, augmented": "params.curve[2] += 1",
    "params array, slice": "params.curve[:] = 0",
    "params array, part of a slice": "r = params.curve[2:]\nr[0] = 1",
    "params array, reversed": "params.curve[::-1][0] = 1",
    "params array, whole": "a = params\na.curve = state.w",
    "params array, filled": "params.curve.fill(0)",
    "params array, flat": "params.curve.flat[0] = 1",
    "params array, sorted": "params.curve[:].sort()",
    "params array, reshaped": "params.curve.reshape(2, 5)[0, 0] = 1",
    "setattr": "setattr(account, 'free', 1)",
    "inner function": "def inner(r):\n    r.position = 1  # here\ninner(account)",
    "feature": "features.m = 1.0",
    "feature's alias": "g = features\ng.m += 1.0",
    "feature by name": "features['m'] = 1.0",
    "feature by number": "features[0] = 1.0",
    "helper": "sets(account)",
    "helper of a helper": "sets_deep(account)",
    "nbtrade's helper": "sets_inline(account.order(0))",
    "helper inlined by Numba": "sets_ir(market)",
    "helper that gets an array": "sets_items(params.curve)",
    "helper that gets a slice": "sets_items(params.curve[1:])",
    "helper that fills": "fills(params.curve)",
    "parameter": "params.edge = 2",
    "parameter, augmented": "params.edge += 2",
    "parameter's alias": "p = params\np.edge = 2",
    "parameter by name": "params['edge'] = 2",
    "parameter, item": "params.curve[0] = 7",
    "parameter, array's alias": "c = params.curve\nc[1] = 7",
    "parameter, slice": "params.curve[1:][0] += 7",
    "parameter, out of a ufunc": "np.add(params.curve, 1, params.curve)",
    "parameter, whole array": "params.curve = state.w",
    "parameter, helper": "sets_edge(params)",
    "parameter, helper that gets an array": "sets_items(params.curve)",
    "parameter, helper that fills": "fills(params.curve)",
    "parameter, setattr": "setattr(params, 'edge', 2)",
}
FEATURE_STORES = {
    "own feature": "market.bid_px[0] = 5.0",
    "own feature, alias": "m = market\nm.last_px = 5.0",
    "own feature, slice": "market.ask_px[1:3] = 5.0",
    "own feature, helper": "sets_items(market.bid_px)",
}
ALLOWED = """
@nt.strategy(wake="start", state={"x": 0.0, "n": "i4", "w": "(10,)f8", "position": 0})
def own_state(market, account, state):
    s = state if market.bid_px > 0 else state
    s.x = 5
    state["n"] = 3
    w = state.w[2:]
    w[0] = 7.0
    for i in range(5, 10):
        state.w[i] = account.n_refused
    state.w.flat[1] = 4.0
    sets(state)
    sets_any(state, state.x + 1)
    sets_items(state.w)
    fills(state.w[8:])

@nt.strategy(wake="start", state={name: OWN[name] for name in OWN.names})
def like_an_order(market, account, state):
    slot = account.submit(0, market.bid_px - 50, 1)
    state.px = account.order(slot).requested_px
    state.ahead = 5
    sets_inline(state)

@nt.strategy(wake="start", state={name: ACCOUNT[name] for name in ACCOUNT.names})
def like_an_account(market, account, state):
    state.free = 10**9
    sets(state)
    account.submit(0, market.bid_px - 50, 1)

@nt.strategy(wake="start", state={name: MARKET[name] for name in MARKET.names})
def like_the_market(market, state):
    state.bid_px = market.bid_px + 1
    state.self_at = 0

results = [nt.backtest(tape, one) for one in (own_state, like_an_order, like_an_account, like_the_market)]
own = results[0].final_state
print(own["x"], own["n"], own["w"].tolist(), own["position"])
print(results[1].final_state["requested_px"], results[1].final_state["ahead"], len(results[1].orders))
print(results[2].final_state["free"], results[2].final_state["position"], len(results[2].orders))
print(results[3].final_state["self_at"])
"""
RUN = """
def strategy_of(body):
    text = "@nt.strategy(state={'w': '(10,)i8'}, params={'edge': 1, 'curve': TEN}, wake='start', features={'m': feature.mid()})\\n"
    text += "def mine(market, features, account, params, state):\\n"
    return text + "".join(f"    {line}\\n" for line in body.split("\\n"))

def feature_of(body):
    text = "@feature.own(state=[('n', 'i8')])\\ndef mine(market, state):\\n"
    return text + "".join(f"    {line}\\n" for line in [*body.split("\\n"), "return 1.0"])

def attempt(name, source, use, error):
    scope = {**globals()}
    exec(compile(source, f"<{name}>", "exec"), scope)
    try:
        use(scope["mine"])
    except error as found:
        print(repr((name, str(found))))
    else:
        print(repr((name, "NOTHING RAISED")))

tape = nt.open_tape(sys.argv[1])
for name, body in STORES.items():
    attempt(name, strategy_of(body), lambda one: nt.backtest(tape, one), StrategyError)
for name, body in FEATURE_STORES.items():
    attempt(name, feature_of(body), lambda one: nt.features(tape, [one()]), (FeatureError, TypeError, ValueError))
"""


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A second of a market."""
    return tape_of(synthetic.records(500, seed=3, live_orders=50, duration="1s"), tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module", params=[True, False], ids=["JIT", "no JIT"])
def messages(request, tape, tmp_path_factory):
    """(with JIT or not, {name of a store: its error message}): all in one process, because the worst stores would crash it."""
    script = tmp_path_factory.mktemp("stores") / "cases.py"
    script.write_text(HELPERS + f"STORES = {STORES!r}\nFEATURE_STORES = {FEATURE_STORES!r}\n" + RUN)
    return request.param, dict(eval(line) for line in child.run(script, tape.path, jit=request.param, timeout=300))


def store_line(body):
    """(number from 0, text) of the line with the store."""
    lines = body.split("\n")
    at = next((i for i, line in enumerate(lines) if line.endswith("# here")), len(lines) - 1)
    return at, lines[at].strip()


WORDS = ("cannot be set", "read-only", "readonly", "setattr'")


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_refused(messages, name):
    """The message names the field that cannot be set and the line, which is the helper's if a helper stores."""
    jit, found = messages
    message = found[name]
    assert any(word in message for word in WORDS), message
    assert "Record(" not in message
    at, _ = store_line(STORES[name])
    assert f"<{name}>, line {at + 3}" in message or (jit and "cases.py, line" in message and "# helper" in message), message


GLOBAL_STORES = {"field": "ROWS[0].x = 1", "alias": "row = ROWS[0]\nrow.x += 1", "item": "ROWS[0]['x'] = 1", "array": "ROWS['x'][0] = 1"}


@pytest.mark.parametrize("name", GLOBAL_STORES)
def test_a_store_into_a_global_record_is_refused(tape, name):
    """Globals are constants of compiled code: the store silently went into a copy."""
    lines = "".join(f"    {line}\n" for line in GLOBAL_STORES[name].split("\n"))
    scope = {"nt": nt, "ROWS": np.zeros(1, [("x", "i8")]).view(np.recarray)}
    exec(compile(f"@nt.strategy(wake='start')\ndef mine(market, features, account, state):\n{lines}", f"<{name}>", "exec"), scope)
    with pytest.raises(StrategyError, match=f"<{name}>, line"):
        nt.backtest(tape, scope["mine"])
    assert scope["ROWS"]["x"] == 0


@pytest.mark.parametrize("name", FEATURE_STORES)
def test_a_store_of_an_own_feature_is_refused(messages, name):
    """User-defined features cannot change the input of other features."""
    _, found = messages
    assert any(word in found[name] for word in WORDS), found[name]


@pytest.mark.parametrize("jit", [True, False])
def test_the_state_can_be_set(tape, tmp_path, jit):
    """Stores into the state work in the strategy and in helpers, even if its fields are named like those of an engine record."""
    script = tmp_path / "allowed.py"
    script.write_text(HELPERS + "tape = nt.open_tape(sys.argv[1])\n" + ALLOWED)
    lines = child.run(script, tape.path, jit=jit)
    assert lines[0] == "6.0 3 [1.0, 4.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 3.0] 7"
    assert lines[1:] == ["1 5 1", "1000000000 7 1", "0"]
