"""Mistakes of users: each raises a short StrategyError that quotes the offending line and explains the fault in one sentence."""

import linecache
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import nbtrade as nt
from nbtrade import synthetic
from nbtrade.errors import StrategyError
from streams import tape_of

HEAD = '''@nt.strategy(wake="100ms", params=dict(edge=1, y=0.0, c=(1.0, 2.0)), state=dict(n=0, x=0.0, window="(3,)f8"), record=["fair"])
def mine(market, account, params, state, features, record):
    """A strategy."""
    state.n += 1
    if state.n < 3:
        return
'''
FIRST = 7  # line number of the first line of a case's body


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A few seconds of a market."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("misuse"))


def undecorated(x):
    """A plain function."""
    return x


def strategy_of(body, *, known=True, file="<cell>"):
    """A strategy with this body, defined as in a notebook cell; with `known`, its source is available."""
    source = HEAD + "".join(f"    {line}\n" for line in body.split("\n"))
    linecache.cache.pop(file, None)
    if known:
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope = {"nt": nt, "BID": nt.BID, "ASK": nt.ASK, "math": math, "undecorated": undecorated}
    exec(compile(source, file, "exec"), scope)
    return scope["mine"]


def error_of(tape, body, **options):
    """The error message for this body; it is short and has no compiler text."""
    with pytest.raises(StrategyError) as caught:
        nt.backtest(tape, strategy_of(body, **options))
    message = str(caught.value)
    assert len(message) < 700
    assert message.count("\n") <= 3
    for word in ("pipeline", "During:", "intrinsic", "typed(", "Overload", "nbtrade_method", "/numba/"):
        assert word not in message
    assert caught.value.__cause__ is None  # so Numba's text is not printed
    return message


COMPILE = {
    "unknown method": ("account.qoute(BID, market.bid_px, 1)", ["account has no", "'qoute'", "Did you mean 'quote'"], 0),
    "unknown field of market": ("state.n = market.bidpx", ["market has no", "'bidpx'", "'bid_px'"], 0),
    "unknown field of state": ("state.nn = 1", ["state has no", "'nn'", "n, x, window"], 0),
    "unknown field of params": ("state.n = params.edgee", ["params has no", "'edgee'", "Did you mean 'edge'"], 0),
    "field of another argument": ("state.n = state.edge", ["state has no", "'edge'", "It is a field of params"], 0),
    "write to params": ("params.edge = 2", ["params.edge cannot be set: only fields of state and record can"], 0),
    "unknown field of record": ("record.mid = 2.0", ["record has no", "'mid'", "fair"], 0),
    "tuple in a recorded field": ("record.fair = (1, 2)", ["'fair' is float64", "does not fit"], 0),
    "unknown field, changed": ("state.nn += 1", ["state has no", "'nn'"], 0),
    "unknown field through a name": ("other = state\nstate.n = other.nn", ["'nn'"], 1),
    "write to the market": ("market.bid_px = 5", ["market.bid_px cannot be set"], 0),
    "change of the account": ("account.position += 1", ["account.position cannot be set"], 0),
    "string for a price": ("account.submit(BID, 'a', 1)", ["'px' of submit", "integer"], 0),
    "float for a price": ("account.submit(BID, market.bid_px - 0.5, 1)", ["'px' of submit", "float64", "math.floor"], 0),
    "float for lots": ("state.x = 1.0\naccount.quote(ASK, market.ask_px, state.x)", ["'qty' of quote", "float64"], 1),
    "None for a side": ("account.market(None, 1)", ["'side' of market", "none"], 0),
    "float for a kind": ("account.submit(BID, market.bid_px, 1, 2.0)", ["'type' of submit"], 0),
    "too few arguments": ("account.submit(BID, market.bid_px)", ["submit(side, px, qty, type=LIMIT, tif=GTC, post_only=False)"], 0),
    "too many arguments": ("account.cancel(1, 2)", ["cancel(slot)"], 0),
    "unknown keyword": (
        "account.submit(BID, market.bid_px, quantity=1)",
        ["submit(side, px, qty, type=LIMIT, tif=GTC, post_only=False)"],
        0,
    ),
    "string in an integer field": ("state.n = 'abc'", ["'n' is int64", "a string does not fit"], 0),
    "float in an integer field": ("state.n = market.bid_px / 2", ["'n' is int64", "float64"], 0),
    "tuple in a float field": ("state.x = (1, 2)", ["'x' is float64", "does not fit"], 0),
    "undefined name": ("state.n = 1\nstate.n = no_such_name + 1", ["'no_such_name' is not defined"], 1),
    "plain function": ("state.n = undecorated(1)", ["'undecorated'", "numba.njit"], 0),
    "list": ("x = [1, 2]\nx.append(3)\nstate.n = len(x)", ["may not allocate", "state=dict("], 0),
    "text": ("state.n = len(f'{market.bid_px}')", ["may not allocate"], 0),
    "import": ("import os\nstate.n = 1", ["IMPORT_NAME", "outside a strategy"], 0),
    "with": ("with open('x') as f:\n    pass", ["with", "cannot be compiled"], 0),
    "narrow except": ("try:\n    state.n = 1 // state.n\nexcept ZeroDivisionError:\n    pass", ["except Exception"], 2),
    "part of an array changed": ("params.c[::2] += 1", ["cannot be compiled", "this array cannot be set"], None),
    "two types in one name": ("y = 1\nif state.n > 5:\n    y = (1, 2)\nz = y\nstate.n = z[0]", ["'y'"], None),
}


