"""Scaling and projecting the blocks of an embedding after training changes nothing else of the network."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_testing import resolved

from seqembed.data.contract import ModelContract
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.fit.steps import seed_everything
from seqembed.trainer.model.blocks import embedding_blocks
from seqembed.trainer.model.network import build_network, embed, with_output_map
from seqembed_testing import done

BLOCKS = {"objective": "hybrid", "channels": "both", "trajectory": 3}
# Every decoder gets the blocks back from the same function.
FORMS = [
    *({"decoder": decoder, **BLOCKS} for decoder in ("positional", "autoregressive")),
    {"objective": "contrast", "channels": "differences", "frame": 2},
    {
        "objective": "reconstruct",
        "task": "composite",
        "decoder": "repeat",
        "normalization": "sequence",
        "pooling": "last",
        "bidirectional": True,
    },
    {"objective": "reconstruct", "task": "predict", "normalization": "dataset", "trajectory": 4, "channels": "values"},
]
ALONE = [
    {"embedding_dim": 7, "objective": "reconstruct"},
    {"objective": "reconstruct", "normalization": "dataset", "pooling": "mean"},
]


def sample(num=30, longest=6):
    random = np.random.default_rng(0)
    lengths = random.integers(1, longest + 1, size=num)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceBlock(random.normal(size=(offsets[-1], 3)).astype(np.float32), offsets, pa.nulls(num))


def build(profile, options):
    seed_everything(1)
    given = {"units": 5, "frame": 1, "channels": "values", "trajectory": 0, "bidirectional": False}
    config = resolved(**{**given, **options})
    make = partial(build_network, config, profile, 6)
    return make(), make, embedding_blocks(config, 3, ())


def outputs_of(model, inputs):
    found = model(inputs)
    return found if isinstance(found, dict) else {"": found}


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_every_block_gets_its_variance_and_all_outputs_stay_the_same(profile, batch, options):
    network, make, blocks = build(profile, options)
    block = sample()
    other = with_output_map(network, make, blocks, embed(network, block), 0)
    before, after = embed(network, block), embed(other, block)
    assert after.shape[1] == sum(block.width for block in blocks) and len(blocks) > 1
    start = 0
    for block in blocks:
        here = slice(start, start := start + block.width)
        scales = after[:, here] / np.where(before[:, here] == 0, 1, before[:, here])
        scale = scales[before[:, here] != 0].mean()
        np.testing.assert_allclose(after[:, here], scale * before[:, here], rtol=1e-4, atol=1e-6)
        variance = after[:, here].var(axis=0).sum()
        assert scale == pytest.approx(block.max_scale, rel=1e-3) or variance == pytest.approx(block.variance, rel=1e-3)
    inputs = {"values": batch.values, "lengths": batch.lengths}
    answers = outputs_of(network.scorer, inputs), outputs_of(other.scorer, inputs)
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


@pytest.mark.parametrize("options", [FORMS[0], *FORMS[-2:]], ids=str)
def test_a_projection_to_all_directions_keeps_every_other_output(profile, batch, options):
    """What takes the embedding gets the blocks back, of the training sequences exactly."""
    network, make, blocks = build(profile, options)
    block = sample()
    width = sum(one.width for one in blocks)
    other = with_output_map(network, make, blocks, embed(network, block), width)
    scaled = with_output_map(network, make, blocks, embed(network, block), 0)
    embeddings = embed(other, block)
    strengths = np.linalg.eigvalsh(np.cov(embeddings.T))[::-1]
    assert strengths[0] < np.linalg.eigvalsh(np.cov(embed(scaled, block).T))[-1] / 3, "it is damped"
    inputs = {"values": block.values[None, : block.lengths[0]], "lengths": block.lengths[:1].astype(np.int32)}
    answers = outputs_of(network.scorer, inputs), outputs_of(other.scorer, inputs)
    for name, expected in answers[0].items():
        np.testing.assert_allclose(answers[1][name], expected, atol=1e-3)


def test_a_projection_to_few_numbers_keeps_the_strongest_directions(profile):
    network, make, blocks = build(profile, FORMS[0])
    block = sample()
    vectors = embed(network, block)
    wide, narrow = (embed(with_output_map(network, make, blocks, vectors, width), block) for width in (20, 4))
    strengths = [np.linalg.eigvalsh(np.cov(vectors.T))[::-1][:4] for vectors in (narrow, wide)]
    np.testing.assert_allclose(*strengths, rtol=1e-3)


@pytest.mark.parametrize("options", ALONE, ids=str)
def test_a_single_block_is_not_scaled(profile, options):
    network, make, blocks = build(profile, options)
    assert len(blocks) == 1 and with_output_map(network, make, blocks, embed(network, sample()), 0) is network


def test_the_contract_lists_the_blocks(eager_steps, tmp_path):
    random = np.random.default_rng(0)
    rows = [np.sin(np.linspace(0, 6, 12)) + 0.3 * random.normal(size=12) for _ in range(20)]
    pq.write_table(
        pa.table({"id": range(20), "x": [row.astype(np.float32) for row in rows]}), tmp_path / "days.parquet"
    )
    options = ["--units", 4, "--steps", 1, "--batch-size", 8, "--forward-only"]
    done("train", tmp_path / "days.parquet", "--out", tmp_path / "run", *options)
    contract = ModelContract.from_json((tmp_path / "run" / "contract.json").read_text(), "run")
    blocks = [(block.name, block.width) for block in contract.blocks]
    assert blocks[-3:] == [("statistics", 2), ("trajectory", 12), ("kernels", 84)]
    assert contract.projected and contract.embedding_dim == 19, "twenty sequences differ in so many directions"
