"""The command line: every command works, and every user error prints one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbtrade import cli, synthetic
from nbtrade.schema import FILL_RULES

N = 20_000
STRATEGY = """
import nbtrade


@nbtrade.strategy(wake="1s", state={"px": 0})
def buyer(market, account, state):
    state.px = market.bid_px
    account.quote(nbtrade.BID, market.bid_px, 1)


@nbtrade.strategy(state={"px": 0})
def wrong(market, state):
    state.px = market.no_such_field


not_one = 3
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A small synthetic day."""
    return synthetic.write_dbn(tmp_path_factory.mktemp("day") / "day.dbn.zst", N, seed=5)


@pytest.fixture(scope="module")
def tape(day):
    """The folder of its tape."""
    assert cli.main(["ingest", str(day)]) == 0
    return day.parent / "day.tape"


@pytest.fixture
def run(capsys):
    """Run a command: (exit status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def assert_wrong(answer, *words):
    """One line on stderr that has all the words, nothing on stdout, status 2."""
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert str(word) in err


# --- every command -----------------------------------------------------------------------------------------
def test_demo(tmp_path, run):
    """The demo leaves a day, a tape and a plot, and shows stages, result and the next step; it can be run again."""
    for _ in range(2):
        status, out, err = run("demo", "--folder", tmp_path / "demo", "--records", N)
        assert (status, err) == (0, "")
        assert {p.name for p in (tmp_path / "demo").iterdir()} >= {"synthetic.dbn.zst", "demo.tape"}
        for words in ("M records/s", "M rows/s", "the same fills, orders and equity", "net PnL", "maker share", "nbtrade backtest"):
            assert words in out
    assert run("info", tmp_path / "demo" / "demo.tape")[0] == 0


def test_demo_of_a_file(tmp_path, day, run):
    """With --file the user's file is used, and not changed."""
    before = day.read_bytes()
    status, out, _ = run("demo", "--file", day, "--folder", tmp_path)
    assert status == 0
    assert str(day) in out
    assert "write a synthetic day" not in out
    assert day.read_bytes() == before


def test_ingest(tmp_path, day, run):
    """Ingest writes to the given folder, by symbol, id or all, and prints the tape's contents."""
    for i, which in enumerate((["--symbol", "SYNTH"], ["--id", "1"], ["--tick", "0.01"])):
        status, out, _ = run("ingest", day, "--out", tmp_path / f"{i}.tape", *which)
        assert (status, f"{N:,} read" in out) == (0, True)
        assert (tmp_path / f"{i}.tape" / "manifest.json").exists()
    assert run("ingest", day, "--out", tmp_path / "all", "--all")[0] == 0
    assert (tmp_path / "all" / "SYNTH.tape" / "manifest.json").exists()


def test_ingest_does_not_replace_unasked(day, tape, run):
    """An existing tape is replaced only with --replace."""
    assert_wrong(run("ingest", day), tape, "--replace")
    assert run("ingest", day, "--replace")[0] == 0


def test_info_and_audit(tape, run):
    """Info prints a tape's contents, audit its anomalies."""
    status, out, _ = run("info", tape)
    assert (status, "SYNTH" in out, "tick        0.01" in out) == (0, True, True)
    status, out, _ = run("audit", tape)
    assert (status, "0 crossed event ends" in out) == (0, True)


def test_backtest(tmp_path, day, tape, run):
    """A tape and its file give the same summary; fills and a plot are written to the given files."""
    pytest.importorskip("matplotlib")
    costs = ["--entry", "1ms", "--response", "1ms", "--feed", "50us", "--maker-fee", "0.001", "--taker-fee", "0.003"]
    settings = ["--set", "half_spread=0.5", "--set", "max_position=3"]
    status, out, _ = run("backtest", tape, *costs, *settings, "--fills", tmp_path / "f.csv", "--plot", tmp_path / "p.png")
    assert status == 0
    assert "half_spread=0.5" in out
    n_fills = int(out.split("n_fills")[1].split()[0].replace(",", ""))
    assert len((tmp_path / "f.csv").read_text().splitlines()) == n_fills + 1 > 1
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    again = run("backtest", day, *costs, *settings)[1]
    assert again == out[: len(again)]


def test_backtest_of_a_strategy_file(tmp_path, tape, run):
    """A strategy from a file, and from a module."""
    (tmp_path / "json.py").write_text(STRATEGY)  # the name of a module that is already loaded
    status, out, _ = run("backtest", tape, f"{tmp_path}/json.py:buyer")
    assert (status, "buyer" in out) == (0, True)
    assert run("backtest", tape, "nbtrade.strategies._market_maker:market_maker")[0] == 0


def test_python_m_nbtrade(tape):
    """`python -m nbtrade` is the command, and passes its exit status on."""
    for arguments, status in ((["info", tape], 0), (["info", tape / "no"], 2), (["--version"], 0), ([], 2)):
        done = subprocess.run([sys.executable, "-m", "nbtrade", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert "Traceback" not in done.stderr


def test_output_into_a_closed_pipe(tape):
    """`nbtrade info TAPE | head` ends silently."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        command = [sys.executable, "-m", "nbtrade", "info", str(tape)]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- user errors -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["ingest", "backtest"])
def test_wrong_file_name(day, run, command):
    """The error names the missing file, and similar files."""
    assert_wrong(run(command, day.with_name("daz.dbn.zst")), "daz.dbn.zst", "does not exist")
    assert_wrong(run(command, day.with_name("day.dbn.zs")), "day.dbn.zs", "Near it: day.dbn.zst")


@pytest.mark.parametrize("command", ["ingest", "backtest"])
def test_truncated_file(tmp_path, day, run, command):
    """The error names the truncated file, and no partial tape remains."""
    part = tmp_path / "part.dbn.zst"
    part.write_bytes(day.read_bytes()[:-1000])
    assert_wrong(run(command, part), part, "cut short")
    assert [p.name for p in tmp_path.iterdir()] == ["part.dbn.zst"]


@pytest.mark.parametrize("command", ["info", "audit"])
def test_not_a_tape(tmp_path, day, run, command):
    """A file, another folder, and a missing path are not tapes."""
    for path in (tmp_path, tmp_path / "none", day):
        assert_wrong(run(command, path), path, "not a tape")


def test_unknown_parameter(tape, run):
    """The error names the unknown parameter, and those of the strategy."""
    assert_wrong(run("backtest", tape, "--set", "half_spred=2"), "half_spred", "half_spread", "max_position")


@pytest.mark.parametrize("command", ["ingest", "backtest"])
def test_unknown_symbol(tmp_path, day, run, command):
    """The error names the unknown symbol, and the file's symbols."""
    extra = ["--out", tmp_path / "x"] if command == "ingest" else []
    assert_wrong(run(command, day, "--symbol", "AAPL", *extra), "AAPL", "SYNTH")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("no_colon", ["no_colon", "module:name"]),
        ("no.such.module:x", ["No module named 'no'"]),
        ("none.py:x", ["none.py", "does not exist"]),
        ("s.py:nobody", ["nobody", "buyer, wrong"]),
        ("s.py:not_one", ["not_one", "@nbtrade.strategy"]),
        ("s.py:wrong", ["wrong cannot be compiled", "s.py", "line 13"]),
    ],
)
def test_wrong_strategy(tmp_path, tape, run, monkeypatch, where, words):
    """The error names a strategy that cannot be found or compiled, with the line."""
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(STRATEGY)
    assert_wrong(run("backtest", tape, where), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "half_spread=wide"], ["half_spread=wide", "not a number"]),
        (["--set", "half_spread"], ["NAME=VALUE"]),
        (["--entry", "soon"], ["soon", "time span"]),
        (["--entry=-1ms"], ["negative"]),
        (["--start", "2025-01-07", "--end", "2025-01-06"], ["before"]),
        (["--start", "2026-01-01"], ["no rows from start=2026-01-01", "2025-01-06T14:30"]),
        (["--start", "soon"], ["'soon' is not a time"]),
        (["--multiplier", "0"], ["multiplier must be positive"]),
        (["--fill-rule", "lucky"], ["'lucky'", *FILL_RULES]),
        (["--plot", "no/such/folder/p.png"], ["the folder no/such/folder does not exist"]),
        (["--fills", "no/such/folder/f.csv"], ["the folder no/such/folder does not exist"]),
    ],
)
def test_wrong_values(tape, run, arguments, words):
    """The error names an invalid value before anything runs."""
    assert_wrong(run("backtest", tape, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "half_spread"], ["--grid half_spread: write NAME=VALUE,VALUE"]),
        (["--grid", "half_spread=1,wide"], ["--grid half_spread=1,wide: 'wide' is not a number"]),
        (["--grid", "half_spread=1", "--grid", "half_spread=2"], ["half_spread is given twice"]),
        (["--grid", "fill_rule=lucky"], ["'lucky'", *FILL_RULES]),
        (["--grid", "half_spread=1", "--workers", "0"], ["workers=0"]),
        (["--grid", "half_spread=1", "--csv", "no/such/folder/t.csv"], ["the folder no/such/folder does not exist"]),
    ],
)
def test_wrong_grids(tape, run, arguments, words):
    """The same for sweeps."""
    assert_wrong(run("sweep", tape, *arguments), *words)


