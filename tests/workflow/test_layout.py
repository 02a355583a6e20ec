"""Photographs and masks are found by looking."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.errors import DataError
from workflow.sources.layout import find_images, find_masks, find_validation, flat_names


def make(root: Path, *files: str) -> Path:
    """Make empty files below a folder: the finder looks at names alone."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


class TestFindImages:
    """The contracts of ``find_images``."""

    def test_values(self, tmp_path: Path) -> None:
        """Images of any suffix and case are found in any depth, other files are not."""
        make(tmp_path, "b/1.JPG", "b/2.webp", "0.Png", "x.tiff", "readme.txt", "b/notes.jpg.txt")
        found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
        assert found == ["0.Png", "b/1.JPG", "b/2.webp", "x.tiff"]

    def test_shadows_are_left_out(self, tmp_path: Path) -> None:
        """What a Mac packs beside the photographs, hidden files and links are no photographs."""
        make(tmp_path, "0.jpg", "__MACOSX/._0.jpg", ".cache/1.jpg", "._2.jpg")
        (tmp_path / "link.jpg").symlink_to(tmp_path / "0.jpg")
        assert [path.name for path in find_images(tmp_path)] == ["0.jpg"]

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder that can't be listed is told: without its photographs it is another set."""
        make(tmp_path, "0.jpg", "closed/1.jpg")
        scandir = os.scandir

        def refusing(path: str) -> Any:
            if path.endswith("closed"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(PermissionError, match="closed"):
            find_images(tmp_path)

    def test_links(self, tmp_path: Path) -> None:
        """Where they are asked for, links to files and folders are followed, each folder once."""
        make(tmp_path, "elsewhere/2.jpg", "photos/0.jpg", "photos/deep/1.jpg")
        photos = tmp_path / "photos"
        (photos / "3.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
        (photos / "4.jpg").symlink_to(tmp_path / "nowhere.jpg")
        (photos / "more").symlink_to(tmp_path / "elsewhere")
        (photos / "deep/back").symlink_to(photos)
        found = [path.relative_to(photos) for path in find_images(photos, with_links=True)]
        assert found == [Path(name) for name in ("0.jpg", "3.jpg", "deep/1.jpg", "more/2.jpg")]
        (photos / "a-link").symlink_to(photos / "deep")
        assert [path.relative_to(photos) for path in find_images(photos, with_links=True)] == found

    def test_raises(self, tmp_path: Path) -> None:
        """A folder without images is an error that says which suffixes are looked for."""
        with pytest.raises(DataError, match=r"holds no image; wanted .*\.jpg"):
            find_images(make(tmp_path, "0.gif"))


class TestFlatNames:
    """The contracts of ``flat_names``."""

    def test_values(self) -> None:
        """Names are paths below the common folder: short where they can be."""
        assert flat_names([Path("a/train/0.jpg"), Path("a/train/1.b.png")]) == ["0", "1.b"]
        assert flat_names([Path("a/x/0.jpg"), Path("a/y/0.jpg")]) == ["x_0", "y_0"]


class TestFindMasks:
    """The contracts of ``find_masks``."""

    @pytest.mark.parametrize(
        ("file", "photo", "number"),
        [
            ("3/3_5.png", "3", "5"),
            ("3/5.png", "3", "5"),
            ("3_5.png", "3", "5"),
            ("3.png", "3", "0"),
            ("my_cat/my_cat_12.jpg", "my_cat", "12"),
            ("my_cat_12.jpg", "my_cat", "12"),
        ],
    )
    def test_values(self, tmp_path: Path, file: str, photo: str, number: str) -> None:
        """Folder and file name say whose mask it is and which."""
        (mask,) = find_masks(make(tmp_path, file))
        assert (mask.photo, mask.number) == (photo, number)

    @pytest.mark.parametrize(
        ("file", "photo", "number"),
        [
            ("IMG_1.png", "IMG_1", "0"),
            ("IMG_1_1.png", "IMG_1_1", "0"),
            ("IMG_1_2.png", "IMG_1", "2"),
            ("IMG_1/IMG_1_1.png", "IMG_1", "1"),
        ],
    )
    def test_named_like_a_photo(self, tmp_path: Path, file: str, photo: str, number: str) -> None:
        """A mask is that of the photo it is named like, though the name ends in a number."""
        (mask,) = find_masks(make(tmp_path, file), {"IMG_1": "IMG_1", "IMG_1_1": "IMG_1_1"})
        assert (mask.photo, mask.number) == (photo, number)

    @pytest.mark.parametrize(
        ("file", "photo", "number"),
        [
            ("holidays/0.png", "holidays_0", "0"),
            ("holidays/0_7.png", "holidays_0", "7"),
            ("holidays_0_7.png", "holidays_0", "7"),
            ("holidays_0/7.png", "holidays_0", "7"),
            ("holidays/U\u0308bung.png", "holidays_\u00dcbung", "0"),
            ("cat/0.png", "cat", "0"),
            ("cat/9.png", "cat", "9"),
            ("elsewhere/0.png", "elsewhere", "0"),
        ],
    )
    def test_in_subfolders(self, tmp_path: Path, file: str, photo: str, number: str) -> None:
        """A mask may lie where its photo does; the folder of a photo's own masks goes first."""
        places = ("holidays/0", "holidays/\u00dcbung", "cat", "cat/0")
        (mask,) = find_masks(make(tmp_path, file), {one: one.replace("/", "_") for one in places})
        assert (mask.photo, mask.number) == (photo, number)

    def test_composed(self, tmp_path: Path) -> None:
        """A mask from a Mac, which stores accents apart, is that of the photo of this name."""
        name = "U\u0308bung_1"
        (mask,) = find_masks(make(tmp_path, f"{name}.png"), {"\u00dcbung_1": "\u00dcbung_1"})
        assert (mask.photo, mask.number) == ("\u00dcbung_1", "0")


class TestFindValidation:
    """The contracts of ``find_validation``."""

    @pytest.mark.parametrize(
        ("photos", "ec", "object_removal"),
        [
            (
                "valid_img/data_png/valid_img",
                "valid_img/data_png/error_concealment_valid",
                "valid_img/data_png/object_removal_valid",
            ),
            ("valid_img", "error_concealment_valid", "object_removal_valid"),
            ("new_valid_img 1/GT", "new_valid_img 1/Error_Concealment", "x/Object-Removal 2019"),
            ("photos", "masks/ErrorConcealment", "masks/ObjectRemoval"),
        ],
    )
    def test_values(self, tmp_path: Path, photos: str, ec: str, object_removal: str) -> None:
        """Each layout in which the archive was issued is understood."""
        make(tmp_path, f"{photos}/0.jpg", f"{photos}/1.jpg", "cover.jpg", "__MACOSX/x/._0.jpg")
        make(tmp_path, f"{ec}/0/0_0.png", f"{ec}/0/0_1.png", f"{ec}/1/1_0.png")
        make(tmp_path, f"{object_removal}/1/1_7.jpg")
        found = find_validation(tmp_path)
        assert found.photos == {name: tmp_path / f"{photos}/{name}.jpg" for name in "01"}
        assert {kind: len(masks) for kind, masks in found.masks.items()} == {"ec": 3, "or": 1}
        assert (found.masks["or"][0].photo, found.masks["or"][0].number) == ("1", "7")

    def test_lossless_masks_are_preferred(self, tmp_path: Path) -> None:
        """Of the same masks as PNG and as JPG the PNG are taken."""
        for form in ("jpg", "png"):
            make(tmp_path, f"data_{form}/error_concealment/0/0_0.{form}")
            make(tmp_path, f"data_{form}/object_removal/0/0_0.{form}")
        found = find_validation(make(tmp_path, "gt/0.jpg"))
        assert [mask.file.suffix for masks in found.masks.values() for mask in masks] == [
            ".png",
            ".png",
        ]

    def test_folder_in_its_like(self, tmp_path: Path) -> None:
        """Masks that were unpacked into a folder of their own name are found once."""
        make(tmp_path, "gt/0.jpg", "object_removal/0/0_0.png")
        make(tmp_path, "error_concealment/error_concealment/0/0_0.png")
        found = find_validation(tmp_path)
        assert {kind: len(masks) for kind, masks in found.masks.items()} == {"ec": 1, "or": 1}

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (["gt/0.jpg", "error_concealment/0/0_0.png"], r"or masks named object_removal\*.*none"),
            (["error_concealment/0_0.png", "object_removal/0_0.png"], "photographs.*found: none"),
            (
                ["a/0.jpg", "b/0.jpg", "error_concealment/0_0.png", "object_removal/0_0.png"],
                "found: a, b",
            ),
            (
                ["0.jpg", "a/object_removal/0_0.png", "b/object_removal/0_0.png"],
                "error_concealment",
            ),
        ],
    )
    def test_raises(self, tmp_path: Path, files: list[str], message: str) -> None:
        """What is missing or ambiguous is named, with what was found."""
        with pytest.raises(DataError, match=message):
            find_validation(make(tmp_path, *files))

    parts = st.sampled_from(
        ["0", "1", "0_0", "gt", "valid_img", "error_concealment", "Object_Removal", ".x", "_", "é"]
    )
    trees = st.lists(
        st.tuples(st.lists(parts, max_size=4), parts, st.sampled_from([".jpg", ".PNG", "", "_"])),
        max_size=12,
    )

    @settings(deadline=None, max_examples=100)
    @given(trees)
    def test_fuzz(self, tree: list[tuple[list[str], str, str]]) -> None:
        """Whatever tree of files it is given, the finder answers or says what is missing."""
        with tempfile.TemporaryDirectory() as folder:
            for folders, name, suffix in tree:
                path = Path(folder, *folders, name + suffix)
                if not any(parent.is_file() for parent in path.parents) and not path.exists():
                    make(Path(folder), path.relative_to(folder).as_posix())
            with suppress(DataError):
                found = find_validation(Path(folder))
                files = [mask.file for masks in found.masks.values() for mask in masks]
                assert len(files) == len(set(files))
                assert not set(files) & set(found.photos.values())
