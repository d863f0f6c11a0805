"""The options of a run, their defaults, and which of them change the result."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from seqembed.data.errors import UsageError

OnBadRow = Literal["fail", "null", "quarantine"]
ON_BAD_ROW: tuple[OnBadRow, ...] = ("fail", "null", "quarantine")
OnBadFile = Literal["fail", "skip"]
ON_BAD_FILE: tuple[OnBadFile, ...] = ("fail", "skip")
VectorType = Literal["float32", "float16"]
VECTOR_TYPES: tuple[VectorType, ...] = ("float32", "float16")
ProgressStyle = Literal["auto", "bar", "plain", "none"]
PROGRESS_STYLES: tuple[ProgressStyle, ...] = ("auto", "bar", "plain", "none")

# How sequences are put into windows and batches may change a vector's last bits, so it is fixed, part of a part's key,
# and no option; how many sequences make a batch, the model's contract says. Fewer steps a call than 32 for each of
# them, and the call's fixed cost shows. The bounds in steps and values, read or written, bound memory, and keep arrays
# below the 32 MiB from which on the C library maps and clears new pages for each. The first window is small, so
# that the cores have work while the next one is decoded.
MOST_BATCH_SIZES = 4
FULL_BATCH_STEPS_A_SEQUENCE = 32
MAX_BATCH_STEPS = 16_384
FIRST_WINDOW_SEQUENCES = 2_048
MAX_WINDOW_SEQUENCES = 16_384
MAX_WINDOW_VALUES = 1 << 22
_RESULT_FORMAT = 4  # 2: windows are bounded by what is written, too; 3: parts name their input; 4: hold statistics


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `seqembed run` was asked for.

    Attributes:
        keep: Columns carried from input to output.
        threads: Threads that embed; the result does not depend on it.
        limit: Most sequences in all; None embeds all.
        overwrite: Replace parts that another model or other options made.
        prune: Remove parts whose input is gone.
        on_bad_row: ``fail``, keep the row with a ``null`` vector and the reason, or put it aside (``quarantine``).
        max_bad_fraction: Largest share of bad rows a part may have, where they do not fail it.
        on_bad_file: ``fail``, or ``skip`` files that cannot be read and say so.
        dtype: Of the numbers of the vectors in the output; float16 halves its size and keeps three digits.
        dry_run: Say what would be done, and do nothing.
        progress: ``auto`` shows a bar on a terminal and plain lines elsewhere.
    """

    keep: tuple[str, ...] = ()
    threads: int = field(default_factory=usable_cores)
    limit: int | None = None
    overwrite: bool = False
    prune: bool = False
    on_bad_row: OnBadRow = "fail"
    max_bad_fraction: float = 1.0
    on_bad_file: OnBadFile = "fail"
    dtype: VectorType = "float32"
    dry_run: bool = False
    progress: ProgressStyle = "auto"

    def __post_init__(self) -> None:
        """Check values: click has looked at those of a command line, and nobody at those of a Python call.

        Raises:
            UsageError: A value is out of range.
        """
        for option, value, choices in (
            ("on-bad-row", self.on_bad_row, ON_BAD_ROW),
            ("on-bad-file", self.on_bad_file, ON_BAD_FILE),
            ("dtype", self.dtype, VECTOR_TYPES),
            ("progress", self.progress, PROGRESS_STYLES),
        ):
            if value not in choices:
                raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")
        if self.threads < 1:
            raise UsageError(f"--threads must be at least 1, was {self.threads}.")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, was {self.limit}.")
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"--max-bad-fraction must be in [0, 1], was {self.max_bad_fraction}.")
        if "error" in self.keep and self.on_bad_row == "null":
            raise UsageError(
                "--keep error would stand beside the reasons of --on-bad-row null. Rename the input column."
            )
        if "embedding" in self.keep:
            raise UsageError("--keep embedding would stand beside the vector of that name. Rename the input column.")

    def result_values(self) -> dict[str, Any]:
        """Return the options that change the result, by name."""
        return {"keep": list(self.keep), "limit": self.limit, "on_bad_row": self.on_bad_row, "dtype": self.dtype}

    def result_hash(self) -> str:
        """Return a sha256 over the options that change the result."""
        value = [_RESULT_FORMAT, self.result_values(), MAX_BATCH_STEPS, MOST_BATCH_SIZES, FULL_BATCH_STEPS_A_SEQUENCE]
        value += [FIRST_WINDOW_SEQUENCES, MAX_WINDOW_SEQUENCES, MAX_WINDOW_VALUES]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()
