"""The documented classes are what compiled strategies accept, no more and no less; what a trader cannot know is nowhere."""

import doctest
import inspect
import pydoc

import pytest

import child
import nbtrade as nt
from nbtrade import synthetic
from nbtrade._numba.jit import RECORD_METHODS
from nbtrade._numba.records import PUBLIC_FIELDS, PUBLIC_METHODS
from nbtrade.engine.interface import account, market, named
from nbtrade.engine.kernels import account as account_kernels
from nbtrade.engine.kernels import market as market_kernels
from nbtrade.engine.kernels import shown
from nbtrade.engine.kernels.market import MARKET, MARKET_VIEW
from nbtrade.engine.kernels.records import ACCOUNT, INSTRUMENT_STATE, OWN
from nbtrade.errors import StrategyError
from streams import tape_of

VIEWS = {
    "market": (nt.Market, MARKET_VIEW),
    "account": (nt.Account, shown.ACCOUNT_VIEW),
    "account.order(slot)": (nt.Order, shown.ORDER_VIEW),
}
HOMES = {"market": market_kernels, "account": account_kernels}


def fields_of(role):
    return {*VIEWS[role][1].names, *PUBLIC_FIELDS.get(role, [])}


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """A few seconds."""
    return tape_of(synthetic.records(2_000, seed=3, live_orders=100, duration="5s"), tmp_path_factory.mktemp("interface"))


def run(tape, body, **options):
    source = f"def mine(market, features, account, state):\n    {body}\n"
    scope = {"nt": nt}
    exec(source, scope)
    return nt.backtest(tape, nt.strategy(state={"n": "i8", "x": "f8"}, wake="100ms")(scope["mine"]), **options)


# --- one source of truth -----------------------------------------------------------------------------------
@pytest.mark.parametrize("role", VIEWS)
def test_fields_are_documented(role):
    """The annotated fields are those of the compiled view, and each is described."""
    documented = VIEWS[role][0]
    assert set(inspect.get_annotations(documented)) == fields_of(role)
    words = documented.__doc__.replace(",", " ").split()
    assert [name for name in fields_of(role) if name not in words] == []


@pytest.mark.parametrize("role", VIEWS)
def test_methods_are_documented(role):
    """The methods are those of the compiled view, with the same arguments and defaults, and each says what it returns."""
    documented = VIEWS[role][0]
    methods = {name: one for name, one in vars(documented).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert set(methods) == set(PUBLIC_METHODS.get(role, []))
    for name, method in methods.items():
        inner = next(one for one in RECORD_METHODS[name] if one.__module__ == HOMES[role].__name__)
        ours, theirs = (list(inspect.signature(one).parameters.values())[1:] for one in (method, inner))
        assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]
        assert "Returns\n" in method.__doc__
        assert ("Parameters\n" in method.__doc__) == bool(ours)


@pytest.mark.parametrize("module", [market, account, named], ids=lambda module: module.__name__)
def test_examples_run(module):
    """The examples of the docstrings."""
    assert doctest.testmod(module, extraglobs={"nbtrade": nt, "Market": nt.Market, "Account": nt.Account}).failed == 0


def test_help_shows_everything():
    """help(nbtrade.Account) has every field and method."""
    for role, (documented, _) in VIEWS.items():
        text = pydoc.render_doc(documented, renderer=pydoc.plaintext)
        assert [name for name in fields_of(role) | set(PUBLIC_METHODS.get(role, [])) if name not in text] == []


def test_only_the_engine_makes_them():
    """They are annotations; calling one raises TypeError."""
    for documented in (nt.Market, nt.Account, nt.Order, nt.Params, nt.State, nt.Features, nt.Record):
        with pytest.raises(TypeError, match=f"nbtrade.{documented.__name__} is for annotations only"):
            documented()


def test_annotated_strategy(tape):
    """The compiler ignores the annotations."""

    @nt.strategy(state={"n": "i8"}, wake="100ms")
    def annotated(market: nt.Market, features: nt.Features, account: nt.Account, state: nt.State) -> None:
        side: int = nt.Side.BID
        if account.n_open == 0 and market.bid_px != nt.UNDEF_PRICE:
            account.submit(side, market.bid_px, 1, tif=nt.DAY, post_only=True)

    orders = nt.backtest(tape, annotated).orders
    assert len(orders) > 0
    assert set(orders["time_in_force"]) == {"day"}
    assert orders["post_only"].all()


def test_public_names_only():
    """dir(nbtrade) has the public names, and no loose wakes or order kinds."""
    assert dir(nt) == sorted(nt.__all__)
    assert not {"POST_ONLY", "TIMER", "EVENT_END", "OWN_FILL", "FILL_RULES", "import_module"} & set(dir(nt))


