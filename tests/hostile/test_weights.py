"""Bad weights: never run, never half loaded; refused by every command and stage that reads some."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from pconv.stopping import EXIT_OUT_OF_TIME
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.hostile import pictures
from tests.hostile.commands import Answer, check_refused, pconv, stage, tree_hash
from tests.hostile.conftest import Note, small_params, write_params
from tests.hostile.record import is_long

AREA = "Weights"
REFUSED = "refused by name, one line, status 2"
LAST = Path("models/pconv/last.safetensors")


class Bomb:
    """An object whose unpickling makes a file called ``ran``."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        """Ask whoever unpickles this to touch a file."""
        return Path.touch, (Path("ran"),)


def write_whole(path: Path) -> None:
    """Write a small network."""
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, PConvUNet(width=2, levels=2), {"epoch": "1", "size_px": "16"})


def cut(tenth: int) -> Callable[[Path], None]:
    """Return what writes a weights file that ends after so many tenths."""

    def write(path: Path) -> None:
        write_whole(path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * tenth // 10])

    return write


def with_header(**words: str) -> Callable[[Path], None]:
    """Return what writes weights whose header says something else."""

    def write(path: Path) -> None:
        write_whole(path)
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header["__metadata__"] |= words
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return write


def with_values(value: float) -> Callable[[Path], None]:
    """Return what writes weights of which one is no number."""

    def write(path: Path) -> None:
        write_whole(path)
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        words = json.loads(content[8 : 8 + length])["__metadata__"]
        tensors = load_file(path)
        next(one for one in tensors.values() if one.is_floating_point()).view(-1)[0] = value
        path.write_bytes(save(tensors, words))

    return write


def raw(content: bytes) -> Callable[[Path], None]:
    """Return what writes some bytes."""
    return lambda path: path.write_bytes(content) and None


def folder(path: Path) -> None:
    """Put a folder in the place of the file."""
    path.unlink(missing_ok=True)
    path.mkdir()


BAD: list[tuple[str, Callable[[Path], None]]] = [
    *[("cut at every tenth", cut(tenth)) for tenth in range(10)],
    ("of another architecture", with_header(width="4")),
    ("of another architecture", with_header(levels="3")),
    ("of another architecture", with_header(mask_channel="True")),
    ("of another architecture", with_header(width="1000000")),
    ("of another architecture", with_header(kind="../../models")),
    ("of another architecture", with_header(levels="-1")),
    ("of another architecture", with_header(width="١٦٠٠")),
    ("with values that are no numbers", with_values(float("nan"))),
    ("with values that are no numbers", with_values(float("inf"))),
    ("of another file type", raw(pictures.encoded(pictures.smooth(), "JPEG"))),
    ("of another file type", raw(b"weights")),
    ("of another file type", raw((2**63).to_bytes(8, "little") + b"{}")),
    ("of another file type", raw((9).to_bytes(8, "little") + b'{"a": 1}}')),
    ("of another file type", lambda path: save_file({"a": torch.ones(3)}, path)),
    ("of another file type", folder),
    ("a pickle that would run code", lambda path: path.write_bytes(pickle.dumps(Bomb())) and None),
    ("a pickle that would run code", lambda path: torch.save({"w": Bomb()}, path)),
    (
        "a pickle that would run code",
        lambda path: torch.save({"w": Bomb()}, path, _use_new_zipfile_serialization=False),
    ),
]
IDS = [f"{number}-{what}" for number, (what, _) in enumerate(BAD)]


def fill() -> Answer:
    """Fill a photo with the bad weights."""
    return pconv("fill", "photo.png", "-m", "mask.png", "-o", "o/a.png", "--weights", LAST)


def compare() -> Answer:
    """Compare with the bad weights."""
    options = ["--weights", LAST, "-o", "o/b.png", "--methods", "mean,pconv"]
    return pconv("compare", "photo.png", "-m", "mask.png", *options)


def measure() -> Answer:
    """Measure the bad weights."""
    options = ["--weights", LAST, "-o", "o/c.csv", "--methods", "mean,pconv"]
    return pconv("measure", "photo.png", "-m", "mask.png", *options)


def info() -> Answer:
    """Ask what the bad weights are."""
    return pconv("info", LAST)


def export() -> Answer:
    """Export the bad weights."""
    return pconv("export", LAST, "-o", "o/a.onnx")


@pytest.mark.parametrize(("what", "spoil"), BAD, ids=IDS)
class TestWeights:
    """The weights of the network."""

    @pytest.mark.parametrize("command", [fill, compare, measure, info, export])
    def test_commands(
        self,
        what: str,
        spoil: Callable[[Path], None],
        command: Callable[[], Answer],
        unchanged: Callable[[], None],
        note: Note,
    ) -> None:
        """Every command refuses them, and none runs what they hold."""
        Path("photo.png").write_bytes(pictures.encoded(pictures.smooth(), "PNG"))
        Path("mask.png").write_bytes(pictures.encoded(pictures.known(), "PNG"))
        LAST.parent.mkdir(parents=True)
        spoil(LAST)
        unchanged()
        check_refused(command(), LAST.name)
        assert not Path("ran").exists()
        note(AREA, what, REFUSED)

    @pytest.mark.parametrize("name", ["evaluate", "report"])
    def test_stages(
        self, what: str, spoil: Callable[[Path], None], name: str, project: Path, note: Note
    ) -> None:
        """So do the stages that read them."""
        for path in (LAST, LAST.with_stem("first")):
            spoil(path)
        before = tree_hash(project)
        check_refused(stage(name), str(LAST.parent))
        assert tree_hash(project) == before
        note(AREA, what, REFUSED)


@pytest.mark.parametrize(("what", "spoil"), BAD if is_long() else BAD[5:20:4] + BAD[-3:])
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_vgg(
    what: str, spoil: Callable[[Path], None], name: str, project: Path, note: Note
) -> None:
    """A file that holds no VGG-16 weights is refused; a pickle of other things is not run."""
    params = small_params()
    params["train"] |= {"features": "vgg.pt", "perceptual_weight": 0.05}
    params["evaluate"] |= {"features": "vgg.pt", "vgg_methods": ["mean"], "vgg_pairs": 2}
    write_params(project, params)
    spoil(project / "vgg.pt")
    shutil.rmtree(project / "checkpoints", ignore_errors=True)
    before = tree_hash(project / "models"), tree_hash(project / "data")
    check_refused(stage(name), "vgg.pt")
    assert not (project / "ran").exists()
    assert (tree_hash(project / "models"), tree_hash(project / "data")) == before
    note(AREA, f"VGG-16 file {what}", REFUSED)


@pytest.mark.parametrize(
    "spoil", [spoil for what, spoil in BAD if "pickle" in what or "cut" in what]
)
def test_checkpoint(spoil: Callable[[Path], None], project: Path, note: Note) -> None:
    """A damaged or hostile checkpoint is passed over: the run starts anew, to the same bytes."""
    before = tree_hash(project / "models")
    assert stage("train", "--stop-after-s", "0").status == EXIT_OUT_OF_TIME
    checkpoints = list(project.glob("checkpoints/*/*/*.pt"))
    assert checkpoints
    for path in checkpoints:
        spoil(path)
    shutil.rmtree(project / "models")
    answer = stage("train")
    assert answer.status == 0, answer.said
    assert not (project / "ran").exists()
    assert tree_hash(project / "models") == before
    note(AREA, "a damaged or hostile checkpoint", "passed over, trained anew, same bytes")
