"""The result of a search for neighbours."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seqembed.runner.neighbors.options import Metric

Value = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Steps:
    """The numbers of a sequence, for a picture of it.

    Attributes:
        num_steps: Its steps.
        values: By feature, in raw units: a number per step, or of a longer sequence the means of consecutive steps, at
            most `seqembed.runner.neighbors.steps.MAX_POINTS`; None where all values are missing.
    """

    num_steps: int
    values: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A row with a vector.

    Attributes:
        rank: 1 for the nearest; 0 for the row that was asked for.
        id: Its id; text for types that JSON does not have.
        distance: Distance from the row that was asked for.
        kept: The other columns of its row, and the hive keys of its path.
        file: Name of its file.
        row: Its row in the file, from 0.
        steps: Its sequence; None if there is no data, or no sequence of this id in it.
    """

    rank: int
    id: Value
    distance: float
    kept: Mapping[str, Value]
    file: str
    row: int
    steps: Steps | None = None


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest rows of one row.

    Attributes:
        row: The row that was asked for.
        nearest: The nearest other rows, nearest first; rows at equal distances in the order of files and rows.
        num_rows: Rows with its id. Where there are several, `row` is the first that has a vector.
    """

    row: Neighbor
    nearest: tuple[Neighbor, ...]
    num_rows: int


@dataclass(frozen=True, slots=True, repr=False)
class NeighborReport:
    """The result of a search for neighbours.

    Attributes:
        source: What was searched, without credentials.
        metric: ``euclidean`` or ``cosine``.
        num_files: Its files.
        num_vectors: Its rows with a vector.
        num_skipped: Its rows without one: null, or with a number that is not finite.
        results: One for each id that was asked for, in that order.
    """

    source: str
    metric: Metric
    num_files: int
    num_vectors: int
    num_skipped: int
    results: tuple[Neighbors, ...]

    def __repr__(self) -> str:
        """Return the size of the search, and the ids that were asked for."""
        return (
            f"NeighborReport({self.source!r}, metric={self.metric!r}, num_vectors={self.num_vectors}, "
            f"num_skipped={self.num_skipped}, ids={[result.row.id for result in self.results]!r})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
