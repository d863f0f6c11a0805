"""The command `neighbors` as a Python function; see `seqembed.data.keywords` for its options."""

import os
from collections.abc import Sequence
from typing import TypedDict, Unpack

import pyarrow as pa

from seqembed.data.decode.ids import id_text
from seqembed.data.errors import UsageError
from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import PathOrUri, checked_options, in_python, shows_options
from seqembed.runner.neighbors.options import Metric, NeighborOptions
from seqembed.runner.neighbors.report import NeighborReport
from seqembed.runner.neighbors.search import find_neighbors


class NeighborKeywords(TypedDict, total=False):
    """Options of `neighbors`; `seqembed.runner.neighbors.options.NeighborOptions` documents them."""

    k: int
    metric: Metric
    data: Sequence[str]
    id_column: str | None
    features: Sequence[str]
    layout: str
    time: str | None


@shows_options(NeighborOptions)
@in_python("neighbors")
@checks_arguments
def neighbors(vectors: PathOrUri, id: object, **options: Unpack[NeighborKeywords]) -> NeighborReport:
    """Return the nearest vectors of some ids, as `seqembed neighbors` does.

    Args:
        vectors: Output directory of `seqembed.run`, or a Parquet file, glob or URI with ids and vectors.
        id: An id, or a list or tuple of several: text, or a value whose text is that of the id.
        options: See `seqembed neighbors --help` and `seqembed.runner.neighbors.options.NeighborOptions`.

    Returns:
        The neighbours of each id, nearest first.

    Raises:
        UsageError: An option is out of range, or there is no id.
        InputError: See `seqembed.runner.neighbors.search.find_neighbors`.
        TypeError: There is no such option.
    """
    given = list(id) if isinstance(id, list | tuple) else [id]
    if not given:
        raise UsageError("--id names no id. Pass at least one.")
    texts = [(id_text(one) or "") if isinstance(one, pa.Scalar) else str(one) for one in given]
    return find_neighbors(os.fspath(vectors), texts, NeighborOptions(**checked_options(neighbors, dict(options))))
