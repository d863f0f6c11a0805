"""Check that two working trees write the same bytes, for changes that must not affect any output.

    git worktree add ../before COMMIT
    python tests/benchmarks/same_bytes.py ../before . --scratch same

With ``--rows`` what Parquet footers hold besides the schema may differ, and the wording of messages: data pages,
schemas and exit codes must not.

Both trees run the same commands on the same files and bundles, which are made once; then complete output directories
are compared byte for byte, quarantined rows included, and the exit code and messages of runs that fail. Of `_SUCCESS`
the fields that are times and memory are left out. Exit code 1 where anything differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1] / ".src"), str(HERE.parent / "support")]
_OF_THE_RUN = ("seconds", "rows_per_second", "peak_rss_bytes", "slowest_parts")
_OF_THE_FORMAT = ("statistics", "parts")  # the parts with their sizes, footers included


def write_inputs(root):
    """Write data and bundles of every kind below `root`."""
    from events_testing import events_model, transactions, write_events, write_nested

    from seqembed_testing import done, events_bundle, sequences, with_contract, write_sequences
    from seqembed_testing import write_events as write_flat

    train = write_sequences(root / "train.parquet", sequences(120, seed=0))
    layers = ["--cell", "gru", "--units", 8, "--embedding-dim", 6, "--pooling", "concat", "--bidirectional"]
    done("train", train, "--out", root / "model", "--epochs", 1, "--features", "x,y", *layers)
    done("export", root / "model", "--out", root / "nested.onnx")
    with_contract(root / "nested.onnx", root / "other.onnx", architecture={"name": "other"})
    events_bundle(root / "nested.onnx", root / "events.onnx")
    for layout in ("nested", "events"):
        shutil.copy(events_model(root / "transactions" / layout, layout), root / f"{layout}-categories.onnx")
    write_sequences(root / "nested" / "a.parquet", sequences(9_000, seed=1, longest=60), row_group_size=2_500)
    write_sequences(root / "nested" / "below" / "b.parquet", sequences(700, seed=2))
    write_sequences(root / "nested" / "none.parquet", {name: [] for name in ("id", "label", "x", "y")})
    for index in range(3):
        write_flat(root / "events" / f"{index}.parquet", 1_500, seed=index, prefix=f"{index}-")
    write_nested(root / "nested-categories" / "a.parquet", transactions(3_000, seed=5, new_merchants=0.1))
    write_events(root / "events-categories" / "a.parquet", transactions(3_000, seed=6, new_merchants=0.1))
    for index in range(2):
        columns = sequences(3_000, seed=20 + index, shortest=1)
        for row in range(index, 3_000, 97):
            columns["x"][row][0] = float("inf")
        columns["y"][50] = [1.0]
        columns["id"][60] = None
        write_sequences(root / "bad" / f"{index}.parquet", columns)
    for day in range(3):
        columns = sequences(400, seed=30 + day)
        columns["id"] = [f"{day}-{name}" for name in columns["id"]]
        write_sequences(root / "lake" / f"day={day}" / "part-0.parquet", columns)
    shutil.copytree(root / "nested", root / "damaged")
    content = bytearray((root / "damaged" / "a.parquet").read_bytes())
    content[5_000:90_000] = bytes(85_000)
    (root / "damaged" / "a.parquet").write_bytes(content)


def scenarios(root):
    """Return name → command lines, without the output directory."""
    nested, bad, lake = root / "nested", root / "bad", root / "lake"
    model, other = ("--model", root / "nested.onnx"), ("--model", root / "other.onnx")
    of_events = ("--model", root / "events.onnx")
    return {
        "nested": [(nested, *model, "--keep", "label")],
        "nested, float16": [(nested, *model, "--dtype", "float16", "--threads", 1)],
        "nested, limit": [(nested, *model, "--limit", 2_000)],
        "events": [(root / "events", *of_events, "--keep", "label")],
        "events, limit": [(root / "events", *of_events, "--limit", 2_000)],
        "categories, nested": [(root / "nested-categories", "--model", root / "nested-categories.onnx")],
        "categories, events": [(root / "events-categories", "--model", root / "events-categories.onnx")],
        "bad rows, fail": [(bad, *model)],
        "bad rows, null": [(bad, *model, "--on-bad-row", "null", "--keep", "label")],
        "bad rows, quarantine": [(bad, *model, "--on-bad-row", "quarantine", "--keep", "label")],
        "bad rows, too many": [(bad, *model, "--on-bad-row", "null", "--max-bad-fraction", 0.001)],
        "hive slices": [(lake / f"day={day}", *model, "--keep", "day") for day in range(3)],
        "damaged file, fail": [(root / "damaged", *model)],
        "damaged file, skip": [(root / "damaged", *model, "--on-bad-file", "skip")],
        "another model": [(nested, *model), (nested, *other), (nested, *other, "--overwrite")],
        "less and pruned": [(lake, *model), (lake, *model, "--limit", 500, "--overwrite", "--prune")],
        "rerun": [(nested, *model), (nested, *model)],
    }


def run(tree, words, out, log):
    """Run one command line with the code of a tree; return its exit code and output."""
    # Older trees have no .src folder; an installed seqembed must not run instead.
    root, module = (tree / ".src", "seqembed.runner.cli") if (tree / ".src").exists() else (tree, "runner.cli")
    code = f"import {module} as cli; assert cli.__file__.startswith({str(root)!r}), cli.__file__; cli.main()"
    command = [sys.executable, "-P", "-c", code, "run", *map(str, words), "--out", str(out), "--progress", "none"]
    with log.open("ab") as file:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        ended = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.PIPE, check=False)
    return ended.returncode, ended.stderr.decode()


def pages_and_schema(content):
    """Return the bytes of a Parquet file up to its footer, and its schema without metadata."""
    size = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - size] + str(pq.read_schema(pa.BufferReader(content)).remove_metadata()).encode()


def contents(out, rows):
    """Return name → bytes of every file below a directory, markers without what differs from run to run.

    With `rows`, without what differs from one output format to the next.
    """
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.parent.name != "_history")
    found = {str(path.relative_to(out)): path.read_bytes() for path in files}
    if "_SUCCESS" in found:
        value, left_out = json.loads(found["_SUCCESS"]), _OF_THE_RUN + (_OF_THE_FORMAT if rows else ())
        found["_SUCCESS"] = json.dumps({name: value[name] for name in value if name not in left_out}).encode()
    if rows:
        found = {
            name: pages_and_schema(content) if name.endswith(".parquet") else content for name, content in found.items()
        }
    return found


def compare(trees, scratch, name, lines, rows):
    """Run a scenario in both trees; return the differences, and the number of files compared."""
    seen = []
    for tree in trees:
        out = scratch / "out"
        shutil.rmtree(out, ignore_errors=True)
        ended = [run(tree, words, out, scratch / "log") for words in lines]
        seen.append(([code for code, _ in ended] if rows else ended, contents(out, rows)))
    (ended, files), (ended_after, files_after) = seen
    different = [file for file in {**files, **files_after} if files.get(file) != files_after.get(file)]
    if ended != ended_after:
        different.append(f"exit code or message: {ended} {ended_after}")
    codes = ended if rows else [code for code, _ in ended]
    print(f"{'DIFFERENT' if different else 'same':<10}{name}: {len(files)} files, exit {codes}")
    return different


def main():
    """Compare the two trees named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--rows", action="store_true")
    options = parser.parse_args()
    inputs = options.scratch / "in"
    if not inputs.exists():
        write_inputs(inputs)
    trees = options.before.resolve(), options.after.resolve()
    found = [compare(trees, options.scratch, name, lines, options.rows) for name, lines in scenarios(inputs).items()]
    for different in found:
        for line in different:
            print(line)
    sys.exit(any(found))


if __name__ == "__main__":
    main()
