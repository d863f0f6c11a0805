"""Plan a run: decide before the first row which parts to make, and refuse invalid combinations.

Planning reads two footers per part, of input and output, and no model: a run with nothing to do does not load one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from seqembed.data.errors import BadFileError, InputError
from seqembed.data.files.fingerprints import FileState, look_at
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import FoundInputs, find_inputs
from seqembed.runner.job.open_files import OpenFiles
from seqembed.runner.job.part_slice import PartSlice, parts_outside
from seqembed.runner.job.parts import Action, Part
from seqembed.runner.job.pieces import Piece, pieces_of, refuse_equal_names, refuse_other_division, superseded_parts
from seqembed.runner.job.refusals import part_names, refuse_mixture, refuse_other_files, refuse_output_among_inputs
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartFooter, PartKey
from seqembed.runner.output.piece_names import file_of
from seqembed.runner.threads import in_threads

# Footers in memory at a time while a run is planned: those of wide files take megabytes.
_INSPECTED_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run.

    Attributes:
        parts: One per readable input file, or several of a large one, in input order; outside the slice of ``only``,
            finished ones alone.
        orphans: Finished parts whose input was below the given inputs and no longer exists.
        skipped_files: Names of files that cannot be read, with the reason.
        notes: Remarks on the inputs for the user, such as files that are not Parquet.
        beyond: Finished parts without any of the first `limit` sequences; more may be found while parts are made.
        blocking: Orphans whose path a new part needs: a file where a directory must be, or vice versa.
        only: The slice of the parts that the run makes.
        unfinished: Names of parts outside the slice that are missing, or made from other inputs, models or options.
        superseded: Finished parts whose rows other parts of the plan will hold, see `seqembed.runner.job.pieces`.
    """

    parts: tuple[Part, ...]
    orphans: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()
    only: PartSlice = PartSlice()
    unfinished: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the number of parts to make; `to_make` has their names."""
        return (
            f"RunPlan(parts={len(self.parts)}, to_make={len(self.to_make)}, orphans={len(self.orphans)}, "
            f"skipped_files={len(self.skipped_files)}, beyond={len(self.beyond)})"
        )

    @property
    def to_make(self) -> tuple[Part, ...]:
        """Unfinished parts."""
        return tuple(part for part in self.parts if part.action not in ("skip", "leave"))

    @property
    def sliced(self) -> "RunPlan":
        """The plan of the slice alone."""
        parts = tuple(part for part in self.parts if part.action != "leave")
        return replace(self, parts=parts, orphans=tuple(filter(self.only.covers, self.orphans)))

    @property
    def checked(self) -> tuple[Part, ...]:
        """Parts whose ids are checked together: all as soon as none is missing, until then those of the slice."""
        return self.sliced.parts if self.unfinished else self.parts

    @property
    def joins_events(self) -> bool:
        """Whether several finished parts hold events: separate runs did not check them for shared ids."""
        return len(self.checked) > 1 and all(part.layout == "events" for part in self.checked)

    def cut(self, num_parts: int) -> "RunPlan":
        """Return the plan with its first parts only; existing other parts are beyond the limit."""
        there = tuple(part.name for part in self.parts[num_parts:] if part.action != "make")
        return replace(self, parts=self.parts[:num_parts], beyond=there + self.beyond)


@dataclass(frozen=True, slots=True)
class _InspectedFile:
    """A file that may have to be read: its state without the footer's bytes, and the parsed footer."""

    state: FileState
    schema: pa.Schema | None = None
    group_rows: tuple[int, ...] = ()
    damage: BadFileError | None = None

    @property
    def num_rows(self) -> int:
        """Its rows; 0 if its footer was not parsed."""
        return sum(self.group_rows)


