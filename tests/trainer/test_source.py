"""Batches: every sequence once per epoch, always on the same side of the split, in bounded memory."""

from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.errors import InputError
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.schema.detect import detect_schema
from seqembed.data.sequences import LengthPolicy, SequenceBlock
from seqembed.trainer.input import source as source_module
from seqembed.trainer.input.feed import Feed
from seqembed.trainer.input.source import SequenceSource, in_validation, interleaved
from seqembed.trainer.input.views import ViewMaker

LENGTHS = [7, 0, 1, 3, 2, 9, 4, 4, 1, 6, 5, 8, 2, 3, 0, 7, 9, 1, 5, 6]


@pytest.fixture
def files(tmp_path):
    """Two files; each value is 100 × the sequence's number + its step, so that the content of a batch is known."""
    for number in range(2):
        numbers = range(number * 10, number * 10 + 10)
        values = [[100.0 * n + step for step in range(LENGTHS[n])] for n in numbers]
        pq.write_table(pa.table({"id": list(numbers), "x": values}), tmp_path / f"{number}.parquet", row_group_size=4)
    return resolve_inputs([str(tmp_path)])


def make(files, task="reconstruct", validation=False, cache_bytes=1 << 20, fraction=0.3, **options):
    return SequenceSource(
        files,
        detect_schema(files),
        LengthPolicy(),
        task,
        validation=validation,
        fraction=fraction,
        cache_bytes=cache_bytes,
        **{"batch_size": 3, "seed": 0, **options},
    )


def view_maker(max_length=100):
    return ViewMaker(np.zeros(1, np.float32), max_length)


def rows(batches):
    """Return number → (steps seen, next step or None) over batches, checking each value on the way."""
    found = {}
    for batch in batches:
        assert batch.values.shape[1] == batch.lengths.max()
        for values, length, following in zip(batch.values[:, :, 0], batch.lengths, batch.next_step[:, 0], strict=True):
            number = int(values[0] // 100)
            assert number not in found
            assert values[:length].tolist() == [100.0 * number + step for step in range(length)]
            assert (values[length:] == 0).all()
            found[number] = (int(length), None if np.isnan(following) else float(following))
    return found


def same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_both_sides_together_hold_every_sequence_once(files):
    training, validation = rows(make(files).batches(1)), rows(make(files, validation=True).batches(0))
    assert training and validation and not training.keys() & validation.keys()
    seen = training | validation
    assert seen == {number: (length, None) for number, length in enumerate(LENGTHS) if length}


@settings(max_examples=30)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=50, unique=True), st.floats(0, 0.99))
def test_an_id_stays_on_its_side_whatever_the_other_data(ids, fraction):
    def block(names):
        return SequenceBlock(np.zeros((0, 1), np.float32), np.zeros(len(names) + 1, np.int64), pa.array(names))

    together = in_validation(block(ids), fraction)
    alone = [bool(in_validation(block([name]), fraction)[0]) for name in ids]
    assert together.tolist() == alone
    assert (together <= in_validation(block(ids), min(fraction * 1.5, 0.99))).all(), "a larger share keeps the smaller"


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(1, 4))
def test_files_are_interleaved_and_every_block_is_read_once(sizes, at_a_time):
    opened = set()

    def blocks(name, size):
        for index in range(size):
            opened.add(name)
            yield (name, index)

    found = []
    for name, index in interleaved((blocks(name, size) for name, size in enumerate(sizes)), at_a_time):
        found.append((name, index))
        assert len(opened - {n for n in opened if (n, sizes[n] - 1) in found}) <= at_a_time, "few are open at a time"
    assert sorted(found) == [(name, index) for name, size in enumerate(sizes) for index in range(size)]
    assert all(indices == sorted(indices) for n in opened for indices in [[p for name, p in found if name == n]])
    if at_a_time > 1 and len(sizes) > 1 and min(sizes[:2]) > 1:
        assert found[:2] == [(0, 0), (1, 0)]


def test_about_the_requested_share_is_held_out():
    block = SequenceBlock(np.zeros((0, 1), np.float32), np.zeros(20_001, np.int64), pa.array(range(20_000)))
    assert abs(in_validation(block, 0.1).mean() - 0.1) < 0.01
    assert not in_validation(block, 0.0).any()


def test_epochs_differ_and_repeat(files):
    source = make(files, fraction=0)
    same(source.batches(3), make(files, fraction=0).batches(3))
    orders = [[batch.values[:, 0, 0].tolist() for batch in source.batches(epoch)] for epoch in range(1, 6)]
    assert len({str(order) for order in orders}) == 5
    assert str(orders[0]) != str(
        [batch.values[:, 0, 0].tolist() for batch in make(files, fraction=0, seed=1).batches(1)]
    )


@pytest.mark.parametrize("cache_bytes", [1 << 20, 300, 0])
def test_cached_and_streamed_batches_are_equal(files, cache_bytes):
    source, streamed = make(files, cache_bytes=cache_bytes), make(files, cache_bytes=0)
    for epoch in (1, 2, 3):
        same(source.batches(epoch), streamed.batches(epoch))


def test_a_cached_source_reads_its_files_once(files, tmp_path):
    kept, streamed = make(files), make(files, cache_bytes=300)
    for source in (kept, streamed):
        list(source.batches(1))
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    assert len(rows(kept.batches(2))) > 5
    with pytest.raises(InputError, match="parquet: cannot be read"):
        list(streamed.batches(2))


