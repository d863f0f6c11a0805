"""The command `seqembed group`."""

import logging
import sys
from collections.abc import Iterator
from typing import Any

import click

from seqembed.data.arrow_start import settle_without_pandas
from seqembed.data.display.events import emit, reported
from seqembed.data.display.progress import PROGRESS_STYLES
from seqembed.data.files.secrets import without_secrets
from seqembed.data.json_log import LOG_FORMAT, ending_in
from seqembed.data.plurals import counted, verb
from seqembed.data.signals import stopped_by_signals
from seqembed.runner.cli.names import Buckets, Names
from seqembed.runner.group.job import GroupJob, announce, announce_plan, group_events, plan_group_job
from seqembed.runner.group.options import GROUP_BAD_ROW, GROUP_ENGINES, GroupOptions
from seqembed.runner.group.plan import GroupPlan, bucket_name
from seqembed.runner.group.report import GroupReport
from seqembed.runner.report import peak_rss_bytes

_DEFAULTS = GroupOptions()


@click.command(
    epilog="""\b
Examples:
  seqembed group events/ --id customer --time time --out histories/
  seqembed group 'lake/day=*/' --id customer --time time --keep segment --out histories/ --memory 4GB
  seqembed group events/ --id customer --time time --features amount,shop --since 2026-01-01 --out histories/
  seqembed group events/ --id customer --time time --deduplicate event_id --out histories/ --dry-run
  seqembed group s3://lake/events/ --id customer --time time --out s3://lake/histories/ --engine spark
"""
)
@click.argument("inputs", nargs=-1, required=True, metavar="EVENTS...")
@click.option("--id", default=_DEFAULTS.id, show_default=True, metavar="COLUMN", help="Column with the id.")
@click.option(
    "--time",
    default=_DEFAULTS.time,
    show_default=True,
    metavar="COLUMN",
    help="Column that orders the events of an id.",
)
@click.option("--out", required=True, metavar="DIR", help="Output directory: one Parquet file per bucket of ids.")
@click.option(
    "--features", type=Names(), default=_DEFAULTS.features, help="Columns that become lists.  [default: all others]"
)
@click.option(
    "--keep", type=Names(), default=_DEFAULTS.keep, help="Columns of which a row gets the newest value; hive keys, too."
)
@click.option("--since", metavar="TIME", help="Take events from this time on; UTC unless the time names a zone.")
@click.option("--until", metavar="TIME", help="Take events before this time.")
@click.option("--max-length", type=int, metavar="N", help="Take the newest N events of an id.")
@click.option(
    "--deduplicate",
    type=Names(),
    default=_DEFAULTS.deduplicate,
    metavar="A,B|exact",
    help="Of several events of an id that agree in these columns, or in all, take the last one delivered.",
)
@click.option(
    "--buckets",
    type=Buckets(),
    metavar="N|auto",
    default=_DEFAULTS.buckets,
    help="Number of output files.  [default: auto, from the size of the data; later jobs keep it]",
)
@click.option(
    "--memory",
    default=_DEFAULTS.memory,
    show_default=True,
    metavar="SIZE",
    help="Bound on memory, on Spark of each task; the rest goes to disk.",
)
@click.option(
    "--threads", type=int, default=None, help="Threads that sort.  [default: all cores; on Spark, 1 per task]"
)
@click.option(
    "--engine",
    type=click.Choice(GROUP_ENGINES),
    default=_DEFAULTS.engine,
    show_default=True,
    help="Sort here, or on the workers of Spark; the output has the same bytes.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Where Spark runs: spark://HOST:7077, yarn, or sc://HOST of Spark Connect.  [default: this host]",
)
@click.option(
    "--on-bad-row",
    type=click.Choice(GROUP_BAD_ROW),
    default=_DEFAULTS.on_bad_row,
    show_default=True,
    help="For an event without id or time: fail, or drop and count it.",
)
@click.option(
    "--version",
    type=int,
    metavar="N",
    help="Version of the Delta tables, or snapshot of the Iceberg tables, among the inputs.  [default: the newest]",
)
@click.option("--prune", is_flag=True, help="Leave out events of files that no longer exist.")
@click.option("--overwrite", is_flag=True, help="Replace buckets made with other options, once all are made.")
@click.option("--dry-run", is_flag=True, help="List the buckets that would be made, without making them.")
@click.option(
    "--metrics",
    metavar="FILE",
    help="Write metrics for Prometheus' textfile collector there, also when the job fails (extra `metrics`).",
)
@click.option("--log-format", **LOG_FORMAT)
@click.option("--progress", type=click.Choice(PROGRESS_STYLES), default=_DEFAULTS.progress, show_default=True)
def group(inputs: tuple[str, ...], out: str, **rest: Any) -> None:
    """Group EVENTS, one per row in any number of Parquet files, into one row per id.

    A row has the id, the kept columns, and lists of times and features in time order; events of one time stay in the
    order of files and rows. `train`, `run` and `evaluate` read the result. Ids lie in buckets by a hash, so a new file
    changes only the buckets of its ids. Finished buckets are skipped; _SUCCESS is written last.
    """
    settle_without_pandas()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    job = GroupJob(inputs, out, GroupOptions(**rest))
    log_format = job.options.log_format
    with ending_in(log_format):
        if job.options.dry_run:
            with reported(log_format, sys.stderr):
                announce(job)
                plan = plan_group_job(job)
                announce_plan(plan)
                for name, action in _would(plan):
                    emit("would", name=name, action=action)
            _print_plan(plan, out)
            return
        with stopped_by_signals():
            report = group_events(job, sys.stderr)
    _print_summary(report, without_secrets(out))