# --- what a trader cannot know -----------------------------------------------------------------------------
HIDDEN = {
    "market": sorted(set(MARKET.names) - fields_of("market")),
    "account": sorted(set(ACCOUNT.names) - fields_of("account")),
    "account.order(0)": sorted({*OWN.names, "kind"} - fields_of("account.order(slot)")),
}
TRUTH = {"true_position", "true_cash", "free", "first", "orders_at", "instrument_at", "ahead", "state", "px", "qty", "joined", "in_flight"}


def test_truth_is_hidden():
    """Among the fields that are not shown are those that would tell the future."""
    assert {name for names in HIDDEN.values() for name in names} >= TRUTH
    assert not set(INSTRUMENT_STATE.names) & {name for role in VIEWS for name in fields_of(role)} - {"n"}


@pytest.mark.parametrize("where", HIDDEN)
def test_truth_does_not_compile(tape, where):
    """A field of the engine's is an error that lists the known ones: by name, through an alias, an item, and in a helper."""
    role = "account.order(slot)" if "order" in where else where
    for i, name in enumerate(HIDDEN[where]):
        bodies = (f"state.n = {where}.{name}", f"a = {where}\n    state.n = a.{name}", f"state.n = {where}['{name}']")
        for body in bodies if i < 3 else bodies[:1]:
            with pytest.raises(StrategyError) as caught:
                run(tape, body)
            message = str(caught.value)
            assert name in message
            if "[" not in body.rpartition(name)[0]:
                assert f"{role} has no field or method {name!r}" in message
                assert all(field in message for field in VIEWS[role][1].names)


WITHOUT_JIT = """
import sys
import nbtrade as nt
from nbtrade.errors import StrategyError
hidden = {hidden!r}
found, kept = [], []
@nt.strategy(wake="100ms")
def looks(market, features, account, state):
    slot = account.submit(nt.BID, market.bid_px, 1, tif=nt.DAY) if account.n_orders == 0 and market.bid_px != nt.UNDEF_PRICE else -1
    for where, names in hidden.items():
        record = {{"market": market, "account": account}}.get(where)
        record = account.order(0) if record is None else record
        for name in names:
            for look in (lambda: getattr(record, name), lambda: record[name]):
                try:
                    look()
                except (AttributeError, KeyError, ValueError):
                    continue
                if name not in ("market", "ahead") or where != "account":
                    found.append((where, name))
        kept.append({{*record.dtype.names}} & {{*names}})
    own = account.order(0)
    kept.append((own.type, own.tif, own.post_only) if account.n_orders else ())
nt.backtest(nt.open_tape(sys.argv[1]), looks)
print(sorted(set(found)), any(isinstance(one, set) and one for one in kept), kept[-1] == (nt.LIMIT, nt.DAY, 0))
"""


def test_truth_is_hidden_without_the_jit(tape, tmp_path):
    """The same in plain Python."""
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_JIT.format(hidden=HIDDEN))
    done = child.run(script, tape.path, jit=False)
    assert done[-1] == "[] False True"


def test_unknown_before_the_feed_shows_it(tape):
    """With a feed that lags, the place is UNKNOWN first and a number of lots later; never negative otherwise."""
    body = (
        "if account.n_orders == 0 and market.bid_px != nt.UNDEF_PRICE:\n        account.submit(nt.BID, market.bid_px - 3, 1)\n"
        "    a, b = account.ahead(0), account.behind(0)\n"
        "    state.n = state.n | (1 if a == nt.UNKNOWN and account.order(0).status == 2 else 0) | (2 if a >= 0 else 0)\n"
        "    state.n = state.n | (4 if a < -1 or (a < 0) != (b < 0) else 0)"
    )
    result = run(tape, body, latency=nt.Latency(feed="300ms"))
    assert result.final_state["n"] == 3


def test_mid_and_two_sides(tape):
    """`mid` is between the best prices and NaN without both, `is_two_sided` says which; both with and without a book."""

    @nt.strategy(wake="event", record=["mid", "bid", "ask", "both"])
    def watches(market: nt.Market, record: nt.Record) -> None:
        record.mid, record.bid, record.ask, record.both = market.mid, market.bid_px, market.ask_px, market.is_two_sided

    rows = nt.backtest(tape, watches).records
    both = rows["both"].astype(bool)
    assert both.any()
    assert (rows["mid"][both] == (rows["bid"] + rows["ask"])[both] / 2).all()
    assert rows["mid"][~both].isna().all()
