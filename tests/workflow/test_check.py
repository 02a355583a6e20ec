"""The stage before all others: what it refuses, and what it leaves for the engines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pconv.errors import DataError, ParameterError, WeightsError
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow.check import check
from workflow.params import read_params

ROOT = Path(__file__).parents[2]
SAMPLE = (ROOT / "presets/sample.yaml").read_text()
SIZES = {name: yaml.safe_load(SAMPLE)["train"][name] for name in ("width", "levels")}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write_params(**sections: dict[str, object]) -> None:
    """Write the sample preset with some values replaced."""
    content = yaml.safe_load(SAMPLE)
    for name, values in sections.items():
        content[name] |= values
    Path("params.yaml").write_text(yaml.safe_dump(content))


def test_values() -> None:
    """It returns the parameters, and leaves each section and what was noted as files."""
    write_params()
    assert check() == read_params()
    assert json.loads(Path(".stages/masks.json").read_text())["seed"] == 1
    noted = {path.name: json.loads(path.read_text()) for path in Path("data/named").iterdir()}
    assert noted == {f"{name}.json": {} for name in ("download", "masks", "train", "evaluate")}
    assert all(Path(f".stages/named-{name}").read_text() == "{}\n" for name in noted)


def test_twice() -> None:
    """Where nothing changed nothing is written: Snakemake goes by times."""
    write_params(evaluate={"features": "own.pt"})
    Path("own.pt").write_bytes(b"weights")
    times = []
    for _ in range(2):
        check()
        files = [*Path("data/named").iterdir(), *Path(".stages").iterdir()]
        times.append({file: file.stat().st_mtime_ns for file in files})
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"evaluate": {"features": "vgg.pth"}}, "evaluate.features"),
        ({"train": {"features": "vgg.pth", "style_weight": 1.0}}, "train.features"),
        ({"train": {"features": "vgg.pth", "perceptual_weight": 1.0}}, "train.features"),
        ({"train": {"initial_weights": "vgg.pth"}}, "train.initial_weights"),
    ],
)
def test_missing_weights(changes: dict[str, dict[str, object]], key: str) -> None:
    """Weights that are not there are missed before hours go into the stages before."""
    write_params(**changes)
    with pytest.raises(ParameterError, match=rf"params.yaml: {key}: there is no file vgg.pth"):
        check()
    assert not Path("data").exists()
    Path("vgg.pth").mkdir()
    with pytest.raises(ParameterError, match=rf"params.yaml: {key}: there is no file vgg.pth"):
        check()
    Path("vgg.pth").rmdir()
    save_weights("vgg.pth", PConvUNet(**SIZES))
    check()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 8}, f"has width {SIZES['width']}, the one to be trained 8"),
        ({"levels": 4}, f"has levels {SIZES['levels']}, the one to be trained 4"),
        ({"centre": "known"}, "has centre half, the one to be trained known"),
        ({"kinds": ["plain"]}, "has kind pconv, the one to be trained plain"),
        ({"mask_channel": True}, ""),
        ({}, ""),
    ],
)
def test_weights_of_another_network(values: dict[str, object], words: str) -> None:
    """Weights with which the training can't begin are refused before DVC deletes the network."""
    save_weights("own.safetensors", PConvUNet(**SIZES))
    write_params(train={"initial_weights": "own.safetensors", **values})
    if not words:
        check()
        return
    with pytest.raises(ParameterError, match=f"in own.safetensors {words}; name other weights"):
        check()
    assert not Path("data").exists()


def test_no_weights() -> None:
    """So are files that are none."""
    write_params(train={"initial_weights": "own.pt"})
    Path("own.pt").write_bytes(b"weights")
    with pytest.raises(WeightsError, match=r"own\.pt: damaged, cut short, or no safetensors"):
        check()


def test_mask_channel_is_lost() -> None:
    """A network that was shown the mask does not begin one that is not."""
    shown = PConvUNet(**SIZES, mask_channel=True)
    save_weights("own.safetensors", shown)
    write_params(train={"initial_weights": "own.safetensors"})
    with pytest.raises(ParameterError, match="has mask_channel True, the one to be trained False"):
        check()


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (
            "train",
            {"initial_weights": "models/pconv/last.safetensors"},
            "initial_weights: .* lies in models/.* a copy",
        ),
        (
            "train",
            {"initial_weights": "../here/models/own.pt"},
            "initial_weights: .* lies in models/.* a copy",
        ),
        (
            "download",
            {"source": "folder", "folder_train": "data/raw/train"},
            "folder_train: .* lies in data/raw/",
        ),
        ("download", {"source": "folder", "folder_train": "data"}, "folder_train: .* holds data/"),
        ("download", {"source": "folder", "folder_train": ".."}, r"folder_train: \.\. holds data/"),
    ],
)
def test_own_results(section: str, values: dict[str, object], words: str) -> None:
    """What stages make, or a folder that holds it, is refused: it would be read while it grows."""
    write_params(**{section: values})
    for path in map(Path, values.values()):
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    with pytest.raises(ParameterError, match=f"^params.yaml: {section}.{words}"):
        check()


def test_photographs_beside_results() -> None:
    """Folders beside those that stages make are no results."""
    write_params(download={"source": "folder", "folder_train": "data/photos"})
    Path("data/photos").mkdir(parents=True)
    Path("data/photos/a.png").write_bytes(b"1")
    check()
    assert list(json.loads(Path("data/named/download.json").read_text())) == ["data/photos"]


def test_unused_file_of_weights() -> None:
    """A file that no loss term needs is not missed."""
    features: dict[str, object] = {"features": "vgg.pth"}
    write_params(train=features, evaluate=features | {"vgg_pairs": 0})
    check()


def test_outputs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under DVC it refuses what every stage refuses: DVC could not record what it notes."""
    write_params()
    Path(".git").mkdir()
    Path("../large").mkdir()
    Path("data").symlink_to("../large")
    monkeypatch.setenv("DVC_STAGE", "check")
    with pytest.raises(DataError, match=r"^data/ leads to .*large, "):
        check()
    assert not list(Path("../large").iterdir())


def test_beside_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under DVC it notes nothing while Snakemake is at work, which goes by what is noted."""
    write_params()
    Path(".snakemake").mkdir()
    holding = "import fcntl; f = open('.snakemake/alive', 'w'); fcntl.flock(f, fcntl.LOCK_SH); "
    holding += "print('held', flush=True); input()"
    monkeypatch.setenv("DVC_STAGE", "check")
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="Snakemake is at work in this folder"):
            check()
        other.communicate("\n")
    assert not Path("data").exists()
    check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("augment: 1\n", "augment: found 1; input should be a valid dictionary"),
        (
            SAMPLE.replace("initial_weights: null", "initial_weights: vgg.pth"),
            "train.initial_weights: there is no file vgg.pth",
        ),
    ],
)
def test_command_line(text: str, words: str) -> None:
    """The command ends with status 2, one line and no traceback; files are missed as well."""
    Path("params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "workflow.check"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("ParameterError: params.yaml: ")
    assert f"params.yaml: {words}" in done.stderr
