"""Two altered views of each sequence: what an embedding should not depend on, drawn on the host as batches are made.

A view is a crop, each of its features a little louder or quieter, and with two short segments missing; the encoder adds
noise while it learns (`trainer.model`). The crop itself is what the decoder is to write from the view's embedding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sequences import SequenceBlock


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """How far a view may be from its sequence.

    Attributes:
        least_crop: Shortest crop, as a share of the sequence.
        amplitude: Spread of the factor of each feature around 1.
        num_gaps: Segments of missing values.
        longest_gap: Longest of them, as a share of the crop.
    """

    least_crop: float = 0.5
    amplitude: float = 0.1
    num_gaps: int = 2
    longest_gap: float = 0.1


@dataclass(frozen=True, slots=True)
class Views:
    """Views of a batch of sequences: the first of every sequence, then the second of every sequence.

    Attributes:
        values: float32 (2 × sequences, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (2 × sequences), each at least 1.
        targets: float32 like `values`: the crops as they are in the data.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int32]
    targets: NDArray[np.float32]


class ViewMaker:
    """Draws views.

    Args:
        mean: float32 (features), raw units: what is louder is further from it.
        max_length: Most steps of a view: longer sequences are seen in parts.
        config: How far views go.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        max_length: int,
        config: ViewConfig | None = None,
    ) -> None:
        self.max_length = max_length
        self._mean = mean
        self._config = config or ViewConfig()

    def draw(self, block: SequenceBlock, rows: NDArray[np.int64], random: np.random.Generator) -> Views:
        """Return two views of each of the sequences at `rows`, int64 (sequences), none of them empty."""
        twice = np.concatenate([rows, rows])
        whole = block.offsets[twice + 1] - block.offsets[twice]
        longest = np.minimum(whole, self.max_length)
        share = random.uniform(self._config.least_crop, 1.0, len(twice))
        lengths = np.maximum(np.rint(share * longest), 1).astype(np.int64)
        starts = block.offsets[twice] + np.floor(random.random(len(twice)) * (whole - lengths + 1)).astype(np.int64)
        steps = np.arange(int(lengths.max()))
        inside = steps < lengths[:, None]  # (views, time)
        targets = np.zeros((*inside.shape, block.values.shape[1]), dtype=np.float32)
        targets[inside] = block.values[(starts[:, None] + steps)[inside]]
        values = self._altered(targets, lengths, random)
        values[~inside] = 0.0
        return Views(values, lengths.astype(np.int32), targets)

    def _altered(
        self, targets: NDArray[np.float32], lengths: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.float32]:
        config = self._config
        factors = 1 + config.amplitude * random.standard_normal((len(targets), 1, targets.shape[2]), dtype=np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and counts as far from the mean
            values = (targets - self._mean) * factors + self._mean
        steps = np.arange(targets.shape[1])
        for _ in range(config.num_gaps):
            sizes = np.floor(
                random.uniform(0, config.longest_gap, len(targets)) * lengths + random.random(len(targets))
            )
            sizes = np.minimum(sizes, lengths - 1)
            begins = np.floor(random.random(len(targets)) * (lengths - sizes + 1))
            gap = (steps >= begins[:, None]) & (steps < (begins + sizes)[:, None])  # (views, time)
            values[gap] = np.nan
        altered: NDArray[np.float32] = values
        return altered
