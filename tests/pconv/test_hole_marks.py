"""Holes are found by mask or colour, turned, inverted and grown as wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pconv.errors import MaskError, ParameterError, ShapeError
from pconv.hole_marks import HoleMarks, known_pixels
from pconv.photo_files import Photo, read_photo

KNOWN = np.ones((20, 30), bool)
KNOWN[5:9, 10:20] = False
PLAIN = Photo(np.full((20, 30, 3), 90, np.uint8))


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """Write the mask as a file."""
    Image.fromarray(KNOWN).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


class TestKnownPixels:
    """True where known, whatever marks the holes."""

    def test_mask(self, mask: Path) -> None:
        """In a mask white is known."""
        assert (known_pixels(PLAIN, mask, HoleMarks()) == KNOWN).all()

    def test_invert(self, mask: Path) -> None:
        """Inverted, black is known."""
        assert (known_pixels(PLAIN, mask, HoleMarks(invert=True)) == ~KNOWN).all()

    @pytest.mark.parametrize("grow", [1, 3, 5, 12, 1000])
    def test_grow(self, mask: Path, grow: int) -> None:
        """A grown hole has all pixels within the distance, and no other."""
        known = known_pixels(PLAIN, mask, HoleMarks(grow_px=grow))
        assert (known == (ndimage.distance_transform_edt(KNOWN) > grow)).all()

    @pytest.mark.parametrize("invert", [False, True])
    def test_no_hole(self, tmp_path: Path, invert: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A mask in which nothing is a hole is told, by its name."""
        path = tmp_path / "mask.png"
        Image.new("1", (30, 20), 0 if invert else 1).save(path)
        assert known_pixels(PLAIN, path, HoleMarks(invert=invert)).all()
        colour = "white" if invert else "black"
        assert caplog.messages == [f"{path}: no {colour} pixel, so nothing was filled"]

    def test_grow_nothing(self, tmp_path: Path) -> None:
        """Where there is no hole, none grows."""
        Image.new("1", (30, 20), 1).save(tmp_path / "white.png")
        assert known_pixels(PLAIN, tmp_path / "white.png", HoleMarks(grow_px=9)).all()

    def test_colour_is_nowhere(self, caplog: pytest.LogCaptureFixture) -> None:
        """A colour that no pixel has is told."""
        assert known_pixels(PLAIN, None, HoleMarks("magenta")).all()
        assert "no pixel of the photo is magenta" in caplog.text

    @pytest.mark.parametrize("colour", ["magenta", "#f0f", "rgb(255, 0, 255)", " Magenta "])
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_colour_in_photo(self, colour: str, dtype: str) -> None:
        """A colour in the photo itself marks the hole, in 8 and 16 bits."""
        pixels = np.full((20, 30, 3), 90, dtype)
        pixels[~KNOWN] = np.array([1, 0, 1]) * np.iinfo(dtype).max
        assert (known_pixels(Photo(pixels), None, HoleMarks(colour)) == KNOWN).all()

    def test_colour_in_mask(self, tmp_path: Path) -> None:
        """A colour in the mask marks the hole, also if the photo has it elsewhere."""
        painted = np.full((20, 30, 3), 255, np.uint8)
        painted[~KNOWN] = [255, 0, 0]
        Image.fromarray(painted).save(tmp_path / "mask.png")
        photo = Photo(np.full((20, 30, 3), [255, 0, 0], np.uint8))
        known = known_pixels(photo, tmp_path / "mask.png", HoleMarks("red"))
        assert (known == KNOWN).all()
        inverted = known_pixels(photo, tmp_path / "mask.png", HoleMarks("red", invert=True))
        assert (inverted == ~KNOWN).all()

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_tolerance(self, dtype: str) -> None:
        """Each channel may be off by the tolerance, in 8-bit levels, and no more."""
        pixels = np.full((20, 30, 3), 90, dtype)
        pixels[0, 0], pixels[0, 1] = [245, 10, 255], [244, 10, 255]
        pixels *= np.iinfo(dtype).max // 255
        known = known_pixels(Photo(pixels), None, HoleMarks("magenta", tolerance=10))
        assert not known[0, 0]
        assert known.sum() == known.size - 1

    @pytest.mark.parametrize("channels", [2, 4])
    def test_transparent(self, channels: int) -> None:
        """Wholly transparent pixels can be the hole, of grey and of colour."""
        pixels = np.full((20, 30, channels), 200, np.uint8)
        pixels[~KNOWN, -1] = 0
        for colour in ("transparent", "Transparent"):
            assert (known_pixels(Photo(pixels), None, HoleMarks(colour)) == KNOWN).all()

    @pytest.mark.parametrize("subsampling", [0, 2])
    def test_lossy(
        self, tmp_path: Path, subsampling: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A colour that JPEG blurred is told, with the tolerance that takes the whole hole."""
        pixels = np.random.default_rng(0).integers(60, 90, (100, 100, 3), np.uint8)
        pixels[20:60, 20:60] = [255, 0, 255]
        path = tmp_path / "photo.jpg"
        Image.fromarray(pixels).save(path, quality=75, subsampling=subsampling)
        photo = read_photo(path)
        some = known_pixels(photo, None, HoleMarks("magenta"))
        all_of_it = known_pixels(photo, None, HoleMarks("magenta", tolerance=100))
        more = np.count_nonzero(some) - np.count_nonzero(all_of_it)
        assert 0.8 * 1600 < more < 1600
        assert caplog.messages == [
            f"the photo: {more} more pixels around the hole are nearly magenta and stay; "
            "a tolerance of 100 takes them"
        ]

    @pytest.mark.parametrize("grow", [0, 2])
    def test_soft_eraser(self, grow: int, caplog: pytest.LogCaptureFixture) -> None:
        """A ring that is partly transparent is told where the hole does not grow over it."""
        pixels = np.full((20, 30, 4), 255, np.uint8)
        ring = ndimage.binary_dilation(~KNOWN, iterations=2) & KNOWN
        pixels[~KNOWN, 3], pixels[ring, 3] = 0, 200
        known_pixels(Photo(pixels), None, HoleMarks("transparent", grow_px=grow))
        told = (
            f"the photo: {ring.sum()} more pixels around the hole are partly transparent and stay; "
            "a tolerance of 254 takes them"
        )
        assert caplog.messages == ([] if grow else [told])

    @pytest.mark.parametrize(
        ("place", "invert"),
        [(np.s_[15:, :], False), (np.s_[:, :], False), (np.s_[5:9, 20], False), (np.s_[:9], True)],
        ids=["far", "all", "few", "inverted"],
    )
    def test_like_the_hole(
        self, place: Any, invert: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no part of the hole is not told: far from it, all of the photo, a thin edge."""
        pixels = np.full((20, 30, 3), 90, np.uint8)
        pixels[place] = [200, 50, 200]
        pixels[~KNOWN] = [255, 0, 255]
        known_pixels(Photo(pixels), None, HoleMarks("magenta", 60 if invert else 0, invert))
        assert caplog.messages == []

    @pytest.mark.parametrize(("ring", "is_told"), [(0.12, True), (0.08, False)])
    def test_worth_telling(
        self, ring: float, is_told: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """More than a tenth of the hole is told, also of a hole that is half of the photo."""
        alpha = np.full((100, 100), 255, np.uint8)
        alpha.flat[:4000] = 0
        alpha.flat[4000 : 4000 + int(4000 * ring)] = 200
        pixels = np.dstack([np.full((100, 100, 3), 90, np.uint8), alpha])
        known_pixels(Photo(pixels), None, HoleMarks("transparent"), name="cat.png")
        assert [text.split(":")[0] for text in caplog.messages] == ["cat.png"] * is_told

    def test_sky(self, caplog: pytest.LogCaptureFixture) -> None:
        """A sky that a white hole lies in is no part of it."""
        pixels = np.full((100, 100, 3), 90, np.uint8)
        pixels[:45] = np.linspace(190, 235, 45, dtype=np.uint8)[:, None, None]
        pixels[10:20, 20:50] = 255
        known_pixels(Photo(pixels), None, HoleMarks("white"))
        assert caplog.messages == []

    def test_mostly_of_the_colour(self, caplog: pytest.LogCaptureFixture) -> None:
        """A photo most of which is nearly of the colour has nothing to tell."""
        pixels = np.full((100, 100, 3), 90, np.uint8)
        pixels[:60] = [240, 10, 240]
        pixels[20:30, 20:50] = [255, 0, 255]
        known_pixels(Photo(pixels), None, HoleMarks("magenta"))
        assert caplog.messages == []

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, mask: Path, orientation: int) -> None:
        """The mask fits the photo as it is shown, however it is stored."""
        photo = Photo(PLAIN.pixels, orientation).with_upright(PLAIN.pixels)
        assert (known_pixels(photo, mask, HoleMarks()) == KNOWN).all()
        painted = PLAIN.pixels * KNOWN[..., None].astype(np.uint8)
        marked = photo.with_upright(painted)
        assert (known_pixels(marked, None, HoleMarks("black")) == KNOWN).all()

    def test_size(self, mask: Path) -> None:
        """A mask of another size is refused with both sizes."""
        with pytest.raises(ShapeError, match=r"30x20 pixels; wanted 20x30"):
            known_pixels(Photo(PLAIN.pixels, 6), mask, HoleMarks())

    def test_pages(self, tmp_path: Path) -> None:
        """A mask of several pages is refused: the holes may be on another than the first."""
        path, page = tmp_path / "mask.tif", Image.fromarray(KNOWN)
        page.save(path, save_all=True, append_images=[page])
        with pytest.raises(MaskError, match=r"mask\.tif: 2 pictures in one file"):
            known_pixels(PLAIN, path, HoleMarks())

    def test_nothing(self) -> None:
        """Neither mask nor colour is no way to mark a hole."""
        with pytest.raises(MaskError, match="no mask and no colour"):
            known_pixels(PLAIN, None, HoleMarks())

    @pytest.mark.parametrize("pixels", [PLAIN.pixels, PLAIN.pixels[..., 0]])
    def test_no_alpha(self, pixels: NDArray[np.uint8]) -> None:
        """Transparent holes need alpha, which neither colour nor grey alone has."""
        with pytest.raises(MaskError, match="no alpha channel"):
            known_pixels(Photo(pixels), None, HoleMarks("transparent"))


class TestHoleMarks:
    """A colour that does not exist is refused at once."""

    def test_raises(self) -> None:
        """The message names the colour and shows how one looks."""
        with pytest.raises(ParameterError, match=r"'magnta', wanted a name such as magenta"):
            HoleMarks("magnta")
        with pytest.raises(ParameterError, match=r"'rgb\(256,0,0\)', with numbers above 255"):
            HoleMarks("rgb(256,0,0)")

    def test_tolerance_raises(self) -> None:
        """A tolerance that has no colour would change nothing, so it is refused."""
        with pytest.raises(ParameterError, match=r"tolerance is 100, but no colour .*--hole-color"):
            HoleMarks(tolerance=100)
