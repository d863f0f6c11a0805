"""`import seqembed`: exports, lazy imports, agreement of functions and commands, and examples in the docs."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pandas
import pyarrow.parquet as pq
import pytest

import seqembed
from seqembed.data.config_file import COMMANDS
from seqembed.data.keyword_types import ChosenInt, IntOrAuto
from seqembed.exporter.api import ExportKeywords
from seqembed.exporter.config import ExportConfig
from seqembed.runner.api import EvaluateKeywords, InspectKeywords, RunKeywords
from seqembed.runner.cli import main
from seqembed.runner.evaluate.config import EvaluateConfig
from seqembed.runner.group.api import GroupKeywords
from seqembed.runner.group.options import GroupOptions
from seqembed.runner.inspect.describe_data import DataOptions
from seqembed.runner.neighbors.api import NeighborKeywords
from seqembed.runner.neighbors.options import NeighborOptions
from seqembed.runner.options import RunOptions
from seqembed.trainer.api import TrainKeywords
from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.training import TrainingConfig
from seqembed_testing import Tiny, done, sequences, write_sequences

ROOT = Path(__file__).parents[1]
FRONT_DOOR = Path(seqembed.__file__)
FUNCTIONS = ("group", "run", "train", "export", "evaluate", "inspect", "neighbors")
NO_CONFIG = ("inspect", "neighbors")  # functions without it, whose required parameters need no default
HEAVY = {"numpy", "pyarrow", "click", "rich", "onnxruntime", "tensorflow", "keras", "onnx", "sklearn", "matplotlib"}
KEYWORDS: list[tuple[type, tuple[type, ...]]] = [
    (RunKeywords, (RunOptions,)),
    (GroupKeywords, (GroupOptions,)),
    (TrainKeywords, (DataConfig, ModelConfig, TrainingConfig)),
    (ExportKeywords, (ExportConfig,)),
    (EvaluateKeywords, (EvaluateConfig,)),
    (InspectKeywords, (DataOptions,)),
    (NeighborKeywords, (NeighborOptions,)),
]
# Parameters of the functions that are not configuration keywords, by configuration class.
NAMED = {"inputs", "source", "out", "model", "train", "test", "label", "json_path", "plot_path", "dry_run"}


def imported_by(code: str) -> set[str]:
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_imports_are_lazy_and_need_no_training_library() -> None:
    assert not imported_by("import seqembed") & HEAVY
    found = imported_by("from seqembed import *; load, run, train, export, evaluate, TrainSummary, Evaluation")
    assert "onnxruntime" in found
    assert not found & {"tensorflow", "keras", "tf2onnx", "onnx", "matplotlib", "sklearn", "pandas"}


def test_all_lists_the_exports() -> None:
    tree = ast.parse(FRONT_DOOR.read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqembed.")
        for alias in node.names
    }
    assert imported | {"__version__"} == set(seqembed.__all__)
    for name in seqembed.__all__:
        value = getattr(seqembed, name)
        assert name == "__version__" or (value.__name__ == name and value.__doc__)
    assert set(seqembed.__all__) <= set(dir(seqembed))
    errors = {name for name in vars(seqembed.data.errors) if name.endswith("Error")}
    assert errors <= set(seqembed.__all__)
    with pytest.raises(AttributeError, match="module 'seqembed' has no attribute 'embed'"):
        _ = seqembed.embed  # type: ignore[attr-defined]
    assert (FRONT_DOOR.parent / "py.typed").exists()


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_the_options_of_its_command_with_the_same_defaults(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = {
        (option.name or "").removesuffix("_path"): option
        for option in command.params
        if option.name not in ("config", "as_json")
    }
    parameters = inspect.signature(getattr(seqembed, name)).parameters
    assert set(parameters) - {"config"} == set(options) and ("config" in parameters) == (name not in NO_CONFIG)
    given = command.make_context(name, [], resilient_parsing=True).params
    for key, parameter in parameters.items():
        if key == "config":
            continue
        option = options[key]
        if option.required:
            # A configuration file may hold it instead.
            assert parameter.default is (inspect.Parameter.empty if name in NO_CONFIG else None), key
        elif key != "threads":  # all cores, in either case
            assert plain(parameter.default) == plain(given[option.name or ""]), key


def test_functions_take_a_configuration_file_and_what_is_passed_wins(tiny: Tiny, tmp_path: Path) -> None:
    assert tuple(COMMANDS) == tuple(main.list_commands(click.Context(main)))
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    config = tmp_path / "c.toml"
    config.write_text(
        f"model = '{tiny.bundle}'\n[run]\ninput = '{data}'\nout = '{tmp_path / 'out'}'\nkeep = ['label']\nlimit = 7\n"
        f"progress = 'none'\n[train]\nunits = 3\n[export]\nopset = 15\n"
    )
    assert seqembed.run(config=config).counts.rows_in == 7
    assert seqembed.run(config=config, out=tmp_path / "two", limit=None).counts.rows_in == 20
    assert "label" in pq.read_schema(next((tmp_path / "two").glob("*.parquet"))).names
    with pytest.raises(TypeError, match=r"run\(\) needs inputs and out\. Pass it, or a config"):
        seqembed.run(model=tiny.bundle)
    config.write_text("[run]\nlimt = 3\n")
    with pytest.raises(seqembed.UsageError, match="'\\[run\\] limt' is not an option .* Did you mean 'limit'"):
        seqembed.run(data, model=tiny.bundle, out=tmp_path / "three", config=config)
    with pytest.raises(seqembed.UsageError, match="none.toml: cannot be read"):
        seqembed.run(data, model=tiny.bundle, out=tmp_path / "three", config=tmp_path / "none.toml")


@pytest.mark.parametrize(("keywords", "configurations"), KEYWORDS)
def test_keywords_have_the_types_of_the_configuration(keywords: type, configurations: tuple[type, ...]) -> None:
    expected: dict[str, Any] = {}
    for configuration in configurations:
        hints = typing.get_type_hints(configuration, include_extras=True)
        own = NAMED - ({"label"} if configuration in (DataConfig, DataOptions) else set())
        expected |= {field.name: hints[field.name] for field in fields(configuration) if field.name not in own}
    for_callers = {tuple[str, ...]: Sequence[str], ChosenInt: IntOrAuto}
    expected = {name: for_callers.get(kind, kind) for name, kind in expected.items()}
    assert typing.get_type_hints(keywords) == expected


def test_a_type_checker_knows_the_functions(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(
        "import numpy as np\nfrom numpy.typing import NDArray\nimport seqembed\n"
        "encoder: seqembed.SequenceEncoder = seqembed.load('encoder.onnx')\n"
        "vectors: NDArray[np.float32] = encoder.embed([np.zeros((3, 2))], on_bad_row='null')\n"
        "report: seqembed.RunReport = seqembed.run('a', model='m', out='o', keep=['label'], threads=2)\n"
        "plan: seqembed.RunPlan = seqembed.run(['a', 'b'], model='m', out='o', dry_run=True)\n"
        "summary: seqembed.TrainSummary = seqembed.train('a', out='run', units=8, kernels='auto', features=['x'])\n"
    )
    (tmp_path / "bad.py").write_text(
        "import seqembed\n"
        "seqembed.run('a', model='m', out='o', on_bad_row='nul')\n"
        "seqembed.train('a', out='run', unit=8)\n"
        "seqembed.lod('encoder.onnx')\n"
    )
    # The cache of the project, which its own check of types has filled, else the first run of this test.
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    environment = {"MYPYPATH": str(FRONT_DOOR.parents[1]), "PATH": ""}
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    ended = subprocess.run(
        [*words, *config, "good.py", "bad.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in ended.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in lines] == [["bad.py", "2"], ["bad.py", "3"], ["bad.py", "4"]], ended.stdout


@pytest.mark.parametrize(
    ("call", "library"),
    [
        ("train('x.parquet', out='y')", "tensorflow"),
        ("export('run', out='y.onnx')", "tensorflow"),
        ("group('x.parquet', out='y')", "duckdb"),
        ("evaluate('m.onnx', train='a', test='b', label='c')", "sklearn"),
    ],
)
def test_a_function_without_its_extra_says_which_to_install(call: str, library: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    code = (
        f"import sys; sys.modules['{library}'] = None; sys.modules['joblib'] = None\n"
        f"import seqembed\ntry: seqembed.{call}\nexcept seqembed.UsageError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    name = call.split("(")[0]
    extra = {"evaluate": "evaluate", "group": "events"}.get(name, "train")
    assert re.fullmatch(
        rf".*{name} needs .*, which is not installed.*pip install 'seqembed\[{extra}\]'\n", ended.stdout
    )


def test_errors_name_keywords(tiny: Tiny, tmp_path: Path) -> None:
    for call, said in (
        (lambda: seqembed.load(tiny.bundle, threads=0), r"^threads must be at least 1, was 0"),
        (lambda: seqembed.load(tmp_path / "none.onnx"), r"none\.onnx"),
        (lambda: seqembed.run("x", model="m", out="o", on_bad_row="nul"), "on_bad_row must be one of fail, null, q"),  # type: ignore[call-overload]
        (lambda: seqembed.run(tmp_path / "x", model=tiny.bundle, out=tmp_path / "o"), "no such file"),
        (
            lambda: seqembed.train("x", out="y", time_features=False),
            r"^time_features=False has no effect without time",
        ),
        (
            lambda: seqembed.train("x", out="y", resume=True, overwrite=True),
            r"^resume continues the run that overwrite",
        ),
        (lambda: seqembed.group("x", out="o", memory="1MB"), r"^memory must be at least 512MB, was 1MB"),
        (lambda: seqembed.train("x", out="y", progress="loud"), "progress must be one of auto, bar, plain, none"),
        (lambda: seqembed.export(tiny.run, out="y", layout="flat"), "layout must be one of auto, nested, events"),
        (lambda: seqembed.inspect(tiny.data, layout="flat"), "layout must be one of auto, nested, events"),
        (lambda: seqembed.evaluate("m", train="a", test="b", label="c", seed=-1), "^seed must be 0 or more"),
    ):
        with pytest.raises(seqembed.SeqembedError, match=said) as refused:
            call()
        assert "--" not in str(refused.value)
    for function, keyword in ((seqembed.run, "thread"), (seqembed.train, "unit")):
        wrong: Callable[..., Any] = function
        with pytest.raises(TypeError, match=rf"unexpected keyword argument '{keyword}'\. Did you mean '{keyword}s'\?"):
            wrong("x", model="m", out="o", **{keyword: 1}) if function is seqembed.run else wrong(
                "x", out="o", **{keyword: 1}
            )


@pytest.mark.parametrize(
    ("name", "misspelt", "meant"),
    [("run", "modle", "model"), ("evaluate", "tests", "test"), ("group", "outs", "out")]
    + [("train", "outt", "out"), ("export", "aut", "out")],
)
def test_a_misspelt_keyword_is_reported_before_what_is_missing(name: str, misspelt: str, meant: str) -> None:
    function: Callable[..., Any] = getattr(seqembed, name)
    said = rf"^{name}\(\) got an unexpected keyword argument '{misspelt}'\. Did you mean '{meant}'\?"
    with pytest.raises(TypeError, match=said):
        function("x", **{misspelt: "w.onnx"})


def test_functions_do_what_the_commands_do(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_sequences(tmp_path / "data" / "in.parquet", sequences(90, seed=4))
    plan = seqembed.run(data, model=tiny.bundle, out=tmp_path / "python", keep="label", dry_run=True)
    assert [part.name for part in plan.to_make] == ["in.parquet"]
    assert not (tmp_path / "python").exists()
    report = seqembed.run([data.parent], model=tiny.bundle, out=tmp_path / "python", keep=["label"], progress="none")
    assert capfd.readouterr() == ("", "")
    assert is_dataclass(report)
    assert (report.counts.rows_in, report.num_made) == (90, 1)
    done("run", data.parent, "--model", tiny.bundle, "--out", tmp_path / "command", "--keep", "label")
    parts = [tmp_path / name / "in.parquet" for name in ("python", "command")]
    assert parts[0].read_bytes() == parts[1].read_bytes()
    again = seqembed.run(data.parent, model=tiny.bundle, out=tmp_path / "python", keep=["label"])
    assert again.num_made == 0
    shown = seqembed.inspect(tiny.bundle)
    assert shown.kind == "bundle"
    assert "\n".join(shown.lines) == done("inspect", tiny.bundle).output.rstrip("\n")
    kinds = {path: seqembed.inspect(path).kind for path in (tiny.run, tmp_path / "python", data)}
    assert list(kinds.values()) == ["run", "output", "data"]


@pytest.mark.usefixtures("few_features", "quick_training")
def test_training_exporting_and_evaluating(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The configuration of a run trains it again, and a file of options exports it."""
    data = write_sequences(tmp_path / "in.parquet", sequences(60, seed=5, shortest=3))
    options: dict[str, Any] = {"units": 4, "embedding_dim": 3, "features": ["x", "y"], "progress": "none", "seed": 7}
    options["kernels"] = 0
    summary = seqembed.train(data, out=tmp_path / "run", epochs=0, bidirectional=False, **options)
    assert summary.layout.root == tmp_path / "run"
    config = tmp_path / "run" / "config.toml"
    summary = seqembed.train(config=config, out=tmp_path / "again", steps=1, progress="none")
    assert summary.history["num_steps"] == 1, "the file's epochs give way"
    again = tomllib.loads((tmp_path / "again" / "config.toml").read_text())
    before = tomllib.loads(config.read_text())
    assert {name for name in again.keys() | before.keys() if again.get(name) != before.get(name)} == {"epochs", "steps"}
    (tmp_path / "c.toml").write_text(f"source = '{tmp_path / 'again'}'\nout = '{tmp_path / 'm.onnx'}'\nopset = 15\n")
    report = seqembed.export(config=tmp_path / "c.toml")
    assert report.structure.opset == 15
    assert report.contract.embedding_dim == seqembed.load(report.path).embedding_dim
    result = seqembed.evaluate(
        report.path,
        train=[data],
        test=data_copy(data),
        label="label",
        untrained_seeds=1,
        progress="none",
        json=tmp_path / "figures.json",
    )
    assert result.test.used == 60
    assert (tmp_path / "figures.json").exists()
    assert capfd.readouterr().out == ""
    flags = ["--units", 4, "--embedding-dim", 3, "--features", "x,y", "--progress", "none", "--seed", 7, "--kernels", 0]
    done("train", data, "--out", tmp_path / "command", "--epochs", 0, "--forward-only", *flags)
    assert (tmp_path / "command" / "config.toml").read_text() == config.read_text()


