"""What statistics count: fixed bins and grids, made once from the training data and stored in the contract.

Statistics of equal definitions add up exactly in any order, since everything that is summed is an integer.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.schema import SequenceSchema

# Values are rounded to 1/256 of a feature's scale, and clipped at 32 of them: a square has 26 bits, so that an int64
# holds the sum of 2^37 of them.
STEPS_PER_SCALE: Final = 256
MAX_SCALES: Final = 32
MAX_EDGES: Final = 11
NUM_BINS: Final = MAX_EDGES + 1
# Of a wider model this many features, or fields, spread evenly, are counted: the footer of each part stays below 80 kB.
MAX_COUNTED: Final = 256
MAX_CATEGORY_BINS: Final = 64
MAX_DIMENSIONS: Final = 16
MAX_STRIDE: Final = 1 << 24
_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
MIN_SCALE: Final = 1e-38  # and its inverse is the greatest: float32 holds both
# Lower edges of the bins of lengths: every length to 8, then four per doubling, up to 2^24.
LENGTH_EDGES: Final[tuple[int, ...]] = (
    *range(1, 8),
    *(eighth << power for power in range(1, 22) for eighth in (4, 5, 6, 7)),
    1 << 24,
)


@dataclass(frozen=True, slots=True)
class FeatureBins:
    """How the values of a feature are counted.

    Attributes:
        name: The feature.
        center, scale: Raw units; values are summed as multiples of ``scale / STEPS_PER_SCALE`` from `center`.
        edges: Ascending float32 numbers, at most `MAX_EDGES`; bin i holds values from ``edges[i - 1]`` to below
            ``edges[i]``, the first and last bin what lies outside.
    """

    name: str
    center: float
    scale: float
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """How the ids of a field are counted.

    Attributes:
        name: The field.
        num_bins: Each id below ``num_bins - 1`` has its own bin; the last one holds it and all that are higher, the
            rarer values.
    """

    name: str
    num_bins: int


@dataclass(frozen=True, slots=True)
class VectorGrid:
    """How embeddings are counted, after `seqembed.data.statistics.projection.Projection`.

    Attributes:
        dimensions: Of the projection.
        unit: Raw units of the embedding that the projected numbers are measured in.
        stride: A run counts the embedding of one sequence in this many.
    """

    dimensions: int
    unit: float
    stride: int


@dataclass(frozen=True, slots=True)
class Definition:
    """What is counted.

    Attributes:
        features: Counted features, in model order.
        fields: Counted categorical fields, in model order.
        stride: A run counts the values of one step in this many of each sequence; lengths and rows are all counted.
        vectors: How embeddings are counted; None where they are not.
    """

    features: tuple[FeatureBins, ...]
    fields: tuple[CategoryBins, ...]
    stride: int
    vectors: VectorGrid | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        vectors = self.vectors
        return {
            "features": [
                {"name": one.name, "center": one.center, "scale": one.scale, "edges": list(one.edges)}
                for one in self.features
            ],
            "fields": [{"name": one.name, "num_bins": one.num_bins} for one in self.fields],
            "stride": self.stride,
            "vectors": None if vectors is None else asdict(vectors),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Definition":
        """Rebuild from `to_json`, which may have been edited since.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: `value` is no definition.
        """
        vectors = value["vectors"]
        made = cls(
            features=tuple(_feature(feature) for feature in value["features"]),
            fields=tuple(
                CategoryBins(_text(field["name"]), _whole(field["num_bins"], 1, MAX_CATEGORY_BINS))
                for field in value["fields"]
            ),
            stride=_whole(value["stride"], 1, MAX_STRIDE),
            vectors=None
            if vectors is None
            else VectorGrid(
                _whole(vectors["dimensions"], 1, MAX_DIMENSIONS),
                _scale(vectors["unit"]),
                _whole(vectors["stride"], 1, MAX_STRIDE),
            ),
        )
        if max(len(made.features), len(made.fields)) > MAX_COUNTED:
            raise ValueError(f"more than {MAX_COUNTED} features or fields are counted")
        return _shared(made)


@functools.lru_cache(maxsize=8)
def _shared(definition: Definition) -> Definition:
    """Return the first of equal definitions: thousands of parts have one between them."""
    return definition


def counted(num: int) -> NDArray[np.int64]:
    """Return which of `num` features or fields are counted, int64 indices: all of a few, else an even spread."""
    if num <= MAX_COUNTED:
        return np.arange(num)
    return np.linspace(0, num - 1, MAX_COUNTED).astype(np.int64)


def counted_names(schema: SequenceSchema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the features and of the fields of a schema that are counted."""
    features = tuple(schema.feature_names[index] for index in counted(schema.num_features))
    return features, tuple(schema.categorical[index].name for index in counted(schema.num_fields))


def _feature(value: Mapping[str, Any]) -> FeatureBins:
    edges = tuple(_single(edge) for edge in value["edges"])
    if len(edges) > MAX_EDGES or (np.diff(np.array(edges, np.float32)) <= 0).any():
        raise ValueError(f"edges of {value['name']!r} are not at most {MAX_EDGES} ascending float32 numbers")
    return FeatureBins(_text(value["name"]), _single(value["center"]), _scale(value["scale"]), edges)


def _single(value: Any) -> float:
    """Return a number in the range of float32."""
    number = finite(value)
    if abs(number) > _MAX_FLOAT32:
        raise ValueError(f"{value!r:.40} is beyond float32")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _whole(value: Any, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"{value!r:.40} is not an integer in {lowest}…{highest}")
    return value


def finite(value: Any) -> float:
    """Return a number that JSON held.

    Raises:
        ValueError: It is none, or not finite as float64.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise ValueError(f"{str(value):.40} is not a finite number")
    return float(value)


def is_finite(value: int | float) -> bool:
    """Return whether a number is finite as float64, which an integer of many digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _scale(value: Any) -> float:
    if not MIN_SCALE <= finite(value) <= 1 / MIN_SCALE:
        raise ValueError(f"{value!r:.40} is not a scale in {MIN_SCALE:g}…{1 / MIN_SCALE:g}")
    return float(value)
