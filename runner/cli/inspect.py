"""The command `seqembed inspect`."""

import json
from typing import Any

import click

from seqembed.data.schema.detect import LAYOUT_CHOICES
from seqembed.runner.inspect.describe import describe, description
from seqembed.runner.inspect.describe_data import DataOptions

_DEFAULTS = DataOptions()


@click.command(
    epilog="""\b
Examples:
  seqembed inspect encoder.onnx
  seqembed inspect s3://models/encoder.onnx
  seqembed inspect run/
  seqembed inspect vectors/
  seqembed inspect history.parquet
  seqembed inspect events/ --id customer --time at
  seqembed inspect vectors/ --json
"""
)
@click.argument("path")
@click.option("--id", default=_DEFAULTS.id, show_default=True, metavar="COLUMN", help="Data: the id column.")
@click.option(
    "--layout",
    default=_DEFAULTS.layout,
    show_default=True,
    type=click.Choice(LAYOUT_CHOICES),
    help="Data: whether a row is a sequence (nested) or one step (events).",
)
@click.option("--time", default=_DEFAULTS.time, metavar="COLUMN", help="Data: the column to order steps by.")
@click.option("--label", default=_DEFAULTS.label, metavar="COLUMN", help="Data: a column that is not a feature.")
@click.option(
    "--version", type=int, metavar="N", help="Data: the version or snapshot of a table.  [default: the newest]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a field `kind`, for scripts.")
def inspect(path: str, as_json: bool, **options: Any) -> None:
    """Describe PATH: a model, a run directory, an output directory or Parquet data.

    PATH may be a URI, and for data a glob. For data, the output lists the columns that `seqembed train` would use and
    what it would refuse. It reads footers, the start of one file, and the ids of events in several files.
    """
    if as_json:
        click.echo(json.dumps(description(path, DataOptions(**options)).facts, indent=1, allow_nan=False))
        return
    given = {name: value for name, value in options.items() if value != getattr(_DEFAULTS, name)}
    for line in describe(path, **given):
        click.echo(line)
