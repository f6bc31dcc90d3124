"""The account and its orders, as a strategy sees them."""

import numpy as np
from numpy.typing import NDArray

from nbtrade.engine.interface.argument import Argument
from nbtrade.schema import GTC, LIMIT


class Order(Argument):
    """One of the account's orders, according to the reports received: `account.order(slot)`.

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
        Total size as last sent, lots, filled ones included.
    filled : int
        Lots filled, according to the reports so far.
    leaves : int
        Lots still open, according to the reports so far.
    status : int
        0 free, 1 sent, 2 working, 3 filled, 4 cancelled, 5 rejected; according to the reports so far.
    cancelling : int
        1 once a cancel has been sent.
    pending_replaces : int
        Replaces whose answers have not arrived.
    sent : int
        Local time at which it was sent, ns.

    Examples
    --------
    >>> def strategy(market: Market, account: Account) -> None:
    ...     if account.is_open(0) and account.order(0).requested_px != market.bid_px:
    ...         account.cancel(0)
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


class Account(Argument):
    """The account on one instrument, according to the reports received, and its methods to send orders.

    Prices are integer ticks, quantities lots, money tick-lots. All fields are read-only; reports update them after the response latency.
    A refusal is counted in `n_refused`, and its cause is stored in `reject_reason`.

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
        Slots of the orders that `quote` sent last, -1 if there is none. The order may already be done.
    n_orders : int
        Orders sent so far.
    n_refused : int
        Orders and changes that were not sent.
    refusals : array of int
        The same by cause, indexed by the values of `reject_reason`; read-only.
    reject_reason : int
        Cause of the last refusal: 1 no free slot, 2 bad order, 3 order size, 4 position, 5 open orders, 6 loss, 7 message rate, 8 not open,
        9 too many replaces in flight; 0 before the first.
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
    refusals: NDArray[np.int64]
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
            `GTC` rests until it is cancelled, `DAY` until the session ends, `IOC` fills what it can on arrival, `FOK` fills completely on
            arrival or not at all. A market order is IOC unless it is FOK.
        post_only : bool, default False
            The exchange rejects the order if it would take liquidity.

        Returns
        -------
        int
            Its slot, or -1 if it was refused: an invalid side, price or size, an invalid combination (post-only with IOC, FOK or a market
            order; a market order with DAY), no free slot, or a risk limit.

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
        """Request a new price and total size for an open order.

        A new price or a larger size sends it to the back of the queue; a smaller size keeps its queue position. If the new size does not
        exceed the lots already filled, the order ends.

        Parameters
        ----------
        slot : int
            Slot of the order.
        px : int
            New price, ticks.
        qty : int
            New total size, lots, filled ones included.

        Returns
        -------
        bool
            True if it was sent. False for a market order, an order known to be done or being cancelled, and anything `submit` refuses.
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
            True if it was sent. False for an order known to be done or being cancelled.
        """
        raise NotImplementedError

    def cancel_all(self) -> int:
        """Send a cancel for every open order.

        Returns
        -------
        int
            Number of cancels sent.
        """
        raise NotImplementedError

    def flatten(self) -> int:
        """Cancel everything and send a market order for the known position.

        A position larger than the largest order (2**30 lots) takes several calls.

        Returns
        -------
        int
            Slot of the market order, -1 if there is none.
        """
        raise NotImplementedError

    def quote(self, side: int, px: int, qty: int, tif: int = GTC, post_only: bool = False) -> int:
        """Keep one order on a side: leave it if it is already at the price, else replace it or send a new one.

        An invalid price or size (NaN, `UNDEF_PRICE`) is refused, and the quote is cancelled. If risk limits refuse a change, the quote
        stays unchanged.

        Parameters
        ----------
        side : int
            `BID` or `ASK`.
        px : int
            Price, ticks.
        qty : int
            Lots; 0 or less cancels the quote.
        tif : int, default GTC
            `GTC` or `DAY`, for a new order. An open one keeps its own.
        post_only : bool, default False
            For a new order, likewise.

        Returns
        -------
        int
            Slot of the quote's order, -1 if there is none.
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
            True from sending until the report that it is done arrives.
        """
        raise NotImplementedError

    def order(self, slot: int) -> Order:
        """The order in a slot, according to the reports received.

        Parameters
        ----------
        slot : int
            Slot of the order. A slot is reused once its order is done.

        Returns
        -------
        Order
            A read-only record.

        Raises
        ------
        IndexError
            If the account has no such slot.
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
            Lots; `UNKNOWN` while any message or report about the order is in flight, until the feed has reached the moment at which it
            joined its queue, and for an order that is not open.
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
            Lots; `UNKNOWN` whenever `ahead` is.
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
