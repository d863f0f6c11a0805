"""Run a job: plan, check the model on this host, make and publish parts, report."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from seqembed.data.contract import ModelContract
from seqembed.data.display.events import emit, progress_in
from seqembed.data.drift.compare import drift_of
from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import is_uri
from seqembed.data.files.secrets import without_secrets
from seqembed.data.statistics.statistics import merged
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.contract_of import read_contract
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.choose import require_engine, start_engine
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.scores import profile_of
from seqembed.runner.engines.task import BundleReference
from seqembed.runner.job.check_inputs import check_inputs
from seqembed.runner.job.drift_gate import is_refused, refuse_drift, refuse_without_thresholds
from seqembed.runner.job.make_parts import make_parts
from seqembed.runner.job.open_files import OpenFiles
from seqembed.runner.job.outcome import Outcome
from seqembed.runner.job.plan import InputStates, RunPlan, plan_run
from seqembed.runner.job.success import is_done
from seqembed.runner.metrics.watch import Watch, watched
from seqembed.runner.options import RunOptions
from seqembed.runner.output.directory import OutputDirectory
from seqembed.runner.output.history import refuse_history_of_others
from seqembed.runner.output.parts import PartCounts
from seqembed.runner.output.staging import quarantine_name
from seqembed.runner.page.write import require_report, write_missing_report, write_report
from seqembed.runner.progress import show_progress
from seqembed.runner.report import RunReport


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs, model, output and options of a run.

    Attributes:
        inputs: Files, directories, globs or URIs.
        model: Path or URI of the bundle.
        out: The output directory.
        options: All other options.
    """

    inputs: tuple[str, ...]
    model: str
    out: str
    options: RunOptions

    @property
    def named_inputs(self) -> list[str]:
        """The inputs as absolute paths or URIs without credentials."""
        return [without_secrets(given) if is_uri(given) else str(Path(given).absolute()) for given in self.inputs]

    def columns(self, contract: ModelContract) -> list[str]:
        """Return the columns that it reads."""
        schema = contract.schema
        ordered = [] if schema.time is None else [schema.time, schema.time.partition(".")[0]]
        return sorted({schema.id, *schema.feature_columns, *ordered, *self.options.keep})

    def record(self, model_sha256: str, contract: ModelContract) -> dict[str, Any]:
        """Return the record by which `inspect` finds out what running again would do."""
        model = without_secrets(self.model)
        named = {"inputs": self.named_inputs, "model": model, "model_sha256": model_sha256}
        return named | {"columns": self.columns(contract), "options": self.options.record()}


def announce(job: Job) -> None:
    """Emit what was asked for."""
    named = {"inputs": job.named_inputs, "model": without_secrets(job.model), "out": without_secrets(job.out)}
    emit("started", **named, engine=job.options.engine)


def announce_plan(plan: RunPlan, num_rows: int) -> None:
    """Emit how much is to be done, and the files that are passed over."""
    emit("planned", parts=len(plan.parts), parts_to_make=len(plan.to_make), rows_to_read=num_rows)
    for name, reason in plan.skipped_files:
        emit("unreadable", name=name, reason=reason)


def plan_job(job: Job) -> tuple[RunPlan, int]:
    """Return the plan of `run_job` and the number of input rows it would read; nothing is written.

    Raises:
        BundleError: The model cannot be loaded.
        InputError, UsageError, OutputError: See `find_inputs`, `plan_run` and `check_inputs`.
    """
    content, open_files = _read_bundle(job), OpenFiles()
    states = InputStates.find(job.inputs, open_files, job.options.version, job.columns(_contract(content, job)))
    plan = plan_run(states, OutputDirectory(job.out), bundle_sha256(content), job.options)
    if not plan.to_make and not plan.joins_events:
        return plan, 0
    contract = Encoder.from_bytes(content, source=job.model).contract
    return plan, check_inputs(plan, contract, job.options, open_files)


