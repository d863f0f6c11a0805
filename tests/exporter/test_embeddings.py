"""What a bundle says of its embeddings: that of the training rows, embedded by the exported encoder."""

import numpy as np

from seqembed.data.contract import RETRAIN, ModelContract, load_contract
from seqembed.data.sample_rows import read_sequences
from seqembed.exporter.checks.embeddings import with_embeddings
from seqembed.exporter.checks.precision import embed_in_job_batches
from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny


def test_profile_and_statistics_are_those_of_the_sample(tiny: Tiny) -> None:
    encoder = Encoder.open(tiny.bundle)
    rows, _ = read_sequences(tiny.run / "sample.parquet")
    rows = rows.take(np.flatnonzero(rows.lengths > 0))
    vectors = embed_in_job_batches(encoder, rows).astype(np.float64)
    profile, statistics = encoder.contract.embeddings, encoder.contract.training.statistics
    assert profile is not None and statistics is not None
    assert statistics.number("vectors") == profile.num_sequences == len(vectors)
    np.testing.assert_allclose(profile.mean, vectors.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(profile.std, vectors.std(axis=0), atol=1e-6)
    assert np.abs(statistics.vector_mean).max() < 0.01
    # Six dimensions are turned, not projected: the total variance stays.
    np.testing.assert_allclose(np.trace(statistics.vector_covariance), len(profile.std), rtol=0.01)


def test_without_rows_a_contract_stays_as_it_is(tiny: Tiny) -> None:
    text, name = (tiny.run / "contract.json").read_text(), "contract.json"
    contract = ModelContract.from_value(load_contract(text, name), name, RETRAIN)
    rows, _ = read_sequences(tiny.run / "sample.parquet")
    assert with_embeddings(contract, Encoder.open(tiny.bundle), rows.take(np.zeros(0, np.int64))) is contract
