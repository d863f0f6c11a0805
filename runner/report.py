"""What a run did: the totals that ``_SUCCESS`` keeps and the summary that people read."""

import resource
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from data.errors import SeqembedError
from runner.options import RunOptions
from runner.parts import Part, PartCounts


@dataclass(frozen=True, slots=True)
class RunReport:
    """Totals of a run over all parts of the output, made now or before.

    Attributes:
        parts: Every part with its counts, in input order.
        orphans: Finished parts whose input is gone.
        num_made: Parts made by this run; the others were up to date.
        counts: Sum over all parts.
        made: Sum over the parts made by this run.
        seconds: Wall time of the run.
        golden_difference: Largest difference of the golden sequences on this host; None where nothing had to be made.
    """

    parts: tuple[tuple[Part, PartCounts], ...]
    orphans: tuple[str, ...]
    num_made: int
    counts: PartCounts
    made: PartCounts
    seconds: float
    golden_difference: float | None

    def __post_init__(self) -> None:
        """Check that every row is accounted for.

        Raises:
            SeqembedError: Rows in and rows out do not add up.
        """
        for part, counts in self.parts:
            if not counts.is_balanced:
                raise SeqembedError(f"{part.name}: rows do not add up: {counts}. Nothing more was published.")

    @property
    def rows_per_second(self) -> float:
        """Rows of this run over its wall time."""
        return self.made.rows_in / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Share of the computed steps that was padding."""
        padded = self.made.padded_steps
        return 1 - self.made.steps / padded if padded else 0.0

    def to_json(self, model: str, model_sha256: str, options: RunOptions) -> dict[str, Any]:
        """Return what ``_SUCCESS`` holds."""
        return {
            "seqembed": metadata.version("seqembed"),
            "model": model,
            "model_sha256": model_sha256,
            "options": {"keep": list(options.keep), "limit": options.limit, "threads": options.threads},
            "parts_made": self.num_made,
            "parts_skipped": len(self.parts) - self.num_made,
            **asdict(self.counts),
            "rows_made": self.made.rows_in,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "padding_share": round(self.padding_share, 5),
            "peak_rss_bytes": peak_rss_bytes(),
            "golden_difference": self.golden_difference,
            "orphans": list(self.orphans),
            "parts": [{"name": part.name, **asdict(part.key), **asdict(counts)} for part, counts in self.parts],
        }


def peak_rss_bytes() -> int:
    """Return the most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
