"""Categories in a model: what recurrent layers read of them, and what a decoder tells apart.

Every field has an embedding of its own, learned with all else. A decoder answers each field with one logit a class: the
ids themselves, as far as they are frequent, and one class for all that are rarer than those.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema import CategoricalField
from seqembed.data.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID, Vocabulary
from seqembed.trainer.backend import keras

ops, layers = keras.ops, keras.layers

MAX_WIDTH = 8  # 16 made every step a fifth dearer to serve, and no class of the transactions told better
_MIN_WIDTH = 2
# Of a summary, which no recurrent layer reads and which costs little: 8 numbers for 200 categories do not tell all
# favourites of a sequence.
_MAX_SUMMARY_WIDTH = 32
_SPREAD = 0.5  # of the first embeddings; Keras's own would drown beside standardised numbers
# A decoder of ten thousand classes would cost a hundred times the encoder; the rarest say little of a sequence.
MAX_CLASSES = 1_000


def width_of(field: CategoricalField) -> int:
    """Return how many numbers stand for a category of `field`.

    Source: the rule of thumb of fastai's tabular models (Howard and Gugger, 2020), cut at `MAX_WIDTH`.
    """
    rule = round(1.6 * math.pow(max(1, field.num_ids - FIRST_ID), 0.56))
    return max(_MIN_WIDTH, min(MAX_WIDTH, rule))


def summary_width(field: CategoricalField) -> int:
    """Return how many numbers more tell which categories of `field` a sequence holds; 0 where `width_of` suffices."""
    num_values = field.num_ids - FIRST_ID
    return min(_MAX_SUMMARY_WIDTH, num_values) if num_values > MAX_WIDTH else 0


def summaries(categories: Any, mask: Any, fields: Sequence[CategoricalField], name: str) -> list[Any]:
    """Return the mean over the steps of embeddings of their own, float32 (batch, `summary_width`) of each wide field.

    Args and source as for `embedded`; 0 without any step.
    """
    real = ops.cast(mask, "float32")
    share = ops.divide(real, ops.maximum(ops.sum(real, axis=1, keepdims=True), 1.0))  # (batch, time)
    told = []
    for index, field in enumerate(fields):
        if width := summary_width(field):
            steps = _table(field, width, f"{name}_{index + 1}_{plain_name(field.name)}")(_ids(categories, mask, index))
            # A product, not a sum of products: the steps are gone through once.
            told.append(ops.squeeze(ops.matmul(ops.expand_dims(share, 1), steps), axis=1))
    return told


def embedded(categories: Any, mask: Any, fields: Sequence[CategoricalField], name: str) -> Any:
    """Return what is read of the categories, float32 (batch, time, sum of widths); zeros in the padding.

    Args:
        categories: int32 (batch, time, fields), ids; the padding may hold any number.
        mask: bool (batch, time), true at real steps.
        fields: Their vocabularies.
        name: Begins the name of each field's layer.
    """
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)  # (batch, time, 1)
    vectors = []
    for index, field in enumerate(fields):
        layer = _table(field, width_of(field), f"{name}_{index + 1}_{plain_name(field.name)}")
        vectors.append(layer(_ids(categories, mask, index)))
    joined = vectors[0] if len(vectors) == 1 else layers.Concatenate(name=f"{name}_joined")(vectors)
    return ops.multiply(joined, real)  # of finite numbers; a choice by mask takes ONNX Runtime three times as long


def _table(field: CategoricalField, width: int, name: str) -> Any:
    spread = keras.initializers.RandomNormal(stddev=_SPREAD)
    return layers.Embedding(field.num_ids, width, embeddings_initializer=spread, name=name)


def _ids(categories: Any, mask: Any, index: int) -> Any:
    """Return the ids of one field, int32 (batch, time): no lookup may leave its table, whatever the padding holds."""
    return ops.where(mask, categories[:, :, index], UNKNOWN_ID)


def plain_name(name: str) -> str:
    """Return a name of letters, digits and underscores, which Keras takes for a layer whatever a column is called."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def output_name(head: str, field: CategoricalField | None = None) -> str:
    """Return what a head's output is called: by the head alone for numbers, else with the field after a dot."""
    return head if field is None else f"{head}.{field.name}"


def num_classes(field: CategoricalField) -> int:
    """Return how many classes a decoder tells apart in `field`: ids up to a bound, and one class for rarer values."""
    return min(field.num_ids, FIRST_ID + MAX_CLASSES + 1)


def class_logits(hidden: Any, field: CategoricalField, name: str) -> Any:
    """Return logits (…, classes) of hidden (…, units); before training they answer with the frequencies."""
    layer = layers.Dense(num_classes(field), name=name)
    logits = layer(hidden)
    layer.bias.assign(log_frequencies(field))
    return logits


def frequencies(field: CategoricalField) -> NDArray[np.float64]:
    """Return how often each class was met in training, missing steps left out, float64 (classes); at least 1 in all.

    Raises:
        ValueError: The vocabulary is not learned yet.
    """
    vocabulary = field.vocabulary
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"the vocabulary of {field.name!r} is not learned yet")
    counts = np.zeros(field.num_ids)
    counts[UNKNOWN_ID] = vocabulary.num_unknown
    counts[FIRST_ID:] = vocabulary.counts
    last = num_classes(field) - 1
    cut = np.append(counts[:last], counts[last:].sum())
    if not cut.sum():
        cut[UNKNOWN_ID] = 1.0
    return cut


def entropy(field: CategoricalField) -> float:
    """Return the cross-entropy of always answering with the frequencies of the classes, in nats."""
    shares = frequencies(field)
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


def log_frequencies(field: CategoricalField) -> NDArray[np.float32]:
    """Return the logits of always answering with the frequencies, float32 (classes).

    What was never met counts as half a step, so that meeting it is dear but not infinitely so.
    """
    counts = frequencies(field)
    logits: NDArray[np.float32] = np.log(np.maximum(counts, 0.5) / counts.sum()).astype(np.float32)
    return logits


def answers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the most likely class of each step, int64 (…), of probabilities float32 (…, classes); never missing."""
    told = probabilities.copy()
    told[..., MISSING_ID] = -1.0
    best: NDArray[np.int64] = np.argmax(told, axis=-1)
    return best
