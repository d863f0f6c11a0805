"""Search for the nearest vectors: one pass over the ids, one over the vectors, then only the rows of the result.

Memory holds a batch of vectors and the nearest rows so far, whatever the number of files and rows.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.decode.ids import id_text, quoted_id
from seqembed.data.errors import InputError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.outputs import EMBEDDING
from seqembed.runner.neighbors.ids import IdMatcher
from seqembed.runner.neighbors.options import Metric, NeighborOptions
from seqembed.runner.neighbors.report import Neighbor, NeighborReport, Neighbors, Value
from seqembed.runner.neighbors.steps import RowKey, read_steps
from seqembed.runner.neighbors.vectors import VectorFile, batches, find_vectors, read_rows, vectors_in

_NUM_EXAMPLES = 5
_MAX_ROWS_OF_ID = 1_000  # looked at for one that has a vector
_Place = tuple[int, int]  # index of a file, row in it


@dataclass(slots=True)
class _Query:
    """A row whose neighbours are searched: its place and vector, float64 (1, width), and the nearest so far."""

    place: _Place
    vector: NDArray[np.float64]
    distances: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    places: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))


def find_neighbors(given: str, ids: Sequence[str], options: NeighborOptions) -> NeighborReport:
    """Return the nearest rows of the rows with some ids.

    Args:
        given: Output directory of a run, or a Parquet file, glob or URI with ids and vectors.
        ids: The ids as text.
        options: How many, how measured, and which sequences to show.

    Raises:
        InputError: There are no vectors, they are of several models, an id is not found or has no vector, or a file
            cannot be read.
    """
    texts = list(dict.fromkeys(ids))
    files = find_vectors(given, options.id_column)
    places, counts = _places(files, texts, without_secrets(given))
    width = next((one.width for one in files if one.width is not None), None)
    queries = {text: _query(files, text, places[text], width) for text in texts}
    num_vectors, num_skipped = _search(files, list(queries.values()), options)
    rows = _rows(files, queries.values())
    results = [_result(files, rows, queries[text], counts[text]) for text in texts]
    report = NeighborReport(
        without_secrets(given), options.metric, len(files), num_vectors, num_skipped, tuple(results)
    )
    return _with_steps(report, files, options) if options.data else report


def _places(
    files: Sequence[VectorFile], texts: Sequence[str], shown: str
) -> tuple[dict[str, list[_Place]], Counter[str]]:
    """Return the first rows of each id, and how many there are of each.

    Raises:
        InputError: There is no row of an id; the message shows some that there are.
    """
    places: dict[str, list[_Place]] = {text: [] for text in texts}
    counts: Counter[str] = Counter()
    examples: dict[str, None] = {}
    for index, one in enumerate(files):
        matcher = IdMatcher(texts)
        for first, batch in batches(one, one.id_column):
            if len(examples) < _NUM_EXAMPLES:
                examples |= dict.fromkeys(quoted_id(id_text(value)) for value in batch[:_NUM_EXAMPLES])
            for row, text in matcher.rows(batch):
                counts[text] += 1
                if len(places[text]) < _MAX_ROWS_OF_ID:
                    places[text].append((index, first + row))
    for text in texts:
        if not counts[text]:
            some = ", ".join(list(examples)[:_NUM_EXAMPLES])
            such = f"It has, for example, {some}." if some else "It has no rows."
            raise InputError(f"{shown}: no row has the id {quoted_id(text)} in '{files[0].id_column}'. {such}")
    return places, counts


def _query(files: Sequence[VectorFile], text: str, places: Sequence[_Place], width: int | None) -> _Query:
    """Return the first row of an id that has a vector.

    Raises:
        InputError: None has.
    """
    for index, row in places:
        found = read_rows(files[index], [EMBEDDING], [row])[row]
        vectors, _ = vectors_in(files[index], found.column(0), width, row)
        if len(vectors):
            return _Query((index, row), vectors)
    index, row = places[0]
    raise InputError(
        f"{files[index].file.name}: row {row}, id {quoted_id(text)}: there is no vector, since the sequence has no "
        "step or is invalid. Pass another --id."
    )


def _search(files: Sequence[VectorFile], queries: Sequence[_Query], options: NeighborOptions) -> tuple[int, int]:
    """Find the nearest rows of all queries in one pass; return the numbers of rows with and without a vector."""
    width = queries[0].vector.shape[1]
    num_vectors = num_rows = 0
    for index, one in enumerate(files):
        for first, batch in batches(one, EMBEDDING):
            vectors, rows = vectors_in(one, batch, width, first)
            num_vectors, num_rows = num_vectors + len(vectors), num_rows + len(batch)
            places = np.stack([np.full(len(rows), index), rows], axis=1)
            for query in queries:
                others = (places != query.place).any(axis=1)
                _keep_nearest(query, distances(vectors, query.vector, options.metric)[others], places[others], options)
    return num_vectors, num_rows - num_vectors


def distances(vectors: NDArray[np.float64], vector: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return the distance of each of `vectors` (n, width) from `vector` (1, width), float64 (n)."""
    if metric == "euclidean":
        apart: NDArray[np.float64] = np.sqrt(((vectors - vector) ** 2).sum(axis=1))
        return apart
    norms = np.sqrt((vectors**2).sum(axis=1) * (vector**2).sum())
    products = (vectors * vector).sum(axis=1)
    cosines: NDArray[np.float64] = np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
    return 1 - cosines


