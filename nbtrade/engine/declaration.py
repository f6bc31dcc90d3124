"""A strategy's declarations: params, state and recorded fields, as record dtypes and checked values.

    params={"edge": 1, "on": True, "curve": (1.0, 2.0)}   ──> Fields: dtype edge i8, on u1, curve f8[2]; initial values
    state={"n": 0, "window": "(100,)f8"}                  ──> Fields: dtype n i8, window f8[100]; zeros
    record=["fair", "spread"]                             ──> names

An example value sets the dtype and the initial value; a dtype is filled with zeros. `Fields.rows` makes one record per account.
"""

import keyword
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nbtrade.errors import StrategyError

HIDDEN = "_"  # the last field of each record, used by the engine
NUMBERS = tuple(np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"))
EXAMPLES = 'Give an example value (1, 1.0, True, a tuple or an array of numbers) or a dtype ("i8", "f8", "(100,)f8", numpy.float32)'


def check_name(owner: str, role: str, name: Any) -> None:
    """Raise StrategyError unless `role.name` can be written in Python."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise StrategyError(f"{owner}: {role} {name!r}: a name is a Python identifier, because the strategy writes {role}.name.")
    if name == HIDDEN or (name.startswith("__") and name.endswith("__")):
        raise StrategyError(f"{owner}: {role} {name!r}: this name is reserved.")


def record_names(owner: str, names: Any) -> tuple[str, ...]:
    """The names of `record=[...]`. Raises StrategyError for a wrong one."""
    if isinstance(names, (str, Mapping)) or not isinstance(names, Iterable):
        raise StrategyError(f'{owner}: record={names!r}: give a list of names, such as record=["fair", "spread"]. Their values are floats.')
    names = tuple(names)
    for name in names:
        check_name(owner, "record", name)
        if name == "ts":
            raise StrategyError(f'{owner}: record "ts": this name is taken by the time of each row. Choose another name.')
        if names.count(name) > 1:
            raise StrategyError(f"{owner}: record {name!r} is listed {names.count(name)} times.")
    return names


class Fields:
    """The fields of params or state: names, dtypes and initial values.

    owner, role : for messages: the strategy's name, and "params" or "state"
    dtype       : aligned record of the fields, then HIDDEN i8
    initial     : one record of it                            booleans : names of fields declared by True or False
    """

    def __init__(self, owner: str, role: str, declared: Any) -> None:
        self.owner, self.role = owner, role
        if not isinstance(declared, Mapping):
            raise StrategyError(f'{owner}: {role}={declared!r}: give a dict of names, such as {role}={{"edge": 1}}. {EXAMPLES}.')
        for name in declared:
            check_name(owner, role, name)
        parts = {name: self._field(name, value) for name, value in declared.items()}
        self.names = tuple(parts)
        self.booleans = frozenset(name for name, value in declared.items() if _is_boolean(value))
        self.dtype = np.dtype([*((name, dtype) for name, (dtype, _) in parts.items()), (HIDDEN, "i8")], align=True)
        self.initial = np.zeros(1, self.dtype)
        for name, (_, value) in parts.items():
            self.initial[name][0] = value

    def _field(self, name: str, value: Any) -> tuple[np.dtype, Any]:
        """(dtype, initial value) of one field. Raises StrategyError."""
        dtype = self._declared_dtype(name, value)
        if dtype is not None:
            return dtype, np.zeros((), dtype)
        array = _as_array(value)
        if array is None:
            raise self._refused(name, value, _reason(value))
        if array.dtype == np.bool_ and not isinstance(value, np.ndarray):
            array = array.astype(np.uint8)
        if not isinstance(value, (np.ndarray, np.generic)) and array.ndim == 0 and array.dtype == np.uint64:
            raise self._refused(name, value, "it is beyond the range of a 64-bit integer")
        self._check_dtype(name, value, array.dtype)
        return np.dtype((array.dtype.newbyteorder("="), array.shape)), array

    def _declared_dtype(self, name: str, value: Any) -> np.dtype | None:
        """The dtype that a string, a type or a dtype names; None for an example value."""
        if not isinstance(value, (str, type, np.dtype)):
            return None
        try:
            dtype = np.dtype(value)
        except (TypeError, ValueError, SyntaxError):
            raise self._refused(name, value, _reason(value)) from None
        self._check_dtype(name, value, dtype.base)
        if dtype.shape and dtype.base == np.bool_:
            raise self._refused(name, value, 'Numba has no arrays of booleans in records. Make it an array of "u1"')
        return np.dtype((dtype.base.newbyteorder("="), dtype.shape)) if dtype.shape else dtype.newbyteorder("=")

    def _check_dtype(self, name: str, value: Any, dtype: np.dtype) -> None:
        if dtype.newbyteorder("=") not in NUMBERS:
            raise self._refused(name, value, f"its dtype would be {dtype}, but a field must be a number: {', '.join(map(str, NUMBERS))}")

    def _refused(self, name: str, value: Any, reason: str) -> StrategyError:
        return StrategyError(f"{self.owner}: {self.role} {name!r} is {value!r:.60}: {reason}. {EXAMPLES}.")

    def changed(self, values: Mapping[str, Any]) -> "Fields":
        """The same fields with other initial values. Raises StrategyError."""
        other = object.__new__(Fields)
        other.__dict__.update(self.__dict__)
        other.initial = self.rows([values])
        return other

    def rows(self, sets: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """One record per set of values; names left out have their initial values. Raises StrategyError."""
        sets = list(sets)
        for values in sets:
            if not isinstance(values, Mapping):
                raise StrategyError(f'{self.owner}: {self.role}={values!r:.60}: give a dict of names, such as {self.role}={{"edge": 1}}.')
        out = np.repeat(self.initial, len(sets))
        for k, values in enumerate(sets):
            for name, value in values.items():
                self._check_known(name)
                out[name][k] = self._fitting(name, value)
        return out

    def _check_known(self, name: Any) -> None:
        if name not in self.names:
            what = {"params": "parameter"}.get(self.role, f"{self.role} field")
            raise StrategyError(f"{self.owner} has no {what} {name!r}. Its {self.role}: {', '.join(self.names) or 'none'}.")

    def _fitting(self, name: str, value: Any) -> np.ndarray:
        """The value in the field's dtype. Raises StrategyError when it is not exactly representable as an integer, or not a number."""
        dtype = self.dtype[name]
        array = _as_array(value)
        if array is None:
            raise self._misfit(name, value, _reason(value))
        if array.shape != dtype.shape:
            raise self._misfit(name, value, f"its shape is {array.shape}, that of the field {dtype.shape}")
        with np.errstate(all="ignore"):
            fitting = array.astype(dtype.base)
        if dtype.base.kind in "iub" and not _same_integers(array, fitting):
            if array.dtype.kind == "f" and np.isfinite(array).all() and (array != np.floor(array)).any():
                example = f"write {float(self.initial[name][0].flat[0] if dtype.shape else self.initial[name][0])} in {self.role}={{...}}"
                raise self._misfit(name, value, f"the field is an integer. Give a whole number, or make the field a float: {example}")
            raise self._misfit(name, value, f"it is out of the range of {dtype.base}")
        if name in self.booleans and not np.isin(fitting, (0, 1)).all():
            raise self._misfit(name, value, "the field is True or False")
        return fitting

    def _misfit(self, name: str, value: Any, reason: str) -> StrategyError:
        return StrategyError(f"{self.owner}: {value!r:.60} does not fit {self.role} {name!r} ({self.dtype[name]}): {reason}.")

    def values(self, row: Any) -> dict[str, Any]:
        """A record of these fields as plain Python values; array fields are lists."""
        plain = dict(zip(self.dtype.names or (), row.tolist(), strict=True))
        return {name: _plain(plain[name], name in self.booleans) for name in self.names}

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything a run depends on, for a cache key."""
        return self.dtype.descr, self.initial


def _plain(value: Any, is_boolean: bool) -> Any:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return bool(value) if is_boolean and not isinstance(value, list) else value


def _is_boolean(value: Any) -> bool:
    array = None if isinstance(value, (str, type, np.dtype)) else _as_array(value)
    return array is not None and array.dtype == np.bool_


def _as_array(value: Any) -> np.ndarray | None:
    """Numbers as an array, None for anything else."""
    if not isinstance(value, (bool, int, float, list, tuple, np.ndarray, np.generic)):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.dtype.kind in "iufb" and array.size else None


def _reason(value: Any) -> str:
    """Why a value is not a number or an array of numbers."""
    if value is None:
        return "None has no dtype"
    if isinstance(value, str):
        return "text is not a number"
    if isinstance(value, int):
        return "it is beyond the range of a 64-bit integer"
    if isinstance(value, (list, tuple, np.ndarray)) and np.size(np.asarray(value, object)) == 0:
        return "it is empty"
    return "it is not a number or an array of numbers"


def _same_integers(given: np.ndarray, fitting: np.ndarray) -> bool:
    """True if casting to an integer dtype changed no value."""
    if given.dtype.kind == "f":
        return bool((np.abs(given) < 2.0**63).all() and (fitting.astype(np.float64) == given).all())
    return fitting.tolist() == given.tolist()
