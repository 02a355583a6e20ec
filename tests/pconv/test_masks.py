import itertools
from collections import Counter
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import ndimage, stats

from pconv.errors import MaskError
from pconv.mask_shapes import borders, brush
from pconv.masks import (
    blocks,
    fold,
    random_walk,
    rectangles,
    redraw,
    silhouettes,
    strokes,
)
from tests.strategies import seeds, sides

Mask = NDArray[np.bool_]
Generator = Callable[..., Mask]
GENERATORS = [random_walk, strokes, rectangles, blocks, silhouettes, brush, borders]
FEW = settings(deadline=None, max_examples=25)
ANY = (0.0, 1.0)
AXES = [(-1, 0), (1, 0), (0, -1), (0, 1)]
DIAGONALS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def hole_share(known: Mask) -> float:
    """Return the share of holes, 0 to 1."""
    return 1 - float(known.mean())


def hole_shares(generator: Generator, count: int, seed: int, **settings: object) -> list[float]:
    """Return the hole shares of ``count`` masks of 256 x 256 pixels."""
    return [
        hole_share(generator(np.random.default_rng([seed, item]), 256, 256, **settings))
        for item in range(count)
    ]


def clipped_walk(
    start: tuple[int, int], moves: list[tuple[int, int]], height: int, width: int
) -> Mask:
    """Walk step by step, as the reference scripts do."""
    known = np.ones((height, width), dtype=np.bool_)
    y, x = start
    for dy, dx in moves:
        y = min(max(y + dy, 0), height - 1)
        x = min(max(x + dx, 0), width - 1)
        known[y, x] = False
    return known


def folded_walk(
    start: tuple[int, int], moves: list[tuple[int, int]], height: int, width: int
) -> Mask:
    """Walk freely and fold, as the library does."""
    known = np.ones((height, width), dtype=np.bool_)
    free = np.array(start, dtype=np.int32) + np.cumsum(moves, axis=0, dtype=np.int32)
    known[fold(free[:, 0], height), fold(free[:, 1], width)] = False
    return known


