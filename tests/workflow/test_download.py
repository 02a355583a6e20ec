"""Every source comes into one layout, and every file is accounted for."""

import csv
import hashlib
import io
import os
import signal
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pconv.errors import ArchiveError, DataError, MaskError, ParameterError
from pconv.images import read_image, read_mask
from tests.interrupted import kill_when
from tests.overtaken import refuse
from workflow.params import read_params
from workflow.sections import DownloadParams
from workflow.sources import icme
from workflow.sources.folder import photographs_in_folders
from workflow.stages.download import download

STANDIN = Path(os.environ.get("PCONV_STANDIN", "../shared/icme_standin"))
SETTINGS: dict[str, Any] = {
    "source": "sample",
    "seed": 1,
    "masks_per_photo": 2,
    "masks_mark_holes": False,
    "max_rejected": 0,
    "max_pixels": 4_000_000,
    "max_files": 20_000,
    "max_bytes": 1_000_000_000,
    "max_file_bytes": 10_000_000,
    "expected_train": 0,
    "expected_valid": 0,
    "expected_ec": 0,
    "expected_or": 0,
    "icme_train": [],
    "icme_valid": [],
    "icme_train_sha256": "",
    "icme_valid_sha256": "",
    "icme_downloads": "downloads",
    "icme_retries": 0,
    "icme_timeout_s": 5.0,
    "folder_train": "",
    "folder_valid": "",
    "folder_held_out_share": 0.3,
    "folder_ec": "",
    "folder_or": "",
}
Files = dict[str, bytes]


def run(out: Path, **changed: Any) -> dict[str, dict[str, str]]:
    """Run the stage with some settings changed and return its manifest by path."""
    download(DownloadParams(**{**SETTINGS, **changed}), out=out)
    return {row["path"]: row for row in rows(out / "manifest.csv")}


