"""Windows around holes: they cover, they overlap without seams, and they touch nothing known."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from pconv.windows import (
    Floats,
    Layout,
    Mask,
    WindowFill,
    as_01,
    fill_holes,
    fill_reduced,
    from_01,
    paste_enlarged,
    place_windows,
    reduce,
)

SMALL = Layout(size_px=16, margin_px=3)
sides = st.integers(1, 70)
seeds = st.integers(0, 2**31)


def random_holes(seed: int, height: int, width: int) -> Mask:
    """Return holes as discs and lone pixels, never everywhere."""
    rng = np.random.default_rng(seed)
    holes = (rng.random((height, width)) < rng.choice([0.0, 0.01, 0.1])).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(holes, center, int(rng.integers(0, 20)), 1, cv2.FILLED)
    holes[rng.integers(height), rng.integers(width)] = 0
    return holes.astype(bool)


def random_picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return uint8 noise, ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def mean_of_known(images: Floats, known: Mask) -> Floats:
    """Fill each window with the mean colour of its known pixels; fail where there are none."""
    assert known.any(axis=(1, 2)).all()
    weight = known[..., None]
    mean = (images * weight).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    return np.broadcast_to(mean[:, None, None], images.shape).astype(np.float32)


def nearest_known(images: Floats, known: Mask) -> Floats:
    """Fill each pixel with the nearest known one of its window."""
    filled = []
    for image, mask in zip(images, known, strict=True):
        rows, columns = ndimage.distance_transform_edt(
            ~mask, return_distances=False, return_indices=True
        )
        filled.append(image[rows, columns])
    return np.stack(filled)


def alternately(*values: float) -> WindowFill:
    """Return a fill that paints the first window with the first value, and so on in turn."""
    count = 0

    def fill(images: Floats, known: Mask) -> Floats:
        nonlocal count
        painted = np.empty_like(images)
        for window in painted:
            window[:] = values[count % len(values)]
            count += 1
        return painted

    return fill


class TestPlaceWindows:
    """Windows cover all holes with surroundings, and no more than needed."""

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=50)
    def test_values(self, seed: int, height: int, width: int) -> None:
        """Every hole pixel keeps the margin to the edges of a window, but for the picture's."""
        holes = random_holes(seed, height, width)
        deep_inside = np.zeros_like(holes)
        for rows, columns in place_windows(holes, SMALL):
            top = 0 if rows.start == 0 else rows.start + SMALL.margin_px
            bottom = height if rows.stop == height else rows.stop - SMALL.margin_px
            left = 0 if columns.start == 0 else columns.start + SMALL.margin_px
            right = width if columns.stop == width else columns.stop - SMALL.margin_px
            deep_inside[top:bottom, left:right] = True
        assert not (holes & ~deep_inside).any()

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=25)
    def test_shapes(self, seed: int, height: int, width: int) -> None:
        """All windows have one size and lie in the picture."""
        for rows, columns in place_windows(random_holes(seed, height, width), SMALL):
            assert 0 <= rows.start < rows.stop <= height
            assert 0 <= columns.start < columns.stop <= width
            assert rows.stop - rows.start == min(SMALL.size_px, height)
            assert columns.stop - columns.start == min(SMALL.size_px, width)

    def test_one_for_a_small_hole(self) -> None:
        """A hole that fits into a window gets one, centred on it, in a picture of any size."""
        holes = np.zeros((300, 400), bool)
        holes[101:107, 202:210] = True
        assert place_windows(holes, SMALL) == [(slice(96, 112), slice(198, 214))]

    @pytest.mark.parametrize("side", [8, 10])  # 10 is all that a window fills
    def test_cuts_no_small_hole(self, side: int) -> None:
        """A hole that fits into a window waits for its own rather than being cut in two."""
        holes = np.zeros((60, 60), bool)
        for top, left in ((20, 5), (26, 16), (23, 27), (29, 45)):
            holes[top : top + side, left : left + side] = True
        windows = place_windows(holes, SMALL)
        assert len(windows) == 4
        for rows, columns in windows:
            inside = holes[rows, columns][3:-3, 3:-3]
            assert ndimage.label(inside)[1] == 1
            assert inside.sum() == side**2

    def test_cuts_none_beside_another(self) -> None:
        """A hole as wide as a window fills waits for its own beside a narrow one, too."""
        wide = np.zeros((60, 60), bool)
        wide[20:30, 31:41] = True
        holes = wide.copy()
        holes[20:22, 25:27] = True
        windows = place_windows(holes, SMALL)
        assert [wide[rows, columns][3:-3, 3:-3].sum() for rows, columns in windows] == [0, 100]

    def test_cuts_no_diagonal(self) -> None:
        """Pixels that touch at their corners are one hole."""
        holes = np.zeros((60, 60), bool)
        line = np.zeros_like(holes)
        line[np.arange(26, 34), np.arange(26, 34)] = True
        holes[20, 5] = True
        windows = place_windows(holes | line, SMALL)
        assert any(line[rows, columns][3:-3, 3:-3].sum() == 8 for rows, columns in windows)
        assert len(windows) == 2

    @given(seed=seeds, height=sides, width=sides, length=st.integers(1, 12))
    @settings(deadline=None, max_examples=50)
    def test_bound(self, seed: int, height: int, width: int, length: int) -> None:
        """However the holes lie, there are no more windows than tiles of the whole picture."""
        rng = np.random.default_rng(seed)
        holes = np.zeros((height, width), bool)
        for _ in range(60):
            y, x = rng.integers(height), rng.integers(width)
            holes[y : y + length, x] = True
        tall, wide = (side if side <= 16 else 10 for side in (height, width))
        tiles = -(-height // tall) * -(-width // wide)
        assert len(place_windows(holes, SMALL)) <= tiles

    def test_many_scratches(self) -> None:
        """Where a window for each scratch would be more than all tiles, scratches are cut."""
        holes = np.zeros((150, 200), bool)
        for y, x in np.random.default_rng(0).integers(0, holes.shape, (1000, 2)):
            holes[y : y + 9, x] = True
        assert len(place_windows(holes, SMALL)) <= 15 * 20

    def test_none_without_holes(self) -> None:
        """A picture without holes needs no window."""
        assert place_windows(np.zeros((50, 50), bool), SMALL) == []


class TestFillHoles:
    """Known pixels stay, holes are filled from what is around them, without seams."""

    @given(seed=seeds, height=sides, width=sides, dtype=st.sampled_from(["u1", "u2", "f4", "f8"]))
    @settings(deadline=None, max_examples=50)
    def test_known_pixels_stay(self, seed: int, height: int, width: int, dtype: str) -> None:
        """Known pixels come back bit for bit in every dtype, and the input is not touched."""
        image = random_picture(seed, height, width).astype(dtype)
        if np.dtype(dtype).kind == "f":
            image /= 255
        before, known = image.copy(), ~random_holes(seed, height, width)
        filled = fill_holes(image, known, mean_of_known, SMALL)
        assert filled.dtype == image.dtype
        assert (filled[known] == before[known]).all()
        assert (image == before).all()

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=50)
    def test_one_colour(self, seed: int, height: int, width: int) -> None:
        """A picture of one colour is restored whatever the holes, and what lay in them is lost."""
        holes = random_holes(seed, height, width)
        image = np.full((height, width, 3), [10, 100, 200], np.uint8)
        damaged = np.where(holes[..., None], random_picture(seed, height, width), image)
        assert (fill_holes(damaged, ~holes, mean_of_known, SMALL) == image).all()

    @given(seed=seeds, height=sides, width=sides, dtype=st.sampled_from([np.uint8, np.float32]))
    @settings(deadline=None, max_examples=50)
    def test_under_holes(self, seed: int, height: int, width: int, dtype: type) -> None:
        """What lies under the holes changes nothing, not even a last digit."""
        known = ~random_holes(seed, height, width)
        pictures = (as_01(random_picture(s, height, width)) for s in (seed, seed + 1))
        one, other = (from_01(picture, np.dtype(dtype)) for picture in pictures)
        other[known] = one[known]
        results = [fill_holes(image, known, mean_of_known, SMALL) for image in (one, other)]
        assert (results[0] == results[1]).all()

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=25)
    def test_batches(self, seed: int, height: int, width: int) -> None:
        """Filling several windows at once gives the same picture."""
        image, known = random_picture(seed, height, width), ~random_holes(seed, height, width)
        batched = fill_holes(image, known, mean_of_known, SMALL._replace(batch=5))
        assert (batched == fill_holes(image, known, mean_of_known, SMALL)).all()

    def test_seams(self) -> None:
        """Windows that disagree by the whole range are faded, at most a margin's share a pixel."""
        layout = Layout(size_px=64, margin_px=16)
        known = np.ones((40, 300), bool)
        known[18:22, 5:295] = False
        filled = fill_holes(np.zeros((40, 300, 3)), known, alternately(0.0, 1.0), layout)
        line = filled[20, 5:295, 0]
        assert line.min() == 0
        assert line.max() > 0.9
        # Two linear ramps that cross: the slope of their share is at most twice the ramp's.
        assert np.abs(np.diff(line)).max() <= 2 / layout.margin_px

    def test_weighted_mean(self) -> None:
        """Overlaps are the mean of all windows there, weighted by distance from their edges."""
        layout, values = Layout(size_px=16, margin_px=5), [0.1, 0.5, 0.9, 0.3]
        known = np.ones((50, 60), bool)
        known[20:38, 11:49:3] = False
        total, weights = np.zeros((50, 60)), np.zeros((50, 60))
        windows = place_windows(~known, layout)
        for count, (rows, columns) in enumerate(windows):
            for y in range(rows.start, rows.stop):
                for x in range(columns.start, columns.stop):
                    edges = [y - rows.start, rows.stop - 1 - y]
                    sides_ = [x - columns.start, columns.stop - 1 - x]
                    weight = min(1, (min(edges) + 0.5) / 5) * min(1, (min(sides_) + 0.5) / 5)
                    total[y, x] += weight * values[count % 4]
                    weights[y, x] += weight
        assert len(windows) > 4
        assert all(rows.start > 0 and columns.start > 0 for rows, columns in windows)
        filled = fill_holes(np.zeros((50, 60, 3)), known, alternately(*values), layout)
        assert filled[~known, 0] == pytest.approx((total / weights.clip(1e-9))[~known], abs=1e-5)

    def test_large_hole(self) -> None:
        """In a hole many windows wide a smooth picture goes on: coarse inside, fine outside."""
        ramp = np.linspace(0.2, 0.8, 300)
        image = np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp), axis=-1)
        known = np.ones((300, 300), bool)
        known[60:240, 60:240] = False
        filled = fill_holes(image, known, nearest_known, Layout(size_px=32, margin_px=6))
        nearest = nearest_known(image[None].astype(np.float32), known[None])[0]
        assert np.abs(filled - nearest)[~known].mean() < 0.05

    def test_fine_at_the_border(self) -> None:
        """Near its border a large hole is filled at full detail, not with enlarged pixels."""
        image = np.zeros((300, 300, 3), np.float32)
        image[:, ::2] = 1  # stripes one pixel wide; any reduction makes them grey
        known = np.ones((300, 300), bool)
        known[100:200, 100:200] = False
        filled = fill_holes(image, known, nearest_known, Layout(size_px=64, margin_px=12))
        assert set(np.unique(filled[101:106, 110:190])) == {0.0, 1.0}

    def test_as_deep_as_the_margin(self) -> None:
        """A hole just so deep that its window shows its surroundings is filled once, not twice."""
        known = np.ones((64, 64), bool)
        known[24:39, 24:39] = False  # whose middle is 8 steps from what is known
        calls: list[int] = []

        def counted(images: Floats, mask: Mask) -> Floats:
            calls.append(len(images))
            return mean_of_known(images, mask)

        fill_holes(np.zeros((64, 64, 3)), known, counted, Layout(size_px=32, margin_px=8))
        assert calls == [1]

    def test_work_follows_the_hole(self) -> None:
        """The number of windows depends on the hole, not on the picture around it."""
        counts = []
        for side in (400, 1200):
            known = np.ones((side, side), bool)
            known[150:250, 150:250] = False
            calls: list[int] = []

            def counted(images: Floats, mask: Mask, calls: list[int] = calls) -> Floats:
                calls.append(len(images))
                return mean_of_known(images, mask)

            fill_holes(np.zeros((side, side, 3)), known, counted, Layout(64, 12))
            counts.append(sum(calls))
        assert counts[0] == counts[1]

    def test_whole_windows(self) -> None:
        """However large a hole, at each size of the picture whole windows lie around it."""
        known = np.ones((1000, 1000), bool)
        known[300:700, 300:700] = False
        sizes: set[tuple[int, ...]] = set()

        def seen(images: Floats, mask: Mask) -> Floats:
            sizes.add(mask.shape[1:])
            return mean_of_known(images, mask)

        fill_holes(np.zeros((1000, 1000, 3)), known, seen, SMALL)
        assert sizes == {(16, 16)}


