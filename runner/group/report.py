"""The report of a grouping: totals for `_SUCCESS` and for the summary."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from seqembed.data.errors import SeqembedError
from seqembed.runner.group.plan import GroupPlan
from seqembed.runner.output.event_counts import EventCounts
from seqembed.runner.report import peak_rss_bytes


@dataclass(frozen=True, slots=True)
class GroupReport:
    """Totals over all buckets of the output, new and skipped.

    Attributes:
        counts: Events and ids of the buckets.
        num_files: Input files.
        events_in: Rows of the input files.
        null_ids: Events without an id, which were dropped.
        null_times: Events without a time, which were dropped.
        outside: Events outside the span of `since` and `until`.
        buckets: Names of all buckets.
        made: Names of those that this job made.
        pruned: Input files that no longer exist, whose events were left out.
        notes: Remarks on the inputs for the user.
        seconds: Wall time.
        spilled_bytes: Bytes of events on temporary disk.
    """

    counts: EventCounts
    num_files: int
    events_in: int
    null_ids: int
    null_times: int
    outside: int
    buckets: tuple[str, ...]
    made: tuple[str, ...]
    pruned: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    spilled_bytes: int

    def __repr__(self) -> str:
        """Return the totals, without the buckets, which may be thousands."""
        return (
            f"GroupReport(events_in={self.events_in}, events_out={self.counts.events_out}, ids={self.counts.ids}, "
            f"buckets={len(self.buckets)}, made={len(self.made)}, seconds={self.seconds:.2f})"
        )

    def check(self) -> None:
        """Check that every event is accounted for.

        Raises:
            SeqembedError: They do not add up; the output must not be marked as complete.
        """
        dropped = self.null_ids + self.null_times + self.outside
        if self.events_in != self.counts.events + dropped:
            raise SeqembedError(f"events do not add up: {self.events_in} in, {self.counts.events} + {dropped} counted.")

    def to_json(self, inputs: Sequence[str], plan: GroupPlan) -> dict[str, Any]:
        """Return the content of ``_SUCCESS``."""
        values = {name: value for name, value in asdict(self).items() if name not in ("buckets", "counts", "notes")}
        return {
            "seqembed": metadata.version("seqembed"),
            "command": "group",
            "inputs": list(inputs),
            "options": dict(plan.options),
            **self.counts.to_json(),
            **values,
            "events_out": self.counts.events_out,
            "peak_rss_bytes": peak_rss_bytes(),
            "parts": [{"name": name} for name in self.buckets],
        }
