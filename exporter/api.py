"""The command `export` as a Python function; TensorFlow is imported when it is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from seqembed.data.keywords import PathOrUri, checked_options, in_python, shows_options
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


@shows_options(ExportConfig)
@in_python("export", "train")
def export(source: PathOrUri, *, out: PathOrUri, **options: Unpack[ExportKeywords]) -> ExportReport:
    """Export a trained encoder to one ONNX file, checked against Keras, as `seqembed export` does.

    Args:
        source: Run directory, or a ``.keras`` file trained elsewhere, which needs `data`.
        out: ONNX file to write.
        options: See `seqembed export --help` and `seqembed.exporter.config.ExportConfig`.

    Returns:
        The file that was written and the results of its checks.

    Raises:
        UsageError: An option is out of range, or the extra ``train`` is not installed.
        InputError, BundleError, QualityGateError, OutputError: See `seqembed.exporter.job.export_encoder`.
        TypeError: An option does not exist.
    """
    config = ExportConfig(Path(source), Path(out), **checked_options(export, options))
    from seqembed.exporter.job import export_encoder

    return export_encoder(config)
