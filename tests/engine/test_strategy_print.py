"""`print` and other code that needs the interpreter in a compiled strategy or feature: it works, or is refused with its line."""

# ruff: noqa: T201 - print is the subject
import ctypes
import hashlib
import math
import pickle
import re

import numba
import pytest

import child
import nbtrade as nt
from nbtrade import synthetic
from nbtrade._numba.jit import kernel
from nbtrade.errors import FeatureError, StrategyError
from streams import tape_of

CASES = """
import sys
import numba
import numpy as np
import nbtrade as nt
from numba.core import event

@numba.njit
def inner(x):
    print("inner", x)

@numba.njit
def outer(x):
    inner(x + 1)
    print("outer", x)

@numba.njit
def of_array(a):
    print(a, a[1:], a.sum())

@numba.njit
def of_record(r):
    print(r)

@numba.njit
def apply(f, x):
    f(x)

scope = {"numba": numba}
exec("@numba.njit\\ndef without_module(x):\\n    print('no module', x, x / 2)", scope)
without_module = scope["without_module"]

@nt.strategy(
    wake="start",
    state={"n": 0, "x": np.float32(0.5), "yes": "?", "w": (1.0, 2.0, 3.0), "m": "(2,2)i4"},
    params={"edge": 2, "curve": (1.0, 2.0)},
    record=["fair"],
)
def prints(market, account, params, state, features, record):
    print(market.n_events)
    print("values", 7, 0.25, state.x, state.yes, None, 2j)
    print()
    print(state.w, state.w[::-1], state.w[3:], state.m, state.m[:, 1], params.curve[:2])
    print(features[0], state)
    print(params, params.curve, params.edge, record)
    for i in range(2):
        print("loop", i, state.w[i])
    outer(4)
    of_array(state.w)
    of_record(state)
    apply(inner, 8)
    without_module(3)
    try:
        print(5 // state.n)
    except Exception:
        print("caught")
    print("order", account.order(account.submit(nt.BID, market.bid_px, 3)).requested_qty)

@nt.feature.own(state=[("n", "i8"), ("w", "f8", 2)])
def shows(market, state):
    if state.n == 0:
        print("feature", market.bid_px[0] > 0, state.w, state.n)
        inner(state.w[1])
        of_array(state.w)
    state.n += 1
    return 1.0

with event.install_recorder("numba:compile") as recorder:
    tape = nt.open_tape(sys.argv[1])
    nt.backtest(tape, prints)
    nt.features(tape, [shows()])
print("compiled", len(recorder.buffer) > 0)
"""
EXPECTED = """1
values 7 0.25 0.5 False None 2j

[1. 2. 3.] [3. 2. 1.] [] [[0 0]
 [0 0]] [0 0] [1. 2.]
nan (0, 0.5, False, [1.0, 2.0, 3.0], [[0, 0], [0, 0]], 0)
(2, [1.0, 2.0], 0) [1. 2.] 2 (nan,)
loop 0 1.0
loop 1 2.0
inner 5
outer 4
[1. 2. 3.] [2. 3.] 6.0
(0, 0.5, False, [1.0, 2.0, 3.0], [[0, 0], [0, 0]], 0)
inner 8
no module 3 1.5
caught
order 3
feature True [0. 0.] 0
inner 0.0
[0. 0.] [0.] 0.0"""


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A second of a market."""
    return tape_of(synthetic.records(500, seed=3, live_orders=50, duration="1s"), tmp_path_factory.mktemp("print"))


def test_print(tape, tmp_path):
    """Values, strings, arrays and records print in strategies, helpers and features, freshly compiled or from the cache.

    The process used to hang, and ignored Ctrl-C.
    """
    script = tmp_path / "cases.py"
    script.write_text(CASES)
    cache = child.new_cache(tmp_path / "cache")
    nt.features(tape, [nt.feature.mid()])  # puts the feature kernels into the cache if the copy lacks them
    for run in ("True", "False"):
        assert child.run(script, tape.path, cache=cache) == [*EXPECTED.splitlines(), f"compiled {run}"]


@numba.njit
def in_python(x):
    with numba.objmode(y="int64"):
        y = int("no number")
    return x + y


@numba.njit
def calls_in_python(x):
    return in_python(x)


@numba.cfunc("float64(float64)")
def callback(x):
    print(x)
    return x


@numba.njit
def raises_values(x):
    raise ValueError("bad", x)


@numba.njit
def formats(x):
    return len(f"{x}")


@numba.njit
def raises(x):
    if x > 0:
        raise ValueError("too large")


@nt.strategy(wake="start")
def objmode():
    with numba.objmode():
        print(1)


@nt.strategy(wake="start")
def objmode_in_helper(market):
    calls_in_python(market.bid_px)


@nt.strategy(wake="start")
def calls_callback():
    callback(1.0)


@nt.strategy(wake="start")
def raises_value(market):
    raise ValueError("bad", market.bid_px)


@nt.strategy(wake="start")
def raises_value_in_helper(market):
    raises_values(market.bid_px)


@nt.strategy(wake="start")
def raises_in_helper(market):
    raises(market.bid_px)


@nt.strategy(wake="start")
def formatted(market):
    print(f"{market.bid_px}")


@nt.strategy(wake="start")
def formatted_in_helper(market):
    print(formats(market.bid_px))


@nt.strategy(wake="start")
def objmode_by_its_module():
    with numba.core.withcontexts.objmode_context():
        print(1)


@nt.strategy(wake="start")
def prints_range():
    print(range(3))


@nt.strategy(wake="start")
def prints_slice():
    print(slice(1, 2))


@nt.strategy(wake="start")
def numba_fails():
    print(sorted((3, 1)))


@nt.strategy(wake="start")
def keyword():
    print(1, 2, sep=",")


@nt.strategy(wake="start")
def method_not_called(account):
    print(account.cancel_all)


@nt.strategy(wake="start")
def reads_input():
    input()


REFUSED = [
    (objmode, "numba.objmode runs the Python interpreter", "with numba.objmode():"),
    (objmode_in_helper, "numba.objmode runs the Python interpreter", 'with numba.objmode(y="int64"):'),
    (calls_callback, "'callback' is a C callback", "callback(1.0)"),
    (raises_value, "may not allocate", 'raise ValueError("bad", market.bid_px)'),
    (raises_value_in_helper, "may not allocate", "raises_values(market.bid_px)"),
    (raises_in_helper, "ValueError: too large", "raises(market.bid_px)"),
    (formatted, "may not allocate", 'print(f"{market.bid_px}")'),
    (formatted_in_helper, "may not allocate", "print(formats(market.bid_px))"),
    (objmode_by_its_module, "numba.objmode runs the Python interpreter", "with numba.core.withcontexts.objmode_context():"),
    (prints_range, "print its items", "print(range(3))"),
    (prints_slice, "print its items", "print(slice(1, 2))"),
    (keyword, "no sep=, end= or file=", 'print(1, 2, sep=",")'),
    (method_not_called, "print needs a value", "print(account.cancel_all)"),
    (reads_input, "'input'", "input()"),
]


@pytest.mark.parametrize(("strategy", "words", "line"), REFUSED, ids=[case[0].name for case in REFUSED])
def test_refused(tape, strategy, words, line):
    """Code that cannot work in a strategy is an error with its line, even inside a helper."""
    with pytest.raises(StrategyError) as caught:
        nt.backtest(tape, strategy)
    assert words in str(caught.value)
    assert re.search(rf"test_strategy_print.py, line \d+\n    {re.escape(line)}", str(caught.value))
    assert len(str(caught.value)) < 700


def test_what_numba_fails_at_is_an_error_of_ours(tape):
    """Numba's own code breaks here, with an AssertionError."""
    with pytest.raises(StrategyError, match="numba_fails cannot be compiled: Numba fails on it"):
        nt.backtest(tape, numba_fails)


