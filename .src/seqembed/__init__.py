"""Embed variable-length sequences as fixed-length vectors: `seqembed` commands as functions, and tables in memory.

    encoder = seqembed.load("encoder.onnx")
    vectors = encoder.embed(pandas.read_parquet("history.parquet"))  # float32 (rows, embedding_dim)

The folders of the repository are the subpackages `seqembed.data`, `seqembed.runner`, `seqembed.trainer` and
`seqembed.exporter`. They are imported lazily, when a name is first used; TensorFlow is imported only when `train` or
`export` is called. `seqembed.ray` and `seqembed.spark` embed the tables of those engines.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqembed.data.drift.drift import Drift, DriftMeasure
    from seqembed.data.errors import (
        BadFileError,
        BadRowError,
        BundleError,
        ChangedInputError,
        DriftError,
        HostError,
        InputError,
        OutputError,
        QualityGateError,
        SeqembedError,
        UsageError,
    )
    from seqembed.exporter.api import export
    from seqembed.exporter.report import ExportReport
    from seqembed.runner.api import evaluate, inspect, run
    from seqembed.runner.evaluate.report import Evaluation
    from seqembed.runner.group.api import group
    from seqembed.runner.group.plan import GroupPlan
    from seqembed.runner.group.report import GroupReport
    from seqembed.runner.inspect.describe import Description
    from seqembed.runner.job.plan import RunPlan
    from seqembed.runner.neighbors.api import neighbors
    from seqembed.runner.neighbors.report import Neighbor, NeighborReport, Neighbors, Steps
    from seqembed.runner.report import RunReport
    from seqembed.runner.tables.encoder import SequenceEncoder, load
    from seqembed.trainer.api import train
    from seqembed.trainer.output.summary import TrainSummary

    __version__: str

__all__ = [
    "BadFileError",
    "BadRowError",
    "BundleError",
    "ChangedInputError",
    "Description",
    "Drift",
    "DriftError",
    "DriftMeasure",
    "Evaluation",
    "ExportReport",
    "GroupPlan",
    "GroupReport",
    "HostError",
    "InputError",
    "Neighbor",
    "NeighborReport",
    "Neighbors",
    "OutputError",
    "QualityGateError",
    "RunPlan",
    "RunReport",
    "SeqembedError",
    "SequenceEncoder",
    "Steps",
    "TrainSummary",
    "UsageError",
    "__version__",
    "evaluate",
    "export",
    "group",
    "inspect",
    "load",
    "neighbors",
    "run",
    "train",
]

_MODULES = {
    "data.drift.drift": ["Drift", "DriftMeasure"],
    "data.errors": [name for name in __all__ if name.endswith("Error")],
    "exporter.api": ["export"],
    "runner.evaluate.report": ["Evaluation"],
    "exporter.report": ["ExportReport"],
    "runner.api": ["evaluate", "inspect", "run"],
    "runner.group.api": ["group"],
    "runner.group.plan": ["GroupPlan"],
    "runner.group.report": ["GroupReport"],
    "runner.inspect.describe": ["Description"],
    "runner.job.plan": ["RunPlan"],
    "runner.neighbors.api": ["neighbors"],
    "runner.neighbors.report": ["Neighbor", "NeighborReport", "Neighbors", "Steps"],
    "runner.report": ["RunReport"],
    "runner.tables.encoder": ["SequenceEncoder", "load"],
    "trainer.api": ["train"],
    "trainer.output.summary": ["TrainSummary"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # else a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Import a public name on first use."""
        if name == "__version__":
            value = import_module("importlib.metadata").version("seqembed")
        elif name in ("ray", "spark"):
            value = import_module(f"seqembed.{name}")
        elif name in _MODULE_OF:
            value = getattr(import_module(f"seqembed.{_MODULE_OF[name]}"), name)
        else:
            raise AttributeError(f"module 'seqembed' has no attribute '{name}'")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*__all__, *globals()})
