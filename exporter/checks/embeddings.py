"""Where the embeddings of real sequences lie, as a run will count its own."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import EmbeddingProfile, ModelContract
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.drift.noise import resampled_noise
from seqembed.data.sequences import SequenceBlock
from seqembed.data.statistics.counter import Counter
from seqembed.data.statistics.projection import vector_grid
from seqembed.data.week_hours import first_weekdays
from seqembed.exporter.checks.precision import embed_in_job_batches
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.count import counter_of


def with_embeddings(contract: ModelContract, encoder: Encoder, real: SequenceBlock) -> ModelContract:
    """Return a contract with the profile and statistics of the embeddings of real sequences, and what chance moves.

    Args:
        contract: Without either.
        encoder: The exported encoder.
        real: Training sequences, each of at least one step; the contract stays as it is where there are none.
    """
    if not real.num_sequences:
        return contract
    vectors = embed_in_job_batches(encoder, real)
    profile, training = embedding_profile(vectors), contract.training
    contract = replace(contract, embeddings=profile)
    if training.statistics is None:
        return contract
    statistics = training.statistics.with_vectors(vector_grid(profile.std))
    contract = replace(contract, training=replace(training, statistics=statistics))
    counter = counter_of(contract)
    assert isinstance(counter, Counter)  # noqa: S101 - the contract has all that it needs
    counter.update_embeddings(vectors)
    each, weekdays = _each(contract, real, vectors), first_weekdays(contract.schema, real)
    noise = resampled_noise(statistics.definition, each, statistics.number("sequences"), weekdays)
    statistics = statistics.merge(counter.statistics)
    return replace(contract, training=replace(training, statistics=statistics, noise=noise))


def _each(contract: ModelContract, real: SequenceBlock, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return what a run counts of each sequence, int64 (sequences, as `layout_of`)."""
    counter, hashes = counter_of(contract), hash_ids(real.ids)
    assert isinstance(counter, Counter)  # noqa: S101 - as above
    totals = counter.statistics.totals
    sums = np.zeros((1 + real.num_sequences, len(totals)), np.int64)
    for index in range(real.num_sequences):
        one = slice(index, index + 1)
        counter.update(real.slice(index, index + 1), hashes[one])
        counter.update_embeddings(vectors[one], hashes[one])
        sums[1 + index] = totals
    return np.diff(sums, axis=0)


def embedding_profile(vectors: NDArray[np.float32]) -> EmbeddingProfile:
    """Return mean and standard deviation of embeddings, float32 (sequences, embedding_dim)."""
    embeddings = vectors.astype(np.float64)
    return EmbeddingProfile(
        mean=tuple(embeddings.mean(axis=0).tolist()),
        std=tuple(embeddings.std(axis=0).tolist()),
        num_sequences=len(embeddings),
    )
