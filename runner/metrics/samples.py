"""The numbers of the metrics that come from the report of a job."""

from collections.abc import Iterator
from importlib import metadata

from seqembed.runner.group.report import GroupReport
from seqembed.runner.report import RunReport

Sample = tuple[str, tuple[str, ...], float]  # name without that of the command, values of its labels, number


def samples_of_run(report: RunReport, model_sha256: str) -> Iterator[Sample]:
    """Yield the metrics of a report.

    Args:
        report: Of the run.
        model_sha256: Of the bundle.
    """
    counts = report.counts
    yield "info", (metadata.version("seqembed"), model_sha256), 1
    fates = {"embedded": counts.rows_embedded, "null": counts.rows_null, "quarantined": counts.rows_quarantined}
    yield from (("rows", (fate,), rows) for fate, rows in fates.items())
    yield "rows_made", (), report.made.rows_in
    yield "rows_truncated", (), counts.rows_truncated
    yield "rows_per_second", (), report.rows_per_second
    yield from (("bad_rows", (reason,), rows) for reason, rows in report.bad_rows.items())
    yield "steps", (), counts.steps
    yield "padding_ratio", (), report.padding_share
    yield "parts", ("made",), report.num_made
    yield "parts", ("skipped",), len(report.parts) - report.num_made
    yield "skipped_files", (), len(report.skipped_files)
    if report.drift is None:
        return
    yield "drift_alarmed", (), report.drift.alarmed
    yield "drift_alarms", (), len(report.drift.alarms)
    for measure in report.drift.measures:
        labels = measure.name, measure.feature or ""
        yield "drift_value", labels, measure.value
        yield "drift_threshold_ratio", labels, measure.moved


def samples_of_group(report: GroupReport) -> Iterator[Sample]:
    """Yield the metrics of a report."""
    counts = report.counts
    yield "info", (metadata.version("seqembed"),), 1
    fates = {
        "grouped": counts.events_out,
        "without_id": report.null_ids,
        "without_time": report.null_times,
        "outside": report.outside,
        "repeated": counts.duplicates,
        "truncated": counts.truncated,
    }
    yield from (("events", (fate,), events) for fate, events in fates.items())
    yield "ids", (), counts.ids
    yield "longest_events", (), counts.longest
    yield "buckets", ("made",), len(report.made)
    yield "buckets", ("skipped",), len(report.buckets) - len(report.made)
    yield "files", (), report.num_files
    yield "pruned_files", (), len(report.pruned)
    yield "spilled_bytes", (), report.spilled_bytes
