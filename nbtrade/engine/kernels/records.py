"""The records of a run: exchange, accounts, and the messages between them.

    RUN ──> INSTRUMENT_STATE[instrument] ──> rows of the tape, two books, own orders, message and report rings, logs      all by address
        └─> ACCOUNT[instrument, account] ──> its order slots, its instrument
        └─> params[account], state[account], MARKET[instrument], log of recorded rows

An INSTRUMENT_STATE is one instrument in the run: its tape, the exchange's book and the local book. One record holds both views of an order:
the exchange's (`state`, `leaves`, `ahead`) and the account's (`status`, `known_leaves`, `requested_*`), which follows when reports arrive.
A slot is reused once the order is done in both views and has no message or report in flight.

Money is exact here: `cash` and `*_value` count tick-lots in int64; currency and fees begin in results.
"""

import numpy as np

from nbtrade._numba.jit import helper
from nbtrade._numba.pointers import i4_at, i8_at, pointer_to
from nbtrade._numba.records import record_at, record_type
from nbtrade.book.kernels.pointers import BOOK_FIELDS, levels_at, sides_at
from nbtrade.schema import FILL, SAMPLE, TimeInForce, Wake

# states of an order, at the exchange and as the account knows it
FREE, SENT, WORKING, FILLED, CANCELLED, REJECTED = range(6)
# why the exchange ended, or did not change, an order
OK, PRICE, WOULD_CROSS, KILLED, UNFILLED, SELF_MATCH, REPLACED_DOWN, EXPIRED, BY_US = range(9)
# why an order or a change was not even sent
NO_SLOT, BAD_ORDER, RISK_ORDER, RISK_POSITION, RISK_OPEN, RISK_LOSS, RISK_RATE, NOT_OPEN, TOO_MANY = range(1, 10)
NEW, CANCEL_ORDER, REPLACE = 0, 1, 2  # messages
ACK, FILL_REPORT, CANCELLED_REPORT, REJECTED_REPORT, REPLACED, REPLACE_REJECTED, TOO_LATE = range(
    7
)  # reports; TOO_LATE never wakes a strategy
SAMPLING = 1 << 8  # an equity sample, not a wake
WAKES = {wake.name.lower(): int(wake) for wake in Wake if wake is not Wake.TIMER and wake.name}
BY_MARKET = int(Wake.EVENT | Wake.TOP | Wake.TRADE)
BY_REPORT = int(Wake.ACK | Wake.FILL)
NEVER = 2**62
CONSTANT, RANDOM, MEASURED = 0, 1, 2  # kinds of latency
MAX_PX = 1 << 30  # ticks an own order's price may have, and lots its size
# OWN's byte `instructions`: type | tif << TIF | post_only << POST. TAKEN is not an order: engine/kernels/own_queue.py.
TIF, POST = 1, 3
IS_MARKET, IS_POST_ONLY, TAKEN = 1, 1 << POST, 16
TIF_BITS = 3 << TIF
IS_DAY, IS_FOK = TimeInForce.DAY << TIF, TimeInForce.FOK << TIF
NEVER_RESTS = TimeInForce.IOC << TIF  # this bit: IOC or FOK, and so every market order

OWN = np.dtype(
    [
        # the fields that `quote` reads come first: one cache line
        ("id", "i8"),  # the account's orders are numbered from 0
        ("requested_px", "i4"),  # ticks, as last sent
        ("requested_qty", "i4"),  # lots in total, as last sent
        ("known_leaves", "i4"),  # lots left, as the account knows it
        ("filled", "i4"),  # lots filled, as the account knows it
        ("in_flight", "i4"),  # messages and reports in flight
        ("pending_replaces", "i4"),  # replaces not answered yet
        ("status", "i1"),  # as the account knows it
        ("cancelling", "i1"),  # a cancel is in flight
        ("side", "i1"),
        ("instructions", "i1"),  # type, tif and post_only in one byte; TAKEN
        ("state", "i1"),  # at the exchange
        ("reason", "i1"),  # why it ended, or was not replaced
        ("rule", "i1"),  # FIFO OPTIMISTIC CONSERVATIVE
        ("requeued", "i1"),  # a replace sent it to the back since it arrived
        ("px", "i4"),  # at the exchange: ticks
        ("qty", "i4"),  # lots ordered in total
        ("leaves", "i4"),  # lots left at the exchange
        ("next", "i4"),  # list of own entries at the level, circular; free list of the account
        ("prev", "i4"),
        ("account", "i4"),
        ("ahead", "i8"),  # lots of the market ahead of it at its price; of a TAKEN entry: lots taken
        ("stamp", "i8"),  # row of the tape when it joined: rows with an earlier prio are ahead of it
        ("at", "i8"),  # index of its level
        ("ahead_first", "i8"),  # `ahead` on arrival
        ("joined", "i8"),  # row when it went to the back of its queue: `stamp` where the fill rule is FIFO
        ("sent", "i8"),  # ts
        ("arrived", "i8"),  # ts at the exchange
        ("done", "i8"),  # ts at the exchange
    ],
    align=True,
)