@pytest.mark.parametrize("task", ["reconstruct", "composite"])
@pytest.mark.parametrize("skip", [0, 1, 4, 6, 99])
def test_an_epoch_can_be_resumed_at_any_batch(files, monkeypatch, task, skip):
    monkeypatch.setattr(source_module, "MAX_WINDOW_SEQUENCES", 5)
    source = make(files, task=task, fraction=0)
    same(source.batches(2, skip=skip), list(source.batches(2))[skip:])


def test_tiny_windows_hold_the_same_sequences(files, monkeypatch):
    expected = rows(make(files, fraction=0).batches(1))
    monkeypatch.setattr(source_module, "MAX_WINDOW_SEQUENCES", 2)
    monkeypatch.setattr(source_module, "_MAX_WINDOW_BYTES", 40)
    widths = []

    def measured(blocks, max_sequences, max_steps):
        for window in windows(blocks, max_sequences, max_steps):
            widths.append((window.num_sequences, int(window.offsets[-1])))
            yield window

    windows = source_module.windows
    monkeypatch.setattr(source_module, "windows", measured)
    assert rows(make(files, fraction=0, cache_bytes=0).batches(1)) == expected
    assert len(widths) >= 9 and all(sequences <= 2 and steps <= 10 for sequences, steps in widths)


def test_a_batch_is_bounded_in_steps(files):
    batches = list(make(files, fraction=0, batch_size=100, max_batch_steps=12).batches(1))
    assert all(batch.values.shape[0] * batch.values.shape[1] <= 12 for batch in batches)
    assert len(rows(batches)) == 18


def test_batches_have_similar_lengths(files):
    batches = list(make(files, fraction=0, batch_size=4).batches(1))
    real = sum(int(batch.lengths.sum()) for batch in batches)
    padded = sum(batch.values.shape[0] * batch.values.shape[1] for batch in batches)
    assert real == sum(LENGTHS) and padded < 1.35 * real


def test_prediction_cuts_at_random_steps_and_validation_before_the_last(files):
    source = make(files, task="predict", fraction=0)
    cuts = {number: set() for number, length in enumerate(LENGTHS) if length > 1}
    for epoch in range(1, 40):
        found = rows(source.batches(epoch))
        assert found.keys() == cuts.keys(), "a sequence of one step has nothing to predict"
        for number, (seen, following) in found.items():
            assert following == 100.0 * number + seen
            cuts[number].add(seen)
    assert all(cuts[number] == set(range(1, LENGTHS[number])) for number in cuts)
    held_out = rows(make(files, task="predict", validation=True, fraction=0.9).batches(0))
    assert held_out and all(found == (LENGTHS[n] - 1, 100.0 * n + LENGTHS[n] - 1) for n, found in held_out.items())


def test_composite_keeps_sequences_of_one_step_without_a_next(files):
    found = rows(make(files, task="composite", fraction=0).batches(1))
    assert {number: found[number] for number in (2, 8, 17)} == dict.fromkeys((2, 8, 17), (1, None))
    assert all(following is not None for number, (_, following) in found.items() if LENGTHS[number] > 1)


def test_the_feed_gives_the_same_batches_every_time(files):
    source = make(files)
    feed = Feed(source, 1)
    for epoch, skip in ((1, 0), (1, 0), (2, 1)):
        same(([tensor.numpy() for tensor in batch] for batch in feed.epoch(epoch, skip)), source.batches(epoch, skip))


def test_an_error_inside_the_feed_keeps_its_class(files, tmp_path):
    feed = Feed(make(files, cache_bytes=0), 1)
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(InputError, match="1.parquet"):
        list(feed.epoch(1))


def test_each_sequence_has_two_views_in_one_batch_per_epoch(files):
    source, seen = make(files, fraction=0, views=view_maker()), []
    for batch in source.batches(1):
        numbers = (batch.targets[:, 0, 0] // 100).astype(int).tolist()
        half = len(numbers) // 2
        assert numbers[:half] == numbers[half:] and len(set(numbers)) == half <= 3
        assert batch.values.shape == batch.targets.shape and not np.array_equal(batch.values, batch.targets)
        seen += numbers[:half]
    assert sorted(seen) == [number for number, length in enumerate(LENGTHS) if length]


def test_views_change_every_epoch_except_in_validation(files):
    training, held_out = make(files, views=view_maker()), make(files, views=view_maker(), validation=True)
    same(held_out.batches(0), make(files, views=view_maker(), validation=True).batches(0))
    drawn = [sorted(float(batch.targets.sum()) for batch in training.batches(epoch)) for epoch in (1, 2)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("views", [None, view_maker()], ids=["sequences", "views"])
@pytest.mark.parametrize("skip", [0, 1, 7, 8, 23])
def test_a_stream_can_be_resumed_at_any_batch(files, views, skip):
    source = make(files, fraction=0, views=views)
    expected = [*source.batches(1), *source.batches(2), *source.batches(3), *source.batches(4)]
    assert len(expected) >= 24
    same(islice(source.stream(skip), 24 - skip), expected[skip:24])


def test_a_stream_without_sequences_ends(files):
    assert list(make(files, validation=True, fraction=0.0).stream()) == []


def test_the_feed_streams_the_same_batches_as_the_source(files):
    source = make(files, views=view_maker())
    streamed = islice(Feed(source, 1).stream(3), 9)
    same(([tensor.numpy() for tensor in batch] for batch in streamed), islice(source.stream(3), 9))
