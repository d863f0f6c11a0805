"""The command `seqembed evaluate` end to end: output, files and errors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from events_testing import untrained_run
from matplotlib import image

from seqembed.data.display.pictures import DPI
from seqembed.runner.evaluate.plot import HEIGHT, WIDTH
from seqembed_testing import (
    Tiny,
    done,
    events_bundle,
    resealed,
    seqembed,
    sequences,
    write_events,
    write_sequences,
)

# Commands in a process of their own have all features.
pytestmark = pytest.mark.usefixtures("few_features")
FEW = ["--untrained-seeds", 1, "--progress", "none"]


@pytest.fixture
def evaluate(tiny: Tiny, tmp_path: Path) -> Callable[..., list[object]]:
    """Return a function that builds the command line for two splits, given as columns or paths."""

    def words(train: object, test: object, *more: object, model: Path | None = None) -> list[object]:
        paths = []
        for name, given in (("train", train), ("test", test)):
            path = tmp_path / f"{name}.parquet"
            paths += [f"--{name}", write_sequences(path, given) if isinstance(given, dict) else given]
        return ["evaluate", "--model", model or tiny.bundle, *paths, "--label", "label", *FEW, *more]

    return words


def labelled(num: int, seed: int, **options: int) -> dict[str, list]:
    """Return sequences whose mean of x determines the label."""
    columns = sequences(num, seed, **options)
    for label, values in zip(columns["label"], columns["x"], strict=True):
        values[:] = [None if value is None else value + 3 * label for value in values]
    return columns


def figures(words: list[object]) -> dict:
    """Return the output of `--json`, which must be valid JSON only."""
    return json.loads(done(*words, "--json").stdout)


def row(found: dict, name: str) -> dict:
    return next(row for row in found["rows"] if row["name"] == name)


def test_a_user_sees_the_table_and_a_verdict(evaluate: Callable, tmp_path: Path) -> None:
    words = evaluate(labelled(80, 1), labelled(60, 2))
    result = done(*words, "--json", tmp_path / "new" / "scores.json", "--plot", tmp_path / "scores.png")
    for text in (
        "trained encoder",
        "untrained encoder",
        "raw values",
        "mean and spread",
        "MiniRocket",
        "SVM",
        "1-NN",
        "chance 33.3%",
    ):
        assert text in result.stdout
    assert "raw values: sequences differ in length" in result.stdout
    assert "without steps" in result.stdout
    assert image.imread(tmp_path / "scores.png").shape[:2] == (HEIGHT * DPI, WIDTH * DPI)
    found = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert found["verdict"]["text"] in result.stdout
    assert row(found, "mean and spread")["mean"]["svm"] > 0.9


def test_the_json_is_complete_and_reproducible(evaluate: Callable) -> None:
    train, test = labelled(80, 1), labelled(60, 2)
    test["label"][:6] = [None, None, 9, 9, 9, None]
    test["x"][:6] = test["y"][:6] = [[1.0]] * 6
    found = figures(evaluate(train, test, "--untrained-seeds", 2))
    empty = [sum(not values for values in split["x"]) for split in (train, test)]
    assert min(empty) > 0
    assert found["train"]["empty"] == empty[0]
    assert found["train"]["used"] == 80 - empty[0]
    counts = found["test"]
    assert (counts["rows"], counts["unlabelled"], counts["empty"]) == (60, 3, empty[1])
    assert (counts["unseen_rows"], counts["unseen_labels"], counts["classes"]) == (3, ["9"], 4)
    assert found["majority"]["accuracy"] <= 0.5
    assert found["encoding"]["rows"] == 140
    assert found["encoding"]["rows_per_second"] > 0
    untrained = row(found, "untrained encoder")
    assert untrained["seeds"] == [0, 1]
    assert len(untrained["scores"]) == 2
    svm = [scores["svm"]["accuracy"] for scores in untrained["scores"]]
    assert untrained["mean"]["svm"] == pytest.approx(np.mean(svm))
    assert untrained["standard_error"]["svm"] == pytest.approx(np.std(svm, ddof=1) / 2**0.5)
    assert row(found, "raw values")["absent"] == "sequences differ in length"
    assert "bag of categories" not in [one["name"] for one in found["rows"]]
    judged = row(found, "trained encoder")["scores"][0]["svm"]
    assert list(judged["recall"]) == ["0", "1", "2", "9"]
    assert judged["recall"]["9"] == judged["precision"]["9"] == judged["f1"]["9"] == 0
    assert np.mean(list(judged["recall"].values())) == pytest.approx(judged["balanced_accuracy"])
    again = figures(evaluate(train, test, "--untrained-seeds", 2, "--threads", 1))
    for key in ("rows", "verdict", "train", "test"):
        assert again[key] == found[key]


def test_raw_values_are_compared_for_sequences_of_one_length(evaluate: Callable) -> None:
    found = figures(evaluate(labelled(60, 1, shortest=8, longest=8), labelled(60, 2, shortest=8, longest=8)))
    raw = row(found, "raw values")
    assert (raw["absent"], raw["width"]) == (None, 16)
    assert raw["mean"]["logistic"] > 0.9


def test_large_splits_are_sampled_and_it_is_reported(evaluate: Callable) -> None:
    words = evaluate(labelled(80, 1, shortest=1), labelled(60, 2, shortest=1), "--max-rows", 30)
    assert "30 rows, 3 classes; stratified sample of 80 (--max-rows)" in done(*words).stdout


def test_events_and_several_inputs(evaluate: Callable, tiny: Tiny, tmp_path: Path) -> None:
    bundle = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    train, more, test = (write_events(tmp_path / f"{n}" / "e.parquet", 40, seed=n, prefix=f"{n}-") for n in (1, 2, 3))
    found = figures(evaluate(train, tmp_path / "3", "--train", more, model=bundle))
    assert found["train"]["used"] == 80
    assert found["test"]["used"] == 40
    write_events(test, 40, seed=2, prefix="2-")
    refused = seqembed(*evaluate(train, more, "--test", test, model=bundle))
    assert refused.exit_code == 3, refused.output
    assert "40 of 40 ids (100.0%) have events in more than one of 2 files" in refused.output


def test_a_hive_key_can_be_the_label_and_bad_rows_are_counted(evaluate: Callable, tmp_path: Path) -> None:
    for split, seed in (("train", 1), ("test", 5)):
        for kind in ("a", "b"):
            columns = labelled(20, seed + ord(kind), shortest=2)
            columns["y"][0] = columns["y"][0][:-1]
            write_sequences(tmp_path / split / f"kind={kind}" / "p.parquet", columns)
    found = figures(evaluate(tmp_path / "train", tmp_path / "test", "--label", "kind"))
    assert (found["train"]["bad"], found["train"]["used"], found["train"]["classes"]) == (2, 38, 2)


def test_options_can_be_read_from_a_file(evaluate: Callable, tiny: Tiny, tmp_path: Path) -> None:
    train, test = (write_sequences(tmp_path / f"{n}.parquet", labelled(40, n, shortest=1)) for n in (1, 2))
    config = tmp_path / "c.toml"
    config.write_text(
        f"[evaluate]\nmodel = '{tiny.bundle}'\ntrain = ['{train}']\ntest = ['{test}']\nlabel = 'label'\n"
        f"untrained-seeds = 1\nprogress = 'none'\njson = '{tmp_path / 'x.json'}'\n"
    )
    done("evaluate", "--config", config)
    found = json.loads((tmp_path / "x.json").read_text())
    assert len(row(found, "untrained encoder")["scores"]) == 1
    assert row(found, "untrained encoder")["standard_error"]["svm"] is None


def test_recorded_data_end_to_end(tmp_path: Path) -> None:
    done("sample", "japanese-vowels", "--out", tmp_path / "data")
    train, test = tmp_path / "data" / "train.parquet", tmp_path / "data" / "test.parquet"
    options = {"units": 32, "embedding_dim": None, "channels": "both", "normalization": "sequence"}
    run = untrained_run(tmp_path / "run", train, "nested", time=None, **options)
    done("export", run.root, "--out", tmp_path / "encoder.onnx")
    words = ["evaluate", "--model", tmp_path / "encoder.onnx", "--train", train, "--test", test, "--label", "speaker"]
    found = figures([*words, *FEW, "--untrained-seeds", 2])
    assert found["test"]["used"] == 370
    assert found["chance"] == pytest.approx(1 / 9)
    trained, untrained = (row(found, f"{name} encoder")["mean"] for name in ("trained", "untrained"))
    # Both are untrained: weights drawn for the graph must be as good as Keras's.
    assert trained["svm"] == pytest.approx(untrained["svm"], abs=0.04)
    assert untrained["svm"] > 0.9
    assert untrained["nearest"] > 0.85


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"label": [1] * 40}, 3, "all 38 rows with a label and a vector have label = '1'; expected two classes"),
        ({"label": [None] * 40}, 3, "none of 40 rows can be used (38 without 'label', 2 without steps"),
        ({"label": [[1]] * 40}, 3, "train.parquet: column 'label' is list<element: int64>; expected text"),
        ({"label": [0.5] * 40}, 3, "Bin the numbers first"),
        ({"other": [1] * 40}, 3, "train.parquet: no column 'label', expected as the label. The file has: id, x, y"),
        ({"id": None, "label": [1] * 40}, 3, "no column 'id', expected as the id column. The file has:"),
    ],
)
def test_data_that_cannot_be_scored_is_refused(evaluate: Callable, change: dict, code: int, message: str) -> None:
    train = labelled(40, 1, shortest=1)
    train["x"][:2] = train["y"][:2] = [[], []]
    del train["label"]
    train = {name: values for name, values in (train | change).items() if values is not None}
    result = seqembed(*evaluate(train, labelled(20, 2)))
    assert result.exit_code == code, result.output
    assert message in result.output.replace("\n", " ")


def test_ids_are_not_classes(evaluate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqembed.runner.evaluate.job._MAX_CLASSES", 20)
    columns = labelled(40, 1, shortest=1)
    columns["label"] = columns["id"]
    result = seqembed(*evaluate(columns, labelled(20, 2)))
    assert result.exit_code == 3
    assert "Is it an id?" in result.output


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--label", "id"], 2, "that is the id column"),
        (["--label", "x"], 2, "that column is a feature of the model"),
        (["--label", "embedding"], 2, "Rename the input column"),
        (["--plot", "worth.jpg"], 2, "ends in .png"),
        (["--untrained-seeds", 0], 2, "at least 1"),
        (["--max-rows", 3], 2, "at least 10"),
        (["--seed", -1], 2, "0 or more"),
        (["--threads", 0], 2, "at least 1"),
        (["--json", "/proc/nowhere/x.json"], 6, "cannot be written"),
        (["--json", "/"], 6, "it is a directory"),
        (["--model", "/nowhere.onnx"], 4, "cannot read the model"),
        (["--train", "/nowhere/"], 3, "no such file or directory"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    evaluate: Callable, options: list[object], code: int, message: str
) -> None:
    result = seqembed(*evaluate(labelled(40, 1), labelled(20, 2), *options))
    assert result.exit_code == code, result.output
    assert message in result.output


def test_a_file_in_both_splits_is_refused(evaluate: Callable, tiny: Tiny) -> None:
    result = seqembed(*evaluate(tiny.data, tiny.data))
    assert result.exit_code == 2
    assert "in --train and in --test" in result.output


def test_a_model_that_fails_its_golden_sequences_is_refused(evaluate: Callable, tiny: Tiny, tmp_path: Path) -> None:
    model = onnx.load(tiny.bundle)
    (output,) = [node for node in model.graph.node if "embedding" in node.output]
    output.output[0] = "before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(-1.0, np.float32), "minus"))
    nodes = [
        ("Mul", ["before", "minus"], "negative"),
        ("Sqrt", ["negative"], "root"),
        ("Mul", ["root", "root"], "embedding"),
    ]
    for kind, inputs, name in nodes:
        model.graph.node.append(onnx.helper.make_node(kind, inputs, [name]))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(resealed(model))
    result = seqembed(*evaluate(labelled(40, 1), labelled(20, 2), model=broken))
    assert result.exit_code == 4
    assert "golden sequences" in result.output


def test_no_training_library_is_loaded_nor_needed(evaluate: Callable) -> None:
    words = [str(word) for word in evaluate(labelled(40, 1), labelled(20, 2))]
    code = (
        "import sys\nfrom seqembed.runner.cli import main\nfrom seqembed.runner.evaluate import minirocket\n"
        "minirocket._FEATURES = 336; assert 'sklearn' not in sys.modules\n"  # of 9,996, which cost three seconds
        f"try: main({words!r})\nexcept SystemExit as stop: assert not stop.code\n"
        "assert 'sklearn' in sys.modules\n"
        "unneeded = {'tensorflow', 'keras', 'tf2onnx', 'tomli_w', 'matplotlib', 'seqembed.trainer'}\n"
        "assert not unneeded & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    help_only = (
        "from seqembed.runner.evaluate import command; import sys; assert not {'sklearn', 'onnx'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", help_only], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_without_its_extra_it_says_which_to_install(evaluate: Callable) -> None:
    words = [str(word) for word in evaluate(labelled(40, 1), labelled(20, 2))]
    code = f"import sys; sys.modules['sklearn'] = None\nfrom seqembed.runner.cli import main; main({words!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "evaluate needs sklearn" in ended.stderr
    assert "pip install 'seqembed[evaluate]'" in ended.stderr


def test_nothing_is_left_in_the_temporary_directory(
    evaluate: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    done(*evaluate(labelled(40, 1), labelled(20, 2)))
    assert seqembed(*evaluate(labelled(40, 1) | {"label": [1] * 40}, labelled(20, 2))).exit_code == 3
    assert not list(scratch.iterdir())


def test_dictionary_labels_of_either_split_are_one_set_of_classes(evaluate: Callable, tmp_path: Path) -> None:
    columns = labelled(40, 1, shortest=1)
    table = pq.read_table(write_sequences(tmp_path / "plain.parquet", columns))
    label = pa.array([str(label) for label in columns["label"]]).dictionary_encode()
    coded = tmp_path / "coded.parquet"
    pq.write_table(table.set_column(1, "label", label), coded)
    found = figures(evaluate(coded, labelled(40, 2)))  # text here, integers there
    assert found["test"]["unseen_rows"] == 0
    assert found["train"]["classes"] == 3
