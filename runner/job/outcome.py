"""Collect the reports of workers, and decide about failed parts."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from seqembed.data.display.events import EVENTS, emit
from seqembed.data.errors import BadFileError, OutputError, SeqembedError
from seqembed.data.files.census import IdCensus
from seqembed.data.statistics.statistics import Statistics
from seqembed.runner.options import OnBadFile
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartCounts
from seqembed.runner.output.staging import StagedPart

_MAX_SLOWEST = 10


@dataclass(slots=True)
class Outcome:
    """Totals of the parts that were made.

    Attributes:
        made: Counts of each part, by name.
        statistics: Statistics of each part, by name.
        unreadable: Why an input file could not be read, by the name of its part.
        reasons: Number of bad rows by reason.
        quarantined: Paths of the quarantine files, relative to the output directory.
        ids: Counts ids shared by several rows in the nested layout.
        seconds: Wall time of each part, by name.
    """

    made: dict[str, PartCounts] = field(default_factory=dict)
    statistics: dict[str, Statistics | None] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    quarantined: list[str] = field(default_factory=list)
    ids: IdCensus = field(default_factory=IdCensus)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, part: StagedPart, output: OutputDirectory, on_bad_file: OnBadFile) -> SeqembedError | None:
        """Add a worker's report: queue its part for publication, or record why there is none.

        Returns:
            The error in the report, unless it is a file to skip.

        Raises:
            OutputError: The output directory cannot be read or written.
        """
        if part.fault is not None:
            if not isinstance(part.fault, BadFileError) or on_bad_file == "fail":
                return part.fault
            if part.name not in self.made:
                self.unreadable[part.name] = str(part.fault)
                emit("unreadable", name=part.name, reason=str(part.fault))
            return None
        if not output.take(part):
            return None
        self.unreadable.pop(part.name, None)
        self.made[part.name] = part.counts
        self.seconds[part.name] = part.seconds
        counts, seconds = part.counts.to_json(), round(part.seconds, 3)
        numbers = {name: counts[name] for name in EVENTS["part"] if name in counts}
        emit("part", name=part.name, **numbers, seconds=seconds, attempt=part.attempt)
        self.statistics[part.name] = None if part.footer is None else part.footer.statistics
        self.reasons.update(part.reasons)
        if part.quarantined is not None:
            self.quarantined.append(part.quarantined)
        if part.ids is not None:
            self.ids.add(part.ids)
        return None

    def slowest(self) -> tuple[tuple[str, float], ...]:
        """Return name and seconds of the parts that took longest, at most `_MAX_SLOWEST`."""
        return tuple(sorted(self.seconds.items(), key=lambda found: (-found[1], found[0]))[:_MAX_SLOWEST])

    def refuse_lost(self, names: Collection[str]) -> None:
        """Check that every part of `names` was made or has an unreadable input.

        Raises:
            OutputError: No attempt at a part is complete: a staged file is missing, or differs from the report.
        """
        lost = next((name for name in names if name not in self.made and name not in self.unreadable), None)
        if lost is not None:
            raise OutputError(
                f"{lost}: no complete staged file of this part was found. Give all workers access to the output "
                "directory under the same path, and run again."
            )
