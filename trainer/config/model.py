"""The architecture and its training objective, as given; click reads the defaults from here.

None means that an option is unset: `seqembed.trainer.config.automatic.resolve` chooses its value from the data.
"""

from dataclasses import dataclass

from seqembed.data.errors import UsageError
from seqembed.data.keyword_types import ChosenInt
from seqembed.trainer.config.checks import at_least, one_of

CELLS = ("lstm", "gru")
CHANNELS = ("values", "differences", "both")
NORMALIZATIONS = ("sequence", "dataset")
ACTIVATIONS = ("tanh", "relu")
POOLINGS = ("last", "mean", "max", "concat")
OBJECTIVES = ("hybrid", "reconstruct", "contrast")
DECODERS = ("positional", "repeat", "reshape", "dense", "autoregressive")
FIXED_LENGTH_DECODERS = ("reshape", "dense")
TASKS = ("reconstruct", "predict", "composite")
LOSSES = ("mse", "mae", "huber", "binary_crossentropy")

# The default decoder of each objective.
DECODER_OF = {"hybrid": "positional", "reconstruct": "repeat", "contrast": "positional"}
# More is a typing error: the recurrent weights of an LSTM of 8,192 units alone take 1 GB.
MAX_UNITS, MAX_LAYERS = 8_192, 64
# The graph has a slice for every frame that an overlap reaches into; measured: 256 of them take 15 s to export.
MAX_OVERLAP = 512
# Ten thousand are as many as MiniRocket has.
MAX_KERNELS = 10_000
MAX_PAIRS = 10_000
_CHOICES = {
    "objective": OBJECTIVES,
    "cell": CELLS,
    "normalization": NORMALIZATIONS,
    "channels": CHANNELS,
    "activation": ACTIVATIONS,
    "pooling": POOLINGS,
    "decoder": DECODERS,
    "task": TASKS,
    "loss": LOSSES,
}
_MINIMA = {
    "trajectory": 0,
    "kernels": 0,
    "pairs": 0,
    "overlap": 0,
    "layers": 1,
    "embedding-dim": 1,
    "frame": 1,
    "units": 1,
    "decoder-units": 1,
    "decoder-layers": 1,
}
_MAXIMA = {
    "layers": MAX_LAYERS,
    "units": MAX_UNITS,
    "decoder-units": MAX_UNITS,
    "decoder-layers": MAX_LAYERS,
    "kernels": MAX_KERNELS,
    "pairs": MAX_PAIRS,
}


