"""Which pairs are drawn depends on the seed and on each pair's own name."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.errors import DataError, ParameterError
from pconv.images import read_mask, write_image, write_mask
from tests.overtaken import refuse
from workflow.mask_kinds import GENERATED_KINDS
from workflow.pairs import Pair, largest_remainder, load_pair, read_pairs
from workflow.sections import SampleParams
from workflow.stages.sample import draw_generated, draw_stratified, sample

SIZE_PX = 16


def raw_pair(kind: str, photo: int, number: int) -> Pair:
    """A pair of the population."""
    name = f"{photo}_{number}"
    return Pair(f"{kind}-{photo}-{name}", f"valid/gt/{photo}.png", name, kind, 0.5, SIZE_PX)


def population(photos: int, ec: int, removal: int) -> list[Pair]:
    """All pairs of so many photos with so many masks each."""
    return [
        raw_pair(kind, photo, number)
        for kind, masks in (("ec", ec), ("or", removal))
        for photo in range(photos)
        for number in range(masks)
    ]


class TestLargestRemainder:
    """The contracts of ``largest_remainder``."""

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.data())
    def test_laws(self, sizes: list[int], data: st.DataObject) -> None:
        """The quotas add up, and each is its exact share rounded up or down."""
        count = data.draw(st.integers(0, sum(sizes)))
        quotas = largest_remainder({str(i): size for i, size in enumerate(sizes)}, count)
        assert sum(quotas.values()) == count
        for size, quota in zip(sizes, quotas.values(), strict=True):
            assert abs(quota - count * size / max(1, sum(sizes))) < 1
            assert quota <= size

    def test_paper(self) -> None:
        """The paper's 1750 of 5600 and 4900."""
        assert largest_remainder({"ec": 5600, "or": 4900}, 1750) == {"ec": 933, "or": 817}


class TestDrawStratified:
    """The contracts of ``draw_stratified``."""

    def test_values(self) -> None:
        """So many different pairs are drawn, each kind in proportion."""
        drawn = draw_stratified(population(7, 8, 7), 15, seed=1)
        assert len({pair.id for pair in drawn}) == 15
        assert Counter(pair.kind for pair in drawn) == {"ec": 8, "or": 7}

    def test_order_does_not_matter(self) -> None:
        """The same pairs are drawn in whatever order they are found; another seed draws others."""
        pairs = population(7, 8, 7)
        assert draw_stratified(pairs, 15, 1) == draw_stratified(pairs[::-1], 15, 1)
        assert draw_stratified(pairs, 15, 1) != draw_stratified(pairs, 15, 2)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.integers(1, 60))
    def test_a_new_photo_moves_no_other_draw(self, seed: int, count: int) -> None:
        """With a photo more, the old pairs that are still drawn are the first of before."""
        before = draw_stratified(population(6, 8, 7), count, seed)
        after = draw_stratified(population(7, 8, 7), count, seed)
        for kind in ("ec", "or"):
            old = [pair for pair in after if pair.kind == kind and pair.photo != "valid/gt/6.png"]
            assert old == [pair for pair in before if pair.kind == kind][: len(old)]

    def test_every_pair_is_as_likely(self) -> None:
        """Over many seeds each pair is drawn as often as any other (chi-squared, 1 in 10^6)."""
        counts = Counter(
            pair.id
            for seed in range(400)
            for pair in draw_stratified(population(2, 5, 5), 10, seed)
        )
        expected = 200
        assert len(counts) == 20
        assert sum((count - expected) ** 2 / (expected / 2) for count in counts.values()) < 65

    def test_raises(self) -> None:
        """A population that is too small is an error with both numbers."""
        with pytest.raises(DataError, match="asks for 16 pairs of ec and or, but there are 15"):
            draw_stratified(population(1, 8, 7), 16, seed=1)


