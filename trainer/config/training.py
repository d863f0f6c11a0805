"""All training options with their defaults and ranges; click reads the defaults from here.

The classes validate themselves, so an existing instance is valid. ``TrainJob.to_options`` and ``from_options`` convert
to and from flat names: the names of the command's options and the keys of ``config.toml``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from seqembed.data.errors import UsageError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.sequences import TRUNCATES, LengthPolicy, Truncate
from seqembed.trainer.input.learn import DEFAULT_MAX_VOCABULARY, DEFAULT_MIN_COUNT, MAX_VOCABULARY

CELLS = ("lstm", "gru")
CHANNELS = ("values", "differences", "both")
NORMALIZATIONS = ("sequence", "dataset")
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

# The default decoder of each objective.
_DECODER_OF = {"hybrid": "positional", "reconstruct": "repeat", "contrast": "positional"}
# More is a typing error: the recurrent weights of an LSTM of 8,192 units alone take 1 GB.
MAX_UNITS, MAX_LAYERS = 8_192, 64
_MAX_SIZES = {
    "layers": MAX_LAYERS,
    "embedding-dim": None,
    "frame": None,
    "units": MAX_UNITS,
    "decoder-units": MAX_UNITS,
    "decoder-layers": MAX_LAYERS,
}
# A decoder of two units cannot reconstruct from an embedding of two numbers: it also has to count steps and remember.
MIN_DECODER_UNITS = 64
POSITIONAL_UNITS = 128
# The graph has a slice for every frame that an overlap reaches into; measured: 256 of them take 15 s to export.
MAX_OVERLAP = 512


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{option} must be one of {', '.join(choices)}; was {value!r}.")


def _at_least(option: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise UsageError(f"--{option} must be at least {minimum}; was {value}.")


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
    truncate: Truncate = "tail"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no INPUT given. Name a Parquet file, a directory or a glob.")
        _one_of("layout", self.layout, LAYOUT_CHOICES)
        _one_of("truncate", self.truncate, TRUNCATES)
        _at_least("min-count", self.min_count, 1)
        _at_least("max-vocabulary", self.max_vocabulary, 1)
        if self.max_vocabulary > MAX_VOCABULARY:
            raise UsageError(f"--max-vocabulary must be at most {MAX_VOCABULARY:,}; was {self.max_vocabulary:,}.")
        if not self.time_features and self.time is None:
            raise UsageError("--no-time-features has no effect without --time. Pass --time too, or neither.")
        if self.max_length is not None:
            _at_least("max-length", self.max_length, 1)
        elif self.truncate != "tail":
            raise UsageError(f"--truncate {self.truncate} has no effect without --max-length. Pass --max-length too.")

    @property
    def length_policy(self) -> LengthPolicy:
        """How long sequences are truncated."""
        return LengthPolicy(self.max_length, self.truncate)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The architecture and its training objective.

    Attributes:
        cell: Recurrent cell, ``lstm`` or ``gru``.
        units: Units of each recurrent layer and direction; None is 64, or 48 in each branch with both input channels.
        layers: Recurrent layers of the encoder.
        channels: Input channels of the recurrent layers: the ``values``, their ``differences`` from step to step, or
            ``both``, with separate layers. None is chosen from the data for contrastive objectives, else
            ``values``.
        normalization: Standardise values with the statistics of the ``dataset`` alone, or each ``sequence`` also by its
            own mean and spread, which then join the embedding. None is ``sequence`` for contrastive objectives, else
            ``dataset``.
        frame: Consecutive steps that are concatenated into one input step; None is chosen from the lengths
            (`seqembed.trainer.config.automatic`).
        overlap: Following steps that each frame also holds; None is chosen for contrastive objectives
            (`seqembed.trainer.config.automatic`), else 0.
        trajectory: Resample each feature at this many points and append them to the embedding
            (`seqembed.trainer.model.trajectory`); 0 is off. None is chosen from the data for contrastive objectives, by
            whether sequences are aligned, else 0.
        bidirectional: Whether the encoder also reads each sequence backwards.
        activation: Activation of the recurrent layers, ``tanh`` or ``relu``.
        pooling: From steps to one vector: ``last`` state, ``mean`` or ``max`` over valid steps, or ``concat``, all
            three.
        embedding_dim: Width of the embedding, by a dense layer; None keeps the width of the pooling.
        objective: ``contrast`` (distinguish two augmented views of a sequence from views of other sequences),
            ``reconstruct``, or ``hybrid``, which is both. None is hybrid, but reconstruct if the task predicts, the
            loss is ``binary_crossentropy``, or (see `TrainJob.for_events`) the steps are events.
        decoder: How the embedding is decoded into steps; ``reshape`` and ``dense`` write one fixed length. None is
            ``repeat`` for the objective reconstruct, else ``positional``.
        decoder_units: Units of each layer of the decoder, and of the layer that predicts the next step. None is 128 for
            the positional decoder, else as many as the encoder has, but at least 64.
        decoder_layers: Layers of the decoder, recurrent or, in the positional decoder, dense; None is 1.
        reverse_target: Autoregressive only: the decoder writes the newest step first.
        task: ``reconstruct`` the sequence, ``predict`` the step after a prefix, or ``composite``, both.
        loss: Loss per value, in standardised units (``binary_crossentropy``: raw 0 and 1).

    Raises:
        UsageError: A value is outside its range, or options contradict each other.
    """

    cell: str = "lstm"
    units: int | None = None
    layers: int = 1
    channels: str | None = None
    normalization: str | None = None
    frame: int | None = None
    overlap: int | None = None
    trajectory: int | None = None
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
            # For zeros and ones, and for predictions, the decoder's output matters more than the comparison of views.
            exact = self.task != "reconstruct" or self.loss == "binary_crossentropy"
            object.__setattr__(self, "objective", "reconstruct" if exact else "hybrid")
        _one_of("objective", str(self.objective), OBJECTIVES)
        if decoder is None:
            object.__setattr__(self, "decoder", _DECODER_OF[str(self.objective)])
        _one_of("cell", self.cell, CELLS)
        if self.normalization is None:
            object.__setattr__(self, "normalization", "sequence" if self.contrasts else "dataset")
        _one_of("normalization", str(self.normalization), NORMALIZATIONS)
        if self.trajectory is None and not self.contrasts:
            object.__setattr__(self, "trajectory", 0)
        if self.overlap is None and not self.contrasts:
            object.__setattr__(self, "overlap", 0)
        for option, value in (("trajectory", self.trajectory), ("overlap", self.overlap)):
            if value is not None:
                _at_least(option, value, 0)
        if (self.overlap or 0) > MAX_OVERLAP:
            raise UsageError(
                f"--overlap must be at most {MAX_OVERLAP} steps; was {self.overlap:,}. To combine more steps, pass a "
                "longer --frame."
            )
        if self.channels is None and not self.contrasts:
            object.__setattr__(self, "channels", "values")
        if self.channels is not None:
            _one_of("channels", self.channels, CHANNELS)
            if self.units is None:
                object.__setattr__(self, "units", UNITS_OF[self.channels])
        self._refuse_decoder_sizes()
        if self.decoder_units is None and self.units is not None and self.objective != "contrast":
            wanted = POSITIONAL_UNITS if self.decoder == "positional" else max(MIN_DECODER_UNITS, self.units)
            object.__setattr__(self, "decoder_units", wanted)
        if self.decoder_layers is None and self.reconstructs:
            object.__setattr__(self, "decoder_layers", 1)
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("pooling", self.pooling, POOLINGS)
        _one_of("decoder", str(self.decoder), DECODERS)
        _one_of("task", self.task, TASKS)
        _one_of("loss", self.loss, LOSSES)
        for option, maximum in _MAX_SIZES.items():
            value = getattr(self, option.replace("-", "_"))
            if value is not None:
                _at_least(option, value, 1)
                if maximum is not None and value > maximum:
                    raise UsageError(f"--{option} may be {maximum:,} at most; was {value:,}.")
        self._refuse_contradictions(decoder)

    def _refuse_decoder_sizes(self) -> None:
        if self.decoder_units is not None and self.objective == "contrast":
            raise UsageError(
                "--decoder-units has no effect with --objective contrast, which has no decoder. Drop it, or pass "
                "--objective hybrid."
            )
        if self.decoder_layers is not None and not self.reconstructs:
            what, instead = (
                ("--objective contrast", "--objective hybrid")
                if self.objective == "contrast"
                else ("--task predict", "--task composite")
            )
            raise UsageError(
                f"--decoder-layers has no effect with {what}, which has no decoder. Drop it, or pass {instead}."
            )

    def _refuse_contradictions(self, decoder: str | None) -> None:
        if self.objective != "reconstruct" and self.task != "reconstruct":
            raise UsageError(
                f"--task {self.task} belongs to --objective reconstruct; the objective was {self.objective!r}. "
                "Drop one."
            )
        if self.reverse_target and self.decoder != "autoregressive":
            raise UsageError(
                f"--reverse-target works only with --decoder autoregressive; the decoder was {self.decoder!r}. "
                "Drop it, or pass --decoder autoregressive."
            )
        if not self.reconstructs and decoder not in (None, _DECODER_OF[str(self.objective)]):
            what = "--objective contrast" if self.objective == "contrast" else "--task predict"
            raise UsageError(
                f"--decoder {decoder} has no effect with {what}, which has no decoder. Drop it, or pass "
                + ("--objective hybrid." if self.objective == "contrast" else "--task composite.")
            )

    @property
    def trajectory_frame(self) -> int:
        """Steps per frame of the trajectory: half of `frame`, since position in time matters there and costs little."""
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
        """Outputs that have a loss: some of ``contrast``, ``reconstruction`` and ``prediction``."""
        wanted = {
            "contrast": self.contrasts,
            "reconstruction": self.reconstructs,
            "prediction": self.task in ("predict", "composite"),
        }
        return tuple(head for head, present in wanted.items() if present)

    @property
    def min_length(self) -> int:
        """Minimum steps of a training sequence: prediction needs one step to see and one to predict."""
        return 2 if self.task == "predict" else 1


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the network is optimised.

    Attributes:
        epochs: Maximum passes over the training sequences; 0 writes an untrained model. None trains for `steps`.
        steps: Number of training batches, instead of `epochs`.
        batch_size: Maximum sequences per batch.
        learning_rate: Peak learning rate of Adam. For contrastive objectives it warms up and falls to 0 by a cosine;
            for reconstructions of numbers it drops in the second half of all batches; for events it is constant.
        patience: Batches without improvement of the monitored loss before training stops.
        validation_fraction: Share of the ids held out for validation, by a hash of the id.
        clip_norm: Maximum global norm of the gradient; 0 turns clipping off.
        seed: Seed of initial weights, of the order of batches, and of where sequences are cut.

    None is chosen from the data by `seqembed.trainer.config.automatic`.

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
        for option, value, minimum in (
            ("epochs", self.epochs, 0),
            ("steps", self.steps, 1),
            ("batch-size", self.batch_size, 1),
            ("patience", self.patience, 1),
            ("seed", self.seed, 0),
        ):
            if value is not None:
                _at_least(option, value, minimum)
        if self.epochs is not None and self.steps is not None:
            raise UsageError("--epochs and --steps both say when training ends. Pass only one of them.")
        if self.learning_rate is not None and not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"--learning-rate must be a positive number; was {self.learning_rate}.")
        if self.validation_fraction is not None and not 0 <= self.validation_fraction < 1:
            raise UsageError(f"--validation-fraction must be at least 0 and below 1; was {self.validation_fraction}.")
        if not (self.clip_norm >= 0 and math.isfinite(self.clip_norm)):
            raise UsageError(f"--clip-norm must be 0 or a positive number; was {self.clip_norm}.")


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Everything that determines the result of a training.

    Attributes:
        data: Which sequences to learn from.
        model: The architecture and its training objective.
        training: How the network is optimised.
        unset: Names of the model's options that were not given, which may be chosen from the data.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    unset: frozenset[str] = field(default=frozenset(), compare=False)

    def for_events(self) -> Self:
        """Return the job for steps that are events: reconstruct them, unless an objective was given.

        Views of events can be distinguished without their order and gaps, for example by favourite categories; a
        reconstruction needs both.
        """
        if "objective" not in self.unset or not self.model.contrasts:
            return self
        model = self.model
        reset: dict[str, Any] = dict.fromkeys(
            self.unset & {"decoder", "decoder_units", "channels", "trajectory", "overlap"}
        )
        return replace(self, model=replace(model, objective="reconstruct", **reset))

    def to_options(self) -> dict[str, Any]:
        """Return option names with their values, as ``config.toml`` holds them, without unset options.

        ``inputs`` stays as given, without credentials, so a run can be repeated from the directory it was started in.
        """
        options = {**asdict(self.data), **asdict(self.model), **asdict(self.training)}
        options["inputs"] = tuple(map(without_secrets, self.data.inputs))
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {name: value for name, value in plain.items() if value is not None}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from option names; missing ones take their default.

        Raises:
            UsageError: A value is outside its range, or options contradict each other.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
        sections = (DataConfig, ModelConfig, TrainingConfig)
        chosen: list[dict[str, Any]] = [
            {f.name: values[f.name] for f in fields(section) if f.name in values} for section in sections
        ]
        unset = frozenset(f.name for f in fields(ModelConfig) if values.get(f.name) is None)
        return cls(DataConfig(**chosen[0]), ModelConfig(**chosen[1]), TrainingConfig(**chosen[2]), unset)
