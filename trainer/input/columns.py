"""The columns of a training: detected and checked before TensorFlow is loaded."""

from dataclasses import dataclass

from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import find_inputs
from seqembed.data.parquet.peek import first_with_rows
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.hints import merged_by_float32
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.selection import select
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.input.learn import learn_vocabularies


@dataclass(frozen=True, slots=True)
class TrainingColumns:
    """The input of a training, as detected from the footers and the start of a file.

    Attributes:
        files: All input files.
        example: The first file with rows.
        schema: Which columns make a sequence, without vocabularies.
        notes: What else a user should know about the files, one line each.
        merged: Features with distinct values that are equal in float32 → number of distinct values as stored, and as
            float32.
    """

    files: tuple[InputFile, ...]
    example: InputFile
    schema: SequenceSchema
    notes: tuple[str, ...]
    merged: dict[str, tuple[int, int]]

    def learn(self, job: TrainJob) -> tuple[SequenceSchema, list[str]]:
        """Return the schema with its vocabularies, and notes about all columns, one line each.

        Raises:
            InputError: A file cannot be read, or no column is left to learn from.
        """
        data = job.data
        named = (*data.features, *data.categorical)
        schema, notes = learn_vocabularies(
            self.files, self.schema, min_count=data.min_count, max_vocabulary=data.max_vocabulary, named=named
        )
        kept = {field.name for field in schema.categorical}
        selection = select(
            self.example.footer()[0],
            schema,
            asked=data.features,
            label=data.label,
            unused=[field.name for field in self.schema.categorical if field.name not in kept],
        )
        return schema, [*self.notes, *notes, *selection.lines()]


def find_columns(job: TrainJob) -> TrainingColumns:
    """Find the input files and the columns to train on.

    Raises:
        InputError: An input or a column is missing or of the wrong type, the layout is ambiguous, or the events of an
            id are in several files.
        UsageError: Options contradict each other.
    """
    data = job.data
    found = find_inputs(data.inputs, data.version)
    files = found.files
    schema = detect_schema(
        files,
        id_column=data.id,
        features=data.features,
        layout=data.layout,
        time_column=data.time,
        exclude=() if data.label is None else (data.label,),
        categorical=data.categorical,
        time_features=data.time_features,
    )
    refuse_ids_in_several_files(files, schema, keep=() if data.label is None else (data.label,))
    example = first_with_rows(files)
    return TrainingColumns(files, example, schema, tuple(found.notes()), merged_by_float32(example, schema))
