"""Recognise columns that pandas stored as the index of a DataFrame: row numbers or row names, not data."""

import json
import re

import pyarrow as pa

_KEY = b"pandas"
# pyarrow reserves these names for an unnamed index; a program that rewrites the file may drop the metadata.
_UNNAMED = re.compile(r"__index_level_\d+__")


def index_columns(arrow_schema: pa.Schema) -> frozenset[str]:
    """Return the columns that a file declares as an index of pandas.

    They are named in ``index_columns`` of the schema metadata ``pandas``, where a RangeIndex is an object and has no
    column. Unreadable metadata is ignored.
    """
    unnamed = {name for name in arrow_schema.names if _UNNAMED.fullmatch(name)}
    try:
        stored = json.loads((arrow_schema.metadata or {}).get(_KEY, b"{}"))
        listed = stored.get("index_columns", [])
        return frozenset(unnamed | {name for name in listed if isinstance(name, str) and name in arrow_schema.names})
    except (ValueError, AttributeError, TypeError, RecursionError):
        return frozenset(unnamed)
