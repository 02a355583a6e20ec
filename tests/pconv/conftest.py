"""What tests of the library share."""

from pathlib import Path

import numpy as np
import pytest

from pconv import weights_source
from tests.pconv.scenes import write_scene


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go into an empty folder; no variable names weights, and none ship."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(weights_source.VARIABLE, raising=False)
    monkeypatch.setattr(weights_source, "SHIPPED_FOLDERS", ())


@pytest.fixture
def scene() -> np.ndarray:
    """Write photo.png and mask.png into the current folder; return the photo."""
    return write_scene("photo.png", "mask.png")