ACCOUNT = np.dtype(
    [
        # as the account knows it: from reports that have arrived
        ("position", "i8"),  # lots
        ("cash", "i8"),  # tick-lots
        ("n_open", "i8"),  # orders not known to be done
        ("open_bid", "i8"),  # lots of own orders not known to be done
        ("open_ask", "i8"),
        ("quote_bid", "i8"),  # slot of the order that `quote` keeps, -1: none
        ("quote_ask", "i8"),
        ("quote_bid_id", "i8"),  # its id: a slot may have another order by now
        ("quote_ask_id", "i8"),
        ("orders_at", "i8"),  # address of slot 0
        ("free", "i8"),  # first free slot
        ("first", "i8"),  # engine's index of slot 0
        ("instrument_at", "i8"),
        ("in_flight", "i8"),  # own messages in flight
        ("last_arrival", "i8"),  # of the last own message: none overtakes another
        ("last_report", "i8"),
        ("n_orders", "i8"),
        ("wake_bits", "i8"),  # ACK, FILL: by the reports just delivered
        ("has_limits", "i8"),  # 1: has risk limits or a lot to check
        # at the exchange
        ("true_position", "i8"),
        ("true_cash", "i8"),
        ("maker_qty", "i8"),  # lots
        ("taker_qty", "i8"),
        ("maker_value", "i8"),  # tick-lots
        ("taker_value", "i8"),
        ("sell_qty", "i8"),  # of both
        ("sell_value", "i8"),
        ("n_fills", "i8"),
        ("n_cancelled", "i8"),
        ("n_rejected", "i8"),
        ("n_too_late", "i8"),  # cancels and replaces that arrived after the order was done
        ("shared_row", "i8"),  # row whose execution was last shared out, and the lots of it given to this account
        ("shared_qty", "i8"),
        ("rule", "i8"),
        # the position as a trader counts it, by known fills
        ("average_px", "f8"),  # ticks, of the open position
        ("realised", "f8"),  # tick-lots
        # refusals and risk
        ("n_refused", "i8"),
        ("reject_reason", "i8"),  # cause of the last refusal
        ("refusals", "i8", 10),  # by cause
        ("lot", "i8"),
        ("max_order", "i8"),
        ("max_position", "i8"),
        ("max_open", "i8"),
        ("max_loss", "i8"),  # tick-lots
        ("max_rate", "i8"),  # messages in `rate_interval`
        ("rate_interval", "i8"),  # ns
        ("rate_window", "i8"),
        ("rate_count", "i8"),
        # inside
        ("capacity", "i8"),
        ("index", "i8"),
        ("self_at", "i8"),  # address of this record, and the distance to the same account on the next instrument
        ("stride", "i8"),
        ("instrument", "i8"),
        ("n_instruments", "i8"),
    ],
    align=True,
)

MESSAGE = np.dtype([("arrive", "i8"), ("order", "i4"), ("what", "i4"), ("px", "i4"), ("qty", "i4")], align=True)
REPORT = np.dtype([("arrive", "i8"), ("order", "i4"), ("what", "i4"), ("px", "i4"), ("qty", "i4")], align=True)

LOCAL_FIELDS = tuple("local_" + name for name in BOOK_FIELDS)

INSTRUMENT_STATE = np.dtype(
    [
        # buffered rows
        ("events_at", "i8"),
        ("ts_event_at", "i8"),
        ("ts_recv_at", "i8"),
        ("n", "i8"),
        ("i_levels_at", "i8"),  # i4[BATCH_ROWS], and i8: engine/kernels/row_batch.py
        ("changes_at", "i8"),
        ("base_row", "i8"),  # tape row of events[0]
        ("exchange_row", "i8"),  # next row of the exchange's pass
        ("exchange_phase", "i8"),  # of that row: AFFECTS_OWN it is in the book, CROSSES_OWN its effect on own orders is done too
        ("local_row", "i8"),  # next row of the market pass
        ("show_to", "i8"),  # what `local_row` will be at the wake that is being prepared
        ("feed", "i8"),  # ns
        # the local book's scan for the next wake (two books)
        ("scan_row", "i8"),  # rows in it: at an event's end, ahead of `local_row` when a wake came in between
        ("candidate", "i8"),  # time of the wake it found, NEVER: none yet
        ("candidate_bits", "i8"),
        ("scan_bits", "i8"),  # bits of the moment that is being scanned
        ("top_bid", "i8"),  # key and lots before it
        ("top_ask", "i8"),
        ("top_bid_qty", "i8"),
        ("top_ask_qty", "i8"),
        ("pages_needed", "i8"),  # free pages that the local book must have before the next wake
        # the exchange's book, bits of its levels with own orders, and the local book
        *((name, "i8") for name in BOOK_FIELDS),
        ("n_pages_table", "i8"),  # length of the page table
        ("own_words_at", "i8"),
        ("own_tree_at", "i8"),
        ("own_sides_at", "i8"),
        ("own_filter_at", "i8"),  # i8[N_FILTER]: engine/kernels/row_batch.py
        ("own_filter_counts_at", "i8"),  # i4: number of levels with own entries behind each bit of it
        *((name, "i8") for name in LOCAL_FIELDS),
        ("market_at", "i8"),
        ("accounts_at", "i8"),
        ("orders_at", "i8"),
        (
            "entries_at",
            "i8",
        ),  # starts one record early, so [levels[i].own] is the first entry at a level
        ("n_resting", "i8"),
        ("all_fifo", "i8"),  # no account has another fill rule
        ("free_taken", "i8"),  # first free TAKEN entry
        ("n_taken", "i8"),
        ("taken_capacity", "i8"),
        # rings and logs
        ("messages_at", "i8"),
        ("m_mask", "i8"),
        ("m_head", "i8"),
        ("m_tail", "i8"),
        ("reports_at", "i8"),
        ("r_mask", "i8"),
        ("r_head", "i8"),
        ("r_tail", "i8"),
        ("fills_at", "i8"),
        ("n_fills", "i8"),
        ("fills_capacity", "i8"),
        ("done_at", "i8"),
        ("n_done", "i8"),
        ("done_capacity", "i8"),
        ("keep_log", "i8"),
        # time and latency
        ("now", "i8"),
        ("latency", "i8"),  # CONSTANT RANDOM MEASURED
        ("entry", "i8"),  # ns
        ("response", "i8"),
        ("seed", "i8"),
        ("sample_ts_at", "i8"),  # MEASURED: i8[n] times; then, and for RANDOM, i8[n] entry and response latencies
        ("sample_entry_at", "i8"),
        ("sample_response_at", "i8"),
        ("n_latencies", "i8"),
    ],
    align=True,
)

