"""Hints from the values of columns: numbers that are too precise for float32, and integers that may be codes."""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import is_list, leaf, to_float32
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.peek import peek
from seqembed.data.schema.schema import Feature, SequenceSchema

# Below three values, a category carries no more than the number; above twenty, integers are mostly counts.
_MIN_CODES, _MAX_CODES = 3, 20
_MAX_HINTS = 8


def merged_by_float32(file: InputFile, schema: SequenceSchema) -> dict[str, tuple[int, int]]:
    """Return the columns of which float32 keeps at most half of the distinct values, such as times in milliseconds.

    Models compute in float32, which keeps seven digits. Only the start of the file is examined.

    Args:
        file: A file with rows.
        schema: Which columns are features.

    Returns:
        Name of the feature, or column of the vectors → number of distinct values as stored, and as float32.

    Raises:
        BadFileError: The file is damaged.
    """
    arrow_schema, _ = file.footer()
    wide = {
        _name(feature): feature
        for feature in schema.numbers
        if _is_wide(feature_type(arrow_schema, feature, schema.layout == "nested"))
    }
    if not wide:
        return {}
    batch = next(peek(file, list(dict.fromkeys(feature.column for feature in wide.values()))), None)
    if batch is None:
        return {}
    found = {}
    for name, feature in wide.items():
        steps = _steps(batch.column(feature.column), feature, schema.layout == "nested").drop_null()
        stored, kept = len(pc.unique(steps)), len(np.unique(to_float32(steps)))
        if stored >= 2 * kept and kept:
            found[name] = (stored, kept)
    return found


def integer_features(arrow_schema: pa.Schema, schema: SequenceSchema) -> tuple[int, ...]:
    """Return the indices of integer features, which could be categories instead."""
    return tuple(
        index
        for index, feature in enumerate(schema.features)
        if feature.kind == "numeric"
        and not isinstance(feature.component, int)
        and pa.types.is_integer(feature_type(arrow_schema, feature, schema.layout == "nested"))
    )


class FewValues:
    """Counts the distinct values of some features, and stops for those with more than a few."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._met: dict[int, set[float]] = {index: set() for index in indices}

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values, float32 (steps, features)."""
        for index in list(self._met):
            self.add(index, pa.array(np.ascontiguousarray(values[:, index]), from_pandas=True))

    def add(self, index: int, values: pa.Array) -> None:
        """Add values of one feature, (steps); ignored if it already has more than a few."""
        met = self._met.get(index)
        if met is None:
            return
        met.update(pc.unique(values).drop_null().to_pylist())
        if len(met) > _MAX_CODES:
            del self._met[index]

    def codes(self) -> dict[int, int]:
        """Return the features that may be codes: index → number of distinct values."""
        return {index: len(met) for index, met in self._met.items() if len(met) >= _MIN_CODES}


def codes_at_start(file: InputFile, schema: SequenceSchema, num_slices: int) -> dict[int, int]:
    """Return the features that may be codes, judged by the start of a file: index → number of distinct values.

    Raises:
        BadFileError: The file is damaged.
    """
    indices = integer_features(file.footer()[0], schema)
    few = FewValues(indices)
    columns = list(dict.fromkeys(schema.features[index].column for index in indices))
    for batch in islice(peek(file, columns), num_slices if indices else 0):
        for index in indices:
            feature = schema.features[index]
            few.add(index, _steps(batch.column(feature.column), feature, schema.layout == "nested"))
    return few.codes()


def hint_at_codes(schema: SequenceSchema, codes: Mapping[int, int]) -> list[str]:
    """Return a hint for features that may be codes, index → number of distinct values; nothing without any."""
    if not codes:
        return []
    names = [schema.feature_names[index] for index in codes]
    shown = [f"{name} ({number} values)" for name, number in zip(names, codes.values(), strict=True)]
    more = f" and {len(names) - _MAX_HINTS:,} more" if len(names) > _MAX_HINTS else ""
    return [
        f"integers with few distinct values are treated as quantities: {', '.join(shown[:_MAX_HINTS])}{more}. "
        f"If they are codes, pass --categorical {','.join(names[:_MAX_HINTS])}"
    ]


def feature_type(arrow_schema: pa.Schema, feature: Feature, nested: bool) -> pa.DataType:
    """Return the type of a feature's value in one step."""
    kind = arrow_schema.field(feature.column).type
    if nested:
        kind = kind.value_type
    if isinstance(feature.component, str):
        return kind.field(feature.component).type
    return kind.value_type if isinstance(feature.component, int) and is_list(kind) else kind


def _name(feature: Feature) -> str:
    return feature.column if isinstance(feature.component, int) else feature.name


def _is_wide(kind: pa.DataType) -> bool:
    types = pa.types
    is_long = types.is_integer(kind) and kind.bit_width > 16
    return bool(is_long or types.is_float64(kind) or types.is_decimal(kind))


def _steps(column: pa.Array, feature: Feature, nested: bool) -> pa.Array:
    steps = column.flatten() if nested else column
    if isinstance(feature.component, int):
        return steps.flatten()
    return leaf(steps, feature.component)
