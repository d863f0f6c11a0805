"""The option --log-format of commands, and the end of a command whose messages are JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from seqembed.data.display.events import LOG_FORMATS, LogFormat, exit_code_of

LOG_FORMAT: Final[dict[str, Any]] = {
    "type": click.Choice(LOG_FORMATS),
    "default": "text",
    "show_default": True,
    "help": "Messages on standard error: text, or a JSON object per line.",
}


@contextmanager
def ending_in(log_format: LogFormat) -> Iterator[None]:
    """End the command in the block with the exit code of its error alone, where its last line in JSON said why.

    Raises:
        click.exceptions.Exit: The block raised, and the format is ``json``.
    """
    try:
        yield
    except BaseException as error:
        if log_format == "text":
            raise
        raise click.exceptions.Exit(exit_code_of(error)) from error
