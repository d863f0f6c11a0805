"""Automatic configuration: choose every unset option from the data, and report the choices before training starts.

Comparing views of sequences needs some hundred batches to beat an untrained encoder clearly, whether the data
holds fifty sequences or fifty million; so such a training is measured in batches, not in passes over the data. Frames
limit what a recurrent layer reads to twenty to forty frames per sequence, and to a third of a shorter one, which makes
training and serving cheaper by their size. Each frame also holds the steps that follow it, so that no pattern is
cut at the edge of a frame.
"""

from dataclasses import dataclass, replace

from seqembed.data.errors import UsageError
from seqembed.data.plurals import counted
from seqembed.data.profile import QUANTILES, SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.resolved import (
    ResolvedJob,
    ResolvedModel,
    ResolvedTraining,
    resolve_model,
    trajectory_frame,
)
from seqembed.trainer.config.training import TrainingConfig
from seqembed.trainer.input.scale import Changes
from seqembed.trainer.model.blocks import embedding_blocks
from seqembed.trainer.model.categories import width_of
from seqembed.trainer.model.kernels import num_kernels
from seqembed.trainer.model.pairs import MAX_PAIRS, pair_ranks
from seqembed.trainer.model.trajectory import Alignment, num_points

CHANNEL_NAMES = {"values": "values", "differences": "differences", "both": "values and differences"}
# Halfway between the correlation of differences of pure noise, -0.5, and that of a random walk, 0.
_MIN_PERSISTENCE = -0.25
_MEDIAN = QUANTILES.index(0.5)
# Measured on data sets of known structure: coarser frames lose positions (frames of four cost five points of accuracy
# at a hundred steps; at twenty-four steps, frames of three cost four points and frames of two none). They also capture
# fast patterns better, but an overlap does so without such a loss. Beside fixed kernels, which read every step, twenty
# frames are as accurate as thirty, and cheaper, and so are frames of three in short sequences (24 steps of two sets, 7
# to 29 of one, two seeds each: 0.3 points more on average than frames of two).
_FRAMES_PER_SEQUENCE, _FRAMES_BESIDE_KERNELS, _MIN_STEPS_FOR_FRAMES = 30, 20, 12
_MAX_FRAME_WIDTH = 512
# Up to this width an overlap costs a twentieth to an eighth of the speed of an encoder with about 50 LSTM units.
_MAX_OVERLAPPING_WIDTH = 48
# Width of the projection. On seven made sets of 800 sequences 64 to 256 were equally accurate, within the noise; a few
# training sequences differ in one direction less than their number.
_EMBEDDING_DIM = 128
_SMALL_BATCH_SIZE, _BATCH_SIZE, _LARGE_BATCH_SIZE = 8, 32, 64
_SMALL, _LARGE = 200, 20_000  # sequences to learn from
_EVENTS_BATCH_SIZE = 64
_LEARNING_RATE, _RECONSTRUCT_LEARNING_RATE = 2e-3, 5e-3
_VIEWS_LEARNING_RATE = 8e-3


