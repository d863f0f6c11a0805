"""Which extra of the package brings a library that is not installed."""

from seqembed.data.errors import UsageError

_EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "tf2onnx": "train",
    "onnx": "train",
    "matplotlib": "train",
    "tomli_w": "train",
    "sklearn": "train",
    "joblib": "train",
    "threadpoolctl": "train",
}


def missing_extra(what: str, error: ModuleNotFoundError) -> UsageError:
    """Return the error that says which extra to install.

    Args:
        what: The command or function that needs the library.
        error: What the import raised.

    Raises:
        ModuleNotFoundError: No extra brings that library.
    """
    name = (error.name or "").split(".")[0]
    if name not in _EXTRAS:
        raise error
    return UsageError(
        f"{what} needs {name}, which is not installed here. Install the extra: pip install 'seqembed[{_EXTRAS[name]}]'"
    )
