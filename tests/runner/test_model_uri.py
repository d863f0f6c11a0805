"""A model is read from any URI of pyarrow: file:// here, s3:// in test_s3.py."""

from pathlib import Path

import pytest

from seqembed.data.errors import BundleError
from seqembed.runner.bundle.bundle_file import read_bundle
from seqembed_testing import Tiny, done, embeddings, seqembed


def test_a_model_is_given_by_a_uri(tiny: Tiny, tmp_path: Path) -> None:
    uri = tiny.bundle.as_uri()
    assert f"{uri}: a seqembed model" in done("inspect", uri).output
    for name, model in [("uri", uri), ("path", tiny.bundle)]:
        done("run", tiny.data, "--model", model, "--out", tmp_path / name)
    found, expected = (embeddings([tmp_path / name / "train.parquet"]) for name in ("uri", "path"))
    assert {key: value.tobytes() for key, value in found.items() if value is not None} == {
        key: value.tobytes() for key, value in expected.items() if value is not None
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("file:///no/such/encoder.onnx", "cannot read the model"),
        ("file:///", "not a file"),
        ("mock://somewhere/encoder.onnx", "no such file"),
        ("nothing://somewhere/encoder.onnx", "the location cannot be opened"),
        ("s3://me:h1dd3n/word@bucket/encoder.onnx?access_key=h1dd3n", "the location cannot be opened"),
    ],
)
def test_a_uri_without_a_model_is_refused(tiny: Tiny, tmp_path: Path, given: str, message: str) -> None:
    result = seqembed("run", tiny.data, "--model", given, "--out", tmp_path / "out")
    assert result.exit_code == 4, result.output
    assert message in " ".join(result.output.split())
    with pytest.raises(BundleError) as caught:
        read_bundle(given)
    assert "h1dd3n" not in result.output + str(caught.value)
