import csv
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pconv.errors import DataError, MaskError, ParameterError
from pconv.images import read_mask, write_mask
from tests.interrupted import ROOT, kill_when
from tests.overtaken import refuse
from workflow.kinds_table import KINDS_FILE
from workflow.params import read_params
from workflow.sections import MasksParams
from workflow.shards import Shard
from workflow.stage_params import nothing
from workflow.stages.masks import MaskFolders, draw_mask, given_masks, main, make_masks

SETTINGS: dict[str, Any] = {
    "seed": 5,
    "size_px": 32,
    "train": 31,
    "valid": 10,
    "held_out": 4,
    "kinds": ["walk", "strokes", "rectangles"],
    "hole_share_min": 0.05,
    "hole_share_max": 0.56,
    "walk_directions": 8,
    "walk_steps_per_pixel": 1.05,
    "walk_brush_px": 1,
    "strokes_max_each": 20,
    "strokes_min_thickness_px": 3,
    "strokes_max_thickness_share": 0.03,
    "rectangles_max": 8,
    "rectangles_min_side_share": 0.1,
    "rectangles_max_side_share": 0.39,
    "rectangles_hole_share_max": 0.44,
    "bucket_min": 0.2,
    "bucket_max": 0.3,
    "bucket_margin_share": 0.1,
    "folder": None,
}


def masks_params(**changed: Any) -> MasksParams:
    """Return small settings with some of them changed."""
    return MasksParams(**{**SETTINGS, **changed})


def make(params: MasksParams, folder: Path, shards: int = 1) -> None:
    """Run the stage into the folders that `below` names."""
    make_masks(params, below(folder), [Shard(index, shards) for index in range(shards)])


def below(folder: Path) -> MaskFolders:
    """Return ``folder/train``, ``folder/valid`` and ``folder/held_out``."""
    return MaskFolders(folder / "train", folder / "valid", folder / "held_out")


