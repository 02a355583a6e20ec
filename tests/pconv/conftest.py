"""What tests of the library share."""

from pathlib import Path

import pytest

from pconv import weights_source


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go into an empty folder; no variable names weights, and none ship."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(weights_source.VARIABLE, raising=False)
    monkeypatch.setattr(weights_source, "SHIPPED_FOLDERS", ())
