"""The commands `run`, `inspect` and `evaluate` as Python functions; see `seqembed.data.keywords` for their options."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

from seqembed.data.display.events import LogFormat
from seqembed.data.display.progress import ProgressStyle
from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import (
    Inputs,
    PathOrUri,
    checked_options,
    in_python,
    inputs_of,
    missing,
    path_or_none,
    shows_options,
    takes_config,
)
from seqembed.runner.evaluate.config import EvaluateConfig
from seqembed.runner.evaluate.report import Evaluation
from seqembed.runner.inspect.describe import Description, description
from seqembed.runner.inspect.describe_data import DataOptions
from seqembed.runner.job.plan import RunPlan
from seqembed.runner.job.run import Job, plan_job, run_job
from seqembed.runner.options import EngineName, OnBadFile, OnBadRow, RunOptions, VectorType
from seqembed.runner.report import RunReport


class RunKeywords(TypedDict, total=False):
    """Options of `run`; `seqembed.runner.options.RunOptions` documents them and holds their defaults."""

    keep: Sequence[str]
    threads: int | None
    engine: EngineName
    address: str | None
    limit: int | None
    rows_per_part: int | None
    only: Sequence[str]
    version: int | None
    overwrite: bool
    prune: bool
    on_bad_row: OnBadRow
    max_bad_fraction: float
    on_bad_file: OnBadFile
    dtype: VectorType
    fail_on_drift: bool
    metrics: PathOrUri | None
    log_format: LogFormat
    score: bool
    report: bool
    progress: ProgressStyle


class InspectKeywords(TypedDict, total=False):
    """How to read Parquet data; see `seqembed.runner.inspect.describe_data.DataOptions`."""

    id: str
    layout: str
    time: str | None
    label: str | None
    version: int | None


class EvaluateKeywords(TypedDict, total=False):
    """Options of an evaluation; see `seqembed.runner.evaluate.config.EvaluateConfig`."""

    untrained_seeds: int
    max_rows: int
    version: int | None
    seed: int
    threads: int
    progress: ProgressStyle


@overload
def run(
    inputs: Inputs | None = None,
    *,
    model: PathOrUri | None = None,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: Literal[True],
    **options: Unpack[RunKeywords],
) -> RunPlan: ...


@overload
def run(
    inputs: Inputs | None = None,
    *,
    model: PathOrUri | None = None,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: Literal[False] = False,
    **options: Unpack[RunKeywords],
) -> RunReport: ...


@shows_options(RunOptions)
@in_python("run")
@takes_config("runner.cli.run:run")
@checks_arguments
def run(
    inputs: Inputs | None = None,
    *,
    model: PathOrUri | None = None,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: bool = False,
    **options: Any,
) -> RunReport | RunPlan:
    """Embed Parquet files, as `seqembed run` does; finished output files are skipped, unfinished ones never visible.

    Args:
        inputs: One or more files, directories, globs or URIs.
        model: Path or URI of the bundle.
        out: Output directory or URI.
        config: TOML file with any of these options, as with ``--config``; what is passed here wins.
        dry_run: Return the plan without running it.
        options: See `seqembed run --help` and `seqembed.runner.options.RunOptions`.

    Returns:
        A report of the run; with `dry_run` the plan, whose ``to_make`` lists the parts to be written.

    Raises:
        UsageError, InputError, BundleError, DriftError, OutputError: See `seqembed.runner.job.run.run_job`.
        TypeError: There is no such option, or `inputs`, `model` or `out` is missing.
    """
    if inputs is None or model is None or out is None:
        raise missing(run, options, inputs=inputs, model=model, out=out)
    values = checked_options(run, options)
    if values.get("metrics") is not None:
        values["metrics"] = os.fspath(values["metrics"])
    chosen = RunOptions(dry_run=dry_run, **values)
    job = Job(inputs_of(inputs), os.fspath(model), os.fspath(out), chosen)
    return plan_job(job)[0] if dry_run else run_job(job, sys.stderr)


@shows_options(DataOptions)
@in_python("inspect")
@checks_arguments
def inspect(path: PathOrUri, **options: Unpack[InspectKeywords]) -> Description:
    """Describe a path or URI, as `seqembed inspect` does.

    Args:
        path: A bundle, a run directory, an output directory or Parquet data.
        options: How to read Parquet data, see `seqembed.runner.inspect.describe_data.DataOptions`.

    Returns:
        Kind and lines; its repr contains the text that the command prints.

    Raises:
        InputError, BundleError, OutputError: See `seqembed.runner.inspect.describe.describe`.
        TypeError: There is no such option.
    """
    return description(os.fspath(path), DataOptions(**checked_options(inspect, options)))


@shows_options(EvaluateConfig, leave_out=("json_path", "plot_path"))
@in_python("evaluate", "evaluate")
@takes_config("runner.evaluate.command:evaluate")
@checks_arguments
def evaluate(
    model: PathOrUri | None = None,
    *,
    train: Inputs | None = None,
    test: Inputs | None = None,
    label: str | None = None,
    config: PathOrUri | None = None,
    json: PathOrUri | None = None,
    plot: PathOrUri | None = None,
    **options: Unpack[EvaluateKeywords],
) -> Evaluation:
    """Evaluate embeddings on labelled data, as `seqembed evaluate` does.

    Args:
        model: Path or URI of the bundle.
        train: Labelled Parquet to train classifiers on; one or more inputs.
        test: Labelled Parquet to test them on.
        label: Column with the class.
        config: TOML file with any of these options, as with ``--config``; what is passed here wins.
        json: JSON file for the results.
        plot: PNG file for a plot.
        options: See `seqembed evaluate --help` and `seqembed.runner.evaluate.config.EvaluateConfig`.

    Returns:
        The scores of the embeddings and of the controls, and a verdict.

    Raises:
        UsageError: An option is out of range, or the extra ``evaluate`` is not installed.
        InputError, BundleError, OutputError: See `seqembed.runner.evaluate.job.evaluate`.
        TypeError: There is no such option, or `model`, `train`, `test` or `label` is missing.
    """
    if model is None or train is None or test is None or label is None:
        raise missing(evaluate, options, model=model, train=train, test=test, label=label)
    chosen = EvaluateConfig(
        str(model),
        inputs_of(train, "train"),
        inputs_of(test, "test"),
        label,
        json_path=None if json is None else str(json),
        plot_path=path_or_none(plot),
        **checked_options(evaluate, options),
    )
    from rich.console import Console

    from seqembed.runner.evaluate.job import evaluate as run_evaluation
    from seqembed.runner.evaluate.output import Outputs

    outputs = Outputs(chosen)
    evaluation = run_evaluation(chosen, Console(stderr=True))
    outputs.write(evaluation)
    return evaluation