def items(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each mask by its name, whatever the shard."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.png"))}


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of all shards' tables of kinds."""
    tables = sorted(folder.glob(f"*/{KINDS_FILE}"))
    return [row for table in tables for row in csv.DictReader(table.read_text().splitlines())]


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards in this process; the tests about workers choose their own number."""
    monkeypatch.setenv("PCONV_WORKERS", "1")


class TestMakeMasks:
    """The promises of ``make_masks``."""

    def test_values(self, tmp_path: Path) -> None:
        """The stage makes each mask once, of the wanted size, and describes it."""
        make(masks_params(), tmp_path, shards=3)
        for name, total in (("train", 31), ("valid", 10), ("held_out", 4)):
            table = rows(tmp_path / name)
            files = items(tmp_path / name)
            assert sorted(files) == [f"{item:06d}.png" for item in range(total)]
            assert sorted(row["file"] for row in table) == sorted(files)
            for row in table:
                shard = int(Path(row["file"]).stem) % 3
                known = read_mask(tmp_path / name / f"{shard:04d}" / row["file"])
                assert known.shape == (32, 32)
                assert float(row["hole_share"]) == pytest.approx(1 - known.mean(), abs=1e-6)

    @pytest.mark.parametrize("kinds", [["strokes", "walk", "rectangles"], ["blocks", "brush"]])
    def test_values_kinds_equal(self, tmp_path: Path, kinds: list[str]) -> None:
        """The kinds are equally many to within one, in both sets."""
        make(masks_params(kinds=kinds), tmp_path, shards=2)
        for name in ("train", "valid"):
            counts = Counter(row["kind"] for row in rows(tmp_path / name))
            assert set(counts) == set(kinds)
            assert max(counts.values()) - min(counts.values()) <= 1

    def test_values_independent_sets(self, tmp_path: Path) -> None:
        """No validation mask is a training mask."""
        make(masks_params(valid=31), tmp_path)
        train, valid = items(tmp_path / "train"), items(tmp_path / "valid")
        assert not set(train.values()) & set(valid.values())

    @pytest.mark.parametrize("valid", [2, 10])
    def test_values_held_out(self, tmp_path: Path, valid: int) -> None:
        """The log's masks do not depend on how many there are to evaluate on: the first of them."""
        make(masks_params(valid=12), tmp_path / "many")
        make(masks_params(valid=valid), tmp_path / "others", shards=3)
        evaluated = items(tmp_path / "many/valid")
        wanted = {name: evaluated[name] for name in sorted(evaluated)[:4]}
        assert items(tmp_path / "others/held_out") == wanted

    def test_values_workers_and_shards(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """1, 2 and 5 workers and 1 and 7 shards give the same bytes for each mask."""
        make(masks_params(), tmp_path / "one")
        for workers in (1, 2, 5):
            monkeypatch.setenv("PCONV_WORKERS", str(workers))
            make(masks_params(), tmp_path / str(workers), shards=7)
            for name in ("train", "valid", "held_out"):
                assert items(tmp_path / str(workers) / name) == items(tmp_path / "one" / name)

    def test_values_one_shard_alone(self, tmp_path: Path) -> None:
        """A shard made alone is the folder that the run of all shards makes."""
        make(masks_params(), tmp_path / "all", shards=4)
        alone = tmp_path / "alone"
        make_masks(masks_params(), below(alone), [Shard(2, 4)])
        assert [path.name for path in (alone / "train").iterdir()] == ["0002"]
        for path in (alone / "train" / "0002").iterdir():
            assert path.read_bytes() == (tmp_path / "all/train/0002" / path.name).read_bytes()

    def test_values_seed(self, tmp_path: Path) -> None:
        """Another seed draws other masks, in each of the three folders."""
        make(masks_params(), tmp_path / "one")
        make(masks_params(seed=6), tmp_path / "other")
        for name in ("train", "valid", "held_out"):
            one, other = (items(tmp_path / seed / name) for seed in ("one", "other"))
            assert not set(one.values()) & set(other.values())

    def test_values_more_items(self, tmp_path: Path) -> None:
        """Asking for more masks leaves the earlier ones as they were."""
        make(masks_params(), tmp_path / "few")
        make(masks_params(train=40), tmp_path / "many")
        few, many = items(tmp_path / "few/train"), items(tmp_path / "many/train")
        assert few.items() <= many.items()

    @pytest.mark.parametrize(("moment", "workers"), [("0000", 1), ("0002", 2)])
    def test_resume_after_kill(self, tmp_path: Path, moment: str, workers: int) -> None:
        """A run killed while it makes a shard leaves nothing in its place; a rerun heals all."""
        params = masks_params(train=1600, size_px=64)
        code = (
            "from pathlib import Path\n"
            "from workflow.sections import MasksParams\n"
            "from workflow.shards import Shard\n"
            "from workflow.stages.masks import MaskFolders, make_masks\n"
            f"root = Path({str(tmp_path)!r})\n"
            f"make_masks(MasksParams(**{params.model_dump()!r}),"
            " MaskFolders(root / 'train', root / 'valid', root / 'held_out'),"
            " [Shard(i, 4) for i in range(4)])"
        )
        status = kill_when(
            lambda: any((tmp_path / "train").glob(f".{moment}.partial-*/*.png")),
            code,
            workers=workers,
        )
        assert status == -signal.SIGKILL
        assert not (tmp_path / "train" / moment).exists()
        make(params, tmp_path, shards=4)
        make(params, tmp_path / "unbroken")
        assert items(tmp_path / "train") == items(tmp_path / "unbroken/train")
        finished = sorted(path.name for path in (tmp_path / "train").glob("[!.]*"))
        assert finished == ["0000", "0001", "0002", "0003"]

    def test_raises_impossible(self, tmp_path: Path) -> None:
        """Settings that no mask can meet end in an error that names the kind, and no shard."""
        params = masks_params(kinds=["rectangles"], rectangles_max=1, hole_share_min=0.43)
        with pytest.raises(MaskError, match="rectangles: 1000 draws"):
            make(params, tmp_path)
        assert not (tmp_path / "train" / "0000").exists()


class TestDrawMask:
    """The promises of ``draw_mask``."""

    @pytest.mark.parametrize(
        "kind", ["walk", "strokes", "rectangles", "blocks", "brush", "borders", "bucket"]
    )
    def test_smoke(self, kind: str) -> None:
        """Every kind that params.yaml may name can be drawn."""
        known = draw_mask(np.random.default_rng(0), kind, masks_params(), [])
        assert known.shape == (32, 32)

    def test_values_bucket(self) -> None:
        """The kind bucket keeps to its hole shares and its margin."""
        known = draw_mask(np.random.default_rng(0), "bucket", masks_params(), [])
        assert 0.2 < 1 - known.mean() <= 0.3
        assert known[:3].all()

    def test_values_hole_shares(self) -> None:
        """Kinds keep to the hole shares of the parameters, rectangles to their own."""
        changed = {"hole_share_min": 0.2, "hole_share_max": 0.3, "rectangles_hole_share_max": 0.25}
        params = masks_params(**changed)
        most_of = {"walk": 0.3, "strokes": 0.3, "rectangles": 0.25, "borders": 0.3}
        for kind, most in most_of.items():
            for seed in range(20):
                known = draw_mask(np.random.default_rng(seed), kind, params, [])
                assert 0.2 <= 1 - known.mean() <= most

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("walk_brush_px", 5),
            ("walk_steps_per_pixel", 0.5),
            ("walk_directions", 4),
            ("strokes_max_each", 3),
            ("strokes_min_thickness_px", 1),
            ("strokes_max_thickness_share", 0.1),
            ("rectangles_max", 1),
            ("rectangles_min_side_share", 0.3),
            ("rectangles_max_side_share", 0.2),
        ],
    )
    def test_values_settings_matter(self, name: str, value: float) -> None:
        """Each setting of a kind reaches its generator."""
        kind = name.split("_")[0]
        masks = [
            [
                draw_mask(np.random.default_rng(seed), kind, params, []).tobytes()
                for seed in range(5)
            ]
            for params in (masks_params(size_px=96), masks_params(size_px=96, **{name: value}))
        ]
        assert masks[0] != masks[1]


