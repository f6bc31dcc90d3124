"""The project's prose stays plain, idiomatic English; see prose.py for the patterns and docs/design/style.md for the reasons."""

from pathlib import Path

import pytest

import prose

FILES = prose.files_under(prose.default_paths())

REWRITTEN = (  # (a sentence this project once had, how it reads now)
    ("The last local time about which the rows at hand tell all.", "Latest local time for which the buffered rows are complete."),
    (
        "Run as far as the rows at hand tell. Call with final at the end.",
        "Advance until the buffered rows are exhausted. Pass `final=True` with the last batch.",
    ),
    ("A mistake is said with your own line, its text and what is wrong.", "Errors quote the offending line of your strategy."),
    (
        "Nobody can predict which of them comes next: they are told apart by arithmetic.",
        "These cases are unpredictable, so they are handled branch-free.",
    ),
    (
        "hftbacktest is given its fastest form (one aligned row a record, no recorder)",
        "hftbacktest runs in its fastest configuration (pre-aligned events, recorder off).",
    ),
    (
        "a fairly full one is given away with its records",
        "A log at least a quarter full is handed over as is; otherwise its rows are copied.",
    ),
    ("day.tape is no tape", "day.tape is not a tape"),
    ("day.tape is there already", "day.tape already exists"),
    ("What fills were worth later", "Markouts"),
)

DIALECT = """
    a price is no number; were there no orders; a page is of no life; a folder that is there; what was already there
    columns that there are not; the tapes that there are; a list of what there is; asked for when there is none such
    importing nothing of nbtrade; the level ceased to be; hidden by what is asked; the part of what is left
    what is behind it; an error for what is not a name; an account of what rests at a price; what can be repaired
    what a tape gives; what rows take off levels; what fills were worth; what of a matrix is known
    what makes it slow; and what else belongs here; with what to do next; a copy of what they hold
    the same bytes whatever the batches; whoever owns the array; somebody reads it; it wakes nobody
    all that rests there; the one who made it; sums taken anew; stored beside it; rows of so many bytes
    the rows at hand; it stops by itself; a row here and there; now and then a page; valid for good
    it waits for ever; frankly slow; probes in vain; measured in turns; the same in any company; opened if need be
    wrong without a word; at the very moment; replaced meanwhile.; the engine goes astray; opened and never again
    a rather full page; the least and the greatest value; in the back of its queue; wrong values are said here
    the tape says so; a row says its price; it tells them apart; the price tells a tick
    as far as the last row tells; as far as the rows reach; it would be told they had
    prices are asked when a level turns; a time about which; it mends a block; the run goes on.; it has begun
    a file gets its name; the method is given its argument; a log is given away; give the page back
    bytes that are handed out; the old base is let go; it takes in a trade; never taken for a record
    a loss is noted; a level stands in a table; None stands for a default; a quote that does not stand
    a copy lies in the cache; see to it that; trades are put right; a quote is withdrawn
    the record is brought up to date; files are never made shorter; parted by one sort; arrays stay good.
    the memory order has it so; records are worked off; the size is more than 0; reports under way
    a fill on its way; take stock of pages; an order of ours; a process of its own; your own line; a file of yours
    left as it is.; orders keep their place; places of rows; at place k; the place of a name; before each look.
    the rest of it; one file a format; renamed in one step; weights of any sum; one like it; such as are
    a width that NumPy has not.; other arguments than it has; the same of all instruments; as it was asked for; rows from row n on
    the strategy seam; names at the border; help is at once.; closed nevertheless.
"""

PLAIN = (
    "There is no checkpoint before this row, so the book is rebuilt from the start.",
    "The file is no longer than 2 GiB; the second is no faster than the first.",
    "It takes 0.3 s in total, and it takes in the order of a second when cold.",
    "Ensure that there is room for one more record. The caller checks that there are free slots.",
    "What is simulated, and what is not",
    "The strategy does not know what is needed for a margin call.",
    "Besides orders, the account has a position.",
    "Returns so many rows that they do not fit in memory.",
    "Prices go on the left axis. Avoid `told apart` and ``anew``.",
    "The page tells the reader how to install it. This tells Numba to inline the function.",
    "A look-up costs 20 ns; the quote replaces its predecessor in place.",
    "It stands in for the exchange in tests.",
    "Say so in the changelog.".replace("Say so", "Mention it"),
    "One row per book change; 0.5 ns a row; 60 M rows a second.",
    "Leave the file as is. It is stored as it was written by the vendor.",
)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(prose.ROOT)) for path in FILES])
def test_prose_of_the_project(path):
    """No file has a phrase that the lint advises against."""
    found = prose.violations_in(path)
    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(("before", "after"), REWRITTEN)
