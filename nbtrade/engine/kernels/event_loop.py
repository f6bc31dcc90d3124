"""The backtest's main loop: two clocks over one tape, waking accounts, orders in flight.

    for each wake at local time t:                                                        (engine/kernels/clock.py says when that is)
        exchange   rows with ts_event <= t, and own messages in order of arrival, through the exchange's book   (match, order_entry)
        market     rows with ts_recv + feed <= t through the local book
        reports    deliver those arriving by t                                                                  (gateway)
        strategy   once for every account that wakes

At equal times the market's event precedes own messages. The local book is the exchange's book some rows ago. Rows can be undone, so if only
timers and reports wake the strategy there is no second book: the exchange's is rolled back for each wake and then forward again
(`one_book`). All state is in records and arrays, so a run can stop at any row (end of the batch, a full log) and resume: results do not
depend on batch sizes.

Where the time goes (per event, one account): see README, "Speed".
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel, noinline
from nbtrade._numba.pointers import i8_at
from nbtrade._numba.records import call_strategy
from nbtrade.book.kernels.book import seek
from nbtrade.book.kernels.pointers import events_at
from nbtrade.engine.kernels.clock import local_stop, scan_to_wake
from nbtrade.engine.kernels.exchange import exchange_until
from nbtrade.engine.kernels.gateway import deliver_reports, first_waking_report
from nbtrade.engine.kernels.market import market_at, note_trades, publish_market
from nbtrade.engine.kernels.recording import close_row, open_row
from nbtrade.engine.kernels.records import (
    ACCOUNT_BYTES,
    BY_MARKET,
    BY_REPORT,
    NEVER,
    SAMPLING,
    accounts_at,
    instruments_at,
    local_book,
    messages_at,
    reports_at,
    samples_at,
)
from nbtrade.schema import Wake

DONE, NEED_DATA, NEED_ROOM, STRATEGY_FAILED, PAUSED = 0, 1, 2, 3, 4
PAUSE_ROWS = 1 << 22  # about 60 ms: then Python checks for Ctrl-C and updates the progress bar
PAUSE_CALLS = 1 << 20


# --- several exchanges ----------------------------------------------------------------------------
@helper
def next_step(run, instruments):
    """Time of the next row or message at any exchange."""
    ts = NEVER
    for v in range(run.n_instruments):
        instrument = instruments[v]
        if instrument.exchange_row < instrument.n:
            ts = min(ts, i8_at(instrument.ts_event_at)[instrument.exchange_row])
        if instrument.m_head < instrument.m_tail:
            ts = min(ts, messages_at(instrument.messages_at)[instrument.m_head & instrument.m_mask].arrive)
    return ts


@kernel
def exchanges_until(run, instruments, until):
    """Advance all exchanges to `until`, or to the first report that wakes; returns as `exchange_until`.

    With several instruments and waking reports the steps are small: no exchange may pass a wake that another one causes.
    """
    noinline()
    while run.n_instruments > 1 and run.wakes & BY_REPORT != 0:
        for v in range(run.n_instruments):
            until = min(until, first_waking_report(instruments[v], run.wakes, NEVER))
        step = next_step(run, instruments)
        if step >= until:
            break
        for v in range(run.n_instruments):
            if exchange_until(instruments[v], 0, step) < 0:
                return -1
    for v in range(run.n_instruments):
        until = exchange_until(instruments[v], run.wakes if run.n_instruments == 1 else 0, until)
        if until < 0:
            return -1
    return until


# --- the next wake --------------------------------------------------------------------------------
@helper
def start_timers(run, instruments, final):
    """Set the timers once there is data, at multiples of their intervals since the epoch."""
    first, last = NEVER, 0
    for v in range(run.n_instruments):
        instrument = instruments[v]
        if instrument.n > 0:
            ts_recv = i8_at(instrument.ts_recv_at)
            first = min(first, ts_recv[0] + instrument.feed)
            last = max(last, ts_recv[instrument.n - 1] + instrument.feed)
    if first == NEVER:
        return
    if run.started == 0:
        run.started = 1
        run.first_ts = first
        run.next_timer = -(-first // run.interval) * run.interval
        if run.sample > 0:
            run.next_sample = -(-first // run.sample) * run.sample
    if final:
        run.end_ts = -(-last // run.interval) * run.interval if run.wakes & Wake.TIMER else last


@helper
def first_report(run, instruments):
    """Arrival time of the first report that wakes its account; NEVER if there is none."""
    ts = NEVER
    if run.wakes & BY_REPORT != 0:
        for v in range(run.n_instruments):
            ts = min(ts, first_waking_report(instruments[v], run.wakes, NEVER))
    return ts


@helper
def scheduled(run, instruments):
    """The next wake that is certain: timers, samples, reports in flight, the session's start and end."""
    ts = NEVER
    if run.wakes & Wake.TIMER != 0:
        ts = run.next_timer
    if run.sample > 0:
        ts = min(ts, run.next_sample)
    ts = min(ts, first_report(run, instruments))
    if run.wakes & Wake.START != 0 and run.started == 1:
        ts = min(ts, run.first_ts)
    if run.wakes & Wake.END != 0 and run.ended == 0:
        ts = min(ts, run.end_ts)
    return ts if ts <= run.end_ts else NEVER


