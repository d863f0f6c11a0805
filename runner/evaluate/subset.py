"""Thin out labelled rows without losing a class."""

import numpy as np
from numpy.typing import NDArray


def stratified_rows(classes: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Return indices of at most `most` rows, in order, each class with its share of them.

    TS2Vec's protocol does so above 10,000 training rows. Every class keeps at least one row, even where that makes
    more than `most`.

    Args:
        classes: int64 (n), class of each row.
        most: Rows wanted.
        seed: Of the draw.

    Returns:
        int64 (at most n), all indices where `most` is not exceeded.
    """
    if len(classes) <= most:
        return np.arange(len(classes))
    order = np.random.default_rng(seed).permutation(len(classes))
    grouped = order[np.argsort(classes[order], kind="stable")]  # class by class, shuffled within
    _, starts, sizes = np.unique(classes[grouped], return_index=True, return_counts=True)
    exact = sizes * (most / len(classes))
    quotas = np.maximum(np.floor(exact), 1).astype(np.int64)
    left = max(0, most - int(quotas.sum()))
    quotas[np.argsort(quotas - exact, kind="stable")[:left]] += 1  # to the largest remainders
    for _ in range(int(quotas.sum()) - most):  # what small classes got too much, the largest give
        quotas[quotas.argmax()] = max(1, quotas.max() - 1)
    chosen = [grouped[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))
