"""Helpers for the Python functions of commands: signatures from configuration classes, and errors in Python terms.

Every default is defined in one configuration class. The functions take ``**options``, typed by a `TypedDict` without
defaults, and get the defaults of the class in their signature, so that ``help`` and notebooks list every keyword.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from seqembed.data.errors import SeqembedError, UsageError
from seqembed.data.extras import missing_extra
from seqembed.data.host import host_fault
from seqembed.data.keyword_types import checked_value

PathOrUri = str | os.PathLike[str]
Inputs = PathOrUri | Sequence[PathOrUri]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_SWITCHED_OFF = re.compile(r"(?<![\w-])--no-([a-z][a-z-]*)")
_COMMAND_LINE = re.compile(r"(?=seqembed (?:train|export|group) )")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")


@contextmanager
def in_python(what: str, extra: str | None = None) -> Iterator[None]:
    """Replace options (``--on-bad-row``) by keywords (``on_bad_row``) in the messages of errors.

    Can be used as a decorator.

    Args:
        what: The called function, for messages.
        extra: The extra of the package that the function needs, if any.

    Raises:
        UsageError: A library is missing that an extra installs.
        HostError: The host lacks memory, descriptors or threads.
    """
    try:
        yield
    except SeqembedError as error:
        # A command line that a message names, to copy into a shell, stays as it is.
        text, *line = _COMMAND_LINE.split(str(error), maxsplit=1)
        text = _SWITCHED_OFF.sub(lambda found: f"{_snake(found[1])}=False", text)
        error.args = (_OPTION.sub(lambda found: _snake(found[1]), text) + "".join(line),)
        raise
    except ModuleNotFoundError as error:
        raise missing_extra(what, error, extra) from error
    except Exception as error:
        if (fault := host_fault(error)) is not None:
            raise fault from error
        raise


def _snake(option: str) -> str:
    return option.rstrip("-").replace("-", "_")


def shows_options(*sections: type, leave_out: Sequence[str] = ()) -> Callable[[_Function], _Function]:
    """Give a function with ``**options`` a signature with the fields of `sections` and their defaults.

    Args:
        sections: Configuration dataclasses.
        leave_out: Fields that are not keywords.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        named = {one.name for one in own} | set(leave_out)
        more = [_parameter(field) for section in sections for field in fields(section) if field.name not in named]
        # inspect, help and notebooks use this attribute first.
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return decorate


def _parameter(field: Field[Any]) -> inspect.Parameter:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)


def takes_config(command: str, instead: Mapping[str, str] | None = None) -> Callable[[_Function], _Function]:
    """Let a function with a parameter ``config`` take options from that TOML file, as ``--config`` does.

    What is passed to the function wins over the file. The function itself is called without ``config``.

    Args:
        command: Where the click command lives that the file configures, as ``trainer.command:train``.
        instead: Keywords that, if passed, also override another one of the file.
    """

    def decorate(function: _Function) -> _Function:
        first = next(iter(inspect.signature(function).parameters))

        @wraps(function)
        def with_file(*args: Any, config: PathOrUri | None = None, **keywords: Any) -> Any:
            if config is None:
                return function(*args, **keywords)
            from seqembed.data.config_file import keywords_in_file

            config = checked_value("config", config, PathOrUri)
            module, name = command.split(":")
            filed = keywords_in_file(getattr(import_module(f"seqembed.{module}"), name), Path(config))
            passed = {*keywords, *([first] if args else [])}
            passed |= {other for keyword, other in (instead or {}).items() if keyword in passed}
            return function(*args, **{key: value for key, value in filed.items() if key not in passed}, **keywords)

        return cast(_Function, with_file)

    return decorate


def missing(function: Callable[..., Any], options: Mapping[str, Any], **values: Any) -> TypeError:
    """Return the error for a call that neither passes what is None here nor names a ``config`` that holds it.

    Args:
        function: A function with the signature from `shows_options`.
        options: The given options: a misspelt one may be what is missing.
        values: What has to be passed.

    Raises:
        TypeError: The function has no such keyword.
    """
    checked_options(function, options)
    names = [name for name, value in values.items() if value is None]
    return TypeError(f"{function.__name__}() needs {' and '.join(names)}. Pass it, or a config that holds it.")


def checked_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options with lists as tuples; a single string becomes a tuple if names are expected.

    Args:
        function: A function with the signature from `shows_options`.
        options: The given options.

    Raises:
        TypeError: The function has no such keyword.
        UsageError: A value has another type than the option.
    """
    known = inspect.signature(function).parameters
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument '{name}'.{hint}")
    return {name: _plain(known[name], value) for name, value in options.items()}


def _plain(parameter: inspect.Parameter, value: Any) -> Any:
    value = checked_value(parameter.name, value, parameter.annotation)
    if isinstance(parameter.default, tuple):
        return several(value)
    return tuple(value) if isinstance(value, list) else value


def several(given: Inputs) -> tuple[str, ...]:
    """Return one or several names, paths, globs or URIs as a tuple of strings.

    What was passed has been checked by `seqembed.data.keyword_types`.
    """
    return tuple(os.fspath(one) for one in ((given,) if isinstance(given, str | os.PathLike) else given))


def inputs_of(given: Inputs, name: str = "inputs") -> tuple[str, ...]:
    """Return inputs as a tuple of strings.

    Args:
        given: One or several paths, globs or URIs.
        name: The keyword, for messages.

    Raises:
        UsageError: There is none, as of a glob that matched nothing.
    """
    found = several(given)
    if not found:
        raise UsageError(f"{name} is empty. Pass at least one file, directory, glob or URI.")
    return found


def path_or_none(given: PathOrUri | None) -> Path | None:
    """Return a `Path`, or None."""
    return None if given is None else Path(given)
