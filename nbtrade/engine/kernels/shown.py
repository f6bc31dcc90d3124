"""The account and its orders as strategies see them, according to the reports received (_numba/readonly.py).

    engine     ACCOUNT, OWN                 the account's view and the exchange's
    strategy   ACCOUNT_VIEW, ORDER_VIEW     the same bytes with the fields of the account's view only

The views are documented in engine/interface. Their classes are defined at module level, so that cached kernels find them again. The
market's are in engine/kernels/market.py.
"""

from nbtrade._numba.jit import helper
from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, engine_record, read_only_type, view_dtype
from nbtrade._numba.records import computed_field, record_at, record_model
from nbtrade.engine.kernels.records import ACCOUNT, IS_MARKET, OWN, POST, TIF, TIF_BITS

ACCOUNT_FIELDS = (
    "position",
    "cash",
    "average_px",
    "realised",
    "n_open",
    "open_bid",
    "open_ask",
    "quote_bid",
    "quote_ask",
    "n_orders",
    "n_refused",
    "refusals",
    "reject_reason",
    "capacity",
)
ORDER_FIELDS = {
    "id": "id",
    "side": "side",
    "requested_px": "requested_px",
    "requested_qty": "requested_qty",
    "filled": "filled",
    "leaves": "known_leaves",
    "status": "status",
    "cancelling": "cancelling",
    "pending_replaces": "pending_replaces",
    "sent": "sent",
}
ACCOUNT_VIEW = view_dtype(ACCOUNT, {name: name for name in ACCOUNT_FIELDS})
ORDER_VIEW = view_dtype(OWN, ORDER_FIELDS)


class AccountRecord(ReadOnly):
    """An account without the JIT."""

    role = "account"


@record_model
class AccountType(ReadOnlyRecord):
    """An account with the JIT: a record with methods."""

    role = "account"


class OrderRecord(ReadOnly):
    """An order without the JIT."""

    role = "account.order(slot)"


@record_model
class OrderRecordType(ReadOnlyRecord):
    """An order with the JIT."""

    role = "account.order(slot)"


ACCOUNT_TYPE = read_only_type(ACCOUNT_VIEW, AccountType)
shown_account_at = record_at(ACCOUNT_VIEW, ACCOUNT_TYPE, AccountRecord)
ORDER_TYPE = read_only_type(ORDER_VIEW, OrderRecordType)
shown_order_at = record_at(ORDER_VIEW, ORDER_TYPE, OrderRecord)
as_own = engine_record(OWN)


@helper
def type_of(own):
    """LIMIT or MARKET."""
    return own.instructions & IS_MARKET


@helper
def tif_of(own):
    """GTC, DAY, IOC or FOK."""
    return (own.instructions & TIF_BITS) >> TIF


@helper
def post_only_of(own):
    """1 for an order that must not take liquidity, else 0."""
    return own.instructions >> POST & 1


for _name, _function in (("type", type_of), ("tif", tif_of), ("post_only", post_only_of)):
    computed_field(OrderRecordType, OrderRecord, _name, as_own)(_function)
