"""Write the metrics of a job as a file that Prometheus' textfile collectors read; needs the extra `metrics`."""

import math
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import is_uri
from seqembed.runner.metrics.names import METRICS_OF, OUT, Command
from seqembed.runner.metrics.samples import Sample
from seqembed.runner.report import peak_rss_bytes

_LEFTOVER_SECONDS: Final = 600


class Textfile:
    """A file of metrics, written when a job ends."""

    def __init__(self, path: str, out: str, command: Command) -> None:
        """Set the file, and check before the first row that it can be written.

        Args:
            path: The file, on this host.
            out: The output directory, without credentials: a label of all metrics.
            command: What runs, which names its metrics.

        Raises:
            OutputError: Its directory does not exist or cannot be written, or the path is that of something else.
        """
        # Where a link points to: replacing the link itself would leave its target as it is.
        self._path, self._out, self._start = Path(path).resolve(), out, time.time()
        self._metrics, self._prefix = METRICS_OF[command], f"seqembed_{command}_"
        self._last_success_name = f"{self._prefix}last_success_timestamp_seconds"
        if is_uri(path) or not path or self._path.is_dir() or not _can_write(self._path.parent):
            raise OutputError(
                f"{path}: cannot write metrics there. Pass --metrics a file in a directory of this host that exists "
                "and can be written, such as that of node exporter's textfile collector."
            )
        self._refuse_other_file()

    def _refuse_other_file(self) -> None:
        """Check that no file of another program or command is replaced, not even one that came during the job."""
        if not self._path.exists():
            return
        start = f"# HELP {self._prefix}".encode()
        found: bytes | None = None
        if self._path.is_file():
            with self._path.open("rb") as file:
                found = file.read(len(start))
        if found not in (b"", start):
            raise OutputError(
                f"{self._path}: is not a file of metrics that seqembed wrote, so it is not replaced. Pass --metrics "
                "another file, or remove this one."
                if found is None or not found.startswith(b"# HELP seqembed_")
                else f"{self._path}: holds the metrics of another command. Pass --metrics a file of its own."
            )

    def write(self, exit_code: int, more: Iterable[Sample]) -> None:
        """Replace the file.

        Args:
            exit_code: Of the job.
            more: Metrics of its report; none where it failed before.

        Raises:
            OutputError: The file cannot be written.
        """
        now, registry = time.time(), CollectorRegistry()
        gauges = {
            each.name: Gauge(each.name, each.meaning, (OUT, *each.labels), registry=registry) for each in self._metrics
        }
        success = now if exit_code == 0 else self._last_success()  # 0 where there was none: an alert on its age fires
        samples: list[Sample] = [
            ("exit_code", (), exit_code),
            ("finish_timestamp_seconds", (), now),
            ("last_success_timestamp_seconds", (), success),
            ("duration_seconds", (), now - self._start),
            ("peak_memory_bytes", (), peak_rss_bytes()),
            *more,
        ]
        for name, labels, number in samples:
            gauges[self._prefix + name].labels(self._out, *labels).set(number)
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
        found = (
            each.value for each in samples if each.name == self._last_success_name and each.labels.get(OUT) == self._out
        )
        return next((value for value in found if math.isfinite(value)), 0.0)


def _can_write(directory: Path) -> bool:
    """Return whether files can be made in a directory; permissions alone do not say so."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
