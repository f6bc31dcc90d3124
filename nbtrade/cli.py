"""The command line: `nbtrade demo | ingest | info | audit | backtest | sweep`.

A user error prints one line to stderr and exits with status 2; `--debug` shows the traceback instead. Ctrl-C exits with 130.
Each command imports the modules it needs, so `nbtrade --help` is immediate.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrade.errors import NbtradeError

if TYPE_CHECKING:
    from nbtrade.engine.strategy import Strategy

DEFAULT_STRATEGY = "nbtrade.strategies._market_maker:market_maker"
EXAMPLES = """examples:
  nbtrade demo
  nbtrade ingest day.dbn.zst --symbol ESM4
  nbtrade backtest ESM4.tape --entry 1ms --response 1ms --maker-fee 0.85 --multiplier 50 --report day.html
  nbtrade sweep ESM4.tape --grid half_spread=0.5,1,2 --grid max_position=5,10 --csv table.csv
  nbtrade backtest day.dbn.zst mine.py:my_strategy --set half_spread=2 --set max_position=5
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `nbtrade info day.tape | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (NbtradeError, ValueError, OSError, ImportError) as error:
        if options.debug:
            raise
        print(f"nbtrade {options.name}: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: Exception) -> str:
    """The message on one line, without Numba's additions."""
    head = str(error).split("\nNumba says:")[0]
    return " ".join(head.split()) or type(error).__name__


# --- options ---------------------------------------------------------------------------------------------
def _parser() -> argparse.ArgumentParser:
    from nbtrade._version import __version__

    parser = argparse.ArgumentParser(
        prog="nbtrade",
        description="A market-by-order (L3) backtester.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nbtrade {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _demo_options(_command(commands, "demo", demo, "make a synthetic day, ingest it, and backtest a market maker on it"))
    _ingest_options(_command(commands, "ingest", ingest, "make a tape from a vendor's market-by-order file"))
    _command(commands, "info", info, "print a tape's contents and counts").add_argument("tape", type=Path)
    _command(commands, "audit", audit, "replay a tape and report anomalies").add_argument("tape", type=Path)
    _backtest_options(_command(commands, "backtest", backtest, "run a strategy on a tape or a vendor's file"))
    _sweep_options(_command(commands, "sweep", sweep, "run many parameter sets over tapes"))
    return parser


def _command(commands: Any, name: str, function: Callable[[argparse.Namespace], None], help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(command=function, name=name)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, help="your own file instead of a synthetic day")
    parser.add_argument("--symbol", help="the instrument, if FILE has several")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything is written (default: demo)")
    parser.add_argument("--records", type=int, default=2_000_000, help="length of the synthetic day (default: 2,000,000)")


def _ingest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--out", type=Path, help="folder of the tape (default: FILE.tape, next to it); with --all, the parent folder of the tapes"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--symbol", help="the instrument, if FILE has several")
    which.add_argument("--id", type=int, help="the instrument by its instrument_id")
    which.add_argument("--all", action="store_true", help="one tape per instrument")
    parser.add_argument("--tick", type=float, help="price of one tick (default: looked up, else inferred from the prices)")
    parser.add_argument("--replace", action="store_true", help="replace an existing tape")


def _backtest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="a tape, or a file as for ingest")
    parser.add_argument("strategy", nargs="?", default=DEFAULT_STRATEGY, help="module:name or file.py:name (default: the market maker)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the strategy; may be repeated")
    _model_options(parser)
    parser.add_argument("--symbol", help="the instrument, if a file has several")
    parser.add_argument("--tick", type=float, help="price of one tick, for a file")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="write a plot: price and fills, position, PnL")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a report: summary, plot, markouts, orders, hours")
    parser.add_argument("--fills", type=Path, metavar="CSV", help="write the fills")


def _sweep_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tapes", type=Path, nargs="+", help="tapes; each is a separate run")
    parser.add_argument("--strategy", default=DEFAULT_STRATEGY, help="module:name or file.py:name (default: the market maker)")
    parser.add_argument(
        "--grid", action="append", required=True, metavar="NAME=V,V,...", help="values of a parameter, or fill_rule; may be repeated"
    )
    parser.add_argument("--workers", type=int, help="threads (default: one per core)")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="write the table")
    _model_options(parser)


def _model_options(parser: argparse.ArgumentParser) -> None:
    """Latency, fees, fill rule and the part of the tape."""
    for name in ("entry", "response", "feed"):
        parser.add_argument(f"--{name}", default="0ns", help=f"{name} latency, such as 1ms or 250us (default: none)")
    for name in ("maker-fee", "taker-fee"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="currency per lot; negative for a rebate")
    parser.add_argument("--multiplier", type=float, default=1.0, help="currency per price unit and lot (default: 1)")
    parser.add_argument("--start", help="start of the part to run (UTC); needs a tape")
    parser.add_argument("--end", help="end of the part to run (UTC); needs a tape")
    parser.add_argument("--fill-rule", default="fifo", help="fifo: exact queue positions (default); or a bound, see docs/semantics.md")
    parser.add_argument("--max-position", type=int, default=0, help="risk limit in lots, checked before an order is sent (default: none)")


# --- commands ----------------------------------------------------------------------------------------------
def demo(options: argparse.Namespace) -> None:
    """`nbtrade demo`."""
    from nbtrade.demo import run

    run(options.folder, options.records, options.file, options.symbol)


def ingest(options: argparse.Namespace) -> None:
    """`nbtrade ingest`."""
    from nbtrade.tape import ingest

    choice = {"symbol": options.symbol, "instrument_id": options.id, "tick": options.tick, "replace": options.replace}
    progress = sys.stderr.isatty()
    if options.all:
        tapes = list(ingest.ingest_all(options.file, options.out, **choice, progress=progress).values())
    else:
        tapes = [ingest.ingest(options.file, options.out, **choice, progress=progress)]
    print("\n\n".join(tape.info() for tape in tapes))


def info(options: argparse.Namespace) -> None:
    """`nbtrade info`."""
    from nbtrade.tape.tape import open_tape

    print(open_tape(options.tape).info())


def audit(options: argparse.Namespace) -> None:
    """`nbtrade audit`."""
    from nbtrade.tape.tape import open_tape

    print(open_tape(options.tape).audit())


def backtest(options: argparse.Namespace) -> None:
    """`nbtrade backtest`."""
    from nbtrade.engine import backtest

    _check_folders(options.plot, options.report, options.fills)
    result = backtest.backtest(
        options.data,
        load_strategy(options.strategy),
        params=dict(map(_setting, options.set)),
        tick=options.tick,
        symbol=options.symbol,
        progress=sys.stderr.isatty(),
        **_models(options),
    )
    print(result)
    if options.plot is not None:
        result.plot(options.plot)
        print(f"plot   {options.plot}")
    if options.report is not None:
        print(f"report {result.report(options.report)}")
    if options.fills is not None:
        result.fills.to_csv(options.fills)
        print(f"fills  {options.fills}")


def sweep(options: argparse.Namespace) -> None:
    """`nbtrade sweep`."""
    from nbtrade.sweeps import sweep as sweeps

    _check_folders(options.csv)
    grid = _grid(options.grid)
    progress = sys.stderr.isatty()
    table = sweeps.sweep(
        options.tapes, load_strategy(options.strategy), grid, workers=options.workers, progress=progress, **_models(options)
    )
    table = table if len(options.tapes) > 1 else table.drop(columns="tape")
    print(table.sort_values("net_pnl", ascending=False).head(20).to_string(index=False))
    print(f"{len(table):,} runs; the best {min(len(table), 20)} by net_pnl are shown")
    if options.csv is not None:
        table.to_csv(options.csv, index=False)
        print(f"table  {options.csv}")


def _models(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `_model_options` as arguments of `backtest` and `sweep`."""
    from nbtrade.engine.models import Fees, Instrument, Latency, Risk

    return {
        "latency": Latency(entry=options.entry, response=options.response, feed=options.feed),
        "fees": Fees(maker=options.maker_fee, taker=options.taker_fee),
        "instrument": Instrument(multiplier=options.multiplier),
        "risk": Risk(max_position=options.max_position),
        "fill_rule": options.fill_rule,
        "start": options.start,
        "end": options.end,
    }


def _check_folders(*files: Path | None) -> None:
    """Raise FileNotFoundError before a long run if its output could not be written."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise FileNotFoundError(f"{file} cannot be written: the folder {file.parent} does not exist")


def _grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """{"half_spread": [1, 2.5], "fill_rule": ["fifo"]} of "half_spread=1,2.5" and "fill_rule=fifo"."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ValueError(f"--grid {text}: write NAME=VALUE,VALUE,...")
        if name in grid:
            raise ValueError(f"--grid {text}: {name} is given twice. Write all values in one option: --grid {name}=VALUE,VALUE,...")
        grid[name] = values.split(",") if name == "fill_rule" else [_number(f"--grid {text}", value) for value in values.split(",")]
    return grid


def _setting(text: str) -> tuple[str, int | float]:
    """("half_spread", 2) of "half_spread=2"."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write NAME=VALUE")
    return name, _number(f"--set {text}", value)


def _number(option: str, text: str) -> int | float:
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    raise ValueError(f"{option}: {text!r} is not a number")


def load_strategy(where: str) -> "Strategy":
    """The strategy `name` of "module:name" or "file.py:name".

    Raises ValueError if the strategy does not exist, FileNotFoundError or ImportError if the file or module does not.
    """
    from nbtrade.engine.strategy import Strategy

    home, colon, name = where.rpartition(":")
    if not colon or not name:
        raise ValueError(f"strategy {where!r}: write module:name or file.py:name")
    module = _load_file(Path(home)) if home.endswith(".py") else importlib.import_module(home)
    found = getattr(module, name, None)
    if isinstance(found, Strategy):
        return found
    known = ", ".join(sorted(n for n, value in vars(module).items() if isinstance(value, Strategy))) or "none"
    what = "is not made with @nbtrade.strategy" if found is not None else "does not exist"
    raise ValueError(f"strategy {name!r} {what}. Strategies in {home}: {known}")


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}, the strategy's file, does not exist")
    name = f"strategies_in_{path.stem}"  # not the stem alone: the file may be called json.py
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where inspect and Numba look for it
    spec.loader.exec_module(module)
    return module