class TestGivenMasks:
    """The promises of ``given_masks`` and the kind ``folder``."""

    def test_values(self, tmp_path: Path) -> None:
        """Masks of a folder come out in the wanted size; what a system hides there is no mask."""
        (tmp_path / "given").mkdir()
        (tmp_path / "given/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
        known = np.ones((50, 70), np.bool_)
        known[20:30, 20:50] = False
        write_mask(tmp_path / "given/sub/a.png", known)
        params = masks_params(kinds=["folder"], folder=str(tmp_path / "given"), train=4, valid=2)
        make(params, tmp_path)
        assert {row["kind"] for row in rows(tmp_path / "train")} == {"folder"}
        assert len(items(tmp_path / "train")) == 4

    def test_values_each(self, tmp_path: Path) -> None:
        """All masks of the folder are used."""
        for count in (3, 9, 15):
            known = np.ones((32, 32), np.bool_)
            known[:count] = False
            write_mask(tmp_path / f"given/{count}.png", known)
        params = masks_params(kinds=["folder"], folder=str(tmp_path / "given"), valid=2)
        make(params, tmp_path)
        shares = {round(32 * float(row["hole_share"])) for row in rows(tmp_path / "train")}
        assert shares == {3, 9, 15}

    def test_raises_empty(self, tmp_path: Path) -> None:
        """An empty folder of masks is refused by name."""
        with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}: holds no image"):
            given_masks(str(tmp_path))

    @pytest.mark.parametrize(
        ("name", "found"), [("nowhere", "no such folder"), ("a.png", "is no folder")]
    )
    def test_raises_no_folder(self, tmp_path: Path, name: str, found: str) -> None:
        """A folder of masks that is not there, or is a file, is refused by name."""
        write_mask(tmp_path / "a.png", np.ones((9, 9), np.bool_))
        with pytest.raises(DataError, match=f"{name}: {found}; wanted one of masks: mend masks"):
            given_masks(str(tmp_path / name))

    @pytest.mark.parametrize("name", ["lost.png", "lost"])
    def test_raises_lost(self, tmp_path: Path, name: str) -> None:
        """A link to masks that are not there is refused: the others alone are another set."""
        write_mask(tmp_path / "a.png", np.ones((9, 9), np.bool_))
        (tmp_path / name).symlink_to(tmp_path / "unmounted")
        with pytest.raises(DataError, match=f"{name}: a link that leads nowhere; wanted a mask"):
            given_masks(str(tmp_path))

    def test_raises_other_format(self, tmp_path: Path) -> None:
        """So is a mask of a format that is not read."""
        write_mask(tmp_path / "a.png", np.ones((9, 9), np.bool_))
        (tmp_path / "b.gif").touch()
        with pytest.raises(
            DataError, match=r"b\.gif: \.gif is not read, but .* are; wanted a mask"
        ):
            given_masks(str(tmp_path))

    def test_raises_inverted(self, tmp_path: Path) -> None:
        """A folder of masks that are mostly hole is refused: white was meant as hole."""
        known = np.zeros((9, 9), np.bool_)
        known[4, 4] = True
        write_mask(tmp_path / "a.png", known)
        with pytest.raises(MaskError, match="99% hole"):
            given_masks(str(tmp_path))

    def test_values_few_large(self, tmp_path: Path) -> None:
        """A few masks of mostly hole among others are no sign that white was meant as hole."""
        for item, tenths in enumerate([4, 4, 4, 4, 9, 9, 9]):
            known = np.ones((10, 10), np.bool_)
            known[:tenths] = False
            write_mask(tmp_path / f"{item}.png", known)
        assert len(given_masks(str(tmp_path))) == 7

    def test_raises_inverted_later(self, tmp_path: Path) -> None:
        """Of many masks some of the whole folder are looked at, not the first ones alone."""
        for item in range(130):
            known = np.ones((4, 4), np.bool_)
            known[: 1 if item < 55 else 3] = False
            write_mask(tmp_path / f"{item:03d}.png", known)
        with pytest.raises(MaskError, match="75% hole"):
            given_masks(str(tmp_path))

    def test_raises_no_holes(self, tmp_path: Path) -> None:
        """A given mask without holes is named."""
        write_mask(tmp_path / "white.png", np.ones((9, 9), np.bool_))
        params = masks_params(kinds=["folder"], folder=str(tmp_path))
        with pytest.raises(MaskError, match=r"white\.png: the given mask has no hole"):
            make(params, tmp_path / "out")


