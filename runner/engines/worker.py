"""What a worker of Ray or Spark does with a task, and how the driver decides about failed attempts.

Data faults are reported, since another attempt would fail in the same way. Faults of a worker's host (disk, memory,
descriptors) come back as a value too, so that the driver sees class and text instead of a traceback of the engine, and
has the part made again under a new number. So an engine itself never repeats an attempt under the same number, and a
worker that was thought dead writes to its own files, which nobody publishes.
"""

import logging
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TypeVar

from seqembed.data.errors import BundleError, HostError, OutputError, SeqembedError
from seqembed.data.host import host_fault
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.pipeline import Pipeline
from seqembed.runner.engines.task import BundleReference, PartTask
from seqembed.runner.output.staging import StagedPart

MAX_ATTEMPTS = 4
Made = TypeVar("Made")
logger = logging.getLogger("seqembed")
_pipelines: dict[tuple[str, int], Pipeline] = {}


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed for a reason other than its input; picklable.

    Attributes:
        name: Path of the part.
        error: What the worker lacked; a plain `SeqembedError` for a bug.
    """

    name: str
    error: SeqembedError


def attempt_part(task: PartTask, version: str, read_bundle: Callable[[], bytes]) -> StagedPart | FailedAttempt:
    """Make a part in the process of a worker.

    Args:
        task: The task.
        version: Version of seqembed of the driver.
        read_bundle: Returns the bytes of the task's bundle; called once per process for consecutive tasks.
    """
    return attempted(
        task.name,
        version,
        lambda: make_part(task, _shared_pipeline(task.bundle, task.options.num_threads, read_bundle)),
    )


def attempted(name: str, version: str, make: Callable[[], Made]) -> Made | FailedAttempt:
    """Return what `make` makes, or how it failed, for a worker whose exceptions the engine would show as tracebacks.

    Args:
        name: What is made, for messages.
        version: Version of seqembed of the driver.
        make: Makes it.
    """
    try:
        _refuse_version(version)
        return make()
    except (OutputError, HostError, BundleError) as error:
        return FailedAttempt(name, _located(name, error))
    except Exception as error:
        fault = host_fault(error)
        bug = f"{name}: a worker met a bug in seqembed. Please report it with these lines:\n{traceback.format_exc()}"
        return FailedAttempt(name, SeqembedError(bug) if fault is None else _located(name, fault))


def _shared_pipeline(bundle: BundleReference, threads: int, read_bundle: Callable[[], bytes]) -> Pipeline:
    key = bundle.sha256, threads
    if key not in _pipelines:
        for pipeline in _pipelines.values():
            pipeline.close()
        _pipelines.clear()
        _pipelines[key] = Pipeline(bundle.open(read_bundle()), threads)
    return _pipelines[key]


def _refuse_version(expected: str) -> None:
    """Check that driver and worker make the same parts.

    Raises:
        HostError: The worker has another version.
    """
    found = seqembed_version()
    if found != expected:
        raise HostError(
            f"this worker has seqembed {found}, the driver has {expected}. Install the same version on all hosts."
        )


def seqembed_version() -> str:
    """Return the installed version of seqembed."""
    return metadata.version("seqembed")


def _located(name: str, error: SeqembedError) -> SeqembedError:
    text = str(error)
    what = "" if text.startswith(f"{name}: ") or not isinstance(error, HostError) else f"{name}: "
    return type(error)(f"{what}{text} (worker on host {socket.gethostname()})")


def next_attempt(task: PartTask, error: SeqembedError) -> PartTask:
    """Return the task of the next attempt after a failed one.

    Raises:
        SeqembedError: `error`, after the last attempt, or if it is a bug.
    """
    if task.attempt >= MAX_ATTEMPTS or type(error) is SeqembedError:
        raise error
    logger.info("%s: attempt %d of %d failed: %s", task.name, task.attempt, MAX_ATTEMPTS, error)
    return replace(task, attempt=task.attempt + 1)


def worker_without_seqembed(engine: str, reason: str) -> HostError:
    """Return the error for a worker that cannot import what a task needs."""
    return HostError(
        f"a {engine} worker lacks a library ({reason}). Install seqembed with its dependencies on all hosts, in the "
        "versions of this one."
    )


def lost_worker(task: PartTask, engine: str, reason: str) -> HostError:
    """Return the error for a worker that died.

    Args:
        task: What it made.
        engine: Name of the engine, for the user.
        reason: What the engine says.
    """
    return HostError(
        f"{task.name}: the {engine} worker that made this part died ({reason}). If workers lack memory, give them "
        "more, or pass a lower --threads; finished parts are kept. Run again."
    )
