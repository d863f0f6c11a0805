"""The report of a run: totals for ``_SUCCESS`` and for the summary."""

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from seqembed.data.drift.drift import Drift
from seqembed.data.files.census import SharedIds
from seqembed.data.statistics.readable import described
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.job.parts import Part
from seqembed.runner.options import RunOptions
from seqembed.runner.output.parts import PartCounts

_IN_HISTORY = 10  # measures of drift, and reasons of bad rows
_MAX_UNKNOWN_ABOVE_TRAINING = 0.10


@dataclass(frozen=True, slots=True)
class UnknownShare:
    """Share of the steps of a categorical field whose value is not in the vocabulary.

    Attributes:
        name: The field.
        share: Share of the steps of this run.
        trained: Share of the steps of the training data.
    """

    name: str
    share: float
    trained: float

    @property
    def drifted(self) -> bool:
        """Whether the share is so high that the field no longer resembles the training data."""
        return self.share > self.trained + _MAX_UNKNOWN_ABOVE_TRAINING


@dataclass(frozen=True, slots=True)
class RunReport:
    """Totals of a run over all parts of the output, new and skipped; with ``only``, over those of the slice.

    Attributes:
        parts: Every part with its counts, in input order.
        orphans: Finished parts whose input no longer exists.
        beyond: Finished parts beyond the limit.
        pruned: Those of both that were removed.
        skipped_files: Input files that could not be read, with the reason.
        notes: Remarks on the inputs for the user.
        shared_ids: Ids shared by several rows of this run, or None.
        bad_rows: Number of bad rows of this run by reason.
        quarantined: Paths of the quarantine files of this run, relative to the output directory.
        num_made: Parts made by this run; the others were up to date.
        counts: Sum over all parts.
        made: Sum over the parts made by this run.
        seconds: Wall time of the run.
        golden_difference: Maximum difference of the golden sequences on this host; None if there was nothing to make.
        trained_unknown: Share of the training steps whose category was not in the vocabulary, by field; empty if there
            was nothing to make.
        statistics: Statistics of the valid rows of all parts, made now or before; None without parts, or if the model's
            contract defines none.
        drift: How far the rows behind `statistics` are from the training data; None without statistics, or if the
            bundle is of a version that did not compare them.
        slowest: Name and seconds of the made parts that took longest.
        unfinished: Parts outside the slice of ``only`` that are not finished; while there are any, there is no success
            marker.
    """

    parts: tuple[tuple[Part, PartCounts], ...]
    orphans: tuple[str, ...]
    beyond: tuple[str, ...]
    pruned: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    shared_ids: SharedIds | None
    bad_rows: Mapping[str, int]
    quarantined: tuple[str, ...]
    num_made: int
    counts: PartCounts
    made: PartCounts
    seconds: float
    golden_difference: float | None
    trained_unknown: Mapping[str, float] = field(default_factory=dict)
    statistics: Statistics | None = None
    drift: Drift | None = None
    slowest: tuple[tuple[str, float], ...] = ()
    unfinished: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the totals, without the parts, which may be thousands."""
        counts = self.counts
        return (
            f"RunReport(rows_in={counts.rows_in}, rows_embedded={counts.rows_embedded}, rows_null={counts.rows_null}, "
            f"rows_quarantined={counts.rows_quarantined}, parts={len(self.parts)}, num_made={self.num_made}, "
            f"seconds={self.seconds:.2f})"
        )

    @property
    def unknown_shares(self) -> tuple["UnknownShare", ...]:
        """Fields with unknown categories in this run's rows, in model order."""
        steps = max(1, self.made.steps)
        shares = [
            (name, self.made.unknown_steps.get(name, 0) / steps, share) for name, share in self.trained_unknown.items()
        ]
        return tuple(UnknownShare(*found) for found in shares if found[1] > 0)

    @property
    def rows_per_second(self) -> float:
        """Rows of this run per second of wall time."""
        return self.made.rows_in / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Share of padding in the computed steps."""
        padded = self.made.padded_steps
        return 1 - self.made.steps / padded if padded else 0.0

    def _unknown(self) -> dict[str, dict[str, float]]:
        """Return the share of unknown categories of each field over all parts; empty for a model without fields."""
        steps = max(1, self.counts.steps)
        shares = {name: round(found / steps, 6) for name, found in self.counts.unknown_steps.items()}
        return {"unknown": shares} if shares else {}

    def _slowest_parts(self) -> list[dict[str, Any]]:
        rows = {part.name: counts.rows_in for part, counts in self.parts}
        return [
            {"name": name, "seconds": round(seconds, 3), "rows_in": rows.get(name, 0)} for name, seconds in self.slowest
        ]

    def _tables(self) -> list[dict[str, Any]]:
        """Return the versions of the tables that the inputs belong to."""
        views = [part.file.view for part, _ in self.parts]
        found = {str(view.table): view.table for view in views if view is not None}
        return [asdict(table) for table in found.values()]

    def to_json(self, inputs: Sequence[str], model: str, model_sha256: str, options: RunOptions) -> dict[str, Any]:
        """Return the content of ``_SUCCESS``."""
        return {
            "seqembed": metadata.version("seqembed"),
            "inputs": list(inputs),
            "model": model,
            "model_sha256": model_sha256,
            "options": options.record(),
            "parts_made": self.num_made,
            "parts_skipped": len(self.parts) - self.num_made,
            **self.counts.to_json(),
            **self._unknown(),
            "rows_made": self.made.rows_in,
            "bad_rows": dict(self.bad_rows),
            "quarantined": list(self.quarantined),
            "shared_ids": None if self.shared_ids is None else asdict(self.shared_ids),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "padding_share": round(self.padding_share, 5),
            "slowest_parts": self._slowest_parts(),
            "peak_rss_bytes": peak_rss_bytes(),
            "golden_difference": self.golden_difference,
            "statistics": None if self.statistics is None else described(self.statistics),
            "drift": None if self.drift is None else self.drift.to_json(),
            "tables": self._tables(),
            "orphans": [name for name in self.orphans if name not in self.pruned],
            "beyond_limit": [name for name in self.beyond if name not in self.pruned],
            "pruned": list(self.pruned),
            "skipped_files": [{"name": name, "reason": reason} for name, reason in self.skipped_files],
            "parts": [{"name": part.name, **asdict(part.key), **counts.to_json()} for part, counts in self.parts],
        }

    def history(self, model_sha256: str, *, complete: bool) -> dict[str, Any]:
        """Return the compact record of this run for the history of the directory.

        Args:
            model_sha256: Of the bundle.
            complete: Whether the success marker is written next.
        """
        drift, farthest = self.drift, () if self.drift is None else self.drift.measures[:_IN_HISTORY]
        return {
            "complete": complete,
            "model_sha256": model_sha256,
            "parts_made": self.num_made,
            "parts_skipped": len(self.parts) - self.num_made,
            **self.counts.to_json(),
            "rows_made": self.made.rows_in,
            "bad_rows": dict(sorted(self.bad_rows.items(), key=lambda found: -found[1])[:_IN_HISTORY]),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "padding_share": round(self.padding_share, 5),
            "peak_rss_bytes": peak_rss_bytes(),
            "drift": None if drift is None else replace(drift, measures=farthest).to_json(),
        }


def peak_rss_bytes() -> int:
    """Return the peak memory of this process in bytes.

    On Linux `ru_maxrss` is inherited from the parent process, so that it may be the memory of a scheduler
    (getrusage(2); kernel, fs/exec.c, exec_mmap). So there it is read from /proc (proc(5), VmHWM).
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
