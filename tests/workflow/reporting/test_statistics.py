"""Means over pairs and their intervals over photographs."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from workflow.reporting.statistics import MIN_PHOTOS, bootstrap_means, draw_weights

DRAWS = 200


def a_sample(
    seed: int, photos: int = 14, missing: float = 0.2
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Return values of three columns, some not taken, and unequal numbers of pairs a photo."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"photo{i}" for i in range(photos)], rng.integers(1, 6, photos))
    level = dict(zip(np.unique(names), rng.normal(20, 3, photos), strict=True))
    values = np.array([level[name] for name in names])[:, None] + rng.normal(0, 1, (len(names), 3))
    values[rng.random(values.shape) < missing] = np.nan
    return values, names


def naive_interval(
    values: NDArray[np.float64], photos: NDArray[np.str_], draws: int, seed: int
) -> tuple[float, float]:
    """Draw photographs one by one, gather all their pairs, and average these."""
    taken = ~np.isnan(values)
    names = sorted(set(photos[taken]))
    means = []
    for weights in draw_weights(len(names), draws, seed):
        gathered: list[float] = []
        for name, times in zip(names, weights, strict=True):
            gathered += list(values[taken & (photos == name)]) * int(times)
        means.append(np.mean(gathered))
    # Where a normal distribution of their spread, which is that of a variance over n, ends where
    # Student's interval does.
    reach = t.ppf(0.975, len(names) - 1) * np.sqrt(len(names) / (len(names) - 1))
    low, high = np.quantile(means, [NormalDist().cdf(-reach), NormalDist().cdf(reach)])
    return float(low), float(high)


class TestBootstrapMeans:
    """Mean and interval of several columns at once."""

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**32 - 1), photos=st.integers(2, 20))
    def test_values(self, seed: int, photos: int) -> None:
        """Mean and interval are those of drawing photographs in a loop."""
        values, names = a_sample(seed, photos)
        found = bootstrap_means(values, names, draws=DRAWS, seed=seed)
        for column in range(values.shape[1]):
            taken = ~np.isnan(values[:, column])
            assert found.pairs[column] == taken.sum()
            assert found.photos[column] == len(set(names[taken]))
            mean = values[taken, column].mean() if taken.any() else np.nan
            assert found.mean[column] == pytest.approx(mean, nan_ok=True)
            if found.photos[column] < MIN_PHOTOS:
                assert np.isnan([found.low[column], found.high[column]]).all()
                continue
            interval = naive_interval(values[:, column], names, DRAWS, seed)
            assert (found.low[column], found.high[column]) == pytest.approx(interval)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
    def test_moves_with_the_values(self, seed: int, shift: float, scale: float) -> None:
        """Values shifted and scaled shift and scale mean and interval."""
        values, names = a_sample(seed)
        before = bootstrap_means(values, names, draws=DRAWS, seed=1)
        after = bootstrap_means(values * scale + shift, names, draws=DRAWS, seed=1)
        for name in ("mean", "low", "high"):
            moved = getattr(before, name) * scale + shift
            np.testing.assert_allclose(getattr(after, name), moved, rtol=1e-9, atol=1e-9)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**32 - 1), order=st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, seed: int, order: object) -> None:
        """Rows in another order give the same estimates."""
        values, names = a_sample(seed)
        rows = list(range(len(names)))
        order.shuffle(rows)  # type: ignore[attr-defined]
        one = bootstrap_means(values, names, draws=DRAWS, seed=2)
        other = bootstrap_means(values[rows], names[rows], draws=DRAWS, seed=2)
        np.testing.assert_allclose(one.low, other.low, rtol=1e-12)
        np.testing.assert_allclose(one.high, other.high, rtol=1e-12)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**32 - 1), difference=st.floats(-5, 5))
    def test_paired(self, seed: int, difference: float) -> None:
        """Columns that differ by a constant differ by it in every draw: the draws are shared."""
        values, names = a_sample(seed, missing=0)
        both = np.hstack([values[:, :1], values[:, :1] + difference])
        found = bootstrap_means(both, names, draws=DRAWS, seed=3)
        assert found.low[1] - found.low[0] == pytest.approx(difference, abs=1e-9)

    def test_photos_not_pairs(self) -> None:
        """Copies of a photograph's pairs do not narrow the interval; more photographs do."""
        values, names = a_sample(4, photos=30, missing=0)
        width = self._width(values, names)
        copied = self._width(np.repeat(values, 9, axis=0), np.repeat(names, 9))
        others = np.char.add(np.repeat(names, 9), np.tile(list("abcdefghi"), len(names)))
        assert copied == pytest.approx(width)
        assert self._width(np.repeat(values, 9, axis=0), others) < width / 2

    def test_means_are_not_averaged(self) -> None:
        """A photograph with three pairs weighs three times as much."""
        values = np.array([[1.0], [1.0], [1.0], [5.0]])
        names = np.array(["a", "a", "a", "b"])
        assert bootstrap_means(values, names, draws=DRAWS, seed=0).mean[0] == 2.0

    @pytest.mark.parametrize(
        ("photos", "is_skewed", "least"),
        [(MIN_PHOTOS, False, 0.92), (20, False, 0.92), (60, False, 0.93), (MIN_PHOTOS, True, 0.83)],
    )
    def test_coverage(self, photos: int, *, is_skewed: bool, least: float) -> None:
        """About 95 of 100 intervals hold the true mean, though pairs of a photograph agree.

        Of few photographs and skewed numbers it is fewer, as the report says.
        """
        rng = np.random.default_rng(8)
        names = np.repeat([f"{i:03d}" for i in range(photos)], 4)
        truth = np.exp(0.5) if is_skewed else 0.0
        hits = 0
        for trial in range(600):
            levels = rng.normal(0, 1, photos)
            levels = np.exp(levels) if is_skewed else levels
            values = np.repeat(levels, 4) + rng.normal(0, 0.3, 4 * photos)
            found = bootstrap_means(values[:, None], names, draws=DRAWS, seed=trial)
            hits += bool(found.low[0] < truth < found.high[0])
        assert least <= hits / 600 <= 0.98

    def test_not_taken(self) -> None:
        """A column without values has no mean and no interval, and raises no warning."""
        found = bootstrap_means(np.full((4, 1), np.nan), np.array(list("aabb")), draws=9, seed=0)
        assert np.isnan([found.mean[0], found.low[0], found.high[0]]).all()
        assert found.pairs[0] == 0

    @staticmethod
    def _width(values: NDArray[np.float64], names: NDArray[np.str_]) -> float:
        found = bootstrap_means(values[:, :1], names, draws=1000, seed=5)
        return float(found.high[0] - found.low[0])


class TestDrawWeights:
    """How often each photograph is drawn."""

    def test_values(self) -> None:
        """Every draw has as many photographs as there are, each as likely as another."""
        weights = draw_weights(7, 5000, seed=1)
        assert (weights.sum(axis=1) == 7).all()
        np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)

    def test_seed(self) -> None:
        """The same seed gives the same draws, another one others."""
        np.testing.assert_array_equal(draw_weights(5, 10, seed=1), draw_weights(5, 10, seed=1))
        assert (draw_weights(5, 10, seed=1) != draw_weights(5, 10, seed=2)).any()
