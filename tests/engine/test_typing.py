"""A user's annotated program passes mypy --strict: nothing public is untyped, and mistakes are found."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "typing" / "user_script.py"
MISTAKES = {
    "a field that does not exist": ("market.level(side, 1)", "market.true_px", '"Market" has no attribute "true_px"'),
    "engine truth": ("account.position <= 0", "account.true_position <= 0", '"Account" has no attribute "true_position"'),
    "an argument of another type": ("tif=DAY", 'tif="day"', 'Argument "tif" to "quote" of "Account"'),
    "a method of an order": ("order.leaves", "order.leave", '"Order" has no attribute "leave"'),
}


def mypy_of(path, monkeypatch):
    """(report, exit status) of mypy --strict, without this project's own configuration."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    cache = os.environ.get("MYPY_CACHE_DIR", str(ROOT / ".mypy_cache" / "user"))
    report, errors, status = api.run(["--strict", "--config-file=", f"--cache-dir={cache}", "--follow-imports=silent", str(path)])
    return report + errors, status


def test_user_script(tmp_path, monkeypatch):
    """The unmodified script passes type checking."""
    path = tmp_path / "user_script.py"
    path.write_text(SCRIPT.read_text())
    report, status = mypy_of(path, monkeypatch)
    assert status == 0, report


def test_mistakes_are_found(tmp_path, monkeypatch):
    """The program with mistakes: each is reported."""
    text = SCRIPT.read_text()
    for right, wrong, _ in MISTAKES.values():
        assert right in text
        text = text.replace(right, wrong, 1)
    path = tmp_path / "user_script.py"
    path.write_text(text)
    report, status = mypy_of(path, monkeypatch)
    assert status == 1
    assert [name for name, (_, _, message) in MISTAKES.items() if message not in report] == [], report


def test_types_are_marked():
    """py.typed marks the package as typed; the wheel includes the whole folder."""
    assert (ROOT / "nbtrade" / "py.typed").exists()
