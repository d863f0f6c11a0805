"""Delta tables: the live files of a version, and how their rows are to be read (PROTOCOL.md of Delta Lake).

`deltalake` reads the log. The data files are read like all other Parquet, each of them a part of the output.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
import pyarrow as pa
from pyarrow import fs

from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile, TableVersion, first_line, is_local, is_uri, location_of
from seqembed.data.files.secrets import scrub
from seqembed.data.host import raise_host_fault
from seqembed.data.lake.view import TableView, packed

if TYPE_CHECKING:
    from deltalake import DeltaTable

KIND = "Delta"
# Reader features that do not change which values a file's rows have, or that `TableView` honours.
_HONOURED = {"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
_HONOURED |= {"variantType", "variantType-preview", "variantShredding-preview"}  # types; a variant is no feature
_COLUMN_MAPPING = "delta.columnMapping.mode"
_PHYSICAL_NAME = "delta.columnMapping.physicalName"


def delta_files(filesystem: fs.FileSystem, root: str, given: str, version: int | None = None) -> tuple[InputFile, ...]:
    """Return the live data files of a version of a Delta table, sorted by path.

    Args:
        filesystem: Filesystem of the table.
        root: Its directory.
        given: The input, whose URI may name a server and credentials.
        version: Number of the version; None is the newest.

    Raises:
        InputError: The extra ``delta`` is not installed, the table or version cannot be read, or the table needs a
            feature that is not supported.
    """
    location = location_of(filesystem, root)
    table = _open(location, {} if is_local(filesystem) else _storage_options(given), version)
    try:
        _refuse_features(table, location)
        files = list(_files(table, filesystem, root, location))
    except Exception as error:
        raise _failed(location, error) from error
    return tuple(sorted(files, key=lambda file: file.name))


def _open(location: str, options: dict[str, str], version: int | None) -> "DeltaTable":
    try:
        from deltalake import DeltaTable
    except ModuleNotFoundError as error:
        raise InputError(
            f"{location} is a Delta table, and deltalake, which reads its log, is not installed here. Install the "
            "extra: pip install 'seqembed[delta]'"
        ) from error
    try:
        return DeltaTable(location, version=version, storage_options=options)
    except Exception as error:
        if version is not None:
            newest = _open(location, options, None).version()
            if version > newest:
                raise InputError(
                    f"{location}: the Delta table cannot be read in version {version}, since its newest is {newest}. "
                    "Pass that --version or an older one, or none for the newest."
                ) from error
        raise _failed(location, error, version) from error


def _failed(location: str, error: Exception, version: int | None = None) -> Exception:
    """Return the error for a table that deltalake cannot read; its own errors have no common class."""
    if isinstance(error, InputError):
        return error
    raise_host_fault(error)
    what = "" if version is None else f" in version {version}"
    return InputError(
        f"{location}: the Delta table cannot be read{what} ({scrub(first_line(error))}). Check the version and the "
        "permissions, or read the table with the program that wrote it and write plain Parquet."
    )


def _storage_options(given: str) -> dict[str, str]:
    """Return what a URI says about its server, for deltalake's object store, which finds the rest as AWS's tools do."""
    parts = urlsplit(given)
    query = dict(parse_qsl(parts.query))
    endpoint = query.get("endpoint_override")
    if endpoint is not None:
        endpoint = endpoint if is_uri(endpoint) else f"{query.get('scheme', 'https')}://{endpoint}"
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL")
    options = {
        "aws_endpoint": endpoint,
        "aws_region": query.get("region") or os.environ.get("AWS_DEFAULT_REGION"),
        "aws_allow_http": "true" if endpoint is not None and endpoint.startswith("http://") else None,
        "aws_access_key_id": query.get("access_key") or (unquote(parts.username) if parts.username else None),
        "aws_secret_access_key": query.get("secret_key") or (unquote(parts.password) if parts.password else None),
        "aws_session_token": query.get("session_token"),
    }
    return {name: value for name, value in options.items() if value}


def _refuse_features(table: "DeltaTable", location: str) -> None:
    """Check that every feature that the table needs is honoured.

    Raises:
        InputError: One is not.
    """
    needed = set(table.protocol().reader_features or ()) - _HONOURED
    mapping = table.metadata().configuration.get(_COLUMN_MAPPING, "none")
    if mapping not in ("none", "name"):
        needed.add(f"columnMapping by {mapping}")
    if needed:
        raise InputError(
            f"{location}: the Delta table needs {', '.join(sorted(needed))}, which seqembed does not read. Expected "
            f"none but {', '.join(sorted(_HONOURED))}. Remove the feature from the table, or write plain Parquet."
        )


def _files(table: "DeltaTable", filesystem: fs.FileSystem, root: str, location: str) -> Iterator[InputFile]:
    fields = json.loads(table.schema().to_json())["fields"]
    columns = pa.schema([each.remove_metadata() for each in pa.schema(table.schema().to_arrow())])
    version = TableVersion(KIND, location, table.version())
    is_mapped = table.metadata().configuration.get(_COLUMN_MAPPING, "none") != "none"
    physical = dict(_physical_names(fields, "")) if is_mapped else {}
    actions = pa.table(table.get_add_actions()).select(
        ["path", *(["partition"] if table.metadata().partition_columns else [])]
    )
    kept = _kept_rows(table)
    directory = os.path.realpath(root) if is_local(filesystem) else location  # deltalake follows links
    for row, path in enumerate(actions["path"].to_pylist()):
        if is_uri(path) or path.startswith("/"):
            raise InputError(
                f"{location}: the Delta table lists {path}, outside its directory, as shallow clones do. Write a deep "
                "clone, or plain Parquet."
            )
        name = unquote(path)
        partition = actions["partition"][row] if "partition" in actions.column_names else {}
        constants = {key: _typed(value, columns.field(key).type) for key, value in partition.items()}
        keep, num_deleted = kept.pop(f"{directory}/{name}", (None, 0))
        stored_names = {each: other for each, other in physical.items() if each not in constants}
        view = TableView(
            version,
            columns,
            constants,
            physical=stored_names,
            is_mapped=is_mapped,
            keep=keep,
            num_deleted=num_deleted,
        )
        path = f"{root.rstrip('/')}/{name}"
        yield InputFile(filesystem, path, name, root, partitions={}, recursive=True, view=view)
    if kept:
        raise InputError(f"{location}: rows of {next(iter(kept))} are deleted, which the Delta table does not list.")


def _typed(value: pa.Scalar, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(value.as_py(), kind) if value.type != kind else value


def _kept_rows(table: "DeltaTable") -> dict[str, tuple[bytes, int]]:
    """Return which rows are kept, and how many are not, of each file with a deletion vector, by its location."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    found = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for index, location in enumerate(batch.column("filepath").to_pylist()):
            keep = batch.column("selection_vector")[index].values.to_numpy(zero_copy_only=False).astype(bool)
            found[unquote(location.removeprefix("file://"))] = packed(keep), int(np.count_nonzero(~keep))
    return found


def _physical_names(fields: Sequence[Mapping[str, Any]], parent: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each column and struct field, with its name in the files."""
    for each in fields:
        path = f"{parent}.{each['name']}" if parent else each["name"]
        yield path, each["metadata"].get(_PHYSICAL_NAME, each["name"])
        kind = each["type"]
        while isinstance(kind, Mapping) and kind["type"] == "array":
            kind = kind["elementType"]
        if isinstance(kind, Mapping) and kind["type"] == "struct":
            yield from _physical_names(kind["fields"], path)


def covers_table(files: Sequence[InputFile], location: str) -> bool:
    """Return whether a location lies below the directory of a table that some files belong to."""
    roots = {file.view.table.root for file in files if file.view is not None}
    return any(location.startswith(f"{root.rstrip('/')}/") for root in roots)
