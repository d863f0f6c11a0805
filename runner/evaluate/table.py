"""Show the results of an evaluation on a terminal."""

from rich.markup import escape
from rich.table import Table

from seqembed.data.plurals import counted, verb
from seqembed.runner.evaluate.report import CLASSIFIERS, METRICS, Evaluation, Metric, Row, SplitCounts
from seqembed.runner.evaluate.scores import MAX_SEARCH_ROWS

MAX_CLASSES = 20  # listed individually
_MIN_CLASSES = 3
_MAX_LABELS = 5  # unseen labels listed in a message


def table(evaluation: Evaluation) -> Table:
    """Return a table of accuracies on the test rows in percent, and of the adjusted Rand index."""
    shown = Table("vectors", *METRICS.values())
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in evaluation.rows:
        shown.add_row(row.name, *(_cell(row, metric) for metric in METRICS))
    # Baselines for an accuracy: guessing, and always predicting the most frequent class.
    for name, accuracy in (("guessing (chance)", evaluation.chance), ("most frequent class", evaluation.majority)):
        shown.add_row(name, *("0.00" if metric == "clusters" else f"{accuracy:.1%}" for metric in METRICS))
    return shown


def class_table(evaluation: Evaluation) -> Table | None:
    """Return a table of F1 per class in percent, of the classifier that is best on the trained vectors.

    Recall alone would favour vectors that distinguish few classes, since one of them may be predicted in all doubtful
    cases.

    None for more than `MAX_CLASSES`, or fewer than three, for which accuracy suffices.
    """
    if not _MIN_CLASSES <= len(evaluation.classes) <= MAX_CLASSES:
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
    return f"{mean * factor:z.{digits}f}{spread}{unit}"


def lines_before(evaluation: Evaluation) -> list[str]:
    """Return a description of the data, to print before the table."""
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
    """Return remarks on the table, and the verdict."""
    reasons = [f"{row.name}: {row.absent}" for row in evaluation.rows if row.absent is not None]
    draws = max(len(row.scores) for row in evaluation.rows)
    spread = [f"untrained: mean over {draws} seeds of the weights, ± its standard error"] if draws > 1 else []
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
        text += f"; stratified sample of {counts.usable:,} (--max-rows)"
    if dropped:
        text += f"; dropped: {dropped}"
    if counts.truncated:
        text += f"; {counts.truncated:,} truncated"
    return text


def _unseen(evaluation: Evaluation) -> list[str]:
    if not evaluation.unseen_rows:
        return []
    labels = evaluation.unseen_labels
    named = ", ".join(repr(label) for label in labels[:_MAX_LABELS]) + (", …" if len(labels) > _MAX_LABELS else "")
    num = evaluation.unseen_rows
    which = verb(num, "has a label", "have labels")
    return [
        f"{counted(num, 'test row')} {which} without training rows ({named}), and "
        f"{verb(num, 'counts', 'count')} as wrong"
    ]


def _search(evaluation: Evaluation) -> list[str]:
    if evaluation.train.used <= MAX_SEARCH_ROWS:
        return []
    return [f"the SVM's C was chosen on {MAX_SEARCH_ROWS:,} of the training rows, and the SVM fitted on all"]
