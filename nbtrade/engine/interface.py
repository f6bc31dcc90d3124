"""What a strategy sees and can do: `Market`, `Account`, `Order`, `Params`, `State`, `Features`, `Record`.

These classes document the arguments of a strategy and annotate them, so that an editor completes their names and mypy checks them. The
compiler ignores annotations: the values are records in the engine's memory (engine/kernels/market.py, shown.py, account.py), and a test
compares their fields, methods and signatures with these.

Everything here is what a trader can know at that moment. `UNKNOWN` (-1) stands for a number that cannot be known yet, `UNDEF_PRICE` for
the price of an empty side.
"""

from typing import Any

from nbtrade.schema import GTC, LIMIT


class _Argument:
    """Base of the classes here: they are for annotations, not to be made."""

    def __new__(cls, *args: Any, **kws: Any) -> Any:
        raise TypeError(f"nbtrade.{cls.__name__} annotates an argument of a strategy; the engine makes the object itself")


class Market(_Argument):
    """The market as the feed has shown it by now: the top of the local book, the last trade, and methods that look deeper.

    Prices are integer ticks, `UNDEF_PRICE` where there is none; quantities are lots; times are ns since the epoch, UTC. Everything lags the
    exchange by the feed's latency. All fields are read-only.

    Attributes
    ----------
    ts : int
        Local time of this wake, ns.
    bid_px, ask_px : int
        Best prices, ticks. `UNDEF_PRICE` for an empty side.
    bid_qty, ask_qty : int
        Lots at the best prices, 0 for an empty side.
    bid_orders, ask_orders : int
        Orders at the best prices.
    last_px : int
        Price of the last trade, ticks. `UNDEF_PRICE` before the first.
    last_qty : int
        Lots of the last trade.
    last_side : int
        Aggressor's side of the last trade: `BID` bought. -1 before the first trade, and where the exchange does not say.
    volume : int
        Lots traded since the start of the run.
    n_events : int
        Exchange events since the start of the run.
    wake : int
        Reasons of this call, as bits of `Wake`.
    n_instruments : int
        Instruments of the run.

    Examples
    --------
    >>> def strategy(market: Market, account: Account) -> None:
    ...     if market.wake & nbtrade.Wake.TRADE and market.last_side == nbtrade.BID:
    ...         account.quote(nbtrade.BID, market.bid_px, 1)
    """

    ts: int
    bid_px: int
    ask_px: int
    bid_qty: int
    ask_qty: int
    bid_orders: int
    ask_orders: int
    last_px: int
    last_qty: int
    last_side: int
    volume: int
    n_events: int
    wake: int
    n_instruments: int

    def qty_at(self, side: int, px: int) -> int:
        """Lots that rest at a price.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        px : int
            Price, ticks.

        Returns
        -------
        int
            Lots in the local book, 0 for an empty level.

        Raises
        ------
        ValueError
            For anything that is not a side.
        """
        raise NotImplementedError

    def orders_at(self, side: int, px: int) -> int:
        """Number of orders that rest at a price.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        px : int
            Price, ticks.

        Returns
        -------
        int
            Orders in the local book.

        Raises
        ------
        ValueError
            For anything that is not a side.
        """
        raise NotImplementedError

    def level(self, side: int, n: int) -> int:
        """Price of the n-th best level.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        n : int
            0 for the best level.

        Returns
        -------
        int
            Ticks; `UNDEF_PRICE` where the side has fewer levels.

        Raises
        ------
        ValueError
            For anything that is not a side, and for a negative `n`.
        """
        raise NotImplementedError

    def depth(self, side: int, n: int) -> int:
        """Lots on the best n levels of a side.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        n : int
            Number of levels.

        Returns
        -------
        int
            Lots in the local book.

        Raises
        ------
        ValueError
            For anything that is not a side, and for a negative `n`.
        """
        raise NotImplementedError

    def on(self, i: int) -> "Market":
        """The market of another instrument of the run.

        Parameters
        ----------
        i : int
            Index of the instrument, in the order of the tapes.

        Returns
        -------
        Market
            Its market at this wake. `wake` is meaningful on instrument 0 only.

        Raises
        ------
        IndexError
            If the run has no such instrument.
        """
        raise NotImplementedError


