"""Write the metrics of a run as a file that Prometheus' textfile collectors read; needs the extra `metrics`."""

import math
import re
import tempfile
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
_START: Final = b"# HELP seqembed_run_"
_LEFTOVER_SECONDS: Final = 600
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
        # Where a link points to: replacing the link itself would leave its target as it is.
        self._path, self._out, self._start = Path(path).resolve(), out, time.time()
        if is_uri(path) or not path or self._path.is_dir() or not _can_write(self._path.parent):
            raise OutputError(
                f"{path}: cannot write metrics there. Pass --metrics a file in a directory of this host that exists "
                "and can be written, such as that of node exporter's textfile collector."
            )
        self._refuse_other_file()

    def _refuse_other_file(self) -> None:
        """Check that no file of another program is replaced, not even one that came during the run."""
        if not self._path.exists():
            return
        with_metrics = self._path.is_file() and _begins_as_metrics(self._path)
        if not with_metrics:
            raise OutputError(
                f"{self._path}: is not a file of metrics that seqembed wrote, so it is not replaced. Pass --metrics "
                "another file, or remove this one."
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
        success = now if exit_code == 0 else self._last_success()  # 0 where there was none: an alert on its age fires
        samples: list[Sample] = [
            ("seqembed_run_exit_code", (), exit_code),
            ("seqembed_run_finish_timestamp_seconds", (), now),
            (_LAST_SUCCESS, (), success),
            ("seqembed_run_duration_seconds", (), now - self._start),
            ("seqembed_run_peak_memory_bytes", (), peak_rss_bytes()),
        ]
        if report is not None:
            samples += _of_report(report, model_sha256)
        for name, labels, number in samples:
            gauges[name].labels(self._out, *labels).set(number)
        self._refuse_other_file()
        try:
            write_to_textfile(str(self._path), registry)
            self._remove_leftovers()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot write the metrics ({error.strerror}).") from error

    def _remove_leftovers(self) -> None:
        """Remove what runs that were killed while they wrote this file left: the client names it by process."""
        pattern = re.compile(re.escape(self._path.name) + r"\.\d+\.\d+")
        for path in self._path.parent.iterdir():
            if pattern.fullmatch(path.name) and time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink(missing_ok=True)

    def _last_success(self) -> float:
        """Return the time of the last success in the file; 0 without one, or if the file is damaged."""
        try:
            families = list(text_string_to_metric_families(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, IndexError):
            return 0.0
        samples = (sample for family in families for sample in family.samples)
        found = (each.value for each in samples if each.name == _LAST_SUCCESS and each.labels.get(OUT) == self._out)
        return next((value for value in found if math.isfinite(value)), 0.0)


def _can_write(directory: Path) -> bool:
    """Return whether files can be made in a directory; permissions alone do not say so."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _begins_as_metrics(path: Path) -> bool:
    """Return whether a file is empty or begins with a metric of seqembed."""
    with path.open("rb") as file:
        start = file.read(len(_START))
    return start in (b"", _START)


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
