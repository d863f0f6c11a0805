"""The training and validation batches: how much of the held-out data is scored, and how large a batch may be."""

from seqembed.data.files.inputs import InputFile
from seqembed.data.schema.classes import num_classes
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.standardise import moments
from seqembed.trainer.config.model import FIXED_LENGTH_DECODERS
from seqembed.trainer.config.resolved import ResolvedJob
from seqembed.trainer.fit.loop import NUM_INTERVALS
from seqembed.trainer.input.feed import Feed
from seqembed.trainer.input.intake import Intake
from seqembed.trainer.input.source import MAX_BATCH_STEPS, SequenceSource
from seqembed.trainer.input.views import ViewMaker

# Memory for decoded sequences that are kept between epochs if they fit: together 256 MB.
_TRAINING_CACHE_BYTES = 192_000_000
_VALIDATION_CACHE_BYTES = 64_000_000
_MIN_MONITORED = 1_000  # held-out sequences
_MIN_VIEW_STEPS = 64  # steps, even of the largest batches
_MIN_SEQUENCES = 8  # in a batch of the longest views: a single sequence would have no negatives
# Measured at LSTM-64: the encoder takes 8 kB per step or frame, the positional decoder 1.2 kB per step.
_WRITTEN_FOR_ONE_READ = 5
_MAX_LOGITS = 20_000_000  # of all fields and steps of a batch: 80 MB, and as much again for their gradient


def make_feeds(
    files: tuple[InputFile, ...], schema: SequenceSchema, job: ResolvedJob, intake: Intake, monitored: float
) -> tuple[Feed, Feed | None]:
    """Return the training batches, and the held-out batches or None.

    Args:
        files: Parquet files.
        schema: Which columns make a sequence.
        job: The options in force.
        intake: Statistics and number of the training sequences.
        monitored: Share of all ids that is scored during training, from `monitored_fraction`.
    """
    batch_size = job.training.batch_size
    if job.model.reconstructs and job.model.decoder in FIXED_LENGTH_DECODERS:
        # These decoders write the full length for every sequence, however short, which limits the batch.
        batch_size = min(batch_size, max(1, MAX_BATCH_STEPS // intake.survey.max_length))

    def feed(validation: bool, cache_bytes: int, fraction: float) -> Feed:
        source = SequenceSource(
            files,
            schema,
            job.data.length_policy,
            job.model.task,
            validation=validation,
            fraction=fraction,
            batch_size=batch_size,
            seed=job.training.seed,
            cache_bytes=cache_bytes,
            views=_view_maker(job, schema, intake, batch_size),
            max_batch_steps=_max_batch_steps(job, schema),
        )
        return Feed(source, schema.num_features, schema.num_fields)

    held_out = feed(True, _VALIDATION_CACHE_BYTES, monitored) if intake.num_validation else None
    return feed(False, _TRAINING_CACHE_BYTES, intake.validation_fraction), held_out


def monitored_fraction(job: ResolvedJob, schema: SequenceSchema, intake: Intake) -> float:
    """Return the share of all ids that are held out and scored during training.

    That is everything held out, except in a training measured in steps. There it is at most half the sequences that are
    learned from between two records, and at most what fits in memory, but at least a thousand: of a million held-out
    sequences a few thousand are as informative, and scoring all would take twenty times as long as the training.
    """
    training, profile = job.training, intake.survey.profile
    if not training.in_steps or not intake.num_validation:
        return intake.validation_fraction
    learned = training.length * training.batch_size // NUM_INTERVALS
    width = 4 * (schema.num_features + schema.num_fields)
    kept = _VALIDATION_CACHE_BYTES * profile.num_sequences // max(1, width * profile.num_steps)
    limit = max(_MIN_MONITORED, min(learned // 2, kept))
    return intake.validation_fraction * min(1.0, limit / intake.num_validation)


def _view_maker(job: ResolvedJob, schema: SequenceSchema, intake: Intake, batch_size: int) -> ViewMaker | None:
    if not job.model.contrasts:
        return None
    max_steps = MAX_BATCH_STEPS * job.model.frame // (2 * batch_size)
    # Batches of long sequences need negatives, too; one more because batches are planned by noisy lengths.
    max_steps = min(max_steps, _max_batch_steps(job, schema) // (_MIN_SEQUENCES + 1))
    mean = moments(intake.survey.profile)[0]
    return ViewMaker(mean, max_length=max(_MIN_VIEW_STEPS, max_steps), features=schema.features)


def _max_batch_steps(job: ResolvedJob, schema: SequenceSchema) -> int:
    """Return the maximum steps of a batch of sequences; frames make steps cheaper that are read and not written."""
    frame = job.model.frame
    if not job.model.reconstructs:
        return MAX_BATCH_STEPS * (frame if job.model.contrasts else 1)
    limit = MAX_BATCH_STEPS
    if job.model.contrasts and job.model.decoder == "positional":
        limit *= min(frame, _WRITTEN_FOR_ONE_READ)
    logits = sum(map(num_classes, schema.categorical)) * (2 if job.model.contrasts else 1)
    return min(limit, _MAX_LOGITS // logits) if logits else limit
