"""Put the page of a run together, from what its success marker holds and the records of the runs before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from seqembed.data.drift.drift import Drift
from seqembed.data.pages.numbers import data_size, number, percent, seconds, shortened
from seqembed.data.pages.parts import Alert, Section, Tile
from seqembed.data.pages.render import render
from seqembed.data.plurals import counted
from seqembed.runner.page.alerts import run_alerts
from seqembed.runner.page.drift import SHOWN_ROWS, drift_in, drift_rows, drift_title
from seqembed.runner.page.history import day, history_charts

State = Literal["complete", "refused", "slice"]
_MAX_REASONS = 20
_MAX_OPTION = 200


@dataclass(frozen=True, slots=True)
class Rank:
    """An entry of a list with bars: name, share of the longest bar 0…1, and text."""

    name: str
    share: float
    text: str
    style: str = "c1"


def page(document: Mapping[str, Any], history: Sequence[Mapping[str, Any]], state: State) -> str:
    """Return the page; equal arguments give equal bytes.

    Args:
        document: What ``_SUCCESS`` holds or, without one, would hold.
        history: The last runs, this one last.
        state: Whether the output is complete, the gate of drift refused it, or it is a slice that others still miss.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: `document` or `history` was edited.
    """
    drift = drift_in(document)
    charts, rows = history_charts(history), drift_rows(drift)
    sections = [Section("rows", "Rows"), Section("speed", "Speed"), Section("drift", "Drift")]
    sections += [Section("history", "History"), Section("options", "Options")]
    alerts: list[Alert] = run_alerts(document, drift, state)
    when = f" · {day(history[-1]['time'])} UTC" if history else ""
    return render(
        "run.html.j2",
        "seqembed.runner.page",
        version=document["seqembed"],
        title=f"Run over {_source(document)}",
        eyebrow=f"seqembed · run report · {_source(document)}{when}",
        headline=f"{counted(document['rows_in'], 'row')}, {counted(document['rows_embedded'], 'vector')}",
        lead=_lead(document),
        sections=sections,
        alerts=alerts,
        tiles=_tiles(document, drift),
        footer=f"seqembed {document['seqembed']}, model {document['model_sha256'][:16]}…",
        document=document,
        fates=_fates(document),
        reasons=_reasons(document),
        slowest=_slowest(document),
        drift=drift,
        drift_title=drift_title(drift),
        drift_rows=rows,
        num_measures=0 if drift is None else len(drift.measures),
        shown_rows=SHOWN_ROWS,
        charts=charts,
        num_runs=len(history),
        options=_options(document),
        counted=counted,
        percent=percent,
        seconds=seconds,
        shortened=shortened,
    )


def _source(document: Mapping[str, Any]) -> str:
    names = [PurePosixPath(given.rstrip("/")).name or given for given in document["inputs"]]
    return shortened(", ".join(names), 60)


def _lead(document: Mapping[str, Any]) -> str:
    made, skipped = document["parts_made"], document["parts_skipped"]
    old = f", {counted(skipped, 'part')} up to date" if skipped else ""
    name = shortened(PurePosixPath(document["model"]).name, 60)
    return f"{counted(made, 'part')} made{old}, in {seconds(document['seconds'])}, by the model {name}."


def _tiles(document: Mapping[str, Any], drift: Drift | None) -> list[Tile]:
    made = document["rows_made"]
    bad = document["rows_quarantined"] + sum(document["bad_rows"].values()) * (not document["rows_quarantined"])
    tiles = [
        Tile("Rows with a vector", percent(_share(document["rows_embedded"], document)), f"{bad:,} bad rows"),
        Tile("Rows per second", number(round(document["rows_per_second"])), f"{counted(made, 'row')} made"),
        Tile("Padding", percent(document["padding_share"]), "of the computed steps"),
        Tile("Peak memory", data_size(document["peak_rss_bytes"]), "of the process that ran the job"),
    ]
    if drift is not None and drift.measures:
        beside = f"of {counted(len(drift.measures), 'measure')} beyond the threshold"
        tiles.append(Tile("Drift", f"{len(drift.alarms):,}", beside))
    return tiles


def _share(count: int, document: Mapping[str, Any]) -> float:
    rows: int = document["rows_in"]
    return count / max(1, rows)


def _fates(document: Mapping[str, Any]) -> list[Rank]:
    names = {"rows_embedded": "a vector", "rows_null": "null: no step, or a bad row", "rows_quarantined": "quarantined"}
    styles = {"rows_embedded": "c1", "rows_null": "c8", "rows_quarantined": "c2"}
    found = [(key, document[key]) for key in names]
    return [
        Rank(names[key], _share(count, document), f"{count:,} ({percent(_share(count, document))})", styles[key])
        for key, count in found
    ]


def _reasons(document: Mapping[str, Any]) -> list[Rank]:
    found = sorted(document["bad_rows"].items(), key=lambda reason: (-reason[1], reason[0]))[:_MAX_REASONS]
    most = max((count for _, count in found), default=1)
    return [Rank(shortened(reason, 200), count / most, f"{count:,}", "c2") for reason, count in found]


def _slowest(document: Mapping[str, Any]) -> list[Rank]:
    found = document.get("slowest_parts", [])
    most = max((part["seconds"] for part in found), default=1.0) or 1.0
    return [
        Rank(
            shortened(part["name"], 80), part["seconds"] / most, f"{seconds(part['seconds'])}, {part['rows_in']:,} rows"
        )
        for part in found
    ]


def _options(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("inputs", ", ".join(document["inputs"])), ("model", document["model"])]
    rows += [("model sha256", document["model_sha256"])]
    rows += [(name.replace("_", "-"), _plain(value)) for name, value in document["options"].items()]
    return [(name, shortened(value, _MAX_OPTION)) for name, value in rows]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
