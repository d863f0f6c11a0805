"""Read options from a TOML file, for `--config` and `config=`: its top level, or a table named after the command.

The table overrides the top level, and the command line overrides both. Unknown keys are errors, so that a misspelt
option is not ignored for months. Only tables of other commands are skipped.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from seqembed.data.errors import UsageError

# Which tables a file may have.
COMMANDS = ("group", "train", "export", "run", "evaluate", "inspect", "neighbors", "sample", "demo")


@dataclass(frozen=True, slots=True)
class _Key:
    """The option that a key of the file sets.

    Attributes:
        option: The option or argument.
        is_opposite: Whether the key is the negative name of a flag, as ``forward-only``.
    """

    option: click.Parameter
    is_opposite: bool = False


def add_config_option(command: click.Command, commands: Collection[str]) -> None:
    """Add the option ``--config`` to a command, once.

    Args:
        command: The command; its parameters are the allowed keys.
        commands: Names of all commands, the allowed tables.
    """
    if any(parameter.name == "config" for parameter in command.params):
        return
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    keys = "".join(f" {_shown(argument)} is the key `{argument.name}`." for argument in arguments)
    option = click.Option(
        ["--config"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=partial(_read, commands=commands),
        help=f"TOML file with any of these options, at its top level or in a table [{command.name}]; a list of names "
        f"may be a list there.{keys} The command line takes precedence.",
    )
    command.params.append(option)


def _read(ctx: click.Context, parameter: click.Parameter, path: Path | None, *, commands: Collection[str]) -> None:
    if path is not None:
        ctx.default_map = {**(ctx.default_map or {}), **_settings_of(ctx, path, commands)}


def keywords_in_file(command: click.Command, path: Path) -> dict[str, Any]:
    """Return the options of a file as the keywords and values of the command's Python function.

    Args:
        command: What the file configures.
        path: The TOML file.

    Raises:
        UsageError: The file cannot be read, or holds what the command cannot use.
    """
    ctx = click.Context(command, info_name=command.name)
    options = {option.name or "": option for option in command.params}
    return {
        _keyword(options[name]): options[name].type_cast_value(ctx, value)
        for name, value in _settings_of(ctx, path, COMMANDS).items()
    }


def _keyword(option: click.Parameter) -> str:
    """Return the name of an option or argument in Python: ``json`` for ``--json``, ``inputs`` for INPUT."""
    return option.name or "" if isinstance(option, click.Argument) else _spelling(max(option.opts, key=len))


def _settings_of(ctx: click.Context, path: Path, commands: Collection[str]) -> dict[str, Any]:
    """Return the values of a file by the names of the options, each checked."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows add a byte order mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML ({error}).") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error
    name, keys = ctx.command.name or "", _keys(ctx.command)
    top = {key: value for key, value in document.items() if not isinstance(value, dict)}
    for table in document.keys() - top.keys():
        if table not in commands:
            _refuse_unknown(path, f"[{table}]", "not a command of seqembed", table, commands)
    settings = _settings(ctx, path, "", top, keys, commands)
    if name not in top:
        settings |= _settings(ctx, path, f"[{name}] ", document.get(name, {}), keys, commands)
    return settings


def _settings(
    ctx: click.Context,
    path: Path,
    table: str,
    values: Mapping[str, Any],
    keys: Mapping[str, _Key],
    commands: Collection[str],
) -> dict[str, Any]:
    """Return the checked values of a table by option name."""
    settings: dict[str, Any] = {}
    for written, value in values.items():
        key = keys.get(written.replace("-", "_"))
        where = f"{table}{written}"
        if key is None:
            if not table and written in commands:
                _refuse_type(path, where, value, f"a table [{written}] with options of `seqembed {written}`")
            _refuse_unknown(path, where, f"not an option of `seqembed {ctx.command.name}`", written, keys)
        name = key.option.name or ""
        if name in settings:
            raise UsageError(f"{path}: {where} sets the option {_shown(key.option)} a second time. Set it once.")
        settings[name] = _checked(ctx, path, where, key, value)
    return settings