class TestDrawGenerated:
    """The contracts of ``draw_generated``."""

    photos = tuple(f"valid/gt/{number}.png" for number in range(7))
    masks = tuple(f"0000/{number:06d}.png" for number in range(20))

    def draw(self, photos: tuple[str, ...], count: int) -> list[Pair]:
        """Draw pairs of random walks."""
        return draw_generated("walk", photos, self.masks, count, SIZE_PX, seed=3)

    def test_values(self) -> None:
        """So many different pairs, as many for each photo within one."""
        pairs = self.draw(self.photos, 30)
        assert len({pair.id for pair in pairs}) == 30
        assert sorted(Counter(pair.photo for pair in pairs).values()) == [4] * 5 + [5] * 2

    def test_one_pair_more(self) -> None:
        """Which photos have a pair more is drawn too."""
        most = set()
        for seed in range(10):
            pairs = draw_generated("walk", self.photos, self.masks, 8, SIZE_PX, seed)
            most |= {photo for photo, n in Counter(p.photo for p in pairs).items() if n == 2}
        assert len(most) > 3

    def test_one_pair_more_of_a_kind(self) -> None:
        """And it is drawn for each kind anew."""
        most = set()
        for kind in GENERATED_KINDS:
            pairs = draw_generated(kind, self.photos, self.masks, 8, SIZE_PX, seed=3)
            most |= {photo for photo, n in Counter(p.photo for p in pairs).items() if n == 2}
        assert len(most) > 1

    def test_first_rows(self) -> None:
        """The first rows are a draw of their own, of many photos."""
        assert len({pair.photo for pair in self.draw(self.photos, 70)[:14]}) > 4

    def test_a_new_photo_moves_no_other_draw(self) -> None:
        """With a photo more, the old pairs are among those of before."""
        before, after = self.draw(self.photos[:6], 30), self.draw(self.photos, 30)
        old = {pair for pair in after if pair.photo != self.photos[6]}
        assert old <= set(before)
        assert len(old) >= 25

    def test_all(self) -> None:
        """Asked for all pairs, it gives all; for one more, an error with both numbers."""
        assert len({pair.id for pair in self.draw(self.photos, 140)}) == 140
        with pytest.raises(DataError, match=r"asks for 141 pairs.*make 140"):
            self.draw(self.photos, 141)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four photos with three ec and two or masks each, one of them without a hole in the frame."""
    folder = tmp_path / "raw"
    for photo in range(4):
        rng = np.random.default_rng(photo)
        pixels = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
        write_image(folder / f"valid/gt/{photo}.png", pixels)
        for kind, count in (("ec", 3), ("or", 2)):
            for number in range(count):
                known = rng.random((24, 40)) < 0.5
                write_mask(folder / f"valid/{kind}/{photo}/{photo}_{number}.png", known)
    outside = np.ones((24, 40), dtype=np.bool_)
    outside[:, :4] = False
    write_mask(folder / "valid/ec/0/0_0.png", outside)
    return folder


def make_masks(folder: Path, shards: int) -> Path:
    """Thirty generated masks in so many shards, the same whatever their number."""
    for shard in range(shards):
        rows = [["file", "kind", "hole_share"]]
        for item in range(shard, 30, shards):
            known = np.random.default_rng(item).random((SIZE_PX, SIZE_PX)) < 0.5
            write_mask(folder / f"{shard:04d}/{item:06d}.png", known)
            rows.append([f"{item:06d}.png", GENERATED_KINDS[item % 3], "0.5"])
        with (folder / f"{shard:04d}/kinds.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


class TestSample:
    """The contracts of the stage."""

    params = SampleParams(seed=1, pairs=12, pairs_per_generated_kind=5)

    def run(self, raw: Path, masks: Path, params: SampleParams = params) -> list[Pair]:
        """Run the stage and read its table."""
        sample(params, raw=raw, masks=masks, out=raw.parent / "sample.csv")
        return read_pairs(raw.parent / "sample.csv")

    def test_values(self, raw: Path, tmp_path: Path) -> None:
        """All five kinds are drawn, and each row tells its pair's true size and hole share."""
        masks = make_masks(tmp_path / "masks", 2)
        pairs = self.run(raw, masks)
        assert Counter(pair.kind for pair in pairs) == {
            "ec": 7,
            "or": 5,
            **dict.fromkeys(GENERATED_KINDS, 5),
        }
        assert len({pair.id for pair in pairs}) == len(pairs)
        for pair in pairs:
            image, known = load_pair(pair, raw, masks)
            assert image.shape == (SIZE_PX, SIZE_PX, 3)
            assert pair.hole_share == np.mean(~known)

    def test_no_generated_kind(self, raw: Path, tmp_path: Path) -> None:
        """Where no pairs of generated kinds are asked for, masks of any kind give the size."""
        masks = make_masks(tmp_path / "masks", 2)
        for table in masks.glob("*/kinds.csv"):
            table.write_text(re.sub("walk|strokes|rectangles", "brush", table.read_text()))
        params = self.params.model_copy(update={"pairs_per_generated_kind": 0})
        pairs = self.run(raw, masks, params)
        assert {pair.kind for pair in pairs} == {"ec", "or"}
        assert {pair.size_px for pair in pairs} == {SIZE_PX}

    def test_shards(self, raw: Path, tmp_path: Path) -> None:
        """The shard count of the masks changes where they lie, and nothing else."""
        one, seven = (make_masks(tmp_path / f"masks{count}", count) for count in (1, 7))
        assert [pair.id for pair in self.run(raw, one)] == [
            pair.id for pair in self.run(raw, seven)
        ]

    @pytest.mark.parametrize(
        ("columns", "place"),
        [
            (slice(0, 3), 0.0),
            (slice(4, 8), 0.25),
            (slice(32, 36), 0.75),
            (slice(36, 40), 1.0),
        ],
    )
    def test_outside_the_middle(
        self, raw: Path, tmp_path: Path, columns: slice, place: float
    ) -> None:
        """A hole outside the middle moves the square no further than need be: each pair counts."""
        outside = np.ones((24, 40), dtype=np.bool_)
        outside[:, columns] = False
        write_mask(raw / "valid/ec/0/0_0.png", outside)
        masks = make_masks(tmp_path / "masks", 1)
        pairs = self.run(raw, masks, self.params.model_copy(update={"pairs": 20}))
        places = {pair.id: pair.place for pair in pairs}
        assert places.pop("ec-0-0_0") == place
        assert set(places.values()) == {0.5}
        assert all(0 < pair.hole_share < 1 for pair in pairs)

    def test_nothing_known_in_the_middle(self, raw: Path, tmp_path: Path) -> None:
        """Where the middle shows nothing but hole the square moves to where something is known."""
        only_ends = np.zeros((24, 40), dtype=np.bool_)
        only_ends[:, :6] = True
        write_mask(raw / "valid/ec/0/0_0.png", only_ends)
        masks = make_masks(tmp_path / "masks", 1)
        pairs = self.run(raw, masks, self.params.model_copy(update={"pairs": 20}))
        (pair,) = (pair for pair in pairs if pair.id == "ec-0-0_0")
        assert pair.place == 0.25
        assert 0 < pair.hole_share < 1

    def test_edited_meanwhile(self, raw: Path, tmp_path: Path) -> None:
        """What must not be written is not, and the sample before stays."""
        (tmp_path / "out.csv").write_text("old")
        folders = {"raw": raw, "masks": make_masks(tmp_path / "masks", 1)}
        with pytest.raises(ParameterError):
            sample(self.params, **folders, out=tmp_path / "out.csv", before_writing=refuse)
        assert (tmp_path / "out.csv").read_text() == "old"

    def test_no_hole(self, raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A mask without a hole is not in the population, and it is said."""
        masks = make_masks(tmp_path / "masks", 1)
        first = raw / "valid/ec/0/0_0.png"
        write_mask(first, np.ones_like(read_mask(first)))
        pairs = self.run(raw, masks, self.params.model_copy(update={"pairs": 19}))
        assert "ec-0-0_0" not in {pair.id for pair in pairs}
        assert "1 ec and or pairs have no hole" in caplog.text
        with pytest.raises(DataError, match="asks for 20 pairs of ec and or, but there are 19"):
            self.run(raw, masks, self.params.model_copy(update={"pairs": 20}))

    def test_raises(self, raw: Path, tmp_path: Path) -> None:
        """Folders that lack something are named, with the stage to run."""
        masks = make_masks(tmp_path / "masks", 1)
        with pytest.raises(DataError, match="holds no photo; run the download stage"):
            self.run(tmp_path / "empty", masks)
        with pytest.raises(DataError, match=r"holds no \*/kinds\.csv; run the masks stage"):
            self.run(raw, tmp_path / "empty")
        write_mask(masks / "0000/000003.png", np.ones((8, 8), dtype=np.bool_))
        with pytest.raises(
            DataError, match=r"000003\.png: 8x8 pixels, but the square it was drawn for has 16x16"
        ):
            self.run(raw, masks, self.params.model_copy(update={"pairs_per_generated_kind": 40}))
        write_mask(masks / "0000/000003.png", np.ones((SIZE_PX, SIZE_PX), dtype=np.bool_))
        with pytest.raises(DataError, match="some walk masks are empty or full"):
            self.run(raw, masks, self.params.model_copy(update={"pairs_per_generated_kind": 40}))
        write_mask(masks / "0000/000000.png", np.ones((8, 16), dtype=np.bool_))
        with pytest.raises(DataError, match="16x8 pixels; wanted a square mask"):
            self.run(raw, masks)