def data_copy(data: Path) -> Path:
    """Copy the rows to another file, since no file may be in both splits."""
    table = pq.read_table(data)
    pq.write_table(table, data.with_name("test.parquet"), compression="zstd")
    return data.with_name("test.parquet")


def test_reprs_of_results(tiny: Tiny, tmp_path: Path) -> None:
    encoder = seqembed.load(tiny.bundle)
    shown = "layout='nested', id='id', features=[x, y], embedding_dim=6, precision='fp32'"
    assert repr(encoder) == f"SequenceEncoder('{tiny.bundle}', {shown})"
    assert (encoder.features, encoder.categories, encoder.layout) == (("x", "y"), (), "nested")
    assert 0 <= encoder.golden_difference < 1e-5
    report = seqembed.run(tiny.data, model=tiny.bundle, out=tmp_path / "out", progress="none")
    assert re.fullmatch(
        r"RunReport\(rows_in=120, rows_embedded=\d+, rows_null=\d+, rows_quarantined=0, parts=1, num_made=1, "
        r"seconds=\d+\.\d\d\)",
        repr(report),
    )
    plan = seqembed.run(tiny.data, model=tiny.bundle, out=tmp_path / "out", dry_run=True)
    assert repr(plan) == "RunPlan(parts=1, to_make=0, orphans=0, skipped_files=0, beyond=0)"
    assert repr(seqembed.inspect(tiny.data)).startswith(
        f"Description('{tiny.data}', kind='data')\n{tiny.data}: Parquet"
    )


