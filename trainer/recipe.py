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
from seqembed.trainer.config import TrainJob
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
_EPOCHS = 100  # of a reconstruction, which early stopping ends sooner
_PATIENCE = 10
_RECONSTRUCT_BATCH_SIZE = 64
_BATCH_SIZE = 32
_LARGE_BATCH_SIZE = 64
_LARGE = 20_000
# Of views. On sets of known structure twice as many as a thousand told 3.6 ± 0.8 points more.
_LEAST_STEPS, _LEAST_STEPS_OF_EVENTS, _MOST_STEPS = 2_000, 1_000, 4_000
_PASSES = 10


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
    if job.model.contrasts or events:
        small = _BATCH_SIZE if job.model.contrasts else _RECONSTRUCT_BATCH_SIZE
        size = training.batch_size or (_LARGE_BATCH_SIZE if num_training >= _LARGE else small)
        steps = training.steps
        if steps is None and training.epochs is None:
            least = _LEAST_STEPS if job.model.contrasts else _LEAST_STEPS_OF_EVENTS
            steps = min(max(least, _PASSES * num_training // size), _MOST_STEPS)
        training = replace(training, batch_size=size, steps=steps)
    else:
        size = training.batch_size or _RECONSTRUCT_BATCH_SIZE
        epochs = _EPOCHS if training.steps is None and training.epochs is None else training.epochs
        training = replace(training, batch_size=size, epochs=epochs, patience=training.patience or _PATIENCE)
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