class TestReduce:
    """A smaller picture is made of known pixels only."""

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=25)
    def test_values(self, seed: int, height: int, width: int) -> None:
        """Halved, each pixel is the mean of the known ones of its 2×2 block, if there are any."""
        image = random_picture(seed, 2 * height, 2 * width)
        known = ~random_holes(seed, 2 * height, 2 * width)
        smaller, smaller_known = reduce(image, known, height, width)
        for y in range(height):
            for x in range(width):
                block = (slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
                assert smaller_known[y, x] == known[block].any()
                if known[block].any():
                    mean = image[block][known[block]].mean(axis=0) / 255
                    assert smaller[y, x] == pytest.approx(mean, abs=1e-5)

    def test_one_known_pixel(self) -> None:
        """A pixel is known if one of very many under it is."""
        known = np.zeros((300, 300), bool)
        known[7, 250] = True
        smaller, smaller_known = reduce(np.full((300, 300, 3), 51, np.uint8), known, 2, 2)
        assert smaller_known.tolist() == [[False, True], [False, False]]
        assert smaller[0, 1] == pytest.approx(0.2)

    @given(seed=seeds, height=sides, width=sides)
    @settings(deadline=None, max_examples=25)
    def test_one_colour(self, seed: int, height: int, width: int) -> None:
        """Whatever the sizes and holes, a picture of one colour stays one."""
        known = ~random_holes(seed, height, width)
        image = np.where(known[..., None], 0.25, 1.0) * np.ones(3)
        smaller, smaller_known = reduce(image, known, -(-height // 2), -(-width // 2))
        assert smaller_known.any()
        assert smaller[smaller_known] == pytest.approx(0.25, abs=1e-4)


class TestFillReduced:
    """A fill at reduced size has that size."""

    def test_shapes(self) -> None:
        """The result has the wanted size and no hole."""
        image = np.full((60, 90, 3), 51, np.uint8)
        known = ~random_holes(1, 60, 90)
        coarse = fill_reduced(image, known, (20, 30), mean_of_known, SMALL)
        assert coarse.shape == (20, 30, 3)
        assert coarse == pytest.approx(0.2, abs=1e-6)


class TestPasteEnlarged:
    """Only the wanted pixels change."""

    def test_values(self) -> None:
        """Inside the mask lies the enlarged picture, outside what was there."""
        image, where = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), bool)
        where[10:20, 10:30] = True
        paste_enlarged(image, np.full((20, 20, 3), 0.4, np.float32), where)
        assert (image[where] == 102).all()
        assert (image[~where] == 0).all()

    def test_smooth(self) -> None:
        """An enlarged ramp is a ramp, without steps."""
        ramp = np.linspace(0, 1, 20, dtype=np.float32)
        coarse = np.broadcast_to(ramp[:, None], (20, 20, 3))
        image = np.zeros((40, 40, 3), np.float32)
        paste_enlarged(image, coarse, np.ones((40, 40), bool))
        steps = np.diff(image[20, 4:-4, 0])
        assert 0.5 / 38 < steps.min() < steps.max() < 1.5 / 38


class TestRanges:
    """Values travel to 0..1 and back."""

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_round_trip(self, dtype: str) -> None:
        """Every integer value comes back."""
        values: NDArray[Any] = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
        assert (from_01(as_01(values), values.dtype) == values).all()

    def test_clips(self) -> None:
        """Values beyond the range are clipped, in every dtype."""
        beyond = np.array([-0.5, 1.5], np.float32)
        assert from_01(beyond, np.dtype("u1")).tolist() == [0, 255]
        assert from_01(beyond, np.dtype("f8")).tolist() == [0, 1]
