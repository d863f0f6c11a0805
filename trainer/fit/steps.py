"""The compiled steps of training and evaluation, for any batch size and any number of time steps.

Measured on two cores (bidirectional LSTM-64, repeat decoder): jit_compile gains nothing and costs four seconds per new
shape, so it stays off; deterministic operations cost nothing, so they are on.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.trainer.model.backend import keras, tf
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.losses import Batch
from seqembed.trainer.model.network import Network, inputs_of
from seqembed.trainer.model.objective import Objective

Decay = Literal["cosine", "drops", "none"]

_WARM_UP_STEPS = 20
_DROPS = (0.5, 0.75, 0.9)  # of all batches


def seed_everything(seed: int) -> None:
    """Make initial weights and every operation repeatable on this machine."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def signature(num_features: int, num_fields: int = 0) -> Batch:
    """Return the shapes and types of a `Batch`, with unknown batch size and time."""
    steps = tf.TensorSpec((None, None, num_features), tf.float32)
    categories = tf.TensorSpec((None, None, num_fields), tf.int32)
    return Batch(
        values=steps,
        lengths=tf.TensorSpec((None,), tf.int32),
        targets=steps,
        next_step=tf.TensorSpec((None, num_features), tf.float32),
        categories=categories,
        category_targets=categories,
        next_categories=tf.TensorSpec((None, num_fields), tf.int32),
    )


def _warm_cosine(peak: float, num_steps: int) -> Any:
    warm_up = min(_WARM_UP_STEPS, num_steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else peak,
        max(1, num_steps - warm_up),
        warmup_target=peak if warm_up else None,
        warmup_steps=warm_up,
    )


def _dropping(peak: float, num_steps: int) -> Any:
    """Return a learning rate that is constant for half of the batches, then drops to 1/3, 1/10 and 1/30."""
    boundaries = [max(1, round(share * num_steps)) for share in _DROPS]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [peak, peak / 3, peak / 10, peak / 30])


def _schedule(peak: float, num_steps: int, decay: Decay) -> Any:
    """Return a schedule, so that no optimizer holds its rate in a variable."""
    if decay == "cosine":
        return _warm_cosine(peak, num_steps)
    if decay == "drops":
        return _dropping(peak, num_steps)
    return keras.optimizers.schedules.PiecewiseConstantDecay([1], [peak, peak])


class Steps:
    """The network's training step and its evaluation.

    Attributes:
        optimizer: Adam over the network's variables.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        profile: SequenceProfile,
        num_steps: int,
        *,
        learning_rate: float,
        clip_norm: float,
        decay: Decay = "drops",
    ) -> None:
        """Build the optimizer and define the steps; they are compiled on first use.

        Args:
            network: The models.
            objective: Their losses.
            profile: Statistics of the training sequences.
            num_steps: Batches of the complete training, over which the learning rate falls.
            learning_rate: Peak of the learning rate.
            clip_norm: Maximum global norm of the gradient; 0 turns clipping off.
            decay: How: ``cosine`` (a short rise, then a cosine to 0), ``drops`` (from half of the batches on, to a
                third, a tenth and a thirtieth), or ``none``.
        """
        self._objective = objective
        variables = network.scorer.trainable_variables
        rate = _schedule(learning_rate, num_steps, decay)
        self.optimizer = keras.optimizers.Adam(rate, global_clipnorm=clip_norm or None)
        self.optimizer.build(variables)
        fields = network.encoder.input.get("categories")
        shapes = signature(len(profile.mean), 0 if fields is None else fields.shape[-1])

        def call(batch: Batch, training: bool) -> Any:
            with fused(network.scorer):
                return network.scorer(inputs_of(network.scorer, batch), training=training)

        def learn(*tensors: Any) -> Any:
            batch = Batch(*tensors)
            with tf.GradientTape() as tape:
                scores = call(batch, training=True)
                sums = objective.sums(batch, scores)
                loss = tf.reduce_sum(objective.weights * tf.math.divide_no_nan(sums[:, 0], sums[:, 1]))
            gradients = tape.gradient(loss, variables)
            self.optimizer.apply(gradients, variables)
            return sums

        def score(*tensors: Any) -> Any:
            batch = Batch(*tensors)
            scores = call(batch, training=False)
            return objective.sums(batch, scores)

        num_branches = network.scorer.output["contrast"].shape[1] if "contrast" in objective.heads else 1

        def score_means(*tensors: Any) -> Any:
            batch = Batch(*tensors)
            return objective.sums(batch, objective.baseline(batch, profile, num_branches))

        # TensorFlow counts tracings by the code of a function, and warns of the fifth training of a process as of a
        # function that is traced again and again. A partial is counted for itself.
        self._learn = tf.function(partial(learn), input_signature=shapes, autograph=False)
        self._score = tf.function(partial(score), input_signature=shapes, autograph=False)
        self._score_means = score_means

    @property
    def num_done(self) -> int:
        """Training batches so far, over all resumptions."""
        return int(self.optimizer.iterations.numpy())

    def learn(self, batch: Batch) -> NDArray[np.float64]:
        """Take one step of gradient descent; return the sums before it, float64 (terms, 3)."""
        sums: NDArray[np.float64] = self._learn(*batch).numpy().astype(np.float64)
        return sums

    def evaluate(self, batches: Iterable[Batch], prefix: str = "") -> dict[str, float]:
        """Return the exact loss and metrics over all values of `batches`."""
        return self._totals(self._score, batches, prefix)

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the loss and metrics of always predicting the training data's per-feature mean."""
        return self._totals(self._score_means, batches, "")

    def _totals(self, score: Callable[..., Any], batches: Iterable[Batch], prefix: str) -> dict[str, float]:
        totals = np.zeros((len(self._objective.terms), 3))
        for batch in batches:
            totals += score(*batch).numpy()
        return self._objective.report(totals, prefix)
