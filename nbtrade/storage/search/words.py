"""Packed columns of odd widths as overlapping 8-byte words, which the kernels search in place."""

from typing import NamedTuple

import numpy as np

from nbtrade.storage.columns.upgrade import Packed, unpacked

I8, U8 = np.dtype(np.int64), np.dtype(np.uint64)


class Words(NamedTuple):
    r"""A packed column of an odd width in the form the kernels search, in place: overlapping 8-byte words, each ending with its value.

        bytes   [v0 v0 v0][v1 v1 v1][v2 v2 v2][v3 ..        raw[0] = v2 << 40 | preceding bytes, from v1 and v0
                     \______ word 0 ______/

    The upper bytes of a word are the value, so `v < x` is equivalent to `raw < x << 40` regardless of the lower bytes, and nothing needs
    decoding. The first one or two values end before byte 8 and have no word: they form the head.
    """

    raw: np.ndarray  # i8[n - k] if signed, else u8[n - k]; or the values of an array, unchanged
    shift: int = 0  # bits of a word before its value
    n_head: int = 0
    packed: Packed | None = None

    @property
    def head(self) -> np.ndarray:
        """The values before the first word, decoded: i8[n_head]."""
        out: np.ndarray = np.empty(self.n_head, np.int64)
        if self.packed is not None:
            unpacked(self.packed, 0, out)
        return out


def words_of(values: Packed) -> Words:
    """The words of a packed column of 3, 5, 6 or 7 bytes a value."""
    width = values.bits >> 3
    k = min(-(-(8 - width) // width), values.n)
    n = values.n - k
    offset = k * width - (8 - width) if n else 0
    raw: np.ndarray = np.ndarray(n, I8 if values.signed else U8, values.data, offset, (width,))
    return Words(raw, 64 - values.bits, k, values)
