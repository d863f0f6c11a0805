"""The command `group` as a Python function; see `seqembed.data.keywords` for its options."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

from seqembed.data.display.events import LogFormat
from seqembed.data.display.progress import ProgressStyle
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
from seqembed.runner.group.options import GroupBadRow, GroupEngine, GroupOptions
from seqembed.runner.group.plan import GroupPlan
from seqembed.runner.group.report import GroupReport


class GroupKeywords(TypedDict, total=False):
    """Options of `group`; `seqembed.runner.group.options.GroupOptions` documents them and holds their defaults."""

    id: str
    time: str
    features: Sequence[str]
    keep: Sequence[str]
    since: str | None
    until: str | None
    max_length: int | None
    deduplicate: Sequence[str]
    buckets: IntOrAuto
    memory: str
    threads: int | None
    engine: GroupEngine
    address: str | None
    on_bad_row: GroupBadRow
    version: int | None
    prune: bool
    overwrite: bool
    metrics: PathOrUri | None
    progress: ProgressStyle
    log_format: LogFormat


@overload
def group(
    inputs: Inputs | None = None,
    *,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: Literal[True],
    **options: Unpack[GroupKeywords],
) -> GroupPlan: ...


@overload
def group(
    inputs: Inputs | None = None,
    *,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: Literal[False] = False,
    **options: Unpack[GroupKeywords],
) -> GroupReport: ...


@shows_options(GroupOptions)
@in_python("group", extra="events")
@takes_config("runner.cli.group_events:group")
@checks_arguments
def group(
    inputs: Inputs | None = None,
    *,
    out: PathOrUri | None = None,
    config: PathOrUri | None = None,
    dry_run: bool = False,
    **options: Any,
) -> GroupReport | GroupPlan:
    """Group events, one per row in any number of Parquet files, into one row per id, as `seqembed group` does.

    Args:
        inputs: One or more files, directories, globs or URIs.
        out: Output directory or URI.
        config: TOML file with any of these options, as with ``--config``; what is passed here wins.
        dry_run: Return the plan without running it.
        options: See `seqembed group --help` and `seqembed.runner.group.options.GroupOptions`.

    Returns:
        A report of the job; with `dry_run` the plan, whose ``to_make`` lists the buckets to be written.

    Raises:
        UsageError, InputError, OutputError, HostError: See `seqembed.runner.group.job.group_events`. The first also if
            the extra ``events`` is not installed.
        TypeError: There is no such option, or `inputs` or `out` is missing.
    """
    if inputs is None or out is None:
        raise missing(group, options, inputs=inputs, out=out)
    from seqembed.runner.group.job import GroupJob, group_events, plan_group_job

    values = checked_options(group, options)
    if values.get("metrics") is not None:
        values["metrics"] = os.fspath(values["metrics"])
    chosen = GroupOptions(dry_run=dry_run, **values)
    job = GroupJob(inputs_of(inputs), os.fspath(out), chosen)
    return plan_group_job(job) if dry_run else group_events(job, sys.stderr)
