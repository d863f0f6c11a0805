"""Read the state of an output directory from its files: finished parts, outdated ones, and files of others."""

import os
from collections.abc import Callable, Collection
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from seqembed.data.files.inputs import is_local, is_utf8
from seqembed.data.files.table_formats import is_hidden
from seqembed.data.host import raise_host_fault
from seqembed.runner.output.badrows import QUARANTINE
from seqembed.runner.output.parts import FOOTER_KEY, Ledger, PartFooter
from seqembed.runner.output.piece_names import name_of_complete
from seqembed.runner.threads import in_threads

PartState = PartFooter | Literal["outdated", "unreadable", "other"]
_HEAD_BYTES = 1024  # not less: see `seqembed.data.files.listing`


def read_ledger(
    filesystem: fs.FileSystem, root: str, names: Collection[str], listed: Callable[[], Collection[str]]
) -> Ledger:
    """Return the state of the files below a directory.

    Files whose name or directory begins with ``_`` or ``.`` are not parts, unless they, or the part of the undivided
    file, are listed in `names`.

    Args:
        filesystem: Filesystem of the directory.
        root: Its path on the filesystem.
        names: Parts of the run.
        listed: Returns the names of parts known to be finished; called if a file cannot be read.

    Raises:
        OSError: The directory, or a file in it, may not be read.
    """
    wanted = set(names)
    looked_at = [
        name
        for name in _names_below(filesystem, root)
        if not wanted.isdisjoint((name, name_of_complete(name))) or not any(map(is_hidden, name.split("/")))
    ]
    states = dict(
        zip(looked_at, in_threads(lambda name: look_at_part(filesystem, f"{root}/{name}"), looked_at), strict=True)
    )
    parts = {name: state for name, state in states.items() if isinstance(state, PartFooter)}
    outdated = {name for name, state in states.items() if state == "outdated"}
    # Only for parts of the run: other ones may still be removed, with or without their quarantined rows.
    quarantined = [
        name
        for name, footer in parts.items()
        if footer.counts.rows_quarantined and not wanted.isdisjoint((name, name_of_complete(name)))
    ]
    there = in_threads(lambda name: _has_quarantine(filesystem, root, name, parts[name]), quarantined)
    lost = {name for name, is_there in zip(quarantined, there, strict=True) if not is_there}
    parts = {name: footer for name, footer in parts.items() if name not in lost}
    outdated |= lost
    unreadable = {name for name, state in states.items() if state == "unreadable"}
    if unreadable:
        outdated |= unreadable & set(listed())
    return Ledger(parts, frozenset(outdated), frozenset(states.keys() - parts.keys() - outdated))


def look_at_part(filesystem: fs.FileSystem, path: str) -> PartState:
    """Return the footer of a finished part, or the kind of another file.

    Returns:
        The footer; ``outdated`` for a file of seqembed that is not a finished part, ``unreadable`` for one that may be
        a damaged part, ``other`` for one not written by seqembed.

    Raises:
        OSError: The file may not be read.
        HostError: The host lacks memory or descriptors.
    """
    if is_local(filesystem) and os.path.lexists(path) and not os.path.isfile(path):
        return "other"  # a pipe, a socket, or a dangling link
    try:
        metadata = pq.read_metadata(path, filesystem=filesystem)
        text = (metadata.metadata or {}).get(FOOTER_KEY)
        if text is None:
            return "other"
        footer = PartFooter.from_json(text)
        return footer if footer.fits(metadata.num_rows, metadata.schema.to_arrow_schema().names) else "outdated"
    except FileNotFoundError:
        return "outdated"  # removed since it was listed
    except pa.ArrowInvalid:
        return "unreadable" if _begins_as_parquet(filesystem, path) else "other"
    except ValueError:
        return "outdated"  # a key of another version, or damaged: the part is made again
    except OSError as error:
        raise_host_fault(error)
        if error.errno is not None or "AWS Error" in str(error):
            raise
        # No disk error, but pyarrow's error for a damaged footer, or an encrypted one, which seqembed does not write.
        return "other" if "encrypted" in str(error) else "unreadable"


def _has_quarantine(filesystem: fs.FileSystem, root: str, name: str, footer: PartFooter) -> bool:
    """Return whether the quarantine file counted in a part's footer exists."""
    try:
        metadata = pq.read_metadata(f"{root}/{QUARANTINE}/{name}", filesystem=filesystem)
        found = PartFooter.from_json((metadata.metadata or {}).get(FOOTER_KEY, b""))
    except (FileNotFoundError, pa.ArrowInvalid, ValueError):
        return False
    return (found.key, metadata.num_rows) == (footer.key, footer.counts.rows_quarantined)


def _begins_as_parquet(filesystem: fs.FileSystem, path: str) -> bool:
    """Return whether an unreadable file may be a damaged part: empty, or beginning with Parquet's magic bytes."""
    with filesystem.open_input_file(path) as source:
        head: bytes = source.read_at(min(_HEAD_BYTES, source.size()), 0)
    return not head or head.startswith(b"PAR1")


def _names_below(filesystem: fs.FileSystem, root: str) -> list[str]:
    """Return the paths of all files below a directory, relative to it."""
    if not is_local(filesystem):
        return [info.path[len(root.rstrip("/")) + 1 :] for info in files_below(filesystem, root)]
    names: list[str] = []
    for directory, _, files in os.walk(root, onerror=_raise_unless_missing):
        below = os.path.relpath(directory, root)
        names += [name if below == "." else f"{below}/{name}" for name in files]
    # seqembed does not write names that are not UTF-8, and pyarrow cannot open them.
    return sorted(name for name in names if is_utf8(name))


def files_below(filesystem: fs.FileSystem, root: str) -> list[fs.FileInfo]:
    """Return the files below a directory; none if it does not exist."""
    selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
    return [info for info in filesystem.get_file_info(selector) if info.type == fs.FileType.File]


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
