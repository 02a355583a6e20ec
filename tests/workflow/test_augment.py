import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pconv.errors import DataError, ImageError, ParameterError
from pconv.images import read_image, write_image
from tests.interrupted import kill_when
from tests.overtaken import refuse
from workflow.sections import AugmentParams
from workflow.shards import Shard
from workflow.stage_params import nothing
from workflow.stages.augment import augment_photos, main, make_variants, ranges_of

SETTINGS: dict[str, Any] = {
    "seed": 5,
    "size_px": 32,
    "images": 31,
    "flip_share": 0.5,
    "upside_down_share": 0.0,
    "quarter_turn_share": 0.0,
    "rotation_degrees": 15.0,
    "crop_min_share": 0.5,
    "crop_max_aspect": 1.1,
    "brightness": 0.15,
    "contrast": 0.15,
    "saturation": 0.15,
    "hue_turns": 0.02,
}
PHOTOS = 9


def augment_params(**changed: Any) -> AugmentParams:
    """Return small settings with some of them changed."""
    return AugmentParams(**{**SETTINGS, **changed})


def items(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each image by its name, whatever the shard."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.png"))}


def shards(count: int) -> list[Shard]:
    """Return all of so many shards."""
    return [Shard(index, count) for index in range(count)]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a raw data folder with nine photographs of different sizes, each of one colour."""
    for number in range(PHOTOS):
        pixels = np.full((40 + number, 60 - number, 3), 20 * number, np.uint8)
        write_image(tmp_path / "raw/train" / f"photo{number}.png", pixels)
    return tmp_path / "raw"


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards in this process; the tests about workers choose their own number."""
    monkeypatch.setenv("PCONV_WORKERS", "1")


