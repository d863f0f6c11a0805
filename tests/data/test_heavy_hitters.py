"""The guarantees of the counts of frequent values, for any stream in any pieces."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.trainer.input.heavy_hitters import HeavyHitters


def count(values: list[int], capacity: int, piece: int) -> tuple[dict[int, int], HeavyHitters]:
    counter = HeavyHitters(capacity)
    for start in range(0, len(values), piece):
        found = pc.value_counts(pa.array(values[start : start + piece], pa.int64()))
        counter.add(found.field(0), found.field(1))
    table = counter.counts()
    return dict(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True)), counter


streams = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 200)), min_size=1, max_size=400)


@settings(max_examples=150)
@given(values=streams, capacity=st.integers(1, 30), piece=st.integers(1, 60))
def test_frequent_values_are_kept_with_bounded_errors(values: list[int], capacity: int, piece: int) -> None:
    held, counter = count(values, capacity, piece)
    most_lost = len(values) / (capacity + 1)
    assert len(held) <= capacity
    assert counter.num_cut <= most_lost
    for value, true in Counter(values).items():
        assert value in held or true <= most_lost
        if value in held:
            assert true - most_lost <= held[value] <= true


@given(values=st.lists(st.integers(0, 20), max_size=200), piece=st.integers(1, 60))
def test_counts_are_exact_while_all_values_fit(values: list[int], piece: int) -> None:
    held, counter = count(values, 21, piece)
    assert held == Counter(values)
    assert counter.num_cut == 0


def test_memory_does_not_grow_with_the_stream() -> None:
    counter = HeavyHitters(100)
    most = 0
    for start in range(0, 50_000, 50):
        values = np.append(np.arange(start, start + 50), -1)
        counter.add(pa.array(values), pa.array(np.ones(51, dtype=np.int64)))
        most = max(most, counter._num_held)
    assert most <= 2 * 100
    table = counter.counts()
    assert table.filter(pc.field("value") == -1)["count"].to_pylist() == [1000]
