"""Parts of an embedding are weighed after training, and nothing else of the network changes by it."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.config import DECODERS, ModelConfig
from seqembed.trainer.model import embedding_parts
from seqembed.trainer.network import build_network, embed, weighed_by_parts
from seqembed.trainer.steps import seed_everything
from seqembed_testing import done

FORMS = [
    *[{"objective": "hybrid", "decoder": decoder, "reads": "both", "course": 3} for decoder in DECODERS],
    {"objective": "contrast", "reads": "differences", "frame": 2, "bidirectional": False},
    {"objective": "reconstruct", "task": "composite", "decoder": "repeat", "scaling": "sequence", "pooling": "last"},
    {"objective": "reconstruct", "task": "predict", "scaling": "data", "course": 4, "reads": "values"},
]
ALONE = [{"embedding_dim": 7}, {"objective": "reconstruct", "scaling": "data", "pooling": "mean"}]


def sample(num=30, longest=6):
    random = np.random.default_rng(0)
    lengths = random.integers(1, longest + 1, size=num)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(random.normal(size=(offsets[-1], 3)).astype(np.float32), offsets, pa.nulls(num))


def build(profile, options):
    seed_everything(1)
    config = ModelConfig(**{"units": 5, "frame": 1, "reads": "values", "course": 0, **options})
    make = partial(build_network, config, profile, 6)
    return make(), make, embedding_parts(config, 3, ())


def told(model, inputs):
    found = model(inputs)
    return found if isinstance(found, dict) else {"": found}


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_part_gets_its_variance_and_every_answer_stays(profile, batch, options):
    network, make, parts = build(profile, options)
    block = sample()
    other = weighed_by_parts(network, make, parts, block)
    before, after = embed(network, block), embed(other, block)
    assert after.shape[1] == sum(part.width for part in parts) and len(parts) > 1
    start = 0
    for part in parts:
        here = slice(start, start := start + part.width)
        weights = after[:, here] / np.where(before[:, here] == 0, 1, before[:, here])
        weight = weights[before[:, here] != 0].mean()
        np.testing.assert_allclose(after[:, here], weight * before[:, here], rtol=1e-4, atol=1e-6)
        variance = after[:, here].var(axis=0).sum()
        assert weight == pytest.approx(part.largest_weight, rel=1e-3) or variance == pytest.approx(
            part.variance, rel=1e-3
        )
    inputs = {"values": batch.values, "lengths": batch.lengths}
    answers = told(network.scorer, inputs), told(other.scorer, inputs)
    assert answers[0].keys() == answers[1].keys()
    for name, expected in answers[0].items():
        np.testing.assert_allclose(answers[1][name], expected, atol=1e-4)
    if network.decoder is not None and options.get("decoder") != "autoregressive":
        mask = np.arange(6) < batch.lengths[:, None]
        written = [
            np.asarray(one.decoder({"embedding": np.asarray(one.encoder(inputs)), "mask": mask}))
            for one in (network, other)
        ]
        np.testing.assert_allclose(written[1], written[0], atol=1e-4)


@pytest.mark.parametrize("options", ALONE, ids=str)
def test_one_vector_is_left_as_it_is(profile, options):
    network, make, parts = build(profile, options)
    assert len(parts) == 1 and weighed_by_parts(network, make, parts, sample()) is network


def test_the_contract_tells_the_parts_and_inspect_shows_them(tmp_path):
    random = np.random.default_rng(0)
    rows = [np.sin(np.linspace(0, 6, 24)) + 0.3 * random.normal(size=24) for _ in range(40)]
    pq.write_table(
        pa.table({"id": range(40), "x": [row.astype(np.float32) for row in rows]}), tmp_path / "days.parquet"
    )
    done("train", tmp_path / "days.parquet", "--out", tmp_path / "run", "--units", 4, "--steps", 3, "--batch-size", 8)
    done("export", tmp_path / "run", "--out", tmp_path / "encoder.onnx")
    contract = ModelContract.from_json((tmp_path / "run" / "contract.json").read_text(), "run")
    assert [part.name for part in contract.parts][-2:] == ["level", "course"]
    assert sum(part.width for part in contract.parts) == contract.embedding_dim
    told = done("inspect", tmp_path / "encoder.onnx").stdout
    assert "level 2, course 24" in told
