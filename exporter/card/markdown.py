"""Markdown of a model card: escaped text, tables, and the front matter that model hubs read."""

import re
from collections.abc import Iterable, Iterator, Sequence

# The first bytes of a card; without them a file was written, or edited, by a person and is never replaced.
CARD_START = "---\n# Written by `seqembed export`, which replaces this file. Remove this line if you edit the card.\n"
_TAGS = ("seqembed", "onnx", "sequence-embedding", "time-series")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@^=])")


def front_matter() -> str:
    """Return the YAML at the start of a card; the license is the user's to add."""
    lines = ["library_name: seqembed", "pipeline_tag: feature-extraction", "tags:", *(f"- {tag}" for tag in _TAGS)]
    return CARD_START + "\n".join(lines) + "\n---\n"


def escaped(text: str) -> str:
    """Return text of users, such as a column name, so that Markdown shows it as it is, on one line."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    shown = shown if shown.strip() == shown and shown else repr(shown)
    return _SPECIAL.sub(r"\\\1", shown)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose cells are Markdown; the first column is aligned left, the others right."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join(['---', *(['---:'] * (len(heads) - 1))])}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
