"""Libraries that are hidden from another one while it starts."""

import sys

import pytest

from seqembed.data.display import quiet
from seqembed.data.hidden_imports import hidden


def test_a_hidden_module_fails_to_import_and_is_found_later(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden("colorsys", "json"):
        with pytest.raises(ModuleNotFoundError, match="colorsys is hidden") as refused:
            import colorsys
        assert refused.value.name == "colorsys"
        import json  # is imported already

        assert json is sys.modules["json"]
    import colorsys

    assert sys.modules["colorsys"] is colorsys


def test_keras_lacks_nothing_unless_a_command_runs(monkeypatch):
    monkeypatch.setattr(quiet, "_hidden", [])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.setattr(quiet, "_OF_KERAS", ("colorsys",))
    with quiet.quietly():
        import colorsys  # noqa: F401
    del sys.modules["colorsys"]
    quiet.hide_unused_libraries()
    with quiet.quietly(), pytest.raises(ModuleNotFoundError):
        import colorsys  # noqa: F401
