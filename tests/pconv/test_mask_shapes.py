import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import stats

from pconv.errors import MaskError
from pconv.mask_shapes import borders, brush, to_bucket, vary
from tests.strategies import known_masks, seeds, sides

Mask = NDArray[np.bool_]
FEW = settings(deadline=None, max_examples=25)


class TestBrush:
    """The promises of ``brush``."""

    def test_values_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stroke turns right and left in turn, and so gets on."""
        drawn: list[NDArray[np.int32]] = []

        def draw(canvas: NDArray[np.uint8], paths: list[NDArray[np.int32]], **how: int) -> None:
            drawn.extend(paths)
            canvas[0, 0] = 1

        monkeypatch.setattr(cv2, "polylines", draw)
        for seed in range(20):
            brush(np.random.default_rng(seed), 1000, 1000, max_strokes=1, hole_share=(0.0, 1.0))
        for points in drawn:
            steps = np.diff(points.astype(int), axis=0)
            turns = np.sign(steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0])
            assert (turns[:-1] * turns[1:] == -1).all()
        assert max(map(len, drawn)) > 9


class TestToBucket:
    """The promises of ``to_bucket``."""

    @pytest.mark.parametrize("margin", [0, 6])
    @pytest.mark.parametrize("low", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5])
    def test_values(self, low: float, margin: int) -> None:
        """The hole share lies in the bucket and the margin stays known."""
        high = round(low + 0.1, 1)
        for seed in range(15):
            known = to_bucket(
                np.random.default_rng(seed), 64, 72, low=low, high=high, margin_px=margin
            )
            assert low < 1 - known.mean() <= high
            inside = np.zeros_like(known)
            inside[margin : 64 - margin, margin : 72 - margin] = True
            assert known[~inside].all()

    def test_values_uniform(self) -> None:
        """Hole shares are spread evenly over the bucket."""
        shares = [
            1 - to_bucket(np.random.default_rng([0, item]), 64, 64, low=0.1, high=0.6).mean()
            for item in range(700)
        ]
        assert stats.kstest(shares, stats.uniform(0.1, 0.5).cdf).pvalue > 0.01

    def test_values_narrow(self) -> None:
        """A bucket that holds a single number of pixels is met."""
        known = to_bucket(np.random.default_rng(0), 40, 40, low=99.5 / 1600, high=100.5 / 1600)
        assert (~known).sum() == 100

    @pytest.mark.parametrize("percent", range(1, 100))
    def test_values_rounding(self, percent: int) -> None:
        """Nor is it missed where its bounds are numbers of pixels that are rounded."""
        low, high = (percent - 1) / 100, percent / 100
        known = to_bucket(np.random.default_rng(0), 10, 10, low=low, high=high)
        assert np.count_nonzero(~known) == percent

    @pytest.mark.parametrize(
        ("low", "high", "margin"), [(0.3, 0.2, 0), (0.5, 0.6, 8), (0.0001, 0.0002, 0), (0, 2, 0)]
    )
    def test_raises(self, low: float, high: float, margin: int) -> None:
        """A bucket that no mask can meet is refused before drawing."""
        with pytest.raises(MaskError, match=f"margin of {margin} px"):
            to_bucket(np.random.default_rng(0), 32, 32, low=low, high=high, margin_px=margin)


class TestBorders:
    """The promises of ``borders``."""

    @FEW
    @given(sides, sides, seeds)
    def test_values(self, height: int, width: int, seed: int) -> None:
        """What is known is one rectangle; what is not, strips as long as the picture."""
        known = borders(np.random.default_rng(seed), height, width)
        rows, columns = known.any(axis=1), known.any(axis=0)
        assert np.array_equal(known, np.outer(rows, columns))
        for shown in (rows, columns):
            assert np.count_nonzero(np.diff(shown.astype(int))) <= 2
            assert np.count_nonzero(np.diff(shown.astype(int), prepend=0, append=0)) == 2

    def test_values_all(self) -> None:
        """Every set of borders comes, each border as often as any other."""
        missing = [
            tuple(bool(~edge.any()) for edge in (known[0], known[-1], known[:, 0], known[:, -1]))
            for known in (borders(np.random.default_rng([3, i]), 64, 96) for i in range(1200))
        ]
        assert len(set(missing)) == 15
        shares = np.mean(missing, axis=0)
        assert shares == pytest.approx(shares.mean(), rel=0.1)


class TestVary:
    """The promises of ``vary``."""

    @FEW
    @given(known_masks(height=12, width=12), seeds)
    def test_values_symmetries(self, mask: Mask, seed: int) -> None:
        """At its own size a square mask is only flipped and turned."""
        turned = [np.rot90(m, k) for m in (mask, mask[:, ::-1]) for k in range(4)]
        varied = vary(np.random.default_rng(seed), mask, 12, 12)
        assert any(np.array_equal(varied, one) for one in turned)

    def test_values_all(self) -> None:
        """All eight symmetries come, and crops of all places."""
        mask = np.random.default_rng(0).random((8, 24)) < 0.5
        square = {vary(np.random.default_rng(i), mask[:, :8], 8, 8).tobytes() for i in range(100)}
        assert len(square) == 8
        crops = {vary(np.random.default_rng(i), mask, 8, 8).tobytes() for i in range(400)}
        assert len(crops) > 110  # of 8 symmetries at 17 places

    @FEW
    @given(known_masks(), seeds, sides, sides)
    def test_shapes(self, mask: Mask, seed: int, height: int, width: int) -> None:
        """Any mask comes out in the wanted size, neither empty nor full."""
        varied = vary(np.random.default_rng(seed), mask, height, width)
        assert varied.shape == (height, width)
        assert varied.any()
        assert not varied.all()

    def test_raises(self) -> None:
        """A mask without holes has no variant with holes, nor one without known pixels with any."""
        for value, words in ((1, "no hole"), (0, "no known pixel")):
            with pytest.raises(MaskError, match=f"given mask has {words}"):
                vary(np.random.default_rng(0), np.full((9, 9), value, np.bool_), 5, 5)
