"""Reference embeddings: Keras applied to each sequence without padding."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import SequenceBatch, pad
from seqembed.data.errors import BundleError
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.keras.libraries import tf
from seqembed.exporter.keras.model import EncoderModel

_BATCH_SIZE = 64
_MAX_STEPS = 8192
_TRIALS = 2
_NODE = re.compile(r"\{\{node ([^}]+)\}\}")  # how TensorFlow names the failing node


class KerasReference:
    """Embeds sequences with Keras, through one traced function.

    Args:
        model: The encoder.
    """

    def __init__(self, model: EncoderModel) -> None:
        self.model = model

        def call(*tensors: Any) -> Any:
            return model.call(dict(zip(model.interface, tensors, strict=True)))

        # TensorFlow counts tracings by the code of a function, and warns of the fifth export of a process as of a
        # function that is traced again and again. A partial is counted for itself.
        self._call = tf.function(
            partial(call),
            input_signature=model.signature,
            autograph=False,
        )

    def run(self, block: SequenceBlock) -> dict[str, NDArray[np.float32]]:
        """Return the outputs of the model for every sequence of `block`.

        Batches have sequences of one length, so there is no padding. For a model without a lengths input missing values
        are filled, as in the exported graph.

        Args:
            block: Sequences of at least one step.

        Returns:
            Each output of the model by name: float32 (sequences, width) or (sequences).

        Raises:
            BundleError: Keras fails on a sequence of some length.
        """
        return self._run(block, _batches_of_one_length(block))

    def _run(self, block: SequenceBlock, batches: Iterable[SequenceBatch]) -> dict[str, NDArray[np.float32]]:
        arrays = {output.name: np.empty(output.shape(block.num_sequences), np.float32) for output in self.model.outputs}
        for batch in batches:
            inputs = {"values": batch.values, "categories": batch.categories, "lengths": batch.lengths}
            if not self.model.handles_padding:
                inputs["values"] = np.where(np.isnan(batch.values), self.model.fill, batch.values)
            found = self._one_batch([inputs[name] for name in self.model.interface], int(batch.lengths.max()))
            for name, array in found.items():
                arrays[name][batch.rows] = array
        return arrays

    def _one_batch(self, inputs: list[NDArray[Any]], length: int) -> dict[str, NDArray[np.float32]]:
        try:
            found = {name: tensor.numpy() for name, tensor in self._call(*inputs).items()}
        except tf.errors.OpError as error:
            node = _NODE.search(str(error))
            raise BundleError(
                f"{self.model.source}: Keras fails on a sequence of {length} step{'s' if length > 1 else ''}"
                f"{f', in {node[1]!r}' if node else ''}: {str(error).splitlines()[0]}. An encoder must accept any "
                "length from 1 on: if an operation over the time axis returns fewer steps, pad its result to the "
                "length of the input with keras.ops.pad."
            ) from error
        return found

    def rounding_noise(
        self,
        block: SequenceBlock,
        random: np.random.Generator,
        outputs: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Return the change of each output, over max(1, |output|), when each weight changes by its last bit.

        A relu cell is unbounded: for values far from the training data it can amplify the last bit of a weight until
        the embedding differs, and Keras then differs between machines. Weights are changed rather than inputs, whose
        last bit is large where a feature's mean is large compared with its deviation.

        A model that takes lengths is called on padded batches, before and after: a recurrent layer costs as much as
        the longest sequence of each batch has steps, and there are a tenth as many of these as with one batch per
        length.

        Args:
            block: Sequences of at least one step.
            random: Chooses which weights go up and which go down, in each of a few trials.
            outputs: Outputs of `run`, where they are known; only a model without a lengths input needs them.

        Returns:
            Each output by name: float32 (sequences), the maximum over trials and dimensions; infinite where one is not
            finite.
        """
        variables = self.model.weights
        weights = [variable.numpy() for variable in variables]
        batches = list((_padded_batches if self.model.handles_padding else _batches_of_one_length)(block))
        if outputs is None or self.model.handles_padding:
            outputs = self._run(block, batches)
        noise = {name: np.zeros(block.num_sequences, np.float32) for name in outputs}
        for _ in range(_TRIALS):
            try:
                for variable, weight in zip(variables, weights, strict=True):
                    up_or_down = np.where(random.random(weight.shape) < 0.5, np.inf, -np.inf)
                    variable.assign(np.nextafter(weight, up_or_down.astype(weight.dtype)))
                nudged = self._run(block, batches)
            finally:
                for variable, weight in zip(variables, weights, strict=True):
                    variable.assign(weight)
            for name, array in outputs.items():
                with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, which counts as infinite
                    moved = np.abs(nudged[name] - array) / np.maximum(1.0, np.abs(array))
                moved = np.nan_to_num(moved, nan=np.inf).reshape(block.num_sequences, -1)
                noise[name] = np.maximum(noise[name], moved.max(axis=1))
        return noise


def _batches_of_one_length(block: SequenceBlock) -> Iterator[SequenceBatch]:
    """Yield batches without padding."""
    for length in np.unique(block.lengths):
        rows = np.flatnonzero(block.lengths == length)
        size = max(1, min(_BATCH_SIZE, _MAX_STEPS // int(length)))
        for start in range(0, len(rows), size):
            yield pad(block, rows[start : start + size])


def _padded_batches(block: SequenceBlock) -> Iterator[SequenceBatch]:
    """Yield batches of similar length, the longest first."""
    rows, start = np.argsort(-block.lengths, kind="stable"), 0
    while start < len(rows):
        size = max(1, min(_BATCH_SIZE, _MAX_STEPS // int(block.lengths[rows[start]])))
        yield pad(block, rows[start : start + size])
        start += size
