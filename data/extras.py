"""Recognise missing libraries that only an extra of the package installs."""

from seqembed.data.errors import UsageError

# Import names of libraries that only extras install.
_OPTIONAL = frozenset(
    (
        *("duckdb", "ray", "pyspark", "py4j", "tensorflow", "keras", "tf2onnx", "onnx"),
        *("matplotlib", "tomli_w", "sklearn", "joblib", "threadpoolctl", "jinja2", "prometheus_client"),
    )
)


def missing_extra(what: str, error: ModuleNotFoundError, extra: str | None) -> UsageError:
    """Return the error that names the extra to install.

    Args:
        what: The command or function that needs the library.
        error: Raised by the import.
        extra: The extra that installs the library; None if there is none.

    Raises:
        ModuleNotFoundError: No extra installs this library.
    """
    name = (error.name or "").split(".")[0]
    if name not in _OPTIONAL or extra is None:
        raise error
    return UsageError(
        f"{what} needs {name}, which is not installed here. Install the extra: pip install 'seqembed[{extra}]'"
    )
