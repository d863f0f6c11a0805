"""The command `seqembed train`. TensorFlow is imported only after the options have been checked."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from seqembed.data.errors import UsageError
from seqembed.data.signals import stopped_by_signals
from seqembed.trainer.columns import find_columns
from seqembed.trainer.config import TrainJob
from seqembed.trainer.directory import RunDirectory
from seqembed.trainer.options import PARAMETERS, SectionedCommand
from seqembed.trainer.progress import make_progress


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
def train(out: Path, resume: bool, overwrite: bool, progress: str, **options: Any) -> None:
    """Train a sequence autoencoder on Parquet and write a run directory.

    INPUT is a Parquet file, a directory (hive partitions too) or a glob; several may be given.
    """
    if resume and overwrite:
        raise UsageError("--resume continues the run that --overwrite would replace. Pass only one of them.")
    job = TrainJob.from_options(_typed_wins(options))
    if find_spec("tensorflow") is None:  # fail before the data is read; the import itself comes afterwards
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    directory = RunDirectory(out, resume=resume, overwrite=overwrite)
    shown = make_progress(progress, Console(stderr=True), lambda text: click.echo(text, err=True))
    with stopped_by_signals(), directory.hold():
        columns = find_columns(job)
        from seqembed.trainer.job import train_into

        with shown:
            summary = train_into(directory, job, columns, resume=resume, progress=shown)
    click.echo("\n".join(summary.lines()))


def _typed_wins(options: dict[str, Any]) -> dict[str, Any]:
    """Let --epochs on the command line override --steps of a configuration file, and vice versa."""
    source = click.get_current_context().get_parameter_source
    for typed, filed in (("epochs", "steps"), ("steps", "epochs")):
        if source(typed) is ParameterSource.COMMANDLINE and source(filed) is ParameterSource.DEFAULT_MAP:
            return {**options, filed: None}
    return options
