"""Every dtype, unit, code and sentinel, once.

Units: `ts` int64 ns since the epoch, UTC; `px` integer ticks; `qty` integer lots; `side` 0 bid, 1 ask.
Raw vendor prices are `price`: int64 times 1e-9, as Databento has them. Ids and times that the vendor
declares unsigned are read as int64: bit for bit the same, so Numba never mixes signs (a ternary of
0 and a uint64 goes through float64 and loses the low bits of a 64-bit id).
"""

from enum import EnumType, IntEnum, IntFlag

import numpy as np

FORMAT_VERSION = 4  # of the tape; a reader refuses all others


# --- public codes ------------------------------------------------------------------------------------
class CodeGroup(EnumType):
    """Metaclass of the public codes. Compiled code reads their members as plain integers (_numba/codes.py)."""


class Side(IntEnum, metaclass=CodeGroup):
    """Side of an order, and of the aggressor of a trade.

    Attributes
    ----------
    BID : int
        Buy; 0.
    ASK : int
        Sell; 1.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.Side.ASK == nbtrade.ASK == 1
    True
    """

    BID = 0
    ASK = 1


class OrderType(IntEnum, metaclass=CodeGroup):
    """Type of an order.

    Attributes
    ----------
    LIMIT : int
        Trades at its price or better; its remainder may rest.
    MARKET : int
        Trades at any price; never rests.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.OrderType.MARKET == nbtrade.MARKET == 1
    True
    """

    LIMIT = 0
    MARKET = 1


class TimeInForce(IntEnum, metaclass=CodeGroup):
    """How long an order stays open.

    Attributes
    ----------
    GTC : int
        Good till cancelled; across sessions.
    DAY : int
        Until the session ends.
    IOC : int
        Immediate or cancel: fills as much as possible on arrival; the remainder is cancelled.
    FOK : int
        Fill or kill: fills completely on arrival or not at all.

    Examples
    --------
    >>> import nbtrade
    >>> [code.name for code in nbtrade.TimeInForce]
    ['GTC', 'DAY', 'IOC', 'FOK']
    """

    GTC = 0
    DAY = 1
    IOC = 2
    FOK = 3


class FillRule(IntEnum, metaclass=CodeGroup):
    """Assumed position of a resting order in its queue.

    Attributes
    ----------
    FIFO : int
        Behind the orders that rest there on its arrival.
    OPTIMISTIC : int
        Ahead of them.
    CONSERVATIVE : int
        Behind them and behind all that arrive later.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.FillRule.FIFO.name
    'FIFO'
    """

    FIFO = 0
    OPTIMISTIC = 1
    CONSERVATIVE = 2


class Wake(IntFlag, metaclass=CodeGroup):
    """Why a strategy is woken; `market.wake` has every reason that applies, as bits.

    Attributes
    ----------
    TIMER : int
        The strategy's timer.
    EVENT : int
        An exchange event ended.
    TOP : int
        The best prices or their lots changed.
    TRADE : int
        A trade.
    ACK, FILL : int
        A report about an own order arrived: an acknowledgement or other answer, a fill.
    START, END : int
        Start and end of the session.

    Examples
    --------
    >>> import nbtrade
    >>> nbtrade.Wake.TOP | nbtrade.Wake.TRADE
    <Wake.TOP|TRADE: 12>
    """

    TIMER = 1
    EVENT = 2
    TOP = 4
    TRADE = 8
    ACK = 16
    FILL = 32
    START = 64
    END = 128


BID, ASK = Side
LIMIT, MARKET = OrderType
GTC, DAY, IOC, FOK = TimeInForce
FIFO, OPTIMISTIC, CONSERVATIVE = FillRule

# --- sentinels ---------------------------------------------------------------------------------------
NONE = -1  # the only "no such index"
UNKNOWN = -1  # lots that the strategy cannot know yet
UNDEF_PRICE = 2**63 - 1  # Databento's "no price"; also "no px" wherever a px is int64
PRICE_SCALE = 1_000_000_000  # raw price units in one unit of currency
LOT_SCALE = 1_000_000_000  # units of `lot_units` in one unit of the asset: shares, contracts, coins

# --- vendor record flags (Databento) ---------------------------------------------------------------
F_LAST, F_TOB, F_SNAPSHOT, F_BAD_TS_RECV, F_MAYBE_BAD_BOOK = 128, 64, 32, 8, 4

