"""Make parts on Ray: one plain task per part, on a cluster or on processes of this host.

Ray never repeats a task here (``max_retries=0``): it would do so under the same number, and a worker that was thought
dead could then write to the file of its successor. The driver submits another attempt instead. It keeps two tasks per
slot in flight, so that no worker waits, an autoscaler sees demand, and memory does not grow with the number of parts.
"""

import atexit
import logging
import os
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Read when Ray is imported. Telemetry is off; and `uv run` does not start workers anew in environments of their own.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import LocalRayletDiedError, NodeDiedError, RayError, RayTaskError

from seqembed.data.errors import HostError, SeqembedError, UsageError
from seqembed.data.files.inputs import first_line
from seqembed.data.signals import TERMINATED, kept_signal_handlers, not_interrupted
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.task import PartTask
from seqembed.runner.engines.worker import (
    FailedAttempt,
    attempt_part,
    lost_worker,
    next_attempt,
    seqembed_version,
    worker_without_seqembed,
)
from seqembed.runner.options import usable_cores
from seqembed.runner.output.staging import StagedPart

_TASKS_PER_SLOT = 2
_LOOK_AGAIN_SECONDS = 10.0  # at the size of the cluster, which may grow
_STORE_BYTES = 128 << 20  # of a local object store: reports are small
_WAIT_SECONDS = 0.5
_CANCEL_SECONDS = 10.0
_KNOCK_SECONDS = 10.0


