"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of Python runs, in a folder with the files that it names."""
    monkeypatch.chdir(tmp_path)
    photo = np.full((60, 80, 3), 90, np.uint8)
    known = np.ones((60, 80), bool)
    known[20:30, 30:50] = False
    Image.fromarray(photo).save("photo.jpg")
    Image.fromarray(known).save("mask.png")
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  # our own README's words
    if "inpaint" in block:
        image, filled = names["image"], names["filled"]
        assert np.array_equal(filled[known], image[known])
        assert np.abs(filled.astype(int) - 90).max() < 10
    else:
        assert names["filled"].shape == names["image"].shape
        assert names["features"].shape == (1, 64, 128, 128)


def test_make_targets() -> None:
    """Every `make` target that it names exists."""
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
