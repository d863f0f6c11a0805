"""Losses that see real values alone: neither padding nor a missing target ever enters a sum, a count or a gradient.

Each returns sums and counts, not means, so that a mean over many batches is exact however they were cut.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.profile import SequenceProfile
from trainer.backend import tf
from trainer.config import ModelConfig
from trainer.model import MAX_DEVIATIONS, moments

TEMPERATURE = 0.2
_NEVER = -1e9


class Batch(NamedTuple):
    """What one step of training sees; numpy arrays or tensors.

    Attributes:
        values: float32 (batch, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (batch), steps the encoder sees.
        targets: float32 (batch, time, features), raw units: what a decoder is to write, `values` unless those were
            altered; NaN is missing.
        next_step: float32 (batch, features), raw units: the step after them; NaN where there is none.
    """

    values: Any
    lengths: Any
    targets: Any
    next_step: Any


def _mse(targets: Any, scores: Any) -> Any:
    return tf.square(scores - targets)


def _mae(targets: Any, scores: Any) -> Any:
    return tf.abs(scores - targets)


def _huber(targets: Any, scores: Any) -> Any:
    distance = tf.abs(scores - targets)
    return tf.where(distance <= 1.0, 0.5 * tf.square(distance), distance - 0.5)


def _binary_crossentropy(targets: Any, scores: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=scores)


_LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "binary_crossentropy": _binary_crossentropy,
}


def masked_sums(loss: str, targets: Any, scores: Any, mask: Any) -> Any:
    """Sum a loss over the values that count.

    Args:
        loss: Name of the loss; with ``binary_crossentropy`` targets are in 0…1 and scores are logits.
        targets: float32 (…, features); NaN is missing.
        scores: float32 (…, features).
        mask: bool, broadcast against targets: false in the padding.

    Returns:
        float32 (3): the sum of losses, the number of values, and, with ``binary_crossentropy``, how many values the
        threshold 0.5 gets right (else 0).
    """
    valid = tf.logical_and(mask, tf.logical_not(tf.math.is_nan(targets)))
    # Clean both sides before the loss: the gradient of a NaN that is masked afterwards is still NaN.
    targets, scores = tf.where(valid, targets, 0.0), tf.where(valid, scores, 0.0)
    losses = tf.where(valid, _LOSSES[loss](targets, scores), 0.0)
    hits = tf.zeros(())
    if loss == "binary_crossentropy":
        right = tf.logical_and(valid, tf.equal(scores > 0.0, targets > 0.5))
        hits = tf.reduce_sum(tf.cast(right, tf.float32))
    return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(tf.cast(valid, tf.float32)), hits])


def contrast_sums(projections: Any) -> Any:
    """Sum the cross-entropy of finding each view's partner among all views of a batch.

    Source: NT-Xent of Chen et al. (2020), "A simple framework for contrastive learning of visual representations".

    Args:
        projections: float32 (2 × sequences, branches, dim), unit vectors: the first view of every sequence, then the
            second ones; each branch is compared by itself.

    Returns:
        float32 (3): the sum of cross-entropies, all branches of a view together, the number of views, and how many have
        their partner nearest, as a mean over the branches.
    """
    by_branch = tf.transpose(projections, [1, 0, 2])
    num_branches, num_views = tf.unstack(tf.shape(by_branch)[:2])
    similarity = tf.matmul(by_branch, by_branch, transpose_b=True) / TEMPERATURE  # (branches, views, views)
    similarity = tf.linalg.set_diag(similarity, tf.fill([num_branches, num_views], _NEVER))
    partner = tf.math.floormod(tf.range(num_views) + num_views // 2, num_views)
    partner = tf.broadcast_to(partner, [num_branches, num_views])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=partner, logits=similarity)
    hits = tf.equal(tf.argmax(similarity, axis=2, output_type=tf.int32), partner)
    counted = tf.reduce_sum(tf.cast(hits, tf.float32)) / tf.cast(num_branches, tf.float32)
    return tf.stack([tf.reduce_sum(losses), tf.cast(num_views, tf.float32), counted])


class Objective:
    """The sums of every head of a task, from a batch and the network's scores."""

    def __init__(self, config: ModelConfig, profile: SequenceProfile) -> None:
        self.loss = config.loss
        self.heads = config.heads
        self._mean, self._std = moments(profile)

    def sums(self, batch: Batch, scores: Mapping[str, Any]) -> Any:
        """Return float32 (heads, 3): what `masked_sums` gives for each head, in the order of `heads`."""
        return tf.stack([self._head_sums(head, batch, scores[head]) for head in self.heads])

    def _head_sums(self, head: str, batch: Batch, scores: Any) -> Any:
        if head == "contrast":
            return contrast_sums(scores)
        if head == "reconstruction":
            steps = tf.range(tf.shape(batch.targets)[1])
            mask = (steps < batch.lengths[:, None])[:, :, None]  # (batch, time, 1)
            return masked_sums(self.loss, self._in_loss_units(batch.targets), scores, mask)
        return masked_sums(self.loss, self._in_loss_units(batch.next_step), scores, True)

    def _in_loss_units(self, targets: Any) -> Any:
        if self.loss == "binary_crossentropy":
            return targets
        scaled = (targets - self._mean) / self._std
        clipped = tf.clip_by_value(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        return tf.where(tf.math.is_nan(targets), targets, clipped)

    def baseline_scores(self, profile: SequenceProfile) -> NDArray[np.float32]:
        """Return the scores of always answering with each feature's mean, float32 (features)."""
        if self.loss != "binary_crossentropy":
            return np.zeros_like(self._mean)
        share = np.clip(np.asarray(profile.mean), 1e-6, 1 - 1e-6)
        logits: NDArray[np.float32] = np.log(share / (1 - share)).astype(np.float32)
        return logits

    def report(self, totals: NDArray[np.float64], prefix: str = "") -> dict[str, float]:
        """Turn summed sums, float64 (heads, 3), into a loss, the loss of each of several heads, and accuracies."""
        means = totals[:, 0] / np.maximum(totals[:, 1], 1)
        shares = totals[:, 2] / np.maximum(totals[:, 1], 1)
        figures = {f"{prefix}loss": float(means.sum())}
        if len(self.heads) > 1:
            figures |= {f"{prefix}{head}_loss": float(mean) for head, mean in zip(self.heads, means, strict=True)}
        if "contrast" in self.heads:
            figures[f"{prefix}contrast_accuracy"] = float(shares[self.heads.index("contrast")])
        values = [place for place, head in enumerate(self.heads) if head != "contrast"]
        if self.loss == "binary_crossentropy" and values:
            counted = totals[values].sum(axis=0)
            figures[f"{prefix}binary_accuracy"] = float(counted[2] / max(counted[1], 1))
        return figures
