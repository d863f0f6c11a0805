"""Follow a run from its start to its end, however it ends: events as it goes, metrics at the end."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from seqembed.data.display.events import emit, exit_code_of, reported
from seqembed.data.errors import SeqembedError
from seqembed.data.extras import missing_extra
from seqembed.data.files.secrets import without_secrets
from seqembed.data.signals import not_interrupted
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
    with ExitStack() as stack:
        stack.enter_context(reported(options.log_format, terminal))
        watch, textfile = Watch(), None
        try:
            if options.metrics is not None:
                textfile = _textfile(os.fspath(options.metrics), without_secrets(out))
            yield watch
            if textfile is not None:
                textfile.write(0, watch.report, watch.model_sha256)
        except BaseException as error:
            with not_interrupted():
                _failed(error, watch, textfile)
            raise
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


def _textfile(path: str, out: str) -> "Textfile":
    try:
        from seqembed.runner.metrics.textfile import Textfile
    except ModuleNotFoundError as error:
        raise missing_extra("--metrics", error, "metrics") from error
    return Textfile(path, out)


def _failed(error: BaseException, watch: Watch, textfile: "Textfile | None") -> None:
    if textfile is None:
        return
    try:
        textfile.write(exit_code_of(error), watch.report, watch.model_sha256)
    except SeqembedError as fault:  # the run's own error is the one to report
        logger.warning("%s", fault)
