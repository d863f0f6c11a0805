"""The nightly job: plan, check the model on this host, embed every part, publish, say so."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from data.contract import ModelContract
from data.errors import BadFileError
from data.inputs import OpenedFile, is_uri
from data.secrets import without_secrets
from runner.bundle_file import read_bundle
from runner.encoder import Encoder
from runner.engines.make import PartMaker
from runner.engines.pipeline import LocalEngine
from runner.job.plan import InputStates, RunPlan, bundle_sha256, check_inputs, plan_run
from runner.options import RunOptions
from runner.output.badrows import QUARANTINE
from runner.output.directory import OutputDirectory
from runner.output.parts import COUNTED, PartCounts
from runner.progress import show_progress
from runner.report import RunReport


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for.

    Attributes:
        inputs: Files, directories, globs or URIs.
        model: Path or URI of the bundle.
        out: The output directory.
        options: The rest.
    """

    inputs: tuple[str, ...]
    model: str
    out: str
    options: RunOptions


def plan_job(job: Job) -> tuple[RunPlan, int]:
    """Say what `run_job` would do, and how many input rows it would read; nothing is written.

    Raises:
        BundleError: The model cannot be loaded.
        InputError, UsageError, OutputError: See `find_inputs`, `plan_run` and `check_inputs`.
    """
    content = read_bundle(job.model)
    plan = plan_run(InputStates.find(job.inputs), OutputDirectory(job.out), bundle_sha256(content), job.options)
    if not plan.to_make and not plan.joins_events:
        return plan, 0
    return plan, check_inputs(plan, Encoder.from_bytes(content, source=job.model).contract, job.options)


def run_job(job: Job, terminal: IO[str]) -> RunReport:
    """Make what is not finished, and write the success marker.

    A run that finds every part finished opens no model and changes no byte.

    Raises:
        BundleError: The golden sequences come out differently on this host; nothing was written.
        InputError: An input cannot be read, changed meanwhile, or holds a bad row; parts finished before stay.
        OutputError: The output cannot be written, or another run writes there; parts finished before stay.
    """
    start = time.perf_counter()
    content, output = read_bundle(job.model), OutputDirectory(job.out)
    sha256 = bundle_sha256(content)
    states = InputStates.find(job.inputs)
    plan = plan_run(states, output, sha256, job.options)
    if _is_done(plan, output, job):
        output.tidy()
        return _report(plan, {}, (), start, None)
    opened: dict[str, OpenedFile] = {}
    encoder, checked = None, {part.name for part in plan.to_make}
    if plan.to_make or plan.joins_events:
        encoder = Encoder.from_bytes(content, source=job.model)
        check_inputs(plan, encoder.contract, job.options, opened)
    golden = encoder.replay_golden() if encoder is not None else None
    with output.lock():
        plan = plan_run(states, output, sha256, job.options)  # another run may have finished parts meanwhile
        if _is_done(plan, output, job):
            return _report(plan, {}, (), start, golden)
        output.begin(_record(job, sha256))
        made: dict[str, PartCounts] = {}
        maker = None
        if plan.to_make:
            encoder = encoder or Encoder.from_bytes(content, source=job.model)
            if not checked.issuperset(part.name for part in plan.to_make):
                check_inputs(plan, encoder.contract, job.options)
            plan, made, maker = _make_parts(job, plan, encoder, output, terminal, opened)
        pruned = _prune(plan, output) if job.options.prune else plan.in_the_way if made else ()
        contract = None if encoder is None else encoder.contract
        report = _report(plan, made, pruned, start, golden, contract, maker)
        output.succeed(report.to_json(_named_inputs(job), without_secrets(job.model), sha256, job.options))
    return report


def _record(job: Job, model_sha256: str) -> dict[str, Any]:
    model = without_secrets(job.model)
    return {"inputs": _named_inputs(job), "model": model, "model_sha256": model_sha256, "options": asdict(job.options)}


def _named_inputs(job: Job) -> list[str]:
    """Return the inputs so that they mean the same from any directory, without credentials."""
    return [without_secrets(given) if is_uri(given) else str(Path(given).absolute()) for given in job.inputs]


def _is_done(plan: RunPlan, output: OutputDirectory, job: Job) -> bool:
    if plan.to_make or (job.options.prune and (plan.orphans or plan.beyond)):
        return False
    success = output.read_success()
    return success is not None and _fits(success, plan, _named_inputs(job))


