"""What is noted of the content of photographs, masks and weights that params.yaml names."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pconv.errors import DataError
from workflow.named import (
    STAGES,
    content_digest,
    named_by,
    note_content,
    noted_content,
    refuse_other_content,
)
from workflow.sections import Params, Section

ROOT = Path(__file__).parents[2]
SAMPLE = yaml.safe_load((ROOT / "presets/sample.yaml").read_text())


def section(name: str, **values: object) -> Section:
    """Return a section of the sample preset with some values replaced."""
    params = Params.model_validate(SAMPLE | {name: SAMPLE[name] | values})
    found: Section = getattr(params, name)
    return found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three files that look like photographs, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "garden").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "garden/a.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


class TestNamedBy:
    """Which keys name something that is read."""

    @pytest.mark.parametrize(
        ("name", "values", "found"),
        [
            ("download", {}, []),
            ("download", {"folder_train": "a", "icme_train": ["b"]}, []),
            (
                "download",
                {"source": "folder", "folder_train": "a", "folder_or": "b", "icme_train": ["c"]},
                [("folder_train", "a"), ("folder_or", "b")],
            ),
            (
                "download",
                {"source": "folder", "folder_train": "a", "folder_valid": "b", "folder_ec": "c"},
                [("folder_train", "a"), ("folder_valid", "b"), ("folder_ec", "c")],
            ),
            (
                "download",
                {"source": "icme", "icme_train": ["a", "b"], "icme_valid": ["HTTPS://c.org/d"]},
                [("icme_train", "a"), ("icme_train", "b")],
            ),
            ("augment", {}, []),
            (
                "masks",
                {"kinds": ["walk", "strokes", "rectangles", "folder"], "folder": "a"},
                [("folder", "a")],
            ),
            ("train", {"features": "a", "perceptual_weight": 0.0, "style_weight": 0.0}, []),
            ("train", {"features": "a", "style_weight": 1.0}, [("features", "a")]),
            ("train", {"features": "random", "style_weight": 1.0}, []),
            ("train", {"initial_weights": "a"}, [("initial_weights", "a")]),
            ("evaluate", {"features": "a"}, [("features", "a")]),
            ("evaluate", {"features": "imagenet"}, []),
            ("evaluate", {"features": "a", "vgg_methods": []}, []),
        ],
    )
    def test_values(self, name: str, values: dict[str, Any], found: list[tuple[str, str]]) -> None:
        """What the stage does not read by this section does not count."""
        assert list(named_by(section(name, **values))) == found

    def test_stages(self) -> None:
        """Stages that are left out have no key that could name a file: none that holds text."""
        for name in Params.model_fields.keys() - set(STAGES):
            assert not [key for key, value in SAMPLE[name].items() if isinstance(value, str)]


class TestContentDigest:
    """One digest for a file, or for all images below a folder."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: (folder / "c.jpg").write_bytes(b"c"),
            lambda folder: (folder / "a.jpg").unlink(),
            lambda folder: (folder / "a.jpg").write_bytes(b"A.jpg"),
            lambda folder: (folder / "a.jpg").rename(folder / "c.jpg"),
            lambda folder: (folder / "garden").rename(folder / "holidays"),
        ],
        ids=["added", "removed", "edited", "renamed", "moved"],
    )
    def test_other_content(self, photos: Path, change: Callable[[Path], object]) -> None:
        """Other images, another content or another name are seen; undone, it is as before."""
        shutil.copytree(photos, "before")
        seen: dict[str, list[str]] = {}
        before = content_digest(photos, seen)
        change(photos)
        assert content_digest(photos, seen) != before
        shutil.rmtree(photos)
        shutil.copytree("before", photos)
        assert content_digest(photos, seen) == before

    def test_same_content(self, photos: Path) -> None:
        """Another place, other times and what is no image make no difference."""
        before = content_digest(photos, {})
        os.utime(photos / "a.jpg", (1, 1))
        (photos / "Thumbs.db").write_bytes(b"x")
        (photos / ".hidden.jpg").write_bytes(b"x")
        photos.rename("elsewhere")
        assert content_digest(Path("elsewhere"), {}) == before

    def test_borders_count(self, photos: Path) -> None:
        """What moves from one file to the next is seen, though all bytes in a row stay alike."""
        (photos / "a.jpg").write_bytes(b"12")
        (photos / "b.png").write_bytes(b"3")
        before = content_digest(photos, {})
        (photos / "a.jpg").write_bytes(b"1")
        (photos / "b.png").write_bytes(b"23")
        assert content_digest(photos, {}) != before

    def test_odd_name(self, photos: Path) -> None:
        """A name that is no valid text counts like any other."""
        before = content_digest(photos, {})
        Path(os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")).write_bytes(b"1")
        assert content_digest(photos, {}) not in (before, None)

    def test_links_are_followed(self, photos: Path) -> None:
        """A linked photograph counts by its content, as the stage reads it."""
        Path("elsewhere.jpg").write_bytes(b"1")
        (photos / "c.jpg").symlink_to(Path("elsewhere.jpg").resolve())
        seen: dict[str, list[str]] = {}
        before = content_digest(photos, seen)
        Path("elsewhere.jpg").write_bytes(b"12")
        assert content_digest(photos, seen) != before

    def test_reads_once(self, photos: Path) -> None:
        """A file of the same name, size and time is not read again: 10,000 take a moment.

        One that was put there by what keeps times, as `cp -p`, is another by its size.
        """
        seen: dict[str, list[str]] = {}
        before = content_digest(photos, seen)
        facts = (photos / "a.jpg").stat()
        (photos / "a.jpg").write_bytes(b"A.jpg")
        os.utime(photos / "a.jpg", ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert content_digest(photos, seen) == before
        assert content_digest(photos, {}) != before
        (photos / "a.jpg").write_bytes(b"longer")
        os.utime(photos / "a.jpg", ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert content_digest(photos, seen) != before

    def test_nothing_there(self, photos: Path) -> None:
        """A missing file and a folder without images have none."""
        (photos.parent / "empty").mkdir()
        for name in ("absent.zip", "empty"):
            assert content_digest(Path(name), {}) is None


class TestNoteContent:
    """The files that the stages depend on."""

    PHOTOS = section("download", source="folder", folder_train="photos")

    def test_values(self, photos: Path) -> None:
        """It is noted by path."""
        note_content("download", self.PHOTOS)
        assert noted_content("download") == {"photos": content_digest(photos, {})}

    def test_missing_is_as_it_was(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        """On a machine that has the results and not the photographs nothing is made anew."""
        note_content("download", self.PHOTOS)
        noted = noted_content("download")
        assert not caplog.records
        shutil.rmtree(photos)
        note_content("download", self.PHOTOS)
        assert noted_content("download") == noted
        assert "params.yaml: download.folder_train: photos is not here; taken" in caplog.text

    def test_other_names_meanwhile(self, photos: Path) -> None:
        """What is named no more is not noted; with its name back it is as it was seen last."""
        note_content("download", self.PHOTOS)
        noted = noted_content("download")
        shutil.rmtree(photos)
        note_content("download", section("download"))
        assert noted_content("download") == {}
        note_content("download", self.PHOTOS)
        assert noted_content("download") == noted

    def test_emptied(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A folder that is here without an image is not said to be elsewhere."""
        note_content("download", self.PHOTOS)
        noted = noted_content("download")
        shutil.rmtree(photos)
        photos.mkdir()
        note_content("download", self.PHOTOS)
        assert noted_content("download") == noted
        assert "photos holds no image; taken to be as it was" in caplog.text

    def test_never_here(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What never was here is told, and not noted; what was stays noted beside it."""
        note_content("download", self.PHOTOS)
        noted = noted_content("download")
        shutil.rmtree(photos)
        both = {"source": "folder", "folder_train": "photos", "folder_valid": "absent"}
        note_content("download", section("download", **both))
        assert noted_content("download") == noted
        assert caplog.text.count("download.folder_valid: absent is not here\n") == 1

    @pytest.mark.parametrize(
        "damage", [b"", b'{"photos": ', b"[]", b"\xff", b'{"photos": 1}', b'{"photos": [1, "2"]}']
    )
    @pytest.mark.parametrize("file", ["data/named/download.json", ".stages/seen.json"])
    def test_damaged(self, photos: Path, file: str, damage: bytes) -> None:
        """A file that a kill or a hand damaged is written anew."""
        note_content("download", self.PHOTOS)
        noted, seen = noted_content("download"), Path(".stages/seen.json").read_bytes()
        Path(file).write_bytes(damage)
        note_content("download", self.PHOTOS)
        assert noted_content("download") == noted
        assert Path(".stages/seen.json").read_bytes() == seen
        assert photos.is_dir()


class TestRefuseOtherContent:
    """A stage ends well only with the content that is on record for it."""

    PHOTOS = TestNoteContent.PHOTOS

    def test_changed(self, photos: Path) -> None:
        """What changed since is named; once it is noted it is allowed."""
        note_content("download", self.PHOTOS)
        noted = noted_content("download")
        refuse_other_content("download", self.PHOTOS, noted)
        (photos / "c.jpg").write_bytes(b"c")
        words = r"^photos \(params.yaml: download.folder_train\): its content is not what was noted"
        with pytest.raises(DataError, match=words):
            refuse_other_content("download", self.PHOTOS, noted)
        note_content("download", self.PHOTOS)  # as `snakemake -n` does meanwhile
        with pytest.raises(DataError, match=words):
            refuse_other_content("download", self.PHOTOS, noted)
        (photos / "c.jpg").unlink()
        with pytest.raises(DataError, match=words):  # what engines record is still the other one
            refuse_other_content("download", self.PHOTOS, noted)
        note_content("download", self.PHOTOS)
        refuse_other_content("download", self.PHOTOS, noted)

    def test_not_noted(self, photos: Path) -> None:
        """A stage that is run by itself, with nothing on record, has nothing to compare with."""
        refuse_other_content("download", self.PHOTOS, {})
        assert photos.is_dir()

    def test_missing(self, photos: Path) -> None:
        """What is gone the stage misses in its own words."""
        note_content("download", self.PHOTOS)
        shutil.rmtree(photos)
        refuse_other_content("download", self.PHOTOS, noted_content("download"))
