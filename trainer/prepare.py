"""The first third of a training: the data is read once, and every option that nobody gave is chosen from it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from seqembed.data.fingerprints import combined_fingerprint
from seqembed.data.inputs import InputFile
from seqembed.data.parts import EmbeddingPart
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.columns import TrainingColumns
from seqembed.trainer.config import TrainJob
from seqembed.trainer.course import TRIED_PLACES, courses_of
from seqembed.trainer.intake import Intake, take_in
from seqembed.trainer.model import embedding_parts
from seqembed.trainer.network import Network, build_network
from seqembed.trainer.progress import Progress
from seqembed.trainer.recipe import choose, has_events
from seqembed.trainer.scale import Changes, changes_of


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a training starts from.

    Attributes:
        job: Options, none of them open.
        files: Parquet files.
        schema: Which columns make a sequence.
        intake: Statistics and sample of the training sequences, and how many there are.
        changes: How their values change from step to step.
        fingerprint: Of all files.
    """

    job: TrainJob
    files: tuple[InputFile, ...]
    schema: SequenceSchema
    intake: Intake
    changes: Changes
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
    def embedding_parts(self) -> tuple[EmbeddingPart, ...]:
        """What the embedding is made of, in its order."""
        return embedding_parts(self.job.model, self.schema.num_features, self.schema.categorical)

    @property
    def identity(self) -> dict[str, Any]:
        """What a training has to share with the one it resumes."""
        categories = [field.name for field in self.schema.categorical]
        return {
            **self.job.to_options(),
            "data": self.fingerprint,
            "feature_names": list(self.schema.feature_names),
            "measured in": "epochs" if self.job.training.steps is None else "steps",
            **({"category_names": categories} if categories else {}),
        }

    def build(self, **options: Any) -> Network:
        """Build the network with new weights; options as for `build_network`."""
        model, fields = self.job.model, self.schema.categorical
        make = partial(build_network, model, self.profile, self.intake.survey.max_length, self.changes.std, fields)
        return make(**options)


def prepare(job: TrainJob, columns: TrainingColumns, progress: Progress) -> Prepared:
    """Read the data once and choose what the options leave open.

    Args:
        job: Options as given.
        columns: The files, and which columns are taken.
        progress: Who is told what was found and chosen.

    Raises:
        BadRowError: A row is no sequence.
        InputError: Too few sequences, or values that do not suit the loss.
        UsageError: Options do not suit the data.
    """
    schema, lines = columns.learn(job)
    for line in lines:
        progress.note(line)
    if has_events(schema):
        job = job.of_events()
    intake = take_in(columns.files, schema, job)
    for line in intake.notes(schema, columns.merged):
        progress.note(line)
    profile, sample = intake.survey.profile, intake.survey.sample
    changes = changes_of(sample, profile)
    courses = courses_of(sample, profile, TRIED_PLACES, frame=1)
    recipe = choose(job, profile, changes, courses, intake.num_training, intake.validation_fraction, schema)
    for line in recipe.notes:
        progress.note(line)
    return Prepared(recipe.job, columns.files, schema, intake, changes, combined_fingerprint(columns.files))
