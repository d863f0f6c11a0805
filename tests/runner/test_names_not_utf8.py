"""Names that are not UTF-8 are refused by name in every option of every command."""

from pathlib import Path

import pytest

from seqembed_testing import Tiny, seqembed, sequences, write_sequences

NOT_UTF8 = "M\udcfcller"  # as Python holds the byte 0xfc


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["inspect", "NOT_UTF8"], 3),
        (["run", "DATA", "--model", "NOT_UTF8", "--out", "out"], 4),
        (["sample", "ramps", "--out", "NOT_UTF8"], 6),
        (["sample", "ramps", "--out", "NOT_UTF8.parquet"], 6),
        (["train", "DATA", "--out", "NOT_UTF8"], 6),
        (["export", "NOT_UTF8", "--out", "encoder.onnx"], 4),
        (["export", "RUN", "--out", "NOT_UTF8"], 6),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("is_there", [True, False])
def test_names_that_are_not_utf8_are_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, is_there: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sequences(tmp_path / "in.parquet", sequences(9, seed=1))
    if is_there:
        (tmp_path / NOT_UTF8).mkdir()
    before = sorted(tmp_path.iterdir())
    known = {"DATA": "in.parquet", "RUN": str(tiny.run)}
    result = seqembed(*(known.get(word, word.replace("NOT_UTF8", NOT_UTF8)) for word in words))
    expected = 2 if is_there and words[:2] == ["export", "RUN"] else code  # click refuses a directory for a file
    assert result.exit_code == expected, result.output
    assert r"M\udcfcller" in result.output.replace("�", r"\udcfc").replace(NOT_UTF8, r"M\udcfcller"), result.output
    assert ("not UTF-8" in result.output) == (expected != 2)
    assert sorted(tmp_path.iterdir()) == before


def test_paths_below_such_a_directory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NOT_UTF8).mkdir()
    monkeypatch.chdir(tmp_path / NOT_UTF8)
    result = seqembed("inspect", "data")
    assert result.exit_code == 3 and "not UTF-8" in result.output, result.output
