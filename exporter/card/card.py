"""The text of a model card: what a bundle was trained on, what it is for, how it was checked, and its limits.

Equal bundles of equal name have equal cards, to the byte: nothing in them is a time or a place. Values of categories,
which may be personal, are counted but not listed.
"""

import hashlib
from collections.abc import Iterator

from seqembed.data.contract import ModelContract
from seqembed.data.plurals import counted
from seqembed.data.profile import QUANTILES
from seqembed.data.scores import LEVELS
from seqembed.exporter.card.limits import limits
from seqembed.exporter.card.markdown import escaped, front_matter, table
from seqembed.exporter.card.training import TrainingResult
from seqembed.exporter.config import ELSEWHERE

_MAX_ROWS = 100
_MAX_COLUMNS = 6


def card_text(name: str, bundle: bytes, contract: ModelContract, training: TrainingResult | None) -> str:
    """Return a model card.

    Args:
        name: File name of the bundle.
        bundle: Its bytes.
        contract: Its contract.
        training: How its training ended; None if that is not known.
    """
    sections = [
        ("", _summary(contract)),
        ("Usage", _usage(name, contract)),
        ("Intended use", _intended_use(contract)),
        ("Training data", _training_data(contract)),
        ("Figures", _figures(bundle, contract, training)),
        ("Limits", (f"- {line}" for line in limits(contract, training))),
    ]
    parts = [front_matter(), f"# {escaped(name)}\n"]
    for heading, lines in sections:
        parts.append((f"## {heading}\n\n" if heading else "") + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def _summary(contract: ModelContract) -> Iterator[str]:
    schema = contract.schema
    kinds = [counted(schema.num_features, "feature")] if schema.num_features else []
    kinds += [counted(schema.num_fields, "categorical field")] if schema.num_fields else []
    yield (
        f"An encoder in one ONNX file, made by seqembed {escaped(contract.versions['seqembed'])}. "
        f"It turns a sequence of any length, with {' and '.join(kinds)} per step, into a vector of "
        f"{contract.embedding_dim} numbers ({contract.precision})."
    )
    yield from _scores(contract)


def _scores(contract: ModelContract) -> Iterator[str]:
    """Yield what the anomaly score means, for a model that has one."""
    if contract.errors is None:
        return
    rows = "sequences held out of the training" if contract.errors.held_out else "training sequences"
    yield ""
    yield (
        "It also returns `reconstruction_error`: how badly its decoder reconstructs a sequence, 1 being about the "
        "error of always writing the mean. `seqembed run --score` writes it as `score`, with the share of "
        f"{contract.errors.num_sequences:,} {rows} whose error is smaller as `score_quantile`. A high score is "
        "unusual, which need not be wrong."
    )


def _usage(name: str, contract: ModelContract) -> Iterator[str]:
    """Yield five lines of Python, which a test runs."""
    schema = contract.schema
    columns = list(dict.fromkeys([schema.id, *([] if schema.time is None else [schema.time]), *schema.feature_columns]))
    shown = ", ".join(one if one.isidentifier() else repr(one) for one in columns[:_MAX_COLUMNS])
    shown += f" and {len(columns) - _MAX_COLUMNS} more" if len(columns) > _MAX_COLUMNS else ""
    rows = "sequences" if schema.layout == "events" else "rows"
    yield "```python"
    yield "import pyarrow.parquet"
    yield "import seqembed"
    yield f"encoder = seqembed.load({name!r})"
    yield f'table = pyarrow.parquet.read_table("history.parquet")  # columns: {shown}'
    yield f"vectors = encoder.embed(table)  # float32 ({rows}, {contract.embedding_dim})"
    yield "```"


def _intended_use(contract: ModelContract) -> Iterator[str]:
    one = "one row per sequence" if contract.schema.layout == "nested" else "one row per event, rows of an id together"
    yield (
        f"For vectors of sequences like those below ({one}; the same columns, in the same units): nearest neighbours, "
        "clusters, features of a classifier."
    )
    yield ""
    yield (
        "What its vectors are worth for a task is not known until it is measured on labels of that task, with "
        "`seqembed evaluate`. Do not use it for decisions about people before that."
    )


def _training_data(contract: ModelContract) -> Iterator[str]:
    profile, data = contract.training.profile, contract.training
    lengths = dict(zip(QUANTILES, profile.length_quantiles, strict=True))
    if contract.architecture.get("made_by") == ELSEWHERE:
        yield "The model was trained elsewhere, on data not known here. These are the data that it was exported with."
        yield ""
    yield (
        f"{counted(profile.num_sequences, 'sequence')} ({counted(profile.num_steps, 'step')}) in "
        f"{counted(data.num_files, 'file')}, and {profile.num_empty:,} empty; fingerprint `{data.fingerprint}`."
    )
    yield (
        f"Steps per sequence: shortest {lengths[0.0]:,}, median {lengths[0.5]:,}, 95 % up to {lengths[0.95]:,}, "
        f"longest {lengths[1.0]:,}."
    )
    if contract.schema.features:
        yield ""
        yield from table(["feature", "mean", "standard deviation", "missing"], _features(contract))
        yield from _more(contract.schema.num_features, "feature")
    if contract.schema.categorical:
        yield ""
        yield from table(["categorical field", "known values", "other values", "missing"], _fields(contract))
        yield from _more(contract.schema.num_fields, "field")


def _features(contract: ModelContract) -> Iterator[list[str]]:
    profile = contract.training.profile
    moments = zip(contract.schema.feature_names, profile.mean, profile.std, profile.missing_rate, strict=True)
    for name, mean, std, missing in list(moments)[:_MAX_ROWS]:
        yield [escaped(name), f"{mean:.4g}", f"{std:.4g}", f"{missing:.1%}"]


def _fields(contract: ModelContract) -> Iterator[list[str]]:
    for field in contract.schema.categorical[:_MAX_ROWS]:
        known = field.vocabulary
        if known is not None:
            shares = [f"{known.unknown_share:.1%}", f"{known.missing_share:.1%}"]
            yield [escaped(field.name), f"{len(known.values):,}", *shares]


def _more(number: int, noun: str) -> Iterator[str]:
    if number > _MAX_ROWS:
        yield ""
        yield f"And {counted(number - _MAX_ROWS, f'more {noun}')}."


def _figures(bundle: bytes, contract: ModelContract, training: TrainingResult | None) -> Iterator[str]:
    yield from table(["figure", "value"], _rows(bundle, contract, training))


def _rows(bundle: bytes, contract: ModelContract, training: TrainingResult | None) -> Iterator[list[str]]:
    if training is not None:
        of = "validation" if training.held_out else "training"
        yield [f"{of} loss, after {counted(training.num_batches, 'batch', 'batches')}", f"{training.loss:.4g}"]
        yield ["the same of a model that learned nothing", f"{training.baseline:.4g}"]
    if (parity := contract.parity) is not None:
        compared = f"{counted(parity.num_sequences, 'sequence')}, {parity.num_real:,} of them real"
        yield [f"maximum difference from Keras on {compared}", f"{parity.max_difference:.1e}"]
        yield ["allowed difference", f"{parity.tolerance:.0e}"]
    if (int8 := contract.quantisation) is not None:
        rows = counted(int8.num_sequences, "row")
        yield [f"mean cosine of int8 and fp32 vectors of {rows}", f"{int8.mean_cosine:.5f}"]
        yield ["minimum of these cosines", f"{int8.min_cosine:.5f}"]
        yield ["nearest neighbour kept by int8", f"{int8.neighbour_agreement:.1%}"]
    if (errors := contract.errors) is not None:
        of = "held-out" if errors.held_out else "training"
        for level, name in ((0.5, "median"), (0.99, "99 % quantile"), (1.0, "maximum")):
            figure = errors.quantiles[int(LEVELS.searchsorted(level))]
            yield [f"{name} of the reconstruction error of {of} sequences", f"{figure:.3g}"]
    yield ["golden sequences, which every host must reproduce before it writes", str(len(contract.golden))]
    yield ["precision", contract.precision]
    yield ["size in bytes", f"{len(bundle):,}"]
    yield ["sha256", f"`{hashlib.sha256(bundle).hexdigest()}`"]
