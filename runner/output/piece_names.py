"""Names of the parts of a file that is divided: ``day=1/a.part-00000.parquet`` and on for ``day=1/a.parquet``."""

import re
from pathlib import PurePosixPath

_PIECE = re.compile(r"\.part-\d{5,}(?=\.[a-z]+$)")


def piece_name(name: str, index: int) -> str:
    """Return the name of part `index`, from 0, of a divided file whose only part would be called `name`."""
    suffix = PurePosixPath(name).suffix
    return f"{name.removesuffix(suffix)}.part-{index:05d}{suffix}"


def name_of_complete(name: str) -> str:
    """Return the name of the part of the undivided file for the name of a piece; others are returned unchanged."""
    return _PIECE.sub("", name)


def file_of(name: str, row_groups: object) -> str:
    """Return the name of the part of the undivided file for a part with some row groups; None stands for all."""
    return name if row_groups is None else name_of_complete(name)
