"""The schema of sequences: which Parquet columns hold the features, by name.

A feature is one number per step. In Parquet it may be a column (``list<double>``), a position in a vector column
(``list<fixed_size_list<float>[12]>``), a field of a struct column (``list<struct<x, y>>``), or, in the events layout, a
scalar column; or it is computed from a time column. A ``CategoricalField`` is one category per step, from the same
kinds of columns. ``SequenceSchema`` combines the features and fields of a model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from seqembed.data.schema.vocabulary import Vocabulary

Layout = Literal["nested", "events"]
LAYOUTS: tuple[Layout, ...] = ("nested", "events")


@dataclass(frozen=True, slots=True)
class Feature:
    """One number per step.

    Attributes:
        name: Name for the user, such as ``f3``, ``readings.x`` or ``vector.11``; unique in a schema.
        column: The top-level Parquet column.
        component: Field of a struct, position in a vector, time feature (`seqembed.data.decode.times`), or None
            for the column itself.
        kind: ``numeric``, or ``time`` for a feature that is computed from a time column.
    """

    name: str
    column: str
    component: str | int | None = None
    kind: Literal["numeric", "time"] = "numeric"


@dataclass(frozen=True, slots=True)
class CategoricalField:
    """One category per step.

    Attributes:
        name: Name for the user; unique in a schema, features included.
        column: The top-level Parquet column.
        vocabulary: The values with their own ids; None until they are learned.
        component: Field of a struct, or None for the column itself.
    """

    name: str
    column: str
    vocabulary: Vocabulary | None = None
    component: str | None = None

    @property
    def num_ids(self) -> int:
        """Number of ids, including those for unknown and missing."""
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
        features: Features in model order, the last axis of every values array; may be empty if there are categories.
        layout: ``nested`` (a row is a sequence) or ``events`` (a row is one step).
        time: Time column, which orders the events of an id or the steps of a nested sequence; None if steps are already
            in order.
        categorical: Categorical fields in model order, the last axis of every categories array.
        time_zone: Kind of the timestamps in `time` if there are time features: ``aware`` (instants, in UTC) or
            ``naive`` (wall clock without a zone); else None.
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
        """Vocabularies of the categorical fields, in model order, without those that are not learned yet."""
        return tuple(field.vocabulary for field in self.categorical if field.vocabulary is not None)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names in model order."""
        return tuple(feature.name for feature in self.features)

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """Distinct top-level columns of numeric features and categorical fields, in order of first use."""
        numbers = [feature.column for feature in self.numbers]
        return tuple(dict.fromkeys([*numbers, *(field.column for field in self.categorical)]))

    @property
    def numbers(self) -> tuple[Feature, ...]:
        """The numeric features, without those computed from times."""
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
