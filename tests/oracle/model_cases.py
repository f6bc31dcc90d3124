"""Records for scenarios, with prices in ticks and times in ns: `rec` makes one that ends its event by default."""

from model import F_LAST, UNDEF_PRICE, Record


def rec(action, side="N", px=UNDEF_PRICE, size=0, order_id=0, ts=10, flags=F_LAST, ts_recv=None):
    return Record(ts, ts if ts_recv is None else ts_recv, order_id, px, size, flags, action, side)


def bid(order_id, px, size, **more):
    return rec("A", "B", px, size, order_id, **more)


def ask(order_id, px, size, **more):
    return rec("A", "A", px, size, order_id, **more)
