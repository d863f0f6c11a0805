"""What a run did: the totals that ``_SUCCESS`` keeps and the summary that people read."""

import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from runner.options import RunOptions
from runner.parts import Part, PartCounts


@dataclass(frozen=True, slots=True)
class RunReport:
    """Totals of a run over all parts of the output, made now or before.

    Attributes:
        parts: Every part with its counts, in input order.
        orphans: Finished parts whose input is gone.
        beyond: Finished parts beyond the limit.
        pruned: Of both, those that were removed.
        skipped_files: Input files that could not be read, with the reason.
        num_made: Parts made by this run; the others were up to date.
        counts: Sum over all parts.
        made: Sum over the parts made by this run.
        seconds: Wall time of the run.
        golden_difference: Largest difference of the golden sequences on this host; None where nothing had to be made.
    """

    parts: tuple[tuple[Part, PartCounts], ...]
    orphans: tuple[str, ...]
    beyond: tuple[str, ...]
    pruned: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]
    num_made: int
    counts: PartCounts
    made: PartCounts
    seconds: float
    golden_difference: float | None

    @property
    def rows_per_second(self) -> float:
        """Rows of this run over its wall time."""
        return self.made.rows_in / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Share of the computed steps that was padding."""
        padded = self.made.padded_steps
        return 1 - self.made.steps / padded if padded else 0.0

    def to_json(self, inputs: Sequence[str], model: str, model_sha256: str, options: RunOptions) -> dict[str, Any]:
        """Return what ``_SUCCESS`` holds."""
        return {
            "seqembed": metadata.version("seqembed"),
            "inputs": list(inputs),
            "model": model,
            "model_sha256": model_sha256,
            "options": asdict(options),
            "parts_made": self.num_made,
            "parts_skipped": len(self.parts) - self.num_made,
            **asdict(self.counts),
            "rows_made": self.made.rows_in,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "padding_share": round(self.padding_share, 5),
            "peak_rss_bytes": peak_rss_bytes(),
            "golden_difference": self.golden_difference,
            "orphans": [name for name in self.orphans if name not in self.pruned],
            "beyond_limit": [name for name in self.beyond if name not in self.pruned],
            "pruned": list(self.pruned),
            "skipped_files": [{"name": name, "reason": reason} for name, reason in self.skipped_files],
            "parts": [{"name": part.name, **asdict(part.key), **asdict(counts)} for part, counts in self.parts],
        }


def peak_rss_bytes() -> int:
    """Return the most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
