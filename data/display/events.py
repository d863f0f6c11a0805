"""Events of a job for programs: JSON objects, one per line, where a log for people has lines of text.

`emit` costs next to nothing unless somebody listens to the logger `seqembed.events`.
"""

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Final, Literal

from seqembed.data.display.progress import ProgressStyle
from seqembed.data.errors import SeqembedError
from seqembed.data.files.secrets import scrub
from seqembed.data.host import host_fault
from seqembed.data.signals import TERMINATED, not_interrupted

LogFormat = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")
# Each event of `run`, and its fields beside ``time`` and ``event``.
EVENTS: Final = {
    "started": ("inputs", "model", "out", "engine"),
    "planned": ("parts", "parts_to_make", "rows_to_read"),
    "checked": ("golden_difference",),
    "progress": ("rows_done", "rows_total", "rows_per_second", "padding_share", "seconds_left"),
    "part": ("name", "rows_in", "rows_embedded", "rows_null", "rows_quarantined", "steps", "seconds", "attempt"),
    "unreadable": ("name", "reason"),
    "would": ("name", "action"),
    "drift": ("alarmed", "sequences", "line", "alarms"),
    "finished": ("exit_code", "seconds", "parts_made", "parts_skipped", "rows_in", "rows_embedded", "rows_null"),
    "failed": ("exit_code", "error", "message"),
    "message": ("level", "message"),
}
# The same of the other commands; all have ``failed`` and ``message``, too.
COMMAND_EVENTS: Final = {
    "train": {
        "started": ("inputs", "out"),
        "read": ("sequences", "held_out", "features", "fields", "steps"),
        "epoch": ("epoch", "step", "figures"),
        "finished": ("exit_code", "seconds", "num_steps", "loss", "warnings"),
    },
    "export": {
        "started": ("source", "out", "precision"),
        "converted": ("nodes", "recurrent_nodes"),
        "checked": ("max_difference", "tolerance", "sequences"),
        "finished": ("exit_code", "seconds", "bytes", "precision"),
    },
    "group": {
        "started": ("inputs", "out", "engine"),
        "planned": ("buckets", "buckets_to_make", "events_to_read"),
        "would": ("name", "action"),
        "bucket": ("name", "ids", "events"),
        "finished": (
            "exit_code",
            "seconds",
            "buckets_made",
            "buckets_skipped",
            "events_in",
            "events_out",
            "ids",
            "notes",
        ),
    },
}
_BUG, _INTERRUPTED = 1, 130
logger = logging.getLogger("seqembed.events")
logger.setLevel(logging.INFO)
logger.propagate = False  # lines for people come from the logger `seqembed`


def emit(event: str, **fields: Any) -> None:
    """Report an event to whoever listens.

    Args:
        event: Its name.
        fields: JSON values, those of the event in `EVENTS` or `COMMAND_EVENTS`.
    """
    if logger.handlers:
        logger.info(event, extra={"event": event, "fields": {name: _clean(value) for name, value in fields.items()}})


def progress_in(log_format: LogFormat, style: ProgressStyle) -> ProgressStyle:
    """Return how progress is shown: never as a bar between lines of JSON."""
    return style if log_format == "text" or style == "none" else "plain"


def _clean(value: Any) -> Any:
    """Return a JSON value without credentials in its texts."""
    if isinstance(value, str):
        return scrub(value)
    return [_clean(one) for one in value] if isinstance(value, list) else value


@contextmanager
def reported(log_format: LogFormat, file: IO[str]) -> Iterator[None]:
    """Report an error in the block as an event; with ``json``, write all events and messages in it to `file`."""
    with ExitStack() as stack:
        if log_format == "json":
            stack.enter_context(json_lines(file))
        try:
            yield
        except BaseException as error:
            exit_code = exit_code_of(error)
            traced = {"traceback": "".join(traceback.format_exception(error))} if exit_code == _BUG else {}
            message = {_INTERRUPTED: "interrupted", TERMINATED: "terminated"}.get(exit_code, str(error))
            with not_interrupted():
                emit("failed", exit_code=exit_code, error=type(error).__name__, message=message, **traced)
            raise


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, SeqembedError):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else _BUG
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    fault = host_fault(error) if isinstance(error, Exception) else None
    return _BUG if fault is None else fault.exit_code


@contextmanager
def json_lines(file: IO[str]) -> Iterator[None]:
    """Write events and the log's other lines to `file` as JSON, in place of text, within the block.

    Of the loggers of libraries, only warnings and errors: TensorFlow logs a line at every save.
    """
    handler, root = logging.StreamHandler(file), logging.getLogger()
    handler.setFormatter(_JsonLines())
    handler.addFilter(_is_of_seqembed_or_serious)
    others = list(root.handlers)
    root.handlers[:] = [handler]
    level = root.level
    root.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        root.handlers[:] = others
        root.setLevel(level)


def _is_of_seqembed_or_serious(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.split(".")[0] == "seqembed"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = getattr(record, "event", "message")
        fields = getattr(record, "fields", None)
        if fields is None:
            fields = {"level": record.levelname.lower(), "message": scrub(record.getMessage())}
        return json.dumps({"time": time, "event": event, **fields}, default=str)
