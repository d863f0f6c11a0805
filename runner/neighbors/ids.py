"""Find rows by the text of their ids, whatever the type of the id column.

Text is parsed once to the column's type, so that a batch is searched by one vectorised comparison. Structs, lists and
maps, and times that Arrow does not parse, are compared by the text that `seqembed.data.decode.ids.id_text` gives them.
"""

import ast
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from seqembed.data.decode.arrow import is_string, plain_values
from seqembed.data.decode.ids import id_text, stored_values

_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_INVALID = (ValueError, OverflowError, InvalidOperation, SyntaxError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The ids asked for, for one type of column.

    Attributes:
        values: Those that were parsed, as `_comparable` values.
        owners: The text of each.
        texts: Those to compare as text.
    """

    values: pa.Array
    owners: list[str]
    texts: frozenset[str]


class IdMatcher:
    """Finds the rows of some ids in batches of one or several types."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Set the ids by their text, each once."""
        self._texts = list(dict.fromkeys(texts))
        self._wanted: dict[pa.DataType, _Wanted] = {}

    def rows(self, ids: pa.Array) -> list[tuple[int, str]]:
        """Return row and text of each id of a batch that was asked for, in the order of the rows."""
        plain = plain_values(ids)
        values = _comparable(stored_values(plain))
        if plain.type not in self._wanted:
            self._wanted[plain.type] = _wanted_of(plain.type, values.type, self._texts)
        wanted = self._wanted[plain.type]
        found: dict[int, str] = {}
        if wanted.texts:
            named = ((row, id_text(value)) for row, value in enumerate(plain))
            found = {row: text for row, text in named if text is not None and text in wanted.texts}
        if len(wanted.values):
            indices = pc.index_in(values, value_set=wanted.values)
            at = pc.indices_nonzero(pc.is_valid(indices))
            found |= dict(zip(at.to_pylist(), (wanted.owners[i] for i in indices.take(at).to_pylist()), strict=True))
        return sorted(found.items())


def _comparable(values: pa.Array) -> pa.Array:
    """Return values that Arrow looks up: text as its bytes, since it may not be UTF-8, times as integers."""
    kind = values.type
    if is_string(kind):
        return values.view(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return values.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):  # pyarrow 26 does not look these up
        return values.cast(pa.decimal128(kind.precision, kind.scale))
    return values


def _wanted_of(kind: pa.DataType, compared: pa.DataType, texts: Sequence[str]) -> _Wanted:
    """Return the values of type `compared` that texts name in a column of type `kind`."""
    parse = _parser(kind)
    if parse is None:
        return _Wanted(pa.array([], pa.null()), [], frozenset(texts))
    values: list[Any] = []
    owners: list[str] = []
    as_text = set()
    for text in texts:
        try:
            candidates = parse(text)
        except _INVALID:
            if pa.types.is_temporal(kind):
                as_text.add(text)
            continue  # no value of this type, so no row has this id
        for value in candidates:
            with suppress(*_INVALID):  # beyond the range or width of the type, which no row can be
                values.append(pa.scalar(value, compared).as_py())
                owners.append(text)
    return _Wanted(pa.array(values, compared), owners, frozenset(as_text))


def _parser(kind: pa.DataType) -> Callable[[str], list[Any]] | None:
    """Return a function from text to the values it may mean; None for types that have no parser."""
    types = pa.types
    if isinstance(kind, pa.UuidType):
        return lambda text: [UUID(text).bytes]
    if isinstance(kind, pa.BaseExtensionType):
        return _parser(kind.storage_type)
    if is_string(kind):
        return _text_bytes
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _bytes
    if types.is_boolean(kind):
        return lambda text: [{"true": True, "false": False}[text.lower()]] if text.lower() in ("true", "false") else []
    if types.is_integer(kind):
        return lambda text: [int(text)]
    if types.is_floating(kind):
        return lambda text: [float(text)]
    if types.is_decimal(kind):
        return lambda text: [Decimal(text)]
    if types.is_temporal(kind) and not types.is_interval(kind):
        return lambda text: [_temporal(text, kind)]
    return (lambda text: []) if types.is_null(kind) else None


def _text_bytes(text: str) -> list[bytes]:
    r"""Return the bytes of text, and those it means if ``\xfc`` stands for a byte, as in messages."""
    exact = text.encode(errors="surrogateescape")
    escaped = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), exact)
    return list(dict.fromkeys([exact, escaped]))


def _bytes(text: str) -> list[bytes]:
    r"""Return the bytes of text, and those it means in Python's notation (``b'\x00'``), as in messages."""
    meant = ast.literal_eval(text) if re.fullmatch(r"b(['\"]).*\1", text, re.DOTALL) else None
    return [*([meant] if isinstance(meant, bytes) else []), text.encode(errors="surrogateescape")]


def _temporal(text: str, kind: pa.DataType) -> int:
    """Return the number that stands for a time; instants are UTC unless the text names a zone."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        instant = pa.timestamp(kind.unit, "UTC")
        try:
            return int(pa.scalar(text).cast(instant).value)
        except pa.ArrowException:
            return int(pa.scalar(text).cast(pa.timestamp(kind.unit)).value)
    return int(pa.scalar(text).cast(kind).value)