class TestPaperPreset:
    """The promises of ``presets/paper.yaml``."""

    def test_values(self) -> None:
        """3000 of its masks have the hole shares of the paper's own training masks."""
        params = read_params(ROOT / "presets/paper.yaml").masks
        shares = []
        for item in range(3000):
            kind = params.kinds[item % len(params.kinds)]
            known = draw_mask(np.random.default_rng([params.seed, item]), kind, params, [])
            shares.append(1 - known.mean())
        assert np.mean(shares) == pytest.approx(0.27, abs=0.02)
        expected = (0.05, 0.23, 0.27, 0.32, 0.56)
        assert tuple(np.percentile(shares, [0, 25, 50, 75, 100])) == pytest.approx(
            expected, abs=0.02
        )


class TestMasksParams:
    """The promises of ``MasksParams``."""

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"hole_share_min": 0.6}, "hole_share_min is 0.6 but hole_share_max is 0.56"),
            (
                {"hole_share_min": 0.5},
                "hole_share_min is 0.5 but rectangles_hole_share_max is 0.44",
            ),
            (
                {"rectangles_min_side_share": 0.4},
                "rectangles_min_side_share is 0.4 but rectangles_max_side_share is 0.39",
            ),
            ({"bucket_min": 0.3}, "bucket_min is 0.3 but bucket_max is 0.3"),
            ({"kinds": ["walk", "walk"]}, "names one twice"),
            ({"kinds": ["folder"]}, "give a folder of masks"),
            ({"folder": "masks"}, "give a folder of masks"),
            ({"kinds": ["folder"], "folder": ""}, "folder is '' and .*; give a folder of masks"),
            ({"kinds": []}, "at least 1 item"),
            ({"walk_directions": 6}, "4 or 8"),
        ],
    )
    def test_raises(self, changed: dict[str, Any], message: str) -> None:
        """Impossible settings are refused before any work."""
        with pytest.raises(ValueError, match=message):
            masks_params(**changed)


class TestMain:
    """The promises of the command line."""

    def test_raises_shards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A shard that does not fit the number of shards is refused."""
        arguments = ["masks", "--train", "t", "--valid", "v", "--held-out", "h"]
        arguments += ["--shards", "3", "--shard", "1/4"]
        monkeypatch.setattr("sys.argv", arguments)
        monkeypatch.setattr(
            "workflow.stages.masks.start_stage", lambda _: (masks_params(), nothing)
        )
        with pytest.raises(ParameterError, match="does not fit"):
            main()

    def test_values(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command makes the one shard it is asked for; what is overtaken replaces none."""
        arguments = ["masks", "--shards", "3", "--shard", "1/3"]
        for name in ("train", "valid", "held-out"):
            arguments += [f"--{name}", str(tmp_path / name)]
        monkeypatch.setattr("sys.argv", arguments)
        monkeypatch.setattr(
            "workflow.stages.masks.start_stage", lambda _: (masks_params(), nothing)
        )
        main()
        assert sorted(path.name for path in tmp_path.glob("*/*")) == ["0001", "0001", "0001"]
        before = items(tmp_path / "train")
        edited = (masks_params(seed=9), refuse)
        monkeypatch.setattr("workflow.stages.masks.start_stage", lambda _: edited)
        with pytest.raises(ParameterError, match="overtaken"):
            main()
        assert items(tmp_path / "train") == before
