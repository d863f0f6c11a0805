"""Valid labels, and which labels are the same class."""

import numpy as np
import pyarrow as pa
import pytest

from seqembed.data.errors import InputError
from seqembed.runner.evaluate.labels import label_texts


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["b", None, "a"]), ["b", None, "a"]),
        (pa.array([3, None, -1], pa.int16()), ["3", None, "-1"]),
        (pa.array([3.0, None, float("nan"), -1.0], pa.float32()), ["3", None, None, "-1"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([None, None]), [None, None]),
    ],
)
def test_labels_become_text(column: pa.Array, texts: list[str | None]) -> None:
    assert label_texts(column, "kind", "a.parquet").to_pylist() == texts


@pytest.mark.parametrize("value", [0.5, np.inf, 1e300])
def test_numbers_that_are_not_classes_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="a.parquet: column 'price' holds .*Bin the numbers first"):
        label_texts(pa.array([1.0, value]), "price", "a.parquet")