def _keep_nearest(
    query: _Query, found: NDArray[np.float64], places: NDArray[np.int64], options: NeighborOptions
) -> None:
    """Add rows to a query, of which it keeps the nearest; of equally distant ones the first."""
    together = np.concatenate([query.distances, found])
    nearest = np.argsort(together, kind="stable")[: options.k]
    query.distances, query.places = together[nearest], np.concatenate([query.places, places])[nearest]


def _rows(files: Sequence[VectorFile], queries: Iterable[_Query]) -> dict[_Place, pa.RecordBatch]:
    """Return id and kept columns of all rows of the result."""
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for query in queries:
        for index, row in [query.place, *query.places.tolist()]:
            wanted[index].add(row)
    return {
        (index, row): batch
        for index, rows in wanted.items()
        for row, batch in read_rows(files[index], [files[index].id_column, *files[index].kept], rows).items()
    }


def _result(
    files: Sequence[VectorFile], rows: Mapping[_Place, pa.RecordBatch], query: _Query, num_rows: int
) -> Neighbors:
    places = [query.place, *((index, row) for index, row in query.places.tolist())]
    found = [
        _neighbor(files[place[0]], rows[place], place[1], rank, distance)
        for rank, (place, distance) in enumerate(zip(places, [0.0, *query.distances.tolist()], strict=True))
    ]
    return Neighbors(found[0], tuple(found[1:]), num_rows)


def _neighbor(one: VectorFile, batch: pa.RecordBatch, row: int, rank: int, distance: float) -> Neighbor:
    kept: dict[str, Value] = {name: plain_value(batch.column(name)[0]) for name in one.kept}
    kept |= {key: value for key, value in one.file.partitions.items() if key not in batch.schema.names}
    return Neighbor(rank, plain_value(batch.column(one.id_column)[0]), distance, kept, one.file.name, row)


def plain_value(value: pa.Scalar) -> Value:
    """Return a value as JSON has it: booleans and numbers as they are, all else as the text of `id_text`."""
    kind = value.type
    is_plain = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not value.is_valid or not is_plain:
        return id_text(value)
    found: bool | int | float = value.as_py()
    return found if math.isfinite(found) else str(found)


def _with_steps(report: NeighborReport, files: Sequence[VectorFile], options: NeighborOptions) -> NeighborReport:
    everything = [one for result in report.results for one in (result.row, *result.nearest)]
    exclude = {name for one in everything for name in one.kept}
    made_from = {one.file.name: one.made_from for one in files}
    steps = read_steps(options, files[0].id_column, exclude, map(_key, everything), made_from)

    def drawn(one: Neighbor) -> Neighbor:
        return replace(one, steps=steps.get(_key(one)))

    results = (replace(one, row=drawn(one.row), nearest=tuple(map(drawn, one.nearest))) for one in report.results)
    return replace(report, results=tuple(results))


def _key(one: Neighbor) -> RowKey:
    return one.file, str(one.id)
