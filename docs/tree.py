# ruff: noqa: INP001  a script, not a package
"""Keep the tree in docs/design/architecture.md equal to the package.

    python docs/tree.py --check     exit with 1 and print the difference if the page is stale
    python docs/tree.py --write     update the page
    python docs/tree.py             print the tree

The tree is made of folders, modules, and the first sentence of each module's docstring; a folder shows its `__init__` docstring.
"""

import argparse
import ast
import difflib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "design" / "architecture.md"
BEGIN, END = "<!-- tree: begin -->", "<!-- tree: end -->"
TEXT_COLUMN, WIDTH = 32, 138
ORDER = [  # from low to high, the direction of imports; unlisted names follow in alphabetical order
    *("__init__", "__main__", "schema", "errors", "times", "prices", "_progress", "_version", "_numba"),
    *("storage", "sources", "synthetic", "book", "tape", "feature", "target", "results", "engine", "sweeps", "strategies"),
    *("cli", "demo"),
]


def first_sentence(module: Path) -> str:
    """The first sentence of the docstring, on one line, without its period; "" if the module has none."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"\. (?=[A-Z])|\.$", paragraph)[0]


def rank(path: Path, package: Path) -> tuple[bool, int, str]:
    """Root entries in ORDER; below, files before folders, each in alphabetical order."""
    name = path.stem
    if path.parent != package:
        return path.is_dir(), 0, name
    return False, ORDER.index(name) if name in ORDER else len(ORDER), name


def tree_lines(package: Path) -> list[str]:
    """One line for each folder and module; empty `__init__` modules and folders without modules are left out."""
    return [f"{package.name}/", *_lines(package, package, 1)]


def _lines(folder: Path, package: Path, depth: int) -> Iterator[str]:
    for path in sorted(folder.iterdir(), key=lambda path: rank(path, package)):
        init = path / "__init__.py"
        if path.is_dir() and any(path.rglob("*.py")):
            yield _line(depth, path.name + "/", first_sentence(init) if init.exists() else "")
            yield from _lines(path, package, depth + 1)
        elif path.suffix == ".py" and (path.name != "__init__.py" or folder == package):
            yield _line(depth, path.name, first_sentence(path))


def _line(depth: int, name: str, text: str) -> str:
    label = "  " * depth + name
    room = WIDTH - TEXT_COLUMN
    short = text if len(text) <= room else textwrap.shorten(text, room, placeholder=" ...")
    return f"{label:<{TEXT_COLUMN - 1}} {short}".rstrip()


def block(package: Path) -> str:
    """The tree as the page shows it, markers included."""
    return "\n".join([BEGIN, "```text", *tree_lines(package), "```", END])


def updated(page: str, package: Path) -> str:
    """The page with the current tree. Raises ValueError when the markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}: add the two lines where the tree belongs")
    return before + block(package) + after


def main(arguments: list[str] | None = None, package: Path = ROOT / "nbtrade", page: Path = PAGE) -> int:
    """Run the command. `package` and `page` are arguments so that tests can use their own."""
    parser = argparse.ArgumentParser(description="Keep the tree in docs/design/architecture.md equal to the package.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="exit with 1 if the page is stale")
    mode.add_argument("--write", action="store_true", help="update the page")
    options = parser.parse_args(arguments)
    if not (options.check or options.write):
        sys.stdout.write("\n".join(tree_lines(package)) + "\n")
        return 0
    old = page.read_text(encoding="utf-8")
    new = updated(old, package)
    if options.write:
        page.write_text(new, encoding="utf-8")
        return 0
    difference = difflib.unified_diff(old.splitlines(), new.splitlines(), str(page), "the package", lineterm="", n=0)
    sys.stdout.writelines(line + "\n" for line in difference)
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
