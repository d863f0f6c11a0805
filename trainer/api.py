"""The command `train` as a Python function; TensorFlow is imported when it is called."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict, Unpack

from rich.console import Console

from seqembed.data.display.events import LOG_FORMATS, LogFormat, emit, reported
from seqembed.data.display.progress import PROGRESS_STYLES, ProgressStyle
from seqembed.data.errors import UsageError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.keyword_types import IntOrAuto, checks_arguments
from seqembed.data.keywords import (
    Inputs,
    PathOrUri,
    checked_options,
    in_python,
    inputs_of,
    missing,
    shows_options,
    takes_config,
)
from seqembed.data.sequences import Truncate
from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.job import TrainJob
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.training import TrainingConfig
from seqembed.trainer.fit.progress import make_progress
from seqembed.trainer.input.columns import find_columns
from seqembed.trainer.output.directory import RunDirectory
from seqembed.trainer.output.summary import TrainSummary

logger = logging.getLogger("seqembed")


class TrainKeywords(TypedDict, total=False):
    """Options of a training; `data`, `model` and `training` in `seqembed.trainer.config` document them.

    None, or ``auto`` where the command line has it, means that an option is chosen from the data.
    """

    id: str
    features: Sequence[str]
    categorical: Sequence[str]
    min_count: int
    max_vocabulary: int
    layout: str
    time: str | None
    time_features: bool
    label: str | None
    version: int | None
    max_length: int | None
    truncate: Truncate
    cell: str
    units: int | None
    layers: int
    channels: str | None
    normalization: str | None
    frame: IntOrAuto
    overlap: IntOrAuto
    trajectory: IntOrAuto
    kernels: IntOrAuto
    pairs: IntOrAuto
    bidirectional: bool
    activation: str
    pooling: str
    embedding_dim: int | None
    objective: str | None
    decoder: str | None
    decoder_units: int | None
    decoder_layers: int | None
    reverse_target: bool
    task: str
    loss: str
    epochs: int | None
    steps: int | None
    batch_size: int | None
    learning_rate: float | None
    patience: int | None
    validation_fraction: float | None
    clip_norm: float
    seed: int


@shows_options(DataConfig, ModelConfig, TrainingConfig)
@in_python("train", "train")
@takes_config("trainer.command:train", {"epochs": "steps", "steps": "epochs"})
@checks_arguments
def train(
    inputs: Inputs | None = None,
    *,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressStyle = "auto",
    log_format: LogFormat = "text",
    **options: Unpack[TrainKeywords],
) -> TrainSummary:
    """Train a sequence autoencoder on Parquet and write a run directory, like `seqembed train`.

    Args:
        inputs: One or several files, directories or globs.
        out: Run directory.
        config: TOML file with any of these options, as with ``--config``; what is passed here wins.
        resume: Continue the training in `out`.
        overwrite: Replace the run in `out` once the new one is complete.
        progress: ``auto`` is a ``bar`` on a terminal, else ``plain`` lines to the logger ``seqembed``; or ``none``.
        log_format: ``json`` writes events and messages to standard error, an object per line.
        options: See `seqembed train --help-all` and `data`, `model` and `training` in `seqembed.trainer.config`.

    Returns:
        Paths of the run directory, and the results of the training.

    Raises:
        UsageError: Options contradict each other, or the extra ``train`` is not installed.
        InputError, OutputError, QualityGateError, BundleError: See `seqembed.trainer.job.train`.
        TypeError: There is no such option, or `inputs` or `out` is missing.
    """
    if inputs is None or out is None:
        raise missing(train, options, inputs=inputs, out=out)
    job = TrainJob.from_options({"inputs": inputs_of(inputs), **checked_options(train, options)})
    return start(
        job, Path(out), logger.info, resume=resume, overwrite=overwrite, progress=progress, log_format=log_format
    )


def start(
    job: TrainJob,
    out: Path,
    echo: Callable[[str], object],
    *,
    resume: bool,
    overwrite: bool,
    progress: ProgressStyle,
    log_format: LogFormat,
) -> TrainSummary:
    """Train; TensorFlow is imported only after options and data have been checked.

    Args:
        job: Data, model and training options.
        out: Run directory.
        echo: Receives notes about the data, and progress without a bar.
        resume: Continue an earlier training.
        overwrite: Replace a run.
        progress: How progress is shown.
        log_format: ``json`` writes events and messages to standard error, and nothing to `echo`.

    Raises:
        ModuleNotFoundError: TensorFlow is not installed.
        UsageError, InputError, OutputError, QualityGateError, BundleError: See `seqembed.trainer.job.train`.
    """
    if resume and overwrite:
        raise UsageError("--resume continues the run that --overwrite would replace. Pass only one of them.")
    if progress not in PROGRESS_STYLES:
        raise UsageError(f"--progress must be one of {', '.join(PROGRESS_STYLES)}; was {progress!r}.")
    if log_format not in LOG_FORMATS:
        raise UsageError(f"--log-format must be one of {', '.join(LOG_FORMATS)}; was {log_format!r}.")
    if find_spec("tensorflow") is None:  # fail before the data is read; the import itself comes afterwards
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    begun = time.monotonic()
    with reported(log_format, sys.stderr):
        emit("started", inputs=[without_secrets(given) for given in job.data.inputs], out=str(out))
        if log_format == "json":  # epochs are events, and notes are messages
            progress, echo = "none", logger.info
        shown = make_progress(progress, Console(stderr=True), echo)
        directory = RunDirectory(out, resume=resume, overwrite=overwrite)
        with directory.hold():
            columns = find_columns(job)
            from seqembed.trainer.job import train_into

            with shown:
                summary = train_into(directory, job, columns, resume=resume, progress=shown)
        history = summary.history
        emit(
            "finished",
            exit_code=0,
            seconds=round(time.monotonic() - begun, 3),
            num_steps=history["num_steps"],
            loss=history["best_loss"],
            warnings=list(summary.warnings),
        )
    return summary
