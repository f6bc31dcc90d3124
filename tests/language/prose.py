"""Find phrases in prose that a native engineer would not write, with a suggestion for each.

    python tests/language/prose.py [PATH...]     every violation under the paths (default: the whole project), then counts per file

What counts as prose:

    *.py       docstrings, comments, and string literals with a space in them (messages, help texts)
    *.md       everything but inline code; fenced Python and shell blocks count with their comments only
    *.ipynb    Markdown cells as *.md, code cells as *.py
    *.yml, *.yaml, *.toml    comments and the text of the file

Text in `backticks` and "double-backtick" code is skipped, so a document can quote a phrase that it advises against.

A line may keep a phrase with a reason: `# prose: ok, REASON` in Python and YAML, `<!-- prose: ok, REASON -->` in Markdown. In a docstring
or a long string the marker goes behind the closing quotes and covers all of it. A marker without a reason is itself a violation.

Weak case: a pattern sees words, not grammar. Each one is chosen to be rare in good English: in the sources of NumPy,
pandas, Matplotlib and Hypothesis they match once per 3,800 to 10,300 words, in an early version of this package once per 65. If a pattern
keeps matching good sentences, narrow it in phrases.txt instead of adding markers.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ("nbtrade", "benchmarks", "tests", "docs", ".github", "notebooks", "README.md", "CHANGELOG.md")
SUFFIXES = (".py", ".md", ".ipynb", ".yml", ".yaml", ".toml")
QUOTES_PHRASES = ("test_prose.py",)  # their string literals are the phrases; their comments and docstrings are checked


@dataclass(frozen=True)
class Rule:
    pattern: re.Pattern[str]
    suggestion: str


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Rules of a file with lines `PATTERN => SUGGESTION`. A space in a pattern also matches a line break. Raises ValueError."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        pattern, arrow, suggestion = line.partition("  =>  ")
        if not arrow or not suggestion:
            raise ValueError(f"{path}:{number}: write PATTERN  =>  SUGGESTION, with two spaces on each side of the arrow: {line!r}")
        found.append(Rule(re.compile(pattern, re.IGNORECASE), suggestion))
    return tuple(found)


RULES = read_rules(Path(__file__).with_name("phrases.txt"))
MARKER = re.compile(r"(?:#|<!--) *prose: ok(?:, *(?P<reason>\S[^>]*))?")


def shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


@dataclass(frozen=True)
class Piece:
    """Consecutive lines of prose. covered : the number of the line whose marker holds for all of it, or 0"""

    line: int
    text: str
    covered: int = 0


@dataclass(frozen=True)
class Violation:
    path: Path
    line: int
    phrase: str
    suggestion: str
    context: str = ""

    def __str__(self) -> str:
        return f"{shown(self.path)}:{self.line}: {self.phrase!r} -> {self.suggestion}" + (f"    [{self.context}]" if self.context else "")


# --- matching --------------------------------------------------------------------------------------------


def folded(piece: Piece) -> tuple[str, list[int]]:
    """The text on one line, without code, and the line number of each character.

    Line breaks become one space. Two or more spaces inside a line separate columns of a diagram or table, so no phrase spans them.
    """
    text = re.sub(r"``[^`]+``|`[^`]+`", lambda code: re.sub(r"[^\n]", "_", code.group()), piece.text)
    out: list[str] = []
    lines: list[int] = []
    for number, raw in enumerate(text.split("\n"), piece.line):
        line = re.sub(r" {2,}", " | ", raw.strip()) or "|"
        out.append(line + " ")
        lines += [number] * (len(line) + 1)
    return "".join(out), lines


def matches(text: str) -> list[tuple[int, str, str]]:
    """(offset, phrase, suggestion) of every rule that matches in one line of text."""
    return sorted((hit.start(), hit.group(), rule.suggestion) for rule in RULES for hit in rule.pattern.finditer(text))


def violations_in(path: Path) -> list[Violation]:
    source = path.read_text(encoding="utf-8")
    allowed = {number: mark for number, line in enumerate(source.split("\n"), 1) if (mark := MARKER.search(line))}
    found = [
        Violation(path, number, "prose: ok", "a marker needs a reason: `prose: ok, REASON`")
        for number, mark in allowed.items()
        if not mark["reason"] and path.name not in QUOTES_PHRASES
    ]
    for piece in pieces_of(path, source):
        text, lines = folded(piece)
        for offset, phrase, suggestion in matches(text):
            if lines[offset] not in allowed and piece.covered not in allowed:
                context = text[max(0, offset - 30) : offset + len(phrase) + 30].strip()
                found.append(Violation(path, lines[offset], phrase.strip(), suggestion, context))
    return sorted(set(found), key=lambda violation: (violation.line, violation.phrase))


# --- finding prose -----------------------------------------------------------------------------------------


def pieces_of(path: Path, source: str) -> Iterator[Piece]:
    if path.suffix == ".py":
        yield from python_prose(source, literals=path.name not in QUOTES_PHRASES)
    elif path.suffix == ".md":
        yield from markdown_prose(source)
    elif path.suffix == ".ipynb":
        yield from notebook_prose(source)
    else:
        yield Piece(1, source)


def python_prose(source: str, *, literals: bool = True) -> Iterator[Piece]:
    """Docstrings, blocks of comments, and string literals that contain a space."""
    yield from comment_blocks(source)
    tree = ast.parse(source)
    docstrings = {id(node) for node in docstring_nodes(tree)}
    inside: set[int] = set()  # the constants of an f-string are read with it
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        else:
            continue
        if id(node) in docstrings or (literals and " " in text):
            yield Piece(node.lineno, text, covered=node.end_lineno or 0)


def docstring_nodes(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                yield first.value


def comment_blocks(source: str) -> Iterator[Piece]:
    """Consecutive comment lines form one piece; a comment after code is a separate piece."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text, number = token.string.lstrip("#! "), token.start[0]
        alone = not token.line[: token.start[1]].strip()
        if block and alone and number == last + 1:
            block.append(text)
        else:
            if block:
                yield Piece(start, "\n".join(block))
            block, start = [text], number
        last = number if alone else -1
    if block:
        yield Piece(start, "\n".join(block))


