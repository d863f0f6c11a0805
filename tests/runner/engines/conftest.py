"""Fixtures of the engines' tests: data, models and expected parts, made once for all processes of a test run."""

import pyarrow.parquet as pq
import pytest
from engines_testing import Job
from events_testing import untrained_run

from seqembed_testing import Tiny, done, sequences, shared_directory, write_sequences


@pytest.fixture(scope="session")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Telemetry in lists, and transactions as single events in slices of files."""
    made = {}
    with shared_directory(tmp_path_factory, "engines") as directory:
        for name, layout, rows in (("telemetry", "nested", 240), ("transactions", "events", 60)):
            root, data = directory / name, directory / name / "in"
            model, expected = root / "encoder.onnx", root / "expected"
            options = ["--rows-per-part", 700] if layout == "events" else []
            kept = "label" if layout == "events" else "device"
            words = ("run", data, "--model", model, "--keep", kept, "--progress", "none", *options)
            if not (expected / "_SUCCESS").exists():
                done("sample", name, "--out", data, "--rows", rows, "--files", 4, "--layout", layout)
                for file in data.iterdir():
                    pq.write_table(pq.read_table(file), file, row_group_size=200)
                time = "time" if layout == "events" else None
                untrained_run(root / "run", next(data.iterdir()), layout, time=time, units=8)
                done("export", root / "run", "--out", model)
                done(*words, "--out", expected)
            made[name] = Job(words, expected)
    return made


@pytest.fixture(scope="session")
def many(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Enough files that every worker makes several."""
    with shared_directory(tmp_path_factory, "many") as directory:
        job = Job(("run", directory / "in", "--model", tiny.bundle, "--progress", "none"), directory / "expected")
        if not (job.expected / "_SUCCESS").exists():
            for index in range(24):
                write_sequences(directory / "in" / f"{index:03}.parquet", sequences(1500, seed=index, longest=60))
            done(*job.words, "--out", job.expected)
    return job
