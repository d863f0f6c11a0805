"""Choose golden sequences: a few random ones whose embeddings every host must reproduce before it writes."""

import numpy as np

from seqembed.data.batching import SequenceBatch, pad
from seqembed.data.contract import GoldenSequence
from seqembed.data.outputs import EMBEDDING
from seqembed.data.profile import QUANTILES, SequenceProfile
from seqembed.exporter.checks.draws import draw_sequences
from seqembed.exporter.checks.reference import KerasReference
from seqembed.runner.bundle.encoder import Encoder

_MAX_GOLDEN_STEPS = 64  # keeps the contract, which is JSON, small
_GOLDEN_QUANTILES = (0.25, 0.5, 0.75, 1.0)
_CANDIDATES = 8


def golden_sequences(
    reference: KerasReference, encoder: Encoder, profile: SequenceProfile, *, seed: int
) -> tuple[GoldenSequence, ...]:
    """Draw sequences with one step and with the quartiles and maximum of the lengths (at most 64), and embed them.

    No row of the training data is copied, since the deployed file may be used where the data must not be. If values
    were missing in training, one sequence has missing values too. Of several draws per length the one least sensitive
    to rounding is used, so that another processor gets the same embedding.

    Args:
        reference: The Keras encoder.
        encoder: The exported encoder.
        profile: Statistics to draw sequences from.
        seed: Seed of the random numbers.
    """
    random = np.random.default_rng(seed)
    quartiles = [profile.length_quantiles[QUANTILES.index(quantile)] for quantile in _GOLDEN_QUANTILES]
    lengths = np.clip([1, *quartiles], 1, _MAX_GOLDEN_STEPS).astype(np.int64)
    num_golden = len(lengths)
    lengths = np.tile(lengths, _CANDIDATES)
    missing = (np.arange(len(lengths)) % num_golden == num_golden - 2) & (max(profile.missing_rate, default=0) > 0)
    vocabularies, nowhere = encoder.contract.schema.vocabularies, np.zeros(len(lengths), bool)
    block = draw_sequences(profile, lengths, random, missing=missing, extreme=nowhere, vocabularies=vocabularies)
    if missing.any():
        block.values[block.offsets[:-1][missing], np.argmax(profile.missing_rate)] = np.nan  # at least one
    noise = np.maximum.reduce(list(reference.rounding_noise(block, random).values()))
    best = noise.reshape(_CANDIDATES, num_golden).argmin(axis=0) * num_golden + np.arange(num_golden)
    batches = [pad(block, np.array([row])) for row in best]
    return tuple(_golden(encoder, batch) for batch in batches)


def _golden(encoder: Encoder, batch: SequenceBatch) -> GoldenSequence:
    """Return the only sequence of a batch with all outputs of the encoder."""
    outputs = {name: array[0] for name, array in encoder.run(batch.values, batch.lengths, batch.categories).items()}
    return GoldenSequence(
        values=batch.values[0],
        embedding=outputs.pop(EMBEDDING),
        categories=batch.categories[0] if encoder.contract.schema.vocabularies else None,
        others={name: np.asarray(value) for name, value in outputs.items()},
    )
