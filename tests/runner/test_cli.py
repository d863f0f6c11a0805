"""The command group: exit codes, configuration files, lazy imports."""

from pathlib import Path

import pytest

from seqembed.data.errors import SeqembedError
from seqembed.runner.cli import group as cli
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences


def test_no_command_and_unknown_commands_are_usage_errors() -> None:
    assert seqembed().exit_code == 2
    assert seqembed("nope").exit_code == 2
    assert seqembed("run").exit_code == 2
    assert seqembed("--version").exit_code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(SeqembedError("reported"), 1), (RuntimeError("unexpected"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_end_with_their_exit_code(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(path: str) -> None:
        raise error

    monkeypatch.setattr("seqembed.runner.cli.inspect.describe", fail)
    result = seqembed("inspect", "x")
    assert result.exit_code == code
    assert ("bug" in result.output) == isinstance(error, RuntimeError)


def test_options_are_read_from_a_file_and_the_command_line_takes_precedence(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    config = tmp_path / "nightly.toml"
    config.write_text(
        f"[train]\nunits = 3\n[run]\ninputs = ['{data}']\nmodel = '{tiny.bundle}'\nout = '{tmp_path / 'out'}'\n"
        "limit = 7\ndry-run = true\n"
    )
    assert "1 of 1 part would be made" in done("run", "--config", config).output
    flat = tmp_path / "flat.toml"
    flat.write_text(f"model = '{tiny.bundle}'\nout = '{tmp_path / 'out'}'\nlimit = 7\n")
    assert "7 rows in" in done("run", data, "--config", flat).output
    assert "20 rows in" in done("run", data, "--config", flat, "--limit", 50, "--out", tmp_path / "two").output


@pytest.mark.parametrize(("text", "message"), [("limt = 3", "'limt' is not an option"), ("limit = ", "not valid TOML")])
def test_a_wrong_configuration_file_is_a_usage_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    result = seqembed("run", "x", "--config", tmp_path / "c.toml")
    assert result.exit_code == 2
    assert message in result.output


def test_every_listed_command_can_be_imported() -> None:
    for name in cli._COMMANDS:
        assert cli.main.get_command(None, name) is not None  # type: ignore[arg-type]
