"""How the network is optimised, as given; click reads the defaults from here."""

import math
from dataclasses import dataclass

from seqembed.data.errors import UsageError
from seqembed.trainer.config.checks import at_least


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
                at_least(option, value, minimum)
        if self.epochs is not None and self.steps is not None:
            raise UsageError("--epochs and --steps both say when training ends. Pass only one of them.")
        if self.learning_rate is not None and not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"--learning-rate must be a positive number; was {self.learning_rate}.")
        if self.validation_fraction is not None and not 0 <= self.validation_fraction < 1:
            raise UsageError(f"--validation-fraction must be at least 0 and below 1; was {self.validation_fraction}.")
        if not (self.clip_norm >= 0 and math.isfinite(self.clip_norm)):
            raise UsageError(f"--clip-norm must be 0 or a positive number; was {self.clip_norm}.")
