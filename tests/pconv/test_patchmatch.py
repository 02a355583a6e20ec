"""Tests of PatchMatch, on textures whose hidden part is known and against naive references."""

from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pconv import patchmatch as module
from pconv.errors import MaskError
from pconv.patchmatch import patchmatch
from tests.strategies import known_masks, photos, seeds

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

few = settings(deadline=None, max_examples=15)


def hole_in_middle(side: int, hole: int) -> Mask:
    """Return a mask with one square hole, (side, side)."""
    mask = np.ones((side, side), bool)
    start = (side - hole) // 2
    mask[start : start + hole, start : start + hole] = False
    return mask


def tiles(period: int, side: int) -> Pixels:
    """Return a picture that repeats random colours in both directions."""
    tile = np.random.default_rng(period).integers(0, 256, (period, period, 3), dtype=np.uint8)
    repeats = -(-side // period)
    return np.tile(tile, (repeats, repeats, 1))[:side, :side]


def speckle(side: int) -> Pixels:
    """Return a picture of noise, which no patch repeats."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def colours(pixels: Pixels) -> set[tuple[int, ...]]:
    """Return the colours among pixels, (N, 3)."""
    return set(map(tuple, pixels.tolist()))


def level_of(image: Pixels, known: Mask) -> module._Level:
    """Return a level as the solver makes it, with the hidden part as it is in the image."""
    radius = module._best_radius(known)
    sources, centres = module._sources(known, radius), module._centres(known, radius)
    return module._Level(image, known, module._trust(known), sources, centres, radius)


def patch(image: NDArray[np.generic], place: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Cut out the patch around a place."""
    y, x = place
    return image[y - radius : y + radius + 1, x - radius : x + radius + 1].astype(np.int64)


def all_costs(level: module._Level, centre: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distances from one patch to all sources."""
    target, trust = (patch(array, centre, level.radius) for array in (level.image, level.trust))
    return np.array(
        [
            (trust[..., None] * (target - patch(level.image, source, level.radius)) ** 2).sum()
            for source in np.argwhere(level.sources)
        ]
    )


class TestPatchmatch:
    """The whole: what is promised of every filled picture."""

    @pytest.mark.parametrize("period", [5, 8, 12])
    @pytest.mark.parametrize("hole", [20, 48])
    def test_repeating_texture_comes_back(self, period: int, hole: int) -> None:
        """A hole in a texture that repeats is filled with exactly what was there."""
        image = tiles(period, 96)
        np.testing.assert_array_equal(patchmatch(image, hole_in_middle(96, hole)), image)

    @pytest.mark.parametrize("slope", [(0, 1), (1, 0), (1, 1), (2, -1)])
    def test_stripes_come_back(self, slope: tuple[int, int]) -> None:
        """Stripes of two colours go on through a hole 5 to 10 of them wide, but for 2 % of it."""
        y, x = np.mgrid[:80, :80]
        stripe = (slope[0] * y + slope[1] * x) // 6 % 2
        image = np.array([(20, 40, 200), (220, 180, 10)], np.uint8)[stripe]
        mask = hole_in_middle(80, 30)
        same = (patchmatch(image, mask) == image).all(axis=-1)
        assert same[~mask].mean() >= 0.98

    def test_texture_at_the_border_comes_back(self) -> None:
        """A hole in the corner of the picture is filled like one in the middle."""
        image, mask = tiles(8, 64), np.ones((64, 64), bool)
        mask[:20, :20] = False
        np.testing.assert_array_equal(patchmatch(image, mask), image)

    @given(mask=known_masks(), seed=seeds)
    @few
    def test_colours_are_known_ones(self, mask: Mask, seed: int) -> None:
        """Every filled pixel is a copy of a known one, however dense the holes are."""
        image = np.random.default_rng(seed).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        filled = patchmatch(image, mask, seed=seed)
        assert colours(filled[~mask]) <= colours(image[mask])

    @given(image=photos(height=24, width=30), mask=known_masks(height=24, width=30), seed=seeds)
    @few
    def test_same_seed_same_bytes(self, image: Pixels, mask: Mask, seed: int) -> None:
        """A call does not depend on calls before it."""
        first = patchmatch(image, mask, seed=seed)
        patchmatch(image[::-1], mask, seed=seed + 1)
        np.testing.assert_array_equal(patchmatch(image, mask, seed=seed), first)

    def test_seed_matters(self) -> None:
        """Where no patch repeats, another seed finds other patches."""
        image, mask = speckle(64), hole_in_middle(64, 24)
        assert (patchmatch(image, mask, seed=0) != patchmatch(image, mask, seed=1)).any()

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
    def test_seed_of_numpy(self, dtype: Any) -> None:
        """A seed may be an integer of numpy, as one that is drawn is."""
        image, mask = speckle(24), hole_in_middle(24, 8)
        plain = patchmatch(image, mask, seed=7)
        np.testing.assert_array_equal(patchmatch(image, mask, seed=dtype(7)), plain)

    def test_texture_stays_rough(self) -> None:
        """Noise is filled with noise, not with its average: more than half the contrast stays."""
        image, mask = speckle(64), hole_in_middle(64, 24)
        assert patchmatch(image, mask)[~mask].std() > 0.5 * image.std()

    def test_without_holes(self) -> None:
        """A picture that is wholly known comes back."""
        image = speckle(16)
        np.testing.assert_array_equal(patchmatch(image, np.ones((16, 16), bool)), image)

    def test_raises(self) -> None:
        """A mask without known pixels is refused."""
        with pytest.raises(MaskError, match="no pixel is known"):
            patchmatch(speckle(16), np.zeros((16, 16), bool))


class TestHalve:
    """One step of the pyramid."""

    @given(image=photos(), data=st.data())
    @few
    def test_averages_known_pixels(self, image: Pixels, data: st.DataObject) -> None:
        """Each pixel is the mean of the known ones of its four, and known if there is one."""
        mask = data.draw(known_masks(*image.shape[:2]))
        coarse, known = module._halve(image, mask)
        assert known.shape == (-(-mask.shape[0] // 2), -(-mask.shape[1] // 2))
        for y, x in np.ndindex(known.shape):
            block = (slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
            assert known[y, x] == mask[block].any()
            if known[y, x]:
                means = image[block][mask[block]].mean(axis=0)
                np.testing.assert_allclose(coarse[y, x], means, atol=0.5)


class TestPyramid:
    """How far the picture is halved."""

    def test_keeps_patches(self) -> None:
        """It is not halved until no whole patch is left to copy from."""
        frame = np.ones((200, 200), bool)
        frame[16:-16, 16:-16] = False
        levels = [known for _, known in module._pyramid(speckle(200), frame)]
        assert [known.shape for known in levels] == [(200, 200), (100, 100)]
        assert module._best_radius(levels[-1]) == module.RADIUS


class TestPlaces:
    """Where patches are copied from and to."""

    @given(mask=known_masks(), radius=st.integers(0, 3))
    @few
    def test_sources_are_wholly_known(self, mask: Mask, radius: int) -> None:
        """A source is a patch inside the picture without a hole, and all such are sources."""
        sources = module._sources(mask, radius)
        height, width = mask.shape
        for y, x in np.ndindex(mask.shape):
            inside = radius <= y < height - radius and radius <= x < width - radius
            whole = inside and bool(patch(mask, np.array([y, x]), radius).all())
            assert sources[y, x] == whole

    @given(mask=known_masks(), radius=st.integers(0, 3))
    @few
    def test_targets_cover_the_hole(self, mask: Mask, radius: int) -> None:
        """Each target lies inside the picture and touches the hole; together they cover it."""
        covered = np.zeros_like(mask)
        for y, x in module._centres(mask, radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            assert mask[window].shape == (2 * radius + 1, 2 * radius + 1)
            assert not mask[window].all()
            covered[window] = True
        assert (covered | mask).all()

    def test_radius_shrinks_where_holes_are_dense(self) -> None:
        """Patches are 7×7 where the mask allows, and down to one pixel where it does not."""
        lines, board = np.ones((40, 40), bool), np.indices((40, 40)).sum(axis=0) % 2 == 0
        lines[::6] = False
        assert module._best_radius(hole_in_middle(40, 10)) == 3
        assert module._best_radius(lines) == 2
        assert module._best_radius(board) == 0
        assert module._best_radius(np.ones((14, 14), bool)) == 3  # 64 patches of 7×7
        assert module._best_radius(np.ones((13, 14), bool)) == 2  # 56

    def test_trust_by_depth(self) -> None:
        """A hole weighs an eighth at its border, and half as much with each of four more steps."""
        trust = module._trust(hole_in_middle(30, 20))
        assert trust[15, 3:12].tolist() == [128, 128, 16, 8, 4, 2, 1, 1, 1]

    @given(mask=known_masks())
    @few
    def test_trust_falls_towards_the_inside(self, mask: Mask) -> None:
        """Trust is the most where known, positive everywhere, and halves with each step at most."""
        trust = module._trust(mask)
        assert (trust[mask] == module.KNOWN_TRUST).all()
        assert trust[~mask].max() <= module.KNOWN_TRUST // 8
        assert trust.min() >= 1
        inner = trust[1:][~mask[1:] & ~mask[:-1]], trust[:-1][~mask[1:] & ~mask[:-1]]
        assert (inner[0] <= 2 * inner[1]).all()
        assert (inner[1] <= 2 * inner[0]).all()


class TestFirstField:
    """Where the search starts."""

    def test_values(self) -> None:
        """Matches are twice as far as on the coarser level, wherever there is a source."""
        level, state = level_of(speckle(32), hole_in_middle(32, 8)), module._random_state(1)
        above = np.stack(np.indices((16, 16)), axis=-1) - [4, 0]
        coarser = module._Solution(speckle(16), above, level.radius)
        field = module._first_field(level, coarser, state)
        wanted = level.centres - [8, 0]
        usable = level.sources[wanted[:, 0], wanted[:, 1]]
        assert 20 < usable.sum() < len(usable)
        found = field[level.centres[:, 0], level.centres[:, 1]]
        np.testing.assert_array_equal(found[usable], wanted[usable])
        assert level.sources[found[:, 0], found[:, 1]].all()


class TestHandedOn:
    """Propagation."""

    def test_values(self) -> None:
        """A pixel is handed the match of the one visited before it, moved by one as it is."""
        field = np.full((5, 6, 2), module.NO_MATCH)
        field[2, 3] = 10, 20
        for target, step, axis, wanted in (
            ((3, 3), 1, 0, (11, 20)),
            ((2, 4), 1, 1, (10, 21)),
            ((1, 3), -1, 0, (9, 20)),
            ((2, 2), -1, 1, (10, 19)),
            ((0, 0), 1, 0, (module.NO_MATCH, module.NO_MATCH)),
            ((4, 4), 1, 0, (module.NO_MATCH, module.NO_MATCH)),
        ):
            assert module._handed_on(field, target, step, axis) == wanted


class TestSearch:
    """Propagation and random search against the exhaustive search."""

    def test_finds_nearly_the_best(self) -> None:
        """No distance is below the true minimum, and they are in total within a tenth of it."""
        y, x = np.mgrid[:32, :32]
        waves = [np.sin(y / 3 + x / 9), np.cos(x / 4), np.sin((x - y) / 5)]
        image = np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)
        level, state = level_of(image, hole_in_middle(32, 8)), module._random_state(1)
        field = module._first_field(level, None, state)
        for _ in range(4):
            costs = module._search(level, field, state)
        best = np.array([all_costs(level, centre).min() for centre in level.centres])
        assert (costs >= best).all()
        assert costs.sum() <= 1.1 * best.sum()

    @given(image=photos(height=24, width=20), mask=known_masks(height=24, width=20), seed=seeds)
    @few
    def test_costs_are_those_of_the_field(self, image: Pixels, mask: Mask, seed: int) -> None:
        """Matches are sources, and the returned distances are theirs and never grow."""
        level, state = level_of(image, mask), module._random_state(seed)
        field = module._first_field(level, None, state)
        first = module._search(level, field, state)
        second = module._search(level, field, state)
        matches = field[level.centres[:, 0], level.centres[:, 1]]
        assert level.sources[matches[:, 0], matches[:, 1]].all()
        assert (second <= first).all()
        for centre, match, cost in zip(level.centres, matches, second, strict=True):
            number = level.sources[: match[0]].sum() + level.sources[match[0], : match[1]].sum()
            assert cost == all_costs(level, centre)[number]


class TestVote:
    """The votes against a plain sum."""

    @given(image=photos(height=16, width=18), mask=known_masks(height=16, width=18), seed=seeds)
    @few
    def test_weighted_mean(self, image: Pixels, mask: Mask, seed: int) -> None:
        """Each hole pixel gets the weighted mean of what the matches around it say."""
        level, state = level_of(image, mask), module._random_state(seed)
        field, radius = module._first_field(level, None, state), level.radius
        cost = module._search(level, field, state)
        total, weights = np.zeros(image.shape), np.zeros((*mask.shape, 1))
        for (y, x), distance in zip(level.centres, cost, strict=True):
            weight = np.sqrt(level.trust[y, x]) / (1 + distance / 1000) ** 2
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            total[window] += weight * patch(image, field[y, x], radius)
            weights[window] += weight
        votes = module._vote(level, field, cost, 1000.0)
        np.testing.assert_allclose(votes[~mask], (total[~mask] / weights[~mask]), rtol=1e-9)


class TestCompiled:
    """Loops are compiled."""

    def test_are_kept(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What is compiled is kept on the disk: else each process would take seconds for it."""
        monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

        def twice(number: int) -> int:
            return 2 * number

        assert module._compiled(twice)(21) == 42
        assert list(tmp_path.rglob("*.nbi"))

    def test_no_place_for_a_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are also where numba finds no folder that can be written, as in a container."""
        monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])

        def twice(number: int) -> int:
            return 2 * number

        with pytest.raises(RuntimeError, match="cannot cache"):
            numba.njit(cache=True)(twice)
        assert module._compiled(twice)(21) == 42


class TestRandomBelow:
    """The generator inside the compiled loops."""

    @given(seed=seeds, limit=st.integers(1, 1000))
    @few
    def test_is_xorshift(self, seed: int, limit: int) -> None:
        """It is Marsaglia's xorshift64 (13, 7, 17), written here with Python's integers."""
        state = module._random_state(seed)
        bits = int(state[0])
        for _ in range(5):
            bits ^= bits << 13 & 2**64 - 1
            bits ^= bits >> 7
            bits ^= bits << 17 & 2**64 - 1
            assert module._random_below(state, limit) == (bits >> 33) % limit

    def test_never_from_zero(self) -> None:
        """No seed gives the state 0, in which xorshift would stay."""
        first, second = (int(module._random_state(seed)[0]) for seed in (0, 1))
        seed = -first * pow(second - first, -1, 2**64) % 2**64
        assert module._random_state(seed)[0] != 0

    def test_is_even(self) -> None:
        """Eight equal shares of 8000 draws each hold 1000, within five standard deviations."""
        state = module._random_state(0)
        counts = np.bincount([module._random_below(state, 8) for _ in range(8000)], minlength=8)
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 7 / 8)
