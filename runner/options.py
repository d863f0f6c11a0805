"""The options of a run, their defaults, and which of them change the result."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

from seqembed.data.display.events import LOG_FORMATS, LogFormat
from seqembed.data.display.progress import PROGRESS_STYLES, ProgressStyle
from seqembed.data.errors import UsageError

OnBadRow = Literal["fail", "null", "quarantine"]
ON_BAD_ROW: tuple[OnBadRow, ...] = ("fail", "null", "quarantine")
EngineName = Literal["local", "ray", "spark"]
ENGINES: tuple[EngineName, ...] = ("local", "ray", "spark")
OnBadFile = Literal["fail", "skip"]
ON_BAD_FILE: tuple[OnBadFile, ...] = ("fail", "skip")
VectorType = Literal["float32", "float16"]
VECTOR_TYPES: tuple[VectorType, ...] = ("float32", "float16")

# The division into windows and batches may change the last bits of a vector, so it is fixed instead of an option, and
# included in the key of an output file; the number of sequences per batch is in the model's contract. Below about 32
# steps per sequence the fixed cost of a call dominates. The bounds in steps and values, read or written, bound memory,
# and keep arrays below 32 MiB, from where on the C library maps and clears new pages for each. The first window is
# small, so that the cores have work while the next one is decoded.
MAX_BATCH_MULTIPLE = 4
FULL_BATCH_STEPS_PER_SEQUENCE = 32
MAX_BATCH_STEPS = 16_384
FIRST_WINDOW_SEQUENCES = 2_048
MAX_WINDOW_SEQUENCES = 16_384
MAX_WINDOW_VALUES = 1 << 22
_RESULT_FORMAT = 4  # 2: written values bound windows too; 3: output files name their input; 4: and hold statistics


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of `seqembed run`.

    Attributes:
        keep: Columns to copy from input to output.
        threads: Threads that embed; None for one per core, and with an engine other than ``local`` for one per task.
            The result does not depend on it.
        engine: What makes the parts: this process (``local``), or the workers of ``ray`` or ``spark``.
        address: Where that engine runs; None starts it on this host.
        limit: Maximum number of sequences in total; None embeds all.
        rows_per_part: Maximum number of input rows of a part, unless a single row group has more: larger files are
            divided by row groups. None makes one part per file.
        only: Globs of paths of parts; all others are left as they are. Empty chooses all.
        version: Version of the tables among the inputs that have versions; None is the newest.
        overwrite: Replace parts written by another model or with other options.
        prune: Remove parts whose input no longer exists.
        on_bad_row: ``fail``, write a ``null`` vector and the reason, or move the row to ``quarantine``.
        max_bad_fraction: Maximum share of bad rows per part, unless bad rows fail the run anyway.
        on_bad_file: ``fail``, or ``skip`` files that cannot be read and report them.
        dtype: Type of the numbers of the output vectors; float16 halves their size and keeps three digits.
        fail_on_drift: Exit with 5, before the success marker, if the rows moved too far from the training data.
        metrics: File on this host to write metrics to when the run ends, for Prometheus; None writes none.
        log_format: ``text`` for people, or ``json``: an event per line, for programs.
        score: Write ``score`` and ``score_quantile``, for a bundle with a decoder.
        report: Write a page about the run, ``_report.html``, into the output directory.
        dry_run: Report what would be done, without doing it.
        progress: ``auto`` shows a bar on a terminal and plain lines elsewhere.
    """

    keep: tuple[str, ...] = ()
    threads: int | None = None
    engine: EngineName = "local"
    address: str | None = None
    limit: int | None = None
    rows_per_part: int | None = None
    only: tuple[str, ...] = ()
    version: int | None = None
    overwrite: bool = False
    prune: bool = False
    on_bad_row: OnBadRow = "fail"
    max_bad_fraction: float = 1.0
    on_bad_file: OnBadFile = "fail"
    dtype: VectorType = "float32"
    fail_on_drift: bool = False
    metrics: str | os.PathLike[str] | None = None
    log_format: LogFormat = "text"
    score: bool = False
    report: bool = False
    dry_run: bool = False
    progress: ProgressStyle = "auto"

    def __post_init__(self) -> None:
        """Check the values; click checks those of the command line only.

        Raises:
            UsageError: A value is out of range.
        """
        for option, value, choices in (
            ("on-bad-row", self.on_bad_row, ON_BAD_ROW),
            ("on-bad-file", self.on_bad_file, ON_BAD_FILE),
            ("dtype", self.dtype, VECTOR_TYPES),
            ("progress", self.progress, PROGRESS_STYLES),
            ("engine", self.engine, ENGINES),
            ("log-format", self.log_format, LOG_FORMATS),
        ):
            if value not in choices:
                raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads must be at least 1, was {self.threads}.")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, was {self.limit}.")
        if self.limit is not None and self.engine != "local":
            raise UsageError(
                f"--limit cannot be combined with --engine {self.engine}: how many sequences a part contributes "
                "depends on the parts before it, so workers would wait for each other. Use --engine local, or name "
                "fewer inputs."
            )
        if self.address == "":
            raise UsageError("--address must not be empty. Pass an address, or omit it to use this host.")
        if self.address is not None and self.engine == "local":
            raise UsageError("--address says where Ray or Spark runs. Pass --engine ray or --engine spark with it.")
        if self.rows_per_part is not None and self.rows_per_part < 1:
            raise UsageError(f"--rows-per-part must be at least 1, was {self.rows_per_part}.")
        if not all(self.only):
            raise UsageError("--only must not be empty. Pass the path of a part, a directory, or a glob of either.")
        if self.only and self.limit is not None:
            raise UsageError("--only conflicts with --limit, which counts from the first part on. Pass one of them.")
        if self.version is not None and self.version < 0:
            raise UsageError(f"--version must be 0 or more, was {self.version}.")
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"--max-bad-fraction must be in [0, 1], was {self.max_bad_fraction}.")
        if "error" in self.keep and self.on_bad_row == "null":
            raise UsageError(
                "--keep error conflicts with the column of reasons of --on-bad-row null. Rename the input column."
            )
        if "embedding" in self.keep:
            raise UsageError("--keep embedding conflicts with the vector column of that name. Rename the input column.")

    @property
    def num_threads(self) -> int:
        """Threads that embed, in this process or in each task of an engine."""
        if self.threads is not None:
            return self.threads
        return usable_cores() if self.engine == "local" else 1

    def record(self) -> dict[str, Any]:
        """Return the options as JSON values; without the address, which may hold a token."""
        values = asdict(self) | {"threads": self.num_threads}
        del values["address"]
        return values

    def result_values(self) -> dict[str, Any]:
        """Return the options that change the rows of the output, by name; how files are divided does not count.

        A part that was made without a bad row is the same where such rows are put aside, so that a job that failed on
        one may go on with ``quarantine``.
        """
        on_bad_row = "fail" if self.on_bad_row == "quarantine" else self.on_bad_row
        values = {"keep": list(self.keep), "limit": self.limit, "on_bad_row": on_bad_row, "dtype": self.dtype}
        return values | ({"score": True} if self.score else {})  # parts of before it existed stay current without it

    def result_hash(self) -> str:
        """Return a sha256 over the options that change the result."""
        value = [
            _RESULT_FORMAT,
            self.result_values(),
            MAX_BATCH_STEPS,
            MAX_BATCH_MULTIPLE,
            FULL_BATCH_STEPS_PER_SEQUENCE,
        ]
        value += [FIRST_WINDOW_SEQUENCES, MAX_WINDOW_SEQUENCES, MAX_WINDOW_VALUES]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()
