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

from data.schema import CategoricalField
from data.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID, Vocabulary
from trainer.backend import keras

ops, layers = keras.ops, keras.layers

WIDEST = 8  # 16 made every step a fifth dearer to serve, and no class of the transactions told better
_NARROWEST = 2
_SPREAD = 0.5  # of the first embeddings; Keras's own would drown beside standardised numbers
# A decoder of ten thousand classes would cost a hundred times the encoder; the rarest say little of a sequence.
MOST_CLASSES = 1_000


def width_of(field: CategoricalField) -> int:
    """Return how many numbers stand for a category of `field`.

    Source: the rule of thumb of fastai's tabular models (Howard and Gugger, 2020), cut at `WIDEST`.
    """
    rule = round(1.6 * math.pow(max(1, field.num_ids - FIRST_ID), 0.56))
    return max(_NARROWEST, min(WIDEST, rule))


def embedded(categories: Any, mask: Any, fields: Sequence[CategoricalField], name: str) -> Any:
    """Return what is read of the categories, float32 (batch, time, sum of widths); zeros in the padding.

    Args:
        categories: int32 (batch, time, fields), ids; the padding may hold any number.
        mask: bool (batch, time), true at real steps.
        fields: Their vocabularies.
        name: Begins the name of each field's layer.
    """
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)  # (batch, time, 1)
    parts = []
    for place, field in enumerate(fields):
        layer = layers.Embedding(
            field.num_ids,
            width_of(field),
            embeddings_initializer=keras.initializers.RandomNormal(stddev=_SPREAD),
            name=f"{name}_{place + 1}_{plain_name(field.name)}",
        )
        parts.append(layer(ops.where(mask, categories[:, :, place], UNKNOWN_ID)))  # no lookup may leave its table
    joined = parts[0] if len(parts) == 1 else layers.Concatenate(name=f"{name}_joined")(parts)
    return ops.multiply(joined, real)  # of finite numbers; a choice by mask takes ONNX Runtime three times as long


def plain_name(name: str) -> str:
    """Return a name of letters, digits and underscores, which Keras takes for a layer whatever a column is called."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def output_name(head: str, field: CategoricalField | None = None) -> str:
    """Return what a head's output is called: by the head alone for numbers, else with the field after a dot."""
    return head if field is None else f"{head}.{field.name}"


def num_classes(field: CategoricalField) -> int:
    """Return how many classes a decoder tells apart in `field`: ids up to a bound, and one class for rarer values."""
    return min(field.num_ids, FIRST_ID + MOST_CLASSES + 1)


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
