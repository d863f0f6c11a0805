"""Events of a job for programs: JSON objects, one per line, where a log for people has lines of text.

`emit` costs next to nothing unless somebody listens to the logger `seqembed.events`.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Final, Literal

from seqembed.data.files.secrets import scrub

LogFormat = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")
# Each event, and its fields beside ``time`` and ``event``.
EVENTS: Final = {
    "started": ("inputs", "model", "out", "engine"),
    "planned": ("parts", "parts_to_make", "rows_to_read"),
    "checked": ("golden_difference",),
    "progress": ("rows_done", "rows_total", "rows_per_second", "padding_share", "seconds_left"),
    "part": ("name", "rows_in", "rows_embedded", "rows_null", "rows_quarantined", "steps", "seconds", "attempt"),
    "unreadable": ("name", "reason"),
    "drift": ("alarmed", "sequences", "line", "alarms"),
    "finished": ("exit_code", "seconds", "parts_made", "parts_skipped", "rows_in", "rows_embedded", "rows_null"),
    "failed": ("exit_code", "error", "message"),
    "message": ("level", "message"),
}
logger = logging.getLogger("seqembed.events")
logger.setLevel(logging.INFO)
logger.propagate = False  # lines for people come from the logger `seqembed`


def emit(event: str, **fields: Any) -> None:
    """Report an event to whoever listens.

    Args:
        event: One of `EVENTS`.
        fields: JSON values, those of the event.
    """
    if logger.handlers:
        logger.info(event, extra={"event": event, "fields": {name: _clean(value) for name, value in fields.items()}})


def _clean(value: Any) -> Any:
    """Return a JSON value without credentials in its texts."""
    if isinstance(value, str):
        return scrub(value)
    return [_clean(one) for one in value] if isinstance(value, list) else value


@contextmanager
def json_lines(file: IO[str]) -> Iterator[None]:
    """Write events and the log's other lines to `file` as JSON, in place of text, within the block."""
    handler, root = logging.StreamHandler(file), logging.getLogger()
    handler.setFormatter(_JsonLines())
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


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = getattr(record, "event", "message")
        fields = getattr(record, "fields", None)
        if fields is None:
            fields = {"level": record.levelname.lower(), "message": scrub(record.getMessage())}
        return json.dumps({"time": time, "event": event, **fields}, default=str)
