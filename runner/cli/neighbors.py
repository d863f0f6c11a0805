"""The command `seqembed neighbors`."""

import json
from typing import Any

import click
from rich.console import Console

from seqembed.data.schema.detect import LAYOUT_CHOICES
from seqembed.runner.cli.names import Names
from seqembed.runner.neighbors.options import METRICS, NeighborOptions
from seqembed.runner.neighbors.report import NeighborReport
from seqembed.runner.neighbors.search import find_neighbors
from seqembed.runner.neighbors.show import headline, note, sparklines, table

_DEFAULTS = NeighborOptions()


@click.command(
    epilog="""\b
Examples:
  seqembed neighbors vectors/ --id c17 -k 5
  seqembed neighbors vectors/ --id c17 --data histories/
  seqembed neighbors vectors/day=2026-11-26 --id c17 --id c18 --data lake/day=2026-11-26 --time time --features amount
  seqembed neighbors 's3://lake/vectors/*.parquet' --id 4711 --metric cosine --json | jq '.results[].nearest[].id'
"""
)
@click.argument("vectors")
@click.option("--id", required=True, multiple=True, metavar="X", help="Id of a row, as text; may be repeated.")
@click.option("-k", "k", type=int, default=_DEFAULTS.k, show_default=True, metavar="N", help="Neighbours of each id.")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=_DEFAULTS.metric,
    show_default=True,
    help="Euclidean as in `seqembed evaluate`, or 1 minus the cosine.",
)
@click.option(
    "--data", multiple=True, metavar="INPUT", help="Parquet with the sequences, to draw them; may be repeated."
)
@click.option(
    "--id-column",
    default=_DEFAULTS.id_column,
    metavar="COLUMN",
    help="Column with the ids.  [default: that of the run; in other Parquet 'id']",
)
@click.option(
    "--features", type=Names(), default=_DEFAULTS.features, help="With --data: columns to draw.  [default: all numbers]"
)
@click.option(
    "--layout",
    default=_DEFAULTS.layout,
    show_default=True,
    type=click.Choice(LAYOUT_CHOICES),
    help="With --data: whether a row is a sequence (nested) or one step (events).",
)
@click.option("--time", default=_DEFAULTS.time, metavar="COLUMN", help="With --data: column to order steps by.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
def neighbors(vectors: str, id: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """List the nearest vectors of the row with id X, and draw their sequences.

    VECTORS is the output directory of `seqembed run`, or a Parquet file, a glob or a URI with the columns id and
    embedding. The row itself is not listed; other rows of its id are. Rows without a vector are skipped and counted.

    With --data, each number of the sequences is drawn as a line of blocks, on the same scale in all rows. Text is not
    drawn. Of a long sequence a block is the mean of several steps.
    """
    report = find_neighbors(vectors, id, NeighborOptions(**options))
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1, allow_nan=False))
    else:
        _show(report)


def _show(report: NeighborReport) -> None:
    console = Console()
    click.echo(headline(report))
    for result in report.results:
        click.echo()
        shown, left_out = table(result, console.width)
        console.print(shown)
        if left_out:
            click.echo(f"no room for {', '.join(map(repr, left_out))}; --json has all columns")
        if (line := note(result)) is not None:
            click.echo(line)
        for line in sparklines(report, result, console.width, console.encoding):
            click.echo(line)