@pytest.mark.parametrize(("body", "words", "line"), COMPILE.values(), ids=COMPILE)
def test_compile(tape, body, words, line):
    """Code that cannot be compiled: the error names the cause, the file, the line and its text."""
    message = error_of(tape, body)
    for word in words:
        assert word in message
    if line is not None:
        assert f"In <cell>, line {FIRST + line}\n    {body.splitlines()[line].strip()}" in message


RUN = {
    "division by zero": ("state.x = 1.0\nstate.n = 5 // (state.n - 3)", "ZeroDivisionError", 1),
    "float division by zero": ("state.x = 5 / (state.n - 3)", "ZeroDivisionError: division by zero", 0),
    "remainder of zero": ("state.n = 5 % (state.n - 3)", "ZeroDivisionError", 0),
    "index, written": ("for i in range(9):\n    state.window[i] = 1.0", "IndexError", 1),
    "index, read": ("state.x = 1.0\nstate.x = state.window[state.n]", "IndexError", 1),
    "loop over capacity": (
        "for slot in range(account.capacity + 1):\n    own = account.order(slot)\n    state.n += own.leaves",
        "IndexError",
        1,
    ),
    "raised": ("raise ValueError('too bad')", "ValueError: too bad", 0),
    "assertion": ("assert state.n > 100", "AssertionError", 0),
    "assertion with words": ("assert state.n > 100, 'too small'", "AssertionError: too small", 0),
}


@pytest.mark.parametrize(("body", "what", "line"), RUN.values(), ids=RUN)
def test_run(tape, body, what, line):
    """Code that raises: the error names the exception, the line and its text, the time, the account and the state."""
    message = error_of(tape, body)
    assert f"raised {what}" in message
    assert f"In <cell>, line {FIRST + line}\n    {body.splitlines()[line].strip()}" in message
    assert "(wake 3, account 0)" in message
    assert "n=3" in message or "n=" in message


def test_failing_account_of_a_sweep(tape):
    """In a sweep, the error names the account that raised, with that account's state."""
    with pytest.raises(StrategyError, match=r"account 2\)") as caught:
        nt.sweep(tape, strategy_of("state.x = params.y\nstate.x = 1 / (state.x - 7)"), {"y": [1.0, 2.0, 7.0, 8.0]}, workers=1)
    assert "x=7.0" in str(caught.value)


def test_moved_function(tape, tmp_path, monkeypatch):
    """Cached machine code names the right line, even after the function moved in its file or got another line."""
    monkeypatch.setenv("NBTRADE_CACHE_DIR", str(tmp_path))
    body = "state.n = 5 // (state.n - 3)"
    for before, inside in (("", ""), ("\n\n\n", ""), ("", "\n    # a remark\n")):
        source = before + HEAD + inside + f"    {body}\n"
        linecache.cache["<moved>"] = (len(source), None, source.splitlines(True), "<moved>")
        scope = {"nt": nt}
        exec(compile(source, "<moved>", "exec"), scope)
        with pytest.raises(StrategyError, match=rf"<moved>, line {FIRST + before.count(chr(10)) + inside.count(chr(10))}\n    state.n = 5"):
            nt.backtest(tape, scope["mine"])
    assert 1 <= len(list(tmp_path.glob("strategy_mine-*"))) <= 2


def test_unknown_source(tape):
    """A strategy from `exec`, without available source, still gets file and line."""
    message = error_of(tape, "state.n = 5 // (state.n - 3)", known=False, file="<string>")
    assert f"In <string>, line {FIRST}\n" in message
    assert "ZeroDivisionError" in message


