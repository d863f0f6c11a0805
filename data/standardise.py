"""How numbers are standardised: the units in which a model reads them, and in which its errors are measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import Feature

MAX_DEVIATIONS = 10.0  # standardised values are clipped there, so that one outlier cannot dominate all other values
_MIN_STD = 1e-30  # its inverse still fits into float32


def moments(profile: SequenceProfile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation to standardise with, each float32 (features), raw units.

    A constant feature gets a deviation of 1: it standardises to 0, or to its difference from the mean once it changes.
    """
    mean = np.asarray(profile.mean, dtype=np.float32)
    std = np.asarray(profile.std, dtype=np.float64)
    return mean, np.where(std > _MIN_STD, std, 1.0).astype(np.float32)


def feature_weights(features: Sequence[Feature]) -> NDArray[np.float32]:
    """Return the weight of each feature in an error, float32 (features): 1, but all of one time column sum to 1."""
    time_columns = [feature.column if feature.kind == "time" else None for feature in features]
    counted = [1.0 if column is None else 1.0 / time_columns.count(column) for column in time_columns]
    return np.asarray(counted, dtype=np.float32)