def _would(plan: GroupPlan) -> Iterator[tuple[str, str]]:
    """Yield what would become of each bucket."""
    yield from ((bucket_name(index), action) for index, action in enumerate(plan.actions))
    yield from ((name, "remove") for name in plan.obsolete)


def _print_plan(plan: GroupPlan, out: str) -> None:
    for name, action in _would(plan):
        click.echo(f"{action:<8}{name}")
    for note in plan.notes:
        click.secho(note, fg="yellow")
    for line in plan.lines():
        click.echo(line)
    click.echo(f"{len(plan.to_make)} of {counted(plan.num_buckets, 'bucket')} would be made in {without_secrets(out)}")


def _print_summary(report: GroupReport, out: str) -> None:
    counts = report.counts
    dropped = {
        "without id": report.null_ids,
        "without time": report.null_times,
        "outside the span": report.outside,
        "repeated": counts.duplicates,
        "beyond the maximum length": counts.truncated,
    }
    parts = "".join(f" + {number:,} {why}" for why, number in dropped.items() if number)
    click.echo(f"{report.events_in:,} events in = {counts.events_out:,} events of {counted(counts.ids, 'id')}{parts}")
    if counts.first is not None and counts.last is not None:
        click.echo(
            f"from {counts.first[1]} to {counts.last[1]}; {counts.shortest:,} to {counts.longest:,} events per id"
        )
    for name, number in counts.varying.items():
        if number:
            click.secho(f"WARNING {name} varies within {counted(number, 'id')}; the newest value was kept", fg="yellow")
    for note in report.notes:
        click.secho(note, fg="yellow")
    if (num := len(report.pruned)) > 0:
        click.echo(f"events of {counted(num, 'file')} that no longer {verb(num, 'exists', 'exist')} were left out")
    kept = len(report.buckets) - len(report.made)
    made = f"{counted(len(report.made), 'bucket')} made" + (f", {kept} up to date" if kept else "")
    if report.made:
        spilled = f"{report.spilled_bytes / 1e6:,.0f} MB on temporary disk, " if report.spilled_bytes else ""
        made += f"; {report.seconds:.1f} s, {spilled}peak memory {peak_rss_bytes() / 2**20:,.0f} MiB"
    click.echo(f"{made}: {out}")