def test_rewritten_sentences(before, after):
    """The sentences that started the lint fail, and their replacements pass."""
    assert prose.matches(before)
    assert not prose.matches(prose.folded(prose.Piece(1, after))[0])


@pytest.mark.parametrize("rule", prose.RULES, ids=[rule.pattern.pattern[:40] for rule in prose.RULES])
def test_every_rule_matches_something(rule):
    """A rule that matches none of the dialect's phrases is a typo."""
    bad = [fragment.strip() for line in DIALECT.strip().split("\n") for fragment in line.split("; ")] + [before for before, _ in REWRITTEN]
    assert any(rule.pattern.search(fragment) for fragment in bad), rule.pattern.pattern


@pytest.mark.parametrize("sentence", PLAIN)
def test_plain_english_passes(sentence):
    """Sentences that are close to a rule but idiomatic pass."""
    assert not prose.matches(prose.folded(prose.Piece(1, sentence))[0])


def test_enough_rules_each_with_a_suggestion():
    """Every rule says what to write instead."""
    assert len(prose.RULES) >= 60
    assert all(rule.suggestion for rule in prose.RULES)


def write(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    (folder / name).write_text(text)
    return [(violation.line, violation.phrase) for violation in prose.violations_in(folder / name)]


def test_where_python_is_read(tmp_path):
    """Docstrings, comments over several lines and messages are prose, with their lines; names and code in backticks are not."""
    source = (
        '"""First.\n\nMade anew.\n"""\n\nanew = ["anew"]\n# a phrase that goes\n# on here, with `anew` in code\n'
        'raise ValueError(f"{anew} is no\\nprice")  # so many\n'
    )
    assert write(tmp_path, "a.py", source) == [(3, "anew"), (7, "goes on"), (9, "is no"), (9, "so many")]


def test_where_markdown_is_read(tmp_path):
    """Text, diagrams and comments in code blocks are prose; code and link targets are not."""
    source = "It is no tape.\n\n```python\nanew = 1  # made anew\n```\n\n```\nrow -> kept anew\n```\n[text](anew.md) `anew`\n"
    assert write(tmp_path, "a.md", source) == [(1, "is no"), (4, "anew"), (8, "anew")]


def test_where_notebooks_are_read(tmp_path):
    """Markdown cells and the comments of code cells are prose."""
    cells = (
        '{"cells": [\n{"cell_type": "markdown", "source": ["Made anew."]},\n{"cell_type": "code", "source": ["anew = 1  # so many"]}\n]}\n'
    )
    assert write(tmp_path, "a.ipynb", cells) == [(2, "anew"), (3, "so many")]


def test_columns_of_a_diagram_are_not_a_phrase(tmp_path):
    """Words on both sides of a wide gap or an empty line belong to different sentences."""
    assert write(tmp_path, "a.md", "a price that is    no price\n\nso\n\nmany\n") == []


def test_markers_need_a_reason(tmp_path):
    """A marked line is left out; a marker behind a docstring covers it; one without a reason is a violation."""
    mark = "prose: " + "ok"
    assert write(tmp_path, "a.py", f"# made anew  # {mark}, quotes the vendor\n") == []
    assert write(tmp_path, "b.py", f'"""Made anew,\n\nand anew."""  # {mark}, quotes the vendor\n') == []
    assert write(tmp_path, "c.py", f"# made anew  # {mark}\n") == [(1, mark)]
    assert write(tmp_path, "d.md", f"Made anew. <!-- {mark}, quotes the vendor -->\n") == []


def test_command(tmp_path, capsys):
    """The command prints file, line, phrase and suggestion, counts per file, and exits with 1 if there is anything to change."""
    (tmp_path / "a.md").write_text("Made anew.\n")
    assert prose.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "a.md:1: 'anew' -> again" in out
    assert "1 violations in 1 files" in out
    (tmp_path / "a.md").write_text("Made again.\n")
    assert prose.main([str(tmp_path)]) == 0
    with pytest.raises(FileNotFoundError, match="does not exist"):
        prose.main([str(tmp_path / "b.md")])
