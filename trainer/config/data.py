"""Which data to learn from, as given; click reads the defaults from here."""

from dataclasses import dataclass

from seqembed.data.errors import UsageError
from seqembed.data.sequences import TRUNCATES, LengthPolicy, Truncate
from seqembed.trainer.config.checks import at_least, one_of
from seqembed.trainer.input.learn import DEFAULT_MAX_VOCABULARY, DEFAULT_MIN_COUNT, MAX_VOCABULARY

LAYOUT_CHOICES = ("auto", "nested", "events")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which sequences to learn from.

    Attributes:
        inputs: Parquet files, directories or globs.
        id: Column that names a sequence.
        features: Columns of numbers or text in model order; empty takes every column with one value per step.
        categorical: Integer or boolean columns to treat as categories; text always is.
        min_count: Rarer categories count as unknown.
        max_vocabulary: Maximum number of categories per field.
        layout: ``auto``, ``nested`` (a row is a sequence) or ``events`` (a row is one step).
        time: Column that orders the steps of a sequence; in the nested layout it holds lists.
        time_features: Whether timestamps in `time` become features.
        label: Column that colours the map of embeddings; not a feature unless named.
        max_length: Maximum steps of a sequence; longer ones are truncated. None keeps all steps.
        version: Version of the tables among the inputs that have versions; None is the newest.
        truncate: Which steps a truncated sequence keeps: ``tail`` the newest, ``head`` the oldest.

    Raises:
        UsageError: A value is outside its range, or options contradict each other.
    """

    inputs: tuple[str, ...]
    id: str = "id"
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    min_count: int = DEFAULT_MIN_COUNT
    max_vocabulary: int = DEFAULT_MAX_VOCABULARY
    layout: str = "auto"
    time: str | None = None
    time_features: bool = True
    label: str | None = None
    max_length: int | None = None
    version: int | None = None
    truncate: Truncate = "tail"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no INPUT given. Name a Parquet file, a directory or a glob.")
        one_of("layout", self.layout, LAYOUT_CHOICES)
        one_of("truncate", self.truncate, TRUNCATES)
        at_least("min-count", self.min_count, 1)
        at_least("max-vocabulary", self.max_vocabulary, 1)
        if self.max_vocabulary > MAX_VOCABULARY:
            raise UsageError(f"--max-vocabulary must be at most {MAX_VOCABULARY:,}; was {self.max_vocabulary:,}.")
        if not self.time_features and self.time is None:
            raise UsageError("--no-time-features has no effect without --time. Pass --time too, or neither.")
        if self.version is not None:
            at_least("version", self.version, 0)
        if self.max_length is not None:
            at_least("max-length", self.max_length, 1)
        elif self.truncate != "tail":
            raise UsageError(f"--truncate {self.truncate} has no effect without --max-length. Pass --max-length too.")

    @property
    def length_policy(self) -> LengthPolicy:
        """How long sequences are truncated."""
        return LengthPolicy(self.max_length, self.truncate)
