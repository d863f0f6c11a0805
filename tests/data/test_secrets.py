"""Credentials are removed from everything that is shown or stored; the rest is unchanged."""

import pytest

from seqembed.data.files.secrets import scrub, without_secrets
from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.job import TrainJob


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/data/in", "/data/in"),
        ("in/a@b:c.parquet", "in/a@b:c.parquet"),
        ("s3://bucket/in", "s3://bucket/in"),
        ("s3://bucket/in/day=?/*.parquet", "s3://bucket/in/day=?/*.parquet"),
        ("s3://bucket/user@host/in", "s3://[hidden]/host/in"),  # the key and the password of a user look the same
        ("s3://AKIA/12/sec/ret?x@bucket/key.onnx", "s3://[hidden]/bucket/key.onnx"),
        ("s3://AKIA/12/sec/ret?x=y@bucket/key.onnx", "s3://[hidden]/bucket/key.onnx"),
        ("s3://AKIA/12/sec/ret@bucket/in/*.parquet", "s3://[hidden]/bucket/in/*.parquet"),
        ("s3://AKIA@se/cr@bucket/in", "s3://[hidden]/bucket/in"),
        ("s3://[hidden]/host/in", "s3://[hidden]/host/in"),
        ("file:///data/a@b.parquet", "file:///data/a@b.parquet"),
        ("hdfs://name/user@home/in", "hdfs://name/user@home/in"),
        ("s3://AKIA:secret@bucket/in", "s3://bucket/in"),
        ("s3://AKIA@bucket", "s3://bucket"),
        ("s3://AKIA:se/cr@et@bucket/in", "s3://bucket/in"),
        ("hdfs://name:8020/user@home/in", "hdfs://name:8020/user@home/in"),
        ("s3://b/in?region=eu&scheme=http", "s3://b/in?region=eu&scheme=http"),
        ("s3://b/in?secret_key=x&region=eu&bogus", "s3://b/in?region=eu"),
        ("s3://b/in?session_token=x", "s3://b/in"),
        ("s3://AKIA:12/34@bucket", "s3://bucket"),
        ("s3://AKIA:12/34@bucket/in/*.parquet", "s3://bucket/in/*.parquet"),
        ("gs://AKIA:12/3/4@bucket/in", "gs://bucket/in"),
        ("s3://AKIA:secret@other/x@bucket/in", "s3://bucket/in"),
        ("s3://AKIA:se?cr@bucket/in", "s3://bucket/in"),
        ("s3://AKIA:se?c=r@bucket/in", "s3://bucket/in"),
        ("s3://AKIA:a?b/c=d@bucket/in", "s3://bucket/in"),
        ("s3://AKIA:12?x=/y@bucket/in", "s3://bucket/in"),
        ("s3://AKIA:se?region=eu@bucket/in", "s3://[hidden]?region=bucket/in"),
        ("http://127.0.0.1:9000/in", "http://127.0.0.1:9000/in"),
        ("http://[::1]:9000/in", "http://[::1]:9000/in"),
        ("s3://AKIA:a@b?c=d@bucket/in", "s3://[hidden]"),
        ("s3://AKIA:12/34@bucket/in?region=eu", "s3://bucket/in?region=eu"),
        ("s3://AKIA:secret@bucket/day=?/*.parquet", "s3://bucket/day=?/*.parquet"),
        ("s3://bucket/day=12:30/a@b.parquet", "s3://[hidden]/b.parquet"),
        ("hdfs://name:8020/day=?/user@home", "hdfs://name:8020/day=?/user@home"),
        ("s3://b/in?endpoint_override=u:p@host:9000", "s3://b/in?endpoint_override=host:9000"),
    ],
)
def test_a_uri_is_shown_without_its_secrets(given: str, shown: str) -> None:
    assert without_secrets(given) == shown


def test_text_is_scrubbed_of_uris_and_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-long-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    text = "cannot open 's3://k:p@bucket/x?secret_key=y' with a-long-secret (s3://b/y)"
    assert scrub(text) == "cannot open 's3://bucket/x' with [hidden] (s3://b/y)"


def test_a_password_with_quotes_is_scrubbed() -> None:
    assert scrub("cannot open s3://AKIA:se'cr\"et<@bucket/x now") == "cannot open s3://bucket/x now"
    assert scrub("'s3://AKIA:12/34@bucket/x': mail user@host") == "'s3://bucket/x': mail user@host"


def test_a_training_does_not_store_credentials() -> None:
    job = TrainJob(DataConfig(inputs=("s3://AKIA:secret@bucket/in?region=eu", "in/a@b:c.parquet")))
    assert job.to_options()["inputs"] == ["s3://bucket/in?region=eu", "in/a@b:c.parquet"]
