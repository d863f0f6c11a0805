"""The last runs of an output directory, as compact records in `_history/` for reports; readers of Parquet skip it."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from pyarrow import fs

from seqembed.data.errors import OutputError
from seqembed.runner.output.ledger import files_below
from seqembed.runner.output.storage import Storage

HISTORY: Final = "_history"
MAX_RUNS: Final = 30
# Time in UTC, so that names sort by it, and the run's id, so that runs of two hosts never share a name.
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{12}\.json")


def add_to_history(storage: Storage, run_id: str, temporary: str, record: dict[str, Any]) -> str:
    """Write the record of a run, and remove those older than the last `MAX_RUNS`; return its name.

    Args:
        storage: The output directory.
        run_id: Of this run.
        temporary: Name of a file that does not exist yet, to write to before the record appears.
        record: JSON values; the time is added.

    Raises:
        OutputError: The directory cannot be written.
    """
    now = datetime.now(UTC)
    record = {"time": now.isoformat(timespec="seconds").replace("+00:00", "Z"), **record}
    name = f"{HISTORY}/{now:%Y%m%dT%H%M%S.%f}Z-{run_id}.json"
    with storage.translated("write to"):
        storage.refuse_link(HISTORY)
        storage.make_directory(HISTORY)
        storage.write_json(name, record, temporary)
        storage.sync_directory(HISTORY)
        for old in _names(storage)[:-MAX_RUNS]:
            storage.filesystem.delete_file(storage.at(HISTORY, old))
    return name


def refuse_history_of_others(storage: Storage) -> None:
    """Check, before any work, that the records of runs have a place.

    Raises:
        OutputError: A file that seqembed did not write, or a link out of the directory, is there.
    """
    storage.refuse_link(HISTORY)
    if storage.type(HISTORY) == fs.FileType.File:
        raise OutputError(
            f"{storage.at(HISTORY)}: a file that seqembed did not write, where the records of runs belong. Move it "
            "away, or choose another --out."
        )


def read_history(storage: Storage) -> list[dict[str, Any]]:
    """Return the records of the last runs, the newest last; what is damaged is left out.

    Raises:
        OutputError: The directory may not be read.
    """
    with storage.translated("read"):
        names = _names(storage)[-MAX_RUNS:]
        records = [_record(storage, f"{HISTORY}/{name}") for name in names]
    return [record for record in records if record is not None]


def _record(storage: Storage, name: str) -> dict[str, Any] | None:
    record = storage.read_json(name)
    return record if record is not None and isinstance(record.get("time"), str) else None


def _names(storage: Storage) -> list[str]:
    """Return the names of the records, in order of time."""
    found = (info.base_name for info in files_below(storage.filesystem, storage.at(HISTORY)))
    return sorted(filter(_NAME.fullmatch, found))
