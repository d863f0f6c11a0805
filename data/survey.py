"""One streaming pass over training data, which computes its profile and a uniform sample, and refuses bad rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.bad_rows import bad_row_error
from seqembed.data.decode.arrow import as_lists, locate
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import id_text
from seqembed.data.decode.nested import RAGGED
from seqembed.data.files.census import IdCensus, SharedIds
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.sequences import BadRow, LengthPolicy, SequenceBlock, concatenate
from seqembed.data.week_hours import week_columns

# The sample is kept in memory and written beside the model: at most a few MiB, however long the sequences are.
_MAX_SAMPLE_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Survey:
    """The result of one pass over the data.

    Attributes:
        profile: Statistics of the selected sequences.
        num_total: Number of sequences, including empty ones.
        num_selected: Number of selected sequences, including empty ones.
        max_length: Steps of the longest sequence, after truncation.
        num_truncated: Number of truncated sequences.
        shared_ids: Ids that several rows of the nested layout share; None if there are none.
        sample: A uniform sample of the selected sequences with at least one step, including one of the shortest and one
            of the longest.
        aside: A uniform sample of other sequences with at least one step, which the caller sets aside.
    """

    profile: SequenceProfile
    num_total: int
    num_selected: int
    max_length: int
    num_truncated: int
    shared_ids: SharedIds | None
    sample: SequenceBlock
    aside: SequenceBlock


def survey(
    files: Sequence[InputFile],
    schema: SequenceSchema,
    policy: LengthPolicy,
    *,
    seed: int,
    keep: Sequence[str] = (),
    select: Callable[[SequenceBlock], NDArray[np.bool_]] | None = None,
    set_aside: Callable[[SequenceBlock], NDArray[np.bool_]] | None = None,
    max_sample: int = 1000,
) -> Survey:
    """Read all `files` once.

    Args:
        files: Parquet files.
        schema: Which columns make a sequence.
        policy: How long sequences are truncated.
        seed: Seed of the sample.
        keep: Columns to keep in the sample.
        select: Returns which sequences of a block to include in profile and sample, bool (sequences); None is all.
        set_aside: Returns which sequences of a block to sample separately, bool (sequences); None is none.
        max_sample: Maximum sequences of a sample; that of the selected ones also has the shortest and the longest.

    Raises:
        BadRowError: A row is not a valid sequence.
        InputError: A file cannot be read as `schema`.
    """
    accumulator = ProfileAccumulator(schema.num_features, week_columns(schema))
    reservoir, aside = _Reservoir(seed, max_sample), _Reservoir([seed, 1], max_sample, extremes=False)
    census = IdCensus()
    num_total = num_selected = max_length = num_truncated = 0
    for file in files:
        for block in read_blocks(file, schema, policy, keep):
            refuse_bad_rows(block, file, schema)
            num_total += block.num_sequences
            num_truncated += block.num_truncated
            max_length = max(max_length, int(block.lengths.max(initial=0)))
            if schema.layout == "nested":
                census.add_rows(hash_ids(block.ids))
            chosen = block if select is None else block.take(np.flatnonzero(select(block)))
            num_selected += chosen.num_sequences
            accumulator.update(chosen)
            reservoir.update(chosen)
            if set_aside is not None:
                aside.update(block.take(np.flatnonzero(set_aside(block))))
    shared = census.result()
    return Survey(
        profile=accumulator.finish(),
        num_total=num_total,
        num_selected=num_selected,
        max_length=max_length,
        num_truncated=num_truncated,
        shared_ids=shared if shared.num_shared else None,
        sample=reservoir.finish(),
        aside=aside.finish(),
    )


def refuse_bad_rows(block: SequenceBlock, file: InputFile, schema: SequenceSchema) -> None:
    """Raise for the first invalid row of a block.

    Columns of different lengths usually mean that one of them does not describe steps, such as a list of tags, and was
    used because the features were not named.

    Raises:
        BadRowError: Names the file, row, id and reason.
    """
    if block.bad:
        refuse_bad_row(block.bad[0][1], file, schema)


def refuse_bad_row(bad: BadRow, file: InputFile, schema: SequenceSchema) -> NoReturn:
    """Raise for an invalid row; see `refuse_bad_rows`.

    Raises:
        BadRowError: Always.
    """
    remedy = "Fix or remove the row."
    if bad.reason.startswith(RAGGED) and len(schema.feature_columns) > 1:
        example = _example(schema, bad.raw)
        remedy = f"If a column does not hold one value per step, pass --features without it{example}. Else "
        remedy += "fix or remove the row."
    raise bad_row_error(file.name, bad, remedy)


def _example(schema: SequenceSchema, row: pa.RecordBatch) -> str:
    """Suggest the features whose columns have the same number of steps in a row; nothing if none or all have.

    That number is the number of times, else the most frequent one; of two equally frequent ones, that of more numeric
    columns.
    """
    time = None if schema.time is None else locate(row.schema, schema.time)[0]
    names = dict.fromkeys([*schema.feature_columns, *([] if time is None else [time])])
    lengths = {name: pc.list_value_length(as_lists(row.column(name)))[0].as_py() or 0 for name in names}
    numbers = Counter(lengths[column] for column in dict.fromkeys(feature.column for feature in schema.numbers))
    every = Counter(lengths[column] for column in schema.feature_columns)
    steps = max(every, key=lambda length: (every[length], numbers[length])) if time is None else lengths[time]
    offered: list[Feature | CategoricalField] = [*schema.numbers, *schema.categorical]
    wanted = [
        one.name if isinstance(one.component, str) else one.column for one in offered if lengths[one.column] == steps
    ]
    if not wanted or all(lengths[one.column] == steps for one in offered):
        return ""
    return f", such as --features {','.join(dict.fromkeys(wanted))}"


class _Reservoir:
    """A uniform sample of a stream: the sequences with the smallest of independent random keys.

    With `extremes` it also has one of the shortest and one of the longest sequences.
    """

    def __init__(self, seed: int | Sequence[int], size: int, *, extremes: bool = True) -> None:
        self._extremes = extremes
        self._random = np.random.default_rng(seed)
        self._size = size
        self._blocks: list[SequenceBlock] = []
        self._keys = np.empty(0)
        self._shortest: SequenceBlock | None = None
        self._longest: SequenceBlock | None = None

    def update(self, block: SequenceBlock) -> None:
        keys = self._random.random(block.num_sequences)
        candidates = np.flatnonzero(block.lengths > 0)
        if not len(candidates):
            return
        self._keep_extremes(block, candidates)
        if len(self._keys) >= self._size:
            candidates = candidates[keys[candidates] < self._keys.max()]
        if len(candidates):
            self._blocks.append(block.take(candidates))
            self._keys = np.concatenate([self._keys, keys[candidates]])
            self._trim()

    def _keep_extremes(self, block: SequenceBlock, candidates: NDArray[np.int64]) -> None:
        lengths = block.lengths[candidates]
        low, high = candidates[[int(lengths.argmin())]], candidates[[int(lengths.argmax())]]
        if self._shortest is None or block.lengths[low[0]] < self._shortest.lengths[0]:
            self._shortest = block.take(low)
        if self._longest is None or block.lengths[high[0]] > self._longest.lengths[0]:
            self._longest = block.take(high)

    def _trim(self) -> None:
        merged = _joined(self._blocks)
        order = np.argsort(self._keys, kind="stable")[: self._size]
        steps = np.cumsum(merged.lengths[order])
        order = order[: max(1, int(np.searchsorted(steps, _MAX_SAMPLE_STEPS, side="right")))]
        indices = np.sort(order)
        self._blocks = [merged.take(indices)]
        self._keys = self._keys[indices]

    def finish(self) -> SequenceBlock:
        if self._shortest is None or self._longest is None:
            return SequenceBlock(np.zeros((0, 0), np.float32), np.zeros(1, np.int64), pa.nulls(0))
        if not self._extremes:
            return self._blocks[0]
        lengths = self._blocks[0].lengths
        extremes = [self._shortest] if self._shortest.lengths[0] < lengths.min() else []
        extremes += [self._longest] if self._longest.lengths[0] > lengths.max() else []
        return _joined([*self._blocks, *extremes])


def _joined(blocks: Sequence[SequenceBlock]) -> SequenceBlock:
    """Concatenate blocks of several files; ids and kept columns whose types differ become text."""
    ids = _same_type([block.ids for block in blocks])
    kept = {name: _same_type([block.kept[name] for block in blocks]) for name in blocks[0].kept}
    return concatenate(
        [
            replace(block, ids=ids[index], kept={name: columns[index] for name, columns in kept.items()})
            for index, block in enumerate(blocks)
        ]
    )


def _same_type(columns: list[pa.Array]) -> list[pa.Array]:
    if len({column.type for column in columns}) == 1:
        return columns
    return [pa.array([id_text(value) for value in column], pa.large_string()) for column in columns]
