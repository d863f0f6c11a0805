"""The command `seqembed run`."""

import logging
import sys
from collections.abc import Iterator, Sequence

import click

from seqembed.data.arrow_start import settle_without_pandas
from seqembed.data.display.events import emit, reported
from seqembed.data.display.progress import PROGRESS_STYLES
from seqembed.data.files.secrets import without_secrets
from seqembed.data.json_log import LOG_FORMAT, ending_in
from seqembed.data.plurals import counted
from seqembed.data.signals import stopped_by_signals
from seqembed.runner.cli.names import Names
from seqembed.runner.job.plan import RunPlan
from seqembed.runner.job.run import Job, announce, announce_plan, plan_job, run_job
from seqembed.runner.options import ENGINES, ON_BAD_FILE, ON_BAD_ROW, VECTOR_TYPES, RunOptions, usable_cores
from seqembed.runner.report import RunReport, peak_rss_bytes

_DEFAULTS = RunOptions()
_MAX_REASONS = 5


@click.command(
    epilog="""\b
Examples:
  seqembed run new/ --model encoder.onnx --out vectors/
  seqembed run 'in/day=*/part-*.parquet' --model encoder.onnx --out vectors/ --keep label
  seqembed run events.parquet --model encoder.onnx --out try/ --limit 1000
  seqembed run year.parquet --model encoder.onnx --out vectors/ --rows-per-part 5000000
  seqembed run lake/ --model encoder.onnx --out vectors/ --only 'day=2026-11-2*'
  seqembed run s3://lake/day=2026-11-26/ --model encoder.onnx --out s3://lake/vectors/
  seqembed run s3://lake/in/ --model encoder.onnx --out s3://lake/vectors/ --engine ray --address 10.0.0.5:6379
  seqembed run new/ --model encoder.onnx --out scored/ --score
  seqembed run new/ --model encoder.onnx --out vectors/ --dry-run
  seqembed run lake/day=2026-11-26/ --model encoder.onnx --out vectors/ --fail-on-drift
  seqembed run new/ --model encoder.onnx --out vectors/ --report
  seqembed run new/ --model encoder.onnx --out vectors/ --metrics /var/lib/node_exporter/seqembed.prom
  seqembed run new/ --model encoder.onnx --out vectors/ --log-format json 2> events.jsonl
"""
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--model", required=True, metavar="FILE", help="Bundle made by `seqembed export`.")
@click.option("--out", required=True, metavar="DIR", help="Output directory: one part per input file.")
@click.option("--keep", type=Names(), default=_DEFAULTS.keep, help="Columns to copy to the output.")
@click.option(
    "--threads",
    type=int,
    default=None,
    help=f"Threads that embed.  [default: all cores, here {usable_cores()}; with ray, spark 1]",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=_DEFAULTS.engine,
    show_default=True,
    help="Make the parts in this process, or on the workers of Ray or Spark (extras `ray`, `spark`); same bytes.",
)
@click.option(
    "--address",
    default=None,
    metavar="ADDRESS",
    help="Ray cluster (10.0.0.5:6379), Spark master or Spark Connect (sc://HOST).  [default: start one here]",
)
@click.option("--limit", type=int, default=None, metavar="N", help="Embed the first N sequences only.")
@click.option(
    "--rows-per-part",
    type=int,
    default=None,
    metavar="N",
    help="Divide larger files by row groups into parts of at most N rows.  [default: one part per file]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="GLOB",
    help="Make the parts whose path in DIR, or a directory of it, matches, and leave the others alone. Repeatable.",
)
@click.option(
    "--version",
    type=int,
    metavar="N",
    help="Version of the Delta tables, or snapshot of the Iceberg tables, among the inputs.  [default: the newest]",
)
@click.option(
    "--on-bad-row",
    type=click.Choice(ON_BAD_ROW),
    default=_DEFAULTS.on_bad_row,
    show_default=True,
    help="For an invalid row: fail, write a null vector and the reason, or move the row to _quarantine/.",
)
@click.option(
    "--max-bad-fraction",
    type=float,
    default=_DEFAULTS.max_bad_fraction,
    show_default=True,
    metavar="X",
    help="Maximum share of bad rows in a part; above it the run fails.",
)
@click.option(
    "--on-bad-file",
    type=click.Choice(ON_BAD_FILE),
    default=_DEFAULTS.on_bad_file,
    show_default=True,
    help="For an unreadable file: fail, or skip and report it.",
)
@click.option(
    "--dtype",
    type=click.Choice(VECTOR_TYPES),
    default=_DEFAULTS.dtype,
    show_default=True,
    help="Number type of the vectors; float16 halves their size and keeps three digits.",
)
@click.option(
    "--score",
    is_flag=True,
    help="Write how anomalous each sequence is: score, the error of its reconstruction, and score_quantile, the share "
    "of held-out training rows with a smaller one. Needs a bundle of `export --with-decoder`.",
)
@click.option("--prune", is_flag=True, help="Remove parts whose input no longer exists or is beyond --limit.")
@click.option("--overwrite", is_flag=True, help="Replace parts of another model or other options, once all are made.")
@click.option(
    "--fail-on-drift",
    is_flag=True,
    help="Exit with 5, before _SUCCESS, if the rows moved too far from the training data. Parts stay.",
)
@click.option(
    "--metrics",
    metavar="FILE",
    help="Write metrics for Prometheus' textfile collector there, also when the run fails (extra `metrics`).",
)
@click.option("--log-format", **LOG_FORMAT)
@click.option(
    "--report",
    is_flag=True,
    help="Write a page about the run, _report.html, into DIR after _SUCCESS (extra `report`).",
)
@click.option("--dry-run", is_flag=True, help="List the parts that would be made, without making them.")
@click.option("--progress", type=click.Choice(PROGRESS_STYLES), default=_DEFAULTS.progress, show_default=True)
def run(inputs: tuple[str, ...], model: str, out: str, **rest: object) -> None:
    """Embed the sequences of INPUT: Parquet files, directories (hive partitions too) or globs.

    For every input file one part, a Parquet file with the same relative path, is written to the output directory. It
    has one row per sequence in input order: id, kept columns, embedding (null for a sequence without steps). Finished
    parts are skipped. Unfinished parts are never visible; _SUCCESS is written last.
    """
    settle_without_pandas()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    options = RunOptions(**rest)  # type: ignore[arg-type]
    job = Job(inputs, model, out, options)
    with ending_in(options.log_format):
        if options.dry_run:
            with reported(options.log_format, sys.stderr):
                announce(job)
                plan, num_rows = plan_job(job)
                announce_plan(plan, num_rows)
                for action, name in _would(plan.sliced, prune=options.prune):
                    emit("would", name=name, action=action)
            _print_plan(plan, num_rows, job)
            return
        with stopped_by_signals():
            report = run_job(job, sys.stderr)
    _print_summary(report, without_secrets(out))


def _would(plan: RunPlan, *, prune: bool) -> Iterator[tuple[str, str]]:
    """Yield what would become of each part: action and name."""
    yield from ((part.action, part.name) for part in plan.parts)
    for names, why in ((plan.orphans, "its input no longer exists"), (plan.beyond, "beyond --limit")):
        yield from ((f"{'prune' if prune else 'leave'} ({why})", name) for name in names)
    yield from (("remove (its rows are in other parts)", name) for name in plan.superseded)
    yield from (("skip", f"{name}: {reason}") for name, reason in plan.skipped_files)


def _print_plan(plan: RunPlan, num_rows: int, job: Job) -> None:
    from rich.console import Console  # here: a job that runs needs neither
    from rich.table import Table

    table, plan = Table("would", "part"), plan.sliced
    for action, name in _would(plan, prune=job.options.prune):
        table.add_row(action, name)
    for note in plan.notes:
        click.secho(note, fg="yellow")
    Console().print(table)
    most = "" if job.options.limit is None else "at most "
    click.echo(
        f"{most}{len(plan.to_make)} of {counted(len(plan.parts), 'part')} would be made in {without_secrets(job.out)}, "
        f"from {counted(num_rows, 'row')} of input"
    )
    _print_unfinished(plan.unfinished)


def _print_unfinished(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        click.echo(f"outside --only, {names[0]}{more} not finished: no _SUCCESS until a run makes them")


def _print_summary(report: RunReport, out: str) -> None:
    counts, skipped = report.counts, len(report.parts) - report.num_made
    click.echo(
        f"{counts.rows_in:,} rows in = {counts.rows_embedded:,} embedded + {counts.rows_null:,} null + "
        f"{counts.rows_quarantined:,} quarantined"
    )
    if counts.rows_truncated:
        was = "was" if counts.rows_truncated == 1 else "were"
        longer = counted(counts.rows_truncated, "sequence")
        click.echo(f"{longer} {was} longer than the model takes and {was} truncated")
    for field in report.unknown_shares:
        known = f"{field.name}: {field.share:.1%} of the steps hold values unknown to the model"
        if field.drifted:
            click.secho(f"WARNING {known}, in training {field.trained:.1%}: train again on newer data", fg="yellow")
        else:
            click.echo(f"{known} (in training {field.trained:.1%})")
    if report.drift is not None:
        click.secho(report.drift.line(), fg="yellow" if report.drift.alarmed else None)
    for reason, count in sorted(report.bad_rows.items(), key=lambda found: -found[1])[:_MAX_REASONS]:
        click.secho(f"BAD ROWS {count:,}: {reason}", fg="yellow")
    if report.quarantined:
        more = f" and {counted(len(report.quarantined) - 1, 'more file')} there" if len(report.quarantined) > 1 else ""
        click.secho(f"quarantined rows, with reasons: {out}/{report.quarantined[0]}{more}", fg="yellow")
    if report.shared_ids is not None:
        click.echo(f"{report.shared_ids} are in more than one row; each row has its own vector")
    for note in report.notes:
        click.secho(note, fg="yellow")
    for _, reason in report.skipped_files:
        click.secho(f"SKIPPED FILE {reason}", fg="yellow")
    for names, why in ((report.orphans, "its input no longer exists"), (report.beyond, "it is beyond --limit")):
        for name in names:
            click.echo(f"{name}: {why}; the part was {'removed' if name in report.pruned else 'kept'}")
    made = f"{counted(report.num_made, 'part')} made" + (f", {skipped} up to date" if skipped else "")
    if report.num_made:
        made += (
            f"; {report.seconds:.1f} s, {report.rows_per_second:,.0f} rows/s, padding {report.padding_share:.1%}, "
            f"peak memory {peak_rss_bytes() / 2**20:,.0f} MiB"
        )
    click.echo(f"{made}: {out}")
    _print_unfinished(report.unfinished)
