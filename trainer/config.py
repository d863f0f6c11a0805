"""Every option of a training, its default and its range, in one place; click reads the defaults from here.

The classes check themselves: what exists is valid. ``TrainJob.to_options`` and ``from_options`` go to flat names and
back, which are the names of the command's options and the keys of ``config.toml``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from seqembed.data.errors import UsageError
from seqembed.data.learn import DEFAULT_MAX_VOCABULARY, DEFAULT_MIN_COUNT, MOST_VOCABULARY
from seqembed.data.secrets import without_secrets
from seqembed.data.sequences import TRUNCATES, LengthPolicy, Truncate

CELLS = ("lstm", "gru")
READS = ("values", "differences", "both")
SCALINGS = ("sequence", "data")
# Two branches of 48 units cost as much as one of 64.
UNITS_OF = {"values": 64, "differences": 64, "both": 48}
ACTIVATIONS = ("tanh", "relu")
POOLINGS = ("last", "mean", "max", "concat")
OBJECTIVES = ("hybrid", "reconstruct", "contrast")
DECODERS = ("positional", "repeat", "reshape", "dense", "autoregressive")
FIXED_LENGTH_DECODERS = ("reshape", "dense")
TASKS = ("reconstruct", "predict", "composite")
LOSSES = ("mse", "mae", "huber", "binary_crossentropy")
LAYOUT_CHOICES = ("auto", "nested", "events")

# What an option that is not given stands for, by objective.
_DECODER_OF = {"hybrid": "positional", "reconstruct": "repeat", "contrast": "positional"}
# A decoder of two units cannot write what an embedding of two numbers holds: it has to count and remember besides.
LEAST_DECODER_UNITS = 64
POSITIONAL_UNITS = 128
# A slice of the graph for every frame that an overlap reaches into; measured: 256 of them take 15 s to export.
MAX_OVERLAP = 512


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"--{option} must be at least {least}; was {value}.")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which sequences to learn from.

    Attributes:
        inputs: Parquet files, directories or globs.
        id: Column that names a sequence.
        features: Columns of numbers or text in model order; empty takes every one that holds a value a step.
        categorical: Columns whose whole numbers or booleans are categories; text always is.
        min_count: A category met less often in the data counts as unknown.
        max_vocabulary: Most categories a field tells apart.
        layout: ``auto``, ``nested`` (a row is a sequence) or ``events`` (a row is one step).
        time: Column that orders the steps of a sequence; nested, it holds lists.
        time_features: Whether timestamps in `time` become features.
        label: Column that colours the map of the embeddings; never a feature by default.
        max_length: Most steps kept of a sequence; None keeps all.
        truncate: Which end a longer sequence keeps: ``tail`` the newest steps, ``head`` the oldest.

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
    truncate: Truncate = "tail"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no INPUT given. Name a Parquet file, a directory or a glob.")
        _one_of("layout", self.layout, LAYOUT_CHOICES)
        _one_of("truncate", self.truncate, TRUNCATES)
        _at_least("min-count", self.min_count, 1)
        _at_least("max-vocabulary", self.max_vocabulary, 1)
        if self.max_vocabulary > MOST_VOCABULARY:
            raise UsageError(f"--max-vocabulary must be at most {MOST_VOCABULARY:,}; was {self.max_vocabulary:,}.")
        if not self.time_features and self.time is None:
            raise UsageError("--no-time-features leaves nothing out without --time. Give --time too, or neither.")
        if self.max_length is not None:
            _at_least("max-length", self.max_length, 1)
        elif self.truncate != "tail":
            raise UsageError(f"--truncate {self.truncate} cuts nothing without --max-length. Give --max-length too.")

    @property
    def length_policy(self) -> LengthPolicy:
        """What happens to long sequences."""
        return LengthPolicy(self.max_length, self.truncate)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The architecture and what it is trained to do.

    Attributes:
        cell: Recurrent cell, ``lstm`` or ``gru``.
        units: Units of each recurrent layer and direction; None is 64, or 48 in each branch where both are read.
        layers: Recurrent layers of the encoder.
        reads: Whether recurrent layers read the ``values``, their ``differences`` from step to step, or ``both``, each
            by layers of its own. None is chosen from the data where views are compared, else ``values``.
        scaling: Whether the values that are read are centred and scaled by the ``data`` alone, or each ``sequence`` by
            its own mean and spread, too, which then stand at the end of the embedding. None is ``sequence`` where views
            are compared, else ``data``.
        frame: Consecutive steps that the encoder reads as one; None is chosen from the lengths
            (`seqembed.trainer.recipe`).
        overlap: Steps after its own that a frame holds, too; None is chosen where views are compared
            (`seqembed.trainer.recipe`), else 0.
        course: In how many places of its length the numbers of each feature join the embedding
            (`seqembed.trainer.course`); None is chosen from the data where views are compared, by whether sequences run
            alike, else 0, which is none.
        bidirectional: Whether the encoder also reads each sequence backwards.
        activation: Of the recurrent layers, ``tanh`` or ``relu``.
        pooling: From steps to one vector: ``last`` state, ``mean`` or ``max`` over valid steps, or all three.
        embedding_dim: Width of the embedding, by a dense layer; None leaves it as wide as the pooling makes it.
        objective: ``contrast`` (two altered views of a sequence are told from other sequences), ``reconstruct``, or
            ``hybrid``, which is both; None is hybrid, but reconstruct where the task predicts or the loss is
            ``binary_crossentropy`` (and, by `TrainJob.of_events`, where steps are events).
        decoder: How an embedding becomes steps again; ``reshape`` and ``dense`` write one fixed length. None is
            ``repeat`` for the objective reconstruct, else ``positional``.
        decoder_units: Units of each layer of the decoder, and of the layer that predicts the next step; None is 128 for
            the positional decoder, else as many as the encoder's, 64 at least.
        decoder_layers: Layers of the decoder: recurrent ones, but dense ones of the positional decoder; None is 1.
        reverse_target: Autoregressive only: the decoder writes the newest step first.
        task: ``reconstruct`` the sequence, ``predict`` the step after a prefix, or both on one embedding.
        loss: Compares target and output a value, in standardised units (``binary_crossentropy``: raw 0 and 1).

    Raises:
        UsageError: A value is outside its range, or options contradict each other.
    """

    cell: str = "lstm"
    units: int | None = None
    layers: int = 1
    reads: str | None = None
    scaling: str | None = None
    frame: int | None = None
    overlap: int | None = None
    course: int | None = None
    bidirectional: bool = True
    activation: str = "tanh"
    pooling: str = "concat"
    embedding_dim: int | None = None
    objective: str | None = None
    decoder: str | None = None
    decoder_units: int | None = None
    decoder_layers: int | None = None
    reverse_target: bool = False
    task: str = "reconstruct"
    loss: str = "mse"

    def __post_init__(self) -> None:
        decoder = self.decoder
        if self.objective is None:
            # Zeros and ones, and a task that predicts, ask for a decoder that gets them right.
            exact = self.task != "reconstruct" or self.loss == "binary_crossentropy"
            object.__setattr__(self, "objective", "reconstruct" if exact else "hybrid")
        _one_of("objective", str(self.objective), OBJECTIVES)
        if decoder is None:
            object.__setattr__(self, "decoder", _DECODER_OF[str(self.objective)])
        _one_of("cell", self.cell, CELLS)
        if self.scaling is None:
            object.__setattr__(self, "scaling", "sequence" if self.contrasts else "data")
        _one_of("scaling", str(self.scaling), SCALINGS)
        if self.course is None and not self.contrasts:
            object.__setattr__(self, "course", 0)
        if self.overlap is None and not self.contrasts:
            object.__setattr__(self, "overlap", 0)
        for option, value in (("course", self.course), ("overlap", self.overlap)):
            if value is not None:
                _at_least(option, value, 0)
        if (self.overlap or 0) > MAX_OVERLAP:
            raise UsageError(
                f"--overlap may be {MAX_OVERLAP} steps at most; was {self.overlap:,}. To read more steps as one, give "
                "a longer --frame."
            )
        if self.reads is None and not self.contrasts:
            object.__setattr__(self, "reads", "values")
        if self.reads is not None:
            _one_of("reads", self.reads, READS)
            if self.units is None:
                object.__setattr__(self, "units", UNITS_OF[self.reads])
        self._refuse_decoder_sizes()
        if self.decoder_units is None and self.units is not None and self.objective != "contrast":
            wanted = POSITIONAL_UNITS if self.decoder == "positional" else max(LEAST_DECODER_UNITS, self.units)
            object.__setattr__(self, "decoder_units", wanted)
        if self.decoder_layers is None and self.reconstructs:
            object.__setattr__(self, "decoder_layers", 1)
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("pooling", self.pooling, POOLINGS)
        _one_of("decoder", str(self.decoder), DECODERS)
        _one_of("task", self.task, TASKS)
        _one_of("loss", self.loss, LOSSES)
        _at_least("layers", self.layers, 1)
        for option in ("embedding-dim", "frame", "units", "decoder-units", "decoder-layers"):
            value = getattr(self, option.replace("-", "_"))
            if value is not None:
                _at_least(option, value, 1)
        self._refuse_contradictions(decoder)

    def _refuse_decoder_sizes(self) -> None:
        if self.decoder_units is not None and self.objective == "contrast":
            raise UsageError(
                "--decoder-units has no part in --objective contrast, which decodes nothing. Drop it, or choose "
                "--objective hybrid."
            )
        if self.decoder_layers is not None and not self.reconstructs:
            what, instead = (
                ("--objective contrast", "--objective hybrid")
                if self.objective == "contrast"
                else ("--task predict", "--task composite")
            )
            raise UsageError(
                f"--decoder-layers has no part in {what}, which decodes nothing. Drop it, or choose {instead}."
            )

    def _refuse_contradictions(self, decoder: str | None) -> None:
        if self.objective != "reconstruct" and self.task != "reconstruct":
            raise UsageError(
                f"--task {self.task} belongs to --objective reconstruct; the objective was {self.objective!r}. "
                "Drop one."
            )
        if self.reverse_target and self.decoder != "autoregressive":
            raise UsageError(
                f"--reverse-target works with --decoder autoregressive alone; the decoder was {self.decoder!r}."
            )
        if not self.reconstructs and decoder not in (None, _DECODER_OF[str(self.objective)]):
            what = "--objective contrast" if self.objective == "contrast" else "--task predict"
            raise UsageError(
                f"--decoder {decoder} has no part in {what}, which decodes nothing. Drop it, or choose "
                + ("--objective hybrid." if self.objective == "contrast" else "--task composite.")
            )

    @property
    def course_frame(self) -> int:
        """Steps that are told as one in a course: half a frame, for places count there, and cost little."""
        return max(1, (self.frame or 1) // 2)

    @property
    def contrasts(self) -> bool:
        """Whether training compares two views of each sequence."""
        return self.objective != "reconstruct"

    @property
    def reconstructs(self) -> bool:
        """Whether there is a decoder."""
        return self.objective == "hybrid" or (self.objective == "reconstruct" and self.task != "predict")

    @property
    def heads(self) -> tuple[str, ...]:
        """What the losses see: some of ``contrast``, ``reconstruction`` and ``prediction``."""
        wanted = {
            "contrast": self.contrasts,
            "reconstruction": self.reconstructs,
            "prediction": self.task in ("predict", "composite"),
        }
        return tuple(head for head, present in wanted.items() if present)

    @property
    def min_length(self) -> int:
        """Steps a sequence needs to teach anything: predicting takes one step to see and one to predict."""
        return 2 if self.task == "predict" else 1


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the weights are found.

    Attributes:
        epochs: Most passes over the training sequences; 0 writes an untrained model. None trains for `steps`.
        steps: Batches to learn from, instead of `epochs`.
        batch_size: Most sequences in a batch.
        learning_rate: Peak of Adam's learning rate, which rises shortly and falls to 0 in the end: by a cosine where
            views are compared, else after half of all batches.
        patience: Batches without a better validation loss before training stops.
        validation_fraction: Share of the ids held out for validation, by a hash of the id.
        clip_norm: Largest norm of a step's gradient over all weights; 0 leaves it alone.
        seed: Of initial weights, order of batches and places of cuts.

    None stands for what `seqembed.trainer.recipe` chooses from the data.

    Raises:
        UsageError: A value is outside its range, or options contradict each other.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    validation_fraction: float | None = None
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, least in (
            ("epochs", self.epochs, 0),
            ("steps", self.steps, 1),
            ("batch-size", self.batch_size, 1),
            ("patience", self.patience, 1),
            ("seed", self.seed, 0),
        ):
            if value is not None:
                _at_least(option, value, least)
        if self.epochs is not None and self.steps is not None:
            raise UsageError("--epochs and --steps both say when training ends. Give one of them.")
        if self.learning_rate is not None and not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"--learning-rate must be a positive number; was {self.learning_rate}.")
        if self.validation_fraction is not None and not 0 <= self.validation_fraction < 1:
            raise UsageError(f"--validation-fraction must be at least 0 and below 1; was {self.validation_fraction}.")
        if not (self.clip_norm >= 0 and math.isfinite(self.clip_norm)):
            raise UsageError(f"--clip-norm must be 0 or a positive number; was {self.clip_norm}.")


