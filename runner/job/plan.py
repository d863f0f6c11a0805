"""Decide, before the first row, which parts to make, and refuse what cannot come out right.

Planning costs two footers a part, the input's and the output's, and no model: a run with nothing to do opens none.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BadFileError, InputError, UsageError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.fingerprints import FileState, look_at
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import FoundInputs, find_inputs
from seqembed.data.schema.check import check_schema
from seqembed.runner.engines.rows import output_schema
from seqembed.runner.job.held import HeldFiles
from seqembed.runner.job.parts import Action, Part
from seqembed.runner.job.refusals import part_names, refuse_mixture, refuse_other_files, refuse_output_among_inputs
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.parts import PartFooter, PartKey
from seqembed.runner.threads import in_threads

# Footers held at a time while a run is planned: those of wide files have megabytes.
_LOOKS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes:
        parts: One for each readable input file, in input order.
        orphans: Finished parts whose input lay below the inputs given and is gone.
        skipped_files: Names of files that cannot be read, with the reason.
        notes: What else a user should know of the inputs, such as files that are not Parquet.
        beyond: Finished parts that hold none of the first sequences `limit` asks for; more may show while parts are
            made.
        in_the_way: Of the orphans, those whose path a new part needs: a file where a directory must be, or the other
            way round.
    """

    parts: tuple[Part, ...]
    orphans: tuple[str, ...]
    skipped_files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    in_the_way: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return how many parts would be made; their names stand in `to_make`."""
        return (
            f"RunPlan(parts={len(self.parts)}, to_make={len(self.to_make)}, orphans={len(self.orphans)}, "
            f"skipped_files={len(self.skipped_files)}, beyond={len(self.beyond)})"
        )

    @property
    def to_make(self) -> tuple[Part, ...]:
        """Parts that are not finished yet."""
        return tuple(part for part in self.parts if part.action != "skip")

    @property
    def joins_events(self) -> bool:
        """Whether several finished parts hold events: runs that made them apart did not look for ids they share."""
        return len(self.parts) > 1 and all(part.layout == "events" for part in self.parts)

    def cut(self, num_parts: int) -> "RunPlan":
        """Return the plan with its first parts only; what is there of the others lies beyond the limit."""
        there = tuple(part.name for part in self.parts[num_parts:] if part.action != "make")
        return replace(self, parts=self.parts[:num_parts], beyond=there + self.beyond)


@dataclass(frozen=True, slots=True)
class _Look:
    """A file that may have to be read: its state without the footer's bytes, and what its footer says."""

    state: FileState
    schema: pa.Schema | None = None
    num_rows: int = 0
    damage: BadFileError | None = None


@dataclass(slots=True)
class InputStates:
    """The input files of a run, found once and opened once however often the run is planned.

    Attributes:
        found: The files.
        held: Keeps those open that are to be read, for `check_inputs`; None closes each after its look.
    """

    found: FoundInputs
    held: HeldFiles | None = None
    _looks: dict[str, _Look | BadFileError] = field(default_factory=dict)

    @classmethod
    def find(cls, inputs: Sequence[str], held: HeldFiles | None = None) -> "InputStates":
        """Find the files of the inputs.

        Raises:
            InputError: See `find_inputs`.
        """
        return cls(find_inputs(inputs), held)

    def looks(self, is_finished: Callable[[InputFile, FileState], bool]) -> list[_Look | BadFileError]:
        """Return the state of every file, in order; what `is_finished` says is not to be read is not parsed."""
        unseen = [file for file in self.found.files if file.location not in self._looks]
        for start in range(0, len(unseen), _LOOKS_AT_A_TIME):
            some = unseen[start : start + _LOOKS_AT_A_TIME]
            shared: list[pa.Schema] = []
            looks = in_threads(lambda file: self._look(file, is_finished), some)
            for file, look in zip(some, looks, strict=True):
                self._looks[file.location] = look if isinstance(look, BadFileError) else _sharing(look, shared)
        return [self._looks[file.location] for file in self.found.files]

    def _look(self, file: InputFile, is_finished: Callable[[InputFile, FileState], bool]) -> _Look | BadFileError:
        try:
            source = file.open_bytes()
            state = look_at(file, source)
        except BadFileError as error:
            return error
        bare = replace(state, footer=b"")
        if is_finished(file, state):
            return _Look(bare)
        if self.held is not None:
            self.held.keep(file, source)
        try:
            metadata = state.metadata()
            return _Look(bare, metadata.schema.to_arrow_schema(), metadata.num_rows)
        except BadFileError as error:
            return _Look(bare, damage=error)
        except (pa.ArrowException, ValueError, OSError) as error:  # a type that Arrow has no name for
            return _Look(
                bare, damage=BadFileError(f"{file.name}: cannot be read as Parquet ({error}). Write it again.")
            )


def _sharing(look: _Look, known: list[pa.Schema]) -> _Look:
    """Return a look that shares its schema with an equal one: thousands of files have one schema between them."""
    if look.schema is None:
        return look
    same = next((schema for schema in known if schema.equals(look.schema, check_metadata=True)), None)
    if same is None:
        known.append(look.schema)
        return look
    return replace(look, schema=same)


