"""How usual a reconstruction error is: its place among the errors of sequences that were not trained on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Every hundredth, and every thousandth among the largest, which is where a threshold is set.
LEVELS: NDArray[np.float64] = np.array([*range(0, 990, 10), *range(990, 1001)]) / 1000
SCORE, SCORE_QUANTILE = "score", "score_quantile"  # columns of a run


@dataclass(frozen=True, slots=True)
class ErrorProfile:
    """Reconstruction errors of real sequences at export.

    Attributes:
        quantiles: Errors at `LEVELS`, ascending.
        num_sequences: Number of measured sequences.
        held_out: Whether they were held out of the training; else they are training sequences.
    """

    quantiles: tuple[float, ...]
    num_sequences: int
    held_out: bool

    @classmethod
    def of(cls, errors: NDArray[np.float32], *, held_out: bool) -> Self:
        """Measure errors, float32 (sequences), at least one."""
        quantiles = np.quantile(errors.astype(np.float64), LEVELS)
        ascending = np.maximum.accumulate(quantiles)  # interpolation may descend by a rounding error
        return cls(tuple(ascending.tolist()), len(errors), held_out)

    def share_below(self, errors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the share of the measured sequences with a smaller error, interpolated between `LEVELS`.

        It never falls as the error grows: 0 up to the smallest measured error, and 1 beyond the largest one, however
        far. There the errors themselves still order the rows.

        Args:
            errors: float32 (sequences).

        Returns:
            float32 (sequences), in [0, 1].
        """
        bounds = np.array(self.quantiles)
        above = np.searchsorted(bounds, errors, side="left")  # of equal quantiles the first
        upper = np.clip(above, 1, len(bounds) - 1)
        low, high = bounds[upper - 1], bounds[upper]
        width = np.where(high > low, high - low, 1.0)
        way = np.clip((errors - low) / width, 0.0, 1.0)
        shares = LEVELS[upper - 1] + way * (LEVELS[upper] - LEVELS[upper - 1])
        shares = np.where(above == 0, 0.0, np.where(above == len(bounds), 1.0, shares))
        return shares.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"quantiles": list(self.quantiles)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        return cls(tuple(value["quantiles"]), value["num_sequences"], value["held_out"])
