"""One training from Parquet to run directory: the order of things, and what is refused before any of them."""

from functools import partial
from pathlib import Path
from typing import Any

from seqembed.data.errors import OutputError
from seqembed.data.fingerprints import combined_fingerprint
from seqembed.data.inputs import InputFile
from seqembed.data.schema import SequenceSchema
from seqembed.trainer import artifacts
from seqembed.trainer.categories import num_classes
from seqembed.trainer.checkpoint import Checkpoints, TrainingState
from seqembed.trainer.columns import TrainingColumns, find_columns
from seqembed.trainer.config import FIXED_LENGTH_DECODERS, TrainJob
from seqembed.trainer.course import TRIED_PLACES, courses_of
from seqembed.trainer.directory import RunDirectory
from seqembed.trainer.feed import Feed
from seqembed.trainer.intake import Intake, take_in
from seqembed.trainer.loop import CHECKPOINT_SECONDS, PARTS, Loop
from seqembed.trainer.losses import feature_weights
from seqembed.trainer.model import embedding_parts
from seqembed.trainer.network import Network, build_network, weighed_by_parts
from seqembed.trainer.objective import Objective
from seqembed.trainer.pictures import draw
from seqembed.trainer.progress import Progress
from seqembed.trainer.recipe import choose, has_events, num_steps
from seqembed.trainer.scale import changes_of, moments
from seqembed.trainer.source import MAX_BATCH_STEPS, SequenceSource
from seqembed.trainer.steps import Steps, seed_everything
from seqembed.trainer.summary import TrainSummary
from seqembed.trainer.views import ViewMaker

# Decoded sequences kept between epochs, where they fit: together 256 MB.
_TRAINING_CACHE_BYTES = 192_000_000
_VALIDATION_CACHE_BYTES = 64_000_000
_LEAST_WATCHED = 1_000  # held-out sequences
_LEAST_VIEW = 64  # steps, even of the largest batches
_LEAST_SEQUENCES = 8  # in a batch of the longest views: one alone would have nothing to be told from
# Measured at LSTM-64: 8 kB for every step or frame that is read, 1.2 kB for every step the positional decoder writes.
_WRITTEN_FOR_ONE_READ = 5
_MOST_LOGITS = 20_000_000  # of all fields and steps of a batch: 80 MB, and as much again for their gradient


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
        job: What to train on what.
        out: The run directory; made where it is missing.
        resume: Go on where an earlier training of the same options stood; without one, start.
        overwrite: Replace the run that `out` holds, once the new one is complete.
        progress: Who is told on the way.
        checkpoint_seconds: Longest time without a checkpoint.

    Raises:
        UsageError: Options contradict each other, or those of the run to resume.
        InputError: The data cannot be read as sequences, or holds too few.
        OutputError: `out` holds a run or files of others, another training writes there, or it cannot be written.
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
            "Give --overwrite to replace it, or another --out."
        )
    files = columns.files
    schema, lines = columns.learn(job)
    for line in lines:
        progress.note(line)
    if has_events(schema):
        job = job.of_events()
    intake = take_in(files, schema, job)
    for line in intake.notes(schema, columns.merged):
        progress.note(line)
    profile = intake.survey.profile
    sample = intake.survey.sample
    changes = changes_of(sample, profile)
    courses = courses_of(sample, profile, TRIED_PLACES, frame=1)
    recipe = choose(job, profile, changes, courses, intake.num_training, intake.validation_fraction, schema)
    job = recipe.job
    for line in recipe.notes:
        progress.note(line)
    seed_everything(job.training.seed)
    model = job.model
    build = partial(build_network, model, profile, intake.survey.max_length, changes.std, schema.categorical)
    network = build()
    objective = Objective(model, profile, schema.categorical, feature_weights(schema.features))
    decay_steps = num_steps(job, intake.num_training) if model.contrasts else None
    steps = Steps(network, objective, job.training, profile, decay_steps)
    fingerprint = combined_fingerprint(files)
    identity = {
        **job.to_options(),
        "data": fingerprint,
        "feature_names": list(schema.feature_names),
        "measured in": "epochs" if job.training.steps is None else "steps",
    }
    if schema.categorical:
        identity["category_names"] = [field.name for field in schema.categorical]
    state = TrainingState(network, steps.optimizer, len(objective.parts), identity)
    watched = watched_fraction(job, schema, intake)
    training, validation = _feeds(files, schema, job, intake, watched)
    if watched < intake.validation_fraction:
        some = round(intake.num_validation * watched / intake.validation_fraction)
        progress.note(f"some {some:,} of those held out are scored on the way")
    loop = Loop(
        steps=steps,
        objective=objective,
        training=training,
        validation=validation,
        state=state,
        checkpoints=checkpoints,
        config=job.training,
        progress=progress,
        checkpoint_seconds=save_seconds,
        views_a_sequence=2 if model.contrasts else 1,
    )
    directory.begin()
    resumed = resume and checkpoints.restore(state, identity)
    if resumed and loop.finished and layout.contract.exists():
        history = _history(job, intake, network, loop)
        directory.publish()
        return TrainSummary(directory.final, history, model.loss, already_finished=True)
    if resumed:
        layout.contract.unlink(missing_ok=True)  # the run is unfinished again
        progress.note(f"goes on after epoch {state.epochs_done}, batch {state.batches_done}")
    else:
        progress.note(f"{network.num_parameters:,} trainable weights")
    artifacts.write_config(layout, job)
    if not resumed:
        checkpoints.save(state)
    unit = "epoch" if job.training.steps is None else "part"
    progress.training_starts(loop.num_epochs, loop.rows_an_epoch(intake.num_training), state.epochs_done, unit)
    loop.run()
    history = _history(job, intake, network, loop)
    parts = embedding_parts(model, schema.num_features, schema.categorical)
    network = weighed_by_parts(network, build, parts, sample)
    artifacts.write_models(layout, network)
    artifacts.write_sample(layout, intake.survey, schema)
    artifacts.write_history(layout, history)
    draw(layout, network, model, schema, profile, sample, state.history, job.data.label)
    artifacts.write_contract(
        layout,
        job,
        schema,
        intake.survey,
        fingerprint=fingerprint,
        num_files=len(files),
        parts=parts,
        num_parameters=network.num_parameters,
    )
    directory.publish()
    return TrainSummary(directory.final, history, model.loss)


