from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageError, ShapeError
from pconv.resizing import fit_image, fit_mask, fitted_size, resize_image, resize_mask
from tests.strategies import known_masks, photos, sides

FEW = settings(deadline=None, max_examples=40)


class TestResizeImage:
    """The promises of ``resize_image``."""

    @FEW
    @given(photos(height=12, width=20), st.sampled_from([(6, 10), (4, 5), (3, 20)]))
    def test_values_whole_factors(self, image: NDArray[np.uint8], size: tuple[int, int]) -> None:
        """Shrinking by whole factors gives the mean of each block."""
        tall, wide = 12 // size[0], 20 // size[1]
        means = image.reshape(size[0], tall, size[1], wide, 3).mean(axis=(1, 3))
        assert np.abs(resize_image(image, *size) - means).max() <= 0.5 + 1e-6

    @FEW
    @given(photos(), sides, sides)
    def test_shapes(self, image: NDArray[np.uint8], height: int, width: int) -> None:
        """The result has the wanted size and stays within the range of the original."""
        result = resize_image(image, height, width)
        assert result.shape == (height, width, 3)
        assert result.dtype == np.uint8
        assert image.min() <= result.min()
        assert result.max() <= image.max()

    def test_values_same_size(self) -> None:
        """At its own size a picture comes back unchanged, as a copy."""
        image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        result = resize_image(image, 4, 4)
        assert np.array_equal(result, image)
        assert not np.shares_memory(result, image)

    @pytest.mark.parametrize("size", [(0, 4), (4, -1)])
    def test_raises(self, size: tuple[int, int]) -> None:
        """A size without pixels is refused."""
        with pytest.raises(ShapeError, match="at least one pixel"):
            resize_image(np.zeros((4, 4, 3), np.uint8), *size)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.bool_])
    @pytest.mark.parametrize("size_px", [4, 2, 8])
    def test_raises_on_other_than_8_bits(self, dtype: type, size_px: int) -> None:
        """Values in 0..1, of which all would be black, and 16 bits are refused at any size."""
        image: NDArray[Any] = np.ones((4, 4, 3), dtype)
        with pytest.raises(ImageError, match=f"image is {np.dtype(dtype)}, wanted uint8"):
            resize_image(image, size_px, size_px)
        with pytest.raises(ImageError, match="wanted uint8"):
            fit_image(image, size_px)


class TestResizeMask:
    """The promises of ``resize_mask``."""

    @FEW
    @given(known_masks(), sides, sides)
    def test_values_against_pillow(self, mask: NDArray[np.bool_], height: int, width: int) -> None:
        """Each pixel is the one its centre lies in, as in Pillow's nearest neighbour."""
        grey = Image.fromarray(mask.astype(np.uint8))
        reference = np.asarray(grey.resize((width, height), Image.Resampling.NEAREST)) > 0
        result = resize_mask(mask, height, width)
        assert result.dtype == np.bool_
        # A centre on the line between two old pixels may go either way.
        rows = (2 * np.arange(height) + 1) * mask.shape[0] % (2 * height) != 0
        columns = (2 * np.arange(width) + 1) * mask.shape[1] % (2 * width) != 0
        assert np.array_equal(result[rows][:, columns], reference[rows][:, columns])

    def test_raises(self) -> None:
        """A mask without pixels is refused."""
        with pytest.raises(ShapeError, match=r"\(0, 4\)"):
            resize_mask(np.zeros((0, 4), np.bool_), 2, 2)


class TestFitImage:
    """The promises of ``fit_image``."""

    @FEW
    @given(photos(), sides)
    def test_shapes(self, image: NDArray[np.uint8], size: int) -> None:
        """Any photograph becomes a square of the wanted size."""
        assert fit_image(image, size).shape == (size, size, 3)

    def test_values_centre(self) -> None:
        """The middle of the longer side is what remains."""
        image = np.zeros((10, 30, 3), np.uint8)
        image[:, 10:20] = 200
        assert (fit_image(image, 5) == 200).all()

    @pytest.mark.parametrize(("place", "level"), [(0.0, 10), (0.5, 60), (1.0, 110)])
    def test_values_place(self, place: float, level: int) -> None:
        """Other places along the longer side, across or down, remain where they are asked for."""
        image = np.repeat(np.uint8([10, 60, 110]), 10) * np.ones((10, 1), np.uint8)
        for picture in (image, image.T):
            assert (fit_image(picture, 5, place) == level).all()

    def test_raises(self) -> None:
        """A square without pixels is refused."""
        with pytest.raises(ShapeError, match="at least one pixel"):
            fit_image(np.zeros((4, 4, 3), np.uint8), 0)


class TestFitMask:
    """The promises of ``fit_mask``."""

    @FEW
    @given(known_masks(), sides, st.floats(0, 1))
    def test_values_follow_the_photo(
        self, mask: NDArray[np.bool_], size: int, place: float
    ) -> None:
        """Where the mask, taken as a photograph, stays black or white, the fitted mask agrees."""
        grey = fit_image(mask.astype(np.uint8) * 255, size, place)
        fitted = fit_mask(mask, size, place)
        assert fitted.shape == (size, size)
        assert fitted[grey == 255].all()
        assert not fitted[grey == 0].any()


class TestFittedSize:
    """The promises of ``fitted_size``."""

    @FEW
    @given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 512))
    def test_values(self, height: int, width: int, shorter: int) -> None:
        """The shorter side is met exactly and the longer one to within half a pixel."""
        tall, wide = fitted_size(height, width, shorter)
        assert min(tall, wide) == shorter
        assert max(tall, wide) == pytest.approx(
            shorter * max(height, width) / min(height, width), abs=0.5 + 1e-6
        )