class TestAugmentPhotos:
    """The promises of ``augment_photos``."""

    def test_values(self, raw: Path, tmp_path: Path) -> None:
        """Image i is of photograph i modulo n, in sorted order, and each is made once."""
        still = augment_params(brightness=0.0, contrast=0.0)
        augment_photos(still, raw=raw, out=tmp_path / "out", shards=shards(4))
        assert sorted(items(tmp_path / "out")) == [f"{item:06d}.png" for item in range(31)]
        for path in (tmp_path / "out").glob("*/*.png"):
            photo = int(path.stem) % PHOTOS
            image = read_image(path)
            assert path.parent.name == f"{photo % 4:04d}"
            assert image.shape == (32, 32, 3)
            assert (image == 20 * photo).all()

    def test_values_fewer_images_than_photos(self, raw: Path, tmp_path: Path) -> None:
        """With fewer images than photographs the first ones are used."""
        augment_photos(augment_params(images=4), raw=raw, out=tmp_path / "out", shards=shards(2))
        assert sorted(items(tmp_path / "out")) == [f"{item:06d}.png" for item in range(4)]

    def test_values_workers_and_shards(
        self, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """1, 2 and 5 workers and 1 and 7 shards give the same bytes for each image."""
        augment_photos(augment_params(), raw=raw, out=tmp_path / "one", shards=shards(1))
        for workers in (1, 2, 5):
            monkeypatch.setenv("PCONV_WORKERS", str(workers))
            out = tmp_path / str(workers)
            augment_photos(augment_params(), raw=raw, out=out, shards=shards(7))
            assert items(out) == items(tmp_path / "one")

    def test_values_one_photo_alone(self, raw: Path, tmp_path: Path) -> None:
        """An image depends on (seed, i) and its photograph: another photograph changes no other."""
        augment_photos(augment_params(), raw=raw, out=tmp_path / "before", shards=shards(2))
        write_image(raw / "train/photo4.png", np.full((50, 50, 3), 7, np.uint8))
        augment_photos(augment_params(), raw=raw, out=tmp_path / "after", shards=shards(2))
        before, after = items(tmp_path / "before"), items(tmp_path / "after")
        changed = {int(Path(name).stem) % PHOTOS for name in before if before[name] != after[name]}
        assert changed == {4}

    @pytest.mark.parametrize(("moment", "workers"), [("0000", 1), ("0002", 2)])
    def test_resume_after_kill(self, raw: Path, tmp_path: Path, moment: str, workers: int) -> None:
        """A run killed while it makes a shard leaves nothing in its place; a rerun heals all."""
        params = augment_params(images=600, size_px=64)
        out = tmp_path / "out"
        code = (
            "from pathlib import Path\n"
            "from workflow.sections import AugmentParams\n"
            "from workflow.shards import Shard\n"
            "from workflow.stages.augment import augment_photos\n"
            f"augment_photos(AugmentParams(**{params.model_dump()!r}), raw=Path({str(raw)!r}),"
            f" out=Path({str(out)!r}), shards=[Shard(i, 4) for i in range(4)])"
        )
        status = kill_when(
            lambda: any(out.glob(f".{moment}.partial-*/*.png")), code, workers=workers
        )
        assert status == -signal.SIGKILL
        assert not (out / moment).exists()
        augment_photos(params, raw=raw, out=out, shards=shards(4))
        augment_photos(params, raw=raw, out=tmp_path / "unbroken", shards=shards(1))
        assert items(out) == items(tmp_path / "unbroken")
        finished = sorted(path.name for path in out.glob("[!.]*"))
        assert finished == ["0000", "0001", "0002", "0003"]

    def test_values_seed(self, raw: Path, tmp_path: Path) -> None:
        """Another seed makes other images of the same photographs."""
        for seed in (5, 6):
            params = augment_params(seed=seed)
            augment_photos(params, raw=raw, out=tmp_path / str(seed), shards=shards(1))
        one, other = items(tmp_path / "5"), items(tmp_path / "6")
        changed = [name for name in one if one[name] != other[name]]
        assert len(changed) > len(one) / 2  # black stays black

    def test_raises_no_photos(self, tmp_path: Path) -> None:
        """A raw data folder without photographs is refused by name, missing or empty."""
        for _ in range(2):
            with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'train'}: no photographs")):
                augment_photos(augment_params(), raw=tmp_path, out=tmp_path / "o", shards=shards(1))
            (tmp_path / "train").mkdir(exist_ok=True)

    def test_raises_unreadable(self, raw: Path, tmp_path: Path) -> None:
        """A photograph that can't be read is named, and its shard is not there."""
        (raw / "train/photo3.png").write_bytes(b"no image")
        with pytest.raises(ImageError, match=r"photo3\.png"):
            augment_photos(augment_params(), raw=raw, out=tmp_path / "out", shards=[Shard(1, 2)])
        assert not (tmp_path / "out/0001").exists()


class TestMakeVariants:
    """The promises of ``make_variants``."""

    def test_values_read_once(self, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A photograph is decoded once for all its variants."""
        read: list[Path] = []

        def counting(path: Path, **options: int) -> Any:
            read.append(path)
            return read_image(path, **options)

        monkeypatch.setattr("workflow.stages.augment.read_image", counting)
        make_variants(augment_params(), raw / "train/photo0.png", range(0, 50, 9), raw)
        assert len(read) == 1
        assert len(list(raw.glob("*.png"))) == 6


class TestRangesOf:
    """The promises of ``ranges_of``."""

    def test_values(self) -> None:
        """Each field of the ranges is the parameter of the same name."""
        names = [name for name in SETTINGS if name not in ("seed", "size_px", "images")]
        values = {name: 0.01 * number + 0.5 for number, name in enumerate(names)}
        values |= {"crop_max_aspect": 1.7, "hue_turns": 0.3}
        assert vars(ranges_of(augment_params(**values))) == values


class TestMain:
    """The promises of the command line."""

    def test_values(self, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command makes the one shard it is asked for; what is overtaken replaces none."""
        arguments = ["augment", "--raw", str(raw), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", [*arguments, "--shards", "3", "--shard", "1/3"])
        monkeypatch.setattr(
            "workflow.stages.augment.start_stage", lambda _: (augment_params(), nothing)
        )
        main()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["0001"]
        before = items(tmp_path / "out")
        edited = (augment_params(seed=9), refuse)
        monkeypatch.setattr("workflow.stages.augment.start_stage", lambda _: edited)
        with pytest.raises(ParameterError, match="overtaken"):
            main()
        assert items(tmp_path / "out") == before
