"""The command `seqembed export --precision int8`: measurements, refusals, and reproducible runs."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_testing import resolved

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError, QualityGateError
from seqembed.data.layout import RunLayout
from seqembed.data.profile import SequenceProfile
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.checks.fidelity import compare_vectors, cosine_of_rows, neighbour_agreement
from seqembed.exporter.checks.precision import measure_quantisation
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed
from seqembed.trainer.model.encoder import build_encoder
from seqembed_testing import contract_of, done, resealed, seqembed

layers = keras.layers


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, profile: SequenceProfile, write_run: Callable[..., RunLayout]
) -> RunLayout:
    """Return a finished run directory of an encoder that does not set padding to zero by itself."""
    keras.utils.set_random_seed(0)
    config = resolved(units=48, channels="values", normalization="dataset")
    return write_run(tmp_path_factory.mktemp("runs") / "run", build_encoder(config, profile))


@pytest.fixture(scope="module")
def bundle(run: RunLayout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an int8 bundle and the output of the command."""
    out = tmp_path_factory.mktemp("out") / "encoder.onnx"
    return out, done("export", run.root, "--out", out, "--precision", "int8").output


@pytest.fixture(scope="module")
def fp32_bundle(run: RunLayout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle of the same run in fp32."""
    out = tmp_path_factory.mktemp("fp32") / "encoder.onnx"
    done("export", run.root, "--out", out)
    return out


def test_the_summary_reports_size_and_accuracy_of_int8(bundle: tuple[Path, str], fp32_bundle: Path) -> None:
    out, said = bundle
    for words in ("1 DynamicQuantizeLSTM", "from Keras", "mean cosine 0.99", "nearest neighbour kept for", "in fp32"):
        assert words in said
    fp32 = fp32_bundle.stat().st_size
    assert out.stat().st_size < fp32 - 2 * 4 * 48 * 48 * 2  # most of three bytes in four of R
    shown = re.search(r"(\d+) KiB in fp32", said)
    assert shown is not None and abs(int(shown[1]) - fp32 / 2**10) < 2  # the contract of either is a little longer
    found = Encoder.open(fp32_bundle).contract
    assert found.precision == "fp32" and found.quantisation is None
    assert "quantisation" not in json.loads(found.to_json())


def test_the_contract_contains_the_measurements(bundle: tuple[Path, str], rows: Any) -> None:
    contract = Encoder.open(bundle[0]).contract
    measured = contract.quantisation
    assert contract.precision == "int8" and measured is not None and contract.parity is not None
    assert 0.999 <= measured.mean_cosine < 1 and -1 <= measured.min_cosine <= measured.mean_cosine
    assert 0.95 <= measured.neighbour_agreement <= 1
    assert 0.999 <= measured.mean_cosine_alone <= 1
    assert measured.num_sequences == rows.num_sequences
    assert contract.parity.max_difference <= 1e-5
    assert ModelContract.from_json(contract.to_json(), "again").to_json() == contract.to_json()


def test_inspect_shows_the_precision(bundle: tuple[Path, str]) -> None:
    said = done("inspect", bundle[0]).output
    assert "Precision: int8" in said
    assert "int8 against fp32 on 60 rows: mean cosine 0.99" in said
    assert "in a batch against alone" in said


def test_any_onnx_client_can_read_it(bundle: tuple[Path, str]) -> None:
    model = onnx.load(bundle[0])
    onnx.checker.check_model(model, full_check=True)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 17), ("com.microsoft", 1)}


def test_a_run_and_its_rerun_give_the_same_bytes_on_any_number_of_threads(
    bundle: tuple[Path, str], fp32_bundle: Path, run: RunLayout, tmp_path: Path
) -> None:
    contents = []
    for index, threads in enumerate((1, 2, 2)):
        out = tmp_path / str(index)
        done("run", run.sample, "--model", bundle[0], "--out", out, "--threads", threads, "--progress", "none")
        (part,) = out.glob("*.parquet")
        contents.append(part.read_bytes())
        said = done("run", run.sample, "--model", bundle[0], "--out", out, "--threads", threads, "--progress", "none")
        assert part.read_bytes() == contents[-1], said.output
    assert contents[0] == contents[1] == contents[2]
    done("run", run.sample, "--model", fp32_bundle, "--out", tmp_path / "fp32", "--progress", "none")
    vectors = [
        np.stack(pq.read_table(tmp_path / name)["embedding"].to_numpy(zero_copy_only=False)) for name in ("0", "fp32")
    ]
    assert 0.999 <= cosine_of_rows(*vectors).mean() < 1


@pytest.mark.usefixtures("few_features")
def test_evaluate_leaves_out_the_untrained_row(bundle: tuple[Path, str], run: RunLayout, tmp_path: Path) -> None:
    rows = pq.read_table(run.sample)
    rows = rows.append_column("label", pa.array([index % 2 for index in range(rows.num_rows)]))
    for name, half in (("train", rows[:30]), ("test", rows[30:])):
        pq.write_table(half, tmp_path / f"{name}.parquet")
    words = ["evaluate", "--model", bundle[0], "--label", "label", "--json", tmp_path / "scores.json"]
    done(*words, "--train", tmp_path / "train.parquet", "--test", tmp_path / "test.parquet", "--progress", "none")
    found = json.loads((tmp_path / "scores.json").read_text())
    (untrained,) = [row for row in found["rows"] if row["name"] == "untrained encoder"]
    assert "int8" in untrained["absent"]
    assert found["verdict"]["outcome"] == "unknown"


def test_exporting_twice_gives_the_same_contract(bundle: tuple[Path, str], run: RunLayout, tmp_path: Path) -> None:
    """With what an fp32 export measures, too."""
    done("export", run.root, "--out", tmp_path / "again.onnx", "--precision", "int8")
    assert Encoder.open(tmp_path / "again.onnx").contract.to_json() == Encoder.open(bundle[0]).contract.to_json()


def test_a_gru_is_refused(encoder_of: Callable[..., Any], write_run: Callable[..., RunLayout], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", encoder_of(cell="gru"))
    result = seqembed("export", run.root, "--out", tmp_path / "out" / "encoder.onnx", "--precision", "int8")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "0 LSTM and 1 GRU nodes" in said and "--precision fp32, or train with --cell lstm" in said
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def unscaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a model trained elsewhere with an irrelevant feature of large scale and a relevant one of small scale."""
    root = tmp_path_factory.mktemp("unscaled")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 2)), layers.LSTM(8), layers.Dense(4)])
    kernel, *others = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel * [[1e-5], [100.0]], *others])
    model.save(root / "model.keras")
    random = np.random.default_rng(0)
    lengths = random.integers(2, 12, size=50)
    loud = [random.normal(scale=1e4, size=length).tolist() for length in lengths]
    quiet = [random.normal(scale=1e-2, size=length).tolist() for length in lengths]
    pq.write_table(pa.table({"id": range(50), "loud": loud, "quiet": quiet}), root / "rows.parquet")
    return root / "model.keras", root / "rows.parquet"


