"""Fixtures of all tests: one tiny model, trained and exported once per session by the real commands."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from seqembed.data.garbage import collect_garbage_rarely
from seqembed_testing import Tiny, done, sequences, shared_directory, write_sequences

# Read when Ray is imported, by a test before seqembed.runner.engines.ray sets it: `uv run pytest` does not make Ray
# start its workers in environments of their own, in which seqembed is not installed.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

# A small graph costs a tenth more where its operations change threads. What is computed does not depend on their number
# (op determinism is on); a training that is killed and resumed begins on as many as a user's (`user_environment`).
for name in ("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"):
    os.environ.setdefault(name, "1")

# A Java of Spark lives for seconds: half its processor time goes to a second compiler and to threads for garbage, and a
# fifth of the rest to verifying the classes of Spark.
java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
os.environ.setdefault("JAVA_TOOL_OPTIONS", java)

# Tests run on shared, noisy machines: a slow example is not a failure.
settings.register_profile("seqembed", deadline=None)
settings.load_profile("seqembed")


def pytest_collection_finish() -> None:
    """Exempt what was imported from garbage collection: TensorFlow's 400,000 objects cost a twentieth of each test.

    To look for garbage as often as Python does by default costs another twelfth of a test that trains or exports.
    """
    gc.collect()
    gc.freeze()
    collect_garbage_rarely()


def pytest_unconfigure() -> None:
    """Let the interpreter end as usual: libraries report what is frozen as leaks."""
    gc.unfreeze()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures: a third of the processor time of a small training."""
    monkeypatch.setattr("seqembed.trainer.job.draw", lambda *arguments, **options: None)
    monkeypatch.setattr("seqembed.trainer.job.write_page", lambda *arguments, **options: None)


@pytest.fixture
def quick_training(without_pictures: None) -> Iterator[None]:
    """Train and export for tests of something else: no pictures, no traced steps, graphs as they are."""
    from quick_graphs import quick_graphs, untraced_steps  # imports TensorFlow

    with quick_graphs(), untraced_steps():
        yield


@pytest.fixture
def few_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with MiniRocket of 336 features, as for very many rows: two thirds of a small evaluation fit to 9,996."""
    monkeypatch.setattr("seqembed.runner.evaluate.minirocket._FEATURES", 336)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train and export once, in the first of the processes of a test run that needs it."""
    with shared_directory(tmp_path_factory, "tiny") as directory:
        made = Tiny(directory / "train.parquet", directory / "run", directory / "encoder.onnx")
        if not made.bundle.exists():  # an export writes its file last, and completely or not at all
            write_sequences(made.data, sequences(120, seed=0))
            layers = "--cell gru --units 8 --embedding-dim 6 --pooling concat --bidirectional --kernels 8".split()
            with pytest.MonkeyPatch.context() as patch:  # no test looks at its pictures
                patch.setattr("seqembed.trainer.job.draw", lambda *arguments, **options: None)
                patch.setattr("seqembed.trainer.job.write_page", lambda *arguments, **options: None)
                done("train", made.data, "--out", made.run, "--epochs", 2, "--features", "x,y", *layers)
            done("export", made.run, "--out", made.bundle)
    return made


@pytest.fixture(scope="session")
def scored(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with its decoder, beside its card."""
    with shared_directory(tmp_path_factory, "scored") as directory:
        bundle = directory / "encoder.onnx"
        if not bundle.exists():
            done("export", tiny.run, "--out", bundle, "--with-decoder")
    return bundle
