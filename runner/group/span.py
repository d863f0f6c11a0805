"""Read the bounds of `--since` and `--until` as values of the time column."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.decode.arrow import plain_type
from seqembed.data.errors import UsageError
from seqembed.runner.group.carried import to_carrier

_WITH_ZONE = re.compile(r"[T ]\d.*(Z|[+-]\d\d(:?\d\d)?)$")


def bounds(since: str | None, until: str | None, kind: pa.DataType) -> tuple[pa.Scalar | None, pa.Scalar | None]:
    """Return both bounds as the time column travels.

    Args:
        since: The first time that is taken.
        until: The first that is not.
        kind: Type of the time column.

    Raises:
        UsageError: One is not a value of that type, or no time lies between them.
    """
    first, end = bound("since", since, kind), bound("until", until, kind)
    if first is not None and end is not None and not pc.less(first, end).as_py():
        raise UsageError(f"--since {since} is not before --until {until}: no event lies between. Swap or correct them.")
    return first, end


def bound(option: str, text: str | None, kind: pa.DataType) -> pa.Scalar | None:
    """Return the bound as the time column travels (`seqembed.runner.group.carried`); None if there is none.

    Times without a zone are in UTC if the column has a zone.

    Args:
        option: The option, for messages.
        text: What the user wrote.
        kind: Type of the time column.

    Raises:
        UsageError: The text is not a value of that type.
    """
    if text is None:
        return None
    kind = plain_type(kind)
    try:
        return to_carrier(pa.array([_parsed(text, kind)], kind))[0]
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise UsageError(
            f"--{option} {text}: not a value of the time column, which is {kind}. Expected, for example, "
            f"{_example(kind)}."
        ) from error


def _parsed(text: str, kind: pa.DataType) -> pa.Scalar:
    if not pa.types.is_timestamp(kind):
        return pa.scalar(text).cast(kind)
    zoned = _WITH_ZONE.search(text) is not None
    if zoned and kind.tz is None:
        raise ValueError("the column has no time zone")
    read = pa.timestamp(kind.unit, "UTC" if zoned else None)
    return pa.array([pa.scalar(text).cast(read).value], pa.int64()).view(kind)[0]


def _example(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "2026-11-26, 2026-11-26T02:15:00" + ("" if kind.tz is None else " or 2026-11-26T02:15:00+01:00")
    return "2026-11-26" if pa.types.is_date(kind) else "02:15:00" if pa.types.is_time(kind) else "1000"