def test_a_model_unsuited_to_int8_is_refused_and_an_older_bundle_is_kept(
    unscaled: tuple[Path, Path], bundle: tuple[Path, str], tmp_path: Path
) -> None:
    model, data = unscaled
    out = Path(shutil.copy(bundle[0], tmp_path / "encoder.onnx"))
    before = out.read_bytes()
    words = ["export", model, "--data", data, "--out", out]
    result = seqembed(*words, "--precision", "int8")
    assert result.exit_code == QualityGateError.exit_code, result.output
    said = " ".join(result.output.split())
    for text in ("on 50 rows", "mean cosine", "(at least 0.999)", "(at least 95%)", "Nothing was written", "fp32"):
        assert text in said
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]
    assert seqembed(*words).exit_code == 0  # fp32 succeeds


@pytest.fixture(scope="module")
def data_of_one_scale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return nested rows of two standard normal features."""
    path, random = tmp_path_factory.mktemp("data") / "rows.parquet", np.random.default_rng(0)
    lengths = random.integers(2, 12, size=50)
    columns = {name: [random.normal(size=length).tolist() for length in lengths] for name in "ab"}
    pq.write_table(pa.table({"id": range(50), **columns}), path)
    return path


def test_too_few_rows(bundle: tuple[Path, str], rows: Any) -> None:
    encoder = Encoder.open(bundle[0])
    with pytest.raises(QualityGateError, match="model: 19 rows of data are too few"):
        measure_quantisation(encoder, encoder, rows.take(np.arange(19)), encoder.contract.golden, source="model")


class FixedOutputs:
    """An encoder that returns given vectors, selected by the first value of each sequence."""

    def __init__(self, encoder: Encoder, vectors: np.ndarray, alone: float = 0.0, outlier: float = 0.0) -> None:
        self.contract, self._vectors, self._alone, self._outlier = encoder.contract, vectors, alone, outlier

    def run(self, values: np.ndarray, lengths: np.ndarray, categories: Any = None) -> dict[str, np.ndarray]:
        noise = self._alone if len(lengths) == 1 else self._outlier if np.abs(values).max() > 100 else 0.0
        return {"embedding": self._vectors[values[:, 0, 0].astype(int) % 60] + np.float32(noise)}


SAME = r"mean cosine 1\.0\d* .* kept for 100\.0%.* alone "


@pytest.mark.parametrize(
    ("spoil", "noise", "measured"),
    [
        (lambda v: np.where(np.arange(len(v))[:, None] % 9 == 0, -v, v), {}, r"mean cosine 0\.7\d* .* kept for"),
        (
            lambda v: v[::-1] + 1000,
            {},
            r"mean cosine 1\.0\d* .* kept for [1-9]?\d\.\d%.* alone 1\.0\d* .* deviations 1\.0",
        ),
        (lambda v: v, {"alone": 2}, SAME + r"0\.\d* .* deviations 1\.0"),
        (lambda v: v, {"outlier": 2}, SAME + r"1\.0\d* .* deviations 0\."),
        (lambda v: np.full_like(v, np.nan), {}, r"mean cosine -1\.0\d* .* kept for 0\.0%"),
    ],
    ids=["some turned", "a common mean hides all", "other rows matter", "an outlier matters", "no number"],
)
def test_each_measure_alone_fails_the_check(
    bundle: tuple[Path, str], spoil: Callable[[Any], Any], noise: dict, measured: str
) -> None:
    encoder = Encoder.open(bundle[0])
    vectors = np.random.default_rng(0).normal(size=(60, encoder.contract.embedding_dim)).astype(np.float32)
    vectors += 1000 if spoil(vectors).mean() > 500 else 0
    block = as_block(np.repeat(np.arange(60.0)[:, None], 3, axis=1).astype(np.float32), np.ones(60, np.int64))
    fp32, int8 = FixedOutputs(encoder, vectors), FixedOutputs(encoder, spoil(vectors), **noise)
    with pytest.raises(QualityGateError, match=measured):
        measure_quantisation(fp32, int8, block, encoder.contract.golden, source="model")  # type: ignore[arg-type]


def test_an_encoder_compared_with_itself_passes(fp32_bundle: Path, rows: Any) -> None:
    encoder = Encoder.open(fp32_bundle)
    found = measure_quantisation(encoder, encoder, rows, encoder.contract.golden, source="model")
    assert found.neighbour_agreement == 1
    assert min(found.min_cosine, found.mean_cosine_alone, found.mean_cosine_beside_outlier) > 1 - 1e-9
    assert found.golden_tolerance == 1e-4


def test_a_model_with_unbounded_input_is_refused(data_of_one_scale: Path, tmp_path: Path) -> None:
    """All rows of the data are accurate, but a batch with one outlier is not."""
    values = keras.Input((None, 2))
    for name, read, code in (
        ("open", values, QualityGateError.exit_code),
        ("bounded", keras.ops.clip(values, -5.0, 5.0), 0),
    ):
        keras.Model(values, layers.LSTM(24)(read)).save(tmp_path / f"{name}.keras")
        words = ["export", tmp_path / f"{name}.keras", "--data", data_of_one_scale, "--precision", "int8"]
        result = seqembed(*words, "--out", tmp_path / f"{name}.onnx")
        assert result.exit_code == code, result.output
    assert not (tmp_path / "open.onnx").exists()


def test_neighbours_are_found_by_distance_and_ties_are_equal() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(200, 6)).astype(np.float32)
    assert neighbour_agreement(reference, reference) == 1
    assert neighbour_agreement(reference[random.permutation(200)], reference) < 0.2
    repeated = np.repeat(reference[:20], 10, axis=0)
    assert neighbour_agreement(repeated + random.normal(scale=1e-6, size=repeated.shape), repeated) == 1
    broken = reference.copy()
    broken[:50] = np.inf
    assert neighbour_agreement(broken, reference) <= 0.75


def test_a_common_mean_hides_differences_from_the_cosine_but_not_from_the_centred_one() -> None:
    random = np.random.default_rng(0)
    reference, other = random.normal(size=(2, 50, 6))
    found = compare_vectors((other + 1000).astype(np.float32), (reference + 1000).astype(np.float32))
    assert found.mean_cosine > 0.99999
    assert abs(found.mean_centred_cosine) < 0.3
    assert cosine_of_rows(np.zeros((2, 3)), np.array([[0.0, 0, 0], [1, 0, 0]])).tolist() == [1.0, -1.0]


def spoiled(bundle: Path, change: Callable[[dict], None]) -> bytes:
    model = onnx.load(bundle)
    contract = contract_of(model)
    change(contract)
    return sealed(model, json.dumps(contract))


INVALID = [
    ("mean_cosine", 1.5),
    ("min_cosine", "x"),
    ("mean_centred_cosine", None),
    ("min_cosine_alone", True),
    ("neighbour_agreement", -0.1),
    ("golden_tolerance", 0),
    ("golden_tolerance", 1e9),
    ("mean_cosine_beside_outlier", -2),
    ("num_sequences", 1.5),
    ("extra", 1),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_measurements_are_refused(bundle: tuple[Path, str], name: str, value: object) -> None:
    model = spoiled(bundle[0], lambda contract: contract["quantisation"].update({name: value}))
    with pytest.raises(BundleError, match=r"memory: the seqembed contract is damaged"):
        Encoder.from_bytes(model, source="memory")


@pytest.mark.parametrize("precision", ["fp32", "int4", "", None])
def test_a_precision_that_does_not_fit_is_refused(bundle: tuple[Path, str], precision: object) -> None:
    model = spoiled(bundle[0], lambda contract: contract.update(precision=precision))
    with pytest.raises(BundleError, match="contract is damaged: (precision|quantisation): found"):
        Encoder.from_bytes(model, source="memory")


def test_a_contract_without_measurements_can_be_read(bundle: tuple[Path, str]) -> None:
    model = spoiled(bundle[0], lambda contract: contract.pop("quantisation"))
    assert Encoder.from_bytes(model, source="memory").contract.quantisation is None


def test_golden_sequences_replay_and_detect_a_changed_file(bundle: tuple[Path, str]) -> None:
    encoder = Encoder.open(bundle[0])
    assert 0 < encoder.replay_golden() <= encoder.contract.quantisation.golden_tolerance / 2  # room for other hosts
    assert encoder.contract.quantisation.golden_tolerance < 0.1

    def move(contract: dict) -> None:
        numbers = contract["golden"][1]["embedding"]
        contract["golden"][1]["embedding"] = [number * 1.2 for number in numbers]

    def swap(contract: dict) -> None:
        one, other = contract["golden"][1], contract["golden"][2]
        one["embedding"], other["embedding"] = other["embedding"], one["embedding"]

    for change in (move, swap):
        with pytest.raises(BundleError, match="golden sequences get other vectors"):
            Encoder.from_bytes(spoiled(bundle[0], change), source="memory").replay_golden()


@pytest.mark.parametrize("ending", ["R/int8", "W/int8", "W/scale", "B"])
def test_changed_weights_do_not_replay(bundle: tuple[Path, str], ending: str) -> None:
    model = onnx.load(bundle[0])
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(f"/{ending}"))
    array = np.roll(onnx.numpy_helper.to_array(tensor), 48, axis=-1)  # shifts the gates by one
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    with pytest.raises(BundleError, match="golden sequences get other vectors"):
        Encoder.from_bytes(resealed(model), source="memory").replay_golden()


@pytest.mark.parametrize(("given", "found"), [("fp32", "has int8 LSTM nodes"), ("int8", "has no int8 LSTM nodes")])
def test_a_precision_that_the_graph_does_not_have_is_refused(
    bundle: tuple[Path, str], fp32_bundle: Path, given: str, found: str
) -> None:
    path = bundle[0] if given == "fp32" else fp32_bundle
    model = spoiled(path, lambda contract: contract.update(precision=given, quantisation=None))
    with pytest.raises(BundleError, match=f"memory: the contract says precision {given}, and the graph {found}"):
        Encoder.from_bytes(model, source="memory")