def reference_strokes(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw strokes one number at a time, in the order of the well-known script."""
    canvas = np.zeros((height, width), np.uint8)
    most = int((height + width) * 0.03)

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    for _ in range(draw(1, 20)):
        ends = (draw(1, width), draw(1, height)), (draw(1, width), draw(1, height))
        cv2.line(canvas, *ends, 1, draw(3, most))
    for _ in range(draw(1, 20)):
        cv2.circle(canvas, (draw(1, width), draw(1, height)), draw(3, most), 1, -1)
    for _ in range(draw(1, 20)):
        center, axes = (draw(1, width), draw(1, height)), (draw(1, width), draw(1, height))
        angles = draw(3, 180), draw(3, 180), draw(3, 180)
        cv2.ellipse(canvas, center, axes, *angles, 1, draw(3, most))
    return canvas == 0


class TestEveryGenerator:
    """What holds for all generators."""

    @pytest.mark.parametrize("generator", GENERATORS)
    @FEW
    @given(height=sides, width=sides, seed=seeds)
    def test_shapes(self, generator: Generator, height: int, width: int, seed: int) -> None:
        """A mask is bool, of the wanted size, neither empty nor full, the same for one seed."""
        known = generator(np.random.default_rng(seed), height, width)
        assert known.dtype == np.bool_
        assert known.shape == (height, width)
        assert known.any()
        assert not known.all()
        assert np.array_equal(known, generator(np.random.default_rng(seed), height, width))

    @pytest.mark.parametrize("generator", GENERATORS)
    def test_values_seeds_differ(self, generator: Generator) -> None:
        """Other seeds give other masks."""
        masks = {generator(np.random.default_rng(seed), 64, 48).tobytes() for seed in range(20)}
        assert len(masks) == 20

    @pytest.mark.parametrize("generator", GENERATORS)
    def test_values_hole_share(self, generator: Generator) -> None:
        """A narrower range of hole shares is kept to."""
        for seed in range(20):
            low, high = (0.28, 0.3) if generator is random_walk else (0.12, 0.15)
            known = generator(np.random.default_rng(seed), 64, 64, hole_share=(low, high))
            assert low <= hole_share(known) <= high

    @pytest.mark.parametrize(
        ("generator", "low", "high"), [(blocks, 0.013, 0.115), (silhouettes, 0.023, 0.175)]
    )
    def test_values_default_share(self, generator: Generator, low: float, high: float) -> None:
        """By default hole shares fill the range of the challenge's masks and do not leave it."""
        shares = hole_shares(generator, 300, 3)
        assert low <= min(shares) < low + 0.01
        assert high - 0.01 < max(shares) <= high

    @pytest.mark.parametrize("generator", GENERATORS)
    def test_values_everywhere(self, generator: Generator) -> None:
        """In an oblong mask holes are as frequent left as right, and reach every border."""
        holes = [~generator(np.random.default_rng([9, item]), 48, 96) for item in range(300)]
        frequency = np.mean(holes, axis=0)
        left, right = frequency[:, :48].mean(), frequency[:, 48:].mean()
        assert left == pytest.approx(right, rel=0.2)
        if generator is not blocks:  # what is left over beside its grid is known
            for border in (frequency[0], frequency[-1], frequency[:, 0], frequency[:, -1]):
                assert border.any()

    @pytest.mark.parametrize("generator", GENERATORS)
    def test_raises_one_pixel(self, generator: Generator) -> None:
        """One pixel can't be neither hole nor known, so it is refused at once."""
        with pytest.raises(MaskError, match="1x1 pixels"):
            generator(np.random.default_rng(0), 1, 1)


class TestRedraw:
    """The promises of ``redraw``."""

    def test_values(self) -> None:
        """Empty, full and out-of-range draws are thrown away."""
        half = np.array([[True, False]])
        draws = iter([np.ones((1, 2), bool), np.zeros((1, 2), bool), half])
        assert redraw(lambda: next(draws), 1, 2, ANY, "test") is half

    def test_values_bounds(self) -> None:
        """A share that is the least and the most allowed is within the range."""
        known = np.array([[True, True], [True, False]])
        assert redraw(lambda: known, 2, 2, (0.25, 0.25), "test") is known

    def test_raises(self) -> None:
        """A range that no draw meets is an error, not an endless loop."""
        with pytest.raises(MaskError, match=r"test: 1000 draws of 1x2 pixels .* 0\.6 to 0\.9"):
            redraw(lambda: np.array([[True, False]]), 1, 2, (0.6, 0.9), "test")


class TestFold:
    """The promises of ``fold``."""

    @pytest.mark.parametrize(
        ("size", "steps", "moves"),
        [((2, 3), 5, AXES), ((3, 1), 5, AXES), ((3, 2), 3, AXES + DIAGONALS)],
    )
    def test_values_distribution(
        self, size: tuple[int, int], steps: int, moves: list[tuple[int, int]]
    ) -> None:
        """Over all walks there are, folded and clipped ones visit the same sets equally often."""
        height, width = size
        clipped: Counter[bytes] = Counter()
        folded: Counter[bytes] = Counter()
        for start in itertools.product(range(height), range(width)):
            for path in itertools.product(moves, repeat=steps):
                clipped[clipped_walk(start, list(path), height, width).tobytes()] += 1
                folded[folded_walk(start, list(path), height, width).tobytes()] += 1
        assert clipped == folded

    def test_values(self) -> None:
        """Positions are mirrored at half-integers, so the border pixels stand twice in a row."""
        positions = np.arange(-4, 8, dtype=np.int32)
        assert fold(positions, 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]


class TestRandomWalk:
    """The promises of ``random_walk``."""

    @pytest.mark.parametrize("directions", [4, 8])
    def test_values_against_loop(self, directions: Literal[4, 8]) -> None:
        """Hole shares are distributed as those of a walk clipped step by step."""
        moves = (AXES + DIAGONALS)[:directions]
        rng = np.random.default_rng(0)
        ours, theirs = [], []
        for _ in range(300):
            walk = random_walk(
                rng, 14, 22, directions=directions, steps_per_pixel=1.0, hole_share=ANY
            )
            ours.append(hole_share(walk))
            path = [moves[move] for move in rng.integers(0, directions, 14 * 22)]
            start = int(rng.integers(14)), int(rng.integers(22))
            theirs.append(hole_share(clipped_walk(start, path, 14, 22)))
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01

    def test_values_defaults(self) -> None:
        """By default the mean hole share at 256 px is the paper's 0.28."""
        assert np.mean(hole_shares(random_walk, 200, 1)) == pytest.approx(0.28, abs=0.02)

    def test_values_reference_scripts(self) -> None:
        """Four directions and one step a pixel give the reference scripts' 0.20 (sd 0.03)."""
        shares = hole_shares(random_walk, 200, 1, directions=4, steps_per_pixel=1.0)
        assert np.mean(shares) == pytest.approx(0.203, abs=0.01)
        assert np.std(shares) == pytest.approx(0.030, abs=0.006)

    def test_values_start(self) -> None:
        """Walks start anywhere."""
        holes = [
            ~random_walk(np.random.default_rng(seed), 48, 96, steps_per_pixel=0.002, hole_share=ANY)
            for seed in range(400)
        ]
        rows, columns = np.nonzero(np.any(holes, axis=0))
        assert np.bincount(rows // 12, minlength=4).min() > 100
        assert np.bincount(columns // 24, minlength=4).min() > 100

    def test_values_connected(self) -> None:
        """The holes of one walk hang together."""
        for seed in range(5):
            holes = ~random_walk(np.random.default_rng(seed), 64, 64)
            assert ndimage.label(holes, np.ones((3, 3)))[1] == 1

    def test_values_brush(self) -> None:
        """A brush of three pixels adds the four neighbours of each visited pixel."""
        thin = random_walk(np.random.default_rng(3), 40, 50, steps_per_pixel=0.1, hole_share=ANY)
        thick = random_walk(
            np.random.default_rng(3), 40, 50, steps_per_pixel=0.1, brush_px=3, hole_share=ANY
        )
        assert np.array_equal(~thick, ndimage.binary_dilation(~thin))


class TestStrokes:
    """The promises of ``strokes``."""

    def test_values_against_loop(self) -> None:
        """Hole shares are distributed as those of shapes drawn one number at a time."""
        ours = hole_shares(strokes, 400, 1, hole_share=ANY)
        rng = np.random.default_rng(5)
        theirs = [hole_share(reference_strokes(rng, 256, 256)) for _ in range(400)]
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01

    def test_values_published(self) -> None:
        """Mean and spread at 256 px are those measured on the well-known script."""
        shares = hole_shares(strokes, 600, 2)
        assert np.mean(shares) == pytest.approx(0.305, abs=0.02)
        assert np.std(shares) == pytest.approx(0.102, abs=0.02)

    def test_values_thickness(self) -> None:
        """No stroke is thicker than the most: eroding the holes by more leaves only crossings."""
        known = strokes(
            np.random.default_rng(1), 256, 256, max_each=1, max_thickness_share=0.01, hole_share=ANY
        )
        assert ndimage.distance_transform_cdt(~known, "chessboard").max() <= 6


class TestRectangles:
    """The promises of ``rectangles``."""

    def test_values_one(self) -> None:
        """A single rectangle fills its bounding box and keeps to the range of sides."""
        for seed in range(30):
            known = rectangles(np.random.default_rng(seed), 100, 200, max_count=1, hole_share=ANY)
            rows, columns = np.nonzero(~known)
            tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert tall * wide == len(rows)
            assert 10 <= tall <= 39
            assert 20 <= wide <= 78

    def test_values_paper(self) -> None:
        """Hole shares at 256 px match those of the paper's rectangles."""
        shares = hole_shares(rectangles, 600, 1)
        assert np.mean(shares) == pytest.approx(0.22, abs=0.02)
        assert np.std(shares) == pytest.approx(0.10, abs=0.02)
        assert min(shares) >= 0.05
        assert max(shares) <= 0.44


class TestAllKinds:
    """The three kinds of the paper together."""

    def test_values_paper(self) -> None:
        """3000 masks of the three kinds have the paper's mean, quartiles, least and most."""
        shares = [
            share
            for kind in (random_walk, strokes, rectangles)
            for share in hole_shares(kind, 1000, 7)
        ]
        assert np.mean(shares) == pytest.approx(0.27, abs=0.02)
        least, first, second, third, most = np.percentile(shares, [0, 25, 50, 75, 100])
        assert (first, second, third) == pytest.approx((0.23, 0.27, 0.32), abs=0.02)
        assert (least, most) == pytest.approx((0.05, 0.56), abs=0.02)


class TestBlocks:
    """The promises of ``blocks``."""

    @FEW
    @given(seed=seeds, height=sides, width=sides)
    def test_values_grid(self, seed: int, height: int, width: int) -> None:
        """The holes are whole cells of some regular grid of squares."""
        known = blocks(np.random.default_rng(seed), height, width)

        def fits(side: int) -> bool:
            rows, columns = height // side, width // side
            grid = known[: rows * side : side, : columns * side : side]
            painted = np.ones_like(known)
            painted[: rows * side, : columns * side] = np.kron(grid, np.ones((side, side), bool))
            return np.array_equal(painted, known)

        least, most = 0.07 * min(height, width), 0.12 * min(height, width)
        assert any(fits(side) for side in range(max(1, int(least)), round(most) + 2))


class TestSilhouettes:
    """The promises of ``silhouettes``."""

    def test_values_solid(self) -> None:
        """Holes are solid, as objects are: most of their pixels are not at an edge."""
        for seed in range(20):
            holes = ~silhouettes(np.random.default_rng(seed), 128, 160)
            assert ndimage.binary_erosion(holes).sum() > 0.6 * holes.sum()
            assert ndimage.label(holes)[1] <= 6

    def test_values_objects(self) -> None:
        """Some masks have two objects, most have one."""
        masks = [silhouettes(np.random.default_rng(seed), 96, 96) for seed in range(100)]
        assert 8 < sum(ndimage.label(~known)[1] > 1 for known in masks) < 50

    def test_values_upright(self) -> None:
        """Objects stand on their limbs: rows low in them cross them more often than high ones."""
        high, low = [], []
        for seed in range(100):
            holes = ~silhouettes(np.random.default_rng(seed), 96, 96)
            crossed = (np.diff(holes.astype(int), prepend=0) == 1).sum(axis=1)[holes.any(axis=1)]
            third = len(crossed) // 3
            high.append(crossed[:third].mean())
            low.append(crossed[-third:].mean())
        assert np.mean(low) > 1.2 * np.mean(high)
