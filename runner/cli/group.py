"""The command group `seqembed`; subcommands are imported lazily, so that help and runs start fast.

Options of every subcommand can be read from a TOML file: `seqembed.data.config_file`.
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

# Name → location of the click command, its one-line help, and the extra it needs.
_COMMANDS = {
    "group": ("runner.cli.group_events:group", "Group events in many files into one row per id.", "events"),
    "train": ("trainer.command:train", "Train a sequence autoencoder on Parquet.", "train"),
    "export": ("exporter.command:export", "Export a trained encoder to one checked ONNX file.", "train"),
    "run": ("runner.cli.run:run", "Embed Parquet sequences and write Parquet vectors.", None),
    "evaluate": (
        "runner.evaluate.command:evaluate",
        "Evaluate embeddings on your own labels.",
        "evaluate",
    ),
    "inspect": ("runner.cli.inspect:inspect", "Describe a model, a run, an output directory or data.", None),
    "neighbors": ("runner.cli.neighbors:neighbors", "List the nearest vectors of an id.", None),
    "sample": ("runner.cli.sample:sample", "Write sample data.", None),
    "demo": ("runner.cli.demo:demo", "Train, export and run on simulated tanks.", "train"),
}
# Commands whose result is their standard output; they fail if it cannot be written.
_PRINTED_RESULTS = frozenset({"inspect", "neighbors"})
_INTERRUPTED = 130
_WORDS = "seqembed.words"
_BUG = 1


class CommandGroup(click.Group):
    """Imports subcommands lazily, and maps errors to exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return names in the usual order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand; if a library is missing, name the extra to install."""
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name == "run":
            # NumPy starts a thread pool for matrix products, which spins for a tenth of a second; a run has no such
            # products.
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
        """Resolve the subcommand, and store its arguments for messages."""
        name, command, words = super().resolve_command(ctx, args)
        ctx.meta[_WORDS] = list(words)
        return name, command, words

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; if required options are missing, list all of them."""
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
        """Run the command, and end the process with its exit code."""
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
            click.echo(f"standard output could not be written ({lost.strerror}); the result is complete", err=True)
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
    """Embed variable-length sequences as fixed-length vectors, from Parquet to Parquet.

    \b
    seqembed train history.parquet --out run/            occasionally, with TensorFlow
    seqembed export run/ --out encoder.onnx              one file, checked against Keras
    seqembed run new/ --model encoder.onnx --out vectors/       on a schedule, without TensorFlow

    Exit codes: 0 done, 1 bug, 2 usage, 3 input data, 4 model or contract, 5 parity, quality or drift gate, 6 output,
    130 interrupted, 143 terminated.
    """  # noqa: D301 - \b tells click not to rewrap these lines