@dataclass(slots=True)
class InputStates:
    """The input files of a run, listed and opened once, even if the run is planned several times.

    Attributes:
        found: The files.
        open_files: Keeps files to be read open, for the checks before the first row; None closes each file at once.
    """

    found: FoundInputs
    open_files: OpenFiles | None = None
    _inspected: dict[str, _InspectedFile | BadFileError] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        inputs: Sequence[str],
        open_files: OpenFiles | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> "InputStates":
        """List the files of the inputs.

        Args:
            inputs: Files, directories, globs or URIs.
            open_files: See above.
            version: Version of the tables among them; None is the newest.
            columns: Columns that the job reads; None if it may read all.

        Raises:
            InputError, UsageError: See `find_inputs`.
        """
        found = find_inputs(inputs, version)
        return cls(found if columns is None else found.reading(columns), open_files)

    def inspect(
        self, is_finished: Callable[[InputFile, FileState], bool], files: Sequence[InputFile] | None = None
    ) -> list[_InspectedFile | BadFileError]:
        """Return the state of every file, or of `files`; footers of files with a finished part are not parsed."""
        files = self.found.files if files is None else files
        unseen = [file for file in files if file.location not in self._inspected]
        for start in range(0, len(unseen), _INSPECTED_AT_A_TIME):
            some = unseen[start : start + _INSPECTED_AT_A_TIME]
            shared: list[pa.Schema] = []
            results = in_threads(lambda file: self._inspect(file, is_finished), some)
            for file, inspected in zip(some, results, strict=True):
                self._inspected[file.location] = (
                    inspected if isinstance(inspected, BadFileError) else _sharing(inspected, shared)
                )
        return [self._inspected[file.location] for file in files]

    def _inspect(
        self, file: InputFile, is_finished: Callable[[InputFile, FileState], bool]
    ) -> _InspectedFile | BadFileError:
        try:
            source = file.open_bytes()
            state = look_at(file, source)
        except BadFileError as error:
            return error
        bare = replace(state, footer=b"")
        if is_finished(file, state):
            return _InspectedFile(bare)
        if self.open_files is not None:
            self.open_files.keep(file, source)
        try:
            metadata = state.metadata()
            schema, num_rows = file.shape(metadata)
            groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
            # A data file of a table may be read through a copy, whose row groups are others.
            return _InspectedFile(bare, schema, tuple(groups) if file.view is None else (num_rows,))
        except BadFileError as error:
            return _InspectedFile(bare, damage=error)
        except (pa.ArrowException, ValueError, OSError) as error:  # a type that Arrow does not support
            return _InspectedFile(
                bare, damage=BadFileError(f"{file.name}: cannot be read as Parquet ({error}). Write it again.")
            )


def _sharing(inspected: _InspectedFile, known: list[pa.Schema]) -> _InspectedFile:
    """Share the schema object with an equal one, since thousands of files may have one schema."""
    if inspected.schema is None:
        return inspected
    same = next((schema for schema in known if schema.equals(inspected.schema, check_metadata=True)), None)
    if same is None:
        known.append(inspected.schema)
        return inspected
    return replace(inspected, schema=same)


def plan_run(states: InputStates, output: OutputDirectory, model_sha256: str, options: RunOptions) -> RunPlan:
    """Compare each input file with its existing part.

    Raises:
        InputError: A file cannot be read and the option is ``fail``.
        UsageError: Two inputs have a part of the same name, output and inputs overlap, or `only` matches no part.
        OutputError: The directory has parts of another model, other options or other inputs that this run would
            keep or replace, or a file that seqembed did not write has the path of a part.
    """
    refuse_output_among_inputs(states.found.files, output)
    all_names = part_names(states.found.files)
    ledger, chosen = output.read_ledger(all_names), PartSlice(options.only)
    footers, made_by = ledger.parts, (model_sha256, options.result_hash())
    orphans = _orphans(states.found, footers, all_names)
    chosen.refuse_unmatched(all_names, orphans)
    named = list(zip(states.found.files, all_names, strict=True))
    inside = [(file, name) for file, name in named if chosen.covers(name)]
    outside = [(file, name) for file, name in named if not chosen.covers(name)]
    outdated = ledger.outdated | _differently_counted(footers, model_sha256)
    name_of = {file.location: name for file, name in inside}

    def is_finished(file: InputFile, state: FileState) -> bool:
        # With a limit a part's key depends on previous files, which are read in parallel; and how a file is divided
        # depends on its footer.
        if options.limit is not None or options.rows_per_part is not None:
            return False
        name = name_of[file.location]
        footer = None if name in outdated else footers.get(name)
        return footer is not None and footer.key == PartKey(state.fingerprint, *made_by)

    parts: list[Part] = []
    skipped: dict[str, tuple[str, str]] = {}
    chain = ""
    states_inside = states.inspect(is_finished, [file for file, _ in inside])
    for (file, name), inspected in zip(inside, states_inside, strict=True):
        damage = inspected if isinstance(inspected, BadFileError) else inspected.damage
        if isinstance(inspected, BadFileError) or damage is not None:
            if options.on_bad_file == "fail":
                raise damage or InputError(f"{file.name}: cannot be read.")
            skipped[name] = file.name, str(damage)
            continue
        state = inspected.state
        for piece in pieces_of(name, inspected.group_rows, options):
            found = piece.fingerprint(state.fingerprint)
            # With a limit a part depends on the number of rows in previous ones.
            is_first = options.limit is None or not chain
            chain = found if is_first else hashlib.sha256(f"{chain}{found}".encode()).hexdigest()
            footer = footers.get(piece.name)
            key = PartKey(chain, *made_by)
            action = _action(key, footer, piece.name in outdated)
            parts.append(_part(file, piece, key, inspected, footer, action))
    names = [part.name for part in parts]
    refuse_equal_names(parts)
    refuse_other_files(names, ledger.others, output)
    names += skipped
    superseded = superseded_parts(parts, footers)
    left, unfinished = parts_outside(outside, footers, made_by)
    plan = RunPlan(
        _in_order(all_names, [*parts, *left]),
        orphans,
        tuple(skipped.values()),
        tuple(states.found.notes()),
        blocking=_blocking(orphans, names),
        only=chosen,
        unfinished=unfinished,
        superseded=superseded,
    )
    refuse_mixture(parts, plan.sliced.orphans, [*names, *superseded], footers, made_by, output, options)
    refuse_other_division(parts, superseded, footers, output, options)
    return plan if options.limit is None else plan.cut(_num_within_limit(parts, options.limit))


