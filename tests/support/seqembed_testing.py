"""Helpers for tests of all packages: command lines, small data, reading results."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from seqembed.data.contract import CONTRACT_KEY
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed
from seqembed.runner.cli import main


def seqembed(*words: object) -> Result:
    """Run a command line in this process; return exit code and output."""
    return CliRunner().invoke(main, [str(word) for word in words])


def done(*words: object) -> Result:
    """Run a command line that must succeed."""
    result = seqembed(*words)
    assert result.exit_code == 0, result.output
    return result


def user_environment() -> dict[str, str]:
    """Return the environment of a process that runs TensorFlow as users do, not on one thread like these tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TF_NUM_")}


@contextmanager
def shared_directory(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Yield a directory that all processes of a test run share; one fills it while the others wait."""
    directory = factory.getbasetemp()
    directory = (directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory) / name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


@dataclass(frozen=True)
class Tiny:
    """A tiny trained model: features x and y, embedding of 6, one bidirectional GRU."""

    data: Path
    run: Path
    bundle: Path


def sequences(num: int, seed: int, shortest: int = 0, longest: int = 20) -> dict[str, list]:
    """Return rows of the nested layout: id, label, x, y; some empty, some with missing values."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, size=num)
    columns: dict[str, list] = {"id": [f"s{i}" for i in range(num)], "label": [i % 3 for i in range(num)]}
    for name in "xy":
        columns[name] = [[None if v > 1.8 else float(v) for v in rng.normal(size=n)] for n in lengths]
    return columns


def write_sequences(path: Path, columns: dict[str, list], **options: object) -> Path:
    """Write rows of the nested layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"x": pa.list_(pa.float32()), "y": pa.list_(pa.float64())}
    table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    pq.write_table(table, path, **options)
    return path


def embeddings(paths: Sequence[Path]) -> dict[str, np.ndarray | None]:
    """Return id → embedding (None where null) over some output files."""
    found = {}
    for path in paths:
        for row in pq.read_table(path).to_pylist():
            found[row["id"]] = None if row["embedding"] is None else np.array(row["embedding"], np.float32)
    return found


def with_contract(bundle: Path, path: Path, **changes: object) -> Path:
    """Write a copy of a bundle with changed top-level fields of the contract, which counts as another model."""
    model = onnx.load(bundle)
    path.write_bytes(sealed(model, json.dumps(contract_of(model) | changes)))
    return path


def contract_of(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the fields of a bundle's contract."""
    (entry,) = [entry for entry in model.metadata_props if entry.key == CONTRACT_KEY]
    return json.loads(entry.value)


def resealed(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a bundle with a changed graph and a new digest, to test other checks."""
    return sealed(model, json.dumps(contract_of(model)))


def events_bundle(bundle: Path, path: Path, **changes: object) -> Path:
    """Write a copy of a bundle for the events layout: columns id, x, y, and more by `changes`."""
    schema = Encoder.open(bundle).contract.schema.to_json()
    return with_contract(bundle, path, schema=schema | {"layout": "events", **changes})


def write_events(path: Path, num: int, seed: int, prefix: str = "") -> Path:
    """Write `num` sequences in the events layout; their ids begin with `prefix`."""
    columns = sequences(num, seed, shortest=1)
    columns["id"] = [f"{prefix}{name}" for name in columns["id"]]
    lengths = [len(row) for row in columns["x"]]
    flat = {name: [value for row in columns[name] for value in row] for name in "xy"}
    events = {name: np.repeat(columns[name], lengths).tolist() for name in ("id", "label")}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**events, **flat}), path, row_group_size=97)
    return path
