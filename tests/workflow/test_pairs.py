"""The table of pairs goes through its file unharmed, and a pair's pictures fit together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pconv.errors import DataError
from pconv.images import write_image, write_mask
from workflow.mask_kinds import KINDS
from workflow.pairs import Pair, load_pair, mask_file, read_pairs, subset, write_pairs

text = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=9)
path = text.filter(lambda name: not {".", ".."} & set(name.split("/")) and name.strip("/") == name)
pairs = st.builds(
    Pair,
    id=text,
    photo=path,
    mask=path,
    kind=st.sampled_from(KINDS),
    hole_share=st.floats(0.001, 0.999),
    size_px=st.integers(16, 4096),
)


class TestTable:
    """The contracts of ``write_pairs`` and ``read_pairs``."""

    @settings(
        deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(pairs, max_size=5, unique_by=lambda pair: pair.id))
    def test_round_trip(self, tmp_path: Path, table: list[Pair]) -> None:
        """What is written is read back, hole shares to the last bit."""
        write_pairs(tmp_path / "sample.csv", table)
        assert read_pairs(tmp_path / "sample.csv") == table

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "found the columns None"),
            ("id,photo\n", "found the columns"),
            ("id,photo,mask,kind,hole_share,size_px,place\na,b,c,ec,0.5\n", "line 2: not 7 cells"),
            (
                "id,photo,mask,kind,hole_share,size_px,place\na,b,c,ec,0.5,16,0.5,1\n",
                "line 2: not 7 cells",
            ),
            (
                "id,photo,mask,kind,hole_share,size_px,place\na,b,c,ec,much,16,0.5\n",
                "line 2: .*much",
            ),
            (
                "id,photo,mask,kind,hole_share,size_px,place\na,b,c,snow,0.5,16,0.5\n",
                "line 2: kind 'snow'",
            ),
        ],
    )
    def test_raises(self, tmp_path: Path, content: str, message: str) -> None:
        """A table that makes no sense is refused with the line."""
        (tmp_path / "sample.csv").write_text(content)
        with pytest.raises(DataError, match=rf"sample\.csv: {message}"):
            read_pairs(tmp_path / "sample.csv")

    def test_missing(self, tmp_path: Path) -> None:
        """A table that is not there is named."""
        with pytest.raises(DataError, match=r"sample\.csv: not a readable table"):
            read_pairs(tmp_path / "sample.csv")


class TestLoadPair:
    """The contracts of ``load_pair`` and ``mask_file``."""

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        """A raw folder whose photo is dark where its mask has holes."""
        known = np.ones((40, 60), dtype=np.bool_)
        known[12:28, 24:36] = False
        photo = np.where(known[..., None], 200, 0).astype(np.uint8).repeat(3, axis=2)
        write_image(tmp_path / "valid/gt/3.png", photo)
        write_mask(tmp_path / "valid/ec/3/3_5.png", known)
        return tmp_path

    def pair(self, mask: str, kind: str) -> Pair:
        """A pair of the one photo."""
        return Pair("a", "valid/gt/3.png", mask, kind, 0.1, 20)

    def test_values(self, raw: Path) -> None:
        """Photo and mask are framed alike: holes stay where they were."""
        image, known = load_pair(self.pair("valid/ec/3/3_5.png", "ec"), raw, raw / "nowhere")
        assert image.shape == (20, 20, 3)
        assert known.shape == (20, 20)
        assert np.all(image[known] == 200)
        assert np.all(image[~known] == 0)
        assert 0 < np.count_nonzero(~known) < 400

    @pytest.mark.parametrize("place", [0.0, 0.25, 1.0])
    def test_place(self, raw: Path, place: float) -> None:
        """Wherever along the photo the square lies, photo and mask lie alike."""
        pair = replace(self.pair("valid/ec/3/3_5.png", "ec"), place=place)
        image, known = load_pair(pair, raw, raw / "nowhere")
        assert not known.all()
        assert np.all(image[known] == 200)
        assert np.all(image[~known] == 0)

    def test_generated(self, raw: Path, tmp_path: Path) -> None:
        """A generated mask comes from the other folder, and as it is."""
        known = np.random.default_rng(1).random((20, 20)) < 0.5
        write_mask(tmp_path / "masks/0001/000123.png", known)
        pair = self.pair("0001/000123.png", "walk")
        assert mask_file(pair, raw, tmp_path / "masks") == tmp_path / "masks/0001/000123.png"
        assert np.array_equal(load_pair(pair, raw, tmp_path / "masks")[1], known)

    def test_raises(self, raw: Path) -> None:
        """A mask of another size than its photo is refused by name."""
        write_mask(raw / "valid/ec/3/3_5.png", np.ones((40, 50), dtype=np.bool_))
        with pytest.raises(DataError, match=r"3_5\.png: 50x40 pixels.*60x40"):
            load_pair(self.pair("valid/ec/3/3_5.png", "ec"), raw, raw)

    @pytest.mark.parametrize(("known", "message"), [(True, "no hole"), (False, "no known pixel")])
    def test_nothing_to_do(self, raw: Path, known: bool, message: str) -> None:
        """A mask that leaves nothing to fill, or nothing to fill from, is refused by name."""
        write_mask(raw / "valid/ec/3/3_5.png", np.full((40, 60), known))
        with pytest.raises(DataError, match=rf"3_5\.png: {message} in the square of a"):
            load_pair(self.pair("valid/ec/3/3_5.png", "ec"), raw, raw)


class TestSubset:
    """The contracts of ``subset``."""

    def test_proportion(self) -> None:
        """Each kind keeps its share, and of each the first come."""
        table = [
            Pair(f"{kind}{n}", "p", "m", kind, 0.1, 16)
            for kind, count in (("ec", 6), ("walk", 3))
            for n in range(count)
        ]
        assert [pair.id for pair in subset(table, 3)] == ["ec0", "ec1", "walk0"]
