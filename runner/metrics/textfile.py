"""Write the metrics of a run as a file that Prometheus' textfile collectors read; needs the extra `metrics`."""

import math
import os
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import is_uri
from seqembed.runner.metrics.names import METRICS, OUT
from seqembed.runner.report import RunReport, peak_rss_bytes

_LAST_SUCCESS: Final = "seqembed_run_last_success_timestamp_seconds"
Sample = tuple[str, tuple[str, ...], float]  # name, values of its labels, number


class Textfile:
    """A file of metrics, written when a run ends."""

    def __init__(self, path: str, out: str) -> None:
        """Set the file, and check before the first row that it can be written.

        Args:
            path: The file, on this host.
            out: The output directory, without credentials: a label of all metrics.

        Raises:
            OutputError: Its directory does not exist or cannot be written, or the path is that of something else.
        """
        self._path, self._out, self._start = Path(path), out, time.time()
        directory = self._path.parent
        if is_uri(path) or not directory.is_dir() or self._path.is_dir() or not os.access(directory, os.W_OK):
            raise OutputError(
                f"{path}: cannot write metrics there. Pass --metrics a file in a directory of this host that exists "
                "and can be written, such as that of node exporter's textfile collector."
            )

    def write(self, exit_code: int, report: RunReport | None, model_sha256: str) -> None:
        """Replace the file.

        Args:
            exit_code: Of the run.
            report: Of the run; None where it failed before.
            model_sha256: Of the bundle; empty where it could not be read.

        Raises:
            OutputError: The file cannot be written.
        """
        now, registry = time.time(), CollectorRegistry()
        gauges = {each.name: Gauge(each.name, each.meaning, (OUT, *each.labels), registry=registry) for each in METRICS}
        success = now if exit_code == 0 else self._last_success()
        samples: list[Sample] = [
            ("seqembed_run_exit_code", (), exit_code),
            ("seqembed_run_finish_timestamp_seconds", (), now),
            *([] if success is None else [(_LAST_SUCCESS, (), success)]),
            ("seqembed_run_duration_seconds", (), now - self._start),
            ("seqembed_run_peak_memory_bytes", (), peak_rss_bytes()),
        ]
        if report is not None:
            samples += _of_report(report, model_sha256)
        for name, labels, number in samples:
            gauges[name].labels(self._out, *labels).set(number)
        try:
            write_to_textfile(str(self._path), registry)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot write the metrics ({error.strerror}).") from error

    def _last_success(self) -> float | None:
        """Return the time of the last success in the file; None without one, or if the file is damaged."""
        try:
            families = list(text_string_to_metric_families(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, IndexError):
            return None
        samples = (sample for family in families for sample in family.samples)
        found = (each.value for each in samples if each.name == _LAST_SUCCESS and each.labels.get(OUT) == self._out)
        return next((value for value in found if math.isfinite(value)), None)


def _of_report(report: RunReport, model_sha256: str) -> Iterator[Sample]:
    counts = report.counts
    yield "seqembed_run_info", (metadata.version("seqembed"), model_sha256), 1
    fates = {"embedded": counts.rows_embedded, "null": counts.rows_null, "quarantined": counts.rows_quarantined}
    yield from (("seqembed_run_rows", (fate,), rows) for fate, rows in fates.items())
    yield "seqembed_run_rows_made", (), report.made.rows_in
    yield "seqembed_run_rows_truncated", (), counts.rows_truncated
    yield "seqembed_run_rows_per_second", (), report.rows_per_second
    yield from (("seqembed_run_bad_rows", (reason,), rows) for reason, rows in report.bad_rows.items())
    yield "seqembed_run_steps", (), counts.steps
    yield "seqembed_run_padding_ratio", (), report.padding_share
    yield "seqembed_run_parts", ("made",), report.num_made
    yield "seqembed_run_parts", ("skipped",), len(report.parts) - report.num_made
    yield "seqembed_run_skipped_files", (), len(report.skipped_files)
    if report.drift is None:
        return
    yield "seqembed_run_drift_alarmed", (), report.drift.alarmed
    yield "seqembed_run_drift_alarms", (), len(report.drift.alarms)
    for measure in report.drift.measures:
        labels = measure.name, measure.feature or ""
        yield "seqembed_run_drift_value", labels, measure.value
        yield "seqembed_run_drift_threshold_ratio", labels, measure.moved
