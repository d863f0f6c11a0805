"""Run the real command on mutated Parquet and bundles: no traceback, crash or hang, and bounded memory.

A few hundred cases run by default. `SEQEMBED_FUZZ=5000` runs that many (seven of ten Parquet, the rest ONNX). A case
that fails is named with its seed; `SEQEMBED_FUZZ_FIRST=123` begins there.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny, events_bundle, sequences, with_contract, write_events, write_sequences

NUM_CASES = int(os.environ.get("SEQEMBED_FUZZ", "300"))
FIRST = int(os.environ.get("SEQEMBED_FUZZ_FIRST", "0"))
HANG_SECONDS = 60.0
ROOT = Path(__file__).parents[2]
REFUSALS = {0, 3, 4, 6}  # done, input data, bundle, output: all other codes are defects
MAX_BYTES = 3 << 30


class Worker:
    """The process that runs the cases; after a crash it is restarted with the next case."""

    def __init__(self, task: dict[str, object]) -> None:
        self._task = task

    def results(self, first: int, stop: int) -> Iterator[dict]:
        """Yield one result per case; a crash or a hang is also a result."""
        while first < stop:
            for result in self._until_it_dies(first, stop):
                yield result
                first = result["seed"] + 1

    def _until_it_dies(self, first: int, stop: int) -> Iterator[dict]:
        task = json.dumps(self._task | {"first": first, "stop": stop})
        environment = os.environ | {"PYTHONPATH": f"{ROOT / '.src'}{os.pathsep}{ROOT / 'tests' / 'support'}"}
        command = [sys.executable, str(ROOT / "tests" / "support" / "fuzz_worker.py"), task]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, errors="replace"
        )
        lines: queue.Queue[str] = queue.Queue()
        errors: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout, process.stderr
        readers = [
            threading.Thread(target=_pump, args=(out, lines)),
            threading.Thread(target=lambda: errors.extend(err)),
        ]
        for reader in readers:
            reader.start()
        begun = None
        try:
            while True:
                line = lines.get(timeout=HANG_SECONDS)
                if not line:
                    break
                value = json.loads(line)
                begun = value.get("begin")
                if begun is None:
                    yield value
        except queue.Empty:
            process.kill()
            yield {
                "seed": begun,
                "name": "?",
                "code": "hang",
                "output": f"no answer in {HANG_SECONDS} s",
                "half": False,
            }
            begun = None
        finally:
            process.kill()
            code = process.wait()
            for reader in readers:
                reader.join()
            out.close()
            err.close()
        if begun is not None:
            text = "".join(errors)[-2000:]
            yield {"seed": begun, "name": "?", "code": f"crash {code}", "output": text, "half": False}
        elif code not in (0, -9) or errors:  # no library writes its own messages
            pytest.fail(f"the worker ended with {code} and said: {''.join(errors)[-2000:]}")


def _pump(stream: Iterator[str], lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def parquet_seeds(root: Path) -> list[Path]:
    """Write small files of every encoding, compression and layout."""
    columns = sequences(40, seed=5)
    write_sequences(root / "plain.parquet", columns, use_dictionary=False, compression="none")
    write_sequences(root / "snappy.parquet", columns, row_group_size=11)
    write_sequences(root / "zstd.parquet", columns, compression="zstd", data_page_version="2.0")
    write_sequences(root / "gzip.parquet", columns, compression="gzip", data_page_size=100)
    write_sequences(root / "checksums.parquet", columns, write_page_checksum=True, write_page_index=True)
    write_sequences(root / "lz4.parquet", columns, compression="lz4", store_schema=False)
    write_events(root / "events.parquet", 30, seed=6)
    rows = [
        [{"x": x, "y": y} for x, y in zip(*row, strict=True)] for row in zip(columns["x"], columns["y"], strict=True)
    ]
    steps = pa.array(rows, pa.list_(pa.struct([("x", pa.float16()), ("y", pa.float64())])))
    head = {"id": columns["id"], "label": columns["label"]}
    pq.write_table(pa.table({**head, "s": steps}), root / "structs.parquet")
    vectors = [[[step["x"], step["y"]] for step in row] for row in rows]
    pq.write_table(
        pa.table({**head, "v": pa.array(vectors, pa.list_(pa.list_(pa.float32())))}), root / "vectors.parquet"
    )
    rounded = pa.array([[None if v is None else round(v, 2) for v in row] for row in columns["x"]])
    integers = pa.array(
        [[None if v is None else int(9 * v) for v in row] for row in columns["y"]], pa.list_(pa.int16())
    )
    numbers = {**head, "x": rounded.cast(pa.list_(pa.decimal128(9, 2))), "y": integers}
    encodings = {"y.list.element": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY"}
    pq.write_table(pa.table(numbers), root / "delta.parquet", use_dictionary=False, column_encoding=encodings)
    return sorted(root.glob("*.parquet"))


def check(results: Iterator[dict], kind: str, count: int) -> None:
    found = list(results)
    assert len(found) == count
    bad = [one for one in found if one["code"] not in REFUSALS or one["half"] or one["output"]]
    shown = "\n\n".join(
        f"{kind} seed {one['seed']} ({one['name']}): {one['code']}\n{one['output'][-1500:]}" for one in bad[:5]
    )
    assert not bad, f"{len(bad)} of {count} cases:\n{shown}"
    codes = Counter(one["code"] for one in found)
    assert codes[3 if kind == "parquet" else 4] > count // 3, codes  # the mutations have an effect
    assert max(one["rss"] for one in found) < MAX_BYTES


@pytest.fixture(scope="module")
def task(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("fuzz")
    schema = Encoder.open(tiny.bundle).contract.schema.to_json()
    structs = [{"name": f"s.{part}", "column": "s", "component": part, "kind": "numeric"} for part in "xy"]
    vectors = [{"name": f"v.{part}", "column": "v", "component": part, "kind": "numeric"} for part in range(2)]
    bundles = {
        "nested": str(tiny.bundle),
        "events": str(events_bundle(tiny.bundle, root / "events.onnx")),
        "structs": str(with_contract(tiny.bundle, root / "s.onnx", schema=schema | {"features": structs})),
        "vectors": str(with_contract(tiny.bundle, root / "v.onnx", schema=schema | {"features": vectors})),
    }
    good = write_sequences(root / "good.parquet", sequences(12, seed=7))
    return {"bundles": bundles, "good": str(good), "root": str(root)}


def test_mutated_parquet_is_read_or_refused(task: dict[str, object], tmp_path: Path) -> None:
    seeds = [str(path) for path in parquet_seeds(tmp_path)]
    count = NUM_CASES * 7 // 10
    worker = Worker(task | {"kind": "parquet", "seeds": seeds})
    check(worker.results(FIRST, FIRST + count), "parquet", count)


def test_mutated_bundles_are_loaded_or_refused(task: dict[str, object], tiny: Tiny) -> None:
    count = NUM_CASES * 3 // 10
    worker = Worker(task | {"kind": "onnx", "seeds": [str(tiny.bundle)]})
    check(worker.results(FIRST, FIRST + count), "onnx", count)
