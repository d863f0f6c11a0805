"""Masked losses: neither padding nor missing targets enter a sum, a count or a gradient.

Losses return sums and counts instead of means, so that a mean over many batches is exact however they are cut.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from seqembed.data.schema.vocabulary import MISSING_ID
from seqembed.trainer.model.backend import tf

TEMPERATURE = 0.2
_NEVER = -1e9
_NO_STEPS = np.zeros((0, 0, 0), dtype=np.int32)
_NO_IDS = np.zeros((0, 0), dtype=np.int32)


class Batch(NamedTuple):
    """Inputs and targets of one training step; numpy arrays or tensors.

    Attributes:
        values: float32 (batch, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (batch), steps that the encoder sees.
        targets: float32 (batch, time, features), raw units, the target of the decoder: `values` before augmentation;
            NaN is missing.
        next_step: float32 (batch, features), raw units, the step after `values`; NaN where there is none.
        categories: int32 (batch, time, fields), ids that the encoder sees; the padding is 0.
        category_targets: int32 (batch, time, fields), ids that the decoder should predict.
        next_categories: int32 (batch, fields), ids of the next step; `MISSING_ID` where there is none.
    """

    values: Any
    lengths: Any
    targets: Any
    next_step: Any
    categories: Any = _NO_STEPS
    category_targets: Any = _NO_STEPS
    next_categories: Any = _NO_IDS


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


def masked_sums(loss: str, targets: Any, scores: Any, mask: Any, weights: Any = None) -> Any:
    """Sum a loss over the values that are neither padding nor missing.

    Args:
        loss: Name of the loss; with ``binary_crossentropy`` targets are in 0…1 and scores are logits.
        targets: float32 (…, features); NaN is missing.
        scores: float32 (…, features).
        mask: bool, broadcast against targets: false in the padding.
        weights: float32 (features), weight of a value of each feature; None is 1.

    Returns:
        float32 (3): the sum of losses, the number of values, and, with ``binary_crossentropy``, the number of values
        that are correct at the threshold 0.5 (else 0).
    """
    valid = tf.logical_and(mask, tf.logical_not(tf.math.is_nan(targets)))
    # Replace NaN before the loss: the gradient of a NaN that is masked afterwards is still NaN.
    targets, scores = tf.where(valid, targets, 0.0), tf.where(valid, scores, 0.0)
    losses = tf.where(valid, _LOSSES[loss](targets, scores), 0.0)
    counted = tf.cast(valid, tf.float32)
    if weights is not None:
        losses, counted = losses * weights, counted * weights
    hits = tf.zeros(())
    if loss == "binary_crossentropy":
        hits = tf.reduce_sum(tf.where(tf.equal(scores > 0.0, targets > 0.5), counted, 0.0))
    return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(counted), hits])


def category_sums(ids: Any, logits: Any, mask: Any) -> Any:
    """Sum the cross-entropy of a field over the steps that have a value, unknown values included.

    Args:
        ids: int32 (…); ids past the last class are rare, and count as the last class.
        logits: float32 (…, classes).
        mask: bool, broadcast against ids: false in the padding.

    Returns:
        float32 (3): the sum of cross-entropies in nats, the number of steps, and the number of correct classes.
    """
    valid = tf.logical_and(mask, tf.not_equal(ids, MISSING_ID))
    # The padding may hold any number, and a lookup must stay within its table.
    classes = tf.where(valid, tf.minimum(ids, tf.shape(logits)[-1] - 1), 0)
    logits = tf.where(valid[..., None], logits, 0.0)
    losses = tf.where(valid, tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits), 0.0)
    right = tf.logical_and(valid, tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), classes))
    return tf.stack([tf.reduce_sum(tf.cast(each, tf.float32)) for each in (losses, valid, right)])


def contrast_sums(projections: Any) -> Any:
    """Sum the cross-entropy of finding each view's positive pair among all views of a batch.

    Source: NT-Xent of Chen et al. (2020), "A simple framework for contrastive learning of visual representations".

    Args:
        projections: float32 (2 × sequences, branches, dim), unit vectors: the first view of every sequence, then the
            second view of every sequence; branches are compared separately.

    Returns:
        float32 (3): the sum of cross-entropies over views and branches, the number of views, and the number of views
        whose positive is the nearest, as a mean over the branches.
    """
    by_branch = tf.transpose(projections, [1, 0, 2])
    num_branches, num_views = tf.unstack(tf.shape(by_branch)[:2])
    similarity = tf.matmul(by_branch, by_branch, transpose_b=True) / TEMPERATURE  # (branches, views, views)
    similarity = tf.linalg.set_diag(similarity, tf.fill([num_branches, num_views], _NEVER))
    positive = tf.math.floormod(tf.range(num_views) + num_views // 2, num_views)
    positive = tf.broadcast_to(positive, [num_branches, num_views])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positive, logits=similarity)
    hits = tf.equal(tf.argmax(similarity, axis=2, output_type=tf.int32), positive)
    counted = tf.reduce_sum(tf.cast(hits, tf.float32)) / tf.cast(num_branches, tf.float32)
    return tf.stack([tf.reduce_sum(losses), tf.cast(num_views, tf.float32), counted])