@dataclass(frozen=True, slots=True)
class TrainJob:
    """All that decides what a training makes.

    Attributes:
        data: Which sequences to learn from.
        model: The architecture and what it is trained to do.
        training: How the weights are found.
        left_open: Names of the model's options that nobody gave, and the data may yet decide.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    left_open: frozenset[str] = field(default=frozenset(), compare=False)

    def of_events(self) -> Self:
        """Return the job for steps that are events, where nothing else was asked for: to reconstruct them.

        What makes a view of events tell itself from others, such as favourite categories, needs no order and no gaps;
        to write the events one after the other needs both.
        """
        if "objective" not in self.left_open or not self.model.contrasts:
            return self
        model = self.model
        open_again: dict[str, Any] = dict.fromkeys(
            self.left_open & {"decoder", "decoder_units", "reads", "course", "overlap"}
        )
        return replace(self, model=replace(model, objective="reconstruct", **open_again))

    def to_options(self) -> dict[str, Any]:
        """Return flat option names with their values: what ``config.toml`` holds; options that are unset are left out.

        ``inputs`` stays as given, so that a run is repeated from the directory it was started in, but for credentials.
        """
        options = {**asdict(self.data), **asdict(self.model), **asdict(self.training)}
        options["inputs"] = tuple(map(without_secrets, self.data.inputs))
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {name: value for name, value in plain.items() if value is not None}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from flat option names; those that are missing take their default.

        Raises:
            UsageError: A value is outside its range, or options contradict each other.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
        parts = (DataConfig, ModelConfig, TrainingConfig)
        chosen: list[dict[str, Any]] = [
            {f.name: values[f.name] for f in fields(part) if f.name in values} for part in parts
        ]
        left_open = frozenset(f.name for f in fields(ModelConfig) if values.get(f.name) is None)
        return cls(DataConfig(**chosen[0]), ModelConfig(**chosen[1]), TrainingConfig(**chosen[2]), left_open)
