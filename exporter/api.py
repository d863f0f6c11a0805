"""The command `export` as a Python function; TensorFlow is imported when it is called."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from seqembed.data.display.events import LogFormat, reported
from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import PathOrUri, checked_options, in_python, missing, shows_options, takes_config
from seqembed.exporter.config import ExportConfig
from seqembed.exporter.report import ExportReport


class ExportKeywords(TypedDict, total=False):
    """Options of `export`; `seqembed.exporter.config.ExportConfig` documents them and holds their defaults."""

    tolerance: float
    opset: int
    precision: str
    data: Sequence[str]
    id: str
    features: Sequence[str]
    layout: str
    time: str | None
    version: int | None
    card: bool
    with_decoder: bool
    log_format: LogFormat


@shows_options(ExportConfig)
@in_python("export", "train")
@takes_config("exporter.command:export")
@checks_arguments
def export(
    source: PathOrUri | None = None,
    *,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    **options: Unpack[ExportKeywords],
) -> ExportReport:
    """Export a trained encoder to one ONNX file, checked against Keras, as `seqembed export` does.

    A model card for people is written beside it, unless `card` is false.

    Args:
        source: Run directory, or a ``.keras`` file trained elsewhere, which needs `data`.
        out: ONNX file to write.
        config: TOML file with any of these options, as with ``--config``; what is passed here wins.
        options: See `seqembed export --help` and `seqembed.exporter.config.ExportConfig`.

    Returns:
        The files that were written and the results of its checks.

    Raises:
        UsageError: An option is out of range, or the extra ``train`` is not installed.
        InputError, BundleError, QualityGateError, OutputError: See `seqembed.exporter.job.export_encoder`.
        TypeError: An option does not exist, or `source` or `out` is missing.
    """
    if source is None or out is None:
        raise missing(export, options, source=source, out=out)
    chosen = ExportConfig(Path(source), Path(out), **checked_options(export, options))
    from seqembed.exporter.job import export_encoder

    with reported(chosen.log_format, sys.stderr):
        return export_encoder(chosen)
