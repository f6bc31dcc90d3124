"""Metrics: numbers that summarise a result. Each is a function of ResultData, and its name is the name in the summary.

    totals    net_pnl gross_pnl fees position traded_size maker_size turnover n_fills n_orders n_cancelled n_rejected n_refused n_too_late
    fills     realised_pnl unrealised_pnl
    samples   peak_position max_drawdown sharpe
    run       n_wakes n_rows
    user      functions registered with `nbtrade.metric`

`Result.summary` has all of them, in this order. The table of a sweep has the totals and user-defined metrics, and with `sample=` the
metrics of samples. Metrics of totals read only the account's record and the last market, so they also take an array of accounts and
compute all sets of a sweep at once (1,000 sets: 1.5 ms). User-defined metrics get one Result per set (1,000 sets: 110 ms).

Sizes are lots (`traded_size`, as the column `size` of the frames); money is in currency. The Sharpe ratio is annualised from the equity
samples of the run; from one day of data it says little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nbtrade.errors import ResultError
from nbtrade.results.data import ResultData
from nbtrade.schema import TOTALS, UNDEF_PRICE

if TYPE_CHECKING:
    import pandas as pd

YEAR_NS = 365.25 * 24 * 3600 * 1e9
Number = int | float
Metric = Callable[[ResultData], Number]


class Totals(Protocol):
    """The input of metrics of totals; a ResultData is one."""

    @property
    def account(self) -> Any:
        """TOTALS: a record, its fields by name, or an array of records."""

    @property
    def market(self) -> np.void:
        """LAST_MARKET."""

    @property
    def tick_lot(self) -> float:
        """Currency of one tick of one lot."""


@dataclass(frozen=True)
class Accounts:
    """Accounts on one instrument, for metrics of totals. account : TOTALS[k], or the fields of one by name"""

    account: np.ndarray | dict[str, Any]
    market: np.void
    tick_lot: float


TOTALS_METRICS: dict[str, Callable[[Any], Any]] = {}  # record or array in, scalar or array out
FILL_METRICS: dict[str, Metric] = {}
SAMPLE_METRICS: dict[str, Metric] = {}
RUN_METRICS: dict[str, Metric] = {}
USER_METRICS: dict[str, Metric] = {}
BUILT_IN = (TOTALS_METRICS, FILL_METRICS, SAMPLE_METRICS, RUN_METRICS)
_changes = [0]  # counts changes of USER_METRICS, which make cached summaries obsolete


def _add_to(group: dict[str, Any]) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def add(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        group[function.__name__] = function
        return function

    return add


# --- user-defined ----------------------------------------------------------------------------------------
def metric(function: Metric) -> Metric:
    """Register a metric: a function of a result that returns one number.

    It appears under its name in `Result.summary`, in reports, and as a column of the table that `sweep` returns. Registering another
    function under the same name replaces the first one; `remove_metric` removes it.

    Parameters
    ----------
    function : callable
        ``(result: Result) -> int | float``. It can use all frames and arrays of the result, and `result.summary`, which at that point
        has the built-in metrics and those registered earlier.

    Returns
    -------
    callable
        The function itself, so that `metric` can be used as a decorator.

    Raises
    ------
    ResultError
        If the name belongs to a built-in metric, or `function` is not a function with a name.

    Notes
    -----
    Without user-defined metrics, a sweep computes the totals of all sets at once and keeps no fills. With one, it keeps the
    fills and orders of every set and builds a Result for each, in the sweep's threads. This costs about 0.1 ms per set, the memory of the
    fills, and the time of the function. Remove metrics that a sweep over many thousands of sets does not need. Without `sample=`, results
    inside a sweep have no equity samples.

    Examples
    --------
    >>> import nbtrade
    >>> @nbtrade.metric
    ... def mean_fill(result):
    ...     return result.fills["size"].mean() if len(result.fills) else float("nan")
    >>> fills = {"ts": ["2025-01-06 14:30", "2025-01-06 14:31"], "side": ["B", "A"], "price": [100.0, 100.5], "size": [2, 1]}
    >>> result = nbtrade.Result.from_frames(fills=fills, symbol="ES", tick=0.25, multiplier=50)
    >>> result.summary["mean_fill"]
    1.5
    >>> nbtrade.results.metrics.remove_metric("mean_fill")
    """
    name = getattr(function, "__name__", "")
    if not callable(function) or not name.isidentifier():
        raise ResultError(f"metric: {function!r} is not a function with a name. Write @nbtrade.metric above `def name(result): ...`")
    if any(name in group for group in BUILT_IN):
        raise ResultError(f"metric: {name} is a built-in metric. Give your function another name.")
    USER_METRICS[name] = function
    _changes[0] += 1
    return function


def remove_metric(name: str) -> None:
    """Remove a metric that was registered with `nbtrade.metric`.

    Parameters
    ----------
    name : str
        The name of the function.

    Raises
    ------
    ResultError
        If no metric of that name was registered.

    Examples
    --------
    >>> import nbtrade
    >>> @nbtrade.metric
    ... def answer(result):
    ...     return 42
    >>> nbtrade.results.metrics.remove_metric("answer")
    """
    if name not in USER_METRICS:
        raise ResultError(f"there is no metric {name!r} to remove. Registered: {', '.join(USER_METRICS) or 'none'}")
    del USER_METRICS[name]
    _changes[0] += 1


# --- all of them -----------------------------------------------------------------------------------------
def summary(result: ResultData) -> "pd.Series":
    """All metrics of a result.

    Parameters
    ----------
    result : ResultData

    Returns
    -------
    pandas.Series
        Ints and floats by the metric's name; the series' name is the symbol. The same object until a metric is registered or removed.
    """
    cached = result.summary_cache
    if cached is not None and cached[0] == _changes[0]:
        return cached[1]
    account = dict(zip(TOTALS.names or (), result.account.tolist(), strict=True))  # Python's numbers are faster than NumPy's, one by one
    one = Accounts(account, result.market, result.tick_lot)
    values: dict[str, Number] = {name: function(one) for name, function in TOTALS_METRICS.items()}
    for group in (FILL_METRICS, SAMPLE_METRICS, RUN_METRICS):
        values |= {name: function(result) for name, function in group.items()}
    for name, function in USER_METRICS.items():
        result.summary_cache = _changes[0], _series(values, result.symbol)  # for metrics that read others
        try:
            values[name] = _user_value(name, function, result)
        except BaseException:
            result.summary_cache = None
            raise
    series = _series(values, result.symbol)
    result.summary_cache = _changes[0], series
    return series


def _series(values: dict[str, Number], name: str) -> "pd.Series":
    import pandas as pd

    return pd.Series(list(values.values()), _labels(tuple(values)).view(), object, name)


def of_accounts(accounts: Accounts) -> list[dict[str, Number]]:
    """Metrics of totals of many accounts: one dict each."""
    columns = {name: function(accounts).tolist() for name, function in TOTALS_METRICS.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def of_samples(result: ResultData) -> dict[str, Number]:
    """Metrics of the equity samples."""
    return {name: function(result) for name, function in SAMPLE_METRICS.items()}


def of_user(result: ResultData) -> dict[str, Number]:
    """Metrics that were registered with `nbtrade.metric`."""
    return {name: _user_value(name, function, result) for name, function in USER_METRICS.items()}


def _user_value(name: str, function: Metric, result: ResultData) -> Number:
    try:
        value = function(result)
    except Exception as error:
        error.add_note(
            f"raised by the metric {name} on the result of {result.symbol or 'an instrument'}, {result.strategy or 'no strategy'}"
        )
        raise
    return _plain(name, value)


def _plain(name: str, value: Any) -> Number:
    """A Python int or float. Raises ResultError for anything else."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | float):
        raise ResultError(f"metric {name} returned {value!r}: a metric must return one int or float")
    return value


