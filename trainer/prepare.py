"""The first stage of a training: read the data, choose all unset options from it, and count its values."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from seqembed.data.display.events import emit
from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.data.files.fingerprints import combined_fingerprint
from seqembed.data.files.inputs import InputFile
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock
from seqembed.data.statistics.statistics import Statistics
from seqembed.trainer.config.automatic import Findings, resolve
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.resolved import ResolvedJob
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.input.columns import TrainingColumns
from seqembed.trainer.input.intake import Intake, count, take_in
from seqembed.trainer.input.scale import Changes, changes_of
from seqembed.trainer.model.blocks import embedding_blocks
from seqembed.trainer.model.kernels import Kernels, fit_kernels
from seqembed.trainer.model.network import Network, build_network
from seqembed.trainer.model.pairs import Pairs, fit_pairs, pair_ranks
from seqembed.trainer.model.trajectory import PROBE_POINTS, measure_alignment


@dataclass(frozen=True, slots=True)
class Prepared:
    """The starting point of a training.

    Attributes:
        job: The options in force.
        given: The options as given.
        found: What the data showed, from which the unset ones were chosen.
        files: Parquet files.
        schema: Which columns make a sequence.
        intake: Statistics, sample and number of the training sequences.
        changes: How their values change from step to step.
        statistics: Totals of the training sequences, for the contract.
        kernels: Fixed kernels; None without them.
        pairs: Functions of consecutive steps; None without them.
        fingerprint: Combined fingerprint of all files.
    """

    job: ResolvedJob
    given: TrainJob
    found: Findings
    files: tuple[InputFile, ...]
    schema: SequenceSchema
    intake: Intake
    changes: Changes
    statistics: Statistics
    kernels: Kernels | None
    pairs: Pairs | None
    fingerprint: str

    @property
    def profile(self) -> SequenceProfile:
        """Statistics of the training sequences."""
        return self.intake.survey.profile

    @property
    def sample(self) -> SequenceBlock:
        """Some of the training sequences, none of them empty."""
        return self.intake.survey.sample

    @property
    def embedding_blocks(self) -> tuple[EmbeddingBlock, ...]:
        """The blocks of the embedding, in order."""
        return embedding_blocks(self.job.model, self.schema.num_features, self.schema.categorical)

    @property
    def projected_dim(self) -> int:
        """Width that the embedding is projected to after training; 0 is not."""
        return self.job.model.embedding_dim if self.job.model.projects else 0

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal between a training and the one it resumes."""
        categories = [field.name for field in self.schema.categorical]
        return {
            **self.job.to_options(),
            "data": self.fingerprint,
            "feature_names": list(self.schema.feature_names),
            "measured in": self.job.training.measured_in,
            **({"category_names": categories} if categories else {}),
        }

    def build(self, **options: Any) -> Network:
        """Build the network with new weights; options as for `build_network`."""
        model, fields = self.job.model, self.schema.categorical
        make = partial(
            build_network,
            model,
            self.profile,
            self.intake.survey.max_length,
            self.changes.std,
            fields,
            kernels=self.kernels,
            pairs=self.pairs,
        )
        return make(**options)


def prepare(job: TrainJob, columns: TrainingColumns, progress: Progress) -> Prepared:
    """Read the data, choose the unset options from it, and read it once more to count all values.

    Args:
        job: Options as given.
        columns: The files, and which columns are used.
        progress: Receives notes on what was found and chosen.

    Raises:
        BadRowError: A row is not a valid sequence.
        InputError: Too few sequences, or values that do not suit the loss.
        UsageError: Options do not suit the data.
    """
    schema, lines = columns.learn(job)
    for line in lines:
        progress.note(line)
    intake = take_in(columns.files, schema, job)
    for line in intake.notes(schema, columns.merged):
        progress.note(line)
    profile, sample = intake.survey.profile, intake.survey.sample
    emit(
        "read",
        sequences=intake.num_training,
        held_out=intake.num_validation,
        features=schema.num_features,
        fields=schema.num_fields,
        steps=profile.num_steps,
    )
    changes = changes_of(sample, profile)
    alignment = measure_alignment(sample, profile, PROBE_POINTS, frame=1)
    found = Findings(profile, changes, alignment, intake.num_training, intake.validation_fraction, schema)
    resolved = resolve(job, found)
    for line in resolved.notes:
        progress.note(line)
    statistics = count(columns.files, schema, job, intake, resolved.job.model.frame)
    fingerprint = combined_fingerprint(columns.files)
    kernels, pairs = None, None
    model, seed = resolved.job.model, resolved.job.training.seed
    if model.kernels:
        kernels = fit_kernels(
            sample, profile, model.normalization, model.kernels, median_length=found.median, seed=seed
        )
    if model.pairs:
        ranks = pair_ranks(schema, model.pairs)
        pairs = fit_pairs(sample, profile, model.normalization, ranks, schema.categorical)
    return Prepared(
        resolved.job, job, found, columns.files, schema, intake, changes, statistics, kernels, pairs, fingerprint
    )
