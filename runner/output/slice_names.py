"""Names of parts that hold a slice of a file: ``day=1/a.part-00000.parquet`` and on for ``day=1/a.parquet``."""

import re
from pathlib import PurePosixPath

_SLICE = re.compile(r"\.part-\d{5,}(?=\.[a-z]+$)")


def slice_name(name: str, index: int) -> str:
    """Return the name of the part with slice `index`, from 0, of a file whose complete part is called `name`."""
    suffix = PurePosixPath(name).suffix
    return f"{name.removesuffix(suffix)}.part-{index:05d}{suffix}"


def name_of_complete(name: str) -> str:
    """Return the name of the complete part for the name of a slice; other names are returned unchanged."""
    return _SLICE.sub("", name)
