"""Iceberg tables: the live files of a snapshot, and how their rows are to be read (spec.md of Apache Iceberg).

`pyiceberg` reads metadata and manifests; no catalog is asked. Which metadata file is the current one is known to the
catalog alone, unless the table says so itself (``version-hint.text``) or has no other: then it has to be named.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile, TableVersion, first_line, location_of
from seqembed.data.host import raise_host_fault
from seqembed.data.lake.view import TableView

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.schema import Schema
    from pyiceberg.table import StaticTable

KIND = "Iceberg"
METADATA_END = ".metadata.json"
_HINT = "version-hint.text"
_SCHEME = re.compile(r"^(?:file:(?://)?(?=/)|[a-zA-Z][a-zA-Z0-9+.-]*://)")


def iceberg_files(
    filesystem: fs.FileSystem, root: str, metadata: str | None = None, snapshot: int | None = None
) -> tuple[InputFile, ...]:
    """Return the live data files of a snapshot of an Iceberg table, sorted by path.

    Args:
        filesystem: Filesystem of the table.
        root: Its directory.
        metadata: Path of its metadata file; None takes the one that the table names.
        snapshot: Id of the snapshot; None is the current one.

    Raises:
        InputError: The extra ``iceberg`` is not installed, the table or snapshot cannot be read, the current metadata
            file is not known, or the table needs something that is not supported.
    """
    location = location_of(filesystem, root)
    try:
        metadata = metadata or _current_metadata(filesystem, root, location)
        table = _open(filesystem, metadata, location)
        files = list(_files(table, filesystem, root, location, snapshot))
    except InputError:
        raise
    except Exception as error:  # pyiceberg's errors have no common class
        raise_host_fault(error)
        raise InputError(
            f"{location}: the Iceberg table cannot be read ({first_line(error)}). Check the snapshot and the "
            "permissions, or read the table with the program that wrote it and write plain Parquet."
        ) from error
    return tuple(sorted(files, key=lambda file: file.name))


def _current_metadata(filesystem: fs.FileSystem, root: str, location: str) -> str:
    directory = posixpath.join(root, "metadata")
    infos = filesystem.get_file_info(fs.FileSelector(directory))
    names = sorted(info.base_name for info in infos if info.base_name.endswith(METADATA_END))
    if _HINT in {info.base_name for info in infos}:
        with filesystem.open_input_file(posixpath.join(directory, _HINT)) as source:
            hint = source.read().decode().strip()
        return posixpath.join(directory, f"v{hint}{METADATA_END}" if hint.isdecimal() else f"{hint}{METADATA_END}")
    if len(names) == 1:
        return posixpath.join(directory, names[0])
    raise InputError(
        f"{location}: the Iceberg table has {len(names)} metadata files and no {_HINT}, so only its catalog knows "
        f"which one is current. Pass the one that the catalog names, such as {location}/metadata/{names[-1]}."
    )


def _open(filesystem: fs.FileSystem, metadata: str, location: str) -> "StaticTable":
    try:
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.serializers import FromInputFile
        from pyiceberg.table import StaticTable
    except ModuleNotFoundError as error:
        raise InputError(
            f"{location} is an Iceberg table, and pyiceberg, which reads its metadata, is not installed here. Install "
            "the extra: pip install 'seqembed[iceberg]'"
        ) from error
    files = _file_io(filesystem)
    content = FromInputFile.table_metadata(files.new_input(metadata))
    return StaticTable((location,), content, metadata, files, NoopCatalog("none"))


def _file_io(filesystem: fs.FileSystem) -> "FileIO":
    """Return pyiceberg's access to files, through one filesystem, whatever the table's properties name."""
    from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

    class OneFilesystem(PyArrowFileIO):
        def new_input(self, location: str) -> PyArrowFile:
            return PyArrowFile(location, _path(location), filesystem)

    return OneFilesystem()


def _files(
    table: "StaticTable", filesystem: fs.FileSystem, root: str, location: str, snapshot: int | None
) -> Iterator[InputFile]:
    found = table.current_snapshot() if snapshot is None else table.snapshot_by_id(snapshot)
    if found is None:
        what = "no snapshot yet" if snapshot is None else f"no snapshot {snapshot}"
        known = ", ".join(str(each.snapshot_id) for each in table.snapshots()[-3:])
        raise InputError(f"{location}: the Iceberg table has {what}. Its newest snapshots: {known or 'none'}.")
    scan = table.scan(snapshot_id=snapshot)  # without an id the columns are those of now, which may be newer
    schema = scan.projection()
    columns = pa.schema([each.remove_metadata() for each in schema.as_arrow()])
    names = {number: schema.find_field(number).name for number in schema.field_ids}
    defaults = {each.name: each.initial_default for each in schema.fields if each.initial_default is not None}
    fallback = {name: pa.scalar(value, columns.field(name).type) for name, value in defaults.items()}
    version = TableVersion(KIND, location, found.snapshot_id)
    renamed = _renamed(table, schema)
    for task in scan.plan_files():
        if task.delete_files:
            raise InputError(
                f"{location}: rows of the Iceberg table are deleted by delete files, which seqembed does not read. "
                "Compact the table (rewrite_data_files), or write plain Parquet."
            )
        if str(task.file.file_format) not in ("PARQUET", "FileFormat.PARQUET"):
            raise InputError(f"{location}: {task.file.file_path} is {task.file.file_format}, not Parquet.")
        path = _path(task.file.file_path)
        if not path.startswith(f"{root.rstrip('/')}/"):
            raise InputError(
                f"{location}: the Iceberg table lists {path}, outside its directory, as those do to which files "
                "were added in place. Rewrite its files, or write plain Parquet."
            )
        view = TableView(
            version,
            columns,
            fallback=fallback,
            names=names,
            renamed=renamed,
            stored=_partitions(table, task.file.spec_id),
        )
        name = path[len(root.rstrip("/")) + 1 :]
        yield InputFile(filesystem, path, name, root, partitions={}, recursive=True, view=view)


def _partitions(table: "StaticTable", spec_id: int) -> frozenset[str]:
    """Return the columns whose values a file may leave to its partition: those partitioned by as they are."""
    schema, spec = table.schema(), table.specs()[spec_id]
    sources = [each.source_id for each in spec.fields if str(each.transform) == "identity"]
    return frozenset(name for name in map(schema.find_column_name, sources) if name is not None)


def _renamed(table: "StaticTable", schema: "Schema") -> dict[str, int]:
    """Return the ids of columns and fields, by path, that had another name first, or whose name another one had.

    Lists have a step of their own in these paths: ``events.element.at``.
    """
    first_path: dict[int, str] = {}
    first_id: dict[str, int] = {}
    for _, each in sorted(table.schemas().items()):
        for number, path in _paths(each):
            first_path.setdefault(number, path)
            first_id.setdefault(path, number)
    found = _paths(schema)
    return {path: number for number, path in found if first_path.get(number) != path or first_id.get(path) != number}


def _paths(schema: "Schema") -> list[tuple[int, str]]:
    named = ((number, schema.find_column_name(number)) for number in sorted(schema.field_ids))
    return [(number, path) for number, path in named if path is not None]


def _path(location: str) -> str:
    """Return the path of a location, on its filesystem."""
    return _SCHEME.sub("", location)