def markdown_prose(source: str) -> Iterator[Piece]:
    """Everything but code: of fenced Python and shell blocks the comments, of other fences (diagrams) the text.

    The tree in architecture.md is left out: it repeats docstrings, which are checked where they are written.
    """
    source = re.sub(r"<!-- tree: begin -->.*?<!-- tree: end -->", lambda tree: "\n" * tree.group().count("\n"), source, flags=re.DOTALL)
    kept: list[str] = []
    fence: str | None = None
    for line in source.split("\n"):
        mark = re.match(r"\s*```(\w*)", line)
        if mark:
            fence = mark[1] if fence is None else None
            kept.append("")
        elif fence in ("python", "py", "bash", "sh", "console", "yaml", "toml"):
            comment = re.search(r"(?:^|\s)#\s+(.*)$", line)
            kept.append(comment[1] if comment else "")
        else:
            kept.append(re.sub(r"\]\([^)]*\)", "]", line))  # link targets are not prose
    yield Piece(1, "\n".join(kept))


def notebook_prose(source: str) -> Iterator[Piece]:
    """Line numbers count from the notebook file's line where a cell's first line is found."""
    raw = source.split("\n")
    for cell in json.loads(source)["cells"]:
        text = "".join(cell["source"])
        first = json.dumps(text.split("\n")[0], ensure_ascii=False)[1:-1]
        line = next((number for number, candidate in enumerate(raw, 1) if first and first in candidate), 1)
        found = markdown_prose(text) if cell["cell_type"] == "markdown" else python_prose(re.sub(r"(?m)^[%!].*$", "", text))
        for piece in found:
            yield Piece(piece.line + line - 1, piece.text, piece.covered and piece.covered + line - 1)


# --- the command -------------------------------------------------------------------------------------------


def files_under(paths: list[Path]) -> list[Path]:
    """Files with prose under the paths. Hidden folders below a path (caches, checkpoints) are left out. Raises FileNotFoundError."""
    found: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist. Give files or folders of the project.")
        inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for file in inside:
            hidden = path.is_dir() and any(part.startswith((".", "__")) for part in file.relative_to(path).parts[:-1])
            if file.suffix in SUFFIXES and not hidden:
                found.add(file.resolve())
    return sorted(found)


def default_paths() -> list[Path]:
    return [ROOT / name for name in DEFAULT if (ROOT / name).exists()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print phrases that a native engineer would not write.")
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders (default: the whole project)")
    parser.add_argument("--count", action="store_true", help="print the counts only")
    options = parser.parse_args(arguments)
    counts: Counter[Path] = Counter()
    for path in files_under(options.paths or default_paths()):
        for violation in violations_in(path):
            counts[path] += 1
            if not options.count:
                sys.stdout.write(f"{violation}\n")
    for path, count in counts.most_common():
        sys.stdout.write(f"{count:5d}  {shown(path)}\n")
    sys.stdout.write(f"{counts.total()} violations in {len(counts)} files\n" if counts else "no violations\n")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
