"""Which libraries only the extras of the package bring."""

from seqembed.data.errors import UsageError

# By import name.
_OPTIONAL = frozenset(
    {"tensorflow", "keras", "tf2onnx", "onnx", "matplotlib", "tomli_w", "sklearn", "joblib", "threadpoolctl"}
)


def missing_extra(what: str, error: ModuleNotFoundError, extra: str | None) -> UsageError:
    """Return the error that says which extra to install.

    Args:
        what: The command or function that needs the library.
        error: What the import raised.
        extra: What brings the libraries that it needs; None where it needs none.

    Raises:
        ModuleNotFoundError: No extra brings that library.
    """
    name = (error.name or "").split(".")[0]
    if name not in _OPTIONAL or extra is None:
        raise error
    return UsageError(
        f"{what} needs {name}, which is not installed here. Install the extra: pip install 'seqembed[{extra}]'"
    )
