"""The limits of a model, as its contract and its training show them."""

from collections.abc import Iterator

from seqembed.data.contract import ModelContract
from seqembed.data.plurals import counted
from seqembed.data.week_hours import coverage_gap
from seqembed.exporter.card.markdown import escaped
from seqembed.exporter.card.training import TrainingResult


def limits(contract: ModelContract, training: TrainingResult | None) -> Iterator[str]:
    """Yield a sentence of Markdown for each limit."""
    if training is not None and training.problem is not None:
        yield f"The training ended with a problem: {escaped(training.problem)}. The vectors may be of little use."
    yield "Vectors of two models cannot be compared, also not of two trainings on the same data."
    yield from _lengths(contract)
    yield from _values(contract)
    if contract.has_decoder:
        yield "A reconstruction error leaves missing values out, and is small for anomalies that the decoder can write."
    if contract.precision == "int8":
        yield "An int8 vector depends slightly on the other rows of its batch."


def _lengths(contract: ModelContract) -> Iterator[str]:
    policy, longest = contract.length_policy, contract.training.profile.max_length
    if policy.max_length is not None:
        which = "newest" if policy.truncate == "tail" else "oldest"
        yield f"Of a sequence of more than {counted(policy.max_length, 'step')} only the {which} are read."
    else:
        yield f"No sequence of more than {counted(longest, 'step')} was in these data; longer ones are embedded, too."
    yield "A sequence without steps has no vector."


def _values(contract: ModelContract) -> Iterator[str]:
    schema, profile = contract.schema, contract.training.profile
    if schema.features:
        yield "Values are in the raw units of these data. Other units, or another meaning, are not noticed."
    gaps = [name for name, rate in zip(schema.feature_names, profile.missing_rate, strict=True) if rate]
    if schema.features and not gaps:
        yield "No value was missing in these data; missing values are accepted and replaced in the graph."
    if schema.categorical:
        yield "All other values of a category count as one unknown value."
    if schema.time_zone == "aware":
        yield "Times are read in UTC, whatever zone the column names."
    if schema.time_zone == "naive":
        yield "Times have no zone and are read as what the clock showed."
    if (gap := coverage_gap(schema, profile)) is not None:
        yield escaped(gap)
    constant = [name for name, std in zip(schema.feature_names, profile.std, strict=True) if std == 0]
    if constant:
        yield f"Constant in these data, so of no use: {', '.join(map(escaped, constant[:10]))}."
