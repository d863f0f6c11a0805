"""Read Thrift's compact protocol, as far as Parquet uses it, into plain dictionaries.

pyarrow does not expose page headers, and aborts the process on some damaged column metadata (a C++ exception that its
`RowGroupMetaData.column` does not catch), so footers and page headers are read here before pyarrow sees them. Source:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import re
from collections.abc import Iterator
from typing import Any, Final

_MAX_DEPTH: Final = 12  # Parquet's structures nest six deep
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, STRUCT = range(1, 13)


def _heads(*kinds: int) -> bytes:
    """Return a pattern of the header byte of a field of one of `kinds`, whose number is 1 to 15 above the previous."""
    return b"[%s]" % b"".join(b"\\x%02x" % (delta << 4 | kind) for delta in range(1, 16) for kind in kinds)


def _common_fields() -> re.Pattern[bytes]:
    """Return a pattern for any number of fields of the kinds that are most frequent in footers.

    A footer of 500 columns and 20 row groups has half a million fields, of which hardly any are needed: the regular
    expression engine skips them ten times as fast as Python code. Long text and deep structs are left to Python.
    """
    number = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
    text = b"(?:%s)" % b"|".join(b"\\x%02x.{%d}" % (size, size) for size in range(17))
    flat = b"%s%s|%s|%s%s" % (_heads(_I16, _I32, _I64), number, _heads(_TRUE, _FALSE), _heads(_BINARY), text)
    struct = b"(?:%s)*+\\x00" % flat
    values = ((_I32, number, 6), (_BINARY, text, 1), (STRUCT, struct, 4))
    lists = [
        b"\\x%02x(?:%s){%d}" % (size << 4 | kind, value, size)
        for kind, value, max_size in values
        for size in range(1, max_size + 1)
    ]
    nested = b"%s%s|%s(?:%s)" % (_heads(STRUCT), struct, _heads(_LIST), b"|".join(lists))
    return re.compile(b"(?:%s|%s)*+" % (flat, nested), re.DOTALL)


_COMMON_FIELDS: Final = _common_fields()

Struct = dict[int, Any]


class CutShort(Exception):
    """The bytes end before the struct is complete."""


class Malformed(Exception):
    """The bytes are not a valid struct."""


class ThriftReader:
    """Reads consecutive structs.

    Attributes:
        position: Start of the next struct.
    """

    def __init__(self, content: bytes, position: int = 0) -> None:
        """Start at a byte of `content`."""
        self._content = content
        self.position = position

    def struct(self, depth: int = _MAX_DEPTH) -> Struct:
        """Return one struct: field number → int, inner struct or list of those; other values are None.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The bytes are no struct.
        """
        if depth == 0:
            raise Malformed
        return {number: self._value(kind, depth) for number, kind in self.fields(depth)}

    def fields(self, depth: int = _MAX_DEPTH) -> Iterator[tuple[int, int]]:
        """Yield number and kind of each field of the next struct; the caller must read or skip its value.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The bytes are no struct.
        """
        if depth == 0:
            raise Malformed
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            yield number, head & 15

    def value(self, kind: int) -> Any:
        """Read a field's value as `struct` does."""
        return self._value(kind, _MAX_DEPTH)

    def elements(self, kind: int) -> Iterator[int]:
        """Yield the index of each element of a list of structs; the caller must read or skip it.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The field is not a list of structs.
        """
        if kind != _LIST:
            raise Malformed
        size, kind = self._list_head()
        if kind != STRUCT and size:
            raise Malformed
        yield from range(size)

    def skip(self, kind: int, depth: int = _MAX_DEPTH) -> None:
        """Skip a field's value.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The bytes are not such a value.
        """
        if kind == STRUCT:
            self.skip_struct(depth - 1)
        elif kind in (_LIST, _SET):
            size, element = self._list_head()
            for _ in range(size):
                self.skip(element, depth - 1)
        else:
            self._value(kind, depth)

    def skip_struct(self, depth: int = _MAX_DEPTH, *, rising: bool = False) -> None:
        """Skip the next struct, or the rest of the struct whose fields are being read.

        Args:
            depth: Maximum nesting depth.
            rising: Whether field numbers must be ascending, so that no field that was already read is repeated.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The bytes are no struct.
        """
        if depth <= 0:
            raise Malformed
        while True:
            passed = _COMMON_FIELDS.match(self._content, self.position)
            self.position = self.position if passed is None else passed.end()
            head = self._byte()
            if head == 0:
                return
            if head < 16:
                if rising:
                    raise Malformed
                self._integer()
            self.skip(head & 15, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I32, _I64, _I16):
            return self._integer()
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind == STRUCT:
            return self.struct(depth - 1)
        if kind in (_LIST, _SET):
            return self._list(depth - 1)
        if kind in (_TRUE, _FALSE):  # the type is the value
            return None
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._skip(8)
        raise Malformed

    def _list(self, depth: int) -> list[Any]:
        if depth == 0:
            raise Malformed
        size, kind = self._list_head()
        return [self._value(kind, depth) for _ in range(size)]

    def _list_head(self) -> tuple[int, int]:
        """Return the number and the kind of the elements that follow."""
        head = self._byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self._varint()
        if size > len(self._content) - self.position:  # every element takes at least one byte
            raise CutShort
        return size, _BYTE if kind in (_TRUE, _FALSE) else kind

    def _skip(self, size: int) -> None:
        self.position += size
        if self.position > len(self._content):
            raise CutShort

    def _byte(self) -> int:
        if self.position >= len(self._content):
            raise CutShort
        self.position += 1
        return self._content[self.position - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Malformed

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
