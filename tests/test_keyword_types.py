"""What callers pass to the Python functions has the type of the option, or is refused as on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import seqembed
from seqembed.data.keyword_types import ChosenInt, checked_value
from seqembed.data.keywords import Inputs
from seqembed_testing import Tiny, sequences, write_sequences


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int | None, np.int64(3), 3),
        (float, np.float32(0.5), 0.5),
        (float, 2, 2.0),
        (bool, np.True_, True),
        (int | tuple[int, int], [np.int8(1), 2], (1, 2)),
        (tuple[str, ...], "a", "a"),
        (tuple[str, ...], {"a": 1, "b": 2}.keys(), ("a", "b")),
        (tuple[str, ...], (name for name in "ab"), ("a", "b")),
        (str | Path, Path("a"), Path("a")),
        (Inputs, pd.Series(["a", "b"]), ("a", "b")),
        (Inputs, pl.Series(["a", "b"]), ("a", "b")),
        (ChosenInt, np.int32(4), 4),
        (ChosenInt, "auto", None),
        (ChosenInt, np.str_("auto"), None),
        (ChosenInt, None, None),
    ],
)
def test_values_of_numpy_and_iterators_are_taken(kind: object, value: object, expected: object) -> None:
    found = checked_value("option", value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"threads": "2"}, "threads must be a whole number or None, was '2'."),
        ({"threads": True}, "threads must be a whole number or None, was True."),
        ({"limit": 1.5}, "limit must be a whole number or None, was 1.5."),
        ({"max_bad_fraction": "a"}, "max_bad_fraction must be a number, was 'a'."),
        ({"keep": 3}, "keep must be a name or several, was 3."),
        ({"keep": ["label", 3]}, "keep must be a name or several, was ['label', 3]."),
        ({"keep": None}, "keep must be a name or several, was None."),
        ({"only": b"x"}, "only must be a name or several, was b'x'."),
        ({"overwrite": "no"}, "overwrite must be True or False, was 'no'."),
        ({"address": 3}, "address must be text or None, was 3."),
        ({"dtype": np.dtype("float16")}, "dtype must be text, was a Float16DType."),
        ({"engine": 3}, "engine must be text, was 3."),
        ({"inputs": []}, "inputs is empty. Pass at least one file, directory, glob or URI."),
        ({"inputs": iter(())}, "inputs is empty. Pass at least one file, directory, glob or URI."),
        ({"metrics": 3}, "metrics must be a path or URI, was 3."),
        ({"config": 3}, "config must be a path or URI, was 3."),
        ({"model": object}, "model must be a path or URI, was a type."),
        ({"inputs": [3]}, "inputs must be a path, a glob or a URI, or several, was [3]."),
        ({"inputs": list(range(99))}, "inputs must be a path, a glob or a URI, or several, was a list."),
    ],
)
def test_a_wrong_type_is_an_error_of_usage(tiny: Tiny, tmp_path: Path, keywords: dict[str, Any], said: str) -> None:
    given = {"inputs": tiny.data, "model": tiny.bundle, "out": tmp_path / "out"} | keywords
    with pytest.raises(seqembed.UsageError) as refused:
        seqembed.run(**given)
    assert str(refused.value) == said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda tiny: seqembed.load(None),
        lambda tiny: seqembed.load(tiny.bundle, threads="2"),
        lambda tiny: seqembed.load(tiny.bundle).embed_table(pa.table({}), keep=3),
        lambda tiny: seqembed.group("x", out="o", id=3),
        lambda tiny: seqembed.group("x", out="o", memory=3),
        lambda tiny: seqembed.inspect(3),
        lambda tiny: seqembed.neighbors("x", id=1, k="a"),
        lambda tiny: seqembed.train("x", out="o", steps="a"),
        lambda tiny: seqembed.train("x", out="o", resume="a"),
        lambda tiny: seqembed.export("x", out="o", opset="a"),
        lambda tiny: seqembed.evaluate("m", train="a", test="b", label=3),
    ],
)
def test_so_it_is_in_every_function(tiny: Tiny, call: Callable[[Tiny], object]) -> None:
    with pytest.raises(seqembed.UsageError, match=r"^\w+ must be .*, was .*\.$"):
        call(tiny)


@pytest.mark.parametrize("option", ["frame", "overlap", "trajectory", "kernels", "pairs"])
def test_a_number_that_training_chooses_may_be_auto_as_on_the_command_line(option: str) -> None:
    for value in ("all", ["auto"], 1.0, True):
        with pytest.raises(seqembed.UsageError) as refused:
            seqembed.train("x", out="o", **{option: value})
        assert str(refused.value) == f"{option} must be a whole number or 'auto' or None, was {value!r}."
    with pytest.raises(seqembed.InputError, match="nowhere"):  # the next thing to be checked
        seqembed.train("nowhere", out="o", **{option: "auto"})


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"workers": 0}, "workers must be at least 1, or two numbers from 1 in ascending order, was 0."),
        ({"workers": (2, 1)}, "workers must be at least 1, or two numbers from 1 in ascending order, was (2, 1)."),
        ({"workers": (1, 2, 3)}, "workers must be a whole number or two of them, was (1, 2, 3)."),
        ({"workers": None}, "workers must be a whole number or two of them, was None."),
        ({"batch_size": 0}, "batch_size must be at least 1, was 0."),
        ({"batch_size": "a"}, "batch_size must be a whole number, was 'a'."),
        ({"threads": 1.5}, "threads must be a whole number, was 1.5."),
        ({"keep": 3}, "keep must be a name or several, was 3."),
        ({"bundle": 3}, "bundle must be a path or URI, was 3."),
    ],
)
@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_options_of_datasets_and_frames(tiny: Tiny, engine: str, keywords: dict[str, Any], said: str) -> None:
    pytest.importorskip({"ray": "ray", "spark": "pyspark"}[engine], reason=f"the extra `{engine}` is not installed")
    known = engine == "ray" or not {"workers", "batch_size"} & {*keywords}  # Spark chooses both
    with pytest.raises(seqembed.UsageError if known else TypeError) as refused:
        getattr(seqembed, engine).embed(object(), **{"bundle": tiny.bundle} | keywords)
    assert str(refused.value) == said or (not known and "unexpected keyword argument" in str(refused.value))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda tiny: seqembed.group([], id="i", time="t", out="o"), "inputs"),
        (lambda tiny: seqembed.train((), out="o"), "inputs"),
        (lambda tiny: seqembed.evaluate(tiny.bundle, train=[], test="b", label="l"), "train"),
        (lambda tiny: seqembed.evaluate(tiny.bundle, train="a", test=np.array([], str), label="l"), "test"),
    ],
)
def test_no_input_at_all_is_an_error(tiny: Tiny, call: Callable[[Tiny], object], name: str) -> None:
    """As of a glob that matched nothing: a job without rows would look like a success."""
    with pytest.raises(seqembed.UsageError, match=f"^{name} is empty"):
        call(tiny)


def test_numbers_of_numpy_make_the_same_output(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    plain = seqembed.run(data, model=tiny.bundle, out=tmp_path / "out", limit=7, max_bad_fraction=1.0, progress="none")
    assert plain.counts.rows_in == 7
    numbers: dict[str, Any] = {"limit": np.int64(7), "max_bad_fraction": np.float32(1.0)}
    again = seqembed.run(data, model=tiny.bundle, out=tmp_path / "out", progress="none", **numbers)
    assert again.num_made == 0