@cache
def _labels(names: tuple[str, ...]) -> "pd.Index":
    """The labels of a summary, made once: pandas takes 0.2 ms. Callers receive views: an index has a name that can be set."""
    import pandas as pd

    return pd.Index(names)


# --- totals: of one account, or of an array of them ------------------------------------------------------------
@_add_to(TOTALS_METRICS)
def net_pnl(result: Totals) -> Any:
    """Profit after fees, the position marked at the last mid; NaN if a position is open and the market one-sided."""
    return gross_pnl(result) - result.account["fees"]


@_add_to(TOTALS_METRICS)
def gross_pnl(result: Totals) -> Any:
    """Profit before fees, the position marked at the last mid; NaN if a position is open and the market one-sided."""
    a, bid, ask = result.account, int(result.market["bid_px"]), int(result.market["ask_px"])
    mid = float("nan") if UNDEF_PRICE in (bid, ask) else (bid + ask) / 2
    if not isinstance(a, np.ndarray):
        held, cash = int(a["position"]), int(a["cash"])
        return (cash + (held * mid if held else 0.0)) * result.tick_lot
    return (a["cash"] + np.where(a["position"] != 0, a["position"] * mid, 0.0)) * result.tick_lot


@_add_to(TOTALS_METRICS)
def fees(result: Totals) -> Any:
    """Fees paid, currency; negative if rebates exceed them."""
    return result.account["fees"]