@dataclass(frozen=True, slots=True)
class _Steps:
    """A rule for the number of batches: some passes over the data, within bounds."""

    minimum: int
    maximum: int
    passes: int

    def of(self, num_training: int, batch_size: int) -> int:
        return min(max(self.minimum, self.passes * num_training // batch_size), self.maximum)


# Accuracy on two sets of known structure, two seeds each: 500 and 1,000 batches at a peak rate of 0.008 are level, and
# one to two points ahead of 2,000 at 0.002.
_STEPS_OF_VIEWS, _STEPS_OF_EVENTS = _Steps(500, 2_000, 10), _Steps(1_000, 4_000, 10)
_STEPS_OF_VIEWS_OF_EVENTS = _Steps(2_000, 4_000, 10)
# A reconstruction keeps improving for longer: small data needs more batches, large data more time.
_STEPS_OF_RECONSTRUCTION = _Steps(2_000, 10_000, 100)
# Share of all batches: the learning rate falls in the second half, and early stopping must not cut off that gain.
_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Findings:
    """What the data showed.

    Attributes:
        profile: Statistics of the training sequences.
        changes: How their values change from step to step.
        alignment: Whether they are aligned.
        num_training: Number of training sequences.
        validation_fraction: Share that is held out.
        schema: Kinds of features, and categorical fields; None means numbers only.
    """

    profile: SequenceProfile
    changes: Changes
    alignment: Alignment
    num_training: int
    validation_fraction: float
    schema: SequenceSchema | None = None

    @property
    def events(self) -> bool:
        """Whether steps are events."""
        return self.schema is not None and has_events(self.schema)

    @property
    def width(self) -> int:
        """Inputs per step."""
        return len(self.profile.mean) + sum(map(width_of, self.schema.categorical if self.schema is not None else ()))

    @property
    def median(self) -> int:
        """Steps of a sequence of median length."""
        return self.profile.length_quantiles[_MEDIAN]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A job with every option set.

    Attributes:
        job: The options in force.
        notes: What was chosen and why, one line each.
    """

    job: ResolvedJob
    notes: tuple[str, ...]


def resolve(job: TrainJob, found: Findings) -> Resolved:
    """Choose the unset options.

    Args:
        job: Options as given.
        found: What the data showed.

    Raises:
        UsageError: Differences or trajectories are requested, but there are no numbers; or too few pairs are.
    """
    model = _resolve_model(job.model, found)
    training = resolve_training(
        job.training,
        found.num_training,
        found.validation_fraction,
        contrasts=model.contrasts,
        events=found.events,
    )
    resolved = ResolvedJob(job.data, model, training)
    notes = _notes(resolved, found)
    if job.model.channels is None and model.contrasts and not found.events:
        finding = f"changes from step to step {'persist' if model.channels == 'both' else 'are mostly noise'}"
        correlation = f"correlation of consecutive changes {found.changes.persistence:+.2f}"
        notes.append(f"input channels: {CHANNEL_NAMES[model.channels]}; {finding} ({correlation})")
    if job.model.trajectory is None and model.contrasts and not found.events:
        notes.append(_trajectory_note(model.trajectory, found.alignment))
    return Resolved(resolved, tuple(notes))


def _resolve_model(given: ModelConfig, found: Findings) -> ResolvedModel:
    events = found.events
    contrasts = given.objective_for(events=events) != "reconstruct"
    # For events the order matters, and frames hide it: the same position in a frame means another event each time.
    num_frames = _FRAMES_BESIDE_KERNELS if contrasts and given.kernels != 0 else _FRAMES_PER_SEQUENCE
    steps = (3 if given.kernels != 0 else 2) if contrasts else 1
    frame = given.frame or (1 if events else choose_frame(found.profile, found.width, num_frames, steps))
    channels, overlap, trajectory, kernels = "values", 0, 0, 0
    if contrasts and not events:
        channels = "both" if found.changes.persistence > _MIN_PERSISTENCE else "values"
        overlap = choose_overlap(frame, found.width)
        num_frames = -(-found.median // trajectory_frame(frame))
        trajectory = num_points(len(found.profile.mean), num_frames) if found.alignment.is_aligned else 0
        kernels = num_kernels(found.median)
    pairs = MAX_PAIRS if events and given.objective_for(events=False) != "reconstruct" else 0
    found_options = {"frame": frame, "overlap": overlap, "trajectory": trajectory, "kernels": kernels, "pairs": pairs}
    model = resolve_model(given, events=events, channels=channels, **found_options)
    if not found.profile.mean and model.channels != "values":
        raise UsageError(
            f"--channels {model.channels} needs numbers; the data has only categories. Drop it, or add --features."
        )
    for option in ("trajectory", "kernels"):
        if not found.profile.mean and getattr(model, option):
            raise UsageError(f"--{option} needs numbers; the data has only categories. Drop it, or add --features.")
    if model.pairs and found.schema is not None:
        model = replace(model, pairs=pair_ranks(found.schema, model.pairs).num_pairs)
        if given.pairs and not model.pairs:
            raise UsageError(f"--pairs {given.pairs} is too few: a single function takes 2 numbers. Pass more, or 0.")
    return replace(model, embedding_dim=_projected_dim(model, found)) if model.projects else model


def _projected_dim(model: ResolvedModel, found: Findings) -> int:
    """Return the width of the projection: as asked for, else one for all data, or fewer where there is less to keep."""
    if model.embedding_dim:
        return model.embedding_dim
    fields = found.schema.categorical if found.schema is not None else ()
    width = sum(block.width for block in embedding_blocks(model, len(found.profile.mean), fields))
    return max(1, min(_EMBEDDING_DIM, width, found.num_training - 1))


def _trajectory_note(points: int, alignment: Alignment) -> str:
    share = f"the mean trajectory explains {alignment.share:.0%} of the energy"
    if points:
        return f"trajectory of {points} points per feature: sequences are aligned ({share})"
    if alignment.is_aligned:
        return "no trajectory: too many features, or too few steps"
    return f"no trajectory: sequences are not aligned ({share})"


def resolve_training(
    given: TrainingConfig, num_training: int, validation_fraction: float, *, contrasts: bool, events: bool
) -> ResolvedTraining:
    """Choose the unset options of the training.

    Args:
        given: Options as given.
        num_training: Number of training sequences.
        validation_fraction: Share that is held out.
        contrasts: Whether views are compared.
        events: Whether steps are events.
    """
    size = given.batch_size or _choose_batch_size(num_training, contrasts=contrasts, events=events)
    if events:
        rule, rate = (_STEPS_OF_VIEWS_OF_EVENTS if contrasts else _STEPS_OF_EVENTS), _LEARNING_RATE
    elif contrasts:
        rule, rate = _STEPS_OF_VIEWS, _VIEWS_LEARNING_RATE
    else:
        rule, rate = _STEPS_OF_RECONSTRUCTION, _RECONSTRUCT_LEARNING_RATE
    length = given.steps or rule.of(num_training, size)
    resolved = ResolvedTraining(
        measured_in="steps" if given.epochs is None else "epochs",
        length=length if given.epochs is None else given.epochs,
        batch_size=size,
        learning_rate=given.learning_rate or rate,
        patience=given.patience or 0,
        validation_fraction=validation_fraction,
        clip_norm=given.clip_norm,
        seed=given.seed,
    )
    if given.patience is None and not contrasts and not events:
        resolved = replace(resolved, patience=max(1, round(_PATIENCE * resolved.num_steps(num_training))))
    return resolved


def _choose_batch_size(num_training: int, *, contrasts: bool, events: bool) -> int:
    """Small batches make many batches of few sequences; views need other sequences in the batch as negatives."""
    if num_training >= _LARGE:
        return _LARGE_BATCH_SIZE
    if events and not contrasts:
        return _EVENTS_BATCH_SIZE
    return _BATCH_SIZE if contrasts or num_training >= _SMALL else _SMALL_BATCH_SIZE


def has_events(schema: SequenceSchema) -> bool:
    """Return whether steps are events, with categories or times, rather than measurements alone."""
    return bool(schema.categorical) or any(feature.kind == "time" for feature in schema.features)


def choose_frame(profile: SequenceProfile, width: int, num_frames: int, steps: int) -> int:
    """Return the number of steps per frame, so that a sequence of median length has up to twice `num_frames`.

    Args:
        profile: Lengths of the training sequences.
        width: Inputs per step; it bounds the width of a frame.
        num_frames: Frames of a sequence of median length, at least.
        steps: Steps per frame, at least, of sequences of a dozen steps or more.
    """
    median = profile.length_quantiles[_MEDIAN]
    wanted = max(median // num_frames, steps if median >= _MIN_STEPS_FOR_FRAMES else 1)
    return max(1, min(wanted, _MAX_FRAME_WIDTH // width))


def choose_overlap(frame: int, width: int) -> int:
    """Return how many following steps a frame also holds: twice its own, unless it would become too wide.

    On data sets of known structure (three seeds each) this improved accuracy by 22 points on ripples, 11 on couplings
    and 3 on motifs, and was worse on none beyond noise. Three times its own steps (one seed) was better still on
    ripples, and worse on motifs and rhythm.

    Args:
        frame: Steps per frame; frames of one step get no overlap.
        width: Inputs per step.
    """
    return max(0, min(2 * frame, _MAX_OVERLAPPING_WIDTH // width - frame)) if frame > 1 else 0


def _notes(job: ResolvedJob, found: Findings) -> list[str]:
    model, training, lines = job.model, job.training, []
    what = {
        "hybrid": "distinguishes views of a sequence from other sequences, and reconstructs it",
        "contrast": "distinguishes views of a sequence from other sequences",
        "reconstruct": "reconstructs sequences" if model.reconstructs else "predicts",
    }[model.objective]
    how = f"{model.objective}: {what}; "
    if training.in_steps:
        passes = training.length * training.batch_size / max(found.num_training, 1)
        batches, sequences = counted(training.length, "batch", "batches"), counted(training.batch_size, "sequence")
        how += f"{batches} of {sequences} ({passes:,.1f} passes over the data)"
    else:
        how += f"at most {counted(training.length, 'pass', 'passes')} in batches of {training.batch_size}"
    lines.append(how)
    frame, overlap = model.frame, model.overlap
    if frame + overlap > 1:
        what = f"frames of {counted(frame, 'step')}"
        after = f", each with the {counted(overlap, 'step')} after it" if overlap else ""
        num_frames = -(-found.median // frame)
        lines.append(f"{what}: a sequence of median length ({counted(found.median, 'step')}) has {num_frames}{after}")
    return lines
