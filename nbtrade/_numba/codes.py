"""The public codes in compiled code: `Side.BID` and `BID` compile to the integer 0 wherever an integer is allowed.

Numba gives each enum member a separate type, which cannot be an index, does not unify with an integer (`BID if x else 1 - side`), and is
not a constant when it indexes a tuple. Here a member is a literal integer, and a group is a name whose attributes are integers.
"""

from typing import Any

from numba.core import types
from numba.core.datamodel.models import OpaqueModel
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import lower_getattr_generic, register_model, typeof_impl

from nbtrade.schema import CodeGroup, FillRule, OrderType, Side, TimeInForce, Wake

GROUPS = (Side, OrderType, TimeInForce, FillRule, Wake)


class GroupType(types.Opaque):
    """Numba's type of a group of codes."""

    def __init__(self, group: Any) -> None:
        self.group = group
        super().__init__(f"{group.__name__}({dict(group.__members__)})")


register_model(GroupType)(OpaqueModel)


@typeof_impl.register(CodeGroup)
def _typeof_group(group: Any, context: Any) -> GroupType:
    return GroupType(group)


def _literal(member: Any) -> types.IntegerLiteral:
    return types.IntegerLiteral(int(member))


def _typeof_member(member: Any, context: Any) -> Any:
    return types.int64


for _group in GROUPS:
    types.Literal.ctor_map[_group] = _literal  # type: ignore[assignment]  # it only calls it
    typeof_impl.register(_group)(_typeof_member)


@infer_getattr
class _Members(AttributeTemplate):
    key = GroupType

    def generic_resolve(self, group: Any, name: str) -> Any:
        return types.int64 if name in group.group.__members__ else None


@lower_getattr_generic(GroupType)
def _member(context: Any, builder: Any, group: Any, value: Any, name: str) -> Any:
    return context.get_constant(types.int64, int(group.group.__members__[name]))


@lower_constant(GroupType)
def _constant(context: Any, builder: Any, group: Any, value: Any) -> Any:
    return context.get_dummy_value()
