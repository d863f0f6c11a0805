"""Grouping of daily files: `seqembed group`, the plain DuckDB query, and a pandas script on a tenth of the events.

    uv run python -m tests.benchmarks.group --out grouping --rows 1700000 --days 365 --memory 2GB

writes the sample `transactions` as daily files (1.7 million customers have a hundred million payments in the first 365
days) and times complete processes. The DuckDB query collects sorted lists with the same memory limit; it neither
checks nor accounts for anything. pandas reads all files, sorts, and collects lists; at full size it does not fit into
memory, so it gets every tenth file. All three hold the same rows, which is checked by their number of ids and events.

Seconds and memory are of whole processes; spill is the most that lay in the temporary directory.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.benchmarks.processes import SEQEMBED, timed

DUCKDB = """
import duckdb, sys
source, target, memory, scratch = sys.argv[1:]
duckdb.sql(f"set memory_limit = '{memory}'; set temp_directory = '{scratch}'; set preserve_insertion_order = false")
duckdb.sql(f'''copy (select id, max_by(label, time) as label, list(time order by time) as time,
    list(category order by time) as category, list(type order by time) as type, list(amount order by time) as amount
    from read_parquet('{source}/*.parquet') group by id order by id)
    to '{target}' (format parquet, compression zstd)''')
"""
PANDAS = """
import glob, pandas, sys
source, target, every = sys.argv[1:]
files = sorted(glob.glob(f"{source}/*.parquet"))[:: int(every)]
events = pandas.concat([pandas.read_parquet(file) for file in files], ignore_index=True)
events = events.sort_values(["id", "time"], kind="stable")
lists = {name: list for name in ("time", "category", "type", "amount")}
events.groupby("id", sort=False).agg({"label": "last", **lists}).reset_index().to_parquet(target)
"""


class Spill:
    """The most bytes that lay below a directory."""

    def __init__(self, directory):
        self.directory, self.most, self._ended = Path(directory), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(0.2):
            try:
                found = sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())
            except FileNotFoundError:
                continue  # removed meanwhile
            self.most = max(self.most, found)


def measured(words, scratch):
    """Run a process; return its figures."""
    with Spill(scratch) as spill:
        wall, processor, memory, _ = timed(words)
    return {
        "seconds": round(wall, 1),
        "processor seconds": round(processor, 1),
        "peak MiB": round(memory),
        "spill MB": round(spill.most / 1e6),
    }


def content(paths):
    """Return ids and events of grouped files."""
    ids = events = 0
    for path in paths:
        table = pq.read_table(path, columns=["id", "amount"])
        ids, events = ids + len(table), events + pc.sum(pc.list_value_length(table["amount"])).as_py()
    return {"ids": ids, "events": events}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=170_000, help="customers")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--every", type=int, default=10, help="pandas gets one file in so many")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    daily, figures = given.out / "daily", {}
    if not daily.exists():
        words = [*SEQEMBED, "sample", "transactions", "--rows", given.rows, "--days", given.days, "--out", daily]
        subprocess.run(list(map(str, words)), check=True)
    out, scratch = given.out / "grouped", given.out / "scratch"
    shutil.rmtree(out, ignore_errors=True)
    words = [*SEQEMBED, "group", daily, "--keep", "label", "--memory", given.memory, "--out", out, "--progress", "none"]
    figures["seqembed group"] = measured(words, out / "_temporary") | content(sorted(out.glob("bucket-*")))
    figures["seqembed group again"] = measured(words, out / "_temporary")
    for name, code, rest in (
        ("DuckDB query", DUCKDB, [given.memory, scratch]),
        (f"pandas, one file in {given.every}", PANDAS, [given.every]),
    ):
        target = given.out / "peer.parquet"
        scratch.mkdir(exist_ok=True)
        try:
            figures[name] = measured([sys.executable, "-c", code, daily, target, *rest], scratch) | content([target])
        except SystemExit as failed:
            figures[name] = {"failed": str(failed).strip().splitlines()[-1]}
        target.unlink(missing_ok=True)
        shutil.rmtree(scratch)
    (given.out / "figures.json").write_text(json.dumps(figures, indent=1))
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in values.items()))


if __name__ == "__main__":
    main()
