"""The options in force: every value is set, so that nothing that builds or trains a network has to choose.

`seqembed.trainer.config.automatic.resolve` makes them from the given options and from what the data showed.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.job import as_toml
from seqembed.trainer.config.model import DECODER_OF, ModelConfig

# Two branches of 48 units cost as much as one of 64.
_UNITS_OF = {"values": 64, "differences": 64, "both": 48}
_UNITS_BESIDE_KERNELS = 32  # fixed kernels already read the shapes of numbers
# A decoder of two units cannot reconstruct from an embedding of two numbers: it also has to count steps and remember.
_MIN_DECODER_UNITS, _POSITIONAL_UNITS = 64, 128
_ABSENT = ("embedding_dim", "decoder_units", "decoder_layers")  # options for which 0 means that the network lacks it


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The architecture and its training objective; the fields of `ModelConfig`, all of them set.

    In three fields, 0 means that the network has no such layer: ``embedding_dim`` (the embedding has the width of its
    blocks), ``decoder_units`` and ``decoder_layers``.
    """

    cell: str
    units: int
    layers: int
    channels: str
    normalization: str
    frame: int
    overlap: int
    trajectory: int
    kernels: int
    pairs: int
    bidirectional: bool
    activation: str
    pooling: str
    embedding_dim: int
    objective: str
    decoder: str
    decoder_units: int
    decoder_layers: int
    reverse_target: bool
    task: str
    loss: str

    @property
    def trajectory_frame(self) -> int:
        """Steps per frame of the trajectory."""
        return trajectory_frame(self.frame)

    @property
    def contrasts(self) -> bool:
        """Whether training compares two views of each sequence."""
        return self.objective != "reconstruct"

    @property
    def projects(self) -> bool:
        """Whether all blocks of the embedding are projected to one width after training.

        A textbook's autoencoder, which reconstructs sequences as they are, is left as it is trained.
        """
        return self.contrasts or self.normalization == "sequence"

    @property
    def mixes(self) -> bool:
        """Whether a trained dense layer brings the embedding to its width."""
        return self.embedding_dim > 0 and not self.projects

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

    def to_options(self) -> dict[str, Any]:
        """Return option names with their values, without layers that the network lacks."""
        return {name: value for name, value in asdict(self).items() if value or name not in _ABSENT}


@dataclass(frozen=True, slots=True)
class ResolvedTraining:
    """How the network is optimised.

    Attributes:
        measured_in: Unit of the training's length: ``epochs`` (passes over the data) or ``steps`` (batches).
        length: Maximum number of them; 0 epochs write an untrained model.
        batch_size: Maximum sequences per batch.
        learning_rate: Peak learning rate of Adam.
        patience: Batches without improvement of the monitored loss before training stops; 0 is never.
        validation_fraction: Share of the ids held out.
        clip_norm: Maximum global norm of the gradient; 0 turns clipping off.
        seed: Seed of all random choices.
    """

    measured_in: Literal["epochs", "steps"]
    length: int
    batch_size: int
    learning_rate: float
    patience: int
    validation_fraction: float
    clip_norm: float
    seed: int

    @property
    def in_steps(self) -> bool:
        """Whether the length is a number of batches."""
        return self.measured_in == "steps"

    def num_steps(self, num_training: int) -> int:
        """Return the maximum number of training batches, of `num_training` sequences."""
        return self.length if self.in_steps else self.length * -(-num_training // self.batch_size)

    def to_options(self) -> dict[str, Any]:
        """Return option names with their values; a training without patience has none."""
        rest = {name: value for name, value in asdict(self).items() if name not in ("measured_in", "length")}
        return {self.measured_in: self.length, **rest, "patience": self.patience or None}


@dataclass(frozen=True, slots=True)
class ResolvedJob:
    """Everything that determines the result of a training.

    Attributes:
        data: Which sequences to learn from.
        model: The architecture and its training objective.
        training: How the network is optimised.
    """

    data: DataConfig
    model: ResolvedModel
    training: ResolvedTraining

    def to_options(self) -> dict[str, Any]:
        """Return option names with their values, from which `TrainJob.from_options` repeats the training."""
        return as_toml(self.data, self.model.to_options(), self.training.to_options())


def trajectory_frame(frame: int) -> int:
    """Return the steps per frame of the trajectory: half of `frame`, since position matters there and costs little."""
    return max(1, frame // 2)


def resolve_model(
    given: ModelConfig,
    *,
    events: bool,
    channels: str,
    frame: int,
    overlap: int,
    trajectory: int,
    kernels: int,
    pairs: int,
) -> ResolvedModel:
    """Return the model with every option set.

    Args:
        given: Options as given.
        events: Whether steps are events.
        channels: Input channels, unless given.
        frame: Steps per frame, unless given.
        overlap: Following steps of each frame, unless given.
        trajectory: Points of the trajectory, unless given.
        kernels: Number of fixed kernels, unless given.
        pairs: Numbers about consecutive steps, unless given.
    """
    found = {"channels": channels, "frame": frame, "overlap": overlap, "trajectory": trajectory}
    found |= {"kernels": kernels, "pairs": pairs}
    chosen: dict[str, Any] = asdict(given)
    chosen |= {name: value for name, value in found.items() if chosen[name] is None}
    objective = given.objective_for(events=events)
    beside_kernels = chosen["kernels"] > 0 and objective != "reconstruct" and not events
    units = given.units or (_UNITS_BESIDE_KERNELS if beside_kernels else _UNITS_OF[chosen["channels"]])
    decoder = given.decoder or DECODER_OF[objective]
    decoder_units = _POSITIONAL_UNITS if decoder == "positional" else max(_MIN_DECODER_UNITS, units)
    has_decoder = objective != "contrast" and given.task != "predict"
    by_sequence = given.objective_for(events=False) != "reconstruct"
    chosen |= {
        "objective": objective,
        "units": units,
        "normalization": given.normalization or ("sequence" if by_sequence else "dataset"),
        "embedding_dim": given.embedding_dim or 0,
        "decoder": decoder,
        "decoder_units": given.decoder_units or (0 if objective == "contrast" else decoder_units),
        "decoder_layers": given.decoder_layers or int(has_decoder),
    }
    return ResolvedModel(**chosen)