def _feeds(
    files: tuple[InputFile, ...], schema: SequenceSchema, job: TrainJob, intake: Intake, watched: float
) -> tuple[Feed, Feed | None]:
    batch_size = job.training.batch_size or 1
    if job.model.reconstructs and job.model.decoder in FIXED_LENGTH_DECODERS:
        # These write their full length for every sequence, however short: that bounds the batch.
        batch_size = min(batch_size, max(1, MAX_BATCH_STEPS // intake.survey.max_length))

    def feed(validation: bool, cache_bytes: int, fraction: float) -> Feed:
        source = SequenceSource(
            files,
            schema,
            job.data.length_policy,
            job.model,
            validation=validation,
            fraction=fraction,
            batch_size=batch_size,
            seed=job.training.seed,
            cache_bytes=cache_bytes,
            views=_view_maker(job, schema, intake, batch_size),
            max_batch_steps=_max_batch_steps(job, schema),
        )
        return Feed(source, schema.num_features, schema.num_fields)

    held_out = feed(True, _VALIDATION_CACHE_BYTES, watched) if intake.num_validation else None
    return feed(False, _TRAINING_CACHE_BYTES, intake.validation_fraction), held_out


def watched_fraction(job: TrainJob, schema: SequenceSchema, intake: Intake) -> float:
    """Return the share of all ids that are held out and scored on the way.

    That is all that are held out, but where a training is measured in steps no more than half of what is learned from
    meanwhile, nor more than is kept in memory, but a thousand at least: of a million held out a few thousand tell as
    much, and to score them all would take twenty times as long as the training itself.
    """
    training, profile = job.training, intake.survey.profile
    if training.steps is None or not intake.num_validation:
        return intake.validation_fraction
    learned = training.steps * (training.batch_size or 1) // PARTS
    width = 4 * (schema.num_features + schema.num_fields)
    kept = _VALIDATION_CACHE_BYTES * profile.num_sequences // max(1, width * profile.num_steps)
    most = max(_LEAST_WATCHED, min(learned // 2, kept))
    return intake.validation_fraction * min(1.0, most / intake.num_validation)


def _view_maker(job: TrainJob, schema: SequenceSchema, intake: Intake, batch_size: int) -> ViewMaker | None:
    if not job.model.contrasts:
        return None
    longest = MAX_BATCH_STEPS * (job.model.frame or 1) // (2 * batch_size)
    # So that long sequences, too, are told from others; the lengths that batches are planned by have noise on them.
    longest = min(longest, _max_batch_steps(job, schema) // (_LEAST_SEQUENCES + 1))
    mean = moments(intake.survey.profile)[0]
    return ViewMaker(mean, max_length=max(_LEAST_VIEW, longest), features=schema.features)


def _max_batch_steps(job: TrainJob, schema: SequenceSchema) -> int:
    """Return how many steps a batch of sequences may hold: frames make those that are only read cheaper."""
    frame = job.model.frame or 1
    if not job.model.reconstructs:
        return MAX_BATCH_STEPS * (frame if job.model.contrasts else 1)
    most = MAX_BATCH_STEPS
    if job.model.contrasts and job.model.decoder == "positional":
        most *= min(frame, _WRITTEN_FOR_ONE_READ)
    logits = sum(map(num_classes, schema.categorical)) * (2 if job.model.contrasts else 1)
    return min(most, _MOST_LOGITS // logits) if logits else most


def _history(job: TrainJob, intake: Intake, network: Network, loop: Loop) -> dict[str, Any]:
    """Return the document of ``history.json``; the baseline is scored on the data that decided what is best."""
    state = loop.state
    watched = loop.training if loop.validation is None else loop.validation
    chosen = loop.chosen_epoch
    if chosen:
        best = {name: value for name, value in state.history[chosen - 1].items() if name not in ("epoch", "step")}
        best.pop("rows_per_second")
    else:
        prefix = "" if loop.validation is None else "val_"
        best = loop.steps.evaluate(watched.epoch(0), prefix)
    return {
        "epochs": state.history,
        "watched": loop.watched,
        "best_epoch": chosen,
        "best_loss": best[loop.watched],
        "best_val_loss": best.get("val_loss"),
        "best": best,
        "baseline": loop.steps.baseline(watched.epoch(0)),
        # Of the views in a full batch one is right, and all but the view itself are offered.
        "contrast_chance": 1 / (2 * (job.training.batch_size or 1) - 1) if job.model.contrasts else None,
        "num_parameters": network.num_parameters,
        "num_training": intake.num_training,
        "num_validation": intake.num_validation,
        "measured_in": "epochs" if job.training.steps is None else "steps",
        "num_steps": loop.steps.num_done,
        "seconds": state.seconds,
        "rows_per_second": state.num_rows / state.seconds if state.seconds else 0.0,
        "stopped_early": loop.stopped_early,
        "patience": job.training.patience,
    }
