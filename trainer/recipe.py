"""What a training does where its options leave it open: chosen from the data, and told before it starts.

Comparing views of sequences needs one to two thousand batches to beat an untrained encoder clearly, whether the data
holds fifty sequences or fifty million; so a training of that kind is measured in batches, not in passes over the data.
Frames keep what a recurrent layer reads to thirty to sixty steps, and to half of a shorter sequence: cheaper to train
and to serve by their size. Each also holds the steps that come next, so that no frame's edge hides what crosses it.
"""

from dataclasses import dataclass, replace

from seqembed.data.errors import UsageError
from seqembed.data.profile import QUANTILES, SequenceProfile
from seqembed.data.schema import SequenceSchema
from seqembed.trainer.categories import width_of
from seqembed.trainer.config import TrainingConfig, TrainJob
from seqembed.trainer.course import Courses, num_places
from seqembed.trainer.scale import Changes

READ_NAMES = {"values": "the values", "differences": "differences", "both": "values and differences"}
# Halfway from differences of pure noise, at -0.5, to those of a walk without direction, at 0.
_LEAST_PERSISTENCE = -0.25
_MEDIAN = QUANTILES.index(0.5)
# On sets of known structure coarser frames lose places (of a hundred steps, frames of four lose five points; of
# twenty-four, frames of three four points and frames of two none), and tell what is quick better, as an overlap does
# without such a loss.
_FRAMES_A_SEQUENCE, _LEAST_STEPS_IN_PAIRS = 30, 12
_MAX_FRAME_WIDTH = 512
# Up to here an overlap costs a twentieth to an eighth of the encoder's speed, beside an LSTM of some 50 units.
_MAX_OVERLAPPING_WIDTH = 48
_SMALL_BATCH_SIZE, _BATCH_SIZE, _LARGE_BATCH_SIZE = 8, 32, 64
_SMALL, _LARGE = 200, 20_000  # sequences to learn from
_EVENTS_BATCH_SIZE = 64
_LEARNING_RATE, _RECONSTRUCT_LEARNING_RATE = 2e-3, 5e-3


