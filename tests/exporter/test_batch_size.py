"""Wide recurrent layers get smaller batches, stored in the bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqembed.exporter.config import ExportConfig
from seqembed.exporter.job import export_encoder
from seqembed.runner.bundle.encoder import Encoder


@pytest.mark.parametrize(("units", "batch_size"), [(2, 48), (48, 48), (49, 32), (64, 32), (65, 24)])
def test_the_bundle_says_how_many_sequences_to_embed_at_once(
    encoder_of: Callable[..., Any], write_run: Callable[..., Any], tmp_path: Path, units: int, batch_size: int
) -> None:
    run = write_run(tmp_path / "run", encoder_of(units=units))
    out = tmp_path / "encoder.onnx"
    export_encoder(ExportConfig(source=run.root, out=out))
    assert Encoder.open(out).contract.batch_size == batch_size
