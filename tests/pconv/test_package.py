"""The package as a user meets it: its help, its names, and what a type checker says of them."""

import ast
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pconv

ROOT = Path(__file__).parents[2]

# What runs is accepted; a comment says what mypy finds a value to be.
RIGHT = """
from pathlib import Path
import numpy as np
import pconv
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import DataParallel
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

array: NDArray[np.uint8] = np.zeros((4, 4, 3), np.uint8)
arrays: NDArray[np.uint8] = np.zeros((2, 4, 4, 3), np.uint8)
known: NDArray[np.bool_] = np.ones((4, 4), bool)
tensor = torch.ones(4, 4, dtype=torch.bool)
picture, file = Image.new("RGB", (4, 4)), Image.open("photo.png")
network = pconv.load_weights()

reveal_type(pconv.metrics.psnr)  # def (
reveal_type(pconv.__version__)  # str
reveal_type(network)  # UNet
for weights in (network, AveragedModel(network), DistributedDataParallel(network), Path("file")):
    pconv.inpaint(array, known, weights=weights)
pconv.Inpainter(weights=torch.compile(network))
pconv.save_weights("file", torch.compile(network))
vgg = pconv.vgg16_features("random")
for features in (vgg, DataParallel(vgg), torch.compile(vgg), None):
    pconv.InpaintingLoss(features)
pconv.losses.TruthFeatures.of(torch.compile(vgg), torch.zeros(1, 3, 8, 8))

reveal_type(pconv.inpaint(array, known))  # ndarray[
reveal_type(pconv.inpaint(file, tensor))  # "PIL.Image.Image"
either: Image.Image | NDArray[np.uint8] = picture if known.all() else array
reveal_type(pconv.inpaint(either, [[True, False]]))  # Image.Image | numpy.ndarray[
reveal_type(pconv.inpaint_batch(arrays, known))  # list[numpy.ndarray[
reveal_type(pconv.inpaint_batch(arrays, tensor))  # list[numpy.ndarray[
reveal_type(pconv.inpaint_batch([array, array], [known, tensor]))  # list[numpy.ndarray[
reveal_type(pconv.inpaint_batch([picture, file], [picture, known]))  # list[PIL.Image.Image]
reveal_type(pconv.inpaint_batch([picture, array], known))  # list[PIL.Image.Image | numpy.ndarray[
reveal_type(pconv.Inpainter().fill_batch(arrays, known))  # list[numpy.ndarray[
reveal_type(pconv.Inpainter()(file, known))  # "PIL.Image.Image"
"""

# Each line is refused.
WRONG = """
import pconv; pconv.PConvUnet()
import pconv; pconv.metrics.pnsr(1)
import pconv; pconv.mask.strokes
from pconv import losess
import pconv; pconv.inpaint("photo.png", "mask.png")
import pconv; pconv.inpaint_batch(1, 2)
import pconv; pconv.Inpainter(weights=1)
import pconv; pconv.InpaintingLoss(pconv.LossWeights())
""".strip()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what mypy says of each line of the two programs, with the settings of pyproject."""
    folder = tmp_path_factory.mktemp("typing")
    lines = {}
    for name, program in (("right", RIGHT), ("wrong", WRONG)):
        (folder / f"{name}.py").write_text(program)
        lines[name] = [""] * len(program.splitlines())
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context"]
    files = [folder / f"{name}.py" for name in lines]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    assert not done.stderr
    for name, number, words in re.findall(r"(\w+)\.py:(\d+): (.*)", done.stdout):
        lines[name][int(number) - 1] += words
    return lines


class TestTypes:
    """The package says its types (py.typed), and says them right."""

    def test_what_runs(self, said: dict[str, list[str]]) -> None:
        """What is documented to run is accepted, and has the type that comes back."""
        for code, words in zip(RIGHT.splitlines(), said["right"], strict=True):
            wanted = code.partition("  # ")[2]
            assert wanted in words, code
            assert wanted or not words, (code, words)
            assert "error:" not in words, (code, words)

    def test_mistakes(self, said: dict[str, list[str]]) -> None:
        """A misspelt name of the package or of a module is refused, as is what is no picture."""
        for code, words in zip(WRONG.splitlines(), said["wrong"], strict=True):
            assert "error:" in words, code


class TestNames:
    """What the package shows of itself."""

    def test_dir(self) -> None:
        """``dir`` lists what there is: every name and module of the help, and each can be had."""
        for name in dir(pconv):
            assert getattr(pconv, name) is not None
        told = re.findall(r"``(\w+)``", (pconv.__doc__ or "").split("The modules:")[1])
        assert {*told, *pconv.__all__} == set(dir(pconv))
        assert all(inspect.ismodule(getattr(pconv, name)) for name in told)

    def test_known_to_type_checkers(self) -> None:
        """A type checker is told of the same names, from the same modules."""
        code = ast.parse((ROOT / "pconv/__init__.py").read_text())
        imports = [node for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
        ours = [node for node in imports if (node.module or "").startswith("pconv")]
        told = {alias.name: node.module for node in ours for alias in node.names}
        assert sorted(told) == dir(pconv)
        for name in pconv.__all__:
            assert getattr(pconv, name).__module__ == told[name]

    def test_help(self) -> None:
        """``help`` begins with what the package does."""
        text = pydoc.plain(pydoc.render_doc(pconv))
        assert "NAME\n    pconv - Image inpainting with partial convolutions." in text
        assert "losses" in text

    @pytest.mark.parametrize("name", ["PConvUnet", "mask", "_private"])
    def test_unknown(self, name: str) -> None:
        """A name that does not exist is an AttributeError."""
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(pconv, name)
