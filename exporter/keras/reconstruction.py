"""The decoder of a run, and the error of its reconstructions as one more output of the graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError, UsageError
from seqembed.data.outputs import NOTHING_KNOWN
from seqembed.data.schema.classes import unit_of_surprise
from seqembed.data.schema.vocabulary import MISSING_ID
from seqembed.data.standardise import MAX_DEVIATIONS, feature_weights, moments
from seqembed.exporter.keras.archive import read_config
from seqembed.exporter.keras.layers import DECODING, refuse_unsupported
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.load import load_keras, refuse_other_precision

# Names of layers in ``autoencoder.keras``, from `seqembed.trainer.model.network`.
_ENCODER, _DECODER, _RAW_UNITS = "encoder", "decoder_scores", "reconstruction"
_MIN_PROBABILITY = 1e-30  # of a category: its logarithm stays finite


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A decoder with the units of its errors.

    Attributes:
        model: Keras model from an embedding and the inputs that `reads` names, in a list, to what the decoder writes:
            ``numbers`` float32 (batch, time, features), standardised, and the probabilities of each field, float32
            (batch, time, classes), under the names in `fields`. Steps that a decoder of fixed length does not write
            are NaN.
        reads: Names of inputs of the exported graph.
        mean, std: float32 (features), what numbers are standardised with.
        weights: float32 (features), weight of each number.
        fields: Name of the output of each categorical field → cross-entropy in nats that counts as 1.
    """

    model: Any
    reads: tuple[str, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    weights: NDArray[np.float32]
    fields: Mapping[str, float]

    def error(self, inputs: Mapping[str, Any], embedding: Any) -> Any:
        """Return the mean error over the values of each sequence that are known, float32 (batch).

        A number has the squared difference of its standardised value, clipped as in training, and the decoder's; a
        category has its cross-entropy in units of the entropy of the field's frequencies. The features of a time column
        count as one value together. Without any known value the error is `NOTHING_KNOWN`.

        Args:
            inputs: The inputs of the exported graph, by name.
            embedding: float32 (batch, embedding_dim), of these inputs.
        """
        written = self.model([embedding, *(inputs[name] for name in self.reads)], training=False)
        steps = inputs.get("values", inputs.get("categories"))
        positions = tf.cumsum(tf.ones_like(steps[:, :, 0], dtype=tf.int32), axis=1)
        mask = positions <= tf.expand_dims(inputs["lengths"], 1)  # (batch, time)
        sums = [self._number_sums(inputs["values"], written["numbers"], mask)] if len(self.mean) else []
        sums += [
            _category_sums(inputs["categories"][:, :, index], written[name], mask, unit)
            for index, (name, unit) in enumerate(self.fields.items())
        ]
        total, count = (sum(each[1:], start=each[0]) for each in zip(*sums, strict=True))
        is_known = count > 0
        return tf.where(is_known, total / tf.where(is_known, count, 1.0), NOTHING_KNOWN)

    def _number_sums(self, values: Any, written: Any, mask: Any) -> tuple[Any, Any]:
        """Return sums of squared errors and of weights, each float32 (batch)."""
        known = tf.expand_dims(mask, 2) & ~(tf.math.is_nan(values) | tf.math.is_nan(written))
        scaled = tf.clip_by_value((values - self.mean) * (1 / self.std), -MAX_DEVIATIONS, MAX_DEVIATIONS)
        errors, counted = tf.where(known, tf.square(written - scaled), 0.0), tf.cast(known, tf.float32)
        if not (self.weights == 1).all():
            errors, counted = errors * self.weights, counted * self.weights
        return tf.reduce_sum(errors, axis=[1, 2]), tf.reduce_sum(counted, axis=[1, 2])


def _category_sums(ids: Any, written: Any, mask: Any, unit: float) -> tuple[Any, Any]:
    """Return sums of cross-entropies in units of `unit`, and numbers of categories, each float32 (batch).

    Args:
        ids: int32 (batch, time); rare ids count as the last class.
        written: float32 (batch, time, classes), probabilities.
        mask: bool (batch, time).
        unit: Nats that count as 1.
    """
    known = mask & (ids != MISSING_ID) & ~tf.math.is_nan(written[:, :, 0])
    classes = tf.where(known, tf.minimum(ids, written.shape[-1] - 1), 0)  # the padding may hold any number
    probabilities = tf.squeeze(tf.gather(written, tf.expand_dims(classes, 2), batch_dims=2), 2)
    surprise = tf.math.log(tf.maximum(probabilities, _MIN_PROBABILITY)) * (-1 / unit)
    errors = tf.where(known, surprise, 0.0)
    return tf.reduce_sum(errors, axis=1), tf.reduce_sum(tf.cast(known, tf.float32), axis=1)


def load_reconstruction(path: Path, encoder: Any, contract: ModelContract) -> Reconstruction:
    """Load the decoder of a run from its autoencoder.

    Args:
        path: ``autoencoder.keras`` of the run.
        encoder: Keras model of its ``encoder.keras``.
        contract: Contract of the run.

    Raises:
        UsageError: The run has no decoder.
        BundleError: The file is missing or damaged, or from another training than the encoder.
    """
    config = read_config(path)
    if _lacks_decoder(config):
        raise UsageError(
            f"{path.parent}: --with-decoder exports the decoder of a run, and this one has none: it was trained with "
            "--objective contrast or --task predict. Train with --objective hybrid or reconstruct, or leave out "
            "--with-decoder."
        )
    refuse_unsupported(config, str(path), contract.frame, DECODING)
    autoencoder = load_keras(path)
    refuse_other_precision(autoencoder, str(path))
    inner = autoencoder.get_layer(_ENCODER)
    if not _have_equal_weights(inner, encoder):
        raise BundleError(
            f"{path}: its encoder has other weights than encoder.keras. The files are from different trainings: train "
            "again."
        )
    fields = contract.schema.categorical
    names = {f"{_RAW_UNITS}.{field.name}": unit_of_surprise(field) for field in fields}
    written = {name: autoencoder.output[name] for name in names}
    if contract.schema.num_features:
        written["numbers"] = _standardised(autoencoder.get_layer(_RAW_UNITS), contract)
    (call,) = inner._inbound_nodes
    (embedding,) = call.output_tensors
    return Reconstruction(
        keras.Model([embedding, *autoencoder.input.values()], written, name="decoder"),
        tuple(autoencoder.input),
        *moments(contract.training.profile),
        feature_weights(contract.schema.features),
        names,
    )


def _lacks_decoder(config: Mapping[str, Any]) -> bool:
    """Return whether an autoencoder has no decoder; false for a malformed configuration, which is refused later."""
    try:
        return _DECODER not in [layer["name"] for layer in config["config"]["layers"]]
    except (KeyError, TypeError):
        return False


def _standardised(layer: Any, contract: ModelContract) -> Any:
    """Return the standardised numbers that a decoder writes, symbolic.

    Raw units have no more digits than the mean leaves, so the numbers are taken before they are turned into those.
    Probabilities, which `layer` makes from logits, have no other form.

    Args:
        layer: The layer of ``autoencoder.keras`` that writes raw units.
        contract: Contract of the run.
    """
    if isinstance(layer, keras.layers.Rescaling):
        return layer.input
    mean, std = moments(contract.training.profile)
    return keras.layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), name="standardised")(layer.output)


def _have_equal_weights(one: Any, other: Any) -> bool:
    weights = [model.get_weights() for model in (one, other)]
    same = [weight.shape for weight in weights[0]] == [weight.shape for weight in weights[1]]
    return same and all(np.array_equal(mine, theirs) for mine, theirs in zip(*weights, strict=True))
