"""All kinds of picture go in and come back; masks that are none are refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageError, MaskError, ShapeError
from pconv.pictures import as_array, as_mask, as_rgb, check_range, with_fill

KNOWN = np.arange(48).reshape(6, 8) % 5 > 0


def noise(dtype: str, *shape: int) -> NDArray[Any]:
    """Return a random picture of a dtype."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


class TestAsArray:
    """Checks what a picture is."""

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
    def test_pillow(self, mode: str) -> None:
        """A Pillow image becomes the array that Pillow makes of it."""
        image = Image.fromarray(noise("u2", 6, 8)) if mode == "I;16" else Image.new(mode, (8, 6), 9)
        assert (as_array(image) == np.asarray(image)).all()

    @pytest.mark.parametrize("dtype", [">u2", ">f4", "<u2"])
    def test_byte_order(self, dtype: str) -> None:
        """A picture of either byte order is taken, and comes in the machine's."""
        picture = noise(dtype[1:], 6, 8, 3)
        array = as_array(picture.astype(dtype))
        assert array.dtype == picture.dtype
        assert (array == picture).all()

    def test_masked_array(self) -> None:
        """Of a masked array it is the data that is taken."""
        picture = noise("f4", 6, 8)
        array = as_array(np.ma.masked_array(picture, ~KNOWN))
        assert type(array) is np.ndarray
        assert np.shares_memory(array, picture)

    @pytest.mark.parametrize(
        "picture",
        [
            noise("u1", 6, 8, 5),
            noise("u1", 6),
            noise("u1", 0, 8, 3),
            noise("u4", 6, 8, 3),
            [[1, 2], [3, 4]],
            Image.new("CMYK", (8, 6)),
            Image.new("P", (8, 6)),
        ],
    )
    def test_raises(self, picture: Any) -> None:
        """Other shapes, dtypes and modes are refused, saying what is wanted."""
        with pytest.raises(ImageError, match="wanted"):
            as_array(picture)


class TestCheckRange:
    """Checks floating-point values."""

    @pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (6, 8, 4)])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.5])
    def test_raises(self, shape: tuple[int, ...], value: float) -> None:
        """It is told how many pixels are out of range, and if none of them can be seen."""
        picture = noise("f4", *shape)
        check_range(picture, KNOWN)
        last = picture.reshape(6, 8, -1)[..., -1]
        last[~KNOWN] = value
        with pytest.raises(ImageError, match=r"^10 of 48 pixels .* under the hole: put 0 there$"):
            check_range(picture, KNOWN)
        last[0, 1] = value  # a known pixel
        with pytest.raises(ImageError, match=r"^11 of 48 pixels .* wanted 0 to 1$"):
            check_range(picture, KNOWN)

    def test_integers(self) -> None:
        """Whole numbers have no range to leave."""
        check_range(noise("u1", 6, 8, 3), KNOWN)


class TestAsRgb:
    """Everything has three colours."""

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_values(self, channels: int) -> None:
        """Colours are kept, grey is repeated, alpha is left out."""
        picture = noise("u2", 6, 8, channels)
        rgb = as_rgb(picture)
        assert rgb.shape == (6, 8, 3)
        for channel in range(3):
            assert (rgb[..., channel] == picture[..., channel if channels > 2 else 0]).all()

    def test_grey(self) -> None:
        """A picture without a channel axis is grey."""
        picture = noise("u1", 6, 8)
        assert (as_rgb(picture) == picture[..., None]).all()


