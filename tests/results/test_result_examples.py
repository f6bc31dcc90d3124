"""The examples in the docstrings of results, sweeps and models run and print what they show."""

import doctest
import importlib
import inspect
from functools import cached_property

import pytest

import nbtrade as nt
import result_cases
from nbtrade.results.metrics import USER_METRICS

pytest.importorskip("matplotlib")
pytest.importorskip("pyarrow")

MODULES = {  # module: examples that it has at least, so that none are lost unnoticed
    "engine.models": 6,
    "results.data": 3,
    "results.metrics": 2,
    "results.result": 9,
    "results.results": 8,
    "sweeps.sweep": 1,
}


def examples_in(name):
    """The docstrings with examples of one module."""
    module = importlib.import_module(f"nbtrade.{name}")
    result = result_cases.run(result_cases.tape())
    names = {"tape": result_cases.tape(), "result": result, "pair": nt.Results({"ES": result, "NQ": result})}
    tests = [*doctest.DocTestFinder().find(module, extraglobs=names), *cached_properties(module, names)]
    return [test for test in tests if test.examples]


def cached_properties(module, names):
    """Their examples, which `doctest` overlooks."""
    for one in vars(module).values():
        if inspect.isclass(one) and one.__module__ == module.__name__:
            for name, value in vars(one).items():
                if isinstance(value, cached_property):
                    yield doctest.DocTestParser().get_doctest(value.__doc__, names, f"{one.__name__}.{name}", module.__file__, 0)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch, capsys):
    """Every example prints what its docstring shows, in an empty folder, and leaves no metric behind."""
    monkeypatch.chdir(tmp_path)
    tests = examples_in(name)
    assert len(tests) >= MODULES[name]
    before = dict(USER_METRICS)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out
    assert before == USER_METRICS