def plan_run(states: InputStates, output: OutputDirectory, model_sha256: str, options: RunOptions) -> RunPlan:
    """Compare each input file with the part that is there.

    Raises:
        InputError: A file cannot be read and the options say ``fail``.
        UsageError: Two inputs would make the same part, or the output lies among the inputs.
        OutputError: The directory holds parts of another model, of other options or of other inputs that this run would
            leave there or replace, or a file that seqembed did not write stands where a part belongs.
    """
    files = states.found.files
    refuse_output_among_inputs(files, output)
    names = part_names(files)
    ledger = output.read_ledger(names)
    refuse_other_files(names, ledger.others, output)
    footers = ledger.parts
    options_hash = options.result_hash()
    name_of = {file.location: name for file, name in zip(files, names, strict=True)}

    def is_finished(file: InputFile, state: FileState) -> bool:
        # With a limit a part's key depends on the files before it, which are looked at meanwhile.
        footer = footers.get(name_of[file.location])
        key = PartKey(state.fingerprint, model_sha256, options_hash)
        return options.limit is None and footer is not None and footer.key == key

    parts: list[Part] = []
    skipped, chain = [], ""
    for file, name, look in zip(files, names, states.looks(is_finished), strict=True):
        damage = look if isinstance(look, BadFileError) else look.damage
        if isinstance(look, BadFileError) or damage is not None:
            if options.on_bad_file == "fail":
                raise damage or InputError(f"{file.name}: cannot be read.")
            skipped.append((file.name, str(damage)))
            continue
        found = look.state.fingerprint
        # A limit makes a part depend on how many rows the files before it left to it.
        chain = found if options.limit is None or not chain else hashlib.sha256(f"{chain}{found}".encode()).hexdigest()
        key = PartKey(chain, model_sha256, options_hash)
        footer = footers.get(name)
        action = _action(key, footer, name in ledger.outdated)
        finished = footer if action == "skip" else None
        done, statistics = (None, None) if finished is None else (finished.counts, finished.statistics)
        layout = None if footer is None else footer.layout
        content, num_rows = look.state.content, look.num_rows
        parts.append(Part(file, name, key, found, content, action, done, look.schema, num_rows, layout, statistics))
    scopes = states.found.scopes
    passed = states.found.passed_locations
    gone = {name for name in set(footers) - set(names) if footers[name].input not in passed}
    orphans = tuple(sorted(n for n in gone if any(scope.covers(footers[n].input) for scope in scopes)))
    plan = RunPlan(tuple(parts), orphans, tuple(skipped), tuple(states.found.notes()), (), _in_the_way(orphans, names))
    refuse_mixture(parts, orphans, names, footers, (model_sha256, options_hash), output, options)
    return plan.cut(_num_within_limit(parts, options.limit))


def check_inputs(plan: RunPlan, contract: ModelContract, options: RunOptions, held: HeldFiles | None = None) -> int:
    """Hold every file that is to be read against the contract, before the first row of any is.

    Args:
        plan: Says which files are to be read.
        contract: What the model needs.
        options: What is carried to the output.
        held: Files that are open already; none of them is afterwards.

    Returns:
        The rows to read.

    Raises:
        InputError: A file does not fit the contract, or the events of an id lie in several files.
        UsageError: A column would stand in the output twice.
    """
    names = [contract.schema.id, *options.keep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--keep {twice}: that column is in the output already. Name it once.")
    for part in plan.to_make:
        if part.schema is not None:
            check_schema(part.file, part.schema, contract.schema, options.keep, trained=True, num_rows=part.num_rows)
            output_schema(part.schema, part.file.name, contract, options)
    skip = options.on_bad_file == "skip"
    files = [part.file for part in plan.parts]
    take = None if held is None else held.take
    refuse_ids_in_several_files(files, contract.schema, take=take, skip_bad_files=skip)
    if held is not None:
        held.close()
    return sum(part.num_rows for part in plan.to_make)


def _in_the_way(orphans: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    directories = {"/".join(name.split("/")[:end]) for name in names for end in range(1, name.count("/") + 1)}
    files = set(names)
    return tuple(
        orphan
        for orphan in orphans
        if orphan in directories
        or any("/".join(orphan.split("/")[:end]) in files for end in range(1, orphan.count("/") + 1))
    )


def _num_within_limit(parts: list[Part], limit: int | None) -> int:
    """Return how many parts are needed, as far as finished ones say how many sequences they hold."""
    done = 0
    for index, part in enumerate(parts):
        if limit is not None and done >= limit:
            return index
        if part.done is None:
            break
        done += part.done.rows_in
    return len(parts)


def _action(key: PartKey, footer: PartFooter | None, is_outdated: bool) -> Action:
    if footer is None:
        return "remake" if is_outdated else "make"
    if footer.key == key:
        return "skip"
    same_maker = (footer.key.model_sha256, footer.key.options_hash) == (key.model_sha256, key.options_hash)
    return "remake" if same_maker else "replace"