class TestWithFill:
    """Only holes change."""

    @pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "f2", "f4", ">f4", "f8"])
    @pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 2), (6, 8, 3), (6, 8, 4)])
    def test_values(self, dtype: str, shape: tuple[int, ...]) -> None:
        """Known pixels are the picture's, holes the fill's, in any dtype and shape."""
        native = dtype.removeprefix(">")
        picture, filled = noise(native, *shape).astype(dtype), noise(native, 6, 8, 3)
        filled[:] = filled[..., :1]  # grey, so that the mean of the colours is itself
        result = with_fill(picture, filled, KNOWN)
        assert result.dtype == picture.dtype
        assert result.shape == picture.shape
        assert (result[KNOWN] == picture[KNOWN]).all()
        assert as_rgb(result)[~KNOWN] == pytest.approx(filled[~KNOWN], rel=1e-15)

    def test_masked_array(self) -> None:
        """The fill of a masked array is seen: the result masks nothing."""
        filled = noise("u1", 6, 8, 3)
        picture = np.ma.masked_array(~filled, np.repeat(~KNOWN[..., None], 3, axis=-1))
        result = with_fill(picture, filled, KNOWN)
        assert type(result) is np.ndarray
        assert (result[~KNOWN] == filled[~KNOWN]).all()

    @pytest.mark.parametrize("channels", [2, 4])
    def test_alpha(self, channels: int) -> None:
        """Alpha stays, but a hole that was wholly transparent becomes opaque."""
        picture = noise("u1", 6, 8, channels)
        picture[..., -1] = 77
        picture[2:4, :, -1] = 0
        alpha = with_fill(picture, noise("u1", 6, 8, 3), KNOWN)[..., -1]
        wanted = picture[..., -1].copy()
        wanted[~KNOWN & (wanted == 0)] = 255
        assert (alpha == wanted).all()

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
    def test_pillow(self, mode: str) -> None:
        """A Pillow image comes back as one of the same mode, with its profile."""
        image = Image.new(mode, (8, 6), 9)
        image.info["icc_profile"] = b"profile"
        result = with_fill(image, noise("u1", 6, 8, 3), KNOWN)
        assert (result.mode, result.size) == (mode, (8, 6))
        assert result.info["icc_profile"] == b"profile"


class TestAsMask:
    """A mask is binary, of the picture's size, and mostly known."""

    @pytest.mark.parametrize(
        "mask",
        [
            KNOWN,
            KNOWN[..., None],
            KNOWN.astype("u1"),
            KNOWN.astype("u1") * 255,
            KNOWN.astype("u2") * 65535,
            KNOWN.astype("i8"),
            KNOWN.astype("f4"),
            np.where(KNOWN, 255, 0),
            KNOWN * 255.0,
            KNOWN.astype("u2") * 255,
            Image.fromarray(KNOWN),
            Image.fromarray(KNOWN.astype("u1") * 255),
        ],
    )
    def test_values(self, mask: Any) -> None:
        """True, 1, 255 and the largest value are known, in arrays and Pillow images."""
        result = as_mask(mask, 6, 8, large_holes=False)
        assert result.dtype == bool
        assert (result == KNOWN).all()

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (KNOWN.astype("u1") * 200, "largest value is 200"),
            (np.where(KNOWN, 255, np.arange(8)).astype("u1"), "neither 0 nor 255"),
            (np.where(KNOWN, 1, 0.5), "neither 0 nor 1"),
            (-KNOWN.astype(int), "neither 0 nor 1"),
            (~KNOWN, "inverted"),
            (np.zeros((6, 8), bool), "no known pixel"),
            (np.full((6, 8), np.nan), "largest value is nan"),
            (Image.new("RGB", (8, 6), "white"), "mode RGB"),
        ],
    )
    def test_raises(self, mask: Any, words: str) -> None:
        """What is not binary, or looks inverted, is refused, saying why."""
        with pytest.raises(MaskError, match=words):
            as_mask(mask, 6, 8, large_holes=False)

    def test_large_holes(self) -> None:
        """Large holes are a matter of asking."""
        assert (as_mask(~KNOWN, 6, 8, large_holes=True) == ~KNOWN).all()

    def test_size(self) -> None:
        """A mask of another size is refused."""
        with pytest.raises(ShapeError, match=r"\(6, 8\), wanted \(8, 6\)"):
            as_mask(KNOWN, 8, 6, large_holes=False)
