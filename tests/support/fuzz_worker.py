"""Runs the real command on mutated files, one case after another, in a process that may crash.

Started by `tests/runner/test_fuzz.py` with a JSON task on its command line; it writes a line of JSON before and after
each case, so that a crash, a hang or a traceback can be assigned to its case. Its address space is limited: a file that
claims more memory than available must be refused.
"""

import json
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from seqembed.runner.report import peak_rss_bytes  # noqa: E402 - after the environment is set
from seqembed_testing import seqembed  # noqa: E402

_MEMORY_BYTES = 6 << 30
_CRITICAL = bytes([0, 1, 2, 0x15, 0x16, 0x19, 0x4C, 0x7F, 0x80, 0xFE, 0xFF])


def flip_bits(rng: random.Random, content: bytes, other: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_bytes(rng: random.Random, content: bytes, other: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 2, 4])):
        out[rng.randrange(len(out))] = rng.choice(_CRITICAL)
    return bytes(out)


def truncate(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_out(rng: random.Random, content: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice([1, 2, 16, 500]) :]


def zero(rng: random.Random, content: bytes, other: bytes) -> bytes:
    start, size = rng.randrange(len(content)), rng.choice([4, 64, 1024])
    return content[:start] + bytes(len(content[start : start + size])) + content[start + size :]


def repeat(rng: random.Random, content: bytes, other: bytes) -> bytes:
    start, size = rng.randrange(len(content)), rng.choice([1, 8, 100])
    return content[:start] + content[start : start + size] * rng.choice([2, 50]) + content[start + size :]


def splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + other[min(start, len(other)) :]


def in_footer(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Change bytes of the Thrift footer only, which a random position rarely hits in a larger file."""
    start = max(4, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    change = rng.choice([flip_bits, set_bytes])
    return content[:start] + change(rng, content[start:-8], other) + content[-8:]


def other_footer(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Append another file's footer to this file's pages."""
    mine = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    other_footer_start = len(other) - 8 - int.from_bytes(other[-8:-4], "little")
    return content[:mine] + other[other_footer_start:]


def footer_length(rng: random.Random, content: bytes, other: bytes) -> bytes:
    length = rng.choice([0, 1, len(content), 1 << 31, (1 << 32) - 1, rng.randrange(1 << 16)])
    return content[:-8] + length.to_bytes(4, "little") + content[-4:]


def grown_number(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Replace a short varint by a long one, and fix the length of the footer."""
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8]
    position = rng.randrange(len(footer))
    number = rng.choice([b"\xff\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x20"])
    footer = footer[:position] + number + footer[position + 1 :]
    return content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


Mutation = Callable[[random.Random, bytes, bytes], bytes]
_ANYWHERE: list[Mutation] = [flip_bits, set_bytes, truncate, cut_out, zero, repeat, splice]
_IN_PARQUET: list[Mutation] = [in_footer, in_footer, in_footer, other_footer, footer_length, grown_number, grown_number]
MUTATIONS = {"parquet": _ANYWHERE + _IN_PARQUET, "onnx": _ANYWHERE}


def mutated(kind: str, seed: int, seeds: list[Path]) -> tuple[str, bytes]:
    """Return a name and the bytes of one case; the same seed gives the same bytes."""
    rng = random.Random(f"{kind}:{seed}")
    path, other = rng.choice(seeds), rng.choice(seeds)
    change = rng.choice(MUTATIONS[kind])
    return f"{path.name}, {change.__name__}", change(rng, path.read_bytes(), other.read_bytes())


def run_case(
    kind: str, seed: int, seeds: list[Path], bundles: dict[str, Path], good: Path, root: Path
) -> dict[str, object]:
    """Run the command on one mutated file; return its exit code, and its output if it is unexpected."""
    name, content = mutated(kind, seed, seeds)
    case = root / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    broken = case / ("in.parquet" if kind == "parquet" else "m.onnx")
    broken.write_bytes(content)
    model = bundles.get(name.split(".")[0], bundles["nested"])
    data, model = (broken, model) if kind == "parquet" else (good, broken)
    policy = ["fail", "null", "quarantine"][seed % 3]
    options = ["--threads", 1, "--on-bad-row", policy, "--progress", "none"] + (["--keep", "label"] if seed % 2 else [])
    result = seqembed("run", data, "--model", model, "--out", case / "out", *options)
    parts = list((case / "out").rglob("*.parquet"))
    return {
        "seed": seed,
        "name": name,
        "code": result.exit_code,
        "output": result.output if result.exit_code not in (0, 3, 4, 6) or "Traceback" in result.output else "",
        "half": result.exit_code != 0 and bool(parts),
        "rss": peak_rss_bytes(),
    }


def main() -> None:
    """Run the cases of the task in order."""
    task = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", buffering=1)  # by line, so that a crash loses none
    seeds = [Path(path) for path in task["seeds"]]
    bundles = {layout: Path(path) for layout, path in task["bundles"].items()}
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for seed in range(task["first"], task["stop"]):
        out.write(json.dumps({"begin": seed}) + "\n")
        found = run_case(task["kind"], seed, seeds, bundles, Path(task["good"]), Path(task["root"]))
        out.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
