"""Option type for lists of column names."""

from typing import Any

import click


class Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Comma-separated names; in a configuration file also a list, whose names may contain commas."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without empty ones."""
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            self.fail(f'{value!r} is not a list of names, such as a,b or in a file ["a", "b"].', param, ctx)
        return tuple(name for part in parts if (name := part.strip()))
