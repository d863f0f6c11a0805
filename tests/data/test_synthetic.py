"""Generated samples: what they promise, equal seeds, both layouts, and files that never appear half-written."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from seqembed.data.errors import OutputError, UsageError
from seqembed.data.synthetic import telemetry
from seqembed.data.synthetic.catalog import GENERATORS, SampleOptions, write_sample
from seqembed.data.synthetic.generator import CHUNK_ROWS, SampleGenerator, blocks

GENERATED = sorted(GENERATORS)


def steps_of(table: pa.Table, row: int, columns: tuple[str, ...]) -> np.ndarray:
    return np.array([table[name][row].as_py() for name in columns], dtype=np.float32).T.reshape(-1, len(columns))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["nested", "events"])
@pytest.mark.parametrize("name", GENERATED)
def test_equal_seeds_give_equal_bytes_and_others_do_not(name, layout, tmp_path):
    for seed, file in ((5, "a"), (5, "b"), (6, "c")):
        write_sample(name, str(tmp_path / f"{file}.parquet"), SampleOptions(rows=60, seed=seed, layout=layout))
    assert digest(tmp_path / "a.parquet") == digest(tmp_path / "b.parquet")
    a, c = (pq.read_table(tmp_path / f"{file}.parquet") for file in "ac")
    assert not a.equals(c)


@pytest.mark.parametrize("name", GENERATED)
def test_the_first_rows_stay_when_more_are_asked_for(name, tmp_path):
    few, many = str(tmp_path / "few.parquet"), str(tmp_path / "many.parquet")
    write_sample(name, few, SampleOptions(rows=50))
    write_sample(name, many, SampleOptions(rows=CHUNK_ROWS + 10))
    assert pq.read_table(many).slice(0, 50).equals(pq.read_table(few))


@pytest.mark.parametrize("name", GENERATED)
def test_events_hold_the_sequences_of_the_nested_layout(name, tmp_path):
    columns = GENERATORS[name].columns
    for layout in ("nested", "events"):
        write_sample(name, str(tmp_path / f"{layout}.parquet"), SampleOptions(rows=80, seed=3, layout=layout))
    nested, events = (pq.read_table(tmp_path / f"{layout}.parquet") for layout in ("nested", "events"))
    assert events.schema.field("time").type == pa.timestamp("ms")
    kept = [column for column in nested.column_names if column not in (*columns, "id")]
    for row, sequence_id in enumerate(nested["id"].to_pylist()):
        own = events.filter(pc.equal(events["id"], pa.scalar(sequence_id, events["id"].type)))
        for column in columns:
            assert own[column].combine_chunks().equals(nested[column][row].values)
        assert (np.diff(own["time"].to_numpy()) > np.timedelta64(0)).all()
        assert all(set(own[column].to_pylist()) <= {nested[column][row].as_py()} for column in kept)


@pytest.mark.parametrize("layout", ["nested", "events"])
def test_several_files_hold_the_rows_of_one_in_order(layout, tmp_path):
    rows = CHUNK_ROWS + 7  # so that one file needs two chunks and one chunk two files
    one = write_sample("moving-ones", str(tmp_path / "one.parquet"), SampleOptions(rows=rows, layout=layout))
    many = write_sample("moving-ones", str(tmp_path / "many"), SampleOptions(rows=rows, layout=layout, files=3))
    paths = sorted((tmp_path / "many").iterdir())
    assert [path.name for path in paths] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert pa.concat_tables([pq.read_table(path) for path in paths]).equals(pq.read_table(tmp_path / "one.parquet"))
    assert (many.num_sequences, many.num_steps, many.num_files) == (one.num_sequences, one.num_steps, 3)
    assert many.num_bytes == sum(path.stat().st_size for path in paths)


def test_counts_are_of_what_the_files_hold(tmp_path):
    nested = write_sample("moving-ones", str(tmp_path / "n.parquet"), SampleOptions(rows=300))
    events = write_sample("moving-ones", str(tmp_path / "e.parquet"), SampleOptions(rows=300, layout="events"))
    table = pq.read_table(tmp_path / "e.parquet")
    assert nested.num_sequences == 300
    assert events.num_sequences == len(pc.unique(table["id"])) < 300
    assert nested.num_steps == events.num_steps == table.num_rows


def test_moving_ones_moves_a_one_and_then_none(tmp_path):
    write_sample("moving-ones", str(tmp_path / "ones.parquet"))
    table = pq.read_table(tmp_path / "ones.parquet")
    columns = GENERATORS["moving-ones"].columns
    expected = np.vstack([np.eye(8), np.zeros((2, 8))]).astype(np.float32)
    lengths = pc.list_value_length(table["f0"]).to_pylist()
    assert sorted(set(lengths)) == list(range(11))
    for row in range(200):
        np.testing.assert_array_equal(steps_of(table, row, columns), expected[: lengths[row]])


def test_ramps_are_the_four_named_lines_with_a_little_noise(tmp_path):
    write_sample("ramps", str(tmp_path / "ramps.parquet"))
    table = pq.read_table(tmp_path / "ramps.parquet")
    lines = {
        "0.1 to 0.9 by 0.1": np.linspace(0.1, 0.9, 9),
        "0.1 to 0.8 by 0.1": np.linspace(0.1, 0.8, 8),
        "0.2 to 0.8 by 0.2": np.linspace(0.2, 0.8, 4),
        "0.3 to 1.2 by 0.3": np.linspace(0.3, 1.2, 4),
    }
    assert pc.value_counts(table["ramp"]).field("counts").to_pylist() == [100] * 4
    errors = np.concatenate([row["value"] - lines[row["ramp"]] for row in table.to_pylist()])
    assert np.abs(errors).max() < 0.06
    assert 0.009 < errors.std() < 0.011


def values_of(block):
    return np.stack([column.to_numpy() for column in block.columns.values()], axis=1)


@pytest.fixture(scope="module")
def windows():
    return next(blocks(telemetry.GENERATOR, 10_000, seed=0))


def test_telemetry_lengths_are_lognormal_between_their_bounds(windows):
    lengths = windows.lengths
    assert (lengths.min(), lengths.max()) == (5, 100)
    assert abs(np.median(lengths) - 32) <= 1
    inner = np.log(lengths[(lengths > 5) & (lengths < 100)])
    assert abs(inner.mean() - np.median(inner)) < 0.03  # symmetric on the logarithm's scale


def test_telemetry_is_autocorrelated_and_of_equal_spread_at_every_step(windows):
    signals = (values_of(windows) - telemetry.LEVEL) / telemetry.SCALE
    first = windows.offsets[:-1]
    for feature in range(telemetry.NUM_FEATURES):
        assert np.corrcoef(signals[first, feature], signals[first + 1, feature])[0, 1] > 0.6
    np.testing.assert_allclose(signals[first].std(axis=0), signals[first + 4].std(axis=0), rtol=0.06)


def test_telemetry_devices_differ(windows):
    # The wave's phase is random and its strength is the device's own, so spread tells devices apart.
    signals = (values_of(windows) - telemetry.LEVEL) / telemetry.SCALE
    devices = np.array(windows.kept["device"].to_pylist())
    spreads = np.stack([signals[windows.offsets[:-1]][devices == name].std(axis=0) for name in telemetry.DEVICES])
    assert np.ptp(spreads, axis=0).max() > 0.2
    assert set(devices) == set(telemetry.DEVICES)


def test_telemetry_is_float32_with_device_names(tmp_path):
    write_sample("telemetry", str(tmp_path / "t.parquet"), SampleOptions(rows=20))
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.field("id").type == pa.int64()
    assert schema.field("device").type == pa.string()
    assert all(schema.field(f"f{index}").type.value_type == pa.float32() for index in range(8))


def test_vowels_go_to_a_directory_by_split_or_to_one_file_with_a_split_column(tmp_path):
    whole = write_sample("japanese-vowels", str(tmp_path / "all.parquet"))
    split = write_sample("japanese-vowels", str(tmp_path / "vowels"), SampleOptions(rows=4))
    table = pq.read_table(tmp_path / "all.parquet")
    assert table["split"].to_pylist() == ["train"] * 270 + ["test"] * 370
    assert (whole.num_sequences, whole.num_steps, whole.num_files) == (640, 9_961, 1)
    assert (split.num_sequences, split.num_files) == (8, 2)
    for name in ("train", "test"):
        rows = pq.read_table(tmp_path / "vowels" / f"{name}.parquet")
        assert rows["id"].to_pylist() == [f"{name}-{number:03d}" for number in range(4)]
        assert "split" not in rows.column_names


@pytest.mark.parametrize("options", [{"seed": 1}, {"layout": "events"}, {"files": 2}])
def test_recorded_data_refuses_options_of_generated_data(options, tmp_path):
    with pytest.raises(UsageError, match=f"--{next(iter(options))}.*recorded data"):
        write_sample("japanese-vowels", str(tmp_path / "v"), SampleOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_options_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is one file"):
        write_sample("ramps", str(tmp_path / "r.parquet"), SampleOptions(files=2))
    with pytest.raises(UsageError, match="only 3 rows"):
        write_sample("ramps", str(tmp_path / "r"), SampleOptions(rows=3, files=4))
    with pytest.raises(UsageError, match="local paths"):
        write_sample("ramps", "s3://bucket/ramps")


@pytest.mark.parametrize("content", ["parquet", "text"])
def test_a_file_made_by_something_else_is_never_replaced(content, tmp_path):
    path = tmp_path / "mine.parquet"
    if content == "parquet":
        pq.write_table(pa.table({"precious": [1]}), path)
    else:
        path.write_text("not Parquet at all")
    before = digest(path)
    with pytest.raises(OutputError, match="not written by `seqembed sample`"):
        write_sample("ramps", str(path))
    assert digest(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_sample_is_replaced_but_not_mixed_with(tmp_path):
    write_sample("ramps", str(tmp_path), SampleOptions(rows=8, files=1))
    write_sample("ramps", str(tmp_path), SampleOptions(rows=12, files=2))
    assert sum(pq.read_metadata(path).num_rows for path in tmp_path.iterdir()) == 12
    with pytest.raises(OutputError, match=r"part-00001\.parquet"):
        write_sample("ramps", str(tmp_path), SampleOptions(rows=8, files=1))
    with pytest.raises(OutputError, match=r"part-00000\.parquet"):
        write_sample("japanese-vowels", str(tmp_path))


@pytest.mark.parametrize("name", ["japanese-vowels", "ramps"])
def test_a_path_that_cannot_be_written_says_so(name, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out, message in (("file", "is a file"), ("file/deeper.parquet", "cannot be written")):
        with pytest.raises(OutputError, match=message):
            write_sample(name, str(tmp_path / out))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_recipe_that_fails_midway_leaves_no_file(tmp_path, monkeypatch):
    def breaks(first_row, generator):
        if first_row:
            raise RuntimeError("half way")
        return GENERATORS["ramps"].make(first_row, generator)

    monkeypatch.setitem(GENERATORS, "breaks", SampleGenerator("breaks", ("value",), CHUNK_ROWS * 3, breaks))
    with pytest.raises(RuntimeError, match="half way"):
        write_sample("breaks", str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
