"""Compile with Numba: `kernel`, `helper`, and a disk cache that never returns stale code.

Numba's own `cache=True` keys an entry on the function's own source file. Change a constant in another
module, or a helper in another notebook cell, and it returns the old machine code: silently, a wrong
answer. Here the key of an entry is a fingerprint of everything that determines the machine code: bytecode,
constants, default arguments, globals and closures of the function and of all functions it calls, the overloaded
methods it may use, the argument types, the processor, and the versions of Python, Numba and llvmlite. If the
fingerprint does not understand something, the function is not cached: slower, never wrong.

    kernel   entry point called from Python: releases the GIL, cached on disk
    helper   small function used inside kernels: always inlined, never cached on its own

The cache is in $NBTRADE_CACHE_DIR, by default ~/.cache/nbtrade. A file that cannot be read or written causes a
compile, not an error. Numba is pinned to the tested range, because the cache uses its internals.
"""

import enum
import hashlib
import itertools
import os
import pickle
import platform
import sys
import tempfile
import types as pytypes
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import bytecode, caching, compiler, environment, serialize
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.extending import _Intrinsic, intrinsic

from nbtrade._numba import codes as _codes  # noqa: F401  how compiled code reads the public codes

JIT = not numba.config.DISABLE_JIT
ENTRY_FORMAT = 3  # of a cache file
MAX_VERSIONS = 8  # entries per function kept on disk; older ones are stale edits

# Methods added to record types with `overload_method`: name -> the functions that implement it.
RECORD_METHODS: dict[str, list[Any]] = {}

TRUSTED_MODULES = {"numpy", "math", "numba", "builtins", "operator", "llvmlite"}


def _number_functions() -> None:
    """Give functions numbers that are unique across processes. Numba counts from 1 in each, and the number distinguishes symbols.

    When a third process loaded two versions of a function from disk, compiled in two processes with one symbol, the second version
    ran the first one's helpers.
    """
    bytecode.FunctionIdentity._unique_ids = itertools.count(int.from_bytes(os.urandom(6), "little") << 15)


_number_functions()
os.register_at_fork(after_in_child=_number_functions)


class Unfingerprintable(Exception):
    """Something that the fingerprint does not support: the function is compiled again in each process."""


def cache_dir() -> Path:
    """Folder of the compiled kernels."""
    given = os.environ.get("NBTRADE_CACHE_DIR")
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "nbtrade"


def _function_of(value: Any) -> Any:
    """The plain function behind a dispatcher, an intrinsic or a C callback; None for anything else."""
    if isinstance(value, pytypes.FunctionType):
        return value
    if isinstance(value, Dispatcher):
        return value.py_func
    if isinstance(value, _Intrinsic):
        return value._defn
    return getattr(value, "_pyfunc", None)


class _Fingerprint:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.seen: dict[int, Any] = {}

    def put(self, *words: Any) -> None:
        for word in words:
            data = word if isinstance(word, bytes) else repr(word).encode()
            self.hash.update(len(data).to_bytes(8, "little") + data)

    def code(self, code: pytypes.CodeType, scope: dict[str, Any]) -> None:
        self.put("code", code.co_code, code.co_names, code.co_varnames, code.co_freevars)
        for const in code.co_consts:
            if isinstance(const, pytypes.CodeType):
                self.code(const, scope)
            else:
                self.value(const, ())
        for name in code.co_names:
            if name in scope:
                self.put("global", name)
                self.value(scope[name], code.co_names)
            for method in RECORD_METHODS.get(name, ()):
                self.put("method", name)
                self.function(method)

    def function(self, function: Any) -> None:
        if id(function) in self.seen:
            return
        self.seen[id(function)] = function  # keeps a reference, so that its id is not reused
        self.put("function", function.__module__, function.__qualname__)
        self.code(function.__code__, function.__globals__)
        self.value(function.__defaults__, ())
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.put("cell", name)
            self.value(cell.cell_contents, function.__code__.co_names)

    def value(self, value: Any, names: tuple[str, ...]) -> None:
        inner = _function_of(value)
        if inner is not None:
            options = getattr(value, "targetoptions", {})
            self.put("options", sorted((k, repr(v)) for k, v in options.items()))
            self.function(inner)
        elif isinstance(value, enum.EnumType):
            self.put("enumeration", value.__module__, value.__qualname__, len(value.__members__))
            members: dict[str, Any] = dict(value.__members__)
            for name, member in members.items():  # aliases too
                self.put(name)
                self.value(member.value, ())
        elif isinstance(value, enum.Enum):
            self.put("member", value.__module__, type(value).__qualname__, value.name)
            self.value(value.value, ())
        elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
            self.put(type(value).__name__, value)
        elif isinstance(value, (tuple, frozenset)):
            self.put(type(value).__name__, len(value))
            for item in sorted(value, key=repr) if isinstance(value, frozenset) else value:
                self.value(item, names)
        elif isinstance(value, np.dtype):
            self.put("dtype", value.descr if value.names else str(value), value.itemsize, value.isalignedstruct)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self.put("array", str(value.dtype), value.shape, value.tobytes())
        elif isinstance(value, numba.types.Type):
            self.put("type", type(value).__name__, str(value))
        elif isinstance(value, pytypes.ModuleType):
            self.module(value, names)
        else:
            self.named(value)

    def module(self, module: pytypes.ModuleType, names: tuple[str, ...]) -> None:
        """A module used as `module.name`: every name in the code that the module has."""
        self.put("module", module.__name__)
        if module.__name__.split(".")[0] not in TRUSTED_MODULES:
            for name in names:
                if hasattr(module, name):
                    self.put(name)
                    self.value(getattr(module, name), names)

    def named(self, value: Any) -> None:
        """A builtin, a ufunc or a class of a trusted package: its name identifies it."""
        home = getattr(value, "__module__", None) or type(value).__module__
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        if name is None or home.split(".")[0] not in TRUSTED_MODULES:
            raise Unfingerprintable(f"{value!r} of {home}")
        self.put("named", home, name)


