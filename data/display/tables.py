"""Tables of plain text that fit into 80 columns, for a terminal and for a log."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from unicodedata import combining, east_asian_width

WIDTH = 80
_INDENT, _GAP = 2, 2
_MIN_NAME = 12


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line of heads and a line per row; nothing without rows.

    The first column is aligned on the left and cut in the middle where a line would be wider than `WIDTH`; the others,
    numbers, on the right. A column that is empty in every row is left out.

    Args:
        heads: One per column.
        rows: Texts, one per column each.
    """
    used = [column for column in range(len(heads)) if column == 0 or any(row[column] for row in rows)]
    lines = [[line[column] for column in used] for line in (heads, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
    room = WIDTH - _INDENT - sum(widths[1:]) - _GAP * (len(widths) - 1)
    widths[0] = min(widths[0], max(_MIN_NAME, room))
    for line in lines if rows else ():
        first = cut(line[0], widths[0])
        cells = [" " * (width - columns_of(cell)) + cell for cell, width in zip(line[1:], widths[1:], strict=True)]
        name = first + " " * (widths[0] - columns_of(first))
        yield (" " * _INDENT + (" " * _GAP).join([name, *cells])).rstrip()


def folded(text: str, width: int = WIDTH) -> list[str]:
    """Return a line of prose in lines of at most `width` characters, without breaking words; the rest is indented."""
    return wrap(text, width, subsequent_indent=" " * 2 * _INDENT, break_long_words=False, break_on_hyphens=False)


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if combining(one) else 1 + (east_asian_width(one) in "FW") for one in text)


def cut(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, cut in the middle: names often differ at their ends."""
    if columns_of(text) <= width:
        return text
    kept, tail = text, max(1, width // 3)
    end = text[-tail:]
    while kept and columns_of(kept) + 1 + columns_of(end) > width:
        kept = kept[:-1]
    while end and columns_of(kept) + 1 + columns_of(end) > width:
        end = end[1:]
    return f"{kept}…{end}"