# One Databento MBO record, 56 bytes, little-endian. Source: DBN specification, `MboMsg`.
RECORD = np.dtype(
    [
        ("length", "u1"),  # in 4-byte words
        ("rtype", "u1"),  # 160 for MBO
        ("publisher_id", "<u2"),
        ("instrument_id", "<u4"),
        ("ts_event", "<i8"),  # ns, the exchange's clock
        ("order_id", "<i8"),
        ("price", "<i8"),  # 1e-9
        ("size", "<u4"),
        ("flags", "u1"),
        ("channel_id", "u1"),
        ("action", "u1"),  # ASCII: A C M R T F N
        ("side", "u1"),  # ASCII: B A N
        ("ts_recv", "<i8"),  # ns, the capture server's clock
        ("ts_in_delta", "<i4"),
        ("sequence", "<u4"),
    ],
    align=True,
)
RTYPE_MBO = 160

# --- the tape ----------------------------------------------------------------------------------------
# Kinds of event. Kinds below TRADE change the book; the others never do.
ADD, CANCEL, EXEC, TRADE, MARK = 0, 1, 2, 3, 4

# Event flags. LAST ends an exchange event: the book is consistent only there. TURN: the row's level became empty or nonempty.
# CONTINUED: the row carries more lots of the change (or trade) in the row before.
LAST, SNAPSHOT, GAP, NO_SIDE, OFF_TICK, CLEARED, TURN, CONTINUED = 1, 2, 4, 8, 16, 32, 64, 128

# One row of a tape, 16 bytes, complete in itself. A change of more than MAX_ROW_LOTS is a chain of rows: the first one has the lots that
# fit and the change of the order count, the rows behind it are flagged CONTINUED and only carry lots. All but the last are full. A chain
# lies inside one event; its rows share price, side, kind, priority, order id and the remaining flags.
MAX_ROW_LOTS = 2**31 - 1
EVENT = np.dtype(
    [
        ("px", "i4"),  # ticks
        ("qty", "i4"),  # lots: signed change of the level; for TRADE the lots traded; for MARK 0
        ("prio", "i4"),  # queue priority of the order: the row that put it at the back; TRADE, MARK: -1
        ("kind", "u1"),  # ADD CANCEL EXEC TRADE MARK
        ("side", "u1"),  # BID ASK: of the resting order; for TRADE the aggressor's
        ("flags", "u1"),  # LAST SNAPSHOT GAP NO_SIDE OFF_TICK CLEARED TURN CONTINUED
        ("d_orders", "i1"),  # change of the number of orders at the level: -1, 0, 1; 0 where CONTINUED
    ],
    align=True,
)
# The same bytes with the last four fields as one word, for the hottest loop: one load and one test tell a common row from a rare one.
ROW = np.dtype([("px", "i4"), ("qty", "i4"), ("prio", "i4"), ("word", "i4")], align=True)  # word: kind | side<<8 | flags<<16 | d_orders<<24
MAX_ROWS = 2**31 - 1  # `prio` is an i4

# A live order in a checkpoint, ordered by prio; its id is that of row `prio`.
LIVE = np.dtype([("prio", "i4"), ("px", "i4"), ("qty", "i8"), ("side", "i8")], align=True)  # no padding: every byte is hashed
# One checkpoint: the orders live before row `row` are live[start : start + n].
CHECKPOINT = np.dtype([("row", "i8"), ("start", "i8"), ("n", "i8")], align=True)
CHECKPOINT_ROWS = 1 << 17  # a checkpoint's replay is then 0.5 ms at most

# The files of a tape: NAME.col, columns as nbtrade.Column writes and reads them (storage/columns/header.py).
COLUMNS = {
    "events": EVENT,
    "ts_event": np.dtype("<i8"),  # ns: when the event ended on the exchange's clock, never backwards
    "ts_recv": np.dtype("<i8"),  # ns: when its last message was received, never backwards
    "order_id": np.dtype("<i8"),
    "sequence": np.dtype("<u4"),
    "checkpoints": CHECKPOINT,
    "live": LIVE,
}
ROW_COLUMNS = ("events", "ts_event", "ts_recv", "order_id", "sequence")

