"""Tests of the methods that learn nothing."""

import subprocess
import sys
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic

from pconv.baselines import METHODS, fill
from pconv.errors import ImageError, MaskError, ParameterError, ShapeError
from pconv.method_names import CLASSICAL, ClassicalName
from tests.strategies import known_masks, photos

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def test_names() -> None:
    """There is a function for every name, and a name for every function; `sections` knows them."""
    assert tuple(METHODS) == tuple(CLASSICAL) == get_args(ClassicalName)


every_method = pytest.mark.parametrize("name", METHODS)
# Enough to meet holes at borders and corners, few enough for the slowest method.
few = settings(deadline=None, max_examples=10)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Pixels, Mask]:
    """Draw a photograph and a mask of its size."""
    image = draw(photos())
    return image, draw(known_masks(*image.shape[:2]))


@pytest.fixture
def ramp() -> Pixels:
    """Return a picture whose colours change evenly, (24, 24, 3)."""
    y, x = np.mgrid[:24, :24]
    return np.stack([y * 5 + 20, x * 5 + 20, 100 + y + x], axis=-1).astype(np.uint8)


@pytest.fixture
def square_hole() -> Mask:
    """Return a mask with a hole in the middle, (24, 24)."""
    mask = np.ones((24, 24), bool)
    mask[9:15, 9:15] = False
    return mask


class TestFill:
    """What holds for every method."""

    @every_method
    @given(pair=damaged())
    @few
    def test_known_pixels_stay(self, name: str, pair: tuple[Pixels, Mask]) -> None:
        """Known pixels are bit-identical, and the result has the image's shape and type."""
        image, mask = pair
        filled = fill(name, image, mask)
        assert (filled.shape, filled.dtype) == (image.shape, image.dtype)
        np.testing.assert_array_equal(filled[mask], image[mask])

    @every_method
    @given(pair=damaged(), seed=st.integers(0, 2**32 - 1))
    @few
    def test_hidden_values_never_matter(
        self, name: str, pair: tuple[Pixels, Mask], seed: int
    ) -> None:
        """Two pictures that differ under the hole only are filled alike."""
        image, mask = pair
        other = image.copy()
        noise = np.random.default_rng(seed).integers(0, 256, image.shape, dtype=np.uint8)
        other[~mask] = noise[~mask]
        np.testing.assert_array_equal(fill(name, image, mask), fill(name, other, mask))

    @every_method
    def test_inputs_stay(self, name: str, ramp: Pixels, square_hole: Mask) -> None:
        """Neither the image nor the mask is written to."""
        image, mask = ramp.copy(), square_hole.copy()
        fill(name, image, mask)
        np.testing.assert_array_equal(image, ramp)
        np.testing.assert_array_equal(mask, square_hole)

    @every_method
    def test_constant_picture_comes_back(self, name: str, square_hole: Mask) -> None:
        """A hole in a picture of one colour gets that colour; OpenCV's Telea is up to 2 off."""
        image = np.full((24, 24, 3), (200, 17, 90), np.uint8)
        difference = fill(name, image, square_hole).astype(int) - image
        assert np.abs(difference).max() <= (2 if name == "telea" else 0)

    @every_method
    def test_without_holes_returns_a_copy(self, name: str, ramp: Pixels) -> None:
        """A picture that is wholly known comes back as a new array."""
        filled = fill(name, ramp, np.ones((24, 24), bool))
        np.testing.assert_array_equal(filled, ramp)
        assert not np.shares_memory(filled, ramp)

    @every_method
    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (7, 6)])
    def test_small_pictures(self, name: str, shape: tuple[int, int]) -> None:
        """Pictures smaller than any patch are filled, from one known pixel on."""
        image = np.full((*shape, 3), 77, np.uint8)
        mask = np.zeros(shape, bool)
        mask[0, 0] = True
        assert fill(name, image, mask).shape == image.shape

    @every_method
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("seed", range(20))
    def test_one_row(self, name: str, axis: int, seed: int) -> None:
        """One row or column is filled alike each time, by OpenCV like the one of two that agree."""
        rng = np.random.default_rng(seed)
        image, mask = rng.integers(0, 256, (1, 17, 3), np.uint8), rng.random((1, 17)) < 0.5
        mask[0, 0] = True
        thin, known = (part.swapaxes(0, axis) for part in (image, mask))
        filled = fill(name, thin, known)
        np.testing.assert_array_equal(fill(name, thin.copy(), known.copy()), filled)
        if name in ("telea", "ns"):
            both = fill(name, thin.repeat(2, axis), known.repeat(2, axis))
            np.testing.assert_array_equal(both.take([0], axis), filled)

    @every_method
    def test_strided_inputs(self, name: str, ramp: Pixels, square_hole: Mask) -> None:
        """Views that are not contiguous in memory are filled like their copies."""
        image, mask = ramp[::2, ::-1], square_hole[::2, ::-1]
        np.testing.assert_array_equal(
            fill(name, image, mask), fill(name, image.copy(), mask.copy())
        )


