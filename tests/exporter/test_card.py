"""The model card beside a bundle: facts of the contract, text of users escaped, never over a file of someone else."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.exporter.card.card import card_text
from seqembed.exporter.card.markdown import CARD_START, escaped
from seqembed.exporter.card.training import TrainingResult, read_training
from seqembed.exporter.config import ELSEWHERE, ExportConfig
from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny, done, seqembed

HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "*x*_y_",
    "``` code",
    "# head\nline",
    "[l](http://x)",
    " blank ",
    "\ud800",
    "ü&amp;",
]


@pytest.fixture(scope="module")
def card(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export once, over an older card, and return the card."""
    out = tmp_path_factory.mktemp("card") / "encoder.v2.onnx"
    out.with_name("encoder.v2.md").write_text(CARD_START + "old")
    done("export", tiny.run, "--out", out)
    return out.with_name("encoder.v2.md")


def test_the_card_of_a_model_with_a_decoder_says_what_its_score_is(scored: Path) -> None:
    text, errors = scored.with_suffix(".md").read_text(), Encoder.open(scored).contract.errors
    assert errors is not None
    assert f"the share of {errors.num_sequences:,} training sequences whose error is smaller" in text
    assert f"| maximum of the reconstruction error of training sequences | {errors.quantiles[-1]:.3g} |" in text
    assert "leaves missing values out" in text


def test_the_card_has_the_figures_of_the_bundle(card: Path, tiny: Tiny) -> None:
    text, bundle = card.read_text(), card.with_name("encoder.v2.onnx")
    contract = Encoder.open(bundle).contract
    history = json.loads((tiny.run / "history.json").read_text())
    assert contract.parity is not None
    profile = contract.training.profile
    for said in (
        f"`{hashlib.sha256(bundle.read_bytes()).hexdigest()}`",
        f"| size in bytes | {bundle.stat().st_size:,} |",
        f"fingerprint `{contract.training.fingerprint}`",
        f"{profile.num_sequences:,} sequences ({profile.num_steps:,} steps) in 1 file, and {profile.num_empty} empty",
        f"longest {profile.max_length}.",
        f"| x | {profile.mean[0]:.4g} | {profile.std[0]:.4g} | {profile.missing_rate[0]:.1%} |",
        f"| {contract.parity.max_difference:.1e} |",
        f"| {history['best_loss']:.4g} |",
        f"| {history['baseline']['loss']:.4g} |",
        "| golden sequences, which every host must reproduce before it writes | 5 |",
        "into a vector of 6 numbers (fp32)",
    ):
        assert said in text, said
    assert (history["health"]["problem"] is None) == ("The training ended with a problem" not in text)


def test_model_hubs_read_the_front_matter(card: Path) -> None:
    text = card.read_text()
    assert text.startswith(CARD_START)
    assert yaml.safe_load(text.split("---\n")[1]) == {
        "library_name": "seqembed",
        "pipeline_tag": "feature-extraction",
        "tags": ["seqembed", "onnx", "sequence-embedding", "time-series"],
    }


def test_the_example_has_five_lines_and_runs(
    card: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), flags=re.DOTALL)
    assert len(code.splitlines()) == 5 and "# columns: id, x, y\n" in code
    shutil.copy(card.with_name("encoder.v2.onnx"), tmp_path)
    shutil.copy(tiny.data, tmp_path / "history.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["vectors"].shape == (120, 6)


def test_an_equal_bundle_has_an_equal_card(card: Path, tiny: Tiny) -> None:
    bundle = card.with_name("encoder.v2.onnx")
    training = read_training(ExportConfig(tiny.run, bundle))
    assert training is not None
    again = card_text(bundle.name, bundle.read_bytes(), Encoder.open(bundle).contract, training)
    assert again == card.read_text()


def by_hand(path: Path, card: Path) -> None:
    path.write_text("# My model\n")


def edited(path: Path, card: Path) -> None:
    path.write_text("".join(card.read_text().splitlines(keepends=True)[:1] + ["license: mit\n"]))


def directory(path: Path, card: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("write", [by_hand, edited, directory], ids=lambda write: write.__name__)
def test_a_file_of_someone_else_is_not_replaced(
    tiny: Tiny, card: Path, tmp_path: Path, write: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "encoder.md"
    write(path, card)
    before = None if path.is_dir() else path.read_bytes()
    result = seqembed("export", tiny.run, "--out", tmp_path / "encoder.onnx")
    assert result.exit_code == 6, result.output
    assert f"{path}: a file that is not a model card" in result.output and "--no-card" in result.output
    assert not (tmp_path / "encoder.onnx").exists()
    assert before is None or path.read_bytes() == before


def test_an_older_card_is_replaced(card: Path) -> None:
    assert "old" not in card.read_text()[:200] and "## Limits" in card.read_text()


def test_a_bundle_that_is_named_like_its_card(tiny: Tiny, tmp_path: Path) -> None:
    result = seqembed("export", tiny.run, "--out", tmp_path / "encoder.md")
    assert result.exit_code == 2 and "the bundle has the name of its model card" in result.output


def test_a_damaged_history_is_named(tiny: Tiny, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny.run, tmp_path / "run"))
    (run / "history.json").write_text('{"health": 1}')
    result = seqembed("export", run, "--out", tmp_path / "e.onnx")
    assert result.exit_code == 4 and "history.json: the history of the run is damaged" in result.output
    assert not (tmp_path / "e.onnx").exists()


def test_a_model_trained_elsewhere_claims_no_training_data(card: Path) -> None:
    contract = Encoder.open(card.with_name("encoder.v2.onnx")).contract
    text = card_text("e.onnx", b"", replace(contract, architecture={"made_by": ELSEWHERE}), None)
    assert "The model was trained elsewhere, on data not known here" in text and "loss" not in text
    assert "trained elsewhere" not in card.read_text()


def test_names_of_users_are_shown_as_they_are(card: Path) -> None:
    contract = Encoder.open(card.with_name("encoder.v2.onnx")).contract
    num = len(HOSTILE)
    vocabulary = Vocabulary("string", ("secret value",), (3,), 1, 0)
    schema = SequenceSchema(
        id="i\nd",
        features=tuple(Feature(name, name) for name in HOSTILE),
        layout="events",
        time="when",
        categorical=tuple(CategoricalField(f"of {name}", name, vocabulary) for name in HOSTILE),
        time_zone="aware",
    )
    profile = replace(contract.training.profile, mean=(0.0,) * num, std=(0.0,) * num, missing_rate=(0.0,) * num)
    changed = replace(contract, schema=schema, training=replace(contract.training, profile=profile))
    text = card_text("en`co|der.onnx", b"", changed, TrainingResult(9, 1.0, 2.0, True, "a *bad* one"))
    text.encode()
    assert "secret value" not in text
    html = MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])
    assert "<script>" not in html and "<em>" not in html and "<a " not in html
    assert html.count("<h2>") == 5 and html.count("<table>") == 3 and html.count("<pre>") == 1
    cells = re.findall(r"<tr>\n<td>(.*?)</td>", html)
    shown = [
        cell.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&") for cell in cells
    ]
    expected = [
        "a|b",
        HOSTILE[1],
        "*x*_y_",
        "``` code",
        "# head\\nline",
        "[l](http://x)",
        "' blank '",
        "\\ud800",
        "ü&amp;",
    ]
    assert shown[:num] == expected
    assert "a *bad* one" in html and escaped("plain name") == "plain name"
    assert "Constant in these data" in html and "read in UTC" in html
