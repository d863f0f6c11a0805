"""Options of an evaluation and their defaults, which the command line reads from here."""

from dataclasses import dataclass, field
from pathlib import Path

from seqembed.data.display.progress import PROGRESS_STYLES, ProgressStyle
from seqembed.data.errors import UsageError
from seqembed.runner.options import usable_cores

_MIN_ROWS = 10
_PLOT_SUFFIX = ".png"
STDOUT = "-"


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Options of an evaluation.

    Attributes:
        model: The bundle.
        train: Parquet inputs to train classifiers on.
        test: Parquet inputs to test them on.
        label: Column with the class of a sequence, or hive key of the path.
        untrained_seeds: Number of untrained encoders to compare with.
        max_rows: Maximum sequences of each split; a larger split is sampled, stratified by class.
        version: Version of the tables among the inputs that have versions; None is the newest.
        seed: Seed of all random numbers.
        threads: Threads that embed and that search for C.
        json_path: JSON file for the results, ``-`` for standard output, or None.
        plot_path: PNG file for a plot, or None.
        progress: ``auto`` shows a bar on a terminal and plain lines elsewhere.

    Raises:
        UsageError: A value is out of range.
    """

    model: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label: str
    untrained_seeds: int = 3
    max_rows: int = 10_000
    version: int | None = None
    seed: int = 0
    threads: int = field(default_factory=usable_cores)
    json_path: str | None = None
    plot_path: Path | None = None
    progress: ProgressStyle = "auto"

    def __post_init__(self) -> None:
        if self.progress not in PROGRESS_STYLES:
            raise UsageError(f"--progress must be one of {', '.join(PROGRESS_STYLES)}; was {self.progress!r}.")
        if self.untrained_seeds < 1:
            raise UsageError(f"--untrained-seeds must be at least 1, was {self.untrained_seeds}. The default is 3.")
        if self.max_rows < _MIN_ROWS:
            raise UsageError(f"--max-rows must be at least {_MIN_ROWS}, was {self.max_rows}. The default is 10,000.")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more, was {self.seed}.")
        if self.threads < 1:
            raise UsageError(f"--threads must be at least 1, was {self.threads}.")
        if self.plot_path is not None and self.plot_path.suffix.lower() != _PLOT_SUFFIX:
            raise UsageError(
                f"--plot {self.plot_path}: plots are PNG files. Choose a name that ends in {_PLOT_SUFFIX}."
            )
        if self.label in ("embedding", "error"):
            raise UsageError(f"--label {self.label}: the output has a column of that name. Rename the input column.")
