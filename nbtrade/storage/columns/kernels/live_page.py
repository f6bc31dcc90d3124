"""The live page of a column's file: four words that its writer stores and its readers load, through shared mappings.

    word 0  boot     in which life of the machine this was written; in any other the page means nothing
    word 1  count    rows in the file                    | fold 15 bits | 3 bits of 0 | n 45 bits |
    word 2  epoch    raised when rows may change         the same
    word 3  moving   1: look whether another file has the name

The fold is an exclusive or of n's three 15-bit parts and a constant: any single flipped bit, and a page of zeros, are seen.
Each word is published by itself: whoever needs rows and epoch together reads the epoch before and after.
"""

from nbtrade._numba.atomics import load_acquire
from nbtrade._numba.jit import kernel

BOOT, COUNT, EPOCH, MOVING = range(4)
MAX_COUNT = 1 << 45
NOT_LIVE = -1  # written in another life of the machine
DAMAGED = -2


def live_word(n: int) -> int:
    """A count or epoch as it stands in the live page: with its fold above it."""
    return n | ((n ^ n >> 15 ^ n >> 30 ^ 0x5AA5) & 0x7FFF) << 48


@kernel
def live(words, boot, which):
    """The count or epoch of the live page; NOT_LIVE when its boot is another, DAMAGED when its fold is wrong.

    words : i8[512], the live page;  which : COUNT or EPOCH
    """
    if load_acquire(words, BOOT) != boot:
        return NOT_LIVE
    word = load_acquire(words, which)
    n = word & (MAX_COUNT - 1)
    fold = (n ^ (n >> 15) ^ (n >> 30) ^ 0x5AA5) & 0x7FFF
    return n if word == n | (fold << 48) else DAMAGED
