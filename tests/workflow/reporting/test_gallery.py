"""Which pictures the page shows, and in which colours."""

import base64
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pconv.images import write_mask
from pconv.resizing import fit_mask
from tests.workflow.reporting.project import SIZE_PX
from workflow.pairs import Pair
from workflow.reporting import examples, gallery
from workflow.reporting.examples import Sources
from workflow.reporting.page import Wipe, _first_layer


class TestPictures:
    """What is drawn."""

    def test_masks_in_their_square(self, tmp_path: Path) -> None:
        """A mask is shown as its pair is framed."""
        mask = np.random.default_rng(0).random((32, 64)) < 0.5
        write_mask(tmp_path / "valid/ec/0/0_0.png", mask)
        pair = Pair("p", "valid/gt/0.png", "valid/ec/0/0_0.png", "ec", 0.5, SIZE_PX, 1.0)
        material = SimpleNamespace(pairs=[pair], sources=Sources(tmp_path, tmp_path, tmp_path))
        (shown,) = gallery._masks_of(material, "ec")
        np.testing.assert_array_equal(shown, fit_mask(mask, SIZE_PX, 1.0))

    def test_wipe(self) -> None:
        """The slider's pictures have the colours of their files, to the last bit."""
        rng = np.random.default_rng(0)
        truth, filled = rng.integers(0, 256, (2, 9, 9, 3), np.uint8)
        mask = np.ones((9, 9), bool)
        mask[:4] = False
        pair = Pair("p", "valid/gt/0.png", "m.png", "ec", 0.44, 9)
        wipe = Wipe.of(examples.Example(pair, truth, mask, {"telea": filled}, {}), {"telea": "T"})
        assert wipe.name == "p (ec, 44 % hole)"
        for (name, source), (title, wanted) in zip(
            wipe.layers[1:], (("T", filled), ("Truth", truth)), strict=True
        ):
            content = base64.b64decode(source.partition(",")[2])
            assert name == title
            np.testing.assert_array_equal(Image.open(BytesIO(content)).convert("RGB"), wanted)

    def test_different_masks(self, tmp_path: Path) -> None:
        """A mask that damages several photographs is shown once."""
        mask = np.ones((SIZE_PX, SIZE_PX), bool)
        mask[:9] = False
        write_mask(tmp_path / "0000/0.png", mask)
        pairs = [
            Pair(f"p{n}", f"valid/gt/{n}.png", "0000/0.png", "walk", 0.3, SIZE_PX) for n in range(3)
        ]
        material = SimpleNamespace(pairs=pairs, sources=Sources(tmp_path, tmp_path, tmp_path))
        assert len(gallery._masks_of(material, "walk")) == 1

    def test_kinds_of_figures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The figure of error concealment shows ec pairs, that of object removal or pairs."""
        monkeypatch.setattr(gallery.pictures, "fills_figure", lambda shown, *_: shown)
        choice = SimpleNamespace(ec=["e"], or_=["o"], judge="telea")
        labels = {"telea": "Telea"}
        material = SimpleNamespace(choice=choice, methods=["telea"], labels=labels, chosen=list)
        found = {shown.title: shown.figure for shown in gallery._examples(material)}
        assert found == {
            "Error concealment (the paper's Figure 7)": ["e"],
            "Object removal (Figure 8)": ["o"],
        }

    def test_first_layer(self) -> None:
        """The slider starts at the last fill of our network."""
        names = ["Damaged", "PConv, epoch 2", "PConv, epoch 3", "Telea", "Truth"]
        assert _first_layer([Wipe("pair", [(name, "") for name in names])]) == 2
        assert _first_layer([Wipe("pair", [("Damaged", ""), ("Telea", ""), ("Truth", "")])]) == 2
