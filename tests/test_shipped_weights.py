"""The weights that ship: what they are, what they were trained on, and that they fill."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.numpy import load_file

import pconv
from pconv.unet import PConvUNet
from pconv.weights import load_weights, save_weights
from pconv.weights_source import SHIPPED_NAME, VARIABLE
from workflow.card import MARKER, licences
from workflow.licensed import PHOTOS_TABLE
from workflow.networks import network_file
from workflow.pairs import write_pairs
from workflow.params import read_params
from workflow.places import places
from workflow.ship import MAX_BYTES, Project, about_weights, largest_change_db

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "weights"


def test_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is named and nothing was trained they fill, far better than one colour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    photo = skimage.data.chelsea()
    known = np.ones(photo.shape[:2], bool)
    known[40:80, 60:110] = known[200:216, 50:400] = False
    errors = {}
    for method in ("pconv", "mean"):
        filled = pconv.inpaint(photo, known, method=method)
        assert (filled[known] == photo[known]).all()
        errors[method] = np.square(filled[~known].astype(float) - photo[~known]).mean()
    assert errors["pconv"] < errors["mean"] / 4  # 6 dB


def test_size() -> None:
    """Kernels in half precision, and small enough for git."""
    path = SHIPPED / SHIPPED_NAME
    assert path.stat().st_size <= MAX_BYTES
    kernels = [value for value in load_file(path).values() if value.ndim > 1]
    assert {value.dtype.name for value in kernels} == {"float16"}


def test_licences() -> None:
    """Nothing was trained on that forbids commercial use or changes."""
    counts = licences(SHIPPED / PHOTOS_TABLE)
    assert counts
    assert not [name for name in counts if re.search("-N[CD]", name)]


def test_card() -> None:
    """`python -m workflow.ship` would write what stands in the card, but for what it measures."""
    card = (SHIPPED / "README.md").read_text()
    masks = read_params(ROOT / "presets/finetune.yaml").masks
    parts = about_weights(SHIPPED / SHIPPED_NAME, SHIPPED / PHOTOS_TABLE, masks)
    assert sorted(places(card, MARKER)) == sorted([*parts, "results"])
    for name, text in parts.items():
        assert f"<!-- {MARKER}: {name} -->\n{text}\n<!-- end -->" in card


def test_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What half precision changes is told by its size, up or down; if it is nothing, as nothing."""
    models = tmp_path / "models"
    weights = network_file("pconv-last", models)
    torch.manual_seed(0)
    save_weights(weights, PConvUNet(width=2, levels=2), {})
    half = tmp_path / "half.safetensors"
    save_weights(half, load_weights(weights), {}, torch.float16)
    write_pairs(tmp_path / "sample.csv", [])
    project = Project(*[tmp_path] * 6)
    project = replace(project, models=models, sample=tmp_path / "sample.csv")

    def measure(_: Project, folder: Path, __: object) -> dict[str, float]:
        is_half = network_file("pconv-last", folder).read_bytes() == half.read_bytes()
        return {"ec": 20.0, "or": 21.0} if is_half else {"ec": 20.5, "or": 20.75}

    monkeypatch.setattr("workflow.ship._hole_psnr", measure)
    assert largest_change_db(project, half) == 0.5
    assert largest_change_db(project, weights) is None


@pytest.mark.slow
def test_installed(tmp_path: Path) -> None:
    """They travel in the wheel, and an installed library finds them."""
    source = tmp_path / "source"  # a build leaves its files beside the project
    for name in ("pconv", "weights", "workflow"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--target", tmp_path / "site"]
    subprocess.run([*install, *options, source], check=True)
    where = "from pconv.weights_source import shipped_weights; print(shipped_weights())"
    said = subprocess.run(
        [sys.executable, "-c", where],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    ).stdout.strip()
    assert Path(said) == tmp_path / "site/pconv/shipped" / SHIPPED_NAME
    assert Path(said).read_bytes() == (SHIPPED / SHIPPED_NAME).read_bytes()
