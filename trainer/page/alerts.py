"""What a reader should see first: a model that learned nothing, data that is not what it seems."""

from collections.abc import Sequence

from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.parts import Alert
from seqembed.data.plurals import counted
from seqembed.data.schema.hints import hint_at_codes
from seqembed.data.week_hours import coverage_gap, missing_weekdays
from seqembed.trainer.page.material import Material
from seqembed.trainer.page.profile import still
from seqembed.trainer.page.reconstruction import ErrorRow
from seqembed.trainer.page.worth import Worth

_MANY_MISSING = 0.5
_MAX_NAMES = 6
_CLEARLY = 0.02  # of accuracy
_OVERFIT = 1.25  # of the training loss


def alerts(material: Material, errors: Sequence[ErrorRow], worth: Worth | None) -> list[Alert]:
    """Return alerts, warnings first."""
    found = [*_model(material, errors), *_vectors(worth), *_data(material)]
    return sorted(found, key=lambda alert: alert.level == "note")


def _model(material: Material, errors: Sequence[ErrorRow]) -> list[Alert]:
    history, found = material.history, []
    if material.warnings:
        text = " ".join(material.warnings).removeprefix("WARNING: ")
        found.append(Alert("The model learned too little.", text[:1].upper() + text[1:]))
    if history["num_restarts"]:
        found.append(Alert("Trained twice.", "The first weights learned nothing; the better attempt was kept.", "note"))
    if not history["epochs"]:
        found.append(Alert("Untrained.", "The weights are the initial ones.", "note"))
    if material.warnings:
        return found
    poor = [row.name for row in errors if row.no_better]
    if poor:
        what = f"{_named(poor)}: the reconstruction is hardly better than the mean or the most frequent value."
        found.append(Alert("Not reconstructed.", what, "note"))
    return found


def _vectors(worth: Worth | None) -> list[Alert]:
    if worth is None or worth.vectors >= worth.simple - _CLEARLY:
        return []
    text = (
        f"{worth.name}: {percent(worth.simple)} by length, means and spreads alone, "
        f"{percent(worth.vectors)} by the vectors."
    )
    return [Alert("Simple statistics do better.", text)]


def _data(material: Material) -> list[Alert]:
    survey, profile, found = material.intake.survey, material.profile, []
    constant = still(material)
    if constant:
        found.append(Alert("No information.", f"{_named(constant)}: constant, or missing everywhere.", "warning"))
    pairs = zip(material.schema.feature_names, profile.missing_rate, strict=True)
    missing = [f"{shortened(name, 30)} ({percent(rate)})" for name, rate in pairs if _MANY_MISSING <= rate < 1]
    if missing:
        found.append(Alert("Mostly missing.", f"{_named(missing)}.", "warning"))
    found += [Alert("Codes?", hint, "note") for hint in hint_at_codes(material.schema, material.intake.codes)]
    if (gap := coverage_gap(material.schema, profile)) is not None:
        days = missing_weekdays(profile.week_hours)
        found.append(Alert("Not all of the week.", gap, "warning" if days else "note"))
    if survey.num_truncated:
        text = f"{counted(survey.num_truncated, 'sequence')} longer than --max-length, truncated."
        found.append(Alert("Truncated.", text, "note"))
    if material.intake.num_too_short:
        text = f"{counted(material.intake.num_too_short, 'sequence')} without enough steps, left out."
        found.append(Alert("Too short.", text, "note"))
    if survey.shared_ids is not None:
        found.append(Alert("Shared ids.", f"{survey.shared_ids} occur in more than one row.", "note"))
    found += _too_wide(material)
    if not material.intake.num_validation:
        text = "No sequences are held out, so every figure is one of training sequences."
        found.append(Alert("Nothing held out.", text, "note"))
    return found


def _too_wide(material: Material) -> list[Alert]:
    """Return an alert where a vector has more numbers than there are sequences, or than a sequence has values."""
    width, rows = int(material.embeddings.shape[1]), material.found.num_training
    values = material.found.median * (material.schema.num_features + material.schema.num_fields)
    remedy = "Compare with the values themselves (seqembed evaluate), or pass a smaller --embedding-dim."
    if width > rows:
        text = f"A vector has {number(width)} numbers, and there are {number(rows)} training sequences to learn from: "
        return [
            Alert("More numbers than sequences.", f"{text}a classifier can fit any labels of these. {remedy}", "note")
        ]
    if width > values:
        text = f"A vector has {number(width)} numbers, and half of the sequences have at most {number(values)} values. "
        return [Alert("More numbers than values.", f"{text}{remedy}", "note")]
    return []


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, 40) for name in names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return f"{shown} and {number(more)} more" if more > 0 else shown
