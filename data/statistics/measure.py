"""Make the definition of statistics from what a first pass found, and count the training data in a second one."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock
from seqembed.data.statistics.counter import Counter
from seqembed.data.statistics.definition import (
    MAX_CATEGORY_BINS,
    MAX_EDGES,
    MAX_STRIDE,
    MIN_SCALE,
    CategoryBins,
    Definition,
    FeatureBins,
    counted,
)
from seqembed.data.statistics.statistics import Statistics

_SHARES = np.linspace(0, 1, MAX_EDGES)  # of the values below each edge


def define(schema: SequenceSchema, profile: SequenceProfile, sample: SequenceBlock, frame: int) -> Definition:
    """Choose what statistics count.

    Bins are the deciles of the sample's values, and what lies outside; values of which there are few have their own.

    Args:
        schema: Of the sequences.
        profile: Means and standard deviations of the training data, which the grids are made of.
        sample: Some of its sequences.
        frame: Steps that the recurrent layers read as one: the more, the less a step of the model costs.
    """
    features = []
    for index in counted(schema.num_features).tolist():
        values = sample.values[:, index] if sample.num_sequences else np.zeros(0, np.float32)
        std = profile.std[index]
        scale = std if MIN_SCALE < std < 1 / MIN_SCALE else 1.0
        features.append(FeatureBins(schema.feature_names[index], profile.mean[index], scale, _edges(values)))
    chosen = [schema.categorical[index] for index in counted(schema.num_fields).tolist()]
    fields = tuple(CategoryBins(field.name, min(field.num_ids, MAX_CATEGORY_BINS)) for field in chosen)
    return Definition(tuple(features), fields, _stride(len(features) + len(fields), frame))


def _edges(values: NDArray[np.float32]) -> tuple[float, ...]:
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return ()
    edges = known[np.minimum((_SHARES * len(known)).astype(np.int64), len(known) - 1)]
    edges[-1] = np.nextafter(edges[-1], np.float32(np.inf))  # the greatest value lies in the bin before
    return tuple(float(str(edge)) for edge in np.unique(edges[np.isfinite(edges)]))


def _stride(width: int, frame: int) -> int:
    """Return the stride that keeps counting below a fiftieth of a run's cost.

    Measured at LSTM-64 and 8 features, where a step costs 1 µs and counting a value 30 ns.
    """
    return min(MAX_STRIDE, max(1, width * frame))


def measure(
    files: Sequence[InputFile],
    schema: SequenceSchema,
    policy: LengthPolicy,
    definition: Definition,
    select: Callable[[SequenceBlock], NDArray[np.bool_]] | None = None,
) -> Statistics:
    """Count every step of all `files`, as they are read once more.

    Args:
        files: Parquet files, without bad rows.
        schema: Which columns make a sequence.
        policy: How long sequences are truncated.
        definition: What is counted.
        select: Returns which sequences of a block to count, bool (sequences); None is all.

    Raises:
        InputError: A file cannot be read as `schema`.
    """
    counter = Counter(definition, schema)
    for file in files:
        for block in read_blocks(file, schema, policy):
            counter.update(block if select is None else block.take(np.flatnonzero(select(block))))
    return counter.statistics
