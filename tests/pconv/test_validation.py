"""Held-out pairs: measured and shown."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pconv.dataset import ImageSet
from pconv.errors import DataError
from pconv.unet import PConvUNet
from pconv.validation import IDENTICAL_DB, HeldOut
from workflow.reporting.evaluation import IDENTICAL_DB as of_the_report

RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
MASKS = RNG.random((5, 16, 16)) < 0.6


class Constant(PConvUNet):
    """Fills everything with one colour, out of range or between two levels in a channel each."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the colour."""
        colour = torch.tensor([1.5, 0.2, 0.401]).view(1, 3, 1, 1)
        return colour.expand_as(image) + 0 * mask


FILLED = np.where(MASKS[..., None], IMAGES, np.uint8([255, 51, 102]))


class TestHeldOut:
    """`HeldOut`."""

    @pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
    def test_measure(self, batch_size: int) -> None:
        """L1 and PSNR are those of plain numpy, whatever the batch."""
        errors = (FILLED.astype(float) - IMAGES) / 255
        holes = [error[~mask] for error, mask in zip(errors, MASKS, strict=True)]
        wanted = {
            "valid_hole_l1": np.mean([np.abs(hole).mean() for hole in holes]),
            "valid_hole_psnr": np.mean([-10 * np.log10((hole**2).mean()) for hole in holes]),
        }
        model = Constant(width=1, levels=1)
        measured = HeldOut(ImageSet(IMAGES, MASKS), batch_size).measure(model)
        assert measured == pytest.approx(wanted, rel=1e-5)

    def test_perfect_fill(self) -> None:
        """One fill that equals the truth, of infinite PSNR, leaves the mean of all a number."""
        images = np.concatenate([np.full_like(IMAGES[:1], (255, 51, 102)), IMAGES[1:]])
        model, others = Constant(width=1, levels=1), ImageSet(images[1:], MASKS[1:])
        measured = HeldOut(ImageSet(images, MASKS), 2).measure(model)["valid_hole_psnr"]
        mean_of_others = HeldOut(others, 2).measure(model)["valid_hole_psnr"]
        assert measured == pytest.approx((100 + 4 * mean_of_others) / 5)
        assert of_the_report == IDENTICAL_DB

    def test_picture(self) -> None:
        """A row shows truth, damage on grey, and fill."""
        picture = HeldOut(ImageSet(IMAGES, MASKS), 2).picture(Constant(width=1, levels=1), rows=3)
        damaged = np.where(MASKS[..., None], IMAGES, np.uint8(128))
        rows = [np.hstack([IMAGES[i], damaged[i], FILLED[i]]) for i in range(3)]
        np.testing.assert_array_equal(picture, np.vstack(rows))

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_the_model(self, training: bool) -> None:
        """Mode and statistics of the model are as before."""
        model = PConvUNet(width=1, levels=2).train(training)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        HeldOut(ImageSet(IMAGES, MASKS), 2).measure(model)
        assert model.training == training
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key])

    def test_raises(self) -> None:
        """Pairs that do not pair, and masks without a hole, are refused."""
        with pytest.raises(DataError, match="5 held-out images but 4 masks"):
            HeldOut(ImageSet(IMAGES, MASKS[:4]), 2)
        whole = MASKS.copy()
        whole[3] = True
        with pytest.raises(DataError, match="mask number 3 has no hole"):
            HeldOut(ImageSet(IMAGES, whole), 2)
