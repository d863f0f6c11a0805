"""The command `seqembed demo`."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from seqembed.runner.demo import DemoLayout, DemoResult, run_demo


@click.command(
    epilog="""\b
Examples:
  seqembed demo
  seqembed demo --out /data/try --seed 1
"""
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("seqembed-demo"),
    show_default=True,
    help="Directory to write to.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the training.")
@click.pass_context
def demo(ctx: click.Context, out: Path, seed: int) -> None:
    """Train, export and run on 1,000 windows of four tanks, one of whose pipes is open, and evaluate the vectors.

    The windows are simulated (`seqembed sample tanks`); training never sees which pipe is open. Every command is
    printed before it runs, so that you can repeat it on your own data.
    """
    group, layout, start = ctx.find_root().command, DemoLayout(out), time.perf_counter()

    def command(words: Sequence[str]) -> None:
        click.secho(f"\n$ seqembed {shlex.join(words)}", bold=True)
        group.main(list(words), standalone_mode=False)

    result = run_demo(layout, seed, command)
    click.echo()
    _print_accuracy(result)
    _print_files(layout)
    click.echo(f"Done in {time.perf_counter() - start:.0f} s. The page of the training, for a browser:")
    click.echo(f"  {layout.run.report}")


def _print_accuracy(result: DemoResult) -> None:
    table = Table(f"open pipe of the nearest training window, {result.num_test} test windows", "right")
    table.columns[1].justify = "right"
    table.add_row(f"trained encoder, {result.num_dimensions} numbers per window", f"{result.trained:.1%}")
    table.add_row(f"the same encoder, untrained, {result.num_dimensions} numbers", f"{result.untrained:.1%}")
    table.add_row("mean and spread of each level, 8 numbers", f"{result.mean_and_spread:.1%}")
    table.add_row("guessing (chance)", f"{result.chance:.1%}")
    Console().print(table)


def _print_files(layout: DemoLayout) -> None:
    table = Table("what", "where", "bytes")
    table.columns[2].justify = "right"
    rows = [
        ("windows of levels, from Parquet", layout.data),
        ("trained model, history, plots", layout.run.root),
        ("the one file to deploy", layout.bundle),
        ("vectors, to Parquet", layout.vectors),
        ("the untrained control", layout.control.root),
    ]
    for what, path in rows:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        table.add_row(what, str(path), f"{sum(file.stat().st_size for file in files):,}")
    Console().print(table)
