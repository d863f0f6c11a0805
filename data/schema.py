"""Where the numbers of a sequence stand in a Parquet schema, by name.

A feature is one number a step. In Parquet it may be a whole column (``list<double>``), a position inside a vector
column (``list<fixed_size_list<float>[12]>``), a field of a struct column (``list<struct<x, y>>``), or, in the events
layout, a scalar column; or it is made of a column of times. ``Feature`` says which. A ``CategoricalField`` is one
category a step, found in the same indices. ``SequenceSchema`` puts those of a model together.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from seqembed.data.vocabulary import Vocabulary

Layout = Literal["nested", "events"]
LAYOUTS: tuple[Layout, ...] = ("nested", "events")


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a step.

    Attributes:
        name: What the user calls it, e.g. ``f3``, ``readings.x`` or ``vector.11``; unique in a schema.
        column: The top-level Parquet column that holds it.
        component: Nothing for a column of its own, a field name inside structs, or a position inside vectors.
        kind: ``numeric``, or ``time``: made of a column of times, `part` says what (`seqembed.data.times`).
    """

    name: str
    column: str
    component: str | int | None = None
    kind: Literal["numeric", "time"] = "numeric"


@dataclass(frozen=True, slots=True)
class CategoricalField:
    """One category a step.

    Attributes:
        name: What the user calls it; unique in a schema, features included.
        column: The top-level Parquet column that holds it.
        vocabulary: The values that have a number of their own; None until they are learned.
        component: Nothing for a column of its own, or a field name inside structs.
    """

    name: str
    column: str
    vocabulary: Vocabulary | None = None
    component: str | None = None

    @property
    def num_ids(self) -> int:
        """How many numbers a step can have here, those for unknown and missing included."""
        if self.vocabulary is None:
            raise ValueError(f"the vocabulary of {self.name!r} is not learned yet")
        return self.vocabulary.num_ids

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        vocabulary = None if self.vocabulary is None else self.vocabulary.to_json()
        return {"name": self.name, "column": self.column, "component": self.component, "vocabulary": vocabulary}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `value` was not made by `to_json`.
        """
        vocabulary = Vocabulary.from_json(value["vocabulary"]) if value["vocabulary"] is not None else None
        return cls(name=value["name"], column=value["column"], vocabulary=vocabulary, component=value["component"])


@dataclass(frozen=True, slots=True)
class SequenceSchema:
    """Which columns make a sequence.

    Attributes:
        id: Column that names a sequence.
        features: In model order: the last axis of every values array; may be empty where there are categories.
        layout: ``nested`` (a row is a sequence) or ``events`` (a row is one step).
        time: Column of times: orders the events of an id, or gives each step of a nested sequence its time; None where
            steps already stand in order.
        categorical: In model order: the last axis of every categories array.
        time_zone: Where `time` holds timestamps that features are made of: ``aware`` (instants, in UTC) or ``naive``
            (wall clock without a zone); None elsewhere.
    """

    id: str
    features: tuple[Feature, ...]
    layout: Layout
    time: str | None = None
    categorical: tuple[CategoricalField, ...] = ()
    time_zone: Literal["aware", "naive"] | None = None

    @property
    def num_features(self) -> int:
        """Width of the last axis of values."""
        return len(self.features)

    @property
    def num_fields(self) -> int:
        """Width of the last axis of categories."""
        return len(self.categorical)

    @property
    def vocabularies(self) -> tuple[Vocabulary, ...]:
        """Those of the categorical fields, in model order; none of a field whose values are not learned yet."""
        return tuple(field.vocabulary for field in self.categorical if field.vocabulary is not None)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names in model order."""
        return tuple(feature.name for feature in self.features)

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """Top-level columns that hold numbers or categories of the model, each once, in order of first use."""
        numbers = [feature.column for feature in self.numbers]
        return tuple(dict.fromkeys([*numbers, *(field.column for field in self.categorical)]))

    @property
    def numbers(self) -> tuple[Feature, ...]:
        """The features that stand in the data; those made of times are left out."""
        return tuple(feature for feature in self.features if feature.kind == "numeric")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the contract."""
        value = {
            "id": self.id,
            "layout": self.layout,
            "time": self.time,
            "features": [asdict(feature) for feature in self.features],
        }
        if self.categorical or self.time_zone is not None:
            value["categorical"] = [field.to_json() for field in self.categorical]
            value["time_zone"] = self.time_zone
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `value` was not made by `to_json`.
        """
        return cls(
            id=value["id"],
            features=tuple(Feature(**feature) for feature in value["features"]),
            layout=value["layout"],
            time=value["time"],
            categorical=tuple(CategoricalField.from_json(field) for field in value.get("categorical", ())),
            time_zone=value.get("time_zone"),
        )
