"""Docstrings of public callables: complete numpydoc sections, and examples that run.

All examples share one small synthetic tape, `tape`, and its source `day.dbn.zst` in the current folder, so that they stay fast.
"""

import doctest
import importlib
import inspect
import os

import numpy as np
import pytest

import nbtrade
import nbtrade.prices

MODULES = (
    "nbtrade.tape.ingest",
    "nbtrade.tape.tape",
    "nbtrade.tape.rows",
    "nbtrade.tape.book_snapshot",
    "nbtrade.tape.audit",
    "nbtrade.synthetic.market",
    "nbtrade.prices",
    "nbtrade.target",
    "nbtrade.feature.compute",
    "nbtrade.feature.matrix",
    "nbtrade.feature.targets",
    "nbtrade.feature.expression",
    "nbtrade.feature.windows",
    "nbtrade.feature.own_features",
    "nbtrade.feature.microprice_fit",
    "nbtrade.feature.price_features",
    "nbtrade.feature.depth_features",
    "nbtrade.feature.time_features",
    "nbtrade.feature.flow_features",
    "nbtrade.feature.trade_features",
    "nbtrade.feature.impact_features",
    "nbtrade.engine.backtest",
    "nbtrade.engine.strategy",
    "nbtrade.engine.models",
    "nbtrade.engine.kernels.random",
    "nbtrade.sweeps.sweep",
    "nbtrade.schema",
)
NAMESPACES = ("nbtrade.feature", "nbtrade.synthetic", "nbtrade.target")  # every function in their `__all__`
CLASSES = (
    "nbtrade.Tape",
    "nbtrade.tape.book_snapshot.BookState",
    "nbtrade.FeatureMatrix",
    "nbtrade.prices.TickSize",
    "nbtrade.feature.expression.Level",
)
CLASSES += ("nbtrade.feature.expression.Flow", "nbtrade.target.Target", "nbtrade.Strategy")  # and their public methods and properties

# nbtrade creates these itself, so they document their attributes instead of the parameters of a constructor.
NOT_CONSTRUCTED = {"Result", "Results", "Strategy", "Market", "Account", "Order"}
FIELDS_BY_USER = {"Params", "State", "Features", "Record"}  # and these have the fields that a strategy declares
CODES = {"Side", "OrderType", "TimeInForce", "FillRule", "Wake"}  # enums: the members


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """A folder with the source and the tape that the examples use, as the current folder; the names that they use."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("examples"))
    nbtrade.synthetic.write_dbn("day.dbn.zst", 20_000, seed=1, live_orders=200)
    yield {"nbtrade": nbtrade, "np": np, "tape": nbtrade.ingest("day.dbn.zst", progress=False)}
    os.chdir(before)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, examples):
    """Every example in a module's docstrings gives the output that it shows."""
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=dict(examples)):
        runner.run(test, out=report.append, clear_globs=False)
    assert runner.tries > 0, f"{name} has no examples"
    assert runner.failures == 0, "".join(report)


def test_market_maker_is_documented(examples):
    """The shipped strategy's docstring describes each of its params, and its example runs. doctest does not look at instances."""
    text = nbtrade.market_maker.__doc__
    section = text.partition("Parameters\n")[2].partition("Examples\n")[0]
    assert [name for name in nbtrade.market_maker.params.names if f"    {name} : " not in section] == []
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(text, dict(examples), "market_maker", None, 0))
    assert runner.tries > 0 and runner.failures == 0


# --- sections ----------------------------------------------------------------------------------------------
def public():
    """(name, object) of all public callables, and of public methods and properties of CLASSES."""
    for name in nbtrade.__all__:
        value = getattr(nbtrade, name)
        if callable(value):
            yield f"nbtrade.{name}", value
    for name in NAMESPACES:
        module = importlib.import_module(name)
        yield from ((f"{name}.{one}", getattr(module, one)) for one in module.__all__ if callable(getattr(module, one)))
    for path in CLASSES:
        home, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(home), name)
        yield from ((f"{path}.{one}", static(kind, one)) for one in sorted(dir(kind)) if not one.startswith("_") and static(kind, one))


def static(kind, name):
    """The function of a method or property; None for other attributes."""
    value = inspect.getattr_static(kind, name)
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return value if inspect.isfunction(value) else None


def missing_sections(value):
    """The sections that the docstring of a callable needs and lacks."""
    text = inspect.getdoc(value) or ""
    needed = ["Examples"] + (["Parameters"] if parameters_of(value) else [])
    if inspect.isclass(value) and value.__name__ in NOT_CONSTRUCTED | CODES:
        needed.append("Attributes")
    if inspect.isfunction(value) and inspect.signature(value).return_annotation not in (None, "None"):
        needed.append("Returns")
    return [title for title in needed if f"{title}\n{'-' * len(title)}\n" not in text]


def parameters_of(value):
    """Names of the parameters that a docstring has to describe."""
    if inspect.isclass(value) and value.__name__ in NOT_CONSTRUCTED | FIELDS_BY_USER | CODES:
        return []
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def undocumented(value):
    """Parameters that the section Parameters does not name."""
    section = (inspect.getdoc(value) or "").partition("Parameters\n")[2].partition("\n\n")[0]
    named = {name.strip(" *") for line in section.split("\n") if not line.startswith(" ") for name in line.partition(" : ")[0].split(",")}
    return [name for name in parameters_of(value) if name not in named]


@pytest.mark.parametrize(("name", "value"), [pytest.param(name, value, id=name) for name, value in public()])
def test_sections(name, value):
    """Every public callable has a summary line, the numpydoc sections it needs, and all its parameters."""
    summary = (inspect.getdoc(value) or "").split("\n")[0]
    assert summary.endswith("."), f"{name}: the summary line {summary!r} does not end with a period"
    assert not missing_sections(value), f"{name} lacks {missing_sections(value)}"
    assert not undocumented(value), f"{name} does not describe {undocumented(value)}"


def test_errors_have_advice():
    """Every exception class has a docstring of at least two sentences: its meaning and the next step."""
    errors = importlib.import_module("nbtrade.errors")
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == "nbtrade.errors"]
    assert len(kinds) > 10
    short = [kind.__name__ for kind in kinds if kind is not errors.NbtradeError and (kind.__doc__ or "").count(". ") < 1]
    assert not short


def test_missing_sections_are_found():
    """A docstring without a section, or without one of the parameters, fails."""

    def function(first: int, second: int) -> int:
        """Add.

        Parameters
        ----------
        first : int
            A number.

        Examples
        --------
        >>> 1
        """
        return first + second

    assert missing_sections(function) == ["Returns"]
    assert undocumented(function) == ["second"]
