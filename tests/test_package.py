"""The package as a whole: what an import loads, which names are public, who imports whom, and that the README is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nbtrade

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nbtrade"
MAX_LINES = 400

# Who may import whom: a module, or a folder for all in it; what is not listed may not be imported. Type-only imports are free.
CORE = {"schema", "errors", "_jit"}
MAY_IMPORT = {
    "schema": set(),
    "errors": set(),
    "_jit": set(),
    "times": set(),
    "prices": {"schema", "errors"},
    "progress": set(),
    "kernels": {"_jit", "schema", "kernels"},
    "store": CORE | {"kernels", "store", "times", "prices"},
    "sources": CORE | {"kernels", "store", "sources", "progress", "times", "prices"},
    "reached": {"_jit"},
    "blame": CORE | {"kernels", "reached"},
    "guarded": set(),
    "seam": CORE | {"kernels", "times", "blame", "guarded", "reached"},
    "strategies": {"_jit", "schema", "seam"},
    "venue": CORE | {"kernels"},
    "simulation": CORE | {"kernels", "seam", "venue", "blame", "guarded"},
    "terms": CORE | {"kernels", "times", "venue"},
    "report": {"results"},
    "results": CORE | {"kernels", "report", "explain", "times"},  # report, explain: when they are asked for
    "setups": CORE | {"kernels", "seam", "simulation", "terms", "times"},
    "runner": CORE | {"kernels", "known", "store", "sources", "seam", "setups", "simulation", "results", "progress", "terms"},
    "sweeps": CORE | {"kept", "known", "terms", "store", "seam", "setups", "simulation", "results", "runner", "progress"},
    "explain": CORE | {"kernels", "store"},
    "signals": CORE | {"kernels", "reached", "store", "signals", "times"},
    "kept": CORE | {"seam", "store", "signals"},
    "known": CORE | {"seam", "store", "signals"},
}
ENDS = {"__init__", "__main__", "cli", "demo"}  # they may import all, and nobody may import them
HEAVY = ("numpy", "pandas", "numba", "llvmlite", "matplotlib", "tqdm", "databento_dbn", "zstandard")


def loaded_after(code):
    """The top-level modules loaded in a new process after `code`."""
    code += "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


# --- imports -----------------------------------------------------------------------------------------------
def test_import_is_light():
    """`import nbtrade`, and asking it for its names and version, loads nothing heavy."""
    loaded = loaded_after("import nbtrade; dir(nbtrade); nbtrade.__version__")
    assert loaded.isdisjoint(HEAVY)


def test_command_line_is_light():
    """The command line's help needs nothing heavy either."""
    assert loaded_after("import nbtrade.cli; nbtrade.cli._parser().format_help()").isdisjoint(HEAVY)


def test_backtest_needs_neither_plots_nor_bars():
    """The engine's modules load neither matplotlib nor pandas: a result's frames do, when they are asked for."""
    assert loaded_after("from nbtrade import backtest, open_tape, strategy").isdisjoint({"matplotlib", "pandas", "tqdm"})


def test_public_names():
    """Every public name exists, is listed by dir, and an unknown one is an AttributeError that names it."""
    assert set(nbtrade.__all__) <= set(dir(nbtrade))
    for name in nbtrade.__all__:
        assert getattr(nbtrade, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        getattr(nbtrade, "no_such_" + "name")


def test_public_names_survive_imports():
    """No module has the name of a public function: importing it would put the module in the function's place."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert modules.isdisjoint(nbtrade.__all__)


def imports_of(path):
    """The nbtrade modules that a file imports when it runs (not only for type checkers)."""
    tree = ast.parse(path.read_text())
    unseen = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_directions(path):
    """Imports go one way: nothing imports back."""
    part = part_of(path)
    if part in ENDS:
        return
    assert part in MAY_IMPORT, f"{part} is new: give it a row in MAY_IMPORT"
    for name in imports_of(path):
        words = name.split(".")
        if words[0] != "nbtrade" or words == ["nbtrade"]:  # the bare package: its version
            continue
        assert words[1] in MAY_IMPORT[part], f"{path.relative_to(ROOT)} imports {name}; {part} may import {sorted(MAY_IMPORT[part])}"


# --- files -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("folder", ["nbtrade", "tests", "benchmarks"])
def test_no_long_file(folder):
    """No file is longer than 400 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def readme_blocks():
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_readme_code_runs(tmp_path, monkeypatch):
    """The README's blocks of code run one after the other, in an empty folder."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    blocks = readme_blocks()
    assert len(blocks) >= 2
    scope = {"__name__": "readme"}
    for i, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {i + 1}", "exec"), scope)


def test_readme_names_the_commands():
    """The README has one line each to see the demo and to run the tests, and every subcommand."""
    text = (ROOT / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert [line.split()[-2:] for line in lines] == [[".venv/bin/nbtrade", "demo"], ["-m", "pytest"]]
    for command in ("demo", "ingest", "info", "audit", "backtest", "sweep"):
        assert f"nbtrade {command}" in text


def test_version_and_changelog():
    """The version is in one place, and the changelog has a section for what is not released."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", nbtrade.__version__)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
