"""Put the page of a training together: alerts on top, figures beside what to compare them with, then the sections."""

from pathlib import PurePosixPath

from seqembed.data.files.secrets import without_secrets
from seqembed.data.pages.numbers import number, percent, shortened
from seqembed.data.pages.parts import Alert, Section, Tile
from seqembed.data.pages.render import render
from seqembed.data.plurals import counted, verb
from seqembed.trainer.page import choices, learning, profile, reconstruction, vectors
from seqembed.trainer.page.alerts import alerts
from seqembed.trainer.page.material import MAX_GENERATED_STEPS, Material
from seqembed.trainer.page.worth import Worth, worth

_MAX_LABELS = 40


def page(material: Material) -> str:
    """Return the page; equal material gives equal bytes."""
    errors = reconstruction.error_rows(material)
    value = worth(material)
    chosen, others = choices.option_rows(material)
    names, near = vectors.neighbours(material)
    sections = [Section("data", "Data"), Section("learning", "Learning")]
    sections += [Section("reconstruction", "Reconstruction")] if errors else []
    sections += [Section("vectors", "Vectors"), Section("configuration", "Configuration")]
    found: list[Alert] = alerts(material, errors, value)
    return render(
        "training.html.j2",
        "seqembed.trainer.page",
        version=material.versions["seqembed"],
        title=f"Training on {_source(material)}",
        eyebrow=f"seqembed · training report · {_source(material)}",
        headline=_headline(material),
        lead=_lead(material),
        sections=sections,
        alerts=found,
        tiles=_tiles(material, value),
        footer=", ".join(f"{name} {version}" for name, version in sorted(material.versions.items())),
        material=material,
        features=profile.feature_rows(material),
        fields=profile.field_rows(material),
        lengths=profile.lengths_chart(material),
        shown_features=profile.SHOWN_FEATURES,
        shown_fields=profile.SHOWN_FIELDS,
        losses=learning.loss_charts(material),
        errors=errors,
        max_generated=MAX_GENERATED_STEPS,
        error_rows=errors[: reconstruction.MAX_ROWS],
        shown_errors=reconstruction.SHOWN_ROWS,
        error_title=_error_title(errors, material),
        cases=reconstruction.cases(material, errors),
        map=vectors.embedding_map(material),
        worth=value,
        max_labels=_MAX_LABELS,
        neighbours=near,
        neighbour_features=names,
        chosen=chosen,
        others=others,
        counted=counted,
        verb=verb,
        number=number,
        percent=percent,
        shortened=shortened,
    )


def _source(material: Material) -> str:
    names = [PurePosixPath(without_secrets(given).rstrip("/")).name or given for given in material.job.data.inputs]
    return shortened(", ".join(names), 60)


def _headline(material: Material) -> str:
    return f"{counted(material.found.num_training, 'sequence')} in vectors of {_dims(material)}"


def _dims(material: Material) -> str:
    return counted(int(material.embeddings.shape[1]), "number")


def _lead(material: Material) -> str:
    model, history = material.job.model, material.history
    read = counted(material.schema.num_features, "feature")
    if material.schema.num_fields:
        fields = counted(material.schema.num_fields, "categorical field")
        read = fields if not material.schema.num_features else f"{read} and {fields}"
    what = {"hybrid": "distinguishes and reconstructs", "contrast": "distinguishes"}.get(
        model.objective, "reconstructs" if model.reconstructs else "predicts"
    )
    return (
        f"The model {what} sequences of {read}. It has {history['num_parameters']:,} trainable parameters and was "
        f"trained in {counted(history['num_steps'], 'batch', 'batches')}."
    )


def _tiles(material: Material, value: Worth | None) -> list[Tile]:
    tiles = []
    held_out = "held out" if material.history["monitored"].startswith("val_") else "training"
    if material.history["epochs"]:
        now, trivial = learning.kept(material, "loss"), learning.baseline(material, "loss")
        tiles.append(Tile(f"Loss, {held_out}", number(now), f"{number(trivial)} for a model that learned nothing"))
    told = learning.kept(material, "contrast_accuracy")
    if told is not None:
        chance = percent(learning.baseline(material, "contrast_accuracy"))
        tiles.append(Tile("Views distinguished", percent(told), f"{chance} by chance"))
    for name in ("reconstruction_loss", "prediction_loss"):
        now, trivial = learning.kept(material, name), learning.baseline(material, name)
        if now is not None and trivial:
            what = "reconstruction" if name.startswith("r") else "prediction"
            explained = percent(max(0.0, 1 - now / trivial))
            tiles.append(Tile(f"Explained by the {what}", explained, "0% for always predicting the mean"))
    if value is not None:
        beside = f"{percent(value.simple)} with simple statistics, {percent(value.trivial)} {value.trivial_name}"
        tiles.append(Tile(value.name, percent(value.vectors), beside))
    median = material.found.median
    width = material.schema.num_features + material.schema.num_fields
    beside = f"for {counted(median * width, 'value')}: {counted(median, 'step')} at the median"
    return [*tiles, Tile("Numbers per sequence", f"{material.embeddings.shape[1]:,}", beside)]


def _error_title(errors: list[reconstruction.ErrorRow], material: Material) -> str:
    able = [row for row in errors if row.unexplained == row.unexplained]
    if not able:
        return "No feature varies, so there is nothing to reconstruct"
    if len(able) == 1:
        return f"The reconstruction explains {able[0].explained} of {shortened(able[0].name)}"
    return (
        f"The reconstruction explains {able[0].explained} of {shortened(able[0].name)} to {able[-1].explained} of "
        f"{shortened(able[-1].name)}"
    )