def test_fill_rules_side_by_side(tape, run):
    """One sweep compares the fill rules."""
    status, out, _ = run("sweep", tape, "--grid", f"fill_rule={','.join(FILL_RULES)}")
    assert status == 0
    assert all(out.count(rule) == 1 for rule in FILL_RULES)


def test_demo_without_records(tmp_path, run):
    """An impossible length prints one line."""
    status, _, err = run("demo", "--folder", tmp_path, "--records", 0)
    assert (status, err.count("\n"), "n_records is 0" in err) == (2, 1, True)


def test_ctrl_c(tape, run, monkeypatch):
    """Ctrl-C prints one word and exits with 130."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "info", interrupt)
    assert run("info", tape) == (130, "", "interrupted\n")


def test_debug(tmp_path):
    """--debug shows where an error comes from."""
    with pytest.raises(ValueError, match="not a tape"):
        cli.main(["info", str(tmp_path), "--debug"])


def test_sweep(run, tape, tmp_path):
    """A sweep prints its best sets and writes the whole table; a value that is not a number is an error."""
    table = tmp_path / "table.csv"
    status, out, err = run("sweep", tape, "--grid", "half_spread=0.5,1,2", "--grid", "max_position=3,5", "--csv", table)
    assert (status, err) == (0, "")
    assert "6 runs" in out
    lines = table.read_text().splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("half_spread,max_position,net_pnl")
    assert_wrong(run("sweep", tape, "--grid", "half_spread=1,two"), "half_spread=1,two", "not a number")