def fingerprint(function: Any) -> str | None:
    """Hash of everything that determines the machine code of `function`; None if that is not known."""
    stamp = _Fingerprint()
    stamp.put(sys.version, numba.__version__, llvmlite.__version__, np.__version__, platform.machine())
    try:
        stamp.function(function)
    except (Unfingerprintable, ValueError):  # ValueError: an empty closure cell
        return None
    return stamp.hash.hexdigest()


# --- environments -------------------------------------------------------------------------------------------------
# Numba gives each function an "environment": a Python object with the constants that boxing needs, such as the dtype of a record.
# Machine code finds it through a global pointer. Numba sets that pointer for dispatchers only, and a C callback's environment is
# collected after the compile. `print` of a value then finds NULL or freed memory, and returns an error without releasing the GIL:
# the process hangs forever. So `EntryPoint` sets the pointers of all functions in its machine code and keeps the objects alive.
ENVIRONMENT, REFERENCED = 2, 8  # positions in CompileResult._reduce()
ENVIRONMENT_PREFIX = "_ZN08NumbaEnv"


def _environment(name: str, consts: list[Any]) -> Any:
    """The existing environment with this name, else a new one. (Numba's own pickling would import the module that defines the function.)"""
    env = environment.lookup_environment(name)
    if env is None:
        env = environment.Environment({})
        env.consts[:] = consts
        env.env_name = name
        environment.Environment._memo[name] = env
    return env


def environments(compiled: Any) -> list[Any]:
    """The environments of all functions in the machine code of a CompileResult."""
    if compiled.referenced_envs:  # loaded from disk
        return list(compiled.referenced_envs)
    names = {one.name for one in compiled.library._final_module.global_variables if one.name.startswith(ENVIRONMENT_PREFIX)}
    return [_environment(name, []) for name in sorted(names | {compiled.fndesc.env_name})]


class EntryPoint(CFunc):
    """A C callback in which `print` works. The machine code and its environments live as long as this object."""

    @global_compiler_lock
    def compile(self: Any) -> None:
        context = self._targetdescr.target_context
        compiled = self._cache.load_overload(self._sig, context)
        if compiled is None:
            compiled = self._compile_uncached()
            self._cache.save_overload(self._sig, compiled)
        self._library = compiled.library
        self._wrapper_name = compiled.fndesc.llvm_cfunc_wrapper_name
        self._wrapper_address = self._library.get_pointer_to_function(self._wrapper_name)
        self._environments = environments(compiled)
        for env in self._environments:
            context.codegen().set_env(env.env_name, env)


