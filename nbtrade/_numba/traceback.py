"""Call a strategy's function so that it never raises, and report the line of the user's code on which it would have.

    engine ── function pointer ──> entry(6 addresses) ── call ──> the user's function
                                        │                             │ raises: return code = 1 + line
                        0, or 1 and  <──┘ <───────────────────────────┘
                        state["_"] = line << 48 | address of Numba's description of the exception

Numba's compiled functions return a code: 0, or an error. All exceptions share one code, and the origin of most of them (division by
zero, an index out of range, exceptions of called functions) is lost. Here the function is lowered with a calling convention that
puts the line into the code (counted from the function's first line, so that machine code from the disk stays correct if the function moves
within its file), at no cost unless an exception occurs. Arrays in the state check their indices: out of range is an error
like any other. (Otherwise neighbouring state, or worse, would be overwritten.)

Uses Numba's internals, for which Numba is pinned; tests/engine/test_misuse.py checks this. Lines beyond 32,767 share one number.
"""

import copy
import ctypes
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import compiler, typed_passes
from numba.core.callconv import CPUCallConv, create_error_model
from numba.core.compiler_machinery import register_pass
from numba.core.cpu import CPUContext
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]
from numba.core.ir import SetAttr, SetItem, StaticSetItem
from numba.core.lowering import Lower
from numba.core.registry import cpu_target
from numba.extending import intrinsic

