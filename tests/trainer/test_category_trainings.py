"""Complete trainings of models with categories, with or without numbers."""

import json

import numpy as np
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.layout import RunLayout
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.vocabulary import UNKNOWN_ID
from seqembed.data.sequences import LengthPolicy
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.fit.progress import Progress
from seqembed.trainer.input.columns import find_columns
from seqembed.trainer.input.learn import learn_vocabularies
from seqembed.trainer.input.source import SequenceSource
from seqembed.trainer.job import train
from seqembed.trainer.model.backend import keras
from seqembed.trainer.prepare import prepare
from seqembed_testing import seqembed

pytestmark = pytest.mark.usefixtures("eager_steps")


SMALL = {"units": 3, "batch_size": 8, "steps": 2, "layout": "nested", "bidirectional": False, "kernels": 0}


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({"time": "time"}, ["reconstruction"]),
        ({"features": ["amount", "shop"], "objective": "contrast", "frame": 2}, []),
        ({"features": ["amount", "paid"], "time": "time", "task": "predict"}, ["prediction"]),
        (
            {"features": ["shop", "paid"], "task": "composite", "decoder": "autoregressive"},
            ["reconstruction", "prediction"],
        ),
    ],
)
def test_training_writes_a_complete_run_and_reports_every_field(payments, tmp_path, request, options, heads):
    pictured = options.keys() >= {"decoder"} or not heads  # with a decoder, and without anything but the encoder
    if pictured:
        request.getfixturevalue("with_pictures")
    job = TrainJob.from_options({"inputs": [str(payments)], **SMALL, **options})
    summary = train(job, tmp_path / "run")
    layout = RunLayout(tmp_path / "run")
    contract = ModelContract.from_json(layout.contract.read_text(), "contract")
    schema = contract.schema
    assert contract.projected == ("task" not in options) and contract.embedding_dim <= 128
    history = json.loads(layout.history.read_text())
    lines = "\n".join(summary.lines())
    for head in heads:
        for each in schema.categorical:
            assert f"{head}.{each.name}_loss" in history["best"]
            assert history["baseline"][f"{head}.{each.name}_loss"] == pytest.approx(1, abs=0.4)
            assert f"{head}.{each.name}: " in lines
    if pictured:
        assert {path.name for path in layout.plots.iterdir()} >= {"losses.png", "model.png", "embeddings.png"}
    encoder = keras.models.load_model(layout.encoder)
    assert ("values" in encoder.input) == bool(schema.features) and "categories" in encoder.input


@pytest.mark.parametrize(
    ("options", "objective", "decoder"),
    [
        ({"time": "time"}, "reconstruct", "repeat"),
        ({"features": ["amount", "paid"], "decoder": "positional"}, "reconstruct", "positional"),
        ({"time": "time", "objective": "hybrid"}, "hybrid", "positional"),
        ({"features": ["amount"]}, "hybrid", "positional"),
    ],
)
def test_events_are_reconstructed_unless_an_objective_is_given(payments, options, objective, decoder):
    job = TrainJob.from_options({"inputs": [str(payments)], **SMALL, **options})
    found = prepare(job, find_columns(job), Progress()).job
    assert (found.model.objective, found.model.decoder, found.model.normalization) == (objective, decoder, "sequence")
    assert found.model.frame == 1 and (found.training.measured_in, found.training.length) == ("steps", 2)


def test_category_dropout_applies_only_in_training(payments):
    files = resolve_inputs([str(payments)])
    found = detect_schema(files, id_column="id", features=("paid",), layout="nested")
    schema, _ = learn_vocabularies(files, found, min_count=1, max_vocabulary=10, named=("paid",))
    for validation in (False, True):
        found = {"seen": 0, "known": 0}
        settings = {"validation": validation, "fraction": 0.5, "batch_size": 8, "seed": 1, "cache_bytes": 1 << 20}
        source = SequenceSource(files, schema, LengthPolicy(), "reconstruct", **settings)
        for epoch in range(20):
            for batch in source.batches(epoch):
                real = np.arange(batch.categories.shape[1]) < batch.lengths[:, None]
                assert (batch.category_targets[real] != UNKNOWN_ID).all()
                found["seen"] += real.sum()
                found["known"] += (batch.categories[real] == batch.category_targets[real]).sum()
        for first, again in zip(source.batches(3), source.batches(3), strict=True):
            np.testing.assert_array_equal(first.categories, again.categories, "an epoch is drawn from its number alone")
        share = 1 - found["known"] / found["seen"]
        assert share == 0 if validation else 0.03 < share < 0.07


def test_differences_without_numbers_are_refused(payments, tmp_path):
    result = seqembed("train", payments, "--features", "shop", "--channels", "both", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "--channels both needs numbers" in result.output and "Traceback" not in result.output
