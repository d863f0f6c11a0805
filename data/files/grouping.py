"""The command that groups events which lie in several files, or apart within one: the remedy in messages."""

import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from shlex import join

from seqembed.data.files.inputs import InputFile, is_uri
from seqembed.data.schema.schema import SequenceSchema

_MAX_LISTED = 3


def grouping_line(
    files: Sequence[InputFile], schema: SequenceSchema, keep: Sequence[str] = (), *, names_features: bool = True
) -> str:
    """Return the `seqembed group` line for files, or SQL for DuckDB if no column orders their events.

    Args:
        files: The files that hold the events.
        schema: The columns of the events.
        keep: Columns to keep.
        names_features: Whether the line names the features of the schema. Where nobody chose them it need not, and
            `group` leaves out what some files lack.
    """
    if schema.time is None:
        return f"for example with DuckDB: {_duckdb_line(files, schema)}"
    words = ["seqembed", "group", *_sources(files), "--id", schema.id, "--time", schema.time]
    taken = {schema.id, schema.time}
    features = schema.feature_columns if names_features else ()
    for option, names in (("--features", features), ("--keep", keep)):
        names = [name for name in dict.fromkeys(names) if name not in taken]
        taken.update(names)
        # A name with a comma can only stand in a configuration file; without --features all columns are taken.
        if names and not any("," in name or name != name.strip() for name in names):
            words += [option, ",".join(names)]
    return join([*words, "--out", "grouped"])


def grouping_remedy(file: InputFile, schema: SequenceSchema, keep: Sequence[str] = ()) -> str | None:
    """Return what to do about an id whose events are not contiguous in a file; None without a time to order them."""
    return None if schema.time is None else f"Bring them together first: {grouping_line([file], schema, keep)}"


def _sources(files: Sequence[InputFile]) -> list[str]:
    locations = [file.location for file in files]
    roots = list(dict.fromkeys(file.view.table.root for file in files if file.view is not None))
    if roots:
        return roots + [file.location for file in files if file.view is None]
    if len(files) == 1 and files[0].recursive:
        return [_parent(files[0])]  # what was given: other files of the directory have events of the same ids
    if len(files) <= _MAX_LISTED:
        return locations
    root = files[0].root
    if all(file.recursive and file.root == root for file in files):
        return [_parent(files[0])]
    if any(map(is_uri, locations)):
        return locations
    return [os.path.commonpath(locations)]


def _duckdb_line(files: Sequence[InputFile], schema: SequenceSchema) -> str:
    """Return SQL for DuckDB that writes the events of `files` to one file, grouped by id and in order."""
    root, view = files[0].root, files[0].view
    if view is not None:
        source = f"{view.table.kind.lower()}_scan({_text(view.table.root)})"
        return f"COPY (SELECT * FROM {source} ORDER BY {_name(schema.id)}) TO 'grouped.parquet' (FORMAT parquet);"
    if len(files) > _MAX_LISTED and all(file.recursive and file.root == root for file in files):
        suffix = PurePosixPath(files[0].name).suffix
        sources = _text(f"{_parent(files[0])}/**/*{suffix}")
    else:
        sources = "[" + ", ".join(_text(file.location) for file in files) + "]"
    options = "union_by_name = true, hive_partitioning = false, filename = true, file_row_number = true"
    return (
        f"COPY (SELECT * EXCLUDE (filename, file_row_number) FROM read_parquet({sources}, {options}) "
        f"ORDER BY {_name(schema.id)}, filename, file_row_number) TO 'grouped.parquet' (FORMAT parquet);"
    )


def _parent(file: InputFile) -> str:
    """Return the location of the input directory of a file."""
    return file.location.removesuffix("/" + file.path[len(file.root.rstrip("/")) + 1 :])


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
