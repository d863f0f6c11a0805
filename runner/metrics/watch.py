"""Follow a job from its start to its end, however it ends: events as it goes, metrics at the end."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from seqembed.data.display.events import emit, exit_code_of, reported
from seqembed.data.errors import SeqembedError
from seqembed.data.extras import missing_extra
from seqembed.data.files.secrets import without_secrets
from seqembed.data.signals import not_interrupted
from seqembed.runner.metrics.names import Command
from seqembed.runner.metrics.samples import Sample, samples_of_run
from seqembed.runner.options import RunOptions
from seqembed.runner.report import RunReport

if TYPE_CHECKING:
    from seqembed.runner.metrics.textfile import Textfile

logger = logging.getLogger("seqembed")


@dataclass(slots=True)
class Watch:
    """What is known of a run so far.

    Attributes:
        model_sha256: Of the bundle; empty until it was read.
        report: Its report; None until all parts are made.
    """

    model_sha256: str = ""
    report: RunReport | None = None

    def reports(self, report: RunReport) -> RunReport:
        """Keep the report, and announce its drift; returns it."""
        self.report = report
        if (drift := report.drift) is not None:
            alarms = [{"measure": one.name, "feature": one.feature, "moved": str(one)} for one in drift.alarms]
            emit("drift", alarmed=drift.alarmed, sequences=drift.sequences, line=drift.line(), alarms=alarms)
        return report

    def samples(self) -> Iterable[Sample]:
        """Return the metrics that are known."""
        return () if self.report is None else samples_of_run(self.report, self.model_sha256)


@contextmanager
def watched(options: RunOptions, out: str, terminal: IO[str]) -> Iterator[Watch]:
    """Report the end of the run in the block to whom the options say.

    Args:
        options: Of the run.
        out: The output directory.
        terminal: Receives events, with ``log_format`` json.

    Raises:
        UsageError: The extra ``metrics`` is not installed.
        OutputError: The file of metrics cannot be written.
    """
    watch = Watch()
    with reported(options.log_format, terminal):
        with with_metrics(options.metrics, out, "run", watch.samples):
            yield watch
        if (report := watch.report) is not None:
            emit(
                "finished",
                exit_code=0,
                seconds=round(report.seconds, 3),
                parts_made=report.num_made,
                parts_skipped=len(report.parts) - report.num_made,
                rows_in=report.counts.rows_in,
                rows_embedded=report.counts.rows_embedded,
                rows_null=report.counts.rows_null,
            )


@contextmanager
def with_metrics(
    path: str | os.PathLike[str] | None, out: str, command: Command, samples: Callable[[], Iterable[Sample]]
) -> Iterator[None]:
    """Write the metrics of the job in the block when it ends, whichever way.

    Args:
        path: The file; None writes none.
        out: The output directory.
        command: What runs.
        samples: Returns the metrics that are known at the end.

    Raises:
        UsageError: The extra ``metrics`` is not installed.
        OutputError: The file cannot be written.
    """
    if path is None:
        yield
        return
    textfile = _textfile(os.fspath(path), without_secrets(out), command)
    try:
        yield
        textfile.write(0, samples())
    except BaseException as error:
        with not_interrupted():
            _failed(error, textfile, samples())
        raise


def _textfile(path: str, out: str, command: Command) -> "Textfile":
    try:
        from seqembed.runner.metrics.textfile import Textfile
    except ModuleNotFoundError as error:
        raise missing_extra("--metrics", error, "metrics") from error
    return Textfile(path, out, command)


def _failed(error: BaseException, textfile: "Textfile", samples: Iterable[Sample]) -> None:
    try:
        textfile.write(exit_code_of(error), samples)
    except SeqembedError as fault:  # the job's own error is the one to report
        logger.warning("%s", fault)
