"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pconv

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of Python runs, in a folder with the files that it names."""
    monkeypatch.chdir(tmp_path)
    photo = np.full((60, 80, 3), 90, np.uint8)
    Path("photos").mkdir()
    known = np.ones((60, 80), bool)
    known[20:30, 30:50] = False
    for name in ("photo.jpg", "photos/1.jpg"):
        Image.fromarray(photo).save(name)
    Image.fromarray(known).save("mask.png")
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  # our own README's words
    filled = names["filled"]
    assert np.array_equal(filled[known], np.asarray(Image.open("photo.jpg"))[known])
    if "save_weights" in block:
        assert pconv.load_weights("mine.safetensors").trained_at_px == 128
        assert not names["network"].encoder[1].norm.training  # the second phase came
    else:
        assert np.abs(filled.astype(int) - 90).max() < 10


def test_make_targets() -> None:
    """Every `make` target that it names exists."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def all_pairs(page: str) -> dict[str, float]:
    """Return the last column of a page's table, by method."""
    rows = re.findall(r"^\| ([^|]+) \|(?: [\d.]+ \|)* ([\d.]+) \|$", page, re.MULTILINE)
    return {method: float(number) for method, number in rows}


def test_numbers() -> None:
    """What is said of the networks is what its table and the weights' card say."""
    text, sample = " ".join(README.split()), all_pairs(README)
    gain = sample["PConv, epoch 4, mean of four flips"] - sample["PConv, epoch 4"]
    assert f"(`pconv fill --mirror`) adds {gain:.2f} dB" in text
    page = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    card, other = map(all_pairs, page.split("\nOn ten photographs"))
    ours, copied = card["PConv + mask, epoch 4"], card["PatchMatch"]
    flips, smooth = card["PConv + mask, epoch 4, mean of four flips"], card["Biharmonic"]
    assert f"{ours:.1f} dB in the hole, PatchMatch {copied:.1f} and biharmonic inpainting" in text
    assert f"biharmonic inpainting {smooth:.1f} (" in text
    assert f"reach {ours:.2f} dB in the hole ({flips:.2f} with `--mirror`)" in text
    assert f"PatchMatch {copied:.2f}, biharmonic inpainting {smooth:.2f} and Telea" in text
    best = max(number for method, number in other.items() if not method.startswith("PConv"))
    ahead = f"they are {other['PConv + mask, epoch 4'] - best:.2f} dB ahead of the best classical"
    assert ahead in text
    assert ahead in " ".join(page.split())