# --- logs of a run --------------------------------------------------------------------------------------
# Text of the codes of own orders: states, why an order ended, why one was not sent (engine/kernels/records.py).
STATES = ("free", "sent", "working", "filled", "cancelled", "rejected")
ORDER_TYPES, TIMES_IN_FORCE, FILL_RULES = (tuple(code.name.lower() for code in group) for group in (OrderType, TimeInForce, FillRule))
REASONS = ("", "price out of range", "would cross", "killed", "unfilled rest", "self match", "replaced down", "expired", "by us")
REFUSALS = (
    "",
    "no slot",
    "bad order",
    "max_order",
    "max_position",
    "max_open",
    "max_loss",
    "max_rate",
    "not open",
    "too many replaces in flight",
)

FILL = np.dtype(
    [
        ("ts", "i8"),  # exchange clock
        ("order_id", "i8"),
        ("row", "i8"),  # tape row that caused it; for a taker the next row
        ("px", "i4"),
        ("qty", "i4"),
        ("account", "i4"),
        ("side", "i2"),  # wide enough that the record has no padding
        ("maker", "i2"),
    ],
    align=True,
)

# One account's true position and cash at a sampling time.
SAMPLE = np.dtype(
    [
        ("ts", "i8"),
        ("bid_px", "i8"),
        ("ask_px", "i8"),
        ("position", "i8"),
        ("cash", "i8"),
        ("maker_qty", "i8"),
        ("taker_qty", "i8"),
        ("maker_value", "i8"),
        ("taker_value", "i8"),
        ("sell_qty", "i8"),
        ("sell_value", "i8"),
        ("account", "i4"),
        ("instrument", "i4"),
    ],
    align=True,
)

# --- results (results/data.py) -----------------------------------------------------------------------------
# One order of the account, at the end of the run. No gaps between the fields: rows are compared and hashed as bytes.
ORDER = np.dtype(
    [
        ("id", "i8"),  # the account's orders are numbered from 0
        ("sent", "i8"),  # ts on our clock; 0: not yet, here and in the next two
        ("arrived", "i8"),  # ts at the exchange
        ("done", "i8"),  # ts at the exchange
        ("joined", "i8"),  # tape row before which it joined its last queue; -1: unknown
        ("ahead", "i8"),  # lots ahead of it when it joined
        ("ahead_last", "i8"),  # lots ahead of it at the end of the run
        ("px", "i4"),  # ticks, at the exchange
        ("qty", "i4"),  # lots ordered
        ("leaves", "i4"),  # lots not filled
        ("side", "i1"),  # BID ASK
        ("type", "i1"),  # LIMIT MARKET
        ("tif", "i1"),  # GTC DAY IOC FOK; a market order's is IOC or FOK
        ("post_only", "i1"),  # 1: rejected rather than take liquidity
        ("state", "i1"),  # index into STATES
        ("reason", "i1"),  # index into REASONS
        ("rule", "i2"),  # FIFO OPTIMISTIC CONSERVATIVE
        ("requeued", "i4"),  # 1: a replace sent it to the back of a queue after its arrival
    ]
)

# Totals of one account on one instrument, at the exchange.
TOTALS = np.dtype(
    [
        ("position", "i8"),  # lots
        ("cash", "i8"),  # tick-lots
        ("maker_qty", "i8"),  # lots
        ("taker_qty", "i8"),
        ("maker_value", "i8"),  # tick-lots
        ("taker_value", "i8"),
        ("sell_qty", "i8"),  # maker and taker together
        ("sell_value", "i8"),
        ("n_fills", "i8"),
        ("n_orders", "i8"),
        ("n_cancelled", "i8"),
        ("n_rejected", "i8"),
        ("n_refused", "i8"),  # orders and changes that were not sent
        ("n_too_late", "i8"),  # cancels and replaces that arrived after the order was done
        ("refusals", "i8", (len(REFUSALS),)),  # refused orders and changes by cause
        ("realised", "f8"),  # tick-lots, as the account knew it
        ("fees", "f8"),  # currency
    ]
)

# The market as the strategy last saw it. Prices in ticks, UNDEF_PRICE if there is none; `last_side` is the aggressor's, -1: unknown.
LAST_MARKET = np.dtype(
    [
        (name, "i8")
        for name in (
            "ts",
            "bid_px",
            "ask_px",
            "bid_qty",
            "ask_qty",
            "bid_orders",
            "ask_orders",
            "last_px",
            "last_qty",
            "last_side",
            "volume",
            "n_events",
        )
    ]
)

NO_RECORDS = np.dtype([("ts", "i8")])  # for a strategy that records nothing; recorded fields follow as f8
