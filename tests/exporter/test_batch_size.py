"""Wide recurrent layers get smaller batches, stored in the bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqembed.exporter.config import ExportConfig
from seqembed.exporter.job import _batch_size, export_encoder
from seqembed.runner.bundle.encoder import Encoder


@pytest.mark.parametrize(("width", "batch_size"), [(4, 48), (96, 48), (98, 32), (128, 32), (130, 24)])
def test_wider_layers_get_smaller_batches(width: int, batch_size: int) -> None:
    assert _batch_size(width) == batch_size


@pytest.mark.parametrize(
    ("width", "num_frames", "batch_size"), [(96, 0, 48), (96, 1, 96), (64, 16, 96), (64, 17, 48), (98, 12, 32)]
)
def test_few_frames_get_larger_batches_unless_a_layer_is_wide(width: int, num_frames: int, batch_size: int) -> None:
    assert _batch_size(width, num_frames) == batch_size


def test_the_bundle_says_how_many_sequences_to_embed_at_once(
    encoder_of: Callable[..., Any], write_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", encoder_of(units=49))  # in each of two directions
    out = tmp_path / "encoder.onnx"
    export_encoder(ExportConfig(source=run.root, out=out))
    assert Encoder.open(out).contract.batch_size == 32
