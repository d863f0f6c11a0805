"""How far the stages of a Spark job are, from Spark's status tracker."""

from typing import Any


def is_remote(spark: Any) -> bool:
    """Return whether a session is one of Spark Connect, which has neither a context nor a status tracker."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def finished_shares(spark: Any, group: str) -> list[float]:
    """Return the share of finished tasks of each stage that has begun, in order; nothing on Spark Connect.

    Args:
        spark: The session.
        group: Name that `set_group` gave to the job.
    """
    if is_remote(spark):
        return []
    tracker = spark.sparkContext.statusTracker()
    jobs = [tracker.getJobInfo(number) for number in tracker.getJobIdsForGroup(group)]
    numbers = sorted({stage for job in jobs if job is not None for stage in job.stageIds})
    stages = [stage for stage in map(tracker.getStageInfo, numbers) if stage is not None]
    # A stage whose results an earlier job left behind is listed again, under another number, and never begins.
    begun = [stage for stage in stages if stage.numActiveTasks or stage.numCompletedTasks]
    return [stage.numCompletedTasks / max(1, stage.numTasks) for stage in begun]


def set_group(spark: Any, group: str) -> None:
    """Give the jobs of this thread a name for `finished_shares`."""
    if not is_remote(spark):
        spark.sparkContext.setJobGroup(group, "seqembed")
