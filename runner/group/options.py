"""Options of `seqembed group`, and which of them determine the bytes of a bucket."""

import os
import re
from dataclasses import dataclass
from typing import Any, Literal

from seqembed.data.display.events import LOG_FORMATS, LogFormat
from seqembed.data.display.progress import PROGRESS_STYLES, ProgressStyle
from seqembed.data.errors import UsageError
from seqembed.data.keyword_types import ChosenInt
from seqembed.runner.options import usable_cores

GroupBadRow = Literal["fail", "drop"]
GROUP_BAD_ROW: tuple[GroupBadRow, ...] = ("fail", "drop")
GroupEngine = Literal["duckdb", "spark"]
GROUP_ENGINES: tuple[GroupEngine, ...] = ("duckdb", "spark")
EXACT = "exact"
MAX_BUCKETS = 4096
# Python, Arrow and DuckDB alone take 200 MB.
MIN_MEMORY_BYTES = 512 * 10**6
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """Options of `seqembed group`.

    Attributes:
        id: Column with the id that the events of a sequence share.
        time: Column that orders the events of an id: timestamps, dates, other times or numbers.
        features: Columns that become lists; empty takes all columns that every file has.
        keep: Columns of which a row gets the newest value; hive keys of the path, too.
        since: First time that is taken; None takes all.
        until: Time before which events are taken; None takes all.
        max_length: Maximum number of events of an id, of which the newest are taken; None takes all.
        deduplicate: Of several events of an id that agree in these columns, take the last; ``exact`` means all columns.
        buckets: Number of output files; None chooses it from the size of the data and keeps it in later runs.
        memory: Bound on the memory of this process, such as ``2GB``; on Spark, of each task.
        threads: Threads that sort, without effect on the result; None for one per core, and on Spark for one per task.
        on_bad_row: ``fail`` on an event without id or time, or ``drop`` and count it.
        engine: What sorts the events: DuckDB in this process (``duckdb``), or in the workers of ``spark``.
        address: Where Spark runs; None takes that of its configuration, or this host.
        version: Version of the tables among the inputs that have versions; None is the newest.
        prune: Also leave out events of files that no longer exist.
        overwrite: Replace buckets that were made with other options.
        dry_run: Report what would be done, without doing it.
        progress: ``auto`` shows a bar on a terminal and plain lines elsewhere.
        metrics: File on this host to write metrics to when the job ends, for Prometheus; None writes none.
        log_format: ``text`` for people, or ``json``: an event per line, for programs.
    """

    id: str = "id"
    time: str = "time"
    features: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    max_length: int | None = None
    deduplicate: tuple[str, ...] = ()
    buckets: ChosenInt = None
    memory: str = "2GB"
    threads: int | None = None
    engine: GroupEngine = "duckdb"
    address: str | None = None
    on_bad_row: GroupBadRow = "fail"
    version: int | None = None
    prune: bool = False
    overwrite: bool = False
    dry_run: bool = False
    progress: ProgressStyle = "auto"
    metrics: str | os.PathLike[str] | None = None
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: A value is out of range, or options contradict each other.
        """
        for option, value, choices in (
            ("on-bad-row", self.on_bad_row, GROUP_BAD_ROW),
            ("progress", self.progress, PROGRESS_STYLES),
            ("log-format", self.log_format, LOG_FORMATS),
            ("engine", self.engine, GROUP_ENGINES),
        ):
            if value not in choices:
                raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")
        for option, number, most in (
            ("max-length", self.max_length, None),
            ("buckets", self.buckets, MAX_BUCKETS),
            ("threads", self.threads, None),
        ):
            if number is not None and (number < 1 or (most is not None and number > most)):
                bound = "at least 1" if most is None else f"between 1 and {most}"
                raise UsageError(f"--{option} must be {bound}, was {number}.")
        if self.address == "":
            raise UsageError("--address must not be empty. Pass an address, or omit it to use this host.")
        if self.address is not None and self.engine != "spark":
            raise UsageError("--address says where Spark runs. Pass --engine spark with it.")
        if self.version is not None and self.version < 0:
            raise UsageError(f"--version must be 0 or more, was {self.version}.")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise UsageError(f"--memory must be at least {MIN_MEMORY_BYTES // 10**6}MB, was {self.memory}.")
        if EXACT in self.deduplicate and len(self.deduplicate) > 1:
            raise UsageError("--deduplicate exact compares all columns; pass it alone, or name columns.")
        self._refuse_twice()

    def _refuse_twice(self) -> None:
        places = [(self.id, "--id"), (self.time, "--time")]
        places += [(name, "--keep") for name in self.keep] + [(name, "--features") for name in self.features]
        seen: dict[str, str] = {}
        for name, place in places:
            other = seen.setdefault(name, place)
            if other is not place or places.count((name, place)) > 1:
                raise UsageError(
                    f"{place} {name}: the column is named in {other} already, and would be in the output twice. "
                    "Name it once."
                )

    @property
    def num_threads(self) -> int:
        """Threads that sort, in this process or in each task of Spark."""
        if self.threads is not None:
            return self.threads
        return usable_cores() if self.engine == "duckdb" else 1

    @property
    def memory_bytes(self) -> int:
        """The bound on memory in bytes.

        Raises:
            UsageError: It is not a size.
        """
        found = _SIZE.fullmatch(self.memory)
        unit = None if found is None else _UNITS.get(found[2].lower())
        if found is None or unit is None:
            raise UsageError(f"--memory {self.memory!r} is not a size; expected a number and a unit, such as 2GB.")
        return int(float(found[1]) * unit)

    def result_values(self) -> dict[str, Any]:
        """Return the options that change the result, by name, without the columns and the number of buckets.

        Whether bad events fail the job or are dropped changes no bucket, so that a job that failed may drop them.
        """
        return {
            "id": self.id,
            "time": self.time,
            "keep": list(self.keep),
            "since": self.since,
            "until": self.until,
            "max_length": self.max_length,
            "deduplicate": list(self.deduplicate),
        }
