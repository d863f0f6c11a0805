"""The names of all files in a run directory: the trainer writes them, the exporter reads them."""

from dataclasses import dataclass
from pathlib import Path

PLOT_NAMES = ("losses.png", "model.png", "reconstructions.png", "embeddings.png")
# The first line of config.toml; it or the contract identifies a directory as a run of seqembed.
CONFIG_HEADER = "# seqembed train --config config.toml --out NEW_DIRECTORY repeats this run.\n"


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Paths inside a run directory.

    Attributes:
        root: The directory given as ``seqembed train --out``.
    """

    root: Path

    @property
    def encoder(self) -> Path:
        """Keras model {values, lengths} → embedding."""
        return self.root / "encoder.keras"

    @property
    def decoder(self) -> Path:
        """Keras model from an embedding to steps; missing if nothing is reconstructed."""
        return self.root / "decoder.keras"

    @property
    def autoencoder(self) -> Path:
        """Keras model {values, lengths} → reconstruction (and prediction), in raw units."""
        return self.root / "autoencoder.keras"

    @property
    def config(self) -> Path:
        """The effective options, readable by ``--config``."""
        return self.root / "config.toml"

    @property
    def history(self) -> Path:
        """Losses and metrics of every epoch, as JSON."""
        return self.root / "history.json"

    @property
    def contract(self) -> Path:
        """The model contract, before the exporter completes it."""
        return self.root / "contract.json"

    @property
    def report(self) -> Path:
        """The page of the training, as HTML."""
        return self.root / "report.html"

    @property
    def sample(self) -> Path:
        """Some training sequences as Parquet, for parity at export and for plots."""
        return self.root / "sample.parquet"

    @property
    def held_out(self) -> Path:
        """Some sequences that were held out of the training, for their errors at export; missing if none were."""
        return self.root / "held_out.parquet"

    @property
    def checkpoints(self) -> Path:
        """Directory of training checkpoints."""
        return self.root / "checkpoints"

    @property
    def plots(self) -> Path:
        """Directory of pictures."""
        return self.root / "plots"