class _Cache(caching.NullCache):
    """Numba's cache interface over files named by the fingerprint."""

    def __init__(self, function: Any, options: str) -> None:
        self.function = function
        self.options = options  # compile options, unless it is a kernel
        self.stamp: str | bool | None = False  # False: not computed yet (callees may still be undefined)

    def _path(self, sig: Any, codegen: Any) -> Path | None:
        if self.stamp is False:
            self.stamp = fingerprint(self.function)
        if self.stamp is None:
            return None
        names = [f"{type(one).__name__} {one}" for one in getattr(sig, "args", sig)]  # a subclass of Record has the same text
        key = repr((ENTRY_FORMAT, self.stamp, self.options, names, codegen.magic_tuple())).encode()
        name = "".join(c if c.isalnum() else "_" for c in self.function.__qualname__)[-60:]
        return cache_dir() / f"{name}-{hashlib.sha256(key).hexdigest()[:32]}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        if path is None:
            return None
        try:
            data = path.read_bytes()
            digest, payload = data[:32], data[32:]
            if hashlib.sha256(payload).digest() != digest:
                return None
            parts, name, held = pickle.loads(payload)
            found = {name: _environment(name, consts) for name, consts in held.items()}
            parts[ENVIRONMENT], parts[REFERENCED] = found[name], tuple(found.values())
            return compiler.CompileResult._rebuild(target_context, *parts)
        except (OSError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError, AttributeError, ImportError):
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        path = self._path(sig, data.codegen)
        # Lifted loops and embedded pointers belong to one process
        if path is None or data.lifted or data.library.has_dynamic_globals:
            return
        held = {one.env_name: list(one.consts) for one in environments(data)}
        parts = list(data._reduce())
        parts[ENVIRONMENT] = parts[REFERENCED] = None
        try:
            payload = serialize.dumps((parts, data.fndesc.env_name, held))
        except (pickle.PicklingError, TypeError, AttributeError):  # a constant of this process, such as an open file
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(file.name, path)
            self._prune(path)
        except OSError:
            return

    def _prune(self, path: Path) -> None:
        family = path.parent.glob(path.name.rsplit("-", 1)[0] + "-*.nbc")
        for old in sorted(family, key=lambda p: p.stat().st_mtime)[:-MAX_VERSIONS]:
            old.unlink(missing_ok=True)


@intrinsic
def _noinline(typingctx):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return numba.types.void(), codegen


# Call it at the top of a kernel: LLVM will not inline that into its callers. A hot loop inlined into a large function competes
# with everything there for registers: the engine's took 12 ns a row inlined, 7 not inlined.
noinline = _noinline if JIT else (lambda: None)


def as_record_array(array: np.ndarray) -> np.ndarray:
    """A structured array in the form that kernels take: unchanged, or a recarray without the JIT, so that `row.px` works there too.

    (A recarray costs microseconds per access from Python, which adds up over thousands of batches.)
    """
    return array if JIT or array.dtype.names is None else array.view(np.recarray)


def use_cache(compiled: Any, function: Any, options: str = "") -> None:
    """Attach the fingerprinted disk cache to a dispatcher or a C callback."""
    compiled._cache = _Cache(function, options)


def kernel(function: Any) -> Any:
    """Compile an entry point: nopython, GIL released, division by zero as in NumPy, cached on disk."""
    compiled = numba.njit(nogil=True, error_model="numpy", _nrt=False, forceinline=False)(function)
    if JIT:
        use_cache(compiled, function)
    return compiled


def helper(function: Any) -> Any:
    """Compile a function that is always inlined into the kernel that uses it."""
    return numba.njit(forceinline=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry_point(compiled: Any, *argument_types: Any, nogil: bool = False) -> Any:
    """The C function behind a kernel for one signature: a call takes 150 ns with an array, 400 through the dispatcher.

    The arguments' types are not checked: the caller makes sure that an array has the right dtype and dimensions. A read-only array type
    accepts writable arrays too, layout "A" any strides. Unless `nogil`, the GIL is kept: releasing it takes 50 ns.
    """
    if not JIT:
        return compiled
    direct = numba.njit(nogil=nogil, error_model="numpy", _nrt=False, forceinline=False)(compiled.py_func)
    use_cache(direct, compiled.py_func, f"entry_point {nogil}")
    direct.compile(argument_types)
    return direct.overloads[argument_types].entry_point


def c_function(function: Any, n_arguments: int) -> Any:
    """Compile a C function of n 64-bit integers that returns one; its address is `.address`, valid as long as this object exists.

    It may call Python's own C functions when it is called with the GIL.
    """
    callback: Any = EntryPoint(
        function, ((numba.types.int64,) * n_arguments, numba.types.int64), {}, {"nopython": True, "_nrt": False, "error_model": "numpy"}
    )
    use_cache(callback, function)
    callback.compile()
    return callback