class RayEngine(Engine):
    """Makes parts on the workers of a Ray cluster."""

    def __init__(self, bundle: bytes, threads: int, address: str | None = None) -> None:
        """Connect to a cluster, or start one on this host.

        Args:
            bundle: Bytes of the model.
            threads: Threads of each task, and CPUs it reserves.
            address: Address of a cluster; None takes that of RAY_ADDRESS, the cluster this process is already connected
                to, or starts one on this host.

        Raises:
            HostError: There is no cluster at the address, or none can be started.
            UsageError: No node of the cluster has so many CPUs.
        """
        self._threads, self._running = threads, dict[Any, PartTask]()
        self._directory: str | None = None
        self._is_dead = False
        self._is_own = not ray.is_initialized()
        if address is not None and not self._is_own:
            raise UsageError(
                f"--address {address}: this process is connected to Ray already. Omit --address to use that."
            )
        if self._is_own:
            self._connect(address or os.environ.get("RAY_ADDRESS") or "local")
        try:
            self._window, self._looked = self._num_in_flight(), time.monotonic()
            self._bundle = self._shared(bundle)
        except BaseException:
            self.close()
            raise
        # The bundle is passed inside a list, so that a worker fetches it only if it does not have it yet.
        self._attempt = ray.remote(num_cpus=threads, max_retries=0)(_attempt)

    def _shared(self, bundle: bytes) -> Any:
        """Return where workers find the bundle: a file for a Ray that was started here, else an object in its store.

        When Ray dies, it ends the process that owns an object in its store, with exit code 1 and no word.
        """
        if self._directory is None:
            return ray.put(bundle)
        path = Path(self._directory, "bundle.onnx")
        path.write_bytes(bundle)
        return path

    def _connect(self, address: str) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {}
        if address == "local":
            self._directory = tempfile.mkdtemp(prefix="seqembed-ray-")
            options["num_cpus"] = max(usable_cores(), self._threads)
            options |= {"_temp_dir": self._directory, "_node_ip_address": "127.0.0.1", "include_dashboard": False}
            options["object_store_memory"] = _STORE_BYTES
            # Ray's default of 15 stops its workers while anything else runs here: six times slower, measured.
            options["_system_config"] = {"worker_niceness": 0}
        try:
            _knock(address)
            with kept_signal_handlers():
                ray.init(address, configure_logging=False, log_to_driver=False, **options)
        except (KeyboardInterrupt, SystemExit) as stop:
            self.close()
            if isinstance(stop, SystemExit):  # raised by a handler of Ray, with a code of its own
                raise SystemExit(TERMINATED) from None
            raise
        except (RayError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            self.close()
            remedy = "Is one running there? `ray start --head` starts one; without --address, one is started here."
            if address == "local":
                remedy = "Give this process more memory, descriptors and room below the temporary directory."
            what = "no Ray could be started here" if address == "local" else f"no Ray cluster answers at {address}"
            raise HostError(f"{what} ({first_line(error)}). {remedy}") from error

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield a report of each task, in any order.

        Raises:
            OutputError, HostError, BundleError: No attempt at a part succeeded, for a reason other than its input.
        """
        waiting, again = iter(tasks), deque[PartTask]()
        while True:
            self._look_at_cluster()
            while len(self._running) < self._window:
                task = again.popleft() if again else next(waiting, None)
                if task is None:
                    break
                self._running[self._attempt.remote(task, seqembed_version(), [self._bundle])] = task
            if not self._running:
                return
            reference = self._first_finished()
            task = self._running.pop(reference)
            found = self._result(reference, task)
            if isinstance(found, SeqembedError):
                again.append(next_attempt(task, found))
                continue
            self.advance(found)
            yield found

    def _first_finished(self) -> Any:
        """Wait for a task.

        What a signal's handler raises while Ray waits, Ray turns into an exit with code 1 and no word. So signals take
        effect between two waits.
        """
        while True:
            with not_interrupted():
                finished, _ = ray.wait(list(self._running), num_returns=1, timeout=_WAIT_SECONDS)
            if finished:
                return finished[0]

    def _result(self, reference: Any, task: PartTask) -> StagedPart | SeqembedError:
        """Return the report of a finished task, or why there is none.

        Raises:
            HostError: The Ray that was started here is gone. It ends this process if it is asked for more.
            Exception: The worker met a bug.
        """
        try:
            with not_interrupted():  # see `_first_finished`
                found: StagedPart | FailedAttempt = ray.get(reference)
        except RayTaskError as error:
            if not isinstance(error.cause, ModuleNotFoundError):
                raise error.cause from None
            raise worker_without_seqembed("Ray", first_line(error.cause)) from None
        except RayError as error:
            if self._directory is not None and isinstance(error, NodeDiedError | LocalRayletDiedError):
                self._is_dead = True
                raise HostError(
                    f"the Ray that was started here died ({type(error).__name__}). If this host lacks memory, pass a "
                    "lower --threads, or use --engine local; finished parts are kept. Run again."
                ) from None
            return lost_worker(task, "Ray", type(error).__name__)
        return found.error if isinstance(found, FailedAttempt) else found

    def _look_at_cluster(self) -> None:
        if time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
            self._window, self._looked = self._num_in_flight(), time.monotonic()

    def _num_in_flight(self) -> int:
        """Return how many tasks to keep in flight.

        Raises:
            UsageError: No node of the cluster has enough CPUs, so a task would wait forever.
        """
        cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        if max(cpus, default=0) < self._threads:
            raise UsageError(
                f"--threads {self._threads}: the largest node of the Ray cluster has {max(cpus, default=0)} CPUs. "
                "Pass fewer --threads, or add a larger node."
            )
        return _TASKS_PER_SLOT * max(1, sum(num // self._threads for num in cpus))

    def close(self) -> None:
        """Drop tasks without report, and leave the cluster, or stop that started here.

        When a driver leaves, Ray ends its workers. Tasks are cancelled where the connection stays. Not before leaving:
        `ray.cancel` (2.60) can abort this process if a task ends at the same moment.
        """
        with not_interrupted():
            running, self._running = list(self._running), {}
            if self._is_dead:
                # Ray would end this process, with exit code 1, when it finds nobody to take leave of. Its processes
                # end with this one.
                atexit.unregister(ray.shutdown)
            elif self._is_own:
                with kept_signal_handlers():
                    ray.shutdown()
            elif running and ray.is_initialized():
                for reference in running:
                    ray.cancel(reference, force=True)
                # Until they are dead they may still write below the directory that is removed next.
                ray.wait(running, num_returns=len(running), timeout=_CANCEL_SECONDS)
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)


def is_dataset(value: object) -> bool:
    """Return whether a value is a Dataset of Ray Data."""
    from ray.data import Dataset

    return isinstance(value, Dataset)


def actors(low: int, high: int) -> Any:
    """Return how Ray Data runs as many processes as needed between two numbers."""
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(min_size=low, max_size=high)


def _knock(address: str) -> None:
    """Check that something listens at the host and port of an address: Ray itself tries for seven minutes.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _attempt(task: PartTask, version: str, bundle: Sequence[Any]) -> StagedPart | FailedAttempt:
    """Make a part; runs in a worker of Ray."""

    def read_bundle() -> bytes:
        content: bytes = bundle[0].read_bytes() if isinstance(bundle[0], Path) else ray.get(bundle[0])
        return content

    return attempt_part(task, version, read_bundle)
