"""`seqembed run`: embed Parquet into Parquet."""

import logging

import click
from rich.console import Console
from rich.table import Table

from runner.job import Job, plan_job, run_job
from runner.options import PROGRESS_STYLES, RunOptions, usable_cores
from runner.report import RunReport, peak_rss_bytes

_DEFAULTS = RunOptions()


@click.command(
    epilog="""\b
Examples:
  seqembed run tonight/ --model encoder.onnx --out vectors/
  seqembed run 'in/day=*/part-*.parquet' --model encoder.onnx --out vectors/ --keep label
  seqembed run events.parquet --model encoder.onnx --out try/ --limit 1000
  seqembed run tonight/ --model encoder.onnx --out vectors/ --dry-run
"""
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--model", required=True, metavar="FILE", help="Bundle made by `seqembed export`.")
@click.option("--out", required=True, metavar="DIR", help="Output directory: one part for each input file.")
@click.option("--keep", default=",".join(_DEFAULTS.keep), metavar="COL,COL", help="Columns to carry to the output.")
@click.option(
    "--threads", type=int, default=None, help=f"Threads that embed.  [default: all cores, here {usable_cores()}]"
)
@click.option("--limit", type=int, default=None, metavar="N", help="Embed the first N sequences only.")
@click.option("--overwrite", is_flag=True, help="Replace parts of another model or other options, once all are made.")
@click.option("--dry-run", is_flag=True, help="Say which parts would be made, and do nothing.")
@click.option("--progress", type=click.Choice(PROGRESS_STYLES), default=_DEFAULTS.progress, show_default=True)
def run(inputs: tuple[str, ...], model: str, out: str, keep: str, threads: int | None, **rest: object) -> None:
    """Embed the sequences of INPUT: Parquet files, directories (hive partitions too) or globs.

    Every input file becomes one Parquet file under its relative path in the output directory, rows in input order, one
    row per sequence: id, kept columns, embedding (null where a sequence has no steps). Parts that are finished are
    skipped. Nothing is visible half-written; _SUCCESS is written last.
    """
    console = Console(stderr=True)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    columns = tuple(name.strip() for name in keep.split(",") if name.strip())
    options = RunOptions(keep=columns, threads=usable_cores() if threads is None else threads, **rest)  # type: ignore[arg-type]
    job = plan_job(inputs, model, out, options)
    if options.dry_run:
        _print_plan(job)
        return
    _print_summary(run_job(job, console), out)


def _print_plan(job: Job) -> None:
    table = Table("would", "part", "rows of the input")
    table.columns[2].justify = "right"
    for part in job.plan.parts:
        table.add_row(part.action, part.name, f"{part.num_file_rows:,}")
    Console().print(table)
    for name in job.plan.orphans:
        click.echo(f"orphan: {name}: its input is gone")
    click.echo(f"{len(job.plan.to_make)} of {len(job.plan.parts)} parts would be made in {job.output.given}")


def _print_summary(report: RunReport, out: str) -> None:
    counts, skipped = report.counts, len(report.parts) - report.num_made
    click.echo(
        f"{counts.rows_in:,} rows in = {counts.rows_embedded:,} embedded + {counts.rows_null:,} null + "
        f"{counts.rows_quarantined:,} quarantined"
    )
    if counts.rows_truncated:
        click.echo(f"{counts.rows_truncated:,} sequences were longer than the model takes and were truncated")
    for name in report.orphans:
        click.echo(f"{name}: its input is gone; the part was left as it is")
    made = f"{report.num_made} parts made" + (f", {skipped} up to date" if skipped else "")
    if report.num_made:
        made += (
            f"; {report.seconds:.1f} s, {report.rows_per_second:,.0f} rows/s, padding {report.padding_share:.1%}, "
            f"peak memory {peak_rss_bytes() / 2**20:,.0f} MiB"
        )
    click.echo(f"{made}: {out}")
