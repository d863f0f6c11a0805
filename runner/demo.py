"""Train, export, run and evaluate on a sample in which training matters."""

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
_LABEL = "open_pipe"
_TRAIN, _TEST = "part-00000.parquet", "part-00001.parquet"


@dataclass(frozen=True, slots=True)
class DemoLayout:
    """Paths of the demo.

    Attributes:
        root: The directory given as ``--out``.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Directory of the windows, one file to train on and one to test on."""
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
        num_test: Number of test windows.
        num_dimensions: Width of the vectors.
        trained, untrained, mean_and_spread: Share of test windows whose nearest training window (Euclidean) has the
            same open pipe: with the trained encoder, an untrained one, and mean and standard deviation of each
            feature, standardised.
        chance: The same share when guessing the pipe.
    """

    num_test: int
    num_dimensions: int
    trained: float
    untrained: float
    mean_and_spread: float
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
    command(["sample", "tanks", "--out", str(layout.data), "--files", "2"])
    train, control = str(layout.data / _TRAIN), layout.control
    command(["train", train, "--out", str(layout.run.root), *common])
    _embed(layout, layout.data, again, command)
    command(["train", train, "--out", str(control.run.root), "--epochs", "0", *common])
    _embed(control, layout.data, again, command)
    labels = {part: _labels(layout.data / part) for part in (_TRAIN, _TEST)}

    def accuracy(vectors: Callable[[str], NDArray[np.float32]]) -> float:
        return nearest_neighbour_accuracy(vectors(_TRAIN), labels[_TRAIN], vectors(_TEST), labels[_TEST])

    known = _mean_and_spread(layout.data / _TRAIN)
    center, scale = known.mean(axis=0), known.std(axis=0)
    return DemoResult(
        num_test=len(labels[_TEST]),
        num_dimensions=_vectors(layout.vectors / _TEST).shape[1],
        trained=accuracy(lambda part: _vectors(layout.vectors / part)),
        untrained=accuracy(lambda part: _vectors(control.vectors / part)),
        mean_and_spread=accuracy(lambda part: (_mean_and_spread(layout.data / part) - center) / scale),
        chance=1 / len(np.unique(labels[_TRAIN])),
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


def _mean_and_spread(path: Path) -> NDArray[np.float32]:
    files = resolve_inputs([str(path)])
    schema = detect_schema(files)
    found = []
    for block in read_blocks(files[0], schema):
        lengths = block.lengths[:, None]
        means = np.add.reduceat(block.values, block.offsets[:-1]) / lengths
        squares = np.add.reduceat((block.values - np.repeat(means, block.lengths, axis=0)) ** 2, block.offsets[:-1])
        found.append(np.hstack([means, np.sqrt(squares / lengths)]))
    return np.concatenate(found).astype(np.float32)