def run_job(job: Job, terminal: IO[str]) -> RunReport:
    """Make unfinished parts, and write the success marker, unless a part outside the slice of `only` is missing.

    If every part is finished, no model is loaded and no file changed.

    Raises:
        BundleError: The golden sequences get other vectors on this host; nothing was written.
        DriftError: The rows moved too far from the training data, and `fail_on_drift` is set; all parts are complete.
        InputError: An input cannot be read, was changed during the run, or has a bad row; finished parts are kept.
        OutputError: The output cannot be written, or another run writes to it; finished parts are kept.
    """
    with watched(job.options, job.out, terminal) as watch:
        return _run(job, terminal, watch)


def _run(job: Job, terminal: IO[str], watch: Watch) -> RunReport:
    start = time.perf_counter()
    announce(job)
    require_engine(job.options.engine)
    require_report(job.options.report)
    content, output, open_files = _read_bundle(job), OutputDirectory(job.out), OpenFiles()
    watch.model_sha256 = sha256 = bundle_sha256(content)
    states = InputStates.find(job.inputs, open_files, job.options.version, job.columns(_contract(content, job)))
    plan = plan_run(states, output, sha256, job.options)
    rows = sum(part.num_rows for part in plan.to_make)
    announce_plan(plan, rows)
    if is_done(plan, output, job.named_inputs, prune=job.options.prune):
        output.remove_leftovers()
        report = watch.reports(_report(plan.sliced, Outcome(), (), start, None, _contract(content, job)))
        return _up_to_date(job, plan, output, report, locked=False)
    refuse_history_of_others(output.storage)
    encoder, checked = None, {part.name for part in plan.to_make}
    if plan.to_make or plan.joins_events:
        encoder = Encoder.from_bytes(content, source=job.model)
        check_inputs(plan, encoder.contract, job.options, open_files)
    golden = encoder.replay_golden() if encoder is not None else None
    emit("checked", golden_difference=golden)
    with ExitStack() as stack:
        # Before anything is changed, since an engine may not be there.
        engine = None if encoder is None else stack.enter_context(start_engine(job.options, encoder, content))
        stack.enter_context(output.lock())
        plan = plan_run(
            states, output, sha256, job.options
        )  # again: another run may have finished parts before the lock
        if is_done(plan, output, job.named_inputs, prune=job.options.prune):
            report = watch.reports(_report(plan.sliced, Outcome(), (), start, golden, _contract(content, job)))
            return _up_to_date(job, plan, output, report, locked=True)
        output.begin(job.record(sha256, _contract(content, job)))
        outcome = Outcome()
        if plan.to_make or plan.superseded:
            encoder = encoder or Encoder.from_bytes(content, source=job.model)
            if not checked.issuperset(part.name for part in plan.to_make):
                check_inputs(plan, encoder.contract, job.options, open_files)
            engine = engine or stack.enter_context(start_engine(job.options, encoder, content))
            with engine:  # closed before the staging directory is removed
                plan = _make_parts(job, plan, engine, output, BundleReference.of(job.model, content), outcome, terminal)
        pruned = _prune(plan, output) if job.options.prune else plan.blocking if outcome.made else ()
        contract = _contract(content, job) if encoder is None else encoder.contract
        total, report = (_report(each, outcome, pruned, start, golden, contract) for each in (plan, plan.sliced))
        report = watch.reports(replace(report, seconds=total.seconds))  # the marker and the history name the same
        _conclude(job, output, report, None if plan.unfinished else total, sha256)
        return report


def _up_to_date(job: Job, plan: RunPlan, output: OutputDirectory, report: RunReport, *, locked: bool) -> RunReport:
    """Return the report of a run with nothing to do.

    Raises:
        DriftError: The rows moved too far from the training data, and `fail_on_drift` is set.
    """
    if job.options.report:
        write_missing_report(output, locked=locked)
    refuse_drift(report, job.out, job.options, marked=not plan.unfinished)
    return report