ADDRESS_BITS = 48
MAX_LINE = 2**15 - 1
NO_INTEGER = (
    0x9E3779B97F4A7C15 - 2**64
)  # what NaN becomes: no price, nor are its sums with prices, its products and quotients, or 32 bits of it
OPTIONS = {
    "nopython": True,
    "error_model": "python",
    "boundscheck": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


class _LineCallConv(CPUCallConv):
    """Puts the line being lowered into the return codes of exceptions."""

    def __init__(self, context: Any, lower: Any) -> None:
        super().__init__(context)
        self.lower = lower

    def _return_errcode_raw(self, builder: Any, code: Any) -> None:
        if not isinstance(code, ir.Constant) or code.constant >= 1:  # an exception raised here, or passed on
            line = self.lower.loc.line - self.lower.func_ir.func_id.firstlineno
            code = ir.Constant(ir.IntType(32), 1 + min(max(line, 0), MAX_LINE))
        builder.ret(code)


class _LineContext(CPUContext):
    """The compiler's context of one function, with its calling convention."""

    lower: Any

    @property
    def call_conv(self) -> Any:
        return _LineCallConv(self, self.lower)


class _LineLower(Lower):
    """Numba's lowering with `_LineCallConv`. Integer fields take no floats, which would be truncated silently."""

    def __init__(self, context: Any, *args: Any, **kws: Any) -> None:
        own = copy.copy(context)
        own.__class__ = _LineContext
        own.lower = self
        own.error_model = create_error_model("python", own)
        super().__init__(own, *args, **kws)

    def setup_function(self, fndesc: Any) -> None:
        super().setup_function(fndesc)
        self.builder.fptosi = partial(_float_to_integer, self.builder, self.builder.fptosi)

    def _lower_call_normal(self, fnty: Any, expr: Any, signature: Any) -> Any:
        """`int` of a float here, and not in a function of Numba's own that has its own conversion."""
        if getattr(fnty, "typing_key", None) is int and len(expr.args) == 1 and not expr.kws:
            value = self.loadvar(expr.args[0].name)
            if isinstance(self.typeof(expr.args[0].name), types.Float) and signature.return_type == types.int64:
                return self.builder.fptosi(value, ir.IntType(64))
        return super()._lower_call_normal(fnty, expr, signature)

    def lower_inst(self, inst: Any) -> None:
        if isinstance(inst, (SetAttr, SetItem, StaticSetItem)):
            target = self.typeof(inst.target.name)
            if isinstance(target, types.Record) and not hasattr(target, "role") and target not in self.fndesc.argtypes:
                raise numba.core.errors.TypingError(
                    "nbtrade: this record cannot be set: only fields of the state and of `record` can", loc=inst.loc
                )
        if isinstance(inst, SetAttr):
            target, value = self.typeof(inst.target.name), self.typeof(inst.value.name)
            can_be_set = isinstance(target, types.Record) and not hasattr(target, "role")  # the others: _numba/readonly.py
            field = target.fields.get(inst.attr) if can_be_set else None
            if field is not None and not _fits(value, field.type):
                raise numba.core.errors.TypingError(
                    f"nbtrade: field {inst.attr!r} is {field.type}; {_kind(value)} does not fit", loc=inst.loc
                )
            kind = types.unliteral(value)
            if field is not None and isinstance(field.type, types.Integer) and isinstance(kind, types.Integer):
                self._check_range(self.loadvar(inst.value.name), kind, field.type)
        super().lower_inst(inst)

    def _check_range(self, number: Any, kind: Any, field: Any) -> None:
        """Raise OverflowError, as without the JIT, where an integer would be cut to the field's bits: 2**63 is 0 in 32."""
        if kind.bitwidth <= field.bitwidth:
            return
        kept = self.builder.trunc(number, ir.IntType(field.bitwidth))
        whole = (self.builder.sext if field.signed else self.builder.zext)(kept, ir.IntType(kind.bitwidth))
        with self.builder.if_then(self.builder.icmp_unsigned("!=", whole, number), likely=False):
            message = (f"the value does not fit a state field of type {field}",)
            self.context.call_conv.return_user_exc(self.builder, OverflowError, message, self.loc, self.func_ir.func_id.func_name)


def _float_to_integer(builder: Any, convert: Any, value: Any, kind: Any, name: str = "") -> Any:
    """LLVM's conversion, which is undefined for values out of range: here NaN and the like become NO_INTEGER on every machine.

    (x86 returns the lowest integer, ARM returns 0 for NaN, and for a constant LLVM may return anything: an order at price 0, once.) The
    test is one of bits: from comparisons of floats LLVM infers that `int(x * 0)` is 0, which it is not for NaN.
    """
    bits = {"float": 32, "double": 64}.get(str(value.type))
    if bits is None:
        return convert(value, kind, name)
    integer = ir.IntType(bits)
    magnitude = builder.and_(builder.bitcast(value, integer), ir.Constant(integer, 2 ** (bits - 1) - 1))
    mantissa, bias = (52, 1023) if bits == 64 else (23, 127)
    fits = builder.icmp_unsigned("<", magnitude, ir.Constant(integer, (kind.width - 1 + bias) << mantissa))
    return builder.select(fits, convert(value, kind), ir.Constant(kind, NO_INTEGER >> max(0, 64 - kind.width)), name)


def _fits(value: Any, field: Any) -> bool:
    if isinstance(field, types.Integer):
        return isinstance(value, (types.Integer, types.Boolean))
    return not isinstance(field, types.Float) or isinstance(value, (types.Number, types.Boolean))


def _kind(value: Any) -> str:
    plain = types.unliteral(value)
    names = {types.unicode_type: "a string", types.float64: "a float64 (make it an integer: int, math.floor, round)", types.none: "None"}
    return names.get(plain, f"a {plain}")


@register_pass(mutates_CFG=True, analysis_only=False)
class _LineLowering(typed_passes.BaseNativeLowering):
    """Lowering without machine code, which is generated once, for the whole entry."""

    _name = "nbtrade_lowering"

    @property
    def lowering_class(self) -> Any:
        return _LineLower

    def run_pass(self, state: Any) -> Any:
        state.flags.no_compile = True
        return super().run_pass(state)


class _LineCompiler(compiler.CompilerBase):
    """Numba's passes, with `_LineLowering`."""

    def define_pipelines(self) -> list[Any]:
        manager = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [(_LineLowering if one is typed_passes.NativeLowering else one, text) for one, text in manager.passes]
        manager._finalized = False
        manager.finalize()
        return [manager]


class TracedFunction:
    """A strategy's function, compiled once, with everything that the disk cache's key depends on (`_pyfunc`, `targetoptions`).

    argument_types : Numba's types of its arguments     trace_offset : bytes from the state's address to its field for the trace
    """

    def __init__(self, function: Callable[..., Any], argument_types: tuple[Any, ...], trace_offset: int) -> None:
        self._pyfunc = function
        self.argument_types, self.trace_offset = argument_types, trace_offset
        self.targetoptions = {**OPTIONS, "lines": function.__code__.co_linetable, "types": argument_types, "trace": trace_offset, "form": 6}
        self._compiled: Any = None

    def compiled(self) -> Any:
        """Numba's CompileResult. Raises Numba's errors."""
        if self._compiled is None:
            compiling = _FunctionCompiler(self._pyfunc, cpu_target, OPTIONS, {}, _LineCompiler)
            self._compiled = compiling.compile(self.argument_types, None)
        return self._compiled


def traced_call(traced: TracedFunction, names: Sequence[str]) -> Any:
    """An intrinsic (address of the state, the arguments) -> 0, or 1 when the function raised. names : of the arguments"""

    def typed() -> Any:
        traced.compiled()

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            result = traced.compiled()
            context.add_linking_libs([result.library])
            status, _ = context.call_internal_no_propagate(builder, result.fndesc, result.signature, args[1:])
            i64 = ir.IntType(64)
            with builder.if_then(status.is_error, likely=False):
                line = builder.sub(builder.zext(status.code, i64), ir.Constant(i64, 1))
                where = builder.or_(builder.shl(line, ir.Constant(i64, ADDRESS_BITS)), builder.ptrtoint(status.excinfoptr, i64))
                field = builder.add(args[0], ir.Constant(i64, traced.trace_offset))
                builder.store(where, builder.inttoptr(field, i64.as_pointer()))
            return builder.zext(status.is_error, i64)

        return types.int64(types.int64, *traced.argument_types), codegen

    # an intrinsic has as many parameters as it has arguments: written out, not *args
    scope: dict[str, Any] = {"typed": typed, "__name__": __name__}
    exec(f"def call({', '.join(('typingctx', 'state_at', *names))}):\n    return typed()\n", scope)
    return intrinsic(scope["call"])


class _ExcInfo(ctypes.Structure):
    """Numba's `excinfo_t` (numba/core/callconv.py)."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("n", ctypes.c_int32),
        ("hash", ctypes.c_void_p),
        ("unwrap", ctypes.c_void_p),
        ("more", ctypes.c_int32),
    ]


def exception_of(trace: int) -> tuple[str, int]:
    """(the exception as text, line counted from the function's first line) of the trace that a failed call stored in the state."""
    info = _ExcInfo.from_address(trace & ((1 << ADDRESS_BITS) - 1))
    exception, arguments, _ = pickle.loads(ctypes.string_at(info.data, info.n))
    words = ", ".join(str(one) for one in arguments or ())
    return f"{exception.__name__}: {words}" if words else str(exception.__name__), trace >> ADDRESS_BITS