RUN = np.dtype(
    [
        ("wakes", "i8"),
        ("interval", "i8"),
        ("first_ts", "i8"),  # local time of the first row
        ("next_timer", "i8"),
        ("end_ts", "i8"),  # local time of the last possible wake; NEVER until the end of the data is buffered
        ("started", "i8"),  # 2 after the START wake
        ("ended", "i8"),
        ("wake", "i8"),  # local time and bits of the wake that is being prepared
        ("bits", "i8"),
        ("one_book", "i8"),  # the local book is the exchange's, rolled back by the rows in flight
        ("reads_trades", "i8"),  # strategies read the last trade, the volume or the number of events
        ("sample", "i8"),  # ns between samples
        ("next_sample", "i8"),
        ("n_samples", "i8"),
        ("samples_capacity", "i8"),
        ("samples_at", "i8"),
        ("n_wakes", "i8"),
        ("failed_account", "i8"),
        ("n_accounts", "i8"),
        ("n_instruments", "i8"),
        ("instruments_at", "i8"),
        ("accounts_at", "i8"),
        ("market_at", "i8"),
        ("features_at", "i8"),
        ("n_features", "i8"),  # rows of the feature matrix; its columns follow
        ("feature_width", "i8"),
        ("feature_ts_at", "i8"),  # local times of its rows
        ("feature_matrix_at", "i8"),
        ("no_features_at", "i8"),  # NaNs
        ("feature_row", "i8"),  # next row not yet known
        ("strategy_at", "i8"),
        ("params_at", "i8"),
        ("params_bytes", "i8"),
        ("states_at", "i8"),
        ("state_bytes", "i8"),
        # the strategies' records: rows as in engine/kernels/recording.py
        ("n_record_fields", "i8"),  # 0: nothing is recorded
        ("recorded_at", "i8"),  # i8[account]: 1, its rows are kept
        ("n_recorded", "i8"),  # accounts whose rows are kept
        ("records_at", "i8"),
        ("n_records", "i8"),
        ("records_capacity", "i8"),
        ("spare_row_at", "i8"),  # the row of accounts whose rows are not kept
    ],
    align=True,
)


instrument_at = record_at(INSTRUMENT_STATE, record_type(INSTRUMENT_STATE))
own_at = record_at(OWN, record_type(OWN))
OWN_BYTES, ACCOUNT_BYTES = OWN.itemsize, ACCOUNT.itemsize

instruments_at = pointer_to(INSTRUMENT_STATE)
accounts_at = pointer_to(ACCOUNT)
orders_at = pointer_to(OWN)
messages_at = pointer_to(MESSAGE)
reports_at = pointer_to(REPORT)
fills_at = pointer_to(FILL)
samples_at = pointer_to(SAMPLE)


@helper
def local_book(instrument):
    """The local Book, as `exchange_book`."""
    return (
        levels_at(instrument.local_levels_at),
        i4_at(instrument.local_pages_at),
        i8_at(instrument.local_words_at),
        i8_at(instrument.local_tree_at),
        i4_at(instrument.local_free_at),
        sides_at(instrument.local_sides_at),
    )


@helper
def own_levels(instrument):
    """The bits of levels with own orders: words, tree, sides."""
    return i8_at(instrument.own_words_at), i8_at(instrument.own_tree_at), sides_at(instrument.own_sides_at)
