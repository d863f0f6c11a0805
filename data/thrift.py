"""Thrift's compact protocol, as far as Parquet's own structures need it: structs as plain dictionaries.

pyarrow hides page headers, and ends the process on some damaged column metadata (a C++ exception that its
`RowGroupMetaData.column` does not catch), so footers and page headers are read here before pyarrow is asked. Source:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any, Final

_MAX_DEPTH: Final = 12  # Parquet's structures nest six deep
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)

Struct = dict[int, Any]


class CutShort(Exception):
    """The bytes end before the struct does."""


class Malformed(Exception):
    """Bytes that are no struct."""


class ThriftReader:
    """Reads structs one after the other.

    Attributes:
        place: Where the next one begins.
    """

    def __init__(self, content: bytes) -> None:
        """Begin at the first byte of `content`."""
        self._content = content
        self.place = 0

    def struct(self, depth: int = _MAX_DEPTH) -> Struct:
        """Return one struct: field number → int, inner struct or list of those; None for what is of no use here.

        Raises:
            CutShort: More bytes are needed.
            Malformed: The bytes are no struct.
        """
        if depth == 0:
            raise Malformed
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I32, _I64, _I16):
            return self._integer()
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind == _STRUCT:
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
        head = self._byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self._varint()
        if size > len(self._content) - self.place:  # every element takes a byte at least
            raise CutShort
        kind = _BYTE if kind in (_TRUE, _FALSE) else kind
        return [self._value(kind, depth) for _ in range(size)]

    def _skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self._content):
            raise CutShort

    def _byte(self) -> int:
        if self.place >= len(self._content):
            raise CutShort
        self.place += 1
        return self._content[self.place - 1]

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
