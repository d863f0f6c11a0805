"""What can be asked of an evaluation; click reads its defaults from here."""

from dataclasses import dataclass, field
from pathlib import Path

from seqembed.data.display.progress import PROGRESS_STYLES, ProgressStyle
from seqembed.data.errors import UsageError
from seqembed.runner.options import usable_cores

_LEAST_ROWS = 10
_PLOT_SUFFIX = ".png"
STDOUT = "-"


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """An evaluation.

    Attributes:
        model: The bundle.
        train: Parquet inputs the protocols learn from.
        test: Parquet inputs they are judged on.
        label: Column with the class of a sequence, or hive key of the path.
        untrained_seeds: How many untrained encoders stand beside the trained one.
        max_rows: Most sequences of each split that the protocols see; a larger split is thinned, class by class.
        seed: Of every random draw.
        threads: Threads that embed and that search for C.
        json_path: File for the figures, ``-`` for standard output, None for neither.
        plot_path: PNG file, or None.
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
        if self.max_rows < _LEAST_ROWS:
            raise UsageError(f"--max-rows must be at least {_LEAST_ROWS}, was {self.max_rows}. The default is 10,000.")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or more, was {self.seed}.")
        if self.threads < 1:
            raise UsageError(f"--threads must be at least 1, was {self.threads}.")
        if self.plot_path is not None and self.plot_path.suffix.lower() != _PLOT_SUFFIX:
            raise UsageError(f"--plot {self.plot_path}: pictures are PNG. Give a name that ends in {_PLOT_SUFFIX}.")
        if self.label in ("embedding", "error"):
            raise UsageError(f"--label {self.label}: the vectors' own table has a column of that name. Rename yours.")
