import math

import numpy as np
import pytest
import torchvision.transforms.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import AffineTransform
from skimage.transform import warp as skimage_warp

from pconv.augment import (
    Ranges,
    Variant,
    augment,
    crop_matrix,
    draw_variant,
    jitter,
    reduced,
    useful_side_px,
    warp,
)
from pconv.errors import ImageError
from pconv.resizing import fit_image
from tests.strategies import photos, seeds, sides

Pixels = NDArray[np.uint8]
FEW = settings(deadline=None, max_examples=40)
STILL = Ranges(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
WIDE = Ranges(0.5, 0.5, 0.5, 45.0, 0.05, 2.0, 0.5, 0.5, 0.5, 0.5)
CORNERS = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])

variants = st.builds(
    Variant,
    flip=st.booleans(),
    upside_down=st.booleans(),
    quarter_turn=st.booleans(),
    angle=st.floats(-math.pi / 4, math.pi / 4),
    share=st.floats(0.05, 1),
    aspect=st.floats(0.5, 2),
    across=st.floats(0, 1),
    down=st.floats(0, 1),
)


def scene(height: int, width: int) -> Pixels:
    """Return a smooth picture, in which a shift by a pixel or a swap of sides shows."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + 2 * y) / 15)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def difference(first: Pixels, second: Pixels) -> NDArray[np.int64]:
    """Return the absolute difference of two pictures."""
    return np.abs(first.astype(np.int64) - second)


class TestAugment:
    """The promises of ``augment``."""

    @FEW
    @given(photos(), seeds, st.sampled_from([16, 23]))
    def test_shapes(self, photo: Pixels, seed: int, size: int) -> None:
        """Any photograph becomes a square of the wanted size, the same for the same seed."""
        first = augment(np.random.default_rng(seed), photo, size, WIDE)
        assert first.shape == (size, size, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, augment(np.random.default_rng(seed), photo, size, WIDE))

    @FEW
    @given(seeds, sides, sides)
    def test_values_no_black_corners(self, seed: int, height: int, width: int) -> None:
        """A white photograph stays white: nothing from outside it comes into the picture."""
        white = np.full((height, width, 3), 255, np.uint8)
        shapes = Ranges(0.5, 0.5, 0.5, 45.0, 0.05, 2.0, 0.0, 0.0, 0.0, 0.0)
        assert (augment(np.random.default_rng(seed), white, 24, shapes) == 255).all()

    def test_values_ranges_of_nothing(self) -> None:
        """Without any range a square photograph is only resized."""
        photo = scene(64, 64)
        assert np.array_equal(augment(np.random.default_rng(0), photo, 64, STILL), photo)
        assert np.array_equal(
            augment(np.random.default_rng(0), photo, 32, STILL), fit_image(photo, 32)
        )


class TestDrawVariant:
    """The promises of ``draw_variant``."""

    @FEW
    @given(seeds)
    def test_values_ranges(self, seed: int) -> None:
        """Every operation keeps to its range."""
        ranges = Ranges(
            rotation_degrees=20, crop_min_share=0.4, crop_max_aspect=1.5, brightness=0.3
        )
        variant = draw_variant(np.random.default_rng(seed), ranges)
        assert abs(variant.angle) <= math.radians(20)
        assert 0.4 <= variant.share <= 1
        assert 1 / 1.5 <= variant.aspect <= 1.5
        assert abs(variant.brightness - 1) <= 0.3
        assert abs(variant.contrast - 1) <= ranges.contrast
        assert abs(variant.saturation - 1) <= ranges.saturation
        assert abs(variant.hue) <= 2 * math.pi * ranges.hue_turns

    def test_values_reach(self) -> None:
        """Draws fill the range of each operation, and no two operations go together."""
        ranges = Ranges(0.5, 0.5, 0.5, 20.0, 0.4, 1.5, 0.3, 0.2, 0.1, 0.05)
        wanted = {
            "angle": (-math.radians(20), math.radians(20)),
            "share": (0.4, 1),
            "aspect": (1 / 1.5, 1.5),
            "across": (0, 1),
            "down": (0, 1),
            "brightness": (0.7, 1.3),
            "contrast": (0.8, 1.2),
            "saturation": (0.9, 1.1),
            "hue": (-0.1 * math.pi, 0.1 * math.pi),
        }
        drawn = [draw_variant(np.random.default_rng(i), ranges) for i in range(400)]
        values = np.array([[getattr(one, name) for one in drawn] for name in wanted])
        for found, (low, high) in zip(values, wanted.values(), strict=True):
            assert low <= found.min() < low + 0.05 * (high - low)
            assert high >= found.max() > high - 0.05 * (high - low)
        assert np.abs(np.corrcoef(values) - np.eye(len(wanted))).max() < 0.25

    def test_values_flips(self) -> None:
        """Half of the pictures are flipped where the ranges say so."""
        flips = [draw_variant(np.random.default_rng(i), Ranges()).flip for i in range(400)]
        assert np.mean(flips) == pytest.approx(0.5, abs=0.1)

    def test_values_symmetries(self) -> None:
        """All eight symmetries of a square are drawn where the ranges say so, else two."""
        for ranges, wanted in ((Ranges(0.5, 0.5, 0.5), 8), (Ranges(), 2)):
            drawn = [draw_variant(np.random.default_rng(i), ranges) for i in range(200)]
            found = {(one.flip, one.upside_down, one.quarter_turn) for one in drawn}
            assert len(found) == wanted

    @FEW
    @given(seeds)
    def test_values_one_range_at_a_time(self, seed: int) -> None:
        """Changing one range leaves the other operations of an item as they were."""
        first = draw_variant(np.random.default_rng(seed), Ranges())
        second = draw_variant(np.random.default_rng(seed), Ranges(rotation_degrees=5, flip_share=0))
        assert second.hue == first.hue
        assert second.across == first.across
        assert second.angle == pytest.approx(first.angle / 3)


class TestCropMatrix:
    """The promises of ``crop_matrix``."""

    @FEW
    @given(st.integers(1, 500), st.integers(1, 500), variants)
    def test_values_inside(self, height: int, width: int, variant: Variant) -> None:
        """All four corners of the crop lie in the photograph."""
        x, y = crop_matrix(height, width, variant) @ CORNERS
        assert x.min() >= -1e-9
        assert x.max() <= width + 1e-9
        assert y.min() >= -1e-9
        assert y.max() <= height + 1e-9

    @pytest.mark.parametrize(
        ("across", "down", "left", "top"),
        [(0, 0, 0, 0), (1, 0, 150, 0), (0, 1, 0, 50), (0.5, 0.5, 75, 25)],
    )
    def test_values_place(self, across: float, down: float, left: float, top: float) -> None:
        """The crop lies where the variant says."""
        variant = Variant(share=0.25, across=across, down=down)
        x, y = crop_matrix(100, 200, variant) @ CORNERS
        assert (x.min(), x.max()) == pytest.approx((left, left + 50))
        assert (y.min(), y.max()) == pytest.approx((top, top + 50))

    def test_values_aspect(self) -> None:
        """It is as much wider than high as the variant says."""
        for aspect in (0.5, 1.0, 2.0):
            x, y = crop_matrix(300, 300, Variant(aspect=aspect)) @ CORNERS
            assert np.ptp(x) / np.ptp(y) == pytest.approx(aspect)

    @FEW
    @given(st.integers(1, 500), st.integers(1, 500), variants)
    def test_values_share(self, height: int, width: int, variant: Variant) -> None:
        """The crop of share 1 touches two opposite borders; other areas are in proportion."""
        largest = Variant(angle=variant.angle, aspect=variant.aspect)
        corners = crop_matrix(height, width, largest) @ CORNERS
        spans = np.ptp(corners, axis=1) / [width, height]
        assert spans.max() == pytest.approx(1)
        areas = [
            abs(np.linalg.det(crop_matrix(height, width, one)[:, :2])) for one in (variant, largest)
        ]
        assert areas[0] / areas[1] == pytest.approx(variant.share)


class TestWarp:
    """The promises of ``warp``."""

    def test_values_identity(self) -> None:
        """The variant that does nothing returns a square photograph bit for bit."""
        photo = scene(48, 48)
        assert np.array_equal(warp(photo, Variant(), 48), photo)

    @FEW
    @given(photos(), st.floats(0, 1))
    def test_values_flip(self, photo: Pixels, across: float) -> None:
        """A flip mirrors the picture, and a quarter turn makes columns of its rows."""
        plain = warp(photo, Variant(across=across), 20)
        flipped = warp(photo, Variant(flip=True, across=across), 20)
        assert difference(flipped, plain[:, ::-1]).max() <= 3
        flipped = warp(photo, Variant(upside_down=True, across=across), 20)
        assert difference(flipped, plain[::-1]).max() <= 3
        turned = warp(photo, Variant(quarter_turn=True, across=across), 20)
        assert difference(turned, plain.transpose(1, 0, 2)).max() <= 3

    def test_values_keeps_detail(self) -> None:
        """Half a pixel aside, stripes of two pixels keep their contrast, as by no linear mean."""
        stripes = np.rint(127.5 + 100 * np.cos(np.arange(49) * math.pi / 2 + 1)).astype(np.uint8)
        photo = np.broadcast_to(stripes[:, None], (48, 49, 3)).copy()
        assert warp(photo, Variant(), 48).std() > 0.9 * photo.std()

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 400), (2, 400)])
    def test_values_thin(self, shape: tuple[int, int]) -> None:
        """A photograph one pixel wide, or made so, is no endless loop, and keeps its colour."""
        photo = np.full((*shape, 3), 90, np.uint8)
        for variant in (Variant(), Variant(angle=0.1, flip=True)):
            assert (warp(photo, variant, 16) == 90).all()

    @pytest.mark.parametrize("side", [12, 48])
    def test_raises(self, side: int) -> None:
        """Values in 0..1 are refused, by `augment` and `jitter` too: all would become black."""
        photo = (scene(side, side) / 255).astype(np.float32)
        for made in (
            lambda: warp(photo, Variant(), 24),
            lambda: jitter(photo, Variant()),
            lambda: augment(np.random.default_rng(0), photo, 24, Ranges()),
        ):
            with pytest.raises(ImageError, match="image is float32, wanted uint8"):
                made()

    def test_values_shrinks_like_fit(self) -> None:
        """Shrinking averages areas: the result is that of the plain fit, so nothing aliases."""
        noise = np.random.default_rng(0).integers(0, 256, (120, 168, 3), dtype=np.uint8)
        assert difference(warp(noise, Variant(), 40), fit_image(noise, 40)).max() <= 1

    @settings(deadline=None, max_examples=15)
    @given(variants)
    def test_values_against_skimage(self, variant: Variant) -> None:
        """One resampling gives what scikit-image gives for the same map of positions."""
        photo = scene(60, 90)
        size = 60  # at least as fine as the photo, so that nothing is averaged first
        cells = crop_matrix(60, 90, variant)
        matrix = np.vstack([cells, [0, 0, 1]])
        to_unit = np.array([[1 / size, 0, 0.5 / size], [0, 1 / size, 0.5 / size], [0, 0, 1]])
        to_index = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
        expected = skimage_warp(
            photo,
            AffineTransform(matrix=to_index @ matrix @ to_unit),
            output_shape=(size, size),
            order=3,
            mode="reflect",
            preserve_range=True,
        )
        result = warp(photo, variant, size)
        assert np.abs(result - expected)[2:-2, 2:-2].mean() < 2.5

    def test_values_rotation_sense(self) -> None:
        """A positive angle turns the crop clockwise, so the content counter-clockwise."""
        photo = np.zeros((101, 101, 3), np.uint8)
        photo[45:56, 75:86] = 255  # right of the centre
        rows, columns = np.nonzero(warp(photo, Variant(angle=math.pi / 6), 101)[..., 0] > 127)
        assert rows.mean() < 45
        assert columns.mean() > 60


class TestJitter:
    """The promises of ``jitter``."""

    @FEW
    @given(photos())
    def test_values_nothing(self, photo: Pixels) -> None:
        """Factors of one and no hue shift change nothing."""
        assert difference(jitter(photo, Variant()), photo).max() == 0

    @pytest.mark.parametrize("factor", [0.7, 1.2])
    @pytest.mark.parametrize("operation", ["brightness", "contrast", "saturation"])
    def test_values_against_torchvision(self, operation: str, factor: float) -> None:
        """Each operation alone is torchvision's, to within rounding."""
        photo = scene(40, 50)
        adjust = getattr(reference, f"adjust_{operation}")
        expected = np.asarray(adjust(Image.fromarray(photo), factor))
        assert difference(jitter(photo, Variant(**{operation: factor})), expected).max() <= 2

    @pytest.mark.parametrize(
        ("brightness", "contrast", "saturation"), [(1.1, 0.85, 1.15), (1.4, 0.5, 1.0)]
    )
    def test_values_all_against_torchvision(
        self, brightness: float, contrast: float, saturation: float
    ) -> None:
        """All operations together are torchvision's one after another, where nothing clips."""
        photo = (scene(40, 50) // 3 + 60).astype(np.uint8)
        image = reference.adjust_brightness(Image.fromarray(photo), brightness)
        image = reference.adjust_contrast(image, contrast)
        expected = np.asarray(reference.adjust_saturation(image, saturation))
        variant = Variant(brightness=brightness, contrast=contrast, saturation=saturation)
        assert difference(jitter(photo, variant), expected).max() <= 3

    @FEW
    @given(st.integers(0, 255), st.floats(-math.pi, math.pi), st.floats(0, 2))
    def test_values_grey_stays(self, level: int, hue: float, saturation: float) -> None:
        """Hue and saturation leave grey pictures alone."""
        grey = np.full((3, 3, 3), level, np.uint8)
        assert difference(jitter(grey, Variant(hue=hue, saturation=saturation)), grey).max() <= 1

    def test_values_hue(self) -> None:
        """A hue shift turns red towards yellow or magenta and keeps the luma."""
        red = np.full((2, 2, 3), (170, 100, 100), np.uint8)
        luma = np.array([0.299, 0.587, 0.114])
        for hue in (-0.3, 0.3):
            turned = jitter(red, Variant(hue=hue))
            assert (turned @ luma)[0, 0] == pytest.approx((red @ luma)[0, 0], abs=1)
            assert abs(int(turned[0, 0, 1]) - int(turned[0, 0, 2])) > 10


class TestReduced:
    """The promises of ``reduced``."""

    @FEW
    @given(photos(), sides)
    def test_shapes(self, photo: Pixels, side: int) -> None:
        """The shorter side is at most the wanted one, and a smaller photograph is not touched."""
        result = reduced(photo, side)
        assert min(result.shape[:2]) == min(side, *photo.shape[:2])
        if min(photo.shape[:2]) <= side:
            assert result is photo


class TestUsefulSide:
    """The promises of ``useful_side_px``."""

    @FEW
    @given(st.floats(0.05, 1), st.floats(0, 45), st.floats(0, 1))
    def test_values(self, share: float, degrees: float, turn: float) -> None:
        """No square crop of such a photograph is smaller than the result."""
        ranges = Ranges(rotation_degrees=degrees, crop_min_share=share, crop_max_aspect=1.0)
        side = useful_side_px(32, ranges)
        smallest = Variant(angle=math.radians(degrees) * turn, share=share)
        pixels = abs(np.linalg.det(crop_matrix(side, side, smallest)[:, :2]))
        assert math.sqrt(pixels) >= 32 - 1e-6
