"""Count what a part holds: sequences, values, categories and embeddings, for its footer."""

import numpy as np
from numpy.typing import NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.statistics.counter import Counter
from seqembed.data.statistics.projection import Projection
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.engines.pipeline import EmbeddedWindow


def counter_of(contract: ModelContract) -> Counter | None:
    """Return what counts sequences and embeddings as the contract defines it; None where it defines nothing."""
    if contract.training.statistics is None:
        return None
    definition, profile = contract.training.statistics.definition, contract.embeddings
    if definition.vectors is None or profile is None:
        return Counter(definition, contract.schema)
    return Counter(definition, contract.schema, Projection(profile.mean, definition.vectors))


class PartCounter:
    """The statistics of one part so far."""

    def __init__(self, contract: ModelContract) -> None:
        """Start at zero."""
        self._counter = counter_of(contract)

    @property
    def statistics(self) -> Statistics | None:
        """The totals so far; None where the contract defines none."""
        return None if self._counter is None else self._counter.statistics

    def add(self, window: EmbeddedWindow, hashes: NDArray[np.uint64] | None) -> None:
        """Add the good sequences of a window.

        Args:
            window: Sequences with their vectors.
            hashes: Of their ids, uint64 (sequences), where they are known already.
        """
        if self._counter is None:
            return
        hashes = hash_ids(window.block.ids) if hashes is None else hashes
        self._counter.update(window.block, hashes)
        vectors, is_embedded = window.embeddings, window.has_embedding
        if not is_embedded.all():
            vectors, hashes = vectors[is_embedded], hashes[is_embedded]
        self._counter.update_embeddings(vectors, hashes)
