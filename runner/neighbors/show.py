"""Show neighbours in a terminal: a table per id, then one sparkline per feature and row."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from seqembed.data.plurals import counted
from seqembed.runner.neighbors.report import Neighbor, NeighborReport, Neighbors, Steps, Value
from seqembed.runner.neighbors.steps import resampled

_BLOCKS, _PLAIN = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_MAX_FEATURES = 8
_MAX_CELL = 40
_MIN_WIDTH = 10
_PADDING = 3  # of a column, its separator included
_RANK_AND_DISTANCE = 4 + 10 + 3 * _PADDING
_METRICS = {
    "euclidean": "Euclidean distance, like 1-NN in `seqembed evaluate`",
    "cosine": "cosine distance, 1 minus the cosine",
}


def headline(report: NeighborReport) -> str:
    """Return what was searched, and how distances are measured."""
    skipped = counted(report.num_skipped, "row")
    return (
        f"{report.source}: {counted(report.num_vectors, 'vector')} in {counted(report.num_files, 'file')}"
        + (f", {skipped} without a vector skipped" if report.num_skipped else "")
        + f"; {_METRICS[report.metric]}"
    )


def table(result: Neighbors, width: int) -> tuple[Table, tuple[str, ...]]:
    """Return a table of a row and its neighbours, and the kept columns that it has no room for.

    A column that does not fit is left out, since the words in it would be broken.

    Args:
        result: The rows.
        width: Characters of a line.
    """
    rows = (result.row, *result.nearest)
    kept = list(dict.fromkeys(name for one in rows for name in one.kept))
    shown = _fitting(rows, kept, width)
    made = Table(box=SIMPLE_HEAD, title_justify="left", show_edge=False)
    made.add_column("rank", justify="right")
    made.add_column("id", no_wrap=True)
    made.add_column("distance", justify="right", no_wrap=True)
    for name in shown:
        made.add_column(_cell(name), no_wrap=True)
    for one in rows:
        cells = [_cell(one.kept.get(name)) for name in shown]
        made.add_row(str(one.rank) if one.rank else "-", _cell(one.id), f"{one.distance:.4g}", *cells)
    return made, tuple(name for name in kept if name not in shown)


def _fitting(rows: Sequence[Neighbor], kept: Sequence[str], width: int) -> list[str]:
    """Return the kept columns that have room beside rank, id and distance, from the first on."""
    shown, room = [], width - _RANK_AND_DISTANCE - max(_cell(one.id).cell_len for one in rows)
    for name in kept:
        needed = _PADDING + max(cell.cell_len for cell in (_cell(name), *(_cell(one.kept.get(name)) for one in rows)))
        if needed <= room:
            shown.append(name)
            room -= needed
    return shown


def note(result: Neighbors) -> str | None:
    """Return a line about other rows of the same id, if there are any."""
    if result.num_rows == 1:
        return None
    return (
        f"{result.num_rows:,} rows have the id {_printable(str(result.row.id))}; this is row {result.row.row} of "
        f"{result.row.file}. Name a file or directory to ask for another."
    )


def sparklines(report: NeighborReport, result: Neighbors, width: int, encoding: str) -> Iterator[str]:
    """Yield a line per feature and row; the scale of a feature is the same for all rows of the report.

    Args:
        report: All results.
        result: The one to show.
        width: Characters of a line.
        encoding: Of the terminal; characters of ASCII stand in for blocks that it does not have.
    """
    everything = [one.steps for each in report.results for one in (each.row, *each.nearest) if one.steps is not None]
    names = list(dict.fromkeys(name for steps in everything for name in steps.values))
    rows = (result.row, *result.nearest)
    labels = [f"{one.rank or '-':>4}  {_cell(one.id).plain}" for one in rows]
    indent = max(map(len, labels)) + 2
    room = max(_MIN_WIDTH, width - indent - 1)
    longest = max((steps.num_steps for steps in everything), default=0)
    characters = _characters(encoding)
    for name in names[:_MAX_FEATURES]:
        low, high = _scale(everything, name)
        yield (
            f"{_printable(name)}  {low:.4g} to {high:.4g}"
            if low <= high
            else f"{_printable(name)}  only missing values"
        )
        for one, label in zip(rows, labels, strict=True):
            yield f"{label:<{indent}}{_line(one, name, (low, high), room, longest, characters)}".rstrip()
    if len(names) > _MAX_FEATURES:
        yield f"and {counted(len(names) - _MAX_FEATURES, 'more feature')}; name others with --features"


def _line(one: Neighbor, name: str, scale: tuple[float, float], room: int, longest: int, characters: str) -> str:
    if one.steps is None:
        return "(no sequence of this id in --data)"
    values = np.array([np.nan if value is None else value for value in one.steps.values.get(name, ())])
    if not len(values):
        return "(no steps)"
    # One character per step if all fit, else the longest sequence fills the line: lengths stay comparable.
    num = one.steps.num_steps if longest <= room else max(1, round(one.steps.num_steps * room / longest))
    shown = resampled(values[:, None], min(num, len(values)))[:, 0]
    return sparkline(shown, scale, characters)


def sparkline(values: NDArray[np.float64], scale: tuple[float, float], characters: str) -> str:
    """Return a character per value, float64 (n); a space for NaN.

    Args:
        values: The values.
        scale: Least and greatest value of the scale.
        characters: For values from low to high; the middle one where the scale is a single value.
    """
    low, high = scale
    levels = np.full(len(values), 0.5) if high <= low else (values - low) / (high - low)
    indices = np.clip(np.nan_to_num(levels) * len(characters), 0, len(characters) - 1).astype(int)
    return "".join(
        " " if np.isnan(value) else characters[index] for value, index in zip(values, indices.tolist(), strict=True)
    )


def _scale(everything: Sequence[Steps], name: str) -> tuple[float, float]:
    known = [value for steps in everything for value in steps.values.get(name, ()) if value is not None]
    return min(known, default=np.inf), max(known, default=-np.inf)


def _characters(encoding: str) -> str:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN
    return _BLOCKS


def _cell(value: Value) -> Text:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else _printable(str(value))
    return Text(text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