@helper
def next_wake(run, instruments, final):
    """Find the next wake's time. Returns False when a book has no free page."""
    ts = scheduled(run, instruments)
    if run.wakes & BY_MARKET != 0:
        for v in range(run.n_instruments):
            instrument = instruments[v]
            if instrument.candidate == NEVER:
                last = i8_at(instrument.ts_recv_at)[instrument.n - 1] + instrument.feed if instrument.n > 0 else 0
                if not scan_to_wake(instrument, run.wakes, ts if final else min(ts, last - 1)):  # the last moment may have more rows
                    return False
            ts = min(ts, instrument.candidate)
    run.wake = ts
    return True


@helper
def complete_until(run, instruments, final):
    """Latest local time for which the buffered rows are complete."""
    if final:
        return run.end_ts
    ts = NEVER
    for v in range(run.n_instruments):
        instrument = instruments[v]
        if instrument.n == 0:
            return np.int64(0)
        last = instrument.n - 1
        ts = min(ts, i8_at(instrument.ts_recv_at)[last] + instrument.feed - 1, i8_at(instrument.ts_event_at)[last] - 1)
    return ts


@helper
def set_wake_bits(run, instruments):
    """Set the bits of the wake at `run.wake` and advance its timers."""
    ts, bits = run.wake, 0
    if run.wakes & Wake.TIMER != 0 and ts == run.next_timer:
        bits |= Wake.TIMER
        run.next_timer += run.interval
    if run.sample > 0 and ts == run.next_sample:
        bits |= SAMPLING
        run.next_sample += run.sample
    if run.started == 1:
        bits |= run.wakes & Wake.START
        run.started = 2
    if ts == run.end_ts and run.ended == 0:
        bits |= run.wakes & Wake.END
        run.ended = 1
    for v in range(run.n_instruments):
        if instruments[v].candidate == ts:
            bits |= instruments[v].candidate_bits
            instruments[v].candidate = NEVER
    run.bits = bits


# --- one wake -------------------------------------------------------------------------------------
@helper
def book_row(run, instrument):
    """The local book's row between wakes: the exchange's row with one book, else that of the scan for wakes."""
    return instrument.exchange_row if run.one_book else instrument.scan_row


@helper
def can_reach_wake(run, instrument):
    """Find the row up to which events are known at the wake's time. False if the book may have too few free pages to reach it."""
    instrument.show_to = local_stop(instrument, run.wake)
    instrument.pages_needed = 2 + abs(book_row(run, instrument) - instrument.show_to)
    return local_book(instrument)[5][0].n_free >= instrument.pages_needed


@kernel
def bring_to_wake(run, instrument):
    """Advance the local book, the market record and the accounts' reports to the wake's time."""
    noinline()
    events = events_at(instrument.events_at)
    levels, pages, words, tree, free, sides = local_book(instrument)
    market = market_at(instrument.market_at)
    at = book_row(run, instrument)
    if at != instrument.show_to:
        seek(events, at, instrument.show_to, levels, pages, words, tree, free, sides)
    if run.reads_trades != 0:
        note_trades(events, instrument.local_row, instrument.show_to, market)
    instrument.local_row = instrument.show_to
    publish_market(market, run.wake, instrument)
    instrument.now = run.wake
    if (
        instrument.r_head < instrument.r_tail
        and reports_at(instrument.reports_at)[instrument.r_head & instrument.r_mask].arrive <= run.wake
    ):
        deliver_reports(instrument, run.wake)


@kernel
def bring_back(run, instrument):
    """Return the local book to its row before the wake."""
    noinline()
    levels, pages, words, tree, free, sides = local_book(instrument)
    seek(events_at(instrument.events_at), instrument.local_row, book_row(run, instrument), levels, pages, words, tree, free, sides)


@helper
def features_of(run):
    """Address of the last known row of the feature matrix; of NaNs before the first."""
    ts = i8_at(run.feature_ts_at)
    row = run.feature_row
    while row < run.n_features and ts[row] <= run.wake:
        row += 1
    run.feature_row = row
    return run.no_features_at if row == 0 else run.feature_matrix_at + (row - 1) * run.feature_width * 8


