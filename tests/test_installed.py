"""An installation adds one import name and the command, and hides no `data` or `runner` of the user.

The wheel is built from the sdist in a copy of the tree, offline, with the setuptools that TensorFlow depends on.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seqembed_testing import Tiny

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV") or shutil.which("uv")
FOLDERS = ("data", "runner", "trainer", "exporter")
LOADERS = "MINE = 'the one in the project'\n"


def done(*words: object, **options: object) -> str:
    """Run a program that must succeed; return its output."""
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it; return their directory."""
    assert UV, "the tests run under uv: pip install uv"
    root = tmp_path_factory.mktemp("built")
    listed = done("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(lambda name: (ROOT / name).exists(), listed.splitlines()):
        (root / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / "tree" / name, follow_symlinks=False)
    options = ["--no-build-isolation", "--offline", "--python", sys.executable, "--out-dir", root / "dist"]
    done(UV, "build", *options, cwd=root / "tree")
    return root / "dist"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that uses the libraries of this one; return its interpreter."""
    root = tmp_path_factory.mktemp("fresh") / "env"
    done(UV, "venv", "--offline", "--python", sys.executable, root)
    python = root / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    done(UV, "pip", "install", "--offline", "--no-deps", "--python", python, wheel)
    packages = Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write a project that has its own package `data` and its own module `runner`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    (tmp_path / "data" / "loaders.py").write_text(LOADERS)
    (tmp_path / "runner.py").write_text(LOADERS)
    return tmp_path


def test_wheel_and_sdist_have_one_top_level_name(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"seqembed"}
    assert {"seqembed/py.typed", "seqembed/__main__.py", "seqembed/data/samples/japanese_vowels_train.parquet"} <= {
        *names
    }
    modules = {f"seqembed/{path.relative_to(ROOT)}" for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert modules <= set(names)
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym()]


@pytest.mark.parametrize("installed", ["editable", "wheel"])
def test_no_other_name_is_importable(installed: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    python = sys.executable if installed == "editable" else request.getfixturevalue("python")
    code = f"from importlib.util import find_spec; print([n for n in {('seqembed', *FOLDERS)} if find_spec(n)])"
    assert done(python, "-c", code, cwd=tmp_path) == "['seqembed']\n"


def test_no_module_is_imported_under_two_names(tmp_path: Path) -> None:
    """Trainer and exporter would import TensorFlow: test_house.py checks their imports."""
    code = (
        "import importlib, pkgutil, sys, seqembed.data, seqembed.runner\n"
        "for package in (seqembed.data, seqembed.runner):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "first = [name.split('.')[0] for name in sys.modules]\n"
        f"print(first.count('seqembed') > 100, {{*first}} & {{*{FOLDERS}}})\n"
    )
    assert done(sys.executable, "-c", code, cwd=tmp_path) == "True set()\n"


def test_a_project_keeps_its_own_data_and_runner(python: Path, project: Path, tiny: Tiny) -> None:
    options = {"cwd": project, "env": {**os.environ, "PYTHONPATH": str(project)}}
    code = "import seqembed.data.errors, data.loaders, runner; print(data.loaders.__file__, runner.__file__)"
    assert done(python, "-c", code, **options).split() == [
        str(project / "data" / "loaders.py"),
        str(project / "runner.py"),
    ]
    assert "seqembed run" in done(python.with_name("seqembed"), "--help", **options)
    code = (
        "import data.loaders, pyarrow.parquet, seqembed\n"
        f"rows = pyarrow.parquet.read_table({str(tiny.data)!r})\n"
        f"print(seqembed.load({str(tiny.bundle)!r}).embed(rows).shape, data.loaders.MINE)"
    )
    assert done(python, "-c", code, **options) == "(120, 6) the one in the project\n"
    words = ["run", tiny.data, "--model", tiny.bundle, "--progress", "none"]
    done(python, "-m", "seqembed", *words, "--out", project / "module", **options)
    done(python.with_name("seqembed"), *words, "--out", project / "script", **options)
    tables = [pq.read_table(project / name / tiny.data.name) for name in ("module", "script")]
    assert tables[0].equals(tables[1]) and tables[0].num_rows == 120
