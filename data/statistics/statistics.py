"""Totals of sequences, values, categories and embeddings, exact under merging in any order."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from seqembed.data.statistics.contradictions import contradiction
from seqembed.data.statistics.definition import LENGTH_EDGES, NUM_BINS, STEPS_PER_SCALE, Definition, VectorGrid, finite

_MAX_TOTAL: Final = 1 << 60
_SIGNED: Final = ("sums", "vector_sums", "vector_products")
_SINGLE: Final = ("sequences", "empty", "steps", "counted_steps", "vectors", "vectors_clipped")


@functools.lru_cache(maxsize=8)
def layout_of(definition: Definition) -> dict[str, slice]:
    """Return where each block of totals lies.

    Blocks: ``sequences`` with at least one step, ``empty`` ones, their ``steps``, ``lengths`` by bin; of the
    ``counted_steps``, by feature: ``missing`` values, ``clipped`` ones, ``sums`` and ``squares`` in grid steps, and
    ``bins``; ``categories`` by field and bin; ``vectors``, ``vectors_clipped``, ``vector_sums``, and
    ``vector_products`` (the upper triangle, by row) in grid steps.
    """
    num, wide = len(definition.features), 0 if definition.vectors is None else definition.vectors.dimensions
    sizes = {"sequences": 1, "empty": 1, "steps": 1, "lengths": len(LENGTH_EDGES), "counted_steps": 1}
    sizes |= {"missing": num, "clipped": num, "sums": num, "squares": num, "bins": num * NUM_BINS}
    sizes |= {"categories": sum(field.num_bins for field in definition.fields)}
    sizes |= {"vectors": 1, "vectors_clipped": 1, "vector_sums": wide, "vector_products": wide * (wide + 1) // 2}
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Totals of many sequences.

    Attributes:
        definition: What is counted.
        totals: int64 (sum of the blocks of `layout_of`).
        lowest, highest: float64 (1 + features): least and greatest length, and value of each feature among the counted
            steps; ``inf`` and ``-inf`` where there is none.
    """

    definition: Definition
    totals: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]

    @classmethod
    def empty(cls, definition: Definition) -> Self:
        """Return the statistics of nothing."""
        size, num = layout_of(definition)["vector_products"].stop, 1 + len(definition.features)
        return cls(definition, np.zeros(size, np.int64), np.full(num, np.inf), np.full(num, -np.inf))

    def merge(self, other: "Statistics") -> "Statistics":
        """Return the totals of both, to the bit whatever the order of several merges.

        Raises:
            ValueError: They do not count the same.
        """
        if self.definition is not other.definition and self.definition != other.definition:
            raise ValueError("statistics of different definitions do not add up")
        lowest, highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)
        return Statistics(self.definition, self.totals + other.totals, lowest, highest)

    def with_vectors(self, grid: VectorGrid) -> "Statistics":
        """Return statistics that count embeddings too, none so far; in place of what this one counted of them."""
        definition = replace(self.definition, vectors=grid)
        made = Statistics.empty(definition)
        end = layout_of(definition)["vectors"].start  # blocks of embeddings are the last ones
        made.totals[:end] = self.totals[:end]
        return replace(made, lowest=self.lowest, highest=self.highest)

    def __eq__(self, other: object) -> bool:
        """Whether definition and every total are equal."""
        if not isinstance(other, Statistics):
            return NotImplemented
        pairs = [(self.totals, other.totals), (self.lowest, other.lowest), (self.highest, other.highest)]
        return self.definition == other.definition and all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]  # its arrays can be changed

    def __repr__(self) -> str:
        """Return how much was counted."""
        return (
            f"Statistics(sequences={self.number('sequences')}, steps={self.number('steps')}, "
            f"features={len(self.definition.features)}, vectors={self.number('vectors')})"
        )

    def block(self, name: str) -> NDArray[np.int64]:
        """Return the totals of a block of `layout_of`, int64, not copied; ``bins`` as (features, `NUM_BINS`)."""
        found = self.totals[layout_of(self.definition)[name]]
        return found.reshape(-1, NUM_BINS) if name == "bins" else found

    def number(self, name: str) -> int:
        """Return the total of a block that is a single number."""
        return int(self.block(name)[0])

    @property
    def known(self) -> NDArray[np.int64]:
        """Counted values that are not missing, int64 (features)."""
        return self.number("counted_steps") - self.block("missing")

    @property
    def missing_share(self) -> NDArray[np.float64]:
        """Share of the counted steps without a value, float64 (features)."""
        return self.block("missing") / max(1, self.number("counted_steps"))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the clipped values, float64 (features), raw units; NaN without values.

        The sums are of rounded values, the extremes are exact: values that are all 0 have a mean of 0, not of -0.04.
        """
        center = np.array([feature.center for feature in self.definition.features])
        mean = center + self._scale * _ratio(self.block("sums"), self.known)
        within = np.minimum(np.maximum(mean, self.lowest[1:]), self.highest[1:])
        return np.where(self.block("clipped") > 0, mean, within)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of the clipped values, float64 (features), raw units; NaN without values."""
        mean, squares = _ratio(self.block("sums"), self.known), _ratio(self.block("squares"), self.known)
        return self._scale * np.sqrt(np.maximum(squares - mean**2, 0.0))

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array([feature.scale for feature in self.definition.features]) / STEPS_PER_SCALE

    def categories(self, field: int) -> NDArray[np.int64]:
        """Return how often each bin of a field occurs, int64 (bins)."""
        ends = np.cumsum([0, *(one.num_bins for one in self.definition.fields)])
        return self.block("categories")[ends[field] : ends[field + 1]]

    @property
    def vector_mean(self) -> NDArray[np.float64]:
        """Mean of the projected embeddings, float64 (dimensions), in units of the grid; 0 is that of training."""
        return _ratio(self.block("vector_sums"), self.number("vectors")) / STEPS_PER_SCALE

    @property
    def vector_covariance(self) -> NDArray[np.float64]:
        """Covariance of the projected embeddings, float64 (dimensions, dimensions), in squared units of the grid."""
        num = len(self.block("vector_sums"))
        rows, columns = np.triu_indices(num)
        products = np.empty((num, num))
        products[rows, columns] = products[columns, rows] = _ratio(
            self.block("vector_products"), self.number("vectors")
        )
        mean = self.vector_mean
        covariance: NDArray[np.float64] = products / STEPS_PER_SCALE**2 - np.outer(mean, mean)
        return covariance

    def to_json(self) -> dict[str, Any]:
        """Return plain values, blocks by name."""
        blocks = {name: self.totals[where].tolist() for name, where in layout_of(self.definition).items()}
        return {
            "definition": self.definition.to_json(),
            "totals": {name: block[0] if name in _SINGLE else block for name, block in blocks.items()},
            "lowest": [_number(value) for value in self.lowest],
            "highest": [_number(value) for value in self.highest],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`, which may have been edited since.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: `value` is no statistics.
        """
        definition = _definition(value["definition"])
        numbers: list[Any] = []
        for name, where in layout_of(definition).items():
            found = value["totals"][name]
            block = [found] if name in _SINGLE else list(found)
            if any(type(number) is not int for number in block):
                raise TypeError(f"'{name}' of the statistics are not integers")
            if len(block) != where.stop - where.start:
                raise ValueError(f"'{name}' of the statistics is not {where.stop - where.start} integers")
            numbers += block
        totals, num = np.array(numbers), 1 + len(definition.features)
        if totals.dtype != np.int64 or max(totals.max(), -int(totals.min())) > _MAX_TOTAL:
            raise ValueError(f"totals of the statistics are not integers of at most {_MAX_TOTAL}")
        if any((totals[where] < 0).any() for name, where in layout_of(definition).items() if name not in _SIGNED):
            raise ValueError("a count of the statistics is negative")
        lowest, highest = _extremes(value["lowest"], math.inf), _extremes(value["highest"], -math.inf)
        if (len(lowest), len(highest)) != (num, num):
            raise ValueError(f"extremes of the statistics are not {num} numbers each")
        made = cls(definition, totals, lowest, highest)
        if (what := contradiction(made)) is not None:
            raise ValueError(f"the statistics contradict themselves: {what}")
        return made


# The definition parsed last: thousands of footers hold the same one, and comparing costs a tenth of parsing.
_parsed: list[tuple[Any, Definition]] = []


def _definition(value: Any) -> Definition:
    if _parsed and _parsed[0][0] == value:
        return _parsed[0][1]
    definition = Definition.from_json(value)
    _parsed[:] = [(value, definition)]
    return definition


def _extremes(numbers: Sequence[Any], none: float) -> NDArray[np.float64]:
    return np.array([none if number is None else finite(number) for number in numbers], dtype=np.float64)


def merged(parts: Iterable[Statistics | None]) -> Statistics | None:
    """Return the totals of many statistics; None where there are none, or one is unknown or counts something else."""
    total: Statistics | None = None
    for part in parts:
        if part is None or (total is not None and total.definition != part.definition):
            return None
        total = part if total is None else total.merge(part)
    return total


def _ratio(total: NDArray[np.int64], count: NDArray[np.int64] | int) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = np.true_divide(total, count)
    return ratio


def _number(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