def test_signature():
    """An unknown argument and a generator function are refused at definition."""

    def misspelt(market, acount):
        pass

    def yields(market):
        yield 1

    with pytest.raises(
        StrategyError,
        match=r"takes 'acount'; a strategy takes any of market, account, params, state, features, record, .*"
        r"Did you mean 'account'\?\n?.*test_misuse",
    ):
        nt.strategy()(misspelt)
    with pytest.raises(StrategyError, match="its body would never run"):
        nt.strategy()(yields)


def test_unknown_parameter(tape):
    """The error for an unknown parameter lists the parameters; a value of the wrong type names its parameter."""
    with pytest.raises(StrategyError, match=r"mine has no parameter 'edges'. Its params: edge, y"):
        nt.backtest(tape, strategy_of("pass"), params={"edges": 1})
    with pytest.raises(StrategyError, match="'three' does not fit params 'edge' \\(int64\\): text is not a number"):
        nt.backtest(tape, strategy_of("pass"), params={"edge": "three"})


def test_other_names_and_arguments(tape):
    """Valid code stays allowed: local names, keywords, a bool or a small integer as argument."""
    source = """
@nt.strategy(wake="100ms", state={"n": "i4", "yes": "?"})
def mine(state, account, market):
    m, a, s = market, account, state
    s.n = a.submit(0, m.bid_px - 5, qty=m.bid_px > 0, type=nt_LIMIT)
    s.yes = a.is_open(s.n)
    a.cancel(s.n)
"""
    scope = {"nt": nt, "nt_LIMIT": nt.LIMIT}
    exec(compile(source, "<other>", "exec"), scope)
    result = nt.backtest(tape, scope["mine"])
    assert result.final_state["yes"]
    assert (result.orders["size"] == 1).all()


NO_JIT_CODE = """
import sys
sys.path[:0] = ["tests/helpers", "tests/oracle", "tests/engine"]
import nbtrade as nt
from test_misuse import FIRST, RUN, strategy_of
from nbtrade.errors import StrategyError
tape = nt.open_tape(sys.argv[1])
cases = {name: case for name, case in RUN.items()} | {"float for a price": ("account.submit(BID, 0.5, 1)", "TypeError", 0)}
for name, (body, what, line) in cases.items():
    try:
        nt.backtest(tape, strategy_of(body))
    except StrategyError as error:
        assert f"In <cell>, line {FIRST + line}\\n" in str(error), str(error)
        assert what.split(":")[0] in str(error), str(error)
        print("ok")
"""


def test_no_jit(tape):
    """Without the JIT, the same mistakes raise the same errors."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", NO_JIT_CODE, str(tape.path)]
    done = subprocess.run(command, check=False, env=env, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ok"] * (len(RUN) + 1)


SECOND_CODE = """
import sys
import nbtrade as nt
from nbtrade.engine import strategy
source = '''
@nt.strategy(wake="100ms", params={"away": 3}, state={"n": 0}, record=["bid"])
def from_a_cell(market, account, params, state, record):
    state.n += 1
    record.bid = market.bid_px
    account.quote(0, market.bid_px - params.away, 1)
'''
scope = {"nt": nt}
exec(compile(source, sys.argv[2], "exec"), scope)
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    result = nt.backtest(nt.open_tape(sys.argv[1]), scope["from_a_cell"])
print(result.final_state["n"] == len(result.records) > 3, len(recorder.buffer))
"""


def test_second_process_compiles_nothing(tape):
    """A second process loads a notebook cell's strategy from the disk cache, even if the cell has another number there."""
    outs = []
    for cell in ("<ipython-input-1>", "<ipython-input-1>", "<ipython-input-7>"):
        command = [sys.executable, "-c", SECOND_CODE, str(tape.path), cell]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        outs.append(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=env).stdout.split())
    assert outs[1] == outs[2] == ["True", "0"]


OUTSIDE = [1, 2]


def test_a_list_from_outside(tape):
    """A global list cannot be compiled: the error explains it, with the line."""

    @nt.strategy(params={"n": 0})
    def grows():
        OUTSIDE.append(3)

    with pytest.raises(StrategyError, match="'OUTSIDE' is a list or set from outside") as caught:
        nt.backtest(tape, grows)
    assert "OUTSIDE.append(3)" in str(caught.value)


LOOKS = ("market.qty_at(7, 100)", "market.orders_at(-1, 100)", "market.level(2, 0)", "market.depth(9, 3)")


