"""Options of a search for neighbours and their defaults, which the command line reads from here."""

from dataclasses import dataclass
from typing import Literal

from seqembed.data.errors import UsageError
from seqembed.data.schema.detect import LAYOUT_CHOICES

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = ("euclidean", "cosine")


@dataclass(frozen=True, slots=True)
class NeighborOptions:
    """Options of a search for neighbours.

    Attributes:
        k: Neighbours of each id.
        metric: ``euclidean``, like 1-NN in `seqembed evaluate`, or ``cosine``: 1 minus the cosine, and 1
            for a vector of zeros.
        data: Parquet inputs with the sequences of the vectors; empty shows none.
        id_column: Column with the ids; None takes that of the run which wrote the vectors, or ``id``.
        features: Columns of `data` to show; empty for every column of numbers.
        layout: Layout of `data`: ``auto``, ``nested`` or ``events``.
        time: Column of `data` that orders the steps.

    Raises:
        UsageError: A value is out of range, or describes data where there is none.
    """

    k: int = 5
    metric: Metric = "euclidean"
    data: tuple[str, ...] = ()
    id_column: str | None = None
    features: tuple[str, ...] = ()
    layout: str = "auto"
    time: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"-k must be at least 1, was {self.k}.")
        if self.metric not in METRICS:
            raise UsageError(f"--metric must be {' or '.join(METRICS)}, was {self.metric!r}.")
        if self.layout not in LAYOUT_CHOICES:
            raise UsageError(f"--layout must be one of {', '.join(LAYOUT_CHOICES)}, was {self.layout!r}.")
        lone = {"--features": self.features, "--layout": self.layout != "auto", "--time": self.time is not None}
        given = [option for option, value in lone.items() if value]
        if given and not self.data:
            raise UsageError(f"{given[0]} describes the sequences of --data. Pass --data INPUT, or omit it.")
