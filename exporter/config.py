"""Options of an export and their defaults, which the command line reads from here."""

from dataclasses import dataclass, fields
from pathlib import Path

from seqembed.data.contract import MAX_TOLERANCE, PRECISIONS
from seqembed.data.display.events import LOG_FORMATS, LogFormat
from seqembed.data.errors import BundleError, UsageError
from seqembed.data.schema.detect import LAYOUT_CHOICES
from seqembed.exporter.keras.archive import refuse_other_kinds

KERAS_SUFFIX = ".keras"
ELSEWHERE = "a Keras model trained elsewhere"  # `made_by` in the contract of a ``.keras`` file


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Options of an export.

    Attributes:
        source: Run directory, or a ``.keras`` file trained elsewhere.
        out: The ONNX file to write; an existing bundle is replaced atomically.
        tolerance: Maximum of |Keras - ONNX Runtime| / max(1, |Keras|), at most
            `seqembed.data.contract.MAX_TOLERANCE`.
        opset: ONNX operator set.
        precision: ``fp32``, or ``int8``: quantised LSTM weights, written only if the vectors stay close to fp32.
        data: Parquet inputs for a ``.keras`` file; a run directory has its own sample.
        id: Column of `data` with the id of a sequence.
        features: Feature columns of `data` in model order; empty for every numeric sequence column.
        layout: ``auto``, ``nested`` or ``events``.
        time: Events only: column that orders the steps of an id.
        version: Version of the tables in `data` that have versions; None is the newest.
        card: Whether to write a model card (`card_path`) beside the bundle.
        with_decoder: Whether the bundle also returns ``reconstruction_error``, from the decoder of a run.
        log_format: ``json`` writes events and messages to standard error, an object per line.

    Raises:
        UsageError: A value is out of range, or an option does not apply to `source`.
        BundleError: `source` does not exist or is a file of another kind.
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
    version: int | None = None
    card: bool = True
    with_decoder: bool = False
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= MAX_TOLERANCE:  # false for NaN
            raise UsageError(
                f"--tolerance must be a positive number of at most {MAX_TOLERANCE:g}, was {self.tolerance}. The "
                "default is 1e-5; if the exported model differs from Keras by more, train with tanh instead of relu, "
                "or with a smaller learning rate."
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision must be {' or '.join(PRECISIONS)}, was {self.precision}.")
        if self.log_format not in LOG_FORMATS:
            raise UsageError(f"--log-format must be one of {', '.join(LOG_FORMATS)}; was {self.log_format!r}.")
        if self.layout not in LAYOUT_CHOICES:
            raise UsageError(f"--layout must be one of {', '.join(LAYOUT_CHOICES)}, was {self.layout!r}.")
        if self.version is not None and self.version < 0:
            raise UsageError(f"--version must be 0 or more, was {self.version}.")
        if self.card and self.card_path == self.out:
            raise UsageError(
                f"--out {self.out}: the bundle has the name of its model card. Choose a name that ends in .onnx, or "
                "pass --no-card."
            )
        refuse_other_kinds(self.source)
        if self.is_run_directory:
            lone = [f for f in fields(self) if f.name in ("data", "id", "features", "layout", "time", "version")]
            given = [f.name for f in lone if getattr(self, f.name) != f.default]
            if given and not self.source.exists():
                raise BundleError(
                    f"{self.source}: there is no such run directory or {KERAS_SUFFIX} file. Check the name."
                )
            if given:
                raise UsageError(
                    f"--{given[0]} applies to a {KERAS_SUFFIX} file; {self.source} is a run directory, which has its "
                    "own data. Omit the option."
                )
        elif not self.source.exists():
            raise BundleError(f"{self.source}: there is no such file. Check the name.")
        elif self.with_decoder:
            raise UsageError(
                f"--with-decoder exports the decoder of a run; {self.source} is a {KERAS_SUFFIX} file, without a known "
                "decoder. Leave out --with-decoder, or train with `seqembed train`."
            )
        elif not self.data:
            raise UsageError(
                f"{self.source}: a {KERAS_SUFFIX} file does not describe the data it was trained on. Pass some with "
                "--data INPUT.parquet: the export is checked on it, and its columns become the contract."
            )

    @property
    def card_path(self) -> Path:
        """The model card: the name of the bundle, with the suffix ``.md``."""
        return self.out.parent / f"{self.out.stem}.md"

    @property
    def is_run_directory(self) -> bool:
        """Whether `source` is a run directory, as opposed to a single model file."""
        return self.source.suffix != KERAS_SUFFIX or self.source.is_dir()
