"""The package as a whole: modules loaded by an import, public names, import directions, and a README whose code runs."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nbtrade

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nbtrade"
MAX_LINES = 400

# Allowed imports between packages; a module in the root counts as a package. This is the complete rule.
BASE = {"_numba", "_progress", "_version", "errors", "prices", "schema", "times"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "book": {"_numba", "schema"},
    "storage": BASE,
    "sources": BASE | {"storage"},
    "synthetic": BASE | {"storage"},
    "tape": BASE | {"storage", "book", "sources"},
    "feature": BASE | {"storage", "book", "tape"},
    "target": BASE | {"feature"},
    "results": BASE | {"storage", "book", "tape"},
    "engine": BASE | {"storage", "book", "sources", "tape", "feature", "results"},
    "sweeps": BASE | {"storage", "tape", "feature", "results", "engine"},
    "strategies": {"_numba", "schema", "engine"},
}
ENDS = {"__init__", "__main__", "cli", "demo"}  # these may import everything, and nothing may import them
KERNELS_MAY_IMPORT = {"collections", "ctypes", "functools", "llvmlite", "math", "numba", "numpy", "operator", "typing"}
HEAVY = ("numpy", "pandas", "numba", "llvmlite", "matplotlib", "tqdm", "databento_dbn", "zstandard")


def loaded_after(code):
    """Top-level modules that `code` loads in a new process."""
    code += "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


# --- imports -----------------------------------------------------------------------------------------------
def test_import_is_light():
    """`import nbtrade`, and reading its names and version, loads nothing heavy."""
    loaded = loaded_after("import nbtrade; dir(nbtrade); nbtrade.__version__")
    assert loaded.isdisjoint(HEAVY)


def test_command_line_is_light():
    """The command line's help loads nothing heavy either."""
    assert loaded_after("import nbtrade.cli; nbtrade.cli._parser().format_help()").isdisjoint(HEAVY)


def test_backtest_needs_neither_plots_nor_bars():
    """The engine's modules load neither matplotlib nor pandas; a result loads pandas when it makes a frame."""
    assert loaded_after("from nbtrade import backtest, open_tape, strategy").isdisjoint({"matplotlib", "pandas", "tqdm"})


def test_public_names():
    """Every public name exists and is listed by dir; an unknown name raises an AttributeError that quotes it."""
    assert set(nbtrade.__all__) <= set(dir(nbtrade))
    for name in nbtrade.__all__:
        assert getattr(nbtrade, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        getattr(nbtrade, "no_such_" + "name")


def test_public_names_survive_imports():
    """No module one level down has a public function's name: importing it would replace the function by the module."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert modules & set(nbtrade.__all__) == {"feature", "strategies", "synthetic", "target"} & set(nbtrade.__all__)


def imports_of(path, for_types=False):
    """Modules and names that a file imports at run time; with `for_types`, also those for type checkers only."""
    tree = ast.parse(path.read_text())
    unseen = (
        [] if for_types else [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    )
    for_types = {id(inner) for node in unseen for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
    """The row of MAY_IMPORT for a file: its folder, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_directions(path):
    """Imports go one way: no package imports one above it."""
    part = part_of(path)
    if part in ENDS:
        return
    assert part in MAY_IMPORT, f"{part} is new: give it a row in MAY_IMPORT"
    for name in imports_of(path):
        words = name.split(".")
        if words[0] == "nbtrade" and words[1] != part:
            assert words[1] in MAY_IMPORT[part], f"{path.relative_to(ROOT)} imports {name}; {part} may import {sorted(MAY_IMPORT[part])}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "kernels"], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_kernels_stay_among_themselves(path):
    """A kernel imports kernels, the schema and Numba's layer: no files, frames or strings reach compiled code."""
    for name in imports_of(path):
        words = name.split(".")
        if words[0] == "nbtrade":
            assert words[1] in {"_numba", "schema"} or "kernels" in words, f"{path.relative_to(ROOT)} imports {name}"
        else:
            assert words[0] in KERNELS_MAY_IMPORT, f"{path.relative_to(ROOT)} imports {name}"


def module_of(path):
    """The dotted name of a file."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def test_no_import_cycles():
    """No two modules import each other, directly or indirectly; imports inside functions and for type checkers count."""
    modules = {module_of(path): path for path in FILES if part_of(path) not in ENDS}
    imports = {}
    for module, path in modules.items():
        names = [name for name in imports_of(path, for_types=True) if name.startswith("nbtrade.")]
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        imports[module] = {name for name in found if name in modules and name != module}
    assert list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, which names the modules


# --- files -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("folder", ["nbtrade", "tests", "benchmarks"])
def test_no_long_file(folder):
    """No file is longer than 400 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def readme_blocks():
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_readme_code_runs(tmp_path, monkeypatch):
    """The README's code blocks run one after another in an empty folder."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    blocks = readme_blocks()
    assert len(blocks) >= 2
    scope = {"__name__": "readme"}
    for i, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {i + 1}", "exec"), scope)


def test_readme_names_the_commands():
    """The README names the demo, the test command and every subcommand."""
    text = (ROOT / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.split()[-2:] for line in lines] == [[".venv/bin/nbtrade", "demo"], ["-m", "pytest"]]
    for command in ("demo", "ingest", "info", "audit", "backtest", "sweep"):
        assert f"nbtrade {command}" in text


def test_version_and_changelog():
    """The version is in one place, and the changelog has a section for unreleased changes."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", nbtrade.__version__)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
