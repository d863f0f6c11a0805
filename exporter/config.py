"""What can be asked of an export; click reads its defaults from here."""

from dataclasses import dataclass, fields
from pathlib import Path

from seqembed.data.contract import MAX_TOLERANCE, PRECISIONS
from seqembed.data.errors import BundleError, UsageError
from seqembed.data.schema.detect import LAYOUT_CHOICES
from seqembed.exporter.keras.archive import refuse_other_kinds

KERAS_SUFFIX = ".keras"


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """An export.

    Attributes:
        source: Run directory, or a ``.keras`` file that someone else trained.
        out: The ONNX file to write; what stands there is replaced at once or not at all.
        tolerance: Most allowed of |Keras - ONNX Runtime| / max(1, |Keras|), at most
            `seqembed.data.contract.MAX_TOLERANCE`.
        opset: ONNX operator set.
        precision: ``fp32``, or ``int8``: LSTM weights in bytes, refused unless the vectors stay what they were.
        data: Parquet inputs with rows for a ``.keras`` file; a run directory has its own.
        id: Column that names a sequence, in `data`.
        features: Feature columns in model order, in `data`; empty takes every numeric sequence column.
        layout: ``auto``, ``nested`` or ``events``.
        time: Events only: column that orders the steps of an id.

    Raises:
        UsageError: A value is out of range, or an option does not go with `source`.
        BundleError: `source` is a file of another kind, or options for a file are given and there is none.
    """

    source: Path
    out: Path
    tolerance: float = 1e-5
    opset: int = 17
    precision: str = "fp32"
    data: tuple[str, ...] = ()
    id: str = "id"
    features: tuple[str, ...] = ()
    layout: str = "auto"
    time: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= MAX_TOLERANCE:  # NaN is neither
            raise UsageError(
                f"--tolerance must be a positive number of at most {MAX_TOLERANCE:g}, was {self.tolerance}. The "
                "default is 1e-5; a model that differs by more from Keras is another model: train it with tanh instead "
                "of relu, or with a smaller learning rate."
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision must be {' or '.join(PRECISIONS)}, was {self.precision}.")
        if self.layout not in LAYOUT_CHOICES:
            raise UsageError(f"--layout must be one of {', '.join(LAYOUT_CHOICES)}, was {self.layout!r}.")
        refuse_other_kinds(self.source)
        if self.is_run_directory:
            lone = [f for f in fields(self) if f.name in ("data", "id", "features", "layout", "time")]
            given = [f.name for f in lone if getattr(self, f.name) != f.default]
            if given and not self.source.exists():
                raise BundleError(
                    f"{self.source}: there is no such run directory or {KERAS_SUFFIX} file. Check the name."
                )
            if given:
                raise UsageError(
                    f"--{given[0]} goes with a {KERAS_SUFFIX} file; {self.source} is a run directory, which knows its "
                    "own data. Leave the option out."
                )
        elif not self.source.exists():
            raise BundleError(f"{self.source}: there is no such file. Check the name.")
        elif not self.data:
            raise UsageError(
                f"{self.source}: a {KERAS_SUFFIX} file says nothing about the data it was trained on. Name some with "
                "--data INPUT.parquet: the export is checked on it, and its columns become the contract."
            )

    @property
    def is_run_directory(self) -> bool:
        """Whether `source` is a run directory and not a single model file."""
        return self.source.suffix != KERAS_SUFFIX or self.source.is_dir()