def examples(document: Path, heading: str) -> str:
    """Return the Python examples of a document or below one of its headings, in order."""
    text = document.read_text(encoding="utf-8")
    if heading:
        text = re.split(r"\n## ", text.split(f"\n{heading}\n")[1])[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))


@pytest.mark.usefixtures("quick_training")
@pytest.mark.parametrize(
    ("document", "heading"), [("README.md", "## From Python"), ("runner/README.md", "## From Python")]
)
def test_the_examples_in_the_documents_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: str, heading: str
) -> None:
    code = examples(ROOT / document, heading)
    assert code.count("seqembed.") >= 1
    shutil.copy(tiny.bundle, tmp_path / "encoder.onnx")
    shutil.copy(tiny.data, tmp_path / "history.parquet")
    days = pandas.date_range("2026-01-01", periods=120, freq="D", tz="UTC")
    payments = {"customer": [f"c{day % 7}" for day in range(120)], "time": days, "amount": range(120)}
    pandas.DataFrame(payments | {"shop": ["bakery", "pharmacy", "cinema"] * 40}).to_parquet(
        tmp_path / "payments.parquet"
    )
    monkeypatch.chdir(tmp_path)
    short = code.replace('time="time")', 'time="time", steps=2)').replace("steps=20", "steps=2")
    exec(compile(short, document, "exec"), {})


def test_the_example_in_the_help_runs(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^    (.*)$", seqembed.__doc__ or "", flags=re.MULTILINE)
    assert len(lines) == 2
    shutil.copy(tiny.bundle, tmp_path / "encoder.onnx")
    shutil.copy(tiny.data, tmp_path / "history.parquet")
    monkeypatch.chdir(tmp_path)
    names = {"seqembed": seqembed, "pandas": pandas}
    exec("\n".join(lines), names)
    assert names["vectors"].shape == (120, 6)


def test_a_table_where_files_are_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": ["a"], "x": [1.0]})
    for call in (lambda: seqembed.train(frame, out=tmp_path / "run"), lambda: seqembed.run(frame, model="m", out="o")):
        with pytest.raises(seqembed.UsageError, match=r"received a DataFrame. Write it to a Parquet file first"):
            call()
