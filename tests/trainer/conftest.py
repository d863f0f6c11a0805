"""Small data and small models for the trainer's tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quick_graphs import optimised_graphs, quick_graphs, untraced_steps

from seqembed.data.layout import RunLayout
from seqembed.data.profile import SequenceProfile
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.job import train
from seqembed.trainer.model.losses import Batch
from seqembed.trainer.page.write import write_page
from seqembed.trainer.plots.pictures import draw
from seqembed_testing import sequences, shared_directory, write_sequences

# Small enough to train in a second, with everything in it that can go wrong: empty rows and missing values.
SMALL = {
    "features": ["x", "y"],
    "objective": "reconstruct",
    "units": 4,
    "embedding_dim": 5,
    "epochs": 2,
    "batch_size": 16,  # a pass is three batches
    "bidirectional": False,
}


@pytest.fixture(scope="module", autouse=True)
def without_pictures() -> Iterator[None]:
    """Draw no pictures in any test of the trainer but with `with_pictures` and `finished`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqembed.trainer.job.draw", lambda *arguments, **options: None)
        patch.setattr("seqembed.trainer.job.write_page", lambda *arguments, **options: None)
        yield


@pytest.fixture(scope="package", autouse=True)
def quick() -> Iterator[None]:
    """Neither optimise graphs nor copy them."""
    with quick_graphs():
        yield


@pytest.fixture
def eager_steps() -> Iterator[None]:
    """Run the steps of a training without tracing them."""
    with untraced_steps():
        yield


@pytest.fixture
def with_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw pictures."""
    monkeypatch.setattr("seqembed.trainer.job.draw", draw)
    monkeypatch.setattr("seqembed.trainer.job.write_page", write_page)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty sequences of 0 to 9 steps with features x and y."""
    return write_sequences(tmp_path / "data.parquet", sequences(60, seed=0, longest=9))


@pytest.fixture(scope="session")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rows of 0 to 5 payments: times, text with gaps, numbers."""
    path = tmp_path_factory.mktemp("payments") / "payments.parquet"
    random = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {
        "id": [f"s{row}" for row in range(60)],
        "time": [],
        "shop": [],
        "paid": [],
        "amount": [],
    }
    for row in range(60):
        num = row % 6
        columns["time"].append([int(second) for second in np.cumsum(random.integers(1, 90_000, num))])
        columns["shop"].append([None if draw > 8 else f"shop {draw}" for draw in random.integers(0, 10, num)])
        columns["paid"].append([("card", "cash")[draw] for draw in random.integers(0, 2, num)])
        columns["amount"].append(random.normal(size=num).tolist())
    kinds = {"time": pa.list_(pa.timestamp("s", "UTC"))}
    table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    pq.write_table(table, path)
    return path


@pytest.fixture
def profile() -> SequenceProfile:
    """Of three features, the second of them constant."""
    return SequenceProfile(10, 0, 100, (1.0, 2.0, -3.0), (1.5, 0.0, 0.5), (0.0, 0.0, 0.1), (1,) * 9)


@pytest.fixture
def batch() -> Batch:
    """Five sequences of 0 to 6 steps of three features between 0 and 1, some of them missing."""
    random = np.random.default_rng(3)
    values = random.random((5, 6, 3)).astype(np.float32)
    values[0, 1, 1] = values[2, 0, 0] = np.nan
    lengths = np.array([6, 1, 3, 0, 4], np.int32)
    next_step = random.random((5, 3)).astype(np.float32)
    next_step[3] = np.nan
    return Batch(values, lengths, values, next_step)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainJob, Path]:
    """Return a job of every kind of option, and the run directory it made; tests read it or copy it."""
    options = {"decoder": "autoregressive", "reverse_target": True, "max_length": 6, "label": "label", "epochs": 3}
    options |= {"batch_size": 8}  # so many batches that a process can be killed between them
    with shared_directory(tmp_path_factory, "finished") as root, pytest.MonkeyPatch.context() as patch:
        job = TrainJob.from_options({"inputs": [str(root / "data.parquet")], **SMALL, **options})
        if not RunLayout(root / "run").contract.exists():  # a training writes it last
            write_sequences(root / "data.parquet", sequences(60, seed=0, longest=9))
            patch.setattr("seqembed.trainer.job.draw", draw)
            patch.setattr("seqembed.trainer.job.write_page", write_page)
            with optimised_graphs():
                train(job, root / "run")
    return job, root / "run"


@pytest.fixture
def job(data: Path) -> Any:
    """Return a function that builds a small job, with changes."""

    def build(**changes: Any) -> TrainJob:
        return TrainJob.from_options({"inputs": [str(data)], **SMALL, **changes})

    return build
