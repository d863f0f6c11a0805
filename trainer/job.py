"""A complete training, from Parquet to a run directory: prepare, fit, save."""

from pathlib import Path

from seqembed.data.errors import OutputError
from seqembed.data.layout import RunLayout
from seqembed.data.plurals import counted
from seqembed.data.week_hours import coverage_gap
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.checkpoint import Checkpoints
from seqembed.trainer.fit.fit import Fit
from seqembed.trainer.fit.health import Health, advice
from seqembed.trainer.fit.loop import CHECKPOINT_SECONDS
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.input.columns import TrainingColumns, find_columns
from seqembed.trainer.model.network import with_output_map
from seqembed.trainer.output import artifacts
from seqembed.trainer.output.directory import RunDirectory
from seqembed.trainer.output.summary import TrainSummary
from seqembed.trainer.page.write import write_page
from seqembed.trainer.plots.pictures import draw
from seqembed.trainer.prepare import Prepared, prepare


def train(
    job: TrainJob,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainSummary:
    """Train, and write a run directory.

    Args:
        job: Data, model and training options.
        out: The run directory; created if missing.
        resume: Continue an earlier training with the same options; without one, start.
        overwrite: Replace the run in `out`, once the new one is complete.
        progress: Receives notes and progress.
        checkpoint_seconds: Maximum time between checkpoints.

    Raises:
        UsageError: Options contradict each other, or those of the run to resume.
        InputError: The data cannot be read as sequences, or holds too few.
        OutputError: `out` holds a run or files not written by seqembed, another training writes there, or it cannot be
            written.
        QualityGateError: The loss became NaN or infinite.
        BundleError: The checkpoint to resume is damaged.
    """
    directory = RunDirectory(out, resume=resume, overwrite=overwrite)
    with directory.hold():
        columns = find_columns(job)
        return train_into(directory, job, columns, resume=resume, progress=progress, save_seconds=checkpoint_seconds)


def train_into(
    directory: RunDirectory,
    job: TrainJob,
    columns: TrainingColumns,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    save_seconds: float = CHECKPOINT_SECONDS,
) -> TrainSummary:
    """Train into a run directory that this process holds; see `train`."""
    layout, progress = directory.layout, progress or Progress()
    checkpoints = Checkpoints(layout.checkpoints)
    if resume and layout.contract.exists() and not checkpoints.exist:
        raise OutputError(
            f"{layout.root}: holds a finished run without checkpoints, so there is nothing to resume. "
            "Pass --overwrite to replace it, or another --out."
        )
    prepared = prepare(job, columns, progress)
    fit = Fit(prepared, checkpoints, progress, save_seconds)
    directory.begin()
    resumed = resume and fit.restore()
    if resumed and fit.loop.finished and layout.contract.exists():
        fit.keep_better()
        summary = _summary(directory, fit, already_finished=True)
        directory.publish()
        return summary
    if resumed:
        layout.contract.unlink(missing_ok=True)  # the run is unfinished again
        progress.note(f"continues after epoch {fit.state.epochs_done}, batch {fit.state.batches_done}")
    else:
        progress.note(f"{_embedding(prepared)}; {fit.network.num_parameters:,} trainable parameters")
    artifacts.write_config(layout, prepared.job)
    if not resumed:
        fit.save()
    fit.run()
    summary = _summary(directory, fit)
    _save(layout, fit, summary, progress)
    directory.publish()
    return summary


def _embedding(prepared: Prepared) -> str:
    """Return what the embedding holds, for the notes."""
    blocks = ", ".join(f"{block.width} {block.name}" for block in prepared.embedding_blocks)
    width, projected = sum(block.width for block in prepared.embedding_blocks), prepared.projected_dim
    if not projected:
        return f"embedding of {counted(width, 'dimension')}: {blocks}"
    most = min(width, prepared.intake.num_training - 1)
    rest = (
        f" (the training sequences differ in {most} directions at most; the others are 0)" if projected > most else ""
    )
    return f"embedding of {counted(projected, 'dimension')}{rest}, projected from {width}: {blocks}"


def _save(layout: RunLayout, fit: Fit, summary: TrainSummary, progress: Progress) -> None:
    """Write the files of a finished training, the contract last."""
    prepared, model, history = fit.prepared, fit.prepared.job.model, summary.history
    network = with_output_map(
        fit.network, prepared.build, prepared.embedding_blocks, fit.embeddings, prepared.projected_dim
    )
    artifacts.write_models(layout, network)
    artifacts.write_samples(layout, prepared.intake.survey, prepared.schema)
    artifacts.write_history(layout, history)
    label = prepared.job.data.label
    draw(
        layout,
        network,
        model,
        prepared.schema,
        prepared.profile,
        prepared.sample,
        history["epochs"],
        label,
        baseline=None if model.contrasts else history["baseline"]["loss"],
        measured_in=history["measured_in"],
        kept_epoch=history["best_epoch"],
    )
    write_page(layout, prepared, network, history, _health_warnings(fit), progress)
    artifacts.write_contract(
        layout,
        prepared.job,
        prepared.schema,
        prepared.profile,
        prepared.statistics,
        fingerprint=prepared.fingerprint,
        num_files=len(prepared.files),
        blocks=prepared.embedding_blocks,
        num_parameters=network.num_parameters,
    )


def _summary(directory: RunDirectory, fit: Fit, *, already_finished: bool = False) -> TrainSummary:
    job = fit.prepared.job
    gap = coverage_gap(fit.prepared.schema, fit.prepared.profile)
    warnings = (*_health_warnings(fit), *([] if gap is None else [f"WARNING: {gap}"]))
    return TrainSummary(directory.final, fit.history, job.model.loss, warnings, already_finished, job.model.mixes)


def _health_warnings(fit: Fit) -> tuple[str, ...]:
    """Return what is wrong with the weights, and what to try."""
    return tuple(advice(Health(**fit.history["health"]), fit.prepared.job.model, fit.history["num_steps"]))
