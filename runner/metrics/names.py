"""The metrics of a run and of a grouping: names, labels and meanings, as in the tables of `runner/README.md`."""

from dataclasses import dataclass
from typing import Final, Literal

# In every metric, so that the files of several jobs on one host have no series in common.
OUT: Final = "out"
Command = Literal["run", "group"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge.

    Attributes:
        name: Its name.
        meaning: One line for people.
        labels: Labels beside `OUT`.
        always: Whether a job that failed has it, too.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    always: bool = False


METRICS: Final[tuple[Metric, ...]] = (
    Metric("seqembed_run_exit_code", "Exit code of the last run.", always=True),
    Metric("seqembed_run_finish_timestamp_seconds", "When the last run ended, since 1970.", always=True),
    Metric(
        "seqembed_run_last_success_timestamp_seconds",
        "When a run last ended with exit code 0, since 1970; kept through failures, 0 before the first.",
        always=True,
    ),
    Metric("seqembed_run_duration_seconds", "Wall time of the last run.", always=True),
    Metric("seqembed_run_peak_memory_bytes", "Peak memory of the process.", always=True),
    Metric("seqembed_run_info", "Always 1; the versions of the last run are labels.", ("version", "model_sha256")),
    Metric("seqembed_run_rows", "Rows of all parts of the inputs, by what became of them.", ("fate",)),
    Metric("seqembed_run_rows_made", "Input rows of the parts that the run made."),
    Metric("seqembed_run_rows_truncated", "Sequences longer than the model takes."),
    Metric("seqembed_run_rows_per_second", "Rows that the run made, per second of wall time."),
    Metric("seqembed_run_bad_rows", "Bad rows of the parts that the run made, by reason.", ("reason",)),
    Metric("seqembed_run_steps", "Steps of all parts of the inputs."),
    Metric("seqembed_run_padding_ratio", "Share of padding in the computed steps."),
    Metric("seqembed_run_parts", "Parts, made or skipped since they were finished.", ("state",)),
    Metric("seqembed_run_skipped_files", "Input files that could not be read."),
    Metric("seqembed_run_drift_alarmed", "1 if the rows moved too far from the training data, else 0."),
    Metric("seqembed_run_drift_alarms", "Measures beyond their thresholds."),
    Metric("seqembed_run_drift_value", "How far each measure of drift moved.", ("measure", "feature")),
    Metric(
        "seqembed_run_drift_threshold_ratio",
        "The same in thresholds: above 1 it alarms.",
        ("measure", "feature"),
    ),
)

GROUP_METRICS: Final[tuple[Metric, ...]] = (
    Metric("seqembed_group_exit_code", "Exit code of the last job.", always=True),
    Metric("seqembed_group_finish_timestamp_seconds", "When the last job ended, since 1970.", always=True),
    Metric(
        "seqembed_group_last_success_timestamp_seconds",
        "When a job last ended with exit code 0, since 1970; kept through failures, 0 before the first.",
        always=True,
    ),
    Metric("seqembed_group_duration_seconds", "Wall time of the last job.", always=True),
    Metric("seqembed_group_peak_memory_bytes", "Peak memory of the process.", always=True),
    Metric("seqembed_group_info", "Always 1; the version of the last job is a label.", ("version",)),
    Metric("seqembed_group_events", "Events of the input files, by what became of them.", ("fate",)),
    Metric("seqembed_group_ids", "Ids, each a row of the output."),
    Metric("seqembed_group_longest_events", "Events of the id that has most."),
    Metric("seqembed_group_buckets", "Buckets, made or skipped since they were finished.", ("state",)),
    Metric("seqembed_group_files", "Input files."),
    Metric("seqembed_group_pruned_files", "Input files that are gone, whose events the job left out."),
    Metric("seqembed_group_spilled_bytes", "Events on temporary disk of this host."),
)
METRICS_OF: Final[dict[Command, tuple[Metric, ...]]] = {"run": METRICS, "group": GROUP_METRICS}