def test_an_array_of_booleans_in_the_state_is_refused():
    """Numba's records have none; it was an AttributeError of Numba's."""
    with pytest.raises(StrategyError, match='Make it an array of "u1"'):
        nt.strategy(state={"seen": "(3,)?"})(keyword.function)


def test_own_feature_with_objmode():
    """User-defined features have the same limit."""

    def leaves(market, state):
        return float(in_python(1))

    with pytest.raises(FeatureError, match=r"leaves cannot be compiled: numba.objmode[^\n]*\nIn .*test_strategy_print.py, line \d+"):
        nt.feature.own()(leaves)


def test_c_functions_work(tape):
    """ctypes functions, with and without the GIL, stay allowed."""
    cosine = ctypes.CDLL(None).cos
    cosine.restype, cosine.argtypes = ctypes.c_double, [ctypes.c_double]

    twice = ctypes.PYFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: 2 * x)

    @nt.strategy(wake="start", state={"x": 0.0})
    def calls_c(state):
        state.x = twice(cosine(1.0))

    assert nt.backtest(tape, calls_c).final_state["x"] == 2 * math.cos(1.0)


def test_a_cache_entry_of_another_version_is_compiled_again(tmp_path, monkeypatch):
    """An intact cache file in another version's format is not an error."""
    monkeypatch.setenv("NBTRADE_CACHE_DIR", str(tmp_path))

    def plus_one(x):
        return x + 1

    assert kernel(plus_one)(1) == 2
    (path,) = tmp_path.glob("*.nbc")
    for content in ((1, 2), (1, 2, 3), ([], "name", {}), ([None] * 9, "name", {"name": []}), None, {"a": 1}):
        payload = pickle.dumps(content)
        path.write_bytes(hashlib.sha256(payload).digest() + payload)
        assert kernel(plus_one)(1) == 2


VERSIONS = """
import sys
import numba
import nbtrade as nt

for version in sys.argv[2:]:
    source = f'''
@numba.njit
def helper(x):
    print("version", {version}, x)  # too much to be inlined
    return {version} + x

@nt.strategy(wake="start", state={{"x": 0}})
def edited(state):
    state.x = helper(0)
'''
    scope = {"nt": nt, "numba": numba, "__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), scope)
    print(nt.backtest(nt.open_tape(sys.argv[1]), scope["edited"]).final_state["x"])
"""


def test_two_versions_of_a_helper_from_the_cache(tape, tmp_path):
    """Two versions, compiled in two processes and loaded by a third, stay distinct. They shared a symbol: the second ran the first."""
    script = tmp_path / "versions.py"
    script.write_text(VERSIONS)
    cache = child.new_cache(tmp_path / "cache")
    for version in ("30", "31", "32"):  # the first run fills the cache: the later ones number their functions alike
        assert child.run(script, tape.path, version, cache=cache) == [f"version {version} 0", version]
    assert child.run(script, tape.path, "31", "32", cache=cache) == ["version 31 0", "31", "version 32 0", "32"]
