"""A row of a feature matrix for strategies that read columns by number: `features[i]`, with an error for a missing column.

The next row follows the last column in memory and comes from a later time: without the bounds check a wrong number would look ahead.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import StructModel
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin, lower_setattr_generic
from numba.extending import intrinsic, make_attribute_wrapper, overload, register_model

from nbtrade._numba.jit import JIT, helper
from nbtrade._numba.printing import print_text
from nbtrade._numba.readonly import CANNOT
from nbtrade._numba.records import floats_at
from nbtrade.engine.kernels.market import market_at

floats = floats_at()
BEYOND = "features[i]: the matrix has no such column (backtest(features=) sets the matrix; len(features) is its number of columns)"


class FeatureRow(types.Type):
    """Numba type: an address and a number of floats. Its name is part of the disk cache's key: change the number with the layout."""

    def __init__(self) -> None:
        super().__init__(name="FeatureRow1")


@register_model(FeatureRow)
class _RowModel(StructModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, [("at", types.int64), ("n", types.int64)])


FEATURE_ROW = FeatureRow()
for field in ("at", "n"):
    make_attribute_wrapper(FeatureRow, field, field)


class PythonRow:
    """The same interface without the JIT."""

    at: int
    n: int

    def __init__(self, at: int, n: int) -> None:
        self.__dict__.update(at=at, n=n)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"features.{name} {CANNOT}")

    def __len__(self) -> int:
        return int(self.n)

    def __setitem__(self, i: int, value: float) -> None:
        raise TypeError(f"features[{i}] {CANNOT}")

    def __getitem__(self, i: int) -> np.float64:
        if not 0 <= i < self.n:
            raise IndexError(BEYOND)
        return np.float64(floats(self.at + 8 * int(i))[0])


@intrinsic
def _new_row(typingctx, at, n):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        row = cgutils.create_struct_proxy(FEATURE_ROW)(context, builder)
        row.at, row.n = args
        return row._getvalue()  # noqa: SLF001 - the way Numba does it

    return FEATURE_ROW(types.int64, types.int64), codegen


@overload(operator.getitem, inline="never", jit_options={"_nrt": False, "forceinline": True})
def _getitem(row, i):  # type: ignore[no-untyped-def]
    if isinstance(row, FeatureRow) and isinstance(i, types.Integer):

        def getitem(row, i):  # type: ignore[no-untyped-def]
            if i < 0 or i >= row.n:
                raise IndexError(BEYOND)
            return floats(row.at)[i]

        return getitem
    return None


@overload(operator.setitem)
def _setitem(row, i, value):  # type: ignore[no-untyped-def]
    if isinstance(row, FeatureRow):
        raise TypingError(f"nbtrade: features[i] {CANNOT}")


@lower_setattr_generic(FeatureRow)
def _setattr(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    raise TypingError(f"nbtrade: features.{attr} {CANNOT}")


@overload(len, inline="never", jit_options={"_nrt": False, "forceinline": True})
def _len(row):  # type: ignore[no-untyped-def]
    return (lambda row: row.n) if isinstance(row, FeatureRow) else None


new_row = _new_row if JIT else PythonRow


@helper
def feature_row_at(features, market):
    """The row at address `features`; its number of columns is that of the market record at address `market`."""
    return new_row(features, market_at(market).n_features)


@lower_builtin("print_item", FeatureRow)
def _print_row(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    row = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
    return print_text(context, builder, np.dtype("f8"), [row.at, row.n, ir.Constant(ir.IntType(64), 8)])
