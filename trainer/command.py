"""The command `seqembed train`. TensorFlow is imported only after the options have been checked."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from seqembed.data.arrow_start import settle_without_pandas
from seqembed.data.display.events import LogFormat
from seqembed.data.display.progress import ProgressStyle
from seqembed.data.display.quiet import hide_unused_libraries
from seqembed.data.garbage import collect_garbage_rarely
from seqembed.data.json_log import ending_in
from seqembed.data.signals import stopped_by_signals
from seqembed.trainer.api import start
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.options import PARAMETERS, SectionedCommand


@click.command(
    cls=SectionedCommand,
    params=PARAMETERS,
    short_help="Train a sequence autoencoder on Parquet.",
    epilog="""\b
Examples:
  seqembed train history.parquet --out run
  seqembed train events/ --layout events --time at --id customer --out run
  seqembed train "days/*.parquet" --features temperature,load --units 128 --out run
  seqembed train --config run/config.toml --out again
  seqembed train history.parquet --out run --resume
""",
)
def train(
    out: Path, resume: bool, overwrite: bool, progress: ProgressStyle, log_format: LogFormat, **options: Any
) -> None:
    """Train a sequence autoencoder on Parquet and write a run directory.

    INPUT is a Parquet file, a directory (hive partitions too) or a glob; several may be given.
    """
    job = TrainJob.from_options(_typed_wins(options))
    hide_unused_libraries()
    collect_garbage_rarely()
    settle_without_pandas()
    with ending_in(log_format), stopped_by_signals():
        summary = start(job, out, _say, resume=resume, overwrite=overwrite, progress=progress, log_format=log_format)
    click.echo("\n".join(summary.lines()))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _typed_wins(options: dict[str, Any]) -> dict[str, Any]:
    """Let --epochs on the command line override --steps of a configuration file, and vice versa."""
    source = click.get_current_context().get_parameter_source
    for typed, filed in (("epochs", "steps"), ("steps", "epochs")):
        if source(typed) is ParameterSource.COMMANDLINE and source(filed) is ParameterSource.DEFAULT_MAP:
            return {**options, filed: None}
    return options
