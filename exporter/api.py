"""The commands `export` and `evaluate` as Python functions; TensorFlow is imported when they are called."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from rich.console import Console

from seqembed.data.keywords import Inputs, PathOrUri, checked_options, in_python, path_or_none, several, shows_options
from seqembed.exporter.config import ExportConfig
from seqembed.exporter.evaluate.config import EvaluateConfig
from seqembed.exporter.evaluate.report import Evaluation
from seqembed.exporter.report import ExportReport
from seqembed.runner.options import ProgressStyle


class ExportKeywords(TypedDict, total=False):
    """Options of an export; what they mean and their defaults stand in `seqembed.exporter.config.ExportConfig`."""

    tolerance: float
    opset: int
    precision: str
    data: Sequence[str]
    id: str
    features: Sequence[str]
    layout: str
    time: str | None


class EvaluateKeywords(TypedDict, total=False):
    """Options of an evaluation; see `seqembed.exporter.evaluate.config.EvaluateConfig`."""

    untrained_seeds: int
    max_rows: int
    seed: int
    threads: int
    progress: ProgressStyle


@shows_options(ExportConfig)
@in_python("export")
def export(source: PathOrUri, *, out: PathOrUri, **options: Unpack[ExportKeywords]) -> ExportReport:
    """Turn a trained encoder into one ONNX file, checked against Keras, as `seqembed export` does.

    Args:
        source: Run directory, or a ``.keras`` file trained elsewhere, which needs `data`.
        out: ONNX file to write.
        options: See `seqembed export --help` and `seqembed.exporter.config.ExportConfig`.

    Returns:
        What was written and how it was checked.

    Raises:
        UsageError: An option is out of range, or the extra ``train`` is not installed.
        InputError, BundleError, QualityGateError, OutputError: See `seqembed.exporter.job.export_encoder`.
        TypeError: There is no such option.
    """
    config = ExportConfig(Path(source), Path(out), **checked_options(export, options))
    from seqembed.exporter.job import export_encoder

    return export_encoder(config)


@shows_options(EvaluateConfig, leave_out=("json_path", "plot_path"))
@in_python("evaluate")
def evaluate(
    model: PathOrUri,
    *,
    train: Inputs,
    test: Inputs,
    label: str,
    json: PathOrUri | None = None,
    plot: PathOrUri | None = None,
    **options: Unpack[EvaluateKeywords],
) -> Evaluation:
    """Measure what the vectors are worth on labelled data, as `seqembed evaluate` does.

    Args:
        model: Path or URI of the bundle.
        train: Labelled Parquet to learn from; one input or several.
        test: Labelled Parquet to be judged on.
        label: Column with the class.
        json: File to write the figures to.
        plot: PNG file to draw.
        options: See `seqembed evaluate --help` and `seqembed.exporter.evaluate.config.EvaluateConfig`.

    Returns:
        The figures of every set of vectors, and the verdict.

    Raises:
        UsageError: An option is out of range, or the extra ``train`` is not installed.
        InputError, BundleError, OutputError: See `seqembed.exporter.evaluate.job.evaluate`.
        TypeError: There is no such option.
    """
    config = EvaluateConfig(
        str(model),
        several(train),
        several(test),
        label,
        json_path=None if json is None else str(json),
        plot_path=path_or_none(plot),
        **checked_options(evaluate, options),
    )
    from seqembed.exporter.evaluate.job import evaluate as run_evaluation
    from seqembed.exporter.evaluate.output import Outputs

    outputs = Outputs(config)
    evaluation = run_evaluation(config, Console(stderr=True))
    outputs.write(evaluation)
    return evaluation
