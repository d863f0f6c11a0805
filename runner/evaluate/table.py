"""An evaluation as people read it on a terminal."""

from rich.markup import escape
from rich.table import Table

from seqembed.runner.evaluate.report import CLASSIFIERS, METRICS, Evaluation, Metric, Row, SplitCounts
from seqembed.runner.evaluate.scores import MAX_SEARCH_ROWS

MOST_CLASSES = 20  # that are listed one by one
_FEWEST_CLASSES = 3
_MOST_NAMED = 5  # unseen labels that are spelt out


def table(evaluation: Evaluation) -> Table:
    """Return the vectors with their figures: accuracies on the test rows in percent, and the adjusted Rand index."""
    shown = Table("vectors", *METRICS.values())
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in evaluation.rows:
        shown.add_row(row.name, *(_cell(row, metric) for metric in METRICS))
    # What an accuracy has to be read against: guessing, and naming the most frequent class every time.
    for name, accuracy in (("guessing (chance)", evaluation.chance), ("most frequent class", evaluation.majority)):
        shown.add_row(name, *("0.00" if metric == "clusters" else f"{accuracy:.1%}" for metric in METRICS))
    return shown


def class_table(evaluation: Evaluation) -> Table | None:
    """Return how well each class is recognised, F1 in percent, by the classifier that does best on the trained vectors.

    Recall alone would favour vectors that distinguish few classes: what they cannot distinguish shares its votes among
    many classes, and the one they can wins every doubt.

    None where there are more than `MOST_CLASSES`, or fewer than three: of two, accuracy says enough.
    """
    if not _FEWEST_CLASSES <= len(evaluation.classes) <= MOST_CLASSES:
        return None
    trained = evaluation.rows[0]
    best = max(CLASSIFIERS, key=lambda classifier: trained.mean(classifier) or 0.0)
    columns = [(row.name, found) for row in evaluation.rows if (found := row.f1(best)) is not None]
    shown = Table(f"{escape(evaluation.label)}, F1 by {METRICS[best]}", *(name for name, _ in columns))
    for column in shown.columns[1:]:
        column.justify = "right"
    for index, name in enumerate(evaluation.classes):
        shown.add_row(escape(name), *(f"{found[index]:.1%}" for _, found in columns))
    return shown


def _cell(row: Row, metric: Metric) -> str:
    mean, error = row.mean(metric), row.standard_error(metric)
    if mean is None:
        return "–"
    factor, digits, unit = (1, 2, "") if metric == "clusters" else (100, 1, "%")
    spread = "" if error is None else f" ± {error * factor:.{digits}f}"
    return f"{mean * factor:.{digits}f}{spread}{unit}"


def lines_before(evaluation: Evaluation) -> list[str]:
    """Return what was judged, line by line."""
    encoding = evaluation.encoding
    alone = encoding.encoder_rows_per_second
    rate = f"embedded {encoding.rows:,} rows in {encoding.seconds:.1f} s, {encoding.rows_per_second:,.0f} rows/s"
    threads = "1 thread" if encoding.threads == 1 else f"{encoding.threads} threads"
    return [
        f"train  {_split(evaluation.train)}",
        f"test   {_split(evaluation.test)}",
        *_unseen(evaluation),
        *_search(evaluation),
        f"chance {evaluation.chance:.1%}; always '{evaluation.majority_label}', the most frequent training class: "
        f"{evaluation.majority:.1%}",
        f"{rate} from Parquet to Parquet with start-up, {threads}",
        *([f"the encoder alone embeds {alone:,.0f} rows/s"] if alone else []),
    ]


def lines_after(evaluation: Evaluation) -> list[str]:
    """Return what the table leaves open, and the verdict."""
    reasons = [f"{row.name}: {row.absent}" for row in evaluation.rows if row.absent is not None]
    draws = max(len(row.scores) for row in evaluation.rows)
    spread = [f"untrained: mean of {draws} draws of the weights, ± its standard error"] if draws > 1 else []
    return [*reasons, *spread, evaluation.verdict.text]


def _split(counts: SplitCounts) -> str:
    kinds = (
        (counts.unlabelled, "without label"),
        (counts.empty, "without steps"),
        (counts.bad, "bad (see seqembed run)"),
    )
    dropped = ", ".join(f"{number:,} {what}" for number, what in kinds if number)
    text = f"{counts.used:,} rows, {counts.classes} classes"
    if counts.used < counts.usable:
        text += f"; drawn class by class from {counts.usable:,} (--max-rows)"
    if dropped:
        text += f"; dropped: {dropped}"
    if counts.truncated:
        text += f"; {counts.truncated:,} truncated"
    return text


def _unseen(evaluation: Evaluation) -> list[str]:
    if not evaluation.unseen_rows:
        return []
    labels = evaluation.unseen_labels
    named = ", ".join(repr(label) for label in labels[:_MOST_NAMED]) + (", …" if len(labels) > _MOST_NAMED else "")
    return [f"{evaluation.unseen_rows:,} test rows have labels no training row has ({named}); they count as wrong"]


def _search(evaluation: Evaluation) -> list[str]:
    if evaluation.train.used <= MAX_SEARCH_ROWS:
        return []
    return [f"the SVM's C was chosen on {MAX_SEARCH_ROWS:,} of the training rows, and the SVM fitted on all"]