@helper
def take_wake_bits(run, k):
    """Wake.ACK and Wake.FILL bits of account k, over all instruments; clears them."""
    accounts = accounts_at(run.accounts_at)
    wake_bits = 0
    for v in range(run.n_instruments):
        account = accounts[v * run.n_accounts + k]
        wake_bits |= account.wake_bits
        account.wake_bits = 0
    return wake_bits & run.wakes


@kernel
def wake_accounts(run):
    """Call the strategy for every account that wakes. Returns False when it raised."""
    market = market_at(run.market_at)
    features_at = features_of(run) if run.n_features > 0 else run.no_features_at
    all_of_them = run.bits & ~SAMPLING
    for k in range(run.n_accounts):
        bits = all_of_them | take_wake_bits(run, k)
        if bits == 0:
            continue
        market.wake = bits
        record_at = open_row(run, k) if run.n_record_fields > 0 else run.spare_row_at
        if call_strategy(
            run.strategy_at,
            run.market_at,
            run.accounts_at + k * ACCOUNT_BYTES,
            run.params_at + k * run.params_bytes,
            run.states_at + k * run.state_bytes,
            features_at,
            record_at,
        ):
            run.failed_account = k
            return False
        if run.n_record_fields > 0:
            close_row(run, k)
    return True


@kernel
def write_samples(run, instrument, v):
    """Record every account's true position and cash on one instrument."""
    noinline()
    accounts = accounts_at(instrument.accounts_at)
    market = market_at(instrument.market_at)
    for k in range(run.n_accounts):
        s = samples_at(run.samples_at)[run.n_samples]
        account = accounts[k]
        s.ts = run.wake
        s.bid_px = market.bid_px
        s.ask_px = market.ask_px
        s.position = account.true_position
        s.cash = account.true_cash
        s.maker_qty = account.maker_qty
        s.taker_qty = account.taker_qty
        s.maker_value = account.maker_value
        s.taker_value = account.taker_value
        s.sell_qty = account.sell_qty
        s.sell_value = account.sell_value
        s.account = k
        s.instrument = v
        run.n_samples += 1


@helper
def handle_wake(run, instruments):
    """Process the wake at `run.wake`. Returns DONE, NEED_ROOM (call again), or STRATEGY_FAILED."""
    for v in range(run.n_instruments):
        if not can_reach_wake(run, instruments[v]):
            return NEED_ROOM
    for v in range(run.n_instruments):
        bring_to_wake(run, instruments[v])
    set_wake_bits(run, instruments)
    passed = wake_accounts(run)
    if run.bits & SAMPLING != 0:
        for v in range(run.n_instruments):
            write_samples(run, instruments[v], v)
    for v in range(run.n_instruments):
        if instruments[v].local_row != book_row(run, instruments[v]):
            bring_back(run, instruments[v])
    run.n_wakes += run.bits & ~SAMPLING != 0
    return DONE if passed else STRATEGY_FAILED


@helper
def rows_passed(run, instruments):
    """Number of rows that the exchanges have processed."""
    n = 0
    for v in range(run.n_instruments):
        n += instruments[v].base_row + instruments[v].exchange_row
    return n


@kernel
def run(runs, final):
    """Advance the backtest until the buffered rows are exhausted.

    runs  : RUN[1]: everything else by address     final : no rows follow

    Returns DONE, NEED_DATA, NEED_ROOM (drain the logs or grow, then call again), PAUSED (call again), or STRATEGY_FAILED.
    """
    this = runs[0]
    instruments = instruments_at(this.instruments_at)
    start_timers(this, instruments, final)
    if this.started == 0:
        return DONE if final else NEED_DATA
    horizon = complete_until(this, instruments, final)
    pause = rows_passed(this, instruments) + PAUSE_ROWS
    calls = 0
    while True:
        if not next_wake(this, instruments, final):
            return NEED_ROOM
        nothing = this.wake > horizon
        if this.n_samples + this.n_accounts * this.n_instruments > this.samples_capacity:
            return NEED_ROOM
        if this.n_records + this.n_recorded > this.records_capacity:
            return NEED_ROOM
        ts = exchanges_until(this, instruments, min(this.wake, horizon))
        if ts < 0:
            return NEED_ROOM
        if nothing and first_report(this, instruments) > ts:
            return DONE if final else NEED_DATA
        this.wake = ts
        status = handle_wake(this, instruments)
        if status != DONE:
            return status
        calls += this.n_accounts
        if calls > PAUSE_CALLS or rows_passed(this, instruments) > pause:
            return PAUSED