class TestRaises:
    """What `fill` refuses, and how it says so."""

    def test_unknown_method(self, ramp: Pixels, square_hole: Mask) -> None:
        """A misspelt method is answered with the nearest name."""
        with pytest.raises(ParameterError, match=r"'patchmach'.*did you mean patchmatch"):
            fill("patchmach", ramp, square_hole)

    def test_method_unlike_any(self, ramp: Pixels, square_hole: Mask) -> None:
        """A method that resembles none is answered with all names and no guess."""
        with pytest.raises(ParameterError, match=r"mean, telea, ns, biharmonic, patchmatch$"):
            fill("zzz", ramp, square_hole)

    @pytest.mark.parametrize("shape", [(24, 24), (24, 24, 4), (1, 24, 24, 3), (0, 24, 3)])
    def test_no_picture(self, shape: tuple[int, ...]) -> None:
        """Grey pictures, other numbers of channels, batches and empty arrays are refused."""
        with pytest.raises(ShapeError, match=r"wanted \(H, W, 3\)"):
            fill("mean", np.zeros(shape, np.uint8), np.ones((24, 24), bool))

    def test_image_not_uint8(self, square_hole: Mask) -> None:
        """A picture of floats is refused."""
        with pytest.raises(ImageError, match="float32, wanted uint8"):
            fill("mean", np.zeros((24, 24, 3), np.float32), square_hole)  # type: ignore[arg-type]

    def test_other_size(self, ramp: Pixels) -> None:
        """A mask of another size is refused."""
        with pytest.raises(ShapeError, match=r"\(24, 23\).*\(24, 24, 3\)"):
            fill("mean", ramp, np.ones((24, 23), bool))

    def test_mask_not_bool(self, ramp: Pixels, square_hole: Mask) -> None:
        """A mask of bytes is refused: 255 and 1 would both mean known."""
        with pytest.raises(MaskError, match="uint8, wanted bool"):
            fill("mean", ramp, square_hole.astype(np.uint8))  # type: ignore[arg-type]

    @every_method
    def test_nothing_known(self, name: str, ramp: Pixels) -> None:
        """A mask without known pixels is refused."""
        with pytest.raises(MaskError, match="no pixel is known"):
            fill(name, ramp, np.zeros((24, 24), bool))


class TestMethods:
    """Each method against a definition or the library it comes from."""

    def test_mean(self) -> None:
        """The mean is taken over known pixels, for each channel, and rounded."""
        image = np.array([[[10, 0, 7], [13, 1, 7], [99, 99, 99]]], np.uint8)
        filled = fill("mean", image, np.array([[True, True, False]]))
        assert filled[0, 2].tolist() == [12, 0, 7]  # halves go to the even number

    def test_mean_of_many(self) -> None:
        """The mean of millions of pixels is not lost in rounding."""
        image, known = np.full((1500, 1500, 3), 199, np.uint8), np.ones((1500, 1500), bool)
        known[0, 0] = False
        assert (fill("mean", image, known) == 199).all()

    @pytest.mark.parametrize(("name", "flag"), [("telea", "TELEA"), ("ns", "NS")])
    @given(pair=damaged())
    @few
    def test_opencv(self, name: str, flag: str, pair: tuple[Pixels, Mask]) -> None:
        """Telea and Navier-Stokes are OpenCV's, with a radius of 3 pixels."""
        image, mask = pair
        blank = image * mask[..., None]
        theirs = cv2.inpaint(blank, 1 - mask.astype(np.uint8), 3, getattr(cv2, f"INPAINT_{flag}"))
        np.testing.assert_array_equal(fill(name, image, mask)[~mask], theirs[~mask])

    @given(pair=damaged())
    @few
    def test_biharmonic(self, pair: tuple[Pixels, Mask]) -> None:
        """The biharmonic fill is scikit-image's, to the nearest of 256 levels."""
        image, mask = pair
        theirs = inpaint_biharmonic(image / 255.0, ~mask, channel_axis=-1) * 255
        assert np.abs(fill("biharmonic", image, mask) - theirs)[~mask].max() <= 0.5 + 1e-6

    def test_biharmonic_continues_a_ramp(self, ramp: Pixels, square_hole: Mask) -> None:
        """A ramp solves the biharmonic equation, so it comes back exactly."""
        np.testing.assert_array_equal(fill("biharmonic", ramp, square_hole), ramp)


class TestImport:
    """What importing the module costs."""

    def test_slow_libraries_wait(self) -> None:
        """Neither numba, scikit-image nor torch is imported before a method needs it."""
        code = (
            "import sys, pconv.baselines; "
            "sys.exit(' '.join({'numba', 'skimage', 'torch', 'scipy'} & set(sys.modules)))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.stderr.strip() == ""
