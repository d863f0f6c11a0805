"""The known values of a categorical field and their ids; the contract stores them, so all hosts use the same ids.

Id 0 is any value that is not in the vocabulary, 1 is a missing value, and the known values follow from 2, most frequent
first. Padding may hold any id, since it is masked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNKNOWN_ID = 0
MISSING_ID = 1
FIRST_ID = 2
ValueKind = Literal["string", "integer", "boolean"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known values of one field.

    Attributes:
        kind: Type of the column: ``string`` (including dictionaries of strings), ``integer`` or ``boolean``.
        values: Most frequent first, ties by value; the id of ``values[i]`` is ``i + FIRST_ID``.
        counts: Count of each of `values` in the training data.
        num_unknown: Training steps whose value is not in the vocabulary.
        num_missing: Training steps without a value.
    """

    kind: ValueKind
    values: tuple[str, ...] | tuple[int, ...] | tuple[bool, ...]
    counts: tuple[int, ...]
    num_unknown: int
    num_missing: int

    @property
    def num_ids(self) -> int:
        """Number of ids, including those for unknown and missing."""
        return FIRST_ID + len(self.values)

    @property
    def unknown_share(self) -> float:
        """Share of the training steps whose value is not in the vocabulary."""
        return self.num_unknown / max(1, sum(self.counts) + self.num_unknown + self.num_missing)

    @property
    def missing_share(self) -> float:
        """Share of the training steps without a value."""
        return self.num_missing / max(1, sum(self.counts) + self.num_unknown + self.num_missing)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        return {
            "kind": self.kind,
            "values": list(self.values),
            "counts": list(self.counts),
            "num_unknown": self.num_unknown,
            "num_missing": self.num_missing,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `value` was not made by `to_json`.
        """
        return cls(
            kind=value["kind"],
            values=tuple(value["values"]),
            counts=tuple(value["counts"]),
            num_unknown=value["num_unknown"],
            num_missing=value["num_missing"],
        )


def to_ids(steps: pa.Array, vocabulary: Vocabulary) -> NDArray[np.int32]:
    """Return the id of each value, int32 (steps); for a dictionary array only the dictionary is looked up.

    Args:
        steps: Values of the vocabulary's kind, plain or dictionary-encoded, or of Arrow's null type.
        vocabulary: The known values.
    """
    if pa.types.is_dictionary(steps.type):
        known = np.append(to_ids(steps.dictionary, vocabulary), np.int32(MISSING_ID))
        indices = steps.indices
        if indices.null_count:
            indices = pc.fill_null(indices.cast(pa.int64()), len(steps.dictionary))
        found: NDArray[np.int32] = known[indices.to_numpy(zero_copy_only=False)]
        return found
    if pa.types.is_null(steps.type):
        return np.full(len(steps), MISSING_ID, dtype=np.int32)
    kind = _lookup_type(steps.type)
    lowest, highest = (0, 2**64 - 1) if kind == pa.uint64() else (-(2**63), 2**63 - 1)
    # A number that the column's type cannot hold becomes null, which matches nothing and keeps the other indices.
    values = [None if isinstance(v, int) and not lowest <= v <= highest else v for v in vocabulary.values]
    indices = pc.index_in(steps.cast(kind), value_set=pa.array(values, kind), skip_nulls=True)
    ids = pc.add(pc.fill_null(indices, UNKNOWN_ID - FIRST_ID), FIRST_ID)
    if steps.null_count:
        ids = pc.if_else(pc.is_null(steps), pa.scalar(MISSING_ID, pa.int32()), ids)
    array: NDArray[np.int32] = ids.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return array


def _lookup_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    return pa.string() if pa.types.is_string_view(kind) else kind
