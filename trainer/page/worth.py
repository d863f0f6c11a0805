"""What the vectors are worth for the label, without training on it: judged by the nearest sequences of the sample."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqembed.data.pages.numbers import percent, shortened
from seqembed.data.plurals import counted
from seqembed.trainer.page.material import Material

MAX_KINDS = 20  # distinct numbers up to which a label of numbers counts as kinds
_NUM_NEIGHBOURS = 5  # whose mean predicts a number
_NUM_SHARES = 32  # categories of a field among the simple statistics; the last one holds all rarer ones


@dataclass(frozen=True, slots=True)
class Worth:
    """What the vectors are worth, in one number from 0 to 1, beside two that need no model.

    Attributes:
        title: The finding, in a sentence.
        name: What is measured, for a figure in large type.
        vectors: By the vectors.
        simple: By length, and mean and spread of each feature, or shares of the categories.
        trivial: Without looking at the sequence.
        trivial_name: What that is.
        about: Which sequences were compared.
        labels: Label, number of sequences, and share of them whose nearest one has it, the worst first; empty for
            numbers.
    """

    title: str
    name: str
    vectors: float
    simple: float
    trivial: float
    trivial_name: str
    about: str
    labels: tuple[tuple[str, int, float], ...] = ()


def worth(material: Material) -> Worth | None:
    """Return what the vectors are worth for the label; None without one, or with nothing to distinguish."""
    labels = material.labels() or []
    rows = np.flatnonzero([label is not None for label in labels])
    known = [label for label in labels if label is not None]
    numbers = numbers_of(known)
    if numbers is not None and len(rows) > 2 * _NUM_NEIGHBOURS:
        return _of_numbers(material, rows, numbers)
    num_kinds = len(set(known))
    return _of_kinds(material, rows, known) if 2 <= num_kinds <= len(rows) // 2 else None


def numbers_of(labels: list[str]) -> NDArray[np.float64] | None:
    """Return labels as float64 (labels), if they are numbers of more than `MAX_KINDS` values; else None."""
    if len(set(labels)) <= MAX_KINDS:
        return None
    try:
        numbers = np.array([float(label) for label in labels])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _of_kinds(material: Material, rows: NDArray[np.int64], known: list[str]) -> Worth:
    names, counts = np.array(known, dtype=object), Counter(known)
    right = names[_nearest(material.embeddings[rows], 1)[:, 0]] == names
    simple = names[_nearest(_simple(material)[rows], 1)[:, 0]] == names
    by_label = [(label, num, float(right[names == label].mean())) for label, num in counts.items()]
    share = float(right.mean())
    return Worth(
        title=f"The nearest sequence has the same {shortened(material.label)} in {percent(share)} of "
        f"{counted(len(rows), 'case')}",
        name="Same label as the nearest",
        vectors=share,
        simple=float(simple.mean()),
        trivial=max(counts.values()) / len(rows),
        trivial_name="always the most frequent",
        about=f"training sequences of {counted(len(counts), 'label')}",
        labels=tuple(sorted(by_label, key=lambda found: (found[2], found[0]))),
    )


def _of_numbers(material: Material, rows: NDArray[np.int64], numbers: NDArray[np.float64]) -> Worth | None:
    total = float(((numbers - numbers.mean()) ** 2).sum())
    if not 0 < total < np.inf:
        return None

    def explained(vectors: NDArray[np.floating]) -> float:
        predicted = numbers[_nearest(vectors[rows], _NUM_NEIGHBOURS)].mean(axis=1)
        return max(0.0, 1 - float(((predicted - numbers) ** 2).sum()) / total)

    share = explained(material.embeddings)
    return Worth(
        title=f"The mean of the {_NUM_NEIGHBOURS} nearest sequences explains {percent(share)} of the variance of "
        f"{shortened(material.label)}",
        name="Label explained by neighbours",
        vectors=share,
        simple=explained(_simple(material)),
        trivial=0.0,
        trivial_name="always the mean",
        about=counted(len(rows), "training sequence"),
    )


def _nearest(vectors: NDArray[np.floating], num: int) -> NDArray[np.int64]:
    """Return the nearest other rows, int64 (rows, num); the first of equally near ones."""
    points = vectors.astype(np.float64)
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    found = np.empty((len(points), num), dtype=np.int64)
    every = np.arange(len(points))
    for place in range(num):
        found[:, place] = distances.argmin(axis=1)
        distances[every, found[:, place]] = np.inf
    return found


def _simple(material: Material) -> NDArray[np.float64]:
    """Return what needs no model, standardised, float64 (sequences, numbers): length, moments, shares of categories."""
    rows = []
    for row in range(material.sample.num_sequences):
        values, ids = material.values(row).astype(np.float64), material.categories(row)
        known = ~np.isnan(values)
        num = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / num
        spread = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(axis=0) / num)
        places = np.minimum(ids, _NUM_SHARES - 1)
        shares = [np.bincount(field, minlength=_NUM_SHARES) / len(ids) for field in places.T]
        rows.append(np.concatenate([[np.log(len(values))], mean, spread, *shares]))
    numbers = np.array(rows)
    numbers -= numbers.mean(axis=0)
    scaled: NDArray[np.float64] = numbers / np.maximum(numbers.std(axis=0), 1e-12)
    return scaled