def _in_order(names: Sequence[str], parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts in the order of the files; `names` are the names of the parts of complete files."""
    by_file: dict[str, list[Part]] = {}
    for part in parts:
        by_file.setdefault(file_of(part.name, part.row_groups), []).append(part)
    return tuple(part for name in names for part in by_file.get(name, ()))


def _part(
    file: InputFile,
    piece: Piece,
    key: PartKey,
    inspected: _InspectedFile,
    footer: PartFooter | None,
    action: Action,
) -> Part:
    finished = footer if action == "skip" else None
    return Part(
        file=file,
        name=piece.name,
        key=key,
        fingerprint=inspected.state.fingerprint,
        content=inspected.state.content,
        action=action,
        done=None if finished is None else finished.counts,
        schema=inspected.schema if finished is None else None,
        num_rows=piece.num_rows if finished is None else 0,
        layout=None if footer is None else footer.layout,
        statistics=None if finished is None else finished.statistics,
        row_groups=piece.row_groups,
        num_row_groups=piece.num_row_groups,
    )


def _orphans(found: FoundInputs, footers: Mapping[str, PartFooter], names: Sequence[str]) -> tuple[str, ...]:
    """Return the finished parts whose input was below the given inputs and no longer exists, in order.

    Args:
        found: The files.
        footers: Footers of the finished parts, by name.
        names: Names of the parts of the undivided files; however a file was divided, its parts are no orphans.
    """
    known = set(names)
    return tuple(
        name
        for name, footer in sorted(footers.items())
        if known.isdisjoint((name, file_of(name, footer.row_groups)))
        and footer.input not in found.passed_locations
        and any(scope.covers(footer.input) for scope in found.scopes)
    )


def _blocking(orphans: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    directories = {"/".join(name.split("/")[:end]) for name in names for end in range(1, name.count("/") + 1)}
    files = set(names)
    return tuple(
        orphan
        for orphan in orphans
        if orphan in directories
        or any("/".join(orphan.split("/")[:end]) in files for end in range(1, orphan.count("/") + 1))
    )


def _num_within_limit(parts: list[Part], limit: int) -> int:
    """Return the number of parts needed, as far as known from the sequences in finished ones."""
    done = 0
    for index, part in enumerate(parts):
        if done >= limit:
            return index
        if part.done is None:
            break
        done += part.done.rows_in
    return len(parts)


def _differently_counted(footers: Mapping[str, PartFooter], model_sha256: str) -> set[str]:
    """Return the parts of a model whose statistics do not count what those of most of its parts count.

    One model defines one kind of statistics, so such a footer was edited, and its part has to be made again.
    """
    # Equal definitions are one object (`Definition.from_json`), and comparing thousands of them would take long.
    definitions = {
        name: None if footer.statistics is None else id(footer.statistics.definition)
        for name, footer in footers.items()
        if footer.key.model_sha256 == model_sha256
    }
    counts = Counter(definitions.values())
    if len(counts) < 2:
        return set()
    (usual, _), *_ = counts.most_common(1)
    return {name for name, definition in definitions.items() if definition != usual}


def _action(key: PartKey, footer: PartFooter | None, is_outdated: bool) -> Action:
    if footer is None:
        return "remake" if is_outdated else "make"
    if footer.key == key and not is_outdated:
        return "skip"
    same_maker = (footer.key.model_sha256, footer.key.options_hash) == (key.model_sha256, key.options_hash)
    return "remake" if same_maker else "replace"
