"""The live page of a column: four words that the writer stores and readers load, through shared mappings.

    word 0  boot     boot number of the machine; the page is invalid after a restart
    word 1  count    rows in the file                    | fold 15 bits | 3 bits of 0 | n 45 bits |
    word 2  epoch    increases when rows may change      the same
    word 3  moving   1: check whether the name refers to another file

The fold is the exclusive or of n's three 15-bit parts and a constant: it detects any single flipped bit, and a page of zeros.
Words are published independently: to read rows and epoch consistently, read the epoch before and after.
"""

from nbtrade._numba.atomics import load_acquire
from nbtrade._numba.jit import kernel

BOOT, COUNT, EPOCH, MOVING = range(4)
MAX_COUNT = 1 << 45
NOT_LIVE = -1  # written before the machine restarted
DAMAGED = -2


def live_word(n: int) -> int:
    """A count or epoch as stored in the live page: with its fold in the upper bits."""
    return n | ((n ^ n >> 15 ^ n >> 30 ^ 0x5AA5) & 0x7FFF) << 48


@kernel
def live(words, boot, which):
    """The count or epoch of the live page; NOT_LIVE if the machine has restarted, DAMAGED if the fold is wrong.

    words : i8[512], the live page;  which : COUNT or EPOCH
    """
    if load_acquire(words, BOOT) != boot:
        return NOT_LIVE
    word = load_acquire(words, which)
    n = word & (MAX_COUNT - 1)
    fold = (n ^ (n >> 15) ^ (n >> 30) ^ 0x5AA5) & 0x7FFF
    return n if word == n | (fold << 48) else DAMAGED
