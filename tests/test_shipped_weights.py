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
from workflow.card import MARKER, licences, results_part
from workflow.dvc_hash import dvc_hash
from workflow.licensed import PHOTOS_TABLE
from workflow.networks import network_file
from workflow.pairs import Pair, write_pairs
from workflow.params import read_params
from workflow.places import places
from workflow.ship import MAX_BYTES, Project, _main, about_weights, largest_change_db, ship

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
    assert _types_of_kernels(path) == {"float16"}


def _types_of_kernels(path: Path) -> set[str]:
    return {value.dtype.name for value in load_file(path).values() if value.ndim > 1}


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


def test_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card says of how many pairs the numbers are, and what training and parameters were."""
    torch.manual_seed(0)
    about = {"size_px": "64", "epochs": "3", "batch_size": "4", "seed": "7", "fingerprint": "f1e2"}
    about["epoch"] = "3"
    models, metrics, sample = (tmp_path / name for name in ("models", "metrics.json", "sample.csv"))
    save_weights(network_file("pconv-last", models), PConvUNet(width=2, levels=2), about)
    metrics.write_text('{"pconv-last": {"all": {"psnr_hole": 20.0, "pairs": 2}}}')
    write_pairs(sample, [Pair(f"{number}", "a.png", "b.png", "ec", 0.5, 64) for number in (1, 2)])
    (tmp_path / "index.html").write_text(f"{dvc_hash(models)} {dvc_hash(sample)}")
    params = ROOT / "presets/finetune.yaml"
    project = Project(params, models, metrics, sample, tmp_path / "raw", tmp_path / "masks")
    monkeypatch.setattr("workflow.ship.largest_change_db", lambda *_: 0.25)
    ship(project, SHIPPED / PHOTOS_TABLE, tmp_path / "out")

    weights, card = tmp_path / "out" / SHIPPED_NAME, (tmp_path / "out/README.md").read_text()
    assert _types_of_kernels(weights) == {"float16"}
    parts = about_weights(weights, SHIPPED / PHOTOS_TABLE, read_params(params).masks)
    parts["results"] = results_part(metrics, models, pairs=2, side="64", change_db=0.25)
    for name, text in parts.items():
        assert f"<!-- {MARKER}: {name} -->\n{text}\n<!-- end -->" in card
    copied = (tmp_path / "out" / PHOTOS_TABLE).read_bytes()
    assert copied == (SHIPPED / PHOTOS_TABLE).read_bytes()


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters of the training may be others than those of the folder."""
    given: list[object] = []
    monkeypatch.setattr("workflow.ship.ship", lambda *words: given.extend(words))
    words = ["ship", "--photos", "photos.tsv", "--out", "weights"]
    for more in ([], ["--params", "other.yaml"]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        _main()
    own = [Project(), Path("photos.tsv"), Path("weights")]
    assert given == [*own, Project(params=Path("other.yaml")), *own[1:]]


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
