"""The line that a refusal names: real files and columns, quoted for a shell."""

from pathlib import Path
from shlex import split

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.files.grouping import grouping_line
from seqembed.data.files.listing import find_inputs
from seqembed.data.schema.schema import Feature, SequenceSchema


def schema(*names: str, time: str | None = "t 0") -> SequenceSchema:
    return SequenceSchema("it's", tuple(Feature(name, name) for name in names), "events", time=time)


def files(root: Path, num: int) -> list[Path]:
    root.mkdir(parents=True)
    for index in range(num):
        pq.write_table(pa.table({"x": [1]}), root / f"{index}.parquet")
    return sorted(root.iterdir())


def test_names_are_quoted_and_columns_named_once(tmp_path: Path) -> None:
    paths = files(tmp_path / "it's $HOME ü", 2)
    found = find_inputs(list(map(str, paths))).files
    line = grouping_line(found, schema("x", "y"), keep=["seg", "y", "it's"])
    columns = ["--id", "it's", "--time", "t 0", "--features", "x,y", "--keep", "seg"]
    assert split(line) == ["seqembed", "group", *map(str, paths), *columns, "--out", "grouped"]


def test_many_files_are_named_by_their_directory(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", 5)
    for inputs in ([str(tmp_path / "in")], [str(tmp_path / "in" / "*.parquet")], list(map(str, paths))):
        line = grouping_line(find_inputs(inputs).files, schema("x"))
        assert split(line)[2] == str(tmp_path / "in"), inputs
    assert split(line)[3] == "--id"


def test_a_name_with_a_comma_is_left_to_the_default(tmp_path: Path) -> None:
    files(tmp_path / "in", 1)
    assert "--features" not in grouping_line(find_inputs([str(tmp_path / "in")]).files, schema("x,y", "z"))


def test_without_a_time_it_is_sql(tmp_path: Path) -> None:
    files(tmp_path / "in", 1)
    line = grouping_line(find_inputs([str(tmp_path / "in")]).files, schema("x", time=None))
    assert line.startswith("for example with DuckDB: COPY (SELECT ")
