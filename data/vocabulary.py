"""The values of a categorical field and their numbers: what a model knows, in the contract, so that every host agrees.

Ids: 0 is any value that is not in the vocabulary, 1 is a missing one, and the values follow from 2, most frequent
first. Padding may hold any id: it is masked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

UNKNOWN_ID = 0
MISSING_ID = 1
FIRST_ID = 2
ValueKind = Literal["string", "integer", "boolean"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known values of one field.

    Attributes:
        kind: What the column holds: ``string`` (dictionaries of strings included), ``integer`` or ``boolean``.
        values: Most frequent first, ties by value; the id of ``values[i]`` is ``i + FIRST_ID``.
        counts: How often each of `values` was met in training; with `num_unknown` and `num_missing` it says how rare
            they are.
        num_unknown: Training steps whose value did not get into the vocabulary.
        num_missing: Training steps without a value.
    """

    kind: ValueKind
    values: tuple[str, ...] | tuple[int, ...] | tuple[bool, ...]
    counts: tuple[int, ...]
    num_unknown: int
    num_missing: int

    @property
    def num_ids(self) -> int:
        """Ids in use, those for unknown and missing included."""
        return FIRST_ID + len(self.values)

    @property
    def unknown_share(self) -> float:
        """Share of the training steps whose value did not get into the vocabulary."""
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
