"""Makes the two JapaneseVowels files beside this script from the copy inside the PyPI package aeon.

Run from the repository with ``uv run --with aeon python data/samples/make_japanese_vowels.py``. The recordings are
checked against the published facts before a file is written, so a changed source cannot slip in unseen.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

COEFFICIENTS = tuple(f"c{number:02d}" for number in range(1, 13))
# Utterances of speakers 1 to 9 as the donors state them.
UTTERANCES = {"train": (30,) * 9, "test": (31, 35, 88, 44, 29, 24, 40, 50, 29)}
LENGTHS = {"train": (7, 26), "test": (7, 29)}


def load(split: str) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Return the utterances of `split`, float32 (12, time) each, and their speakers, in the official order."""
    from aeon.datasets import load_japanese_vowels

    utterances, speakers = load_japanese_vowels(split=split)
    return [np.asarray(utterance, dtype=np.float32) for utterance in utterances], [str(name) for name in speakers]


def check(split: str, utterances: list[NDArray[np.float32]], speakers: list[str]) -> None:
    """Hold the data against what its donors published.

    Raises:
        ValueError: Another count, order, width, length or a value that is not finite (padding would be one).
    """
    expected = [str(speaker) for speaker, count in enumerate(UTTERANCES[split], start=1) for _ in range(count)]
    if speakers != expected:
        raise ValueError(f"{split}: speakers differ from the published counts and order; use another aeon version")
    if any(utterance.shape[0] != len(COEFFICIENTS) for utterance in utterances):
        raise ValueError(f"{split}: an utterance has not 12 coefficients; use another aeon version")
    lengths = [utterance.shape[1] for utterance in utterances]
    if (min(lengths), max(lengths)) != LENGTHS[split]:
        raise ValueError(f"{split}: lengths {min(lengths)} to {max(lengths)}, published {LENGTHS[split]}")
    if not all(np.isfinite(utterance).all() for utterance in utterances):
        raise ValueError(f"{split}: values that are not finite, perhaps padding; use another aeon version")
    # Zeros in every coefficient at an utterance's end would be padding under another name.
    if any((utterance[:, -1] == 0).all() for utterance in utterances):
        raise ValueError(f"{split}: utterances are padded with zeros; use another aeon version")


def to_table(split: str, utterances: list[NDArray[np.float32]], speakers: list[str]) -> pa.Table:
    """Return one row an utterance: id, speaker, and a list<float> column for each coefficient."""
    lists = {
        name: pa.array([utterance[index] for utterance in utterances], type=pa.list_(pa.float32()))
        for index, name in enumerate(COEFFICIENTS)
    }
    ids = [f"{split}-{number:03d}" for number in range(len(utterances))]
    return pa.table({"id": pa.array(ids), "speaker": pa.array(speakers), **lists})


def main() -> None:
    """Write both files and print their checksums for README.md."""
    for split in ("train", "test"):
        utterances, speakers = load(split)
        check(split, utterances, speakers)
        path = Path(__file__).with_name(f"japanese_vowels_{split}.parquet")
        # Distinct floats make dictionaries larger than the values; their bytes in streams compress a quarter away.
        pq.write_table(
            to_table(split, utterances, speakers),
            path,
            compression="zstd",
            compression_level=19,
            use_dictionary=["speaker"],
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in COEFFICIENTS},
        )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{digest}  {path.name}  {len(utterances)} utterances, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
