"""What a reader of a run's page should see first."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqembed.data.drift.drift import Drift
from seqembed.data.pages.numbers import percent, shortened
from seqembed.data.pages.parts import Alert
from seqembed.data.plurals import counted

_MANY = 0.01  # of the rows
_STATES = {
    "refused": Alert(
        "Refused.",
        "Rows moved too far from the training data, so _SUCCESS was not written. Run again without --fail-on-drift to "
        "accept the vectors, which makes no part again; or remove the parts of this run to withdraw them, see Drift in "
        "runner/README.md.",
    ),
    "slice": Alert("A slice.", "Parts outside --only are not finished, so there is no _SUCCESS yet.", "note"),
}


def run_alerts(document: Mapping[str, Any], drift: Drift | None, state: str) -> list[Alert]:
    """Return alerts, warnings first.

    Args:
        document: What ``_SUCCESS`` holds or would hold.
        drift: Its drift.
        state: As for `seqembed.runner.page.page.page`.
    """
    found = [_STATES[state]] if state in _STATES else []
    if drift is not None and drift.alarmed:
        text = drift.line().removeprefix("drift: ")
        found.append(Alert("Drift.", f"{text}. Look at the input, or train again on newer data."))
    return sorted([*found, *_rows(document), *_files(document)], key=lambda alert: alert.level == "note")


def _rows(document: Mapping[str, Any]) -> Iterator[Alert]:
    rows, bad = document["rows_in"], sum(document["bad_rows"].values())
    if bad:
        text = f"{counted(bad, 'row')} of this run could not be read as sequences; the reasons are below."
        yield Alert("Bad rows.", text, "warning" if bad >= _MANY * max(1, rows) else "note")
    if document["rows_null"]:
        text = f"{counted(document['rows_null'], 'row')} ({percent(document['rows_null'] / max(1, rows))})"
        yield Alert("Rows without a vector.", f"{text}, since they have no step or are bad.", "note")
    if document["rows_truncated"]:
        yield Alert(
            "Truncated.", f"{counted(document['rows_truncated'], 'sequence')} longer than the model takes.", "note"
        )
    if document["shared_ids"] is not None:
        yield Alert("Shared ids.", "Some ids are in more than one row; each row has its own vector.", "note")


def _files(document: Mapping[str, Any]) -> Iterator[Alert]:
    skipped = document["skipped_files"]
    if skipped:
        first = shortened(skipped[0]["reason"], 200)
        yield Alert("Skipped files.", f"{counted(len(skipped), 'file')} could not be read. {first}")
    for key, why in (("orphans", "the input no longer exists"), ("beyond_limit", "it is beyond --limit")):
        if document[key]:
            parts = f"{counted(len(document[key]), 'part')}, such as {shortened(document[key][0], 80)}"
            yield Alert("Old parts.", f"Kept although {why}: {parts}. --prune removes them.", "note")
