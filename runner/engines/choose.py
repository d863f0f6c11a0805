"""Start the engine that a run asks for; Ray and Spark are imported only then."""

from importlib.util import find_spec

from seqembed.data.errors import UsageError
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.local import LocalEngine
from seqembed.runner.options import RunOptions

_LIBRARIES = {"ray": "ray", "spark": "pyspark"}


def require_engine(engine: str) -> None:
    """Check that the library of the engine is installed.

    Raises:
        UsageError: It is not; the message names the extra.
    """
    library = _LIBRARIES.get(engine)
    if library is not None and find_spec(library) is None:
        raise UsageError(
            f"--engine {engine} needs {library}, which is not installed here. Install the extra: "
            f"pip install 'seqembed[{engine}]'"
        )


def start_engine(options: RunOptions, encoder: Encoder, bundle: bytes) -> Engine:
    """Return a started engine.

    Args:
        options: Which one, with how many threads, and where.
        encoder: The model, opened in this process.
        bundle: Bytes of the model, for workers.

    Raises:
        HostError: It cannot be started, or is not at the address.
        UsageError: It has no worker with so many CPUs.
    """
    if options.engine == "local":
        return LocalEngine(encoder, options.num_threads)
    where = options.num_threads, options.address
    if options.engine == "ray":
        from seqembed.runner.engines.ray import RayEngine

        return RayEngine(bundle, *where)
    from seqembed.runner.engines.spark_engine import SparkEngine

    return SparkEngine(bundle, *where)