@pytest.mark.parametrize("look", LOOKS)
def test_no_side(tape, look):
    """An invalid side is an error with its line; it used to crash."""
    message = error_of(tape, f"state.n = {look}")
    assert "raised ValueError: a side is BID or ASK" in message
    assert look in message


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("foo", "state 'n' is 'foo': text is not a number"),
        ("O", "its dtype would be object"),
        ("U5", "its dtype would be <U5"),
        ("c16", "its dtype would be complex128"),
        (None, "None has no dtype"),
        ([], "it is empty"),
        ({"a": 1}, "not a number or an array"),
        (2**70, "beyond the range"),
    ],
)
def test_wrong_field(field, words):
    """A field without a type, or with a type that is not a number."""
    with pytest.raises(StrategyError, match=words):
        nt.strategy(state={"n": field})(counts.function)


@pytest.mark.parametrize("name", ["a b", "class", "_", "__init__", "", 3])
def test_wrong_name(name):
    """A name that is not a Python identifier, or is reserved."""
    for role in ("params", "state"):
        with pytest.raises(StrategyError, match=r"a name is a Python identifier|is reserved"):
            nt.strategy(**{role: {name: 1}})(counts.function)
    with pytest.raises(StrategyError, match=r"a name is a Python identifier|is reserved"):
        nt.strategy(record=[name])(counts.function)


@nt.strategy(wake="1s", params={"edge": 1, "x": np.float32(0), "on": False}, state={"n": 0})
def counts(params, state):
    state.n += params.edge


def test_a_fraction_does_not_fit_an_integer_field(tape):
    """NumPy would truncate it: a sweep over 0.5 and 1.5 would run 0 and 1."""
    with pytest.raises(StrategyError, match=r"0\.5 does not fit params 'edge' \(int64\): .* write 1\.0 in params="):
        nt.backtest(tape, counts, params={"edge": 0.5})
    with pytest.raises(StrategyError, match=r"1\.5 does not fit"):
        nt.sweep(tape, counts, {"edge": [1, 1.5]})
    assert nt.backtest(tape, counts, params={"edge": 2.0, "x": 0.1, "on": True}).final_state["n"] > 2


WRONG = {
    "latency": (lambda t: nt.backtest(t, counts, latency="1ms"), TypeError, r"latency='1ms': give nbtrade\.Latency"),
    "fees": (lambda t: nt.backtest(t, counts, fees=0.1), TypeError, r"give nbtrade\.Fees"),
    "rate": (lambda _: nt.Risk(max_rate=5), ValueError, "max_rate=5"),
    "no strategy": (lambda t: nt.backtest(t, lambda *_: None), TypeError, "made with @nbtrade.strategy"),
    "swapped": (lambda t: nt.backtest(counts, t), TypeError, "made with @nbtrade.strategy"),
    "no data": (lambda _: nt.backtest(None, counts), TypeError, "data is None"),
    "no day": (lambda t: nt.backtest([t, None], counts), TypeError, "None is .*give a Tape"),
    "no instruments": (lambda _: nt.backtest({}, counts), ValueError, "dict of tapes is empty"),
    "half an order": (lambda t: nt.backtest(t, counts, max_orders=3.5), ValueError, "max_orders=3.5"),
    "too many orders": (lambda t: nt.backtest(t, counts, max_orders=10**12), ValueError, "1 to 1,000,000"),
    "sample": (lambda t: nt.backtest(t, counts, sample=-5), ValueError, "sample=-5"),
    "features": (lambda t: nt.backtest(t, counts, features=3), StrategyError, "give a FeatureMatrix"),
    "one value": (lambda t: nt.sweep(t, counts, {"edge": 5}), ValueError, "'edge' is 5: give a list"),
    "no space": (lambda t: nt.sweep(t, counts, 3), ValueError, "space: 3: give"),
    "no sets": (lambda t: nt.sweep(t, counts, [1]), ValueError, "space: 1: give"),
    "no params": (lambda t: nt.backtest(t, counts, params=3), StrategyError, "params=3: give a dict"),
    "text": (lambda t: nt.sweep(t, counts, {"edge": "123"}), ValueError, "give a list"),
    "instruments": (lambda t: nt.sweep({"a": t}, counts, {"edge": [1]}), TypeError, "give a Tape"),
    "option": (lambda t: nt.sweep(t, counts, {"edge": [1]}, fes=3), TypeError, "unexpected keyword argument 'fes'"),
    "option of backtest": (lambda t: nt.backtest(t, counts, edge=3), TypeError, "unexpected keyword argument 'edge'"),
    "at_close": (lambda t: nt.sweep(t, counts, {"edge": [1]}, at_close="never"), ValueError, "at_close='never'"),
}


@pytest.mark.parametrize(("call", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(tape, call, error, words):
    """Each wrong argument raises before anything runs."""
    with pytest.raises(error, match=words):
        call(tape)
