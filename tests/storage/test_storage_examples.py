"""The examples in the docstrings of the storage package and in its README run and print what they show."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import nbtrade.storage

README = Path(nbtrade.storage.__file__).with_name("README.md")
EXAMPLES = {
    "columns.base": ["WritableColumn"],
    "columns.column": ["Column", "ColumnReader"],
    "columns.compact": ["CompactColumn"],
    "columns.compact_reader": ["CompactReader"],
    "columns.listmmf": ["import_listmmf", "read_header"],
    "blockfile.blockfile": ["BlockFile"],
    "blockfile.reader": ["BlockReader"],
    "blockfile.block_writer": ["BlockWriter"],
    "blockfile.whole": ["FileReader"],
    "blockfile.folder": ["BlockFolder"],
    "search.search": ["lower_bound", "upper_bound", "lower_bound_near", "upper_bound_near", "binary_search"],
}
# what each public callable with parameters documents
SECTIONED = [
    *("columns.column:Column", "columns.column:Column.open", "columns.column:Column.append", "columns.column:Column.extend"),
    *("columns.base:WritableColumn.truncate", "columns.compact:CompactColumn", "columns.compact:CompactColumn.open"),
    *("columns.compact:CompactColumn.append", "columns.compact:CompactColumn.extend", "columns.compact:CompactColumn.upgrade"),
    *("columns.compact:CompactColumn.optimise", "columns.compact_reader:CompactReader.decode"),
    *("columns.listmmf:import_listmmf", "columns.listmmf:read_header"),
    "blockfile.blockfile:BlockFile",
    *(f"blockfile.block_writer:BlockWriter.{name}" for name in ("put", "put_many", "delete", "rename")),
    *(f"blockfile.reader:BlockReader.{name}" for name in ("get", "get_many", "borrow", "list", "metadata", "info")),
    *("blockfile.whole:FileReader.scan", "blockfile.whole:FileReader.verify", "blockfile.folder:BlockFolder"),
    *(
        f"blockfile.folder:BlockFolder.{name}"
        for name in ("put", "put_many", "delete", "rename", "get", "get_many", "list", "scan", "verify")
    ),
    *(f"search.search:{name}" for name in ("lower_bound", "upper_bound", "lower_bound_near", "upper_bound_near", "binary_search")),
]


def named(module, path):
    thing = importlib.import_module(f"nbtrade.storage.{module}")
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in EXAMPLES.items() for name in names])
def test_examples_of_docstrings(module, name, tmp_path, monkeypatch):
    """Every example of an object and its methods prints what its docstring shows."""
    monkeypatch.chdir(tmp_path)
    thing = named(module, name)
    found = doctest.DocTestFinder().find(thing, name, module=importlib.import_module(f"nbtrade.storage.{module}"), globs={})
    if not inspect.isclass(thing):  # built-in functions: the finder passes over their docstrings
        found = [doctest.DocTestParser().get_doctest(thing.__doc__, {}, name, None, 0)]
    output = []
    runner = doctest.DocTestRunner()
    for test in found:
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
    if name != "ColumnReader":  # its examples are those of Column
        assert sum(len(test.examples) for test in found) > 1


@pytest.mark.parametrize("path", SECTIONED)
def test_public_callables_document_every_parameter(path):
    """A Parameters section names each parameter; the sections are spelled as numpydoc has them."""
    thing = named(*path.split(":"))
    text = inspect.getdoc(thing) or ""
    sections = dict(re.findall(r"^(\w[\w ]*)\n-{4,}\n(.*?)(?=^\w[\w ]*\n-{4,}\n|\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) <= {"Parameters", "Returns", "Yields", "Raises", "See Also", "Notes", "References", "Examples", "Attributes"}
    words = set(re.findall(r"\w+", "\n".join(re.findall(r"^\S.*$", sections["Parameters"], re.MULTILINE))))
    parameters = set(inspect.signature(thing).parameters) - {"self"}
    assert parameters <= words, parameters - words


def test_the_readme_runs(tmp_path, monkeypatch):
    """The README's Python blocks run one after the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    namespace = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
