"""Read the sequences of some ids, each shortened to what a picture shows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema
from seqembed.runner.neighbors.ids import IdMatcher
from seqembed.runner.neighbors.options import NeighborOptions
from seqembed.runner.neighbors.report import Steps

MAX_POINTS = 240
# Name of a vector's file, and text of its id.
RowKey = tuple[str, str]


def read_steps(
    options: NeighborOptions,
    id_column: str,
    exclude: Collection[str],
    wanted: Iterable[RowKey],
    made_from: Mapping[str, str | None],
) -> dict[RowKey, Steps]:
    """Return the sequences of `options.data` for some rows of vectors.

    Daily files hold many sequences of an id. The first in the file that the vector was made from is taken, or in one of
    the same name, which data that were moved have; else the first of all.

    Args:
        options: Where the data is, and how to read it.
        id_column: Its id column.
        exclude: Columns that are no features, such as those kept beside the vectors.
        wanted: The rows.
        made_from: By name of a vector's file, the location of the file that it was made from, if it is known.

    Raises:
        InputError: There is no such data, or no column of numbers in it, or it cannot be read.
        UsageError: A column to draw holds text.
    """
    files = resolve_inputs(options.data)
    schema = _schema(files, options, id_column, exclude)
    rows = set(wanted)
    first: dict[str, Steps] = {}
    same_file: dict[RowKey, Steps] = {}
    by_text: defaultdict[str, list[RowKey]] = defaultdict(list)
    for key in rows:
        by_text[key[1]].append(key)
    matcher = IdMatcher(list(by_text))
    for file in files:
        if rows <= same_file.keys():
            break
        for block in read_blocks(file, schema):
            for row, text in matcher.rows(block.ids):
                of_file = [
                    key
                    for key in by_text[text]
                    if key not in same_file and (key[0] == file.name or made_from.get(key[0]) == file.location)
                ]
                if text in first and not of_file:
                    continue
                values = block.values[block.offsets[row] : block.offsets[row + 1]]
                steps = _shortened(values, schema.feature_names)
                first.setdefault(text, steps)
                same_file |= dict.fromkeys(of_file, steps)
    return {key: same_file.get(key) or first[key[1]] for key in rows if key[1] in first}


def _schema(
    files: Sequence[InputFile], options: NeighborOptions, id_column: str, exclude: Collection[str]
) -> SequenceSchema:
    for file in files:
        names = file.footer()[0].names
        if id_column not in names:
            _refuse_id(file, id_column, names)
    schema = detect_schema(
        files,
        id_column=id_column,
        features=options.features,
        layout=options.layout,
        time_column=options.time,
        exclude=sorted(exclude),
        time_features=False,
        categories=False,
    )
    if schema.categorical:
        names = ", ".join(repr(field.name) for field in schema.categorical)
        raise UsageError(
            f"--features: {names} holds text, which is not drawn. Name columns of numbers, or none for all."
        )
    return schema


def _refuse_id(file: InputFile, id_column: str, names: Sequence[str]) -> NoReturn:
    there = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise InputError(
        f"{file.name}: no column '{id_column}', the id column of the vectors. The file has: {there}. Pass the data "
        "that the vectors were made from, or name a column that both have with --id-column."
    )


def _shortened(values: NDArray[np.float32], names: Sequence[str]) -> Steps:
    shown = resampled(values.astype(np.float64), min(len(values), MAX_POINTS))
    columns = [tuple(None if np.isnan(value) else value for value in column) for column in shown.T.tolist()]
    return Steps(len(values), dict(zip(names, columns, strict=True)))


def resampled(values: NDArray[np.float64], num: int) -> NDArray[np.float64]:
    """Return the means of `num` consecutive runs of steps of nearly equal length, (num, features).

    Args:
        values: (steps, features), NaN where missing.
        num: At most the number of steps.
    """
    if len(values) == num:
        return values
    starts = np.arange(num) * len(values) // num
    known = ~np.isnan(values)
    counts = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=0)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)