def _conclude(job: Job, output: OutputDirectory, report: RunReport, total: RunReport | None, sha256: str) -> None:
    """Record a run in the history, and write the success marker and the page.

    Args:
        job: What ran.
        output: The output directory, whose parts are published.
        report: Of the run.
        total: Of all parts; None while a part outside the slice is missing, and so no marker may be written.
        sha256: Of the bundle.

    Raises:
        DriftError: The rows moved too far from the training data, and `fail_on_drift` is set.
        OutputError: The output cannot be written.
    """
    judged = [report] if total is None else [report, total]
    is_drifted = any(is_refused(each, job.options) for each in judged)
    is_complete = total is not None and not is_drifted
    record = output.remember(report.history(sha256, complete=is_complete))
    document = judged[-1].to_json(job.named_inputs, without_secrets(job.model), sha256, job.options)
    if is_complete:
        try:
            output.succeed(document)
        except OutputError:
            output.forget(record)  # it would say that the marker was written
            raise
    if job.options.report:
        write_report(output, document, "complete" if is_complete else "refused" if is_drifted else "slice")
    for each in judged:
        refuse_drift(each, job.out, job.options)


def _contract(content: bytes, job: Job) -> ModelContract:
    return read_contract(content, job.model)[0]


def _read_bundle(job: Job) -> bytes:
    """Return the bytes of the model.

    Raises:
        BundleError: It cannot be read, has no decoder where scores are asked for, or no thresholds for the gate of
            drift.
    """
    content, source = read_bundle(job.model), without_secrets(job.model)
    if job.options.score:
        profile_of(read_contract(content, source)[0], source)
    if job.options.fail_on_drift:
        refuse_without_thresholds(read_contract(content, source)[0], source)
    return content


def _make_parts(
    job: Job,
    plan: RunPlan,
    engine: Engine,
    output: OutputDirectory,
    bundle: BundleReference,
    outcome: Outcome,
    terminal: IO[str],
) -> RunPlan:
    """Make and publish every unfinished part.

    Returns:
        The plan without files that could not be read and parts that turned out to be beyond the limit.
    """
    options, total = job.options, sum(part.num_rows for part in plan.to_make)
    total = total if options.limit is None else min(total, options.limit)
    style = progress_in(options.log_format, options.progress)
    with show_progress(style, total, terminal) as progress:
        engine.progress = progress
        plan = make_parts(plan, engine, output, bundle, options, outcome)
    failed = [(part.file.name, outcome.unreadable[part.name]) for part in plan.parts if part.name in outcome.unreadable]
    return replace(plan, skipped_files=(*plan.skipped_files, *failed))


def _prune(plan: RunPlan, output: OutputDirectory) -> tuple[str, ...]:
    names = plan.sliced.orphans + plan.beyond
    for name in names:
        output.remove_published(
            quarantine_name(name)
        )  # first: after a kill in between, the remaining part is still an orphan
        output.remove_published(name)
    output.publish()
    return names


def _report(
    plan: RunPlan,
    outcome: Outcome,
    pruned: tuple[str, ...],
    start: float,
    golden: float | None,
    contract: ModelContract | None = None,
) -> RunReport:
    fields = () if contract is None else contract.schema.categorical
    counted = [(part, outcome.made.get(part.name, part.done)) for part in plan.parts]
    parts = tuple((part, counts) for part, counts in counted if counts is not None)
    of_parts = (outcome.statistics.get(part.name, part.statistics) for part, _ in parts)
    statistics, shared = merged(of_parts), outcome.ids.result()
    return RunReport(
        parts=parts,
        orphans=plan.orphans,
        beyond=plan.beyond,
        pruned=pruned,
        skipped_files=plan.skipped_files,
        notes=plan.notes,
        shared_ids=shared if shared.num_shared else None,
        bad_rows=outcome.reasons,
        quarantined=tuple(outcome.quarantined),
        num_made=len(outcome.made),
        counts=sum((counts for _, counts in parts), PartCounts()),
        made=sum(outcome.made.values(), PartCounts()),
        seconds=time.perf_counter() - start,
        golden_difference=golden,
        slowest=outcome.slowest(),
        statistics=statistics,
        drift=None if contract is None else drift_of(statistics, contract),
        unfinished=plan.unfinished,
        trained_unknown={field.name: field.vocabulary.unknown_share for field in fields if field.vocabulary},
    )
