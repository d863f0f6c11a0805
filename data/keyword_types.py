"""Check what callers pass to the Python functions against the annotations, so that a wrong type is a `UsageError`.

click checks the words of a command line; Python checks nothing, and a text where a number belongs would end with an
error of whatever line meets it first. Only kinds that options have are known here; others pass.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from seqembed.data.errors import UsageError

# A number that None leaves to the data, in a configuration; callers may say "auto" instead, as on the command line.
ChosenInt = Annotated[int | None, "auto"]
IntOrAuto = int | Literal["auto"] | None  # the same where they pass it

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MAX_SHOWN = 60
_OTHER = object()


def checks_arguments(function: _Function) -> _Function:
    """Let a function check its arguments against its annotations; those of ``**options`` are left to it.

    Integers and floats of numpy become those of Python.
    """
    signature = inspect.signature(function)
    kinds = cache(lambda: get_type_hints(function))  # names in annotations may be defined later in their module

    @wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        try:
            bound = signature.bind(*args, **keywords)
        except TypeError:
            return function(*args, **keywords)  # raises it with the name of the function
        for name, value in bound.arguments.items():
            if name in kinds() and signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = checked_value(name, value, kinds()[name])
        return function(*bound.args, **bound.kwargs)

    return cast(_Function, checked)


def checked_value(name: str, value: Any, kind: Any) -> Any:
    """Return a value as the type of an option.

    Args:
        name: The keyword, for messages.
        value: What was passed.
        kind: The annotation: bool, int, float, str, paths, None, tuples and sequences of them, unions of all these; or
            one of them annotated with a text that means None.

    Raises:
        UsageError: The value has another type.
    """
    if get_origin(kind) is Annotated:
        kind, other = get_args(kind)
        if isinstance(value, str) and value == other:
            return None
        kind |= Literal[other]
    kinds = _alternatives(kind)
    for one in kinds:
        found = _as_kind(value, one)
        if found is not _OTHER:
            return found
    if _is_table(value) and "path" in (expected := _expected(kinds)):
        raise UsageError(
            f"expected {expected}; received a {type(value).__name__}. Write it to a Parquet file first; to embed "
            "a table in memory, call seqembed.load(model).embed(table)."
        )
    raise UsageError(f"{name} must be {_expected(kinds)}, was {_shown(value)}.")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _as_kind(value: Any, kind: Any) -> Any:
    """Return a value as one type; `_OTHER` if it has another one."""
    is_number = not isinstance(value, bool | np.bool_)
    if kind is bool:
        return _OTHER if is_number else bool(value)
    if kind is int:
        return int(value) if isinstance(value, Integral) and is_number else _OTHER
    if kind is float:
        return float(value) if isinstance(value, Real) and is_number else _OTHER
    if kind in (str, NoneType):
        return value if isinstance(value, kind) else _OTHER
    origin, members = get_origin(kind) or kind, get_args(kind)
    if origin is os.PathLike:
        return value if isinstance(value, os.PathLike) else _OTHER
    if origin is Literal and len(members) == 1:
        return value if isinstance(value, str) and value == members[0] else _OTHER
    if origin is Literal:  # which text is allowed, the options say
        return value if isinstance(value, tuple(map(type, members))) else _OTHER
    if origin is tuple and members[-1] is not Ellipsis:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(members):
            return _OTHER
        found = tuple(_as_kind(one, member) for one, member in zip(value, members, strict=True))
        return _OTHER if _OTHER in found else found
    if origin in (tuple, Sequence) and not _is_open(members[0]):
        return _as_names(value, members[0])
    return value


def _is_open(member: Any) -> bool:
    """Return whether values of any type may stand in a sequence, as far as is known here."""
    return any(one is not str and (get_origin(one) or one) is not os.PathLike for one in _alternatives(member))


def _as_names(value: Any, member: Any) -> Any:
    """Return one or several names or paths as they are, an iterator as a tuple; `_OTHER` for anything else."""
    if isinstance(value, str | os.PathLike):
        return value
    if isinstance(value, bytes) or not isinstance(value, Iterable) or _is_table(value):
        return _OTHER
    several = tuple(value)
    return several if all(isinstance(one, str | os.PathLike) for one in several) else _OTHER


def _is_table(value: Any) -> bool:
    """Return whether a value is a table, of pyarrow, pandas, polars or DuckDB; a column of pandas or polars is none."""
    is_column = hasattr(value, "to_list")
    return (hasattr(value, "__arrow_c_stream__") and not is_column) or hasattr(value, "__dataframe__")


def _expected(kinds: Sequence[Any]) -> str:
    """Return the types in words."""
    words = list(dict.fromkeys(_word(kind) for kind in kinds if kind is not NoneType))
    for word, whole in (
        ("paths", "a path, a glob or a URI, or several"),
        ("a path", "a path or URI"),
        ("names", "a name or several"),
    ):
        if word in words:
            return whole
    return " or ".join([*words, *(["None"] if NoneType in kinds else [])])


def _word(kind: Any) -> str:
    words: Mapping[Any, str] = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    if kind in words:
        return words[kind]
    origin, members = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return "text" if len(members) > 1 else repr(members[0])
    if origin is os.PathLike:
        return "a path"
    if origin is tuple and members[-1] is not Ellipsis:
        return "two of them" if len(members) == 2 else f"{len(members)} of them"
    return "names" if members[:1] == (str,) else "paths"


def _shown(value: Any) -> str:
    """Return a value for a message, or its type where it would fill the screen."""
    if isinstance(value, str | bytes | int | float | list | tuple | dict | np.generic | NoneType):
        text = repr(value.item() if isinstance(value, np.generic) else value)
        if len(text) <= _MAX_SHOWN:
            return text
    return f"a {type(value).__name__}"
