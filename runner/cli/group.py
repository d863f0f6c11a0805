"""The command group `seqembed`: a subcommand is imported when called, so that help and a job start fast.

Options of every subcommand may stand in a TOML file: `seqembed.data.config_file`.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any

import click

from seqembed.data.config_file import add_config_option, missing_parameters
from seqembed.data.errors import OutputError, SeqembedError
from seqembed.data.extras import missing_extra
from seqembed.data.files.secrets import scrub
from seqembed.data.host import host_fault
from seqembed.data.signals import TERMINATED
from seqembed.runner.cli.streams import lost_output, settle_streams

# Name → where its click command lives, its one-line help, and the extra that brings what it imports.
_COMMANDS = {
    "train": ("trainer.command:train", "Train a sequence autoencoder on Parquet.", "train"),
    "export": ("exporter.command:export", "Turn a trained encoder into one checked ONNX file.", "train"),
    "run": ("runner.cli.run:run", "Embed Parquet sequences into Parquet vectors.", None),
    "evaluate": (
        "runner.evaluate.command:evaluate",
        "Measure what the vectors are worth on your own labels.",
        "evaluate",
    ),
    "inspect": ("runner.cli.inspect:inspect", "Describe a model, a run, an output directory or data.", None),
    "sample": ("runner.cli.sample:sample", "Write sample data.", None),
    "demo": ("runner.cli.demo:demo", "Train, export and run on real recorded data.", "train"),
}
# Commands whose result is what they print: it is lost where that cannot be written.
_PRINTED_RESULTS = frozenset({"inspect"})
_INTERRUPTED = 130
_WORDS = "seqembed.words"
_BUG = 1


class CommandGroup(click.Group):
    """Imports a subcommand when it is asked for, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return names in the order one uses them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand; without what it needs, say which extra to install."""
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name == "run":
            # Numpy starts a pool of threads for matrix products, which spin for a tenth of a second; a job has none.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        target, _, _ = _COMMANDS[cmd_name]
        module, name = target.split(":")
        try:
            command: click.Command = getattr(import_module(f"seqembed.{module}"), name)
        except ModuleNotFoundError as error:
            raise missing_extra(cmd_name, error, _extra_of(cmd_name)) from error
        add_config_option(command, _COMMANDS)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, and remember its words for messages."""
        name, command, words = super().resolve_command(ctx, args)
        ctx.meta[_WORDS] = list(words)
        return name, command, words

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; if required options are missing, name all of them."""
        try:
            return super().invoke(ctx)
        except click.MissingParameter as error:
            raise missing_parameters(error, ctx.meta.get(_WORDS, [])) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text, _) in _COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the process with the exit code that belongs to what happened."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        settle_streams()
        try:
            # Without standalone mode click returns the code of an Exit (--help, --version) instead of raising it.
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            said = io.StringIO()
            error.show(said)
            click.echo(scrub(said.getvalue()), err=True, nl=False)
            sys.exit(error.exit_code)
        except SeqembedError as error:
            click.echo(f"{click.style('error', fg='red', bold=True)}: {scrub(str(error))}", err=True)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            sys.exit(_INTERRUPTED)
        except SystemExit as end:
            if end.code == TERMINATED:
                click.echo("terminated", err=True)
            raise
        except ModuleNotFoundError as error:
            command = _command(args)
            extra_error = missing_extra(command or "", error, _extra_of(command))
            click.echo(f"{click.style('error', fg='red', bold=True)}: {extra_error}", err=True)
            sys.exit(extra_error.exit_code)
        except Exception as error:
            if (fault := host_fault(error)) is not None:
                click.echo(f"{click.style('error', fg='red', bold=True)}: {scrub(str(fault))}", err=True)
                sys.exit(fault.exit_code)
            click.echo(scrub(traceback.format_exc()), err=True, nl=False)
            click.echo("This is a bug in seqembed. Please report it with the lines above.", err=True)
            sys.exit(_BUG)
        if (lost := lost_output()) is not None:
            click.echo(f"standard output could not be written ({lost.strerror}); the result stands", err=True)
            if _command(args) in _PRINTED_RESULTS:
                sys.exit(OutputError.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


def _command(args: Sequence[str] | None) -> str | None:
    words = sys.argv[1:] if args is None else args
    return next((word for word in words if not word.startswith("-")), None)


def _extra_of(command: str | None) -> str | None:
    _, _, extra = _COMMANDS.get(command or "", ("", "", None))
    return extra


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `seqembed demo`. Each command shows examples: `seqembed run --help`.",
)
@click.version_option(metadata.version("seqembed"), prog_name="seqembed")
def main() -> None:
    """Turn variable-length sequences into fixed-length vectors, from Parquet to Parquet.

    \b
    seqembed train history.parquet --out run/            now and then, with TensorFlow
    seqembed export run/ --out encoder.onnx              one file, equal to Keras or refused
    seqembed run new/ --model encoder.onnx --out vectors/       on a schedule, without TensorFlow

    Exit codes: 0 done, 1 bug, 2 usage, 3 input data, 4 model or contract, 5 parity or quality gate, 6 output,
    130 interrupted, 143 terminated.
    """  # noqa: D301 - \b is the character that click takes for "leave these lines as they are"