def _checked(ctx: click.Context, path: Path, where: str, key: _Key, value: Any) -> Any:
    """Return a value converted for the option; TOML is typed, so "5" is not a number and 5 not a name."""
    option = key.option
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            _refuse_type(path, where, value, "true or false")
        return value != key.is_opposite
    if value is True and isinstance(option, click.Option) and isinstance(option.flag_value, str):
        return option.flag_value  # an option with an optional value, as --json
    is_list = option.multiple if isinstance(option, click.Option) else option.nargs != 1
    items = (value if isinstance(value, list) else [value]) if is_list else [value]
    expected = _expected(option.type)
    if expected is not None and not all(isinstance(item, expected[0]) and not isinstance(item, bool) for item in items):
        _refuse_type(path, where, value, f"{expected[1]}, or a list of them" if is_list else expected[1])
    given = items if is_list else value
    try:
        option.type_cast_value(ctx, given)
    except click.BadParameter as error:
        raise UsageError(f"{path}: {where}: {error.message.rstrip('.')}. It is the option {_shown(option)}.") from error
    return given


def _expected(kind: object) -> tuple[tuple[type, ...], str] | None:
    """Return the TOML types for a click type, and their name; None for types that check values themselves."""
    if isinstance(kind, click.types.IntParamType):
        return (int,), "an integer"
    if isinstance(kind, click.types.FloatParamType):
        return (int, float), "a number"
    if isinstance(kind, click.types.StringParamType | click.Path | click.Choice):
        return (str,), "text"
    return None


def _keys(command: click.Command) -> dict[str, _Key]:
    """Return the keys allowed for a command: every option name, with underscores."""
    keys: dict[str, _Key] = {}
    for option in command.params:
        if option.name == "config":
            continue
        spellings = {option.name or "", *map(_spelling, option.opts)}
        if isinstance(option, click.Argument):
            spellings.add(_spelling(_shown(option).lower()))
        keys |= dict.fromkeys(spellings, _Key(option))
        keys |= dict.fromkeys(map(_spelling, option.secondary_opts), _Key(option, is_opposite=True))
    return keys


def _spelling(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _shown(option: click.Parameter) -> str:
    """Return the name of an option or argument in help: ``--model``, ``INPUT``."""
    if isinstance(option, click.Argument):
        return (option.metavar or (option.name or "").upper()).strip("[].")
    return max(option.opts, key=len)


def _refuse_type(path: Path, where: str, value: object, expected: str) -> NoReturn:
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}
    found = kinds.get(type(value), "a table" if isinstance(value, dict) else "a date or time")
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    raise UsageError(f"{path}: {where} is {found} ({shown}); expected {expected}.")


def _refuse_unknown(path: Path, where: str, what: str, written: str, known: Collection[str]) -> NoReturn:
    near = get_close_matches(written.replace("-", "_"), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UsageError(f"{path}: '{where}' is {what}.{hint} Known: {', '.join(sorted(known))}.")


def missing_parameters(error: click.MissingParameter, words: list[str]) -> click.UsageError:
    """Return an error that lists all missing required options and arguments; click's own lists only the first.

    Args:
        error: The error raised by click.
        words: The command-line arguments after the command.
    """
    ctx = error.ctx
    if ctx is None:
        return error
    given, _, _ = ctx.command.make_parser(ctx).parse_args(list(words))
    missing = [
        _shown(option)
        for option in ctx.command.get_params(ctx)
        if option.required and option.value_is_missing(option.consume_value(ctx, given)[0])
    ]
    if not missing:
        return error
    names = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
    needed = "it is required" if len(missing) == 1 else "they are required"
    return click.UsageError(
        f"no {names} given; {needed}. `{ctx.command_path} --help` shows examples, and --config reads them from a file.",
        ctx,
    )
