"""Read protobuf messages, to check model files without installing the protobuf library.

The reader parses the wire format (https://protobuf.dev/programming-guides/encoding), allocates nothing according to
lengths in the file, and does not recurse.
"""

from collections.abc import Iterator

Field = tuple[int, int | memoryview]


class MalformedError(Exception):
    """The bytes are not a protobuf message."""


def message(value: int | memoryview) -> memoryview:
    """Return the bytes of a field that holds a message.

    Raises:
        MalformedError: It holds a number.
    """
    if isinstance(value, int):
        raise MalformedError("a number where a message is expected")
    return value


def text(value: int | memoryview | None) -> str:
    """Return the text of a field, empty where the field is missing.

    Raises:
        MalformedError: It holds a number.
        UnicodeDecodeError: It is not UTF-8.
    """
    return "" if value is None else str(message(value), "utf-8")


def fields(message: memoryview) -> Iterator[Field]:
    """Yield (field number, value) of one message: an int for varints, a view without a copy for everything else.

    Raises:
        MalformedError: The bytes are not a message.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("field 0")
        if wire_type == 0:
            number_value, position = varint(message, position)
            yield number, number_value
            continue
        if wire_type == 2:
            length, position = varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise MalformedError(f"wire type {wire_type}")
        if length > len(message) - position:
            raise MalformedError("a field extends beyond its message")
        yield number, message[position : position + length]
        position += length


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return an unsigned varint of at most ten bytes, and the position after it.

    Raises:
        MalformedError: It has more bytes, or is truncated.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise MalformedError("truncated")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedError("a number of more than ten bytes")
