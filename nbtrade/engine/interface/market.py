"""The market, as a strategy sees it."""

from nbtrade.engine.interface.argument import Argument


class Market(Argument):
    """The market as the feed has shown it so far: the top of the local book, the last trade, and methods for deeper levels.

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
        Aggressor's side of the last trade: `BID` bought. -1 before the first trade, and if the exchange does not report it.
    volume : int
        Lots traded since the start of the run.
    n_events : int
        Exchange events since the start of the run.
    wake : int
        Reasons of this call, as bits of `Wake`.
    n_instruments : int
        Instruments of the run.
    is_two_sided : bool
        True if both sides have a price.
    mid : float
        Midway between the best prices, ticks. NaN if a side is empty.

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
    is_two_sided: bool
    mid: float

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
            If `side` is neither `BID` nor `ASK`.
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
            If `side` is neither `BID` nor `ASK`.
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
            If `side` is neither `BID` nor `ASK`, or `n` is negative.
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
            If `side` is neither `BID` nor `ASK`, or `n` is negative.
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
