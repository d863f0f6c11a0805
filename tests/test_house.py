"""Project rules: allowed imports, dependencies of the runner, help of commands, and files."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from options_table import documented, options_table
from seqembed.runner.cli import main
from seqembed_testing import Tiny, seqembed

ROOT = Path(__file__).parents[1]
TRAINING = {"tensorflow", "keras", "tf2onnx", "onnx", "matplotlib", "pandas", "tomli_w", "sklearn", "scipy"}
OF_EVALUATE = {"onnx", "matplotlib", "sklearn"}  # its own extra, which no other command of the runner needs
MAY_IMPORT = {
    "seqembed.data": {"seqembed.data"},
    "seqembed.runner": {"seqembed.runner", "seqembed.data"},
    "seqembed.trainer": {"seqembed.trainer", "seqembed.data"},
    "seqembed.exporter": {"seqembed.exporter", "seqembed.runner", "seqembed.data"},
}
FOLDERS = {package.removeprefix("seqembed.") for package in MAY_IMPORT}
HANDBOOK = sorted(
    path
    for name in ("README.md", "recipes.md")
    for path in ROOT.rglob(name)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
# The only files of data that name a library beyond numpy and pyarrow.
BEYOND = {
    "data/display/progress.py": {"rich"},
    "data/display/pictures.py": {"matplotlib"},
    "data/config_file.py": {"click"},
    "data/pages/render.py": {"jinja2"},
    "data/lake/delta.py": {"deltalake"},
    "data/lake/iceberg.py": {"pyiceberg"},
}
ONE_FILE = {
    "jinja2": "data/pages/render.py",
    "deltalake": "data/lake/delta.py",
    "pyiceberg": "data/lake/iceberg.py",
    "duckdb": "runner/group/sort.py",
    "tf2onnx": "exporter/onnx/convert.py",
    "onnxruntime": "runner/bundle/encoder.py",
    "pyspark": "runner/engines/spark.py",
    "ray": "runner/engines/ray.py",
}


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Return the top-level names a file imports; for seqembed the subpackage, as in ``seqembed.data``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {short(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute"
            names |= {short(f"{node.module}.{alias.name}") for alias in node.names}
    return frozenset(names)


def short(name: str) -> str:
    """Return the first component of a dotted name, or the first two if it begins with seqembed."""
    return ".".join(name.split(".")[: 2 if name.startswith("seqembed.") else 1])


def folder(package: str) -> Path:
    """Return the folder of a subpackage, as in ``seqembed.data``."""
    return ROOT / package.removeprefix("seqembed.")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    files = [path for path in folder(package).rglob("*.py") if path.parent.name != "samples"]
    assert files
    for path in files:
        names = imported_names(path)
        own = {name for name in names if name.startswith("seqembed")}
        assert own <= MAY_IMPORT[package], path
        assert not names & FOLDERS, f"{path}: the import name is seqembed"
        if package == "seqembed.data":
            extra = BEYOND.get(str(path.relative_to(ROOT)), set())
            assert names <= {"seqembed.data", "numpy", "pyarrow"} | extra | set(sys.stdlib_module_names), path
        if package == "seqembed.runner":
            extra = OF_EVALUATE if folder(package) / "evaluate" in path.parents else set()
            assert not names & (TRAINING - extra), path


@pytest.mark.parametrize("library", ONE_FILE)
def test_only_one_file_imports_the_library(library: str) -> None:
    found = [p for package in MAY_IMPORT for p in folder(package).rglob("*.py") if library in imported_names(p)]
    assert [str(path.relative_to(ROOT)) for path in found] == [ONE_FILE[library]]


def imports_of(code: str) -> set[str]:
    """Return the modules of a new interpreter after running `code`, named as by `imported_names`."""
    code += "\nimport sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {short(name) for name in json.loads(ended.stderr.splitlines()[-1])}


def test_help_imports_no_training_library_and_no_model_runtime() -> None:
    code = "from seqembed.runner.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    found = imports_of(code)
    assert "seqembed.runner" in found
    assert not found & (TRAINING | {"onnxruntime", "seqembed.trainer", "seqembed.exporter"})


def test_the_runner_imports_no_training_library() -> None:
    code = "from seqembed.runner.cli import demo, inspect, run, sample"
    assert not imports_of(code) & (TRAINING | {"seqembed.trainer", "seqembed.exporter"})


def test_a_run_does_not_import_pandas_which_stays_importable(tiny: Tiny, tmp_path: Path) -> None:
    run = ["run", str(tiny.data), "--model", str(tiny.bundle), "--out", str(tmp_path / "out"), "--progress", "none"]
    code = f"from seqembed.runner.cli import main\nmain({run}, standalone_mode=False)\n"
    assert not imports_of(code) & (TRAINING | {"rich", "jinja2"})
    code += "import pyarrow as pa; assert pa.table({'a': [1]}).to_pandas()['a'].sum() == 1"
    assert "pandas" in imports_of(code)


def test_a_command_without_its_extra_says_which_to_install() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None\n"
        "from seqembed.runner.cli import main; main(['train', 'x', '--out', 'y'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "pip install 'seqembed[train]'" in ended.stderr


@pytest.mark.parametrize("command", main.list_commands(None))  # type: ignore[arg-type]
def test_every_command_has_help_with_an_example_and_is_in_the_handbook(command: str) -> None:
    result = seqembed(command, "--help")
    assert result.exit_code == 0
    assert f"seqembed {command}" in result.output.split("Examples:")[1]
    assert any(f"seqembed {command}" in document.read_text(encoding="utf-8") for document in HANDBOOK)


def test_the_readme_shows_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install uv && uv run seqembed demo" in readme
    assert "pip install uv && uv run pytest" in readme
    assert "pip install uv && uv run pytest" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", HANDBOOK, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_in_the_handbook_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for command, words in re.findall(
        r"^\s*(?:\$ |.*?&& |uv run )?seqembed (\w+)((?: .*?)?)$", text, flags=re.MULTILINE
    ):
        if command in main.list_commands(None):  # type: ignore[arg-type]
            known = seqembed(command, "--help-all" if command == "train" else "--help").output
            for option in re.findall(r"(?<!\S)--[a-z-]+", words):
                assert option in known, f"seqembed {command} {option}"


@pytest.mark.parametrize("document", HANDBOOK, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_handbook_are_valid(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document if not path else document.parent / path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


def test_the_top_level_has_the_expected_files_only() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines() if not line.startswith(".")}
    house = {"pyproject.toml", "README.md", "CHANGELOG.md", "uv.lock", "LICENSE"}
    assert top <= house | FOLDERS | {"tests"}


def test_the_handbook_lists_every_training_option_with_its_default() -> None:
    _, table, _ = documented()
    assert table.strip() == options_table().strip(), "run: python tests/support/options_table.py"