def rows(table: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def tree(folder: Path) -> Files:
    """All files below a folder with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def photo(number: int, width: int = 48, height: int = 32, form: str = "JPEG", **kw: Any) -> bytes:
    """A picture file, another for each number."""
    small = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, form, **kw)
    return buffer.getvalue()


def mask(
    number: int, form: str = "PNG", share: float = 0.2, size: tuple[int, int] = (48, 32)
) -> bytes:
    """A mask file with a share of its pixels black, another for each number."""
    drawn = np.random.default_rng(number).random((size[1] // 8, size[0] // 8)) >= share
    known = Image.fromarray(drawn).convert("L").resize(size, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    known.save(buffer, form)
    return buffer.getvalue()


def training(count: int = 4) -> Files:
    """What the challenge's first archive holds."""
    return {f"train_img/{number}.jpg": photo(number) for number in range(count)}


def validation(form: str = "PNG", share: float = 0.2) -> Files:
    """What its second archive holds: two photos with three ec and two or masks each."""
    files = {f"valid_img/data_png/valid_img/{n}.jpg": photo(100 + n) for n in range(2)}
    for folder, count in (("error_concealment_valid", 3), ("object_removal_valid", 2)):
        for n in range(2):
            for k in range(count):
                name = f"valid_img/data_png/{folder}/{n}/{n}_{k}.{form.lower()}"
                files[name] = mask(10 * n + k, form, share)
    return files


def pack(path: Path, files: Files) -> str:
    """Make an archive, or a folder, and return its path as a parameter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix == ".gz":
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return str(path)


def challenge(folder: Path, train: Files, valid: Files, suffix: str = ".zip") -> dict[str, Any]:
    """Settings that name both archives, freshly made."""
    return {
        "source": "icme",
        "icme_train": [pack(folder / f"train_img{suffix}", train)],
        "icme_valid": [pack(folder / f"new_valid_img 1{suffix}", valid)],
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw folder that the embedded photographs give."""
    out = tmp_path_factory.mktemp("sample") / "raw"
    run(out)
    return out


class TestSample:
    """The embedded photographs."""

    def test_layout(self, raw: Path) -> None:
        """Photographs for training and validation, and both kinds of masks for the latter."""
        names = Counter("/".join(name.split("/")[:-1]) for name in tree(raw))
        assert names["train"] == 8
        assert names["valid/gt"] == 3
        masks = {f"valid/{kind}/{n}": 2 for kind in ("ec", "or") for n in self.ids(raw)}
        assert names == {"": 2, "train": 8, "valid/gt": 3} | masks

    def ids(self, raw: Path) -> list[str]:
        """The IDs of the validation photographs."""
        return [path.stem for path in (raw / "valid/gt").iterdir()]

    def test_manifest(self, raw: Path) -> None:
        """Every file is in the manifest with its true hash and size, an origin and a licence."""
        manifest = rows(raw / "manifest.csv")
        files = tree(raw)
        assert {row["path"] for row in manifest} == files.keys() - {"manifest.csv", "rejected.csv"}
        for row in manifest:
            assert row["sha256"] == hashlib.sha256(files[row["path"]]).hexdigest()
            assert int(row["bytes"]) == len(files[row["path"]])
            with Image.open(raw / row["path"]) as image:
                assert image.size == (int(row["width"]), int(row["height"]))
            assert " by " in row["source"]  # of CC BY photographs the author must be named
            assert row["licence"]
        assert [row["path"] for row in manifest] == sorted(row["path"] for row in manifest)

    def test_no_photograph_is_shared(self, raw: Path) -> None:
        """Training and validation share no photograph and no scene."""
        train = {path.stem.split("_")[0] for path in (raw / "train").iterdir()}
        assert not train & {name.split("_")[0] for name in self.ids(raw)}

    def test_masks(self, raw: Path) -> None:
        """The masks are as large as their photos, neither empty nor full, and all different."""
        drawn = set()
        for name in self.ids(raw):
            size = read_image(next((raw / "valid/gt").glob(f"{name}.*"))).shape[:2]
            for path in raw.glob(f"valid/*/{name}/*.png"):
                known = read_mask(path)
                assert known.shape == size
                assert 0 < known.mean() < 1
                drawn.add(path.read_bytes())
        assert len(drawn) == 12

    def test_again(self, raw: Path, tmp_path: Path) -> None:
        """A second run gives the same bytes; another seed draws other masks only."""
        run(tmp_path / "raw")
        assert tree(tmp_path / "raw") == tree(raw)
        run(tmp_path / "raw", seed=2)
        changed = {
            name for name, content in tree(tmp_path / "raw").items() if tree(raw)[name] != content
        }
        assert {name.split("/")[0] for name in changed} == {"valid", "manifest.csv"}
        assert not any("gt" in name for name in changed)


class TestChallenge:
    """The two archives of the challenge."""

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ""])
    def test_layout(self, tmp_path: Path, suffix: str) -> None:
        """A zip, a tar.gz and an unpacked folder give the same files."""
        train, valid = training(), validation()
        run(tmp_path / "raw", **challenge(tmp_path, train, valid, suffix))
        files = tree(tmp_path / "raw")
        assert files["train/3.jpg"] == train["train_img/3.jpg"]
        assert files["valid/gt/1.jpg"] == valid["valid_img/data_png/valid_img/1.jpg"]
        folders = Counter(name.rpartition("/")[0] for name in files)
        assert folders == {
            "": 2,
            "train": 4,
            "valid/gt": 2,
            **{f"valid/ec/{n}": 3 for n in range(2)},
            **{f"valid/or/{n}": 2 for n in range(2)},
        }
        assert rows(tmp_path / "raw/rejected.csv") == []
        with Image.open(tmp_path / "raw/valid/ec/1/1_2.png") as image:
            assert image.mode == "1"
            wanted = Image.open(io.BytesIO(mask(12))).convert("1")
            assert image.tobytes() == wanted.tobytes()

    def test_workers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One process and two give the same bytes."""
        monkeypatch.setattr("workflow.parallel._ITEMS_WORTH_A_PROCESS", 1)
        settings = challenge(tmp_path, training(5), validation())
        for workers in (1, 2):
            monkeypatch.setenv("PCONV_WORKERS", str(workers))
            run(tmp_path / f"raw{workers}", **settings)
        assert tree(tmp_path / "raw1") == tree(tmp_path / "raw2")

    def test_kinds_of_photographs(self, tmp_path: Path) -> None:
        """Plain JPEG stays byte for byte; all else becomes upright RGB PNG."""
        exif = Image.Exif()
        exif[0x0112] = 6
        train = {
            "plain.jpeg": photo(1),
            "turned.jpg": photo(2, exif=exif),
            "web.webp": photo(3, form="WEBP", lossless=True),
            "grey.jpg": photo(4),
        }
        manifest = run(tmp_path / "raw", **challenge(tmp_path, train, validation()))
        files = tree(tmp_path / "raw")
        assert files["train/plain.jpg"] == train["plain.jpeg"]
        turned = manifest["train/turned.png"]
        assert (turned["width"], turned["height"]) == ("32", "48")
        expected = np.asarray(Image.open(io.BytesIO(train["web.webp"])))
        assert np.array_equal(read_image(tmp_path / "raw/train/web.png"), expected)

    def test_jpeg_masks(self, tmp_path: Path) -> None:
        """Masks as JPG come out as the PNG would."""
        run(tmp_path / "png", **challenge(tmp_path / "a", training(), validation("PNG")))
        run(tmp_path / "jpg", **challenge(tmp_path / "b", training(), validation("JPEG")))
        for path in sorted((tmp_path / "png/valid/or").rglob("*.png")):
            twin = tmp_path / "jpg" / path.relative_to(tmp_path / "png")
            assert path.read_bytes() == twin.read_bytes()

    def test_polarity(self, tmp_path: Path) -> None:
        """Masks with holes on most pixels are refused, and the switch that is named turns them."""
        settings = challenge(tmp_path, training(), validation(share=0.8))
        with pytest.raises(MaskError, match=r"set download\.masks_mark_holes to true"):
            run(tmp_path / "raw", **settings)
        assert not (tmp_path / "raw").exists()
        run(tmp_path / "raw", **settings, masks_mark_holes=True)
        found = read_mask(tmp_path / "raw/valid/ec/1/1_2.png")
        assert np.array_equal(found, ~np.asarray(Image.open(io.BytesIO(mask(12, share=0.8)))) > 0)
        settings = challenge(tmp_path / "known", training(), validation(share=0.3))
        with pytest.raises(MaskError, match=r"set download\.masks_mark_holes to false"):
            run(tmp_path / "raw2", **settings, masks_mark_holes=True)

    def test_zeros_and_ones(self, tmp_path: Path) -> None:
        """Masks of 0 and 1 are all black; the error names what makes them masks."""

        def divided(content: bytes) -> bytes:
            buffer = io.BytesIO()
            Image.open(io.BytesIO(content)).point(lambda value: value // 255).save(buffer, "PNG")
            return buffer.getvalue()

        files = {
            name: divided(content) if "_valid/" in name else content
            for name, content in validation().items()
        }
        with pytest.raises(MaskError, match=r"if they hold 0 and 1, multiply them by 255$"):
            run(tmp_path / "raw", **challenge(tmp_path, training(), files))

    def test_rejected(self, tmp_path: Path) -> None:
        """What can't be used is named with the reason; one more than allowed fails the stage."""
        train = training() | {"train_img/cut.jpg": photo(7)[:300]}
        train["train_img/thin.png"] = photo(7, 900, 8, form="PNG")
        train["train_img/tiny.png"] = photo(7, 60, 1, form="PNG")
        valid = validation()
        masks = "valid_img/data_png/error_concealment_valid"
        valid[f"{masks}/0/0_9.png"] = mask(1, size=(40, 32))
        valid[f"{masks}/0/0_8.png"] = mask(1, size=(32, 48))
        valid[f"{masks}/77/77_0.png"] = mask(1)
        valid[f"{masks}/1/1_9.png"] = photo(8, form="PNG")
        settings = challenge(tmp_path, train, valid)
        run(tmp_path / "raw", **settings, max_rejected=7)
        rejected = {
            Path(row["path"]).name: row["reason"] for row in rows(tmp_path / "raw/rejected.csv")
        }
        masks = {"0_8.png", "0_9.png", "77_0.png", "1_9.png"}
        assert rejected.keys() == {"cut.jpg", "thin.png", "tiny.png"} | masks
        assert rejected["tiny.png"].startswith("60x1 pixels; wanted sides of 8 or more")
        assert rejected["thin.png"].startswith("900x8 pixels; wanted")
        assert rejected["0_8.png"] == "it has 32x48 pixels, but its photo has 48x32"
        assert rejected["0_9.png"] == "it has 40x32 pixels, but its photo has 48x32"
        assert rejected["77_0.png"] == "there is no validation photo 77"
        assert "not a readable image" in rejected["cut.jpg"]
        assert "colour image" in rejected["1_9.png"]
        assert str(tmp_path) not in (tmp_path / "raw/rejected.csv").read_text()
        with pytest.raises(
            DataError, match=r"7 files are unusable.*max_rejected \(5\)(?s:.*)cut\.jpg"
        ):
            run(tmp_path / "raw2", **settings, max_rejected=5)
        assert sorted(path.name for path in tmp_path.iterdir() if "raw2" in path.name) == []

    def test_edited_meanwhile(self, tmp_path: Path) -> None:
        """What must not be written is not, and what there was before stays."""
        params = DownloadParams(**SETTINGS | challenge(tmp_path, training(), validation()))
        (tmp_path / "raw/old").mkdir(parents=True)
        with pytest.raises(ParameterError):
            download(params, out=tmp_path / "raw", before_writing=refuse)
        assert [path.name for path in (tmp_path / "raw").iterdir()] == ["old"]

    def test_no_validation(self, tmp_path: Path) -> None:
        """Where no validation photograph is usable there is nothing to measure on."""
        valid = validation() | {f"valid_img/data_png/valid_img/{n}.jpg": b"" for n in range(2)}
        settings = challenge(tmp_path, training(), valid)
        with pytest.raises(DataError, match="4 training and 0 validation photographs are usable"):
            run(tmp_path / "raw", **settings, max_rejected=99)

    def test_limits(self, tmp_path: Path) -> None:
        """Each limit of an archive is its own."""
        settings = challenge(tmp_path, training(), validation())
        for name, words in (
            ("max_file_bytes", "at most 100 are allowed"),
            ("max_bytes", "holds over 100 bytes unpacked"),
        ):
            with pytest.raises(ArchiveError, match=words):
                run(tmp_path / "raw", **settings, **{name: 100})

    def test_counts(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Other numbers than expected are a warning, not an error."""
        settings = challenge(tmp_path, training(), validation())
        run(tmp_path / "raw", **settings, expected_train=4, expected_ec=4, expected_or=6)
        assert "6 files of ec were found, download.expected_ec says 4" in caplog.text
        assert "4 files of or were found, download.expected_or says 6" in caplog.text
        assert "expected_train" not in caplog.text

    def test_places_in_turn(self, tmp_path: Path) -> None:
        """Places that don't have the archive are passed over."""
        settings = challenge(tmp_path, training(), validation())
        (tmp_path / "page.zip").write_text("<html>")
        missing = str(tmp_path / "missing.zip")
        nowhere = "http://127.0.0.1:9/train_img.zip"
        settings["icme_train"] = [
            missing,
            nowhere,
            str(tmp_path / "page.zip"),
            *settings["icme_train"],
        ]
        settings["icme_downloads"] = str(tmp_path / "downloads")
        assert "train/3.jpg" in run(tmp_path / "raw", **settings)

    def test_no_place(self, tmp_path: Path) -> None:
        """When no place has it, the message says why, and where to put it by hand."""
        settings = challenge(tmp_path, training(), validation())
        settings["icme_valid"] = [str(tmp_path / "missing.zip"), "http://127.0.0.1:9/valid_img.zip"]
        settings["icme_downloads"] = str(tmp_path / "downloads")
        with pytest.raises(DataError) as caught:
            run(tmp_path / "raw", **settings)
        message = str(caught.value)
        assert "missing.zip: not found" in message
        assert "http://127.0.0.1:9/valid_img.zip: gave up after failure 1" in message
        assert f"put it at {tmp_path / 'downloads/valid_img.zip'}" in message
        assert "download.icme_valid" in message

    def test_sha256(self, tmp_path: Path) -> None:
        """An archive with another content than params say is not used."""
        settings = challenge(tmp_path, training(), validation())
        right = hashlib.sha256(Path(settings["icme_train"][0]).read_bytes()).hexdigest()
        run(tmp_path / "raw", **settings, icme_train_sha256=right)
        with pytest.raises(DataError, match=f"its SHA-256 is {right}, wanted {'0' * 64}"):
            run(tmp_path / "raw", **settings, icme_train_sha256="0" * 64)

    def test_fetched_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fetched archive is kept and used again; a web page in its place is thrown away."""
        settings = challenge(tmp_path, training(), validation())
        content = Path(settings["icme_train"][0]).read_bytes()
        answers = [b"<html>not here any more</html>", content]

        def fake_fetch(url: str, target: Path, *_: object) -> None:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(answers.pop(0))

        monkeypatch.setattr(icme, "fetch", fake_fetch)
        settings["icme_train"] = ["https://example.org/train_img.zip"]
        settings["icme_downloads"] = str(tmp_path / "downloads")
        with pytest.raises(DataError, match="no archive"):
            run(tmp_path / "raw", **settings)
        for _ in range(2):
            assert "train/3.jpg" in run(tmp_path / "raw", **settings)
        assert answers == []

    @pytest.mark.parametrize("name", ["../../outside.jpg", "/outside.jpg", "train_img/0.JPG"])
    def test_hostile(self, tmp_path: Path, name: str) -> None:
        """A hostile archive is refused by the member's name and leaves nothing anywhere."""
        settings = challenge(tmp_path / "in", training() | {name: photo(0)}, validation())
        with pytest.raises(ArchiveError, match=f"refused because of its member '{name}'"):
            run(tmp_path / "work/raw", **settings)
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            "in",
            "new_valid_img 1.zip",
            "train_img.zip",
            "work",
        ]

    def test_killed(self, tmp_path: Path) -> None:
        """After ``kill -9`` at several moments a rerun gives the bytes of an unbroken run."""
        settings = challenge(tmp_path / "in", training(40), validation())
        run(tmp_path / "whole", **settings)
        code = (
            "from pathlib import Path; from workflow.sections import DownloadParams; "
            "from workflow.stages.download import download; "
            f"download(DownloadParams(**{SETTINGS | settings!r}), "
            f"out=Path({str(tmp_path / 'raw')!r}))"
        )
        for moment in ("*/.unpacked/train/train_img/5.jpg", "*/train/20.jpg", "*/valid/ec/1/*.png"):
            status = kill_when(
                lambda sign=moment: any(tmp_path.glob(f".raw.{sign}")), code, workers=1
            )
            assert status in (0, -signal.SIGKILL)
        run(tmp_path / "raw", **settings)
        assert tree(tmp_path / "raw") == tree(tmp_path / "whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "raw", "whole"]

    @pytest.mark.standin
    @pytest.mark.slow
    @pytest.mark.skipif(
        not (STANDIN / "valid_img.zip").is_file(), reason="PCONV_STANDIN names no stand-in archives"
    )
    def test_standin(self, tmp_path: Path) -> None:
        """The stand-in for the challenge's archives gives the challenge's counts."""
        settings = {
            "source": "icme",
            "icme_train": [str(STANDIN / "train_img.zip")],
            "icme_valid": [str(STANDIN / "valid_img.zip")],
        }
        manifest = run(tmp_path / "raw", **settings)
        counts = Counter("/".join(name.split("/")[:2]) for name in manifest if "valid" in name)
        assert counts == {"valid/gt": 70, "valid/ec": 5600, "valid/or": 4900}
        assert sum(name.startswith("train/") for name in manifest) == 1541
        assert rows(tmp_path / "raw/rejected.csv") == []


class TestFolder:
    """Anyone's photographs."""

    def photos(self, folder: Path, numbers: range) -> str:
        """A folder of photographs, some of them deeper."""
        return pack(folder, {f"{'deep/' * (n % 2)}{n}.png": photo(n, form="PNG") for n in numbers})

    def parts(self, raw: Path) -> dict[str, set[str]]:
        """The contents of the photographs on either side."""
        return {
            side: {hashlib.sha256(path.read_bytes()).hexdigest() for path in (raw / side).iterdir()}
            for side in ("train", "valid/gt")
        }

    def test_held_out(self, tmp_path: Path) -> None:
        """A share is held out by content: more photographs move none, names don't matter."""
        few = self.photos(tmp_path / "few", range(20))
        many = self.photos(tmp_path / "many", range(40))
        run(tmp_path / "a", source="folder", folder_train=few)
        run(tmp_path / "b", source="folder", folder_train=many)
        before, after = self.parts(tmp_path / "a"), self.parts(tmp_path / "b")
        assert sum(len(side) for side in before.values()) == 20
        assert before["train"] < after["train"]
        assert before["valid/gt"] < after["valid/gt"]
        assert len(list((tmp_path / "a/valid/ec").rglob("*.png"))) == 2 * len(before["valid/gt"])

    def test_seed(self, tmp_path: Path) -> None:
        """Another seed holds out others."""
        folder = self.photos(tmp_path / "photos", range(20))
        for seed in (1, 2):
            run(tmp_path / str(seed), source="folder", folder_train=folder, seed=seed)
        one, other = (self.parts(tmp_path / str(seed))["valid/gt"] for seed in (1, 2))
        assert one != other

    def test_nothing_held_out(self, tmp_path: Path) -> None:
        """A share that leaves one side empty is an error that names the setting."""
        folder = self.photos(tmp_path / "photos", range(4))
        with pytest.raises(DataError, match=r"4 photographs 0 are held out.*folder_held_out_share"):
            run(tmp_path / "raw", source="folder", folder_train=folder, folder_held_out_share=0.0)

    @pytest.mark.parametrize("share", [0.001, 0.999])
    def test_few(self, tmp_path: Path, share: float) -> None:
        """Of few photographs one at least is on either side, though the draw gives none."""
        folder = self.photos(tmp_path / "photos", range(4))
        run(tmp_path / "a", source="folder", folder_train=folder, folder_held_out_share=share)
        parts = self.parts(tmp_path / "a")
        assert sorted(map(len, parts.values())) == [1, 3]

    def test_same_names(self, tmp_path: Path) -> None:
        """Of photographs of one name the order is that of their files, not one of chance."""
        names = [f"{number}{suffix}" for number in range(10) for suffix in (".jpg", ".png")]
        folder = pack(tmp_path, {name: name.encode() for name in names})
        found = photographs_in_folders(Path(folder), None, {}, held_out_share=0.1, seed=1)
        kept = [photo.file.name for photo in found.train]
        assert len(kept) > 10
        assert kept == sorted(kept)

    def test_own_masks(self, tmp_path: Path) -> None:
        """A validation folder and masks of one's own are used; the other kind is drawn."""
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_train=self.photos(tmp_path / "train", range(3)),
            folder_valid=pack(
                tmp_path / "valid",
                {"cat.jpg": photo(50), "my_dog.jpg": photo(51), "IMG_1001.jpg": photo(52)},
            ),
            folder_or=pack(
                tmp_path / "masks",
                {"cat_0.png": mask(1), "my_dog/my_dog_7.png": mask(2), "IMG_1001.png": mask(3)},
            ),
        )
        assert "masks/IMG_1001.png" in manifest["valid/or/IMG_1001/IMG_1001_0.png"]["source"]
        assert "masks/cat_0.png" in manifest["valid/or/cat/cat_0.png"]["source"]
        assert "valid/or/my_dog/my_dog_7.png" in manifest
        assert "valid/ec/my_dog/my_dog_1.png" in manifest
        assert sum(name.startswith("valid/or/") for name in manifest) == 3

    def test_masks_of_held_out_photos(self, tmp_path: Path) -> None:
        """Of masks that are named like photographs, those of training ones are nobody else's."""
        names = ["cat", *(f"cat_{number}" for number in range(1, 9))]
        numbered = list(enumerate(names))
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_train=pack(tmp_path / "p", {f"{n}.jpg": photo(50 + i) for i, n in numbered}),
            folder_or=pack(tmp_path / "masks", {f"{n}.png": mask(i) for i, n in numbered}),
            folder_held_out_share=0.4,
        )
        held_out = {Path(name).stem for name in manifest if name.startswith("valid/gt/")}
        assert 1 < len(held_out) < len(names)
        found = {name for name in manifest if name.startswith("valid/or/")}
        assert found == {f"valid/or/{name}/{name}_0.png" for name in held_out}

    def test_mask_of_either(self, tmp_path: Path) -> None:
        """A mask that may be of a held-out photograph or of one that is not is refused."""
        photos = {"a.jpg": photo(50), "a.png": photo(51, form="PNG")}
        settings = {
            "source": "folder",
            "folder_train": pack(tmp_path / "p", photos),
            "folder_held_out_share": 0.001,
        }
        run(tmp_path / "raw", **settings)
        masks = pack(tmp_path / "masks", {"a_1.png": mask(1)})
        words = r"masks/a_1\.png: p/a\.(jpg|png), .*, and p/a\.(jpg|png), .*both called a; wanted"
        for kind in ("folder_ec", "folder_or"):
            with pytest.raises(DataError, match=words):
                run(tmp_path / "raw", **settings, **{kind: masks})

    @pytest.mark.parametrize("name", ["\u00dcbung", "U\u0308bung"])
    def test_accents(self, tmp_path: Path, name: str) -> None:
        """Accents may be stored in the letter or, as a Mac does, apart from it."""
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_train=self.photos(tmp_path / "train", range(2)),
            folder_valid=pack(tmp_path / "valid", {f"{name}.jpg": photo(50)}),
            folder_or=pack(tmp_path / "masks", {"\u00dcbung.png": mask(1)}),
        )
        assert "valid/gt/\u00dcbung.jpg" in manifest
        assert "valid/or/\u00dcbung/\u00dcbung_0.png" in manifest

    @pytest.mark.parametrize("is_link", [False, True])
    @pytest.mark.parametrize("inside", ["masks", "deep/masks"])
    def test_masks_among_photographs(self, tmp_path: Path, inside: str, *, is_link: bool) -> None:
        """Masks that lie in a folder below the photographs, or a link to one, are none of them."""
        photos = {f"{number}.png": photo(number, form="PNG") for number in range(6)}
        masks = {f"{inside}/{number}.png": mask(number) for number in range(6)}
        folder = pack(tmp_path / "photos", photos | masks)
        if is_link:
            place = tmp_path / "photos" / inside
            place.symlink_to(place.rename(tmp_path / "elsewhere"))
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_train=folder,
            folder_ec=str(tmp_path / "photos" / inside),
            folder_held_out_share=0.5,
        )
        held_out = {name for name in manifest if name.startswith("valid/gt/")}
        assert len(held_out) + sum(name.startswith("train/") for name in manifest) == 6
        assert sum(name.startswith("valid/ec/") for name in manifest) == len(held_out) > 0

    def test_folders_inside(self, tmp_path: Path) -> None:
        """Validation photographs below the training ones, and masks below those, are no others."""
        photos = {f"{number}.png": photo(number, form="PNG") for number in range(4)}
        valid = {f"valid/{number}.png": photo(number, form="PNG") for number in (8, 9)}
        masks = {f"valid/masks/{number}.png": mask(number) for number in (8, 9)}
        folder = pack(tmp_path / "photos", photos | valid | masks)
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_train=folder,
            folder_valid=f"{folder}/valid",
            folder_ec=f"{folder}/valid/masks",
        )
        counts = Counter("/".join(name.split("/")[:2]) for name in manifest if "valid" in name)
        assert (counts["valid/gt"], counts["valid/ec"]) == (2, 2)
        assert rows(tmp_path / "raw/rejected.csv") == []

    def test_masks_only(self, tmp_path: Path) -> None:
        """A folder with nothing but masks below it is refused as one without photographs."""
        masks = {f"masks/{number}.png": mask(number) for number in range(2)}
        photos = pack(tmp_path / "photos", masks)
        with pytest.raises(DataError, match=r"photos: holds no image but those of .*masks"):
            run(
                tmp_path / "raw",
                source="folder",
                folder_train=photos,
                folder_ec=str(tmp_path / "photos/masks"),
            )

    def test_shared_photographs(self, tmp_path: Path) -> None:
        """A validation photograph that lies among the training ones too is no training one."""
        settings = {
            "source": "folder",
            "folder_train": self.photos(tmp_path / "train", range(3)),
            "folder_valid": pack(tmp_path / "valid", {"x.png": photo(2, form="PNG")}),
        }
        manifest = run(tmp_path / "raw", **settings, max_rejected=1)
        assert sum(name.startswith("train/") for name in manifest) == 2
        (row,) = rows(tmp_path / "raw/rejected.csv")
        assert row == {
            "path": "train/2.png",
            "reason": "it is the validation photo valid/gt/x.png too",
        }

    def test_names_that_collide(self, tmp_path: Path) -> None:
        """Two photographs that would get one name are not silently one."""
        files = {"a.jpg": photo(1), "A.png": photo(2, form="PNG"), "b.jpg": photo(3)}
        settings = {
            "source": "folder",
            "folder_train": pack(tmp_path / "train", files),
            "folder_valid": pack(tmp_path / "valid", {"x.jpg": photo(9)}),
        }
        with pytest.raises(DataError, match=r"train/a\.jpg: another file is called a too"):
            run(tmp_path / "raw", **settings)

    def test_huge_photograph(self, tmp_path: Path) -> None:
        """A photograph over the limit is rejected by name, the others stay."""
        files = {"a.jpg": photo(1), "huge.png": photo(2, 300, 300, form="PNG")}
        settings = {
            "source": "folder",
            "folder_train": pack(tmp_path / "train", files),
            "folder_valid": pack(tmp_path / "valid", {"x.jpg": photo(9)}),
        }
        run(tmp_path / "raw", **settings, max_pixels=80_000, max_rejected=1)
        (row,) = rows(tmp_path / "raw/rejected.csv")
        assert row["path"] == "train/huge.png"
        assert row["reason"].startswith("300x300 pixels; at most 80000")

    @pytest.mark.parametrize(
        ("name", "found"), [("nowhere", "no such folder"), ("a.jpg", "is no folder")]
    )
    def test_missing_folder(self, tmp_path: Path, name: str, found: str) -> None:
        """A folder that is not there is named, and so is a file in its place."""
        pack(tmp_path, {"a.jpg": photo(1)})
        with pytest.raises(DataError, match=rf"{name}: {found}; wanted one of images"):
            run(tmp_path / "raw", source="folder", folder_train=str(tmp_path / name))

    def test_one_photograph(self, tmp_path: Path) -> None:
        """One alone can't be on both sides, whatever the share: the error says what can be done."""
        folder = pack(tmp_path / "photos", {"a.jpg": photo(1)})
        with pytest.raises(DataError, match=r"holds one photograph; .* add another, or name"):
            run(tmp_path / "raw", source="folder", folder_train=folder)

    def test_links_to_nowhere(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Links to photographs or folders that are not there are rejected by name, each once."""
        folder = Path(self.photos(tmp_path / "photos", range(4)))
        for name in ("lost.jpg", "deep/holidays", "masks/lost.png", ".hidden.jpg", "notes.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(tmp_path / "unmounted")
        names = ("0", "deep_1", "2", "deep_3")
        pack(folder / "masks", {f"{name}.png": mask(item) for item, name in enumerate(names)})
        settings = {
            "source": "folder",
            "folder_train": str(folder),
            "folder_or": str(folder / "masks"),
        }
        with pytest.raises(DataError, match=r"photos/lost\.jpg: a link that leads nowhere"):
            run(tmp_path / "raw", **settings, max_rejected=2)
        run(tmp_path / "raw", **settings, max_rejected=3)
        rejected = {row["path"]: row["reason"] for row in rows(tmp_path / "raw/rejected.csv")}
        lost = ("photos/deep/holidays", "photos/lost.jpg", "photos/masks/lost.png")
        assert rejected == dict.fromkeys(lost, "a link that leads nowhere")
        assert caplog.text.count("rejected: photos/lost.jpg") == 1

    def test_other_formats(self, tmp_path: Path) -> None:
        """Photographs of formats that are not read are rejected by name; notes are passed over."""
        folder = Path(self.photos(tmp_path / "photos", range(4)))
        for name in ("a.HEIC", "deep/b.gif", "notes.txt", ".hidden.gif"):
            (folder / name).touch()
        settings = {"source": "folder", "folder_train": str(folder)}
        with pytest.raises(
            DataError, match=r"2 files .* first are:\s+photos/a\.HEIC: \.heic is not"
        ):
            run(tmp_path / "raw", **settings)
        run(tmp_path / "raw", **settings, max_rejected=2)
        rejected = [row["path"] for row in rows(tmp_path / "raw/rejected.csv")]
        assert rejected == ["photos/a.HEIC", "photos/deep/b.gif"]

    @pytest.mark.parametrize("has_valid", [False, True])
    def test_masks_in_subfolders(self, tmp_path: Path, *, has_valid: bool) -> None:
        """Masks may lie in the subfolders that their photographs lie in, under the same names."""
        places = ("holidays/0", "holidays/1", "garden/0", "garden/1")
        photos = {f"{place}.jpg": photo(item) for item, place in enumerate(places)}
        masks = {f"{place}.png": mask(item) for item, place in enumerate(places)}
        settings = {"folder_train": pack(tmp_path / "photos", photos)}
        if has_valid:
            settings["folder_valid"] = settings["folder_train"]
            settings["folder_train"] = pack(tmp_path / "others", {"a.jpg": photo(9)})
        manifest = run(
            tmp_path / "raw",
            source="folder",
            folder_or=pack(tmp_path / "masks", masks),
            folder_held_out_share=0.5,
            **settings,
        )
        held_out = {Path(name).stem for name in manifest if name.startswith("valid/gt/")}
        found = {name for name in manifest if name.startswith("valid/or/")}
        assert found == {f"valid/or/{name}/{name}_0.png" for name in held_out}
        assert "holidays_0" in held_out or not has_valid


class TestParams:
    """The section of ``params.yaml``."""

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"source": "icme"}, "icme_train must be given when source is icme"),
            ({"source": "folder"}, "folder_train must be given when source is folder"),
            ({"icme_train_sha256": "abc"}, "icme_train_sha256"),
        ],
    )
    def test_raises(self, tmp_path: Path, changed: dict[str, str], message: str) -> None:
        """A source without a place, and a hash that is none, are refused before any work."""
        text = Path("presets/sample.yaml").read_text()
        for key, value in changed.items():
            lines = text.splitlines()
            text = "\n".join(f"  {key}: {value}" if f"  {key}:" in line else line for line in lines)
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(ParameterError, match=message):
            read_params(tmp_path / "params.yaml")
