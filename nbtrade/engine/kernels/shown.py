"""The account and its orders as strategies see them: records of the engine's that cannot be set (_numba/readonly.py).

Classes of a module, so that cached kernels find them again. The market's are in engine/kernels/market.py.
"""

from nbtrade._numba.readonly import ReadOnly, ReadOnlyRecord, read_only_type
from nbtrade._numba.records import record_at, record_model
from nbtrade.engine.kernels.records import ACCOUNT, OWN


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
class OrderType(ReadOnlyRecord):
    """An order with the JIT."""

    role = "account.order(slot)"


ACCOUNT_TYPE = read_only_type(ACCOUNT, AccountType)
shown_account_at = record_at(ACCOUNT, ACCOUNT_TYPE, AccountRecord)
shown_order_at = record_at(OWN, read_only_type(OWN, OrderType), OrderRecord)
