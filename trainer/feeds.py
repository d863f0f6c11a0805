"""Which batches a training sees: the two sides of the split, how much of each, and how large a batch may be."""

from seqembed.data.inputs import InputFile
from seqembed.data.schema import SequenceSchema
from seqembed.trainer.categories import num_classes
from seqembed.trainer.config import FIXED_LENGTH_DECODERS, TrainJob
from seqembed.trainer.feed import Feed
from seqembed.trainer.intake import Intake
from seqembed.trainer.loop import PARTS
from seqembed.trainer.scale import moments
from seqembed.trainer.source import MAX_BATCH_STEPS, SequenceSource
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


def make_feeds(
    files: tuple[InputFile, ...], schema: SequenceSchema, job: TrainJob, intake: Intake, watched: float
) -> tuple[Feed, Feed | None]:
    """Return the batches to learn from, and those held out; None where none are.

    Args:
        files: Parquet files.
        schema: Which columns make a sequence.
        job: Options, none of them open.
        intake: Statistics of the training sequences, and how many there are.
        watched: Share of all ids that is scored on the way, by `watched_fraction`.
    """
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
