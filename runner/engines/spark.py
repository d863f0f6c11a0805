"""Sessions of Spark, jobs of them, and DataFrames that are mapped in Arrow, so that Spark Connect works, too."""

import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import SparkFiles, TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from seqembed.data.display.quiet import stderr_in
from seqembed.data.errors import HostError, UsageError
from seqembed.data.signals import kept_signal_handlers, not_interrupted
from seqembed.runner.bundle.bundle_file import bundle_sha256
from seqembed.runner.engines.spark_stages import finished_shares, is_remote, set_group
from seqembed.runner.engines.worker import MAX_ATTEMPTS, worker_without_seqembed
from seqembed.runner.options import usable_cores

_SLOTS_OF_REMOTE = 64  # Spark Connect does not say how many tasks run at a time
_LOOK_EVERY_SECONDS = 0.5
_MAX_REASON = 400
_FAILURES = (PySparkException, Py4JError, ConnectionError)
logger = logging.getLogger("seqembed")

REPORT = "report binary"


class LostWorkersError(Exception):
    """Spark gave a job up, since the workers of a task died time after time; the text says what Spark says."""


class OpenSession:
    """The active session, or one that is started here and stopped at the end.

    Attributes:
        spark: The session.
    """

    def __init__(self, threads: int, address: str | None) -> None:
        """Use the active session, or start one.

        Args:
            threads: CPUs of each task.
            address: A master or a Spark Connect server; None for that of the configuration, or else this host.

        Raises:
            UsageError: Java is missing.
            HostError: Spark cannot be started, or does not answer at the address.
        """
        self._tag = f"seqembed-{uuid.uuid4().hex}"
        self._pool = ThreadPoolExecutor(thread_name_prefix="spark")
        session = SparkSession.getActiveSession()
        if session is not None and address is not None:
            raise UsageError(
                f"--address {address.split(';')[0]}: this process has a Spark session already. "
                "Omit --address to use that."
            )
        self._directory = Path(tempfile.mkdtemp(prefix="seqembed-spark-"))
        self._is_own, self._is_open = session is None, True
        try:
            self.spark = session or start_session(threads, address, self._directory)
            note_fewer_cpus(self.spark, threads)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    @property
    def slots(self) -> int:
        """Tasks that run at a time."""
        if is_remote(self.spark):
            return _SLOTS_OF_REMOTE
        context = self.spark.sparkContext
        return max(1, int(context.defaultParallelism) // int(context.getConf().get("spark.task.cpus", "1")))

    def numbers(self, count: int) -> DataFrame:
        """Return the numbers from 0, each in a partition of its own."""
        return self.spark.range(0, count, 1, count)

    def submit(self, reports: DataFrame, group: str = "seqembed") -> Future[list[Any]]:
        """Start a job in another thread, since a signal cannot interrupt a call of Java.

        Args:
            reports: A DataFrame of `REPORT`, made by `packed`.
            group: Name for `finished_shares`.

        Returns:
            What its rows report, in any order; raises `LostWorkersError`, and `HostError` where workers lack seqembed.
        """
        return self._pool.submit(self._collect, reports, group)

    def followed(self, reports: DataFrame, follow: Callable[[list[float]], None]) -> list[Any]:
        """Run a job to its end; what it returns and raises is that of `submit`.

        Args:
            reports: A DataFrame of `REPORT`, made by `packed`.
            follow: Called now and then with the share of finished tasks of each stage that has begun, in order; never
                by Spark Connect, which does not tell.
        """
        group = f"seqembed-{uuid.uuid4().hex}"
        future = self.submit(reports, group)
        while not wait([future], timeout=_LOOK_EVERY_SECONDS).done:
            follow(finished_shares(self.spark, group))
        return future.result()

    def _collect(self, reports: DataFrame, group: str) -> list[Any]:
        self.spark.addTag(self._tag)  # holds for this thread
        set_group(self.spark, group)  # likewise
        try:
            return [pickle.loads(row.report) for row in reports.collect()]
        except _FAILURES as error:
            reason = _reason(error)
            if "No module named" in reason:
                raise worker_without_seqembed("Spark", reason[reason.index("No module named") :]) from None
            raise LostWorkersError(reason) from None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Report it as a fault of the host if Spark itself ends within the context.

        Raises:
            HostError: Its Java or the connection to it is gone.
        """
        try:
            yield
        except _FAILURES as error:
            raise HostError(
                f"Spark ended, or is out of reach ({_reason(error)}). If its host lacks memory, give it more; "
                "finished parts are kept. Run again."
            ) from error

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Cancel jobs, and stop the session if it was started here; a second call does nothing."""
        with not_interrupted():
            if not self._is_open:
                return
            self._is_open = False
            # Each thread has its own connection to Java. If a signal ended this one's last call, the reply to that is
            # still to come, and would be taken for the reply to the next call.
            with ThreadPoolExecutor(1, thread_name_prefix="spark-end") as other:
                other.submit(self._end).result()

    def _end(self) -> None:
        try:
            self.spark.interruptTag(self._tag)
        except _FAILURES:
            self._is_own = False  # Spark is gone already
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._is_own:
            self.spark.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def attempt_number() -> int:
    """Return a number, from 1, that no other attempt at a task of the session has; called by a worker."""
    context = TaskContext.get()
    return 1 if context is None else 1 + int(context.taskAttemptId())


def packed(report: object) -> pa.RecordBatch:
    """Return what a worker reports as a row of `REPORT`."""
    return pa.RecordBatch.from_pydict({"report": pa.array([pickle.dumps(report)], pa.binary())})


def _reason(error: BaseException) -> str:
    """Return what an error of Spark says, without the stack of Java."""
    lines = [line.strip(": ") for line in str(error).splitlines() if not line.lstrip().startswith(("at ", "..."))]
    lines = [line for line in lines if line and not line.startswith("An error occurred while calling")]
    text = next((line for line in lines if "No module named" in line), lines[0] if lines else type(error).__name__)
    return text.removeprefix("org.apache.spark.SparkException: ")[:_MAX_REASON]


def map_in_arrow(frame: DataFrame, work: Callable[..., Iterator[pa.RecordBatch]], schema: Any) -> DataFrame:
    """Return a DataFrame of what `work` makes of each partition; its partitions are those of `frame`.

    pyspark looks each column up by its name, which fails for one with a dot or a backtick, and for two that differ in
    case only. So columns travel under plain names.
    """
    names = frame.columns
    frame = frame.toDF(*(f"c{index}" for index in range(len(names))))
    with warnings.catch_warnings():
        # pyspark 4.3 warns of every pandas from 3 on, though nothing is converted to pandas here.
        warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
        return frame.mapInArrow(partial(_under_names, names, work), schema)


def _under_names(
    names: Sequence[str], work: Callable[..., Iterator[pa.RecordBatch]], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Work on batches whose columns have their own names; runs in a worker of Spark."""
    return work(batch.rename_columns(names) for batch in batches)


def is_frame(value: object) -> bool:
    """Return whether a value is a DataFrame of Spark; those of Spark Connect are."""
    return isinstance(value, DataFrame)


def arrow_schema(frame: DataFrame) -> pa.Schema:
    """Return the columns of a DataFrame as a worker gets them."""
    return to_arrow_schema(frame.schema, timezone=frame.sparkSession.conf.get("spark.sql.session.timeZone"))


def spark_schema(schema: pa.Schema) -> Any:
    """Return Arrow columns as those of a DataFrame."""
    return from_arrow_schema(schema)


def ship(spark: SparkSession, bundle: bytes) -> str:
    """Send a bundle to all executors, once per host; return the name for `shipped`.

    Spark reads the file whenever an executor needs it, and refuses another file of the same name. So it lies among the
    files of the session, which Java removes at its end, however this process ends. Spark Connect sends it at once.
    """
    name = f"seqembed-{bundle_sha256(bundle)}.onnx"
    with ExitStack() as stack:
        if is_remote(spark):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seqembed-spark-")))
        else:
            directory = Path(SparkFiles.getRootDirectory(), "seqembed")
            directory.mkdir(exist_ok=True)
        path = directory / name
        if not path.exists():
            path.write_bytes(bundle)
        spark.addArtifacts(str(path), file=True)
    return name


def shipped(name: str) -> bytes:
    """Return the bytes of a bundle; called by a worker."""
    return Path(SparkFiles.get(name)).read_bytes()


def note_fewer_cpus(spark: SparkSession, threads: int) -> None:
    """Warn if the tasks of a session have more threads than the CPUs that Spark reserves for each."""
    cpus = int(spark.conf.get("spark.task.cpus", "1") or 1)
    if threads > cpus:
        logger.warning(
            "tasks have %d threads, and the Spark session reserves spark.task.cpus = %d for each. "
            "So tasks compete for cores: start the session with spark.task.cpus = %d, or choose fewer threads.",
            threads,
            cpus,
            threads,
        )


def start_session(threads: int, address: str | None, directory: Path) -> SparkSession:
    """Start a session; whatever Java writes goes to a file in `directory`."""
    builder = SparkSession.builder.appName("seqembed").config("spark.ui.showConsoleProgress", "false")
    log = directory / "stderr"
    # Py4J logs the calls that an interruption ends, with a traceback, and some of them as the root logger.
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    logging.getLogger().addFilter(_is_not_of_py4j)
    try:
        with kept_signal_handlers(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about pandas, see `map_in_arrow`
            if address is not None and address.startswith("sc://"):
                session: SparkSession = builder.remote(address).getOrCreate()
                return session
            _require_java()
            for name, value in _settings(threads, address, directory).items():
                builder = builder.config(name, value)
            with stderr_in(log):
                session = builder.getOrCreate()
            # Its server of accumulators writes a traceback to the terminal when Java dies; that is reported otherwise.
            _remove_at_end(session, log, directory)
            server = getattr(session.sparkContext, "_accumulatorServer", None)
            if server is not None:
                server.handle_error = _ignore
            return session
    except (KeyboardInterrupt, SystemExit):
        _end_java(directory)
        raise
    except (*_FAILURES, OSError, ValueError) as error:
        said = [line for line in log.read_text(errors="replace").splitlines() if line] if log.exists() else []
        reason = _reason(error)
        if "JAVA_GATEWAY_EXITED" in reason and said:
            reason = next((line for line in reversed(said) if not line.lstrip().startswith(("at ", "..."))), said[-1])
            reason = reason[:_MAX_REASON]
        if "PACKAGE_NOT_INSTALLED" in reason:
            raise UsageError(
                f"--address: a library of Spark Connect is missing ({reason}). Install all that it needs with "
                "`pip install 'pyspark[connect]'`."
            ) from error
        where = "on this host" if address is None else f"at {address.split(';')[0]}"
        raise HostError(
            f"no Spark session could be started {where} ({reason}). Check the address, and that the cluster is up; "
            "without --address, Spark runs on this host."
        ) from error


def _remove_at_end(session: SparkSession, *paths: Path) -> None:
    """Let Java remove files and directories when it ends, the first one first, since a signal may end this process."""
    for path in reversed(paths):
        session.sparkContext._jvm.java.io.File(str(path)).deleteOnExit()


def _ignore(*_: object) -> None:
    """Do nothing."""


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in Path(record.pathname).parts


def _settings(threads: int, address: str | None, directory: Path) -> dict[str, str]:
    found = {"spark.task.cpus": str(threads), "spark.ui.enabled": "false", "spark.log.level": "ERROR"}
    found["spark.seqembed.directory"] = str(directory)  # by which `_end_java` finds the process
    # Rows of grouped events are chunks of megabytes; a batch of them is in memory twice.
    found["spark.sql.execution.arrow.maxRecordsPerBatch"] = "16"
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if address is not None:
        found["spark.master"] = address
    elif not is_submitted:
        # With a second number, a task whose worker crashed is repeated, as on a cluster.
        found["spark.master"] = f"local[{max(usable_cores(), threads)},{MAX_ATTEMPTS}]"
    if not is_submitted and found.get("spark.master", "").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        found |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        found["spark.local.dir"] = str(directory)
    return found


def _end_java(directory: Path) -> None:
    """End the Java that was being started: pyspark forgets it, and it would wait for a driver for ever.

    Args:
        directory: That of the session, which stands in the command line. Where there is no ``/proc``, nothing is done.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if os.fsencode(f"spark.seqembed.directory={directory}") in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def _require_java() -> None:
    """Check that there is a Java.

    Raises:
        UsageError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java") if home is None else shutil.which(os.path.join(home, "bin", "java"))
    if java is None:
        where = "no `java` is on the PATH" if home is None else f"JAVA_HOME is {home}, which has no bin/java"
        raise UsageError(
            f"--engine spark needs Java 17 or later, and {where}. Install it, set JAVA_HOME, or pass the --address of "
            "a Spark Connect server (sc://HOST), which needs no Java here."
        )
