"""Option types: lists of column names, and a number that may be left to the program."""

from typing import Any

import click


class Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Comma-separated names; in a configuration file also a list, whose names may contain commas."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without empty ones.

        A text without any is refused: as often as not it is a variable that a scheduler did not fill.
        """
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            self.fail(f'{value!r} is not a list of names, such as a,b or in a file ["a", "b"].', param, ctx)
        names = tuple(name for part in parts if (name := part.strip()))
        if not names and isinstance(value, str):
            self.fail(f"{value!r} names no column. Name one, or leave the option out.", param, ctx)
        return names


class Buckets(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A number, or ``auto``, which is None."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number."""
        text = str(value)
        if text == "auto":
            return None
        if isinstance(value, bool) or not text.isdecimal():
            self.fail(f"{value!r} is neither a number nor auto.", param, ctx)
        return int(text)
