"""Write the page of a run into its output directory; whatever goes wrong with it is a warning."""

import logging
import posixpath
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

from seqembed.data.errors import OutputError, UsageError
from seqembed.runner.output.directory import SUCCESS, OutputDirectory
from seqembed.runner.output.history import read_history

# Readers of a directory of Parquet skip names that begin with an underscore, and stop at others that are no Parquet.
REPORT: Final = "_report.html"
_MARK = b'<meta name="generator" content="seqembed '
logger = logging.getLogger("seqembed")


def require_report(asked: bool) -> None:
    """Check that a page can be made, before any work.

    Raises:
        UsageError: The extra ``report`` is not installed.
    """
    if asked and find_spec("jinja2") is None:
        raise UsageError(
            "--report needs jinja2, which is not installed here. Install the extra: pip install 'seqembed[report]'"
        )


def write_report(output: OutputDirectory, document: Mapping[str, Any], state: str) -> None:
    """Write the page of this run, by the process that holds the lock.

    Args:
        output: The output directory.
        document: What ``_SUCCESS`` holds or would hold.
        state: As for `seqembed.runner.page.page.page`.
    """
    try:
        _write(output, document, state)
    except Exception as error:  # whatever it is: the vectors are complete, and nothing may fail the run now
        logger.warning("%s: no page was written: %s: %s", output.given, type(error).__name__, error)


def write_missing_report(output: OutputDirectory, *, locked: bool = False) -> None:
    """Write the page of a finished output that has none, or an older one; without a success marker it gets none.

    A page is older where the run that wrote the marker was killed before its page, or had none.

    Args:
        output: The output directory.
        locked: Whether this process holds the lock.
    """
    lock: AbstractContextManager[None] = nullcontext() if locked else output.lock()
    try:
        if _is_current(output) or (document := output.read_success()) is None:
            return
        with lock:
            _write(output, document, "complete")
    except Exception as error:  # the output is complete as it is
        logger.warning("%s: no page was written: %s: %s", output.given, type(error).__name__, error)


def _write(output: OutputDirectory, document: Mapping[str, Any], state: Any) -> None:
    from seqembed.runner.page.page import page  # here: a run without a page imports no Jinja2

    storage = output.storage
    if storage.exists(REPORT) and not _is_ours(output):
        raise OutputError(f"{storage.at(REPORT)} was not written by seqembed; move it away, or rename it")
    content = page(document, read_history(storage), state).encode()
    temporary = posixpath.join(output.staging.directory, REPORT)
    with storage.translated("write to"):
        storage.make_directory(output.staging.directory)
        with storage.filesystem.open_output_stream(storage.at(temporary)) as stream:
            stream.write(content)
        storage.sync_file(temporary)
        storage.move(temporary, REPORT)
        storage.sync_directory("")


def _is_current(output: OutputDirectory) -> bool:
    """Return whether there is a page at least as new as the success marker."""
    page, marker = (output.storage.filesystem.get_file_info(output.storage.at(name)) for name in (REPORT, SUCCESS))
    return page.is_file and marker.is_file and (page.mtime_ns or 0) >= (marker.mtime_ns or 0)


def _is_ours(output: OutputDirectory) -> bool:
    with output.filesystem.open_input_file(output.storage.at(REPORT)) as source:
        return _MARK in source.read(4096)