@_add_to(TOTALS_METRICS)
def position(result: Totals) -> Any:
    """Lots held at the end."""
    return result.account["position"]


@_add_to(TOTALS_METRICS)
def traded_size(result: Totals) -> Any:
    """Lots traded."""
    return result.account["maker_qty"] + result.account["taker_qty"]


@_add_to(TOTALS_METRICS)
def maker_size(result: Totals) -> Any:
    """Lots traded as maker."""
    return result.account["maker_qty"]


@_add_to(TOTALS_METRICS)
def turnover(result: Totals) -> Any:
    """Value of all fills, currency."""
    return (result.account["maker_value"] + result.account["taker_value"]) * result.tick_lot


def _count(name: str, text: str) -> None:
    def count(result: Totals) -> Any:
        return result.account[name]

    count.__name__, count.__doc__ = name, text
    _add_to(TOTALS_METRICS)(count)


_count("n_fills", "Number of fills.")
_count("n_orders", "Number of orders sent.")
_count("n_cancelled", "Number of orders cancelled.")
_count("n_rejected", "Number of orders that the exchange rejected.")
_count("n_refused", "Number of orders and changes that were not sent; `Result.refusals` has the causes.")
_count("n_too_late", "Number of cancels and replaces that arrived after their order was done.")


# --- fills -------------------------------------------------------------------------------------------------
@_add_to(FILL_METRICS)
def realised_pnl(result: ResultData) -> float:
    """Profit of closed positions before fees, by average cost."""
    return float(result.positions[0][-1] * result.tick_lot) if len(result.fill_rows) else 0.0


@_add_to(FILL_METRICS)
def unrealised_pnl(result: ResultData) -> float:
    """Profit of the open position before fees."""
    return float(gross_pnl(result)) - realised_pnl(result)


# --- samples -----------------------------------------------------------------------------------------------
@_add_to(SAMPLE_METRICS)
def peak_position(result: ResultData) -> int:
    """The largest absolute position at a sample, lots."""
    return int(np.abs(result.sample_rows["position"]).max(initial=0))


@_add_to(SAMPLE_METRICS)
def max_drawdown(result: ResultData) -> float:
    """The largest fall of net profit from an earlier peak, measured at samples; currency."""
    net = result.net_path[1]
    return float((np.maximum.accumulate(net) - net).max(initial=0.0))


@_add_to(SAMPLE_METRICS)
def sharpe(result: ResultData) -> float:
    """Annualised Sharpe ratio of the changes of net profit between samples; NaN without two changes that differ."""
    ts, net = result.net_path
    steps = net[1:] - net[:-1]
    n = len(steps)
    if n < 2:
        return float("nan")
    mean = np.add.reduce(steps) / n
    steps -= mean
    spread = np.sqrt(np.add.reduce(steps * steps) / (n - 1))  # as steps.std(ddof=1), in half the time
    if spread == 0.0:
        return float("nan")
    return float(mean / spread * np.sqrt(YEAR_NS / (int(ts[-1] - ts[0]) / n)))


# --- the run -----------------------------------------------------------------------------------------------
@_add_to(RUN_METRICS)
def n_wakes(result: ResultData) -> int:
    """Number of calls of the strategy."""
    return result.info.n_wakes


@_add_to(RUN_METRICS)
def n_rows(result: ResultData) -> int:
    """Number of rows that the exchange's clock passed."""
    return result.info.n_rows
