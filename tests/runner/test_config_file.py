"""Options in a TOML file: lists, types, precedence, and errors for unknown keys."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seqembed.data.layout import RunLayout
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences


@pytest.fixture
def write(tmp_path: Path):  # noqa: ANN201
    """Return a function that writes a configuration file."""

    def write(text: str) -> Path:
        (tmp_path / "c.toml").write_text(text)
        return tmp_path / "c.toml"

    return write


@pytest.mark.parametrize("keep", ['"label,x"', '["label", "x"]', '[" label ", "x"]'])
@pytest.mark.parametrize("inputs", ["inputs = ['{}']", "input = '{}'", "inputs = '{}'"])
def test_lists_are_lists_and_arguments_may_be_in_the_file(tiny: Tiny, tmp_path: Path, write, keep, inputs) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    text = f"[run]\n{inputs.format(data)}\nmodel = '{tiny.bundle}'\nout = '{tmp_path / 'out'}'\nkeep = {keep}\n"
    done("run", "--config", write(text))
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_schema(part).names == ["id", "label", "x", "embedding"]


def test_precedence_of_the_command_line_tables_and_the_top_level(tiny: Tiny, tmp_path: Path, write) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    config = write(
        f"model = '{tiny.bundle}'\nlimit = 3\nout = '{tmp_path / 'out'}'\n[train]\nunits = 3\nunknown = 1\n"
        "[run]\nlimit = 7\n[sample]\nrows = 3\n"
    )
    assert "7 rows in" in done("run", data, "--config", config).output
    assert "9 rows in" in done("run", data, "--config", config, "--limit", 9, "--out", tmp_path / "two").output


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        ("run", "limt = 3", r"'limt' is not an option of `seqembed run`. Did you mean 'limit'?"),
        ("run", "limt = 3\n[run]\nlimit = 3", r"'limt' is not an option of `seqembed run`. Did you mean 'limit'?"),
        ("run", "[run]\nlimt = 3", r"'[run] limt' is not an option"),
        ("run", "[rum]\nlimit = 3", r"'[rum]' is not a command of seqembed. Did you mean 'run'?"),
        ("run", "run = 5", r"run is an integer (5); expected a table [run] with options of `seqembed run`"),
        ("run", "train = 5", r"train is an integer (5); expected a table [train]"),
        ("run", "[[run]]\nlimit = 3", r"run is a list"),
        ("run", "threads = 'four'", r"threads is text ('four'); expected an integer"),
        ("run", "[run]\nthreads = 2.5", r"[run] threads is a number (2.5); expected an integer"),
        ("run", "threads = true", r"threads is true or false (True); expected an integer"),
        ("run", "overwrite = 'yes'", r"overwrite is text ('yes'); expected true or false"),
        ("run", "model = 3", r"model is an integer (3); expected text"),
        ("run", "keep = 3", r"keep: 3 is not a list of names"),
        ("run", "keep = [1, 2]", r"keep: [1, 2] is not a list of names"),
        ("run", "[run.keep]\na = 1", r"[run] keep: {'a': 1} is not a list of names"),
        ("run", "inputs = [1]", r"inputs is a list ([1]); expected text, or a list of them"),
        ("run", "out = 2026-11-26", r"out is a date or time"),
        ("run", "dtype = 'float64'", r"dtype: 'float64' is not one of"),
        ("run", "inputs = ['a']\ninput = ['b']", r"sets the option INPUT a second time"),
        ("run", "config = 'd.toml'", r"'config' is not an option"),
        ("train", "units = '4'", r"units is text ('4'); expected an integer"),
        ("train", "frame = 2.5", r"frame: 2.5 is neither 'auto' nor a positive number"),
        ("train", "features = 3", r"features: 3 is not a list of names"),
        ("train", "unit = 4", r"Did you mean 'units'?"),
        ("train", "bidirectional = false\nforward-only = true", r"--bidirectional a second time"),
        ("export", "features = [3]", r"features: [3] is not a list of names"),
        ("export", "data = 3", r"data is an integer (3); expected text, or a list of them"),
        ("export", "tolerance = '1'", r"tolerance is text ('1'); expected a number"),
        ("evaluate", "train = 3", r"train is an integer (3); expected text, or a list of them"),
        ("evaluate", "[evaluate]\nlabels = 'x'", r"Did you mean 'label'?"),
        ("sample", "rows = 'many'", r"rows is text ('many'); expected an integer"),
        ("sample", "rows = 0", r"rows: 0 is not in the range"),
        ("inspect", "paht = 'x'", r"Did you mean 'path'?"),
        ("run", "limit = ", "not valid TOML"),
        ("run", "limit = " + "[" * 20_000, "not valid TOML"),
    ],
)
def test_unknown_keys_are_usage_errors_with_file_and_key(write, command: str, text: str, message: str) -> None:
    config = write(text)
    result = seqembed(command, "--config", config)
    assert result.exit_code == 2, result.output
    shown = " ".join(result.output.split())
    assert str(config) in shown.replace(" ", "") or str(config) in shown
    assert message in shown and "Traceback" not in shown


def test_every_command_takes_its_arguments_and_required_options_from_the_file(tiny: Tiny, tmp_path, write) -> None:
    out = tmp_path / "ones.parquet"
    done("sample", "--config", write(f"[sample]\nname = 'moving-ones'\nout = '{out}'\nrows = 9\n"))
    assert pq.read_metadata(out).num_rows == 9
    assert "a seqembed model" in done("inspect", "--config", write(f"path = '{tiny.bundle}'")).output
    bundle = tmp_path / "again.onnx"
    done("export", "--config", write(f"[export]\nsource = '{tiny.run}'\nout = '{bundle}'\n"))
    assert bundle.exists()


@pytest.mark.usefixtures("few_features", "quick_training")
def test_a_training_and_an_evaluation_share_one_file(tmp_path: Path, tiny: Tiny, write) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(40, seed=1))
    test = write_sequences(tmp_path / "test.parquet", sequences(40, seed=2))
    text = (
        f"[train]\ninputs = ['{data}']\nout = '{tmp_path / 'run'}'\nfeatures = ['y', 'x']\nforward-only = true\n"
        "units = 3\nepochs = 0\nframe = 'auto'\n"
        f"[evaluate]\nmodel = '{tiny.bundle}'\ntrain = '{data}'\ntest = ['{test}']\nlabel = 'label'\njson = true\n"
        "untrained-seeds = 1\n"
    )
    done("train", "--config", write(text))
    saved = RunLayout(tmp_path / "run").config.read_text()
    assert "bidirectional = false" in saved and '"y",' in saved
    assert done("evaluate", "--config", write(text)).stdout.startswith("{")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("run", "no INPUT, --model and --out given"),
        ("train", "no INPUT and --out given"),
        ("export", "no SOURCE and --out given"),
        ("evaluate", "no --model, --train, --test and --label given"),
        ("sample", "no NAME and --out given"),
        ("inspect", "no PATH given"),
    ],
)
def test_all_missing_options_are_named_at_once(command: str, names: str) -> None:
    result = seqembed(command)
    assert result.exit_code == 2
    assert names in " ".join(result.output.split())


def test_options_in_the_file_are_not_missing(write) -> None:
    result = seqembed("run", "--config", write("out = 'vectors'"))
    assert result.exit_code == 2 and "no INPUT and --model given" in result.output


@pytest.mark.parametrize(
    ("command", "expected"), [("run", "INPUT is the key `inputs`"), ("export", "SOURCE is the key `source`")]
)
def test_help_names_the_keys_of_arguments(command: str, expected: str) -> None:
    assert expected in " ".join(done(command, "--help").output.split())


def test_a_byte_order_mark_is_ignored(tmp_path: Path, tiny: Tiny) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + f"path = '{tiny.data}'\n".encode())
    assert "Parquet data" in done("inspect", "--config", path).output
