"""The compiled steps of training and evaluation, for any batch size and any number of steps.

Measured on two cores (bidirectional LSTM-64, repeat decoder): jit_compile gives nothing and costs four seconds for
every new shape, so it stays off; deterministic operations cost nothing, so they are on.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.profile import SequenceProfile
from trainer.backend import keras, tf
from trainer.config import TrainingConfig
from trainer.losses import Batch, Objective
from trainer.network import Network


def seed_everything(seed: int) -> None:
    """Make initial weights and every operation repeatable on this machine."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def signature(num_features: int) -> Batch:
    """Return the shapes and types of a `Batch` with batch and time left open."""
    return Batch(
        tf.TensorSpec((None, None, num_features), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None, num_features), tf.float32),
    )


class Steps:
    """The network's training step and its evaluation.

    Attributes:
        optimizer: Adam over the network's variables.
    """

    def __init__(
        self, network: Network, objective: Objective, config: TrainingConfig, profile: SequenceProfile
    ) -> None:
        self._objective = objective
        variables = network.scorer.trainable_variables
        clip_norm = config.clip_norm or None
        self.optimizer = keras.optimizers.Adam(config.learning_rate, global_clipnorm=clip_norm)
        self.optimizer.build(variables)
        shapes = signature(len(profile.mean))

        def learn(values: Any, lengths: Any, next_step: Any) -> Any:
            batch = Batch(values, lengths, next_step)
            with tf.GradientTape() as tape:
                scores = network.scorer({"values": values, "lengths": lengths}, training=True)
                sums = objective.sums(batch, scores)
                loss = tf.reduce_sum(tf.math.divide_no_nan(sums[:, 0], sums[:, 1]))
            gradients = tape.gradient(loss, variables)
            self.optimizer.apply(gradients, variables)
            return sums

        def score(values: Any, lengths: Any, next_step: Any) -> Any:
            scores = network.scorer({"values": values, "lengths": lengths}, training=False)
            return objective.sums(Batch(values, lengths, next_step), scores)

        constant = tf.constant(objective.baseline_scores(profile))

        def score_means(values: Any, lengths: Any, next_step: Any) -> Any:
            scores = {
                "reconstruction": tf.broadcast_to(constant, tf.shape(values)),
                "prediction": tf.broadcast_to(constant, tf.shape(next_step)),
            }
            return objective.sums(Batch(values, lengths, next_step), scores)

        self._learn = tf.function(learn, input_signature=shapes, autograph=False)
        self._score = tf.function(score, input_signature=shapes, autograph=False)
        self._score_means = score_means

    def learn(self, batch: Batch) -> NDArray[np.float64]:
        """Take one step of gradient descent; return the sums before it, float64 (heads, 3)."""
        sums: NDArray[np.float64] = self._learn(*batch).numpy().astype(np.float64)
        return sums

    def evaluate(self, batches: Iterable[Batch], prefix: str = "") -> dict[str, float]:
        """Return the exact loss and metrics over all values of `batches`."""
        return self._totals(self._score, batches, prefix)

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return what always answering with the per-feature mean of the training data scores, in the same loss."""
        return self._totals(self._score_means, batches, "")

    def _totals(self, score: Callable[..., Any], batches: Iterable[Batch], prefix: str) -> dict[str, float]:
        totals = np.zeros((len(self._objective.heads), 3))
        for batch in batches:
            totals += score(*batch).numpy()
        return self._objective.report(totals, prefix)