@dataclass(frozen=True, slots=True)
class _Steps:
    """How many batches a training takes where nobody says so: some passes over the data, within bounds."""

    least: int
    most: int
    passes: int

    def of(self, num_training: int, batch_size: int) -> int:
        return min(max(self.least, self.passes * num_training // batch_size), self.most)


# Of views: on sets of known structure twice as many as a thousand told 3.6 ± 0.8 points more.
_STEPS_OF_VIEWS, _STEPS_OF_EVENTS = _Steps(2_000, 4_000, 10), _Steps(1_000, 4_000, 10)
# A reconstruction gets better for longer: what small data lacks is batches, and what large data lacks is time.
_STEPS_OF_RECONSTRUCTION = _Steps(2_000, 10_000, 100)
# Of all batches: the learning rate falls from a half on, and what it gains then must not be cut off.
_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Recipe:
    """A job without open options.

    Attributes:
        job: The options in force.
        notes: What was chosen and why, a line each.
    """

    job: TrainJob
    notes: tuple[str, ...]


def choose(
    job: TrainJob,
    profile: SequenceProfile,
    changes: Changes,
    courses: Courses,
    num_training: int,
    validation_fraction: float,
    schema: SequenceSchema | None = None,
) -> Recipe:
    """Fill in the options that are open.

    Args:
        job: Options as given.
        profile: Statistics of the training sequences.
        changes: How their values change from step to step.
        courses: Whether they run alike.
        num_training: Sequences to learn from.
        validation_fraction: Share that is held out.
        schema: Kinds of features, and categorical fields; None has plain numbers alone.

    Raises:
        UsageError: Differences or courses are asked for where there are no numbers.
    """
    events = schema is not None and has_events(schema)
    reads = job.model.reads or ("both" if changes.persistence > _LEAST_PERSISTENCE and not events else "values")
    if not profile.mean and reads != "values":
        raise UsageError(f"--reads {reads} needs numbers, and there are categories alone. Drop it, or add --features.")
    if not profile.mean and job.model.course:
        raise UsageError("--course tells of numbers, and there are categories alone. Drop it, or add --features.")
    width = len(profile.mean) + sum(map(width_of, schema.categorical if schema is not None else ()))
    # Of events the order counts, and a frame hides it: what stands in one place of it differs from step to step.
    frame = 1 if events else choose_frame(profile, width, pairs=job.model.contrasts)
    frame, course, overlap = job.model.frame or frame, job.model.course, job.model.overlap
    if overlap is None:
        overlap = 0 if events else choose_overlap(frame, width)
    if course is None:
        num_frames = -(-profile.length_quantiles[_MEDIAN] // replace(job.model, frame=frame).course_frame)
        course = num_places(len(profile.mean), num_frames) if courses.alike and not events else 0
    model = replace(job.model, frame=frame, overlap=overlap, reads=reads, course=course)
    training = replace(job.training, validation_fraction=validation_fraction)
    training = choose_training(training, num_training, contrasts=job.model.contrasts, events=events)
    chosen = replace(job, model=model, training=training)
    notes = _notes(chosen, profile, num_training)
    if job.model.reads is None and not events:
        noisy = f"changes from step to step {'go on' if reads == 'both' else 'are mostly noise'}"
        notes.append(f"reads {READ_NAMES[reads]}: {noisy} (correlation with the next {changes.persistence:+.2f})")
    if job.model.course is None and not events:
        notes.append(_course_note(course, courses))
    return Recipe(chosen, tuple(notes))


def _course_note(course: int, courses: Courses) -> str:
    share = f"{courses.share:.0%} of what they do at equal shares of their length is common to all"
    if course:
        return f"tells each feature's course in {course} places: sequences run alike ({share})"
    if courses.alike:
        return "tells no course: there are too many features, or too few steps"
    return f"tells no course: sequences do not run alike ({share})"


def choose_training(training: TrainingConfig, num_training: int, *, contrasts: bool, events: bool) -> TrainingConfig:
    """Fill in what is open of how the weights are found.

    Args:
        training: Options as given.
        num_training: Sequences to learn from.
        contrasts: Whether views are compared.
        events: Whether steps are events.
    """
    size = training.batch_size
    if size is None and num_training >= _LARGE:
        size = _LARGE_BATCH_SIZE
    if size is None:
        # Few sequences in small batches make many batches; views need other sequences to be told from.
        small = _BATCH_SIZE if contrasts or num_training >= _SMALL else _SMALL_BATCH_SIZE
        size = _EVENTS_BATCH_SIZE if events and not contrasts else small
    steps = training.steps
    if steps is None and training.epochs is None:
        rule = _STEPS_OF_VIEWS if contrasts else _STEPS_OF_EVENTS if events else _STEPS_OF_RECONSTRUCTION
        steps = rule.of(num_training, size)
    patience = training.patience
    if patience is None and not contrasts and not events:
        planned = steps if steps is not None else (training.epochs or 0) * -(-num_training // size)
        patience = max(1, round(_PATIENCE * planned))
    rate = training.learning_rate or (_LEARNING_RATE if contrasts or events else _RECONSTRUCT_LEARNING_RATE)
    return replace(training, batch_size=size, steps=steps, patience=patience, learning_rate=rate)


def has_events(schema: SequenceSchema) -> bool:
    """Say whether steps are events, with a category or a time each, and not measurements alone."""
    return bool(schema.categorical) or any(feature.kind == "time" for feature in schema.features)


def choose_frame(profile: SequenceProfile, width: int, *, pairs: bool) -> int:
    """Return how many steps to read as one: half of the sequences have at most thirty to sixty frames.

    Args:
        profile: Lengths of the training sequences.
        width: Numbers that are read of a step; a frame of all its steps stays within bounds.
        pairs: Whether sequences of a dozen steps or more are read in pairs of steps at least.
    """
    median = profile.length_quantiles[_MEDIAN]
    wanted = max(median // _FRAMES_A_SEQUENCE, 2 if pairs and median >= _LEAST_STEPS_IN_PAIRS else 1)
    return max(1, min(wanted, _MAX_FRAME_WIDTH // width))


def choose_overlap(frame: int, width: int) -> int:
    """Return how many steps after its own a frame holds, too: twice its own, as far as it stays narrow.

    Of sets of known structure (three seeds each) that told ripples 22 points better, couplings 11, motifs 3, and none
    worse beyond noise; three times its own (one seed) told ripples better still, and motifs and rhythm worse.

    Args:
        frame: Steps of its own; of one step alone, none is added.
        width: Numbers that are read of a step.
    """
    return max(0, min(2 * frame, _MAX_OVERLAPPING_WIDTH // width - frame)) if frame > 1 else 0


def num_steps(job: TrainJob, num_training: int) -> int:
    """Return how many batches a job without open options learns from at most."""
    training = job.training
    if training.steps is not None:
        return training.steps
    return (training.epochs or 0) * -(-num_training // (training.batch_size or 1))


def _notes(job: TrainJob, profile: SequenceProfile, num_training: int) -> list[str]:
    training, lines = job.training, []
    what = {
        "hybrid": "tells views of a sequence from other sequences, and reconstructs it",
        "contrast": "tells views of a sequence from other sequences",
    }.get(str(job.model.objective), "predicts" if not job.model.reconstructs else "reconstructs sequences")
    how = f"{job.model.objective}: {what}; "
    if training.steps is not None:
        passes = training.steps * (training.batch_size or 1) / max(num_training, 1)
        how += f"{training.steps:,} batches of {training.batch_size} sequences ({passes:,.1f} passes over the data)"
    else:
        how += f"at most {training.epochs:,} passes in batches of {training.batch_size}"
    lines.append(how)
    frame, overlap = job.model.frame or 1, job.model.overlap or 0
    if frame + overlap > 1:
        median = profile.length_quantiles[_MEDIAN]
        what = f"frames of {frame} {'steps' if frame > 1 else 'step'}"
        after = f", each with the {overlap} {'steps' if overlap > 1 else 'step'} after it" if overlap else ""
        lines.append(f"{what}: a sequence of {median} steps (the median) is read as {-(-median // frame)}{after}")
    return lines
