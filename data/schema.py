"""Where the numbers of a sequence stand in a Parquet schema, by name.

A feature is one number a step. In Parquet it may be a whole column (``list<double>``), a position inside a vector
column (``list<fixed_size_list<float>[12]>``), a field of a struct column (``list<struct<x, y>>``), or, in the events
layout, a scalar column. ``Feature`` says which; ``SequenceSchema`` puts the features of a model together.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Layout = Literal["nested", "events"]
LAYOUTS: tuple[Layout, ...] = ("nested", "events")


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a step.

    Attributes:
        name: What the user calls it, e.g. ``f3``, ``readings.x`` or ``vector.11``; unique in a schema.
        column: The top-level Parquet column that holds it.
        part: Nothing for a column of its own, a field name inside structs, or a position inside vectors.
        kind: ``numeric``; the seam for categorical features.
    """

    name: str
    column: str
    part: str | int | None = None
    kind: Literal["numeric"] = "numeric"


@dataclass(frozen=True, slots=True)
class SequenceSchema:
    """Which columns make a sequence.

    Attributes:
        id: Column that names a sequence.
        features: In model order: the last axis of every values array.
        layout: ``nested`` (a row is a sequence) or ``events`` (a row is one step).
        time: Events only: column that orders the steps of an id; None where rows already stand in order.
    """

    id: str
    features: tuple[Feature, ...]
    layout: Layout
    time: str | None = None

    @property
    def num_features(self) -> int:
        """Width of the last axis."""
        return len(self.features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names in model order."""
        return tuple(feature.name for feature in self.features)

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """Top-level columns that hold features, each once, in order of first use."""
        return tuple(dict.fromkeys(feature.column for feature in self.features))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        return {
            "id": self.id,
            "layout": self.layout,
            "time": self.time,
            "features": [asdict(feature) for feature in self.features],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            KeyError, TypeError: `value` was not made by `to_json`.
        """
        features = tuple(Feature(**feature) for feature in value["features"])
        return cls(id=value["id"], features=features, layout=value["layout"], time=value["time"])
