"""Stratified sampling of labelled rows that keeps every class."""

import numpy as np
from numpy.typing import NDArray


def stratified_rows(classes: NDArray[np.int64], max_rows: int, seed: int) -> NDArray[np.int64]:
    """Return ascending indices of at most `max_rows` rows, sampled in proportion to the classes.

    TS2Vec's protocol does this above 10,000 training rows. Every class keeps at least one row, even if the result is
    then longer than `max_rows`.

    Args:
        classes: int64 (n), class of each row.
        max_rows: Maximum number of rows.
        seed: Seed of the sample.

    Returns:
        int64 (at most n), all indices if there are at most `max_rows`.
    """
    if len(classes) <= max_rows:
        return np.arange(len(classes))
    order = np.random.default_rng(seed).permutation(len(classes))
    grouped = order[np.argsort(classes[order], kind="stable")]  # sorted by class, shuffled within
    _, starts, sizes = np.unique(classes[grouped], return_index=True, return_counts=True)
    exact = sizes * (max_rows / len(classes))
    quotas = np.maximum(np.floor(exact), 1).astype(np.int64)
    left = max(0, max_rows - int(quotas.sum()))
    quotas[np.argsort(quotas - exact, kind="stable")[:left]] += 1  # to the largest remainders
    for _ in range(int(quotas.sum()) - max_rows):  # the minimum of one may exceed max_rows; reduce the largest
        quotas[quotas.argmax()] = max(1, quotas.max() - 1)
    chosen = [grouped[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))
