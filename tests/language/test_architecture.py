"""docs/design/architecture.md shows the package as it exists, and every path that the documents name exists."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = ROOT / "docs" / "design" / "architecture.md"
FOLDERS = ("docs", ".github", "benchmarks", "nbtrade")
PAGES = [path for name in FOLDERS for path in sorted((ROOT / name).rglob("*.md")) if path.name != "journal.md"]  # the journal is history
PAGES.append(ROOT / "README.md")
NAMED = re.compile(r"`((?:nbtrade|tests|benchmarks|docs|notebooks|\.github)/[\w./*-]+)`")


def tree_script():
    spec = importlib.util.spec_from_file_location("docs_tree", ROOT / "docs" / "tree.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tree_is_current(capsys):
    """The page's tree is the one that docs/tree.py makes; `python docs/tree.py --write` updates it."""
    stale = tree_script().main(["--check"])
    assert not stale, f"run `python docs/tree.py --write`\n{capsys.readouterr().out}"


def test_tree_of_a_package(tmp_path):
    """Modules with the first sentence of their docstrings, files before folders, folders with their own text; no empty folders."""
    for name, text in {
        "__init__.py": '"""A package."""',
        "errors.py": '"""What can\nfail. And more."""',
        "schema.py": "X = 1",
        "engine/__init__.py": '"""Runs: orders, fills."""',
        "engine/kernels/__init__.py": "",
        "engine/kernels/loop.py": '"""Main loop."""',
        "engine/run.py": f'"""{"long " * 40}"""',
        "engine/__pycache__/run.txt": "",
    }.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = tree_script()
    lines = [" ".join(line.split()) for line in script.tree_lines(tmp_path / "pack")]
    assert lines[:5] == ["pack/", "__init__.py A package", "schema.py", "errors.py What can fail", "engine/ Runs: orders, fills"]
    assert lines[5].startswith("run.py long")
    assert lines[5].endswith("...")
    assert lines[6:] == ["kernels/", "loop.py Main loop"]


def test_check_and_write(tmp_path, capsys):
    """A stale page fails the check with the difference, writing repairs it, and text around the markers stays."""
    script = tree_script()
    package, page = tmp_path / "pack", tmp_path / "page.md"
    package.mkdir()
    (package / "schema.py").write_text('"""Codes."""')
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    assert script.main(["--check"], package, page) == 1
    assert "schema.py" in capsys.readouterr().out
    script.main(["--write"], package, page)
    assert script.main(["--check"], package, page) == 0
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
    with pytest.raises(ValueError, match="tree: begin"):
        script.updated("no markers", package)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_paths_exist(page):
    """A document names only files and folders that exist; `*` is a wildcard."""
    missing = [name for name in NAMED.findall(page.read_text()) if not list(ROOT.glob(name.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "design" / "journal.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Relative links of the documents lead to existing files."""
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert not [target for target in targets if target and not (page.parent / target).exists()]


def test_changelog_fragments():
    """Fragments are named `ISSUE.KIND.md` or `+WORD.KIND.md`, so that the release tool finds them; none is empty."""
    fragments = [path for path in (ROOT / "docs" / "changes").iterdir() if path.name != "README.md"]
    assert not [
        path.name for path in fragments if not re.fullmatch(r"(\d+|\+[\w-]+)\.(added|changed|fixed|removed)(\.\d+)?\.md", path.name)
    ]
    assert all(path.read_text().strip() for path in fragments)
