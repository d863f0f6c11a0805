"""Train, export, run and evaluate on the recorded data that is installed with the package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema

Command = Callable[[Sequence[str]], None]
_LABEL = "speaker"


@dataclass(frozen=True, slots=True)
class DemoLayout:
    """Paths of the demo.

    Attributes:
        root: The directory given as ``--out``.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Directory of the recorded utterances, train.parquet and test.parquet."""
        return self.root / "data"

    @property
    def run(self) -> RunLayout:
        """The trained run directory."""
        return RunLayout(self.root / "run")

    @property
    def bundle(self) -> Path:
        """The deployable file."""
        return self.root / "encoder.onnx"

    @property
    def vectors(self) -> Path:
        """The embeddings."""
        return self.root / "vectors"

    @property
    def control(self) -> "DemoLayout":
        """The same paths for an untrained encoder."""
        return DemoLayout(self.root / "untrained")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        num_test: Number of test utterances.
        num_dimensions: Width of the vectors.
        trained, untrained, mean_vector: Share of test utterances whose nearest training utterance (Euclidean) is by
            the same speaker: with the trained encoder, an untrained one, and the mean of each feature.
        chance: The same share when guessing the speaker.
    """

    num_test: int
    num_dimensions: int
    trained: float
    untrained: float
    mean_vector: float
    chance: float


def run_demo(layout: DemoLayout, seed: int, command: Command) -> DemoResult:
    """Run the commands a user would type, each through `command`, and evaluate the vectors.

    Args:
        layout: Paths to write to.
        seed: Seed of the training.
        command: Runs one seqembed command line.
    """
    again = ["--overwrite"] if layout.root.exists() else []
    common = ["--label", _LABEL, "--seed", str(seed), *again]
    command(["sample", "japanese-vowels", "--out", str(layout.data)])
    train, control = str(layout.data / "train.parquet"), layout.control
    command(["train", train, "--out", str(layout.run.root), *common])
    _embed(layout, layout.data, again, command)
    command(["train", train, "--out", str(control.run.root), "--epochs", "0", *common])
    _embed(control, layout.data, again, command)
    labels = {part: _labels(layout.data / part) for part in ("train.parquet", "test.parquet")}

    def accuracy(vectors: Callable[[str], NDArray[np.float32]]) -> float:
        train_part, test_part = labels
        return nearest_neighbour_accuracy(
            vectors(train_part), labels[train_part], vectors(test_part), labels[test_part]
        )

    return DemoResult(
        num_test=len(labels["test.parquet"]),
        num_dimensions=_vectors(layout.vectors / "test.parquet").shape[1],
        trained=accuracy(lambda part: _vectors(layout.vectors / part)),
        untrained=accuracy(lambda part: _vectors(control.vectors / part)),
        mean_vector=accuracy(lambda part: _mean_vectors(layout.data / part)),
        chance=1 / len(np.unique(labels["train.parquet"])),
    )


def nearest_neighbour_accuracy(
    train: NDArray[np.float32], train_labels: NDArray[np.str_], test: NDArray[np.float32], test_labels: NDArray[np.str_]
) -> float:
    """Return the share of test vectors whose nearest training vector, by Euclidean distance, has their label.

    Args:
        train: float32 (n, dim).
        train_labels: (n).
        test: float32 (m, dim).
        test_labels: (m).
    """
    squares = ((test[:, None, :] - train[None, :, :]) ** 2).sum(axis=2)  # (m, n)
    return float((train_labels[squares.argmin(axis=1)] == test_labels).mean())


def _embed(layout: DemoLayout, data: Path, again: Sequence[str], command: Command) -> None:
    command(["export", str(layout.run.root), "--out", str(layout.bundle)])
    command(["run", str(data), "--model", str(layout.bundle), "--out", str(layout.vectors), "--keep", _LABEL, *again])


def _labels(path: Path) -> NDArray[np.str_]:
    return np.array([str(label) for label in pq.read_table(path, columns=[_LABEL])[_LABEL].to_pylist()])


def _vectors(path: Path) -> NDArray[np.float32]:
    column = pq.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
    vectors: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), -1)
    return vectors


def _mean_vectors(path: Path) -> NDArray[np.float32]:
    files = resolve_inputs([str(path)])
    schema = detect_schema(files)
    means = [
        np.add.reduceat(block.values, block.offsets[:-1]) / block.lengths[:, None]
        for block in read_blocks(files[0], schema)
    ]
    return np.concatenate(means).astype(np.float32)
