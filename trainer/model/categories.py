"""Categories in the network: learned embeddings as inputs, and classes as outputs of a decoder.

Every field has its own learned embedding. For each field a decoder returns one logit per class: one class per frequent
id, and one class for all rarer ids.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.classes import frequencies, num_classes
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.schema.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID
from seqembed.trainer.model.backend import keras

ops, layers = keras.ops, keras.layers

MAX_WIDTH = 8  # 16 made serving a fifth slower per step, and improved no class of the transactions sample
_MIN_WIDTH = 2
# Width of a summary, which bypasses the recurrent layers and costs little: 8 numbers for 200 categories do not capture
# all favourites of a sequence.
_MAX_SUMMARY_WIDTH = 32
_INITIAL_STD = 0.5  # of the embeddings; Keras's default is tiny compared to standardised numbers


def width_of(field: CategoricalField) -> int:
    """Return the embedding width of a category of `field`.

    Source: the rule of thumb of fastai's tabular models (Howard and Gugger, 2020), clipped at `MAX_WIDTH`.
    """
    rule = round(1.6 * math.pow(max(1, field.num_ids - FIRST_ID), 0.56))
    return max(_MIN_WIDTH, min(MAX_WIDTH, rule))


def summary_width(field: CategoricalField) -> int:
    """Return the width of the summary of which categories a sequence has; 0 if `width_of` is enough for `field`."""
    num_values = field.num_ids - FIRST_ID
    return min(_MAX_SUMMARY_WIDTH, num_values) if num_values > MAX_WIDTH else 0


def summaries(categories: Any, mask: Any, fields: Sequence[CategoricalField], name: str) -> list[Any]:
    """Return for each field with a summary the mean of separate embeddings over the steps, (batch, `summary_width`).

    float32; arguments as for `embedded`; 0 without steps.
    """
    real = ops.cast(mask, "float32")
    share = ops.divide(real, ops.maximum(ops.sum(real, axis=1, keepdims=True), 1.0))  # (batch, time)
    means = []
    for index, field in enumerate(fields):
        if width := summary_width(field):
            steps = _table(field, width, f"{name}_{index + 1}_{plain_name(field.name)}")(
                valid_ids(categories, mask, index)
            )
            # A matrix product iterates over the steps once, a sum of products twice.
            means.append(ops.squeeze(ops.matmul(ops.expand_dims(share, 1), steps), axis=1))
    return means


def embedded(categories: Any, mask: Any, fields: Sequence[CategoricalField], name: str) -> Any:
    """Return the concatenated embeddings of all fields, float32 (batch, time, sum of widths); zeros in the padding.

    Args:
        categories: int32 (batch, time, fields), ids; the padding may hold any number.
        mask: bool (batch, time), true at real steps.
        fields: Categorical fields with their vocabularies.
        name: Prefix of the name of each field's layer.
    """
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)  # (batch, time, 1)
    vectors = []
    for index, field in enumerate(fields):
        layer = _table(field, width_of(field), f"{name}_{index + 1}_{plain_name(field.name)}")
        vectors.append(layer(valid_ids(categories, mask, index)))
    joined = vectors[0] if len(vectors) == 1 else layers.Concatenate(name=f"{name}_joined")(vectors)
    return ops.multiply(joined, real)  # the numbers are finite; `where` takes ONNX Runtime three times as long


def _table(field: CategoricalField, width: int, name: str) -> Any:
    initializer = keras.initializers.RandomNormal(stddev=_INITIAL_STD)
    return layers.Embedding(field.num_ids, width, embeddings_initializer=initializer, name=name)


def valid_ids(categories: Any, mask: Any, index: int) -> Any:
    """Return the ids of one field, int32 (batch, time), valid for a lookup in the padding, too."""
    return ops.where(mask, categories[:, :, index], UNKNOWN_ID)


def plain_name(name: str) -> str:
    """Return a column's name reduced to letters, digits and underscores, which Keras accepts as a layer name."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def output_name(head: str, field: CategoricalField | None = None) -> str:
    """Return the name of a head's output: the head for numbers, and ``head.field`` for a categorical field."""
    return head if field is None else f"{head}.{field.name}"


def class_logits(hidden: Any, field: CategoricalField, name: str) -> Any:
    """Return logits (…, classes) of hidden (…, units); the bias is initialised with the class frequencies."""
    layer = layers.Dense(num_classes(field), name=name)
    logits = layer(hidden)
    layer.bias.assign(log_frequencies(field))
    return logits


def log_frequencies(field: CategoricalField) -> NDArray[np.float32]:
    """Return the logits of always predicting the class frequencies, float32 (classes).

    A class that never occurred counts as half a step, so that its loss is high but finite.
    """
    counts = frequencies(field)
    logits: NDArray[np.float32] = np.log(np.maximum(counts, 0.5) / counts.sum()).astype(np.float32)
    return logits


def answers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the most likely class, int64 (…), from probabilities float32 (…, classes); never the missing id."""
    candidates = probabilities.copy()
    candidates[..., MISSING_ID] = -1.0
    best: NDArray[np.int64] = np.argmax(candidates, axis=-1)
    return best