def min_length(task: str) -> int:
    """Return the minimum steps of a training sequence: prediction needs one step to see and one to predict."""
    return 2 if task == "predict" else 1


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The architecture and its training objective.

    Attributes:
        cell: Recurrent cell, ``lstm`` or ``gru``.
        units: Units of each recurrent layer and direction; None is 32 beside fixed kernels, else 64,
            or 48 in each branch with both input channels.
        layers: Recurrent layers of the encoder.
        channels: Input channels of the recurrent layers: the ``values``, their ``differences`` from step to step, or
            ``both``, with separate layers. None is chosen from the data for contrastive objectives, else
            ``values``.
        normalization: Standardise values with the statistics of the ``dataset`` alone, or each ``sequence`` also by its
            own mean and spread, which then join the embedding. None is ``sequence`` for contrastive objectives, and
            where events alone are the reason to reconstruct, else ``dataset``.
        frame: Consecutive steps that are concatenated into one input step; None is chosen from the lengths
            (`seqembed.trainer.config.automatic`).
        overlap: Following steps that each frame also holds; None is chosen for contrastive objectives
            (`seqembed.trainer.config.automatic`), else 0.
        trajectory: Resample each feature at this many points and append them to the embedding
            (`seqembed.trainer.model.trajectory`); 0 is off. None is chosen from the data for contrastive objectives, by
            whether sequences are aligned, else 0.
        kernels: Append to the embedding how often each of this many fixed kernels responds
            (`seqembed.trainer.model.kernels`); 0 is off. None is 84 per dilation for contrastive objectives, else 0.
        pairs: Append to the embedding at most this many numbers about consecutive steps
            (`seqembed.trainer.model.pairs`); 0 is off. None is 128 for events, else 0, as with the objective
            ``reconstruct`` if it is given.
        bidirectional: Whether the encoder also reads each sequence backwards.
        activation: Activation of the recurrent layers, ``tanh`` or ``relu``.
        pooling: From steps to one vector: ``last`` state, ``mean`` or ``max`` over valid steps, or ``concat``, all
            three.
        embedding_dim: Width of the embedding: of a projection that is fitted after training, where None is 128, or
            fewer if there is less to keep. With the objective ``reconstruct`` and the normalization ``dataset`` it is
            that of a dense layer that is trained, and None keeps the width of the pooling.
        objective: ``contrast`` (distinguish two augmented views of a sequence from views of other sequences),
            ``reconstruct``, or ``hybrid``, which is both. None is as in `objective_for`.
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
    frame: ChosenInt = None
    overlap: ChosenInt = None
    trajectory: ChosenInt = None
    kernels: ChosenInt = None
    pairs: ChosenInt = None
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
        for option, choices in _CHOICES.items():
            value = getattr(self, option)
            if value is not None:
                one_of(option, value, choices)
        for option, minimum in _MINIMA.items():
            value = getattr(self, option.replace("-", "_"))
            if value is not None:
                at_least(option, value, minimum)
                if value > _MAXIMA.get(option, value):
                    raise UsageError(f"--{option} may be {_MAXIMA[option]:,} at most; was {value:,}.")
        if (self.overlap or 0) > MAX_OVERLAP:
            raise UsageError(
                f"--overlap must be at most {MAX_OVERLAP} steps; was {self.overlap:,}. To combine more steps, pass a "
                "longer --frame."
            )
        self._refuse_contradictions()
        self._refuse_unused_decoder()

    def _refuse_contradictions(self) -> None:
        if self.objective not in (None, "reconstruct") and self.task != "reconstruct":
            raise UsageError(
                f"--task {self.task} belongs to --objective reconstruct; the objective was {self.objective!r}. "
                "Drop one."
            )
        if self.reverse_target and self.decoder != "autoregressive":
            given = "none was given" if self.decoder is None else f"the decoder was {self.decoder!r}"
            raise UsageError(
                f"--reverse-target works only with --decoder autoregressive; {given}. Drop it, or pass "
                "--decoder autoregressive."
            )

    def _refuse_unused_decoder(self) -> None:
        contrast, predict = self.objective == "contrast", self.task == "predict"
        what, instead = (
            ("--objective contrast", "--objective hybrid") if contrast else ("--task predict", "--task composite")
        )
        unused: dict[str, object] = {"--decoder-units": self.decoder_units} if contrast else {}
        if contrast or predict:
            unused |= {"--decoder-layers": self.decoder_layers}
            if self.decoder != DECODER_OF["contrast" if contrast else "reconstruct"]:  # config.toml names the default
                unused |= {f"--decoder {self.decoder}": self.decoder}
        for option, value in unused.items():
            if value is not None:
                raise UsageError(
                    f"{option} has no effect with {what}, which has no decoder. Drop it, or pass {instead}."
                )

    def objective_for(self, *, events: bool) -> str:
        """Return the objective: the given one, else hybrid, or reconstruct where that suits the task better.

        For zeros and ones, and for predictions, the decoder's output matters more than the comparison of views. Views
        of events can be distinguished without their order and gaps, for example by favourite categories; a
        reconstruction needs both.

        Args:
            events: Whether steps are events, with categories or times, rather than measurements alone.
        """
        exact = self.task != "reconstruct" or self.loss == "binary_crossentropy"
        return self.objective or ("reconstruct" if exact or events else "hybrid")