def _fits(success: Mapping[str, Any], plan: RunPlan, inputs: list[str]) -> bool:
    """Whether a success marker may stay as it is.

    That of the same inputs names the parts, those left over and the unreadable files that there are now, and its totals
    are those of the parts. That of other inputs is theirs, if its totals add up; but events of several files are first
    looked through together, once.
    """
    try:
        totals = PartCounts.from_json({name: success[name] for name in COUNTED if name in success})
        parts, skipped = ([entry["name"] for entry in success[key]] for key in ("parts", "skipped_files"))
        left = success["orphans"], success["beyond_limit"]
        if success["inputs"] != inputs:
            return not plan.joins_events
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    if (parts, skipped) != ([part.name for part in plan.parts], [name for name, _ in plan.skipped_files]):
        return False
    finished = sum((part.done for part in plan.parts if part.done is not None), PartCounts())
    return left == (list(plan.orphans), list(plan.beyond)) and totals == finished


def _prune(plan: RunPlan, output: OutputDirectory) -> tuple[str, ...]:
    names = plan.orphans + plan.beyond
    for name in names:
        output.withdraw(f"{QUARANTINE}/{name}")  # first: killed in between, the part still says that it must go
        output.withdraw(name)
    output.publish()
    return names


def _report(
    plan: RunPlan,
    made: dict[str, PartCounts],
    pruned: tuple[str, ...],
    start: float,
    golden: float | None,
    contract: ModelContract | None = None,
    maker: PartMaker | None = None,
) -> RunReport:
    fields = () if contract is None else contract.schema.categorical
    counted = [(part, made.get(part.name, part.done)) for part in plan.parts]
    parts = tuple((part, counts) for part, counts in counted if counts is not None)
    shared = None if maker is None else maker.ids.result()
    return RunReport(
        parts=parts,
        orphans=plan.orphans,
        beyond=plan.beyond,
        pruned=pruned,
        skipped_files=plan.skipped_files,
        notes=plan.notes,
        shared_ids=shared if shared is not None and shared.num_shared else None,
        bad_rows={} if maker is None else maker.reasons,
        quarantined=() if maker is None else tuple(maker.quarantined),
        num_made=len(made),
        counts=sum((counts for _, counts in parts), PartCounts()),
        made=sum(made.values(), PartCounts()),
        seconds=time.perf_counter() - start,
        golden_difference=golden,
        trained_unknown={field.name: field.vocabulary.unknown_share for field in fields if field.vocabulary},
    )


def _make_parts(
    job: Job,
    plan: RunPlan,
    encoder: Encoder,
    output: OutputDirectory,
    terminal: IO[str],
    opened: dict[str, OpenedFile],
) -> tuple[RunPlan, dict[str, PartCounts], PartMaker]:
    """Make every part that is not finished.

    Returns:
        The plan without files that could not be read, the counts, and what made them.
    """
    options = job.options
    total = sum(part.num_rows for part in plan.to_make)
    # Old parts stay readable until all new ones are complete where the old ones come from another maker.
    at_the_end = any(part.action == "replace" for part in plan.parts)
    left = options.limit
    made: dict[str, PartCounts] = {}
    unreadable: list[tuple[str, str]] = []
    with (
        LocalEngine(encoder, options.threads) as engine,
        show_progress(options.progress, total if left is None else min(total, left), terminal) as progress,
    ):
        maker = PartMaker(encoder.contract, options, output, engine)
        for name in plan.in_the_way:
            output.withdraw(f"{QUARANTINE}/{name}")
            output.make_room(name)
        for place, part in enumerate(plan.parts):
            counts = part.done
            if counts is None:
                try:
                    counts = made[part.name] = maker.make(part, progress, left, opened.pop(part.file.location, None))
                except BadFileError as error:
                    if options.on_bad_file == "fail":
                        raise
                    unreadable.append((part.file.name, str(error)))
                    continue
                if not at_the_end:
                    output.publish()
            left = None if left is None else left - counts.rows_in
            if left == 0:
                plan = plan.cut(place + 1)
                break
        output.publish()
    return replace(plan, skipped_files=plan.skipped_files + tuple(unreadable)), made, maker
