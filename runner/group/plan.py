"""Plan a grouping: decide before the first event is written which buckets to make, and refuse invalid combinations.

A bucket's key is a hash over the versions of the files that have events in it, and their numbers. Files that were
counted before are known from `_EVENTS`; of the others, ids and times are read first, unless all buckets are to
be made anyway.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BadFileError, ChangedInputError, InputError, OutputError
from seqembed.data.files.fingerprints import fingerprint
from seqembed.data.files.inputs import InputFile
from seqembed.data.lake.delta import covers_table
from seqembed.data.plurals import counted
from seqembed.runner.group.census import MAKER, Counted, read_census, refuse_census_of_others
from seqembed.runner.group.columns import EventColumns, event_columns
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.group.scan import FileCounts, Scan
from seqembed.runner.group.size import event_bytes, suitable_buckets
from seqembed.runner.group.span import bounds
from seqembed.runner.job.parts import Action
from seqembed.runner.job.plan import InputStates
from seqembed.runner.job.refusals import refuse_other_files, refuse_output_among_inputs
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import Ledger, PartFooter, PartKey

# Part of the hash of the options: raise it when the same events and options get other bytes.
_FORMAT = 1
_MAX_LEFT_OUT = 5  # columns that are named one by one
_BUCKET = re.compile(r"bucket-\d{5}\.parquet")


@dataclass(frozen=True, slots=True)
class EventFile:
    """An input file.

    Attributes:
        file: The file.
        fingerprint: Its fingerprint when the job was planned.
        num_rows: Its rows.
        counts: Its events by bucket; None if they were not counted yet.
    """

    file: InputFile
    fingerprint: str
    num_rows: int
    counts: FileCounts | None = None

    def refuse_changed(self) -> None:
        """Check that the file is as it was planned; called once it is read.

        Raises:
            ChangedInputError: It is not.
        """
        if fingerprint(self.file) != self.fingerprint:
            raise ChangedInputError(
                f"{self.file.name}: the file changed while it was read. Run again once its writer is done; better, "
                "have the writer rename finished files into place."
            )


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """The plan of a grouping.

    Attributes:
        files: The input files, in order.
        columns: The columns of the events.
        scan: How the files are read.
        options: The options that change the result.
        options_hash: Their hash.
        actions: What to do with each bucket.
        done: Footers of finished buckets, by name.
        obsolete: Names of buckets that other options made and these do not.
        gone: Locations of files whose events are in the output, and that are no longer among the inputs.
        is_counted: Whether the counts of exactly these files are in the output.
        event_bytes: Approximate bytes of an event in memory.
        notes: Remarks on the inputs for the user.
    """

    files: tuple[EventFile, ...]
    columns: EventColumns
    scan: Scan
    options: Mapping[str, Any]
    options_hash: str
    actions: tuple[Action, ...]
    done: Mapping[str, PartFooter]
    obsolete: tuple[str, ...]
    gone: tuple[str, ...]
    is_counted: bool
    event_bytes: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the number of buckets to make; `to_make` has their names."""
        return f"GroupPlan(files={len(self.files)}, buckets={len(self.actions)}, to_make={len(self.to_make)})"

    @property
    def num_buckets(self) -> int:
        """Number of buckets."""
        return len(self.actions)

    @property
    def to_make(self) -> tuple[str, ...]:
        """Names of unfinished buckets."""
        return tuple(bucket_name(index) for index in np.flatnonzero(self.wanted).tolist())

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Which buckets are unfinished, bool (buckets)."""
        return np.array([action != "skip" for action in self.actions], dtype=bool)

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(file.num_rows for file in self.files)

    @property
    def temporary_bytes(self) -> float:
        """Approximate bytes of the events of unfinished buckets, before compression."""
        return self.event_bytes * self.num_rows * float(self.wanted.mean())

    def lines(self) -> list[str]:
        """Return what the job will do and what it needs, for the log."""
        size = readable_size(self.temporary_bytes)
        what = f"{self.num_rows:,} events in {counted(len(self.files), 'file')}; {len(self.to_make):,} of "
        needs = [f"needs up to {size} of temporary disk and {size} for the output"] if self.to_make else []
        return [f"{what}{counted(self.num_buckets, 'bucket')} to make", *needs]


@dataclass(slots=True)
class GroupInputs:
    """The inputs of a grouping, listed and counted once, even if the job is planned several times.

    Attributes:
        states: The files.
        counted: Counts by location and fingerprint.
    """

    states: InputStates
    counted: dict[tuple[str, str, str], FileCounts] = field(default_factory=dict)


def bucket_name(index: int) -> str:
    """Return the name of a bucket."""
    return f"bucket-{index:05d}.parquet"


def bucket_key(files: Sequence[EventFile], index: int, types: Sequence[str], options_hash: str) -> PartKey:
    """Return the hashes of everything that determines a bucket; all files must be counted.

    Types are no option: where a late file needs wider ones, all buckets are made again, as one whose events changed.
    """
    parts = [
        (file.fingerprint, int(file.counts.buckets[index]))
        for file in files
        if file.counts is not None and file.counts.buckets[index]
    ]
    content = json.dumps([list(types), parts])
    return PartKey(hashlib.sha256(content.encode()).hexdigest(), MAKER, options_hash)


def plan_group(inputs: GroupInputs, output: OutputDirectory, options: GroupOptions) -> GroupPlan:
    """Compare the input files with the buckets that exist.

    Raises:
        InputError: A file cannot be read, or its columns do not fit.
        UsageError: Options do not fit the columns, or output and inputs overlap.
        OutputError: The directory holds buckets of other options or files, or something else than buckets.
    """
    refuse_output_among_inputs(inputs.states.found.files, output)
    files, columns = _read_footers(inputs.states, options)
    span = bounds(options.since, options.until, columns.time.type)
    ledger = output.read_ledger()
    bytes_each = event_bytes(files, columns)
    num_rows = sum(file.num_rows for file in files)
    num_buckets = (
        options.buckets or _buckets_of(ledger) or suitable_buckets(num_rows * bytes_each, options.memory_bytes)
    )
    scan = Scan(columns, num_buckets, *span, options.on_bad_row)
    values = options.result_values() | {"columns": columns.names, "buckets": num_buckets}
    options_hash = hashlib.sha256(json.dumps([_FORMAT, values]).encode()).hexdigest()
    names = [bucket_name(index) for index in range(num_buckets)]
    refuse_other_files(names, ledger.others, output)
    refuse_census_of_others(output)
    _refuse_lacking(ledger.parts, columns, output, options)
    _refuse_other_makers(ledger.parts, values, options_hash, output, options)
    census, before = read_census(output, options_hash)
    gone = tuple(sorted(before - {file.file.location for file in files}))
    # A table's own log says which events it has: a file that it no longer lists was rewritten, or its rows deleted.
    of_tables = {location for location in gone if covers_table(inputs.states.found.files, location)}
    _refuse_gone([location for location in gone if location not in of_tables], output, options)
    finished = {name: footer for name, footer in ledger.parts.items() if footer.key.options_hash == options_hash}
    files = [_with_counts(file, census, inputs, scan, options_hash, count=bool(finished)) for file in files]
    return GroupPlan(
        files=tuple(files),
        columns=columns,
        scan=scan,
        options=values | {"types": columns.types},
        options_hash=options_hash,
        actions=tuple(
            _action(ledger, name, bucket_key(files, index, columns.types, options_hash))
            for index, name in enumerate(names)
        ),
        done=finished,
        obsolete=tuple(sorted(filter(_BUCKET.fullmatch, (ledger.parts.keys() | ledger.outdated) - set(names)))),
        gone=gone,
        is_counted={name: counted.fingerprint for name, counted in census.items()}
        == {file.file.location: file.fingerprint for file in files},
        event_bytes=bytes_each,
        notes=(*_notes(inputs.states, columns), *_new_types(finished, columns)),
    )


def _read_footers(states: InputStates, options: GroupOptions) -> tuple[list[EventFile], EventColumns]:
    """Return the files, not counted yet, and the columns of their events."""
    files, schemas = [], []
    for file, inspected in zip(states.found.files, states.inspect(lambda *_: False), strict=True):
        if isinstance(inspected, BadFileError):
            raise inspected
        if inspected.damage is not None or inspected.schema is None:
            raise inspected.damage or BadFileError(f"{file.name}: cannot be read.")
        files.append(EventFile(file, inspected.state.fingerprint, inspected.num_rows))
        schemas.append((file, inspected.schema))
    # An empty table's types are a guess of its writer.
    with_rows = [found for found, file in zip(schemas, files, strict=True) if file.num_rows]
    return files, event_columns(with_rows or schemas, options)


def _buckets_of(ledger: Ledger) -> int | None:
    """Return the number of buckets that the output has, since ids stay in their buckets as data grows."""
    counts = {footer.options.get("buckets") for footer in ledger.parts.values() if footer.events is not None}
    found = counts.pop() if len(counts) == 1 else None
    return found if isinstance(found, int) and found > 0 else None


def _with_counts(
    file: EventFile, census: Mapping[str, Counted], inputs: GroupInputs, scan: Scan, options_hash: str, *, count: bool
) -> EventFile:
    location = file.file.location
    known, key = census.get(location), (location, file.fingerprint, options_hash)
    if known is not None and known.fingerprint == file.fingerprint and len(known.counts.buckets) == scan.num_buckets:
        inputs.counted[key] = known.counts
    elif key not in inputs.counted and count:
        inputs.counted[key] = scan.count(file.file)
    return EventFile(file.file, file.fingerprint, file.num_rows, inputs.counted.get(key))


def _action(ledger: Ledger, name: str, key: PartKey) -> Action:
    footer = ledger.parts.get(name)
    if footer is None:
        return "remake" if name in ledger.outdated else "make"
    if footer.key.options_hash != key.options_hash:
        return "replace"
    return "skip" if footer.key == key else "remake"


def _refuse_lacking(
    footers: Mapping[str, PartFooter], columns: EventColumns, output: OutputDirectory, options: GroupOptions
) -> None:
    """Check that no column of finished buckets is left out now because a new file lacks it.

    Raises:
        InputError: One is.
    """
    before = {name for footer in footers.values() for name in footer.options.get("columns") or () if footer.events}
    lacking = next((reason for name, reason in columns.left_out.items() if name in before), None)
    if lacking is not None and not options.overwrite:
        raise InputError(
            f"{lacking}; but the buckets in {output.given} have it. Add the column to such files, with nulls where it "
            "has no values. To make all buckets without it, name the other columns with --features, and pass "
            "--overwrite."
        )


def _refuse_other_makers(
    footers: Mapping[str, PartFooter],
    values: Mapping[str, Any],
    options_hash: str,
    output: OutputDirectory,
    options: GroupOptions,
) -> None:
    for name, footer in footers.items():
        if footer.events is None:
            raise OutputError(
                f"{output.given}: {name} holds vectors that `seqembed run` wrote. Group into another --out."
            )
        if footer.key.options_hash != options_hash and not options.overwrite:
            changed = [
                f"{_named(option)} {_shown(footer.options.get(option))}, is now {_shown(value)}"
                for option, value in values.items()
                if footer.options.get(option) != value
            ]
            raise OutputError(
                f"{output.given}: {name} was made with other options "
                f"({'; '.join(changed) or 'another version of seqembed'}). Choose another --out, or pass --overwrite "
                "to replace the old buckets once the new ones are complete."
            )


def _refuse_gone(gone: Sequence[str], output: OutputDirectory, options: GroupOptions) -> None:
    if gone and not options.prune:
        num = len(gone)
        what = "1 file that was grouped into it is" if num == 1 else f"{num:,} files that were grouped into it are"
        raise OutputError(
            f"{output.given}: {what} not among the inputs, such as {gone[0]}; its events would be lost. Pass all "
            "inputs, or --prune to leave those events out, or choose another --out."
        )


def _new_types(finished: Mapping[str, PartFooter], columns: EventColumns) -> Iterator[str]:
    """Yield which columns have another type than in finished buckets, and what follows."""
    for footer in finished.values():
        types = footer.options.get("types")
        if isinstance(types, list) and len(types) == len(columns.types) and types != columns.types:
            changed = [
                f"'{name}' is {new}, was {old}"
                for name, old, new in zip(columns.names, types, columns.types, strict=True)
                if old != new
            ]
            yield f"all buckets are made again, since types changed: {', '.join(changed[:_MAX_LEFT_OUT])}"
            return


def _notes(states: InputStates, columns: EventColumns) -> list[str]:
    notes = states.found.notes()
    notes += [f"WARNING {reason}" for reason in list(columns.left_out.values())[:_MAX_LEFT_OUT]]
    if len(columns.left_out) > _MAX_LEFT_OUT:
        more = counted(len(columns.left_out) - _MAX_LEFT_OUT, "more column")
        notes.append(f"WARNING {more} that some files lack: left out, too")
    return notes


def _named(option: str) -> str:
    return "the list of columns was" if option == "columns" else f"--{option.replace('_', '-')} was"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def readable_size(num_bytes: float) -> str:
    """Return a size for people, at least 1 MB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{max(1, math.ceil(num_bytes / 1e6))} MB"
