"""Fills announced by F records and not yet explained by a C or M, by order id.

    PENDING[power of two]   order_id, lots, moment        open addressing, at most a quarter full, no deletions

A slot belongs to the moment in which it was written (STATE.moment) and is free at any other, so advancing the moment empties the table.
An ordinary event uses one or two slots, so the table stays in the L1 cache, and while no fill is pending (STATE.n_pending is 0)
nothing is looked up. A separate table, so that slots of the order table hold 64-bit sizes and still fit two to a cache line.
"""

import numpy as np

from nbtrade._numba.jit import helper, kernel
from nbtrade.tape.kernels.order_table import slot_of

PENDING = np.dtype([("order_id", "i8"), ("lots", "i8"), ("moment", "i8")], align=True)


@helper
def find_fills(pending, moment, order_id):
    """Slot of the order's fills at this moment, or the free slot where they would go: check `moment`."""
    mask = len(pending) - 1
    i = slot_of(order_id, mask)
    while pending[i].moment == moment and pending[i].order_id != order_id:
        i = (i + 1) & mask
    return i


@helper
def announce_fills(st, pending, order_id, lots, most):
    """Record that `lots` of an order were executed: at most `most` of them count, for its next C or M at this moment."""
    i = find_fills(pending, st.moment, order_id)
    if pending[i].moment != st.moment:
        pending[i].moment = st.moment
        pending[i].order_id = order_id
        pending[i].lots = 0
        st.n_pending_slots += 1
    if pending[i].lots == 0:
        st.n_pending += 1
    pending[i].lots = min(pending[i].lots + lots, most)


@helper
def explain_fills(st, pending, order_id):
    """Return the lots announced for an order and mark them as explained."""
    if st.n_pending == 0:
        return np.int64(0)
    i = find_fills(pending, st.moment, order_id)
    if pending[i].moment != st.moment or pending[i].lots == 0:
        return np.int64(0)
    lots = pending[i].lots
    pending[i].lots = 0
    st.n_pending -= 1
    return lots


@helper
def forget_fills(st, pending, order_id):
    """A new order reuses the id: fills announced for the earlier order do not apply to it (and stay unexplained)."""
    i = find_fills(pending, st.moment, order_id)
    if pending[i].moment == st.moment:
        pending[i].lots = 0


@kernel
def rehash(old, new, moment):
    """Move this moment's fills into the larger, empty table `new`."""
    for i in range(len(old)):
        if old[i].moment == moment:
            new[find_fills(new, moment, old[i].order_id)] = old[i]
