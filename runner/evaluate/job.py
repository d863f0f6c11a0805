"""Run an evaluation: embed both splits, compute the controls, and score all of them on the same rows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from threadpoolctl import threadpool_limits

from seqembed.data.contract import ModelContract
from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.census import refuse_ids_in_several_files
from seqembed.data.files.listing import find_inputs
from seqembed.data.files.secrets import without_secrets
from seqembed.data.schema.check import check_schema
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.evaluate.bag import BagOfCategories
from seqembed.runner.evaluate.config import EvaluateConfig
from seqembed.runner.evaluate.controls import Control, MeanAndSpread, RawValues, Untrained, Vectors
from seqembed.runner.evaluate.gather import gather
from seqembed.runner.evaluate.labels import check_label
from seqembed.runner.evaluate.minirocket import MiniRocket
from seqembed.runner.evaluate.progress import Stages, show_stages
from seqembed.runner.evaluate.protocols import Task, score_vectors
from seqembed.runner.evaluate.report import TRAINED, UNTRAINED, Encoding, Evaluation, Row, SplitCounts
from seqembed.runner.evaluate.split import Split, embed_split, read_vectors
from seqembed.runner.evaluate.subset import stratified_rows
from seqembed.runner.evaluate.verdict import verdict

_MAX_CLASSES = 1_000  # an SVM fits one classifier per pair of classes


def evaluate(config: EvaluateConfig, console: Console) -> Evaluation:
    """Evaluate the embeddings of a bundle on labelled data.

    Raises:
        UsageError: The column cannot be a label, or a file is in both splits.
        InputError: An input cannot be read, lacks the label, or has fewer than two classes.
        BundleError: The model fails a check, or returns numbers that are not finite.
    """
    bundle = read_bundle(config.model)
    contract = Encoder.from_bytes(bundle, source=config.model).contract
    for note in _check_inputs(config, contract):
        console.print(note, style="yellow", markup=False, highlight=False)
    with tempfile.TemporaryDirectory(prefix="seqembed-evaluate-") as directory, threadpool_limits(config.threads):
        train = embed_split(config, "train", config.train, Path(directory) / "train", console)
        test = embed_split(config, "test", config.test, Path(directory) / "test", console)
        return _Evaluator(config, bundle, contract, train, test).run(console)


def _check_inputs(config: EvaluateConfig, contract: ModelContract) -> list[str]:
    """Check that splits share no files and no id is in several files; return notes on the files for the user."""
    found = find_inputs(config.train, config.version), find_inputs(config.test, config.version)
    train, test = (split.files for split in found)
    both = {(file.filesystem.type_name, file.path) for file in train}
    for file in test:
        if (file.filesystem.type_name, file.path) in both:
            raise UsageError(
                f"{file.path}: in --train and in --test. Accuracy on training rows is meaningless: split the data."
            )
    check_label([*train, *test], config.label, contract.schema)
    for file in (*train, *test):  # before the first split is embedded
        check_schema(file, file.footer()[0], contract.schema, trained=True)
    for split in (train, test):
        refuse_ids_in_several_files(split, contract.schema, keep=(config.label,))
    return [note for split in found for note in split.notes()]


class _Evaluator:
    """Scores two embedded splits on selected rows."""

    def __init__(
        self, config: EvaluateConfig, bundle: bytes, contract: ModelContract, train: Split, test: Split
    ) -> None:
        self._config, self._bundle, self._contract = config, bundle, contract
        self._splits = (train, test)
        self._names, codes = _classes(train, test, config)
        chosen = [stratified_rows(found, config.max_rows, config.seed) for found in codes]
        self._rows = [split.rows[indices] for split, indices in zip(self._splits, chosen, strict=True)]
        classes = [found[indices] for found, indices in zip(codes, chosen, strict=True)]
        self._task = Task(classes[0], classes[1], config.seed, config.threads)

    def run(self, console: Console) -> Evaluation:
        """Compute the controls, score everything and assemble the results."""
        config = self._config
        seeds = range(config.seed, config.seed + config.untrained_seeds)
        untrained = [Untrained(self._bundle, self._contract, seed, config.threads) for seed in seeds]
        num_rows = sum(map(len, self._rows))
        plain: list[Control] = [RawValues(self._contract), MeanAndSpread(self._contract)]
        plain.append(MiniRocket(self._contract, num_rows, config.seed))
        if self._contract.schema.categorical:
            plain.append(BagOfCategories(self._contract))
        trained = tuple(
            read_vectors(split, rows, config.model) for split, rows in zip(self._splits, self._rows, strict=True)
        )
        with show_stages(config.progress, 2 + len(untrained) + len(plain), console) as stages:
            stages.begin("computing the controls")
            gathered = gather([*untrained, *plain], self._contract, self._splits, self._rows)
            of_untrained, of_plain = gathered[: len(untrained)], gathered[len(untrained) :]
            rows = [self._scored(TRAINED, [(trained[0], trained[1])], [None], stages)]
            reasons = [control.absent for control in untrained]
            rows.append(self._scored(UNTRAINED, of_untrained, reasons, stages, tuple(seeds)))
            for control, vectors in zip(plain, of_plain, strict=True):
                rows.append(self._scored(control.name, [vectors], [control.absent], stages))
        return self._evaluation(rows, untrained)

    def _scored(
        self,
        name: str,
        draws: Sequence[Vectors],
        reasons: Sequence[str | None],
        stages: Stages,
        seeds: tuple[int, ...] = (),
    ) -> Row:
        """Score one kind of vectors, for one or several seeds."""
        absent = next((reason for reason in reasons if reason is not None), None)
        width = 0 if absent is not None else draws[0][0].shape[1]
        if absent is None and width == 0:
            absent = "equal for all training sequences"
        scores = []
        for index, (train, test) in enumerate(draws):
            stages.begin(f"scoring: {name}" + (f", seed {seeds[index]}" if seeds else ""))
            if absent is None:
                scores.append(score_vectors(train.astype(np.float64), test.astype(np.float64), self._task))
        return Row(name, width, tuple(scores), absent, seeds if absent is None else ())

    def _evaluation(self, rows: list[Row], untrained: Sequence[Untrained]) -> Evaluation:
        config, task = self._config, self._task
        train, test = self._splits
        unseen = ~np.isin(task.test, task.train)
        numbers, sizes = np.unique(task.train, return_counts=True)
        majority = int(numbers[sizes.argmax()])
        seconds = sum(control.seconds for control in untrained)
        return Evaluation(
            model=without_secrets(config.model),
            model_sha256=bundle_sha256(self._bundle),
            label=config.label,
            seed=config.seed,
            train=_counts(train, task.train),
            test=_counts(test, task.test),
            unseen_rows=int(unseen.sum()),
            unseen_labels=tuple(self._names[number] for number in np.unique(task.test[unseen])),
            chance=1 / len(numbers),
            majority=float((task.test == majority).mean()),
            majority_label=self._names[majority],
            encoding=Encoding(
                rows=sum(split.counts.rows_in for split in self._splits),
                seconds=sum(split.seconds for split in self._splits),
                encoder_rows_per_second=sum(control.num_rows for control in untrained) / seconds if seconds else None,
                threads=config.threads,
            ),
            classes=tuple(self._names[number] for number in np.unique(task.test)),
            rows=tuple(rows),
            verdict=verdict(rows[0], rows[1], rows[2:]),
        )


def _classes(train: Split, test: Split, config: EvaluateConfig) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Return the sorted names of all classes, and for both splits the class index of each usable row.

    Raises:
        InputError: The training rows have fewer than two classes, or too many.
    """
    names = sorted(pc.unique(pa.concat_arrays([train.labels, test.labels])).to_pylist())
    codes = [pc.index_in(split.labels, pa.array(names)).to_numpy().astype(np.int64) for split in (train, test)]
    num_classes = len(np.unique(codes[0]))
    if num_classes < 2:
        raise InputError(
            f"--train: all {len(codes[0]):,} rows with a label and a vector have {config.label} = "
            f"{names[codes[0][0]]!r}; expected two classes or more. Pass training rows of every class."
        )
    if num_classes > _MAX_CLASSES:
        raise InputError(
            f"--train: column '{config.label}' has {num_classes:,} classes; at most {_MAX_CLASSES:,} are "
            "supported. Is it an id? Choose a column with fewer classes."
        )
    return names, codes


def _counts(split: Split, classes: NDArray[np.int64]) -> SplitCounts:
    return SplitCounts(
        rows=split.counts.rows_in,
        unlabelled=split.num_unlabelled,
        empty=split.num_empty,
        bad=split.num_bad,
        used=len(classes),
        truncated=split.counts.rows_truncated,
        classes=len(np.unique(classes)),
    )