class Order(_Argument):
    """One of the account's orders as reports have told it: `account.order(slot)`.

    Reports arrive after the response latency, so an order that the exchange has just filled still reads as working. All fields are
    read-only.

    Attributes
    ----------
    id : int
        Number of the order; an account numbers its orders from 0.
    side : int
        `BID` or `ASK`.
    type : int
        `LIMIT` or `MARKET`.
    tif : int
        `GTC`, `DAY`, `IOC` or `FOK`.
    post_only : int
        1 if the order must not take liquidity.
    requested_px : int
        Price as last sent, ticks.
    requested_qty : int
        Total size as last sent, lots, with those already filled.
    filled : int
        Lots filled, by the reports so far.
    leaves : int
        Lots left, by the reports so far.
    status : int
        0 free, 1 sent, 2 working, 3 filled, 4 cancelled, 5 rejected: by the reports so far.
    cancelling : int
        1 once a cancel has been sent.
    pending_replaces : int
        Replaces whose answers have not arrived.
    sent : int
        Local time at which it was sent, ns.
    """

    id: int
    side: int
    type: int
    tif: int
    post_only: int
    requested_px: int
    requested_qty: int
    filled: int
    leaves: int
    status: int
    cancelling: int
    pending_replaces: int
    sent: int


class Account(_Argument):
    """The account on one instrument as reports have told it, and the orders it can send.

    Prices are integer ticks, quantities lots, money tick-lots. All fields are read-only; reports update them after the response latency.
    A method that refuses counts the refusal in `n_refused` and leaves its cause in `reject_reason`.

    Attributes
    ----------
    position : int
        Lots; negative for a short position.
    cash : int
        Tick-lots, without fees.
    average_px : float
        Average price of the open position, ticks.
    realised : float
        Realised profit, tick-lots, without fees.
    n_open : int
        Orders not known to be done.
    open_bid, open_ask : int
        Lots of those orders that may still fill, by side.
    quote_bid, quote_ask : int
        Slots of the orders that `quote` sent last, -1 without one. The order may be done by now.
    n_orders : int
        Orders sent so far.
    n_refused : int
        Orders and changes that were not sent.
    reject_reason : int
        Cause of the last one: 1 no free slot, 2 bad order, 3 order size, 4 position, 5 open orders, 6 loss, 7 message rate, 8 not open,
        9 too many replaces under way; 0 before the first.
    capacity : int
        Order slots, numbered from 0.

    Examples
    --------
    >>> def strategy(market: Market, account: Account) -> None:
    ...     if account.n_open == 0:
    ...         account.submit(nbtrade.BID, market.bid_px, 1, tif=nbtrade.DAY, post_only=True)
    """

    position: int
    cash: int
    average_px: float
    realised: float
    n_open: int
    open_bid: int
    open_ask: int
    quote_bid: int
    quote_ask: int
    n_orders: int
    n_refused: int
    reject_reason: int
    capacity: int

    def submit(
        self,
        side: int,
        px: int,
        qty: int,
        type: int = LIMIT,  # noqa: A002 - FIX's and Databento's word
        tif: int = GTC,
        post_only: bool = False,
    ) -> int:
        """Send an order.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        px : int
            Limit price, ticks. Ignored for a market order.
        qty : int
            Lots.
        type : int, default LIMIT
            `LIMIT` or `MARKET`.
        tif : int, default GTC
            `GTC` stands until it is cancelled, `DAY` until the session ends, `IOC` fills what it can on arrival, `FOK` fills completely on
            arrival or not at all. A market order is IOC unless it is FOK.
        post_only : bool, default False
            The exchange rejects the order if it would take liquidity.

        Returns
        -------
        int
            Its slot, or -1 if it was refused: a side, price or size that no order can have, a combination that makes no sense (post-only
            with IOC, FOK or a market order; a market order for the day), no free slot, or a risk limit.

        Examples
        --------
        >>> def strategy(market: Market, account: Account) -> None:
        ...     account.submit(nbtrade.ASK, market.ask_px, 2, tif=nbtrade.IOC)
        """
        raise NotImplementedError

    def market(self, side: int, qty: int) -> int:
        """Send a market order: it walks the book on arrival, and the remainder is cancelled.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        qty : int
            Lots.

        Returns
        -------
        int
            Its slot, or -1 if it was refused.
        """
        raise NotImplementedError

    def replace(self, slot: int, px: int, qty: int) -> bool:
        """Ask for another price and total size of an open order.

        Another price or a larger size sends it to the back of the queue; a smaller size keeps its place. A size of no more than what is
        filled ends it.

        Parameters
        ----------
        slot : int
            Slot of the order.
        px : int
            New price, ticks.
        qty : int
            New total size, lots, with those already filled.

        Returns
        -------
        bool
            True if it was sent. False for a market order, an order known to be done or with a cancel under way, and what `submit` refuses.
        """
        raise NotImplementedError

    def cancel(self, slot: int) -> bool:
        """Send a cancel.

        Parameters
        ----------
        slot : int
            Slot of the order.

        Returns
        -------
        bool
            True if it was sent. False for an order known to be done or with a cancel under way.
        """
        raise NotImplementedError

    def cancel_all(self) -> int:
        """Send a cancel for every open order.

        Returns
        -------
        int
            How many were sent.
        """
        raise NotImplementedError

    def flatten(self) -> int:
        """Cancel everything and send a market order for the known position.

        A position larger than an order can be (2**30 lots) takes several calls.

        Returns
        -------
        int
            Slot of the market order, -1 if there is none.
        """
        raise NotImplementedError

    def quote(self, side: int, px: int, qty: int, tif: int = GTC, post_only: bool = False) -> int:
        """Keep one order on a side: leave it if it stands at the price, else replace it or send a new one.

        A price or size that no order can have (NaN, `UNDEF_PRICE`) is refused, and withdraws the quote. A change that the risk limits
        refuse leaves the quote as it is.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        px : int
            Price, ticks.
        qty : int
            Lots; 0 or less withdraws the quote.
        tif : int, default GTC
            `GTC` or `DAY`, for an order that is sent anew. One that stands keeps its own.
        post_only : bool, default False
            Likewise.

        Returns
        -------
        int
            Slot of the order that stands for the quote, -1 if there is none.
        """
        raise NotImplementedError

    def is_open(self, slot: int) -> bool:
        """Whether the order in a slot is not known to be done.

        Parameters
        ----------
        slot : int
            Slot of the order. A slot that does not exist has no open order.

        Returns
        -------
        bool
            True from sending until the report of its end arrives.
        """
        raise NotImplementedError

    def order(self, slot: int) -> Order:
        """The order in a slot, as reports have told it.

        Parameters
        ----------
        slot : int
            Slot of the order. A slot is used again once its order is done.

        Returns
        -------
        Order
            A read-only record.

        Raises
        ------
        IndexError
            For a slot that the account does not have.
        """
        raise NotImplementedError

    def ahead(self, slot: int) -> int:
        """Lots of the market ahead of an order in its queue, as the feed has shown them.

        Parameters
        ----------
        slot : int
            Slot of the order.

        Returns
        -------
        int
            Lots; `UNKNOWN` while any message or report about the order is under way, until the feed has shown the moment at which it joined
            its queue, and for an order that is not open.
        """
        raise NotImplementedError

    def behind(self, slot: int) -> int:
        """Lots of the market behind an order in its queue, as the feed has shown them.

        Parameters
        ----------
        slot : int
            Slot of the order.

        Returns
        -------
        int
            Lots; `UNKNOWN` when `ahead` is.
        """
        raise NotImplementedError

    def on(self, i: int) -> "Account":
        """The same account on another instrument of the run.

        Parameters
        ----------
        i : int
            Index of the instrument, in the order of the tapes.

        Returns
        -------
        Account
            Its orders, position and cash there.

        Raises
        ------
        IndexError
            If the run has no such instrument.
        """
        raise NotImplementedError


class _Named(_Argument):
    """Fields that the strategy's own decorator names."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Params(_Named):
    """Parameters of the strategy: what `params=` names, read-only, one set for each account.

    Examples
    --------
    >>> def strategy(params: Params) -> None:
    ...     px_offset = params.edge
    """


class State(_Named):
    """Memory of the strategy: what `state=` names. Kept from one wake to the next, one record for each account."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Features(_Named):
    """Features, as last known at this wake: `features.name`, or `features[i]` for a column of a matrix; NaN before the first."""

    def __getitem__(self, i: int) -> float:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class Record(_Named):
    """What the strategy records: float fields named by `record=`. A wake that sets any of them appends a row to `result.records`."""

    def __setattr__(self, name: str, value: float) -> None:
        raise AttributeError(name)
