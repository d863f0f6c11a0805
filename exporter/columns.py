"""Detect the feature columns in ``--data`` for a single ``.keras`` file, before TensorFlow is imported."""

from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.peek import first_with_rows
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.selection import select
from seqembed.exporter.config import ExportConfig


def find_columns(config: ExportConfig) -> tuple[tuple[InputFile, ...], SequenceSchema]:
    """Return the files of ``--data`` and the schema of the model's features in them.

    Raises:
        InputError: An input or a column is missing or of a wrong type, or the layout is ambiguous.
        UsageError: Options contradict each other.
    """
    files = resolve_inputs(config.data, config.version)
    schema = detect_schema(
        files,
        id_column=config.id,
        features=config.features,
        layout=config.layout,
        time_column=config.time,
        time_features=False,
        categories=False,
    )
    return files, schema


def column_lines(config: ExportConfig) -> list[str]:
    """Return lines that list the columns of ``--data`` in use and why others are not; empty for a run directory.

    Raises:
        InputError, UsageError: See `find_columns`.
    """
    if config.is_run_directory:
        return []
    files, schema = find_columns(config)
    arrow_schema, _ = first_with_rows(files).footer()
    return select(arrow_schema, schema, asked=config.features, categories=False).lines()
