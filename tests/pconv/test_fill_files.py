"""Files are found, matched by name, and filled without loss."""

import os
import shutil
from pathlib import Path, PurePath
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from pconv.errors import ImageError, MaskError, ParameterError
from pconv.fill_files import (
    fill_file,
    find_files,
    mask_for_all,
    match_masks,
    plan_jobs,
    result_path,
)
from pconv.hole_marks import HoleMarks
from pconv.inpainting import Inpainter

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TELEA = Inpainter(method="telea")
KNOWN = np.ones((20, 30), bool)
KNOWN[5:9, 10:20] = False


def noise(dtype: str, *shape: int) -> NDArray[Any]:
    """Return random pixels of a dtype."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


class TestFindFiles:
    """Names, folders and patterns."""

    def test_values(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """All three are found, in order, each file once."""
        touch(
            tmp_path,
            "a/2.png",
            "a/._2.png",
            "a/1.JPG",
            "a/1_mask.png",
            "a/notes.txt",
            "b[1].png",
            "c.tif",
        )
        monkeypatch.chdir(tmp_path)
        found = find_files(["b[1].png", "a", "*.tif", "a/2.png", str(tmp_path / "*.tif")])
        names = ["b[1].png", "a/1.JPG", "a/2.png", "c.tif", str(tmp_path / "c.tif")]
        assert found == [Path(name) for name in names]

    def test_masks(self, tmp_path: Path) -> None:
        """Files called masks are found among masks only."""
        touch(tmp_path, "1.png", "1_mask.png")
        for name in (str(tmp_path), str(tmp_path / "*.png")):
            assert find_files([name]) == [tmp_path / "1.png"]
            assert len(find_files([name], masks=True)) == 2
        assert find_files([str(tmp_path / "1_mask.png")]) == [tmp_path / "1_mask.png"]

    def test_filled(self, tmp_path: Path) -> None:
        """Of a folder, results of an earlier run are no photos; named as files they are."""
        touch(tmp_path, "1.png", "1-filled.png")
        for name in (str(tmp_path), str(tmp_path / "*.png")):
            assert find_files([name]) == [tmp_path / "1.png"]
        assert find_files([str(tmp_path / "1-filled.png")]) == [tmp_path / "1-filled.png"]

    def test_folder_like_a_picture(self, tmp_path: Path) -> None:
        """A folder in a folder is no picture, whatever its name; nor is it by a pattern."""
        touch(tmp_path, "1.png", "2.png/3.png")
        for name in (str(tmp_path), str(tmp_path / "*.png")):
            assert find_files([name]) == [tmp_path / "1.png"]

    def test_raises(self, tmp_path: Path) -> None:
        """A name that stands for nothing is told."""
        with pytest.raises(ImageError, match="none"):
            find_files([str(tmp_path / "none*.png")])


class TestMatchMasks:
    """Each photo has its mask."""

    def test_by_name(self) -> None:
        """The mask of a photo has its name, with or without an ending."""
        photos = [Path("a.jpg"), Path("b.png"), Path("c.png"), Path("d.png"), Path("e.png")]
        masks = [Path("m/b_mask.png"), Path("m/a.png"), Path("c-mask.tif"), Path("d.mask.png")]
        assert match_masks(photos, masks) == [masks[1], masks[0], masks[2], masks[3], None]

    def test_one_for_all(self, tmp_path: Path) -> None:
        """A single file serves every photo, whatever its name; a folder that holds one does not."""
        touch(tmp_path, "masks/m.png", "other.png")
        file = tmp_path / "masks/m.png"
        assert mask_for_all([str(file)]) == file
        assert mask_for_all([str(tmp_path / "masks")]) is None
        assert mask_for_all([str(file), str(tmp_path / "other.png")]) is None
        photos = [Path("a.jpg"), Path("m.jpg")]
        assert [job[1] for job in plan_jobs(photos, [file], None, for_all=file)] == [file] * 2
        assert [job[1] for job in plan_jobs(photos, [file], None)] == [None, file]

    def test_photo_called_mask(self) -> None:
        """A photo whose name ends as a mask's does gets the mask of its name, but never itself."""
        photos, mask = [Path("gas_mask.jpg"), Path("gas.jpg")], Path("m/gas_mask.png")
        assert match_masks(photos, [mask]) == [mask, mask]
        both = [mask, Path("m/gas_mask_mask.png")]
        assert match_masks(photos, both) == [both[1], mask]
        assert match_masks(photos[:1], photos[:1]) == [None]

    def test_raises(self) -> None:
        """Two masks for one name are refused."""
        with pytest.raises(MaskError, match=r"a_mask\.png.*a\.png"):
            match_masks([Path("a.jpg")], [Path("a.png"), Path("a_mask.png")])

    def test_beside(self) -> None:
        """Where masks lie beside the photos, no photo is one, but for what is called so."""
        photos, mask = [Path("a.jpg"), Path("b.jpg")], Path("a_mask.png")
        assert match_masks(photos, [*photos, mask]) == [mask, None]
        assert match_masks([*photos, mask], [mask]) == [mask, None, None]


class TestResultPath:
    """Where a fill goes."""

    @pytest.mark.parametrize(
        ("photo", "out", "into_folder", "wanted"),
        [
            ("x/a.jpg", None, False, "x/a-filled.png"),
            ("x/a.TIF", None, False, "x/a-filled.tif"),
            ("x/a.jpg", "b.jpg", False, "b.jpg"),
            ("x/a.webp", "y", True, "y/a.png"),
            ("x/a.tiff", "y", True, "y/a.tiff"),
        ],
    )
    def test_values(self, photo: str, out: str | None, into_folder: bool, wanted: str) -> None:
        """Beside the photo, at the given name, or in the folder; lossless unless asked."""
        path = result_path(Path(photo), Path(out) if out else None, into_folder=into_folder)
        assert path == Path(wanted)


class TestPlanJobs:
    """Which file becomes which."""

    def test_new_folder(self) -> None:
        """A result without an ending is a folder to be made."""
        jobs = plan_jobs([Path("a.jpg")], [Path("a.png")], "filled")
        assert jobs == [(Path("a.jpg"), Path("a.png"), Path("filled/a.png"))]

    def test_told_folder(self) -> None:
        """So is one whose name ends in a slash, whatever is before that."""
        jobs = plan_jobs([Path("a.jpg")], [], "results.2024/")
        assert jobs == [(Path("a.jpg"), None, Path("results.2024/a.png"))]

    @pytest.mark.parametrize("out", ["-", "/dev/null", "pipe.png"])
    def test_streams(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
        """What can't be a file or a folder is refused in words of its own."""
        monkeypatch.chdir(tmp_path)
        os.mkfifo("pipe.png")
        with pytest.raises(ParameterError, match=f"^{out}: no place for results; wanted a file"):
            plan_jobs([Path("a.jpg")], [], out)

    @pytest.mark.parametrize("other", ["photo", "mask"])
    def test_keeps_other_inputs(self, other: str) -> None:
        """A result that would take the place of another photo, or its mask, is refused."""
        photos = [Path("a.jpg"), Path("a-filled.png")] if other == "photo" else [Path("a.jpg")]
        masks = [Path("b.png")] if other == "photo" else [Path("a_mask.png"), Path("a-filled.png")]
        with pytest.raises(ParameterError, match=r"a\.jpg: its fill would be a-filled\.png"):
            plan_jobs(photos, masks, None)

    @pytest.mark.parametrize(
        ("photos", "mask", "refused"),
        [
            (["s/a.jpg", "s/b.jpg", "s/b_mask.png"], "s/a_mask.png", "s/b_mask.png"),
            (["a.jpg", "b-mask.png"], "a-mask.png", "b-mask.png"),
            (["s/a.jpg", "s/b.jpg", "m/b.png"], "m/a.png", "m/b.png"),
            (["t/a.tif", "t/b.tif", "t/b.png"], "t/a.png", "t/b.png"),
        ],
    )
    def test_masks_among_photos(self, photos: list[str], mask: str, refused: str) -> None:
        """Masks that a shell made photos of are refused, with what to write instead."""
        words = rf"^{refused}: looks like a mask, .* -m 'masks/\*\.png', or write -m before each$"
        with pytest.raises(ParameterError, match=words):
            plan_jobs([Path(photo) for photo in photos], [], None, for_all=Path(mask))

    @pytest.mark.parametrize(
        ("photos", "mask"),
        [
            (["s/face_mask.jpg"], "s/a_mask.png"),
            (["s/a.jpg", "s/b.jpg"], "s/hole.png"),
            (["a.jpg", "s/b.jpg"], "mask.png"),
            (["s/a.jpg", "s/b.jpg"], "m/a_mask.png"),
            (["2023/a.jpg", "2024/a.jpg"], "2024/logo.png"),
            (["p/carnival-mask.jpg", "p/b.jpg"], "logo.png"),
            (["p/gas_mask.jpg"], "p/gas_mask_mask.png"),
        ],
    )
    def test_mask_beside(self, photos: list[str], mask: str) -> None:
        """One mask serves several photos wherever they lie, and a photo alone whatever its name."""
        jobs = plan_jobs([Path(photo) for photo in photos], [], None, for_all=Path(mask))
        assert [job[1] for job in jobs] == [Path(mask)] * len(photos)

    def test_mask_among_photos(self) -> None:
        """The mask for all is none of the photos whose folder it lies in; a photo alone may be."""
        photos, mask = [Path("a.png"), Path("mask.png"), Path("z.png")], Path("./mask.png")
        jobs = plan_jobs(photos, [mask], None, for_all=mask)
        assert [job[0] for job in jobs] == [Path("a.png"), Path("z.png")]
        assert plan_jobs(photos[:2], [mask], "out.png", for_all=mask)[0][2] == Path("out.png")
        assert len(plan_jobs([mask], [mask], None, for_all=mask)) == 1

    @pytest.mark.parametrize("out", ["a.png", "m.png"])
    def test_own_input(self, out: str) -> None:
        """A photo's own place and its mask's are for `fill_file` to keep or, if told to, give."""
        photo, mask = Path("a.png"), Path("m.png")
        assert plan_jobs([photo], [mask], out, for_all=mask) == [(photo, mask, Path(out))]

    def test_folder_like_a_picture(self, tmp_path: Path) -> None:
        """A folder that is there is one, whatever its name."""
        out = tmp_path / "out.png"
        out.mkdir()
        jobs = plan_jobs([Path("a.jpg"), Path("b.jpg")], [], str(out))
        assert [job[2] for job in jobs] == [out / "a.png", out / "b.png"]

    def test_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The results of many photos are not compared each with each."""
        compared, equal = [0], PurePath.__eq__

        def counted(one: PurePath, other: object) -> bool:
            compared[0] += 1
            return equal(one, other)

        monkeypatch.setattr(PurePath, "__eq__", counted)
        plan_jobs([Path(f"{number}.png") for number in range(200)], [], "out")
        assert compared[0] < 10 * 200

    def test_ending(self) -> None:
        """An ending that can't be written is told before anything is filled."""
        with pytest.raises(ImageError, match=r"a\.gif: can't write \.gif; wanted one of \.png"):
            plan_jobs([Path("a.jpg")], [], "a.gif")

    def test_raises(self, tmp_path: Path) -> None:
        """Two photos with one result, and a file in place of the folder, are refused."""
        photos = [Path("a.jpg"), Path("a.png")]
        with pytest.raises(ParameterError, match=r"another photo's fill would be .*a\.png"):
            plan_jobs(photos, [], str(tmp_path / "new"))
        with pytest.raises(ParameterError, match=r"name of one picture; wanted a folder for 2"):
            plan_jobs(photos, [], str(tmp_path / "out.png"))
        touch(tmp_path, "out.png", "notes")
        for name in ("out.png", "notes"):
            with pytest.raises(ParameterError, match=f"{name}: is a file; wanted a folder for 2"):
                plan_jobs(photos, [], str(tmp_path / name))


class TestFillFile:
    """Another library sees the known pixels unchanged."""

    @pytest.fixture
    def mask(self, tmp_path: Path) -> Path:
        """Write the mask."""
        Image.fromarray(KNOWN).save(tmp_path / "mask.png")
        return tmp_path / "mask.png"

    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    @pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_known_pixels(
        self, tmp_path: Path, mask: Path, dtype: str, shape: tuple[int, ...], suffix: str
    ) -> None:
        """In PNG and TIFF, 8 and 16 bits, grey, colour and alpha, written by other libraries."""
        path, result, pixels = (
            tmp_path / f"a{suffix}",
            tmp_path / f"b{suffix}",
            noise(dtype, *shape),
        )
        if suffix == ".tif":
            alpha = {"extrasamples": ["unassalpha"]} if shape[-1] == 4 else {}
            kind = "minisblack" if len(shape) == 2 else "rgb"
            tifffile.imwrite(path, pixels, photometric=kind, **alpha)
            read = tifffile.imread
        else:
            cv2.imwrite(str(path), pixels)

            def read(path: Path) -> Any:
                return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

        share = fill_file((path, mask, result), TELEA, HoleMarks(), overwrite=False)
        before, after = read(path), read(result)
        assert share == pytest.approx(40 / 600)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert (after[KNOWN] == before[KNOWN]).all()
        assert (after[~KNOWN] != before[~KNOWN]).mean() > 0.6

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_jpeg(self, tmp_path: Path, mask: Path, orientation: int) -> None:
        """A JPEG becomes a PNG with its profile, orientation and known pixels."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        shape = (30, 20, 3) if orientation > 4 else (20, 30, 3)
        path, result = tmp_path / "photo.jpg", tmp_path / "result.png"
        Image.fromarray(noise("u1", *shape)).save(path, exif=exif, icc_profile=PROFILE)
        fill_file((path, mask, result), TELEA, HoleMarks(), overwrite=False)
        with Image.open(path) as before, Image.open(result) as after:
            assert after.format == "PNG"
            assert after.info["icc_profile"] == PROFILE
            assert after.getexif()[0x0112] == orientation
            upright = [np.asarray(ImageOps.exif_transpose(image)) for image in (before, after)]
        changed = (upright[0] != upright[1]).any(axis=-1)
        assert not changed[KNOWN].any()
        assert changed[~KNOWN].mean() > 0.9

    def test_transparent(self, tmp_path: Path) -> None:
        """An erased part is filled and opaque; other alpha is kept."""
        pixels = noise("u1", 20, 30, 4)
        pixels[..., 3] = 200
        pixels[~KNOWN] = 0
        path, result = tmp_path / "photo.png", tmp_path / "result.png"
        Image.fromarray(pixels).save(path)
        fill_file((path, None, result), TELEA, HoleMarks("transparent"), overwrite=False)
        after = np.asarray(Image.open(result))
        assert (after[KNOWN] == pixels[KNOWN]).all()
        assert (after[~KNOWN, 3] == 255).all()
        assert after[~KNOWN, :3].any(axis=-1).all()

    def test_softly_erased(self, tmp_path: Path) -> None:
        """What a soft eraser left half transparent is opaque too, where it is filled."""
        pixels = noise("u1", 20, 30, 4)
        pixels[..., 3] = 200
        pixels[~KNOWN, 3] = np.arange(np.count_nonzero(~KNOWN)) % 150
        path, result = tmp_path / "photo.png", tmp_path / "result.png"
        Image.fromarray(pixels).save(path)
        marks = HoleMarks("transparent", tolerance=150)
        fill_file((path, None, result), TELEA, marks, overwrite=False)
        after = np.asarray(Image.open(result))
        assert (after[KNOWN] == pixels[KNOWN]).all()
        assert (after[~KNOWN, 3] == 255).all()

    def test_refused_at_once(self, tmp_path: Path, mask: Path) -> None:
        """A result that can't hold the photo's alpha is refused before the work of filling."""
        path, result = tmp_path / "photo.png", tmp_path / "result.jpg"
        Image.fromarray(noise("u1", 20, 30, 4)).save(path)

        def fill(image: object, known: object) -> NoReturn:
            pytest.fail("it was filled")

        with pytest.raises(ImageError, match=r"result.jpg: JPEG can't hold 8 bits, 4 channels"):
            fill_file((path, mask, result), fill, HoleMarks(), overwrite=False)

    @pytest.mark.parametrize("which", ["photo", "link", "mask"])
    def test_overwrite(self, tmp_path: Path, mask: Path, which: str) -> None:
        """Photo and mask are never overwritten, by any name, unless asked."""
        photo = tmp_path / "photo.png"
        Image.fromarray(noise("u1", 20, 30, 3)).save(photo)
        before = photo.read_bytes()
        (tmp_path / "link.png").symlink_to(photo)
        result = {"photo": photo, "link": tmp_path / "link.png", "mask": mask}[which]
        with pytest.raises(ParameterError, match="would overwrite"):
            fill_file((photo, mask, result), TELEA, HoleMarks(), overwrite=False)
        assert photo.read_bytes() == before
        fill_file((photo, mask, result), TELEA, HoleMarks(), overwrite=True)
        with Image.open(result) as image:
            assert (np.asarray(image) == noise("u1", 20, 30, 3)).mean() < 1

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            cv2.error("OpenCV(5) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate"),
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        ],
    )
    def test_memory(self, tmp_path: Path, mask: Path, error: Exception) -> None:
        """Too little memory, whoever says so, is told with the photo, its size and a way out."""

        def fill(*_: object) -> Any:
            raise error

        photo, result = tmp_path / "photo.png", tmp_path / "result.png"
        Image.fromarray(noise("u1", 20, 30, 3)).save(photo)
        inpainter: Any = fill
        with pytest.raises(ImageError, match=r"photo\.png: 30x20 pixels; .* memory .*--max-side"):
            fill_file((photo, mask, result), inpainter, HoleMarks(), overwrite=False)
        assert not result.exists()

    def test_again(self, tmp_path: Path, mask: Path) -> None:
        """An earlier result is replaced."""
        shutil.copy(mask, tmp_path / "photo.png")
        result = tmp_path / "result.png"
        result.write_text("an earlier result")
        fill_file((tmp_path / "photo.png", mask, result), TELEA, HoleMarks(), overwrite=False)
        with Image.open(result) as image:
            assert image.size == (30, 20)

    def test_raises(self, tmp_path: Path, mask: Path) -> None:
        """A message names the file it is about."""
        photo, result = tmp_path / "photo.png", tmp_path / "result.png"
        Image.fromarray(noise("u1", 20, 30, 3)).save(photo)
        with pytest.raises(MaskError, match=r"mask\.png: .* looks inverted"):
            fill_file((photo, mask, result), TELEA, HoleMarks(invert=True), overwrite=False)
        with pytest.raises(MaskError, match=r"photo\.png: no mask of that name"):
            fill_file((photo, None, result), TELEA, HoleMarks(), overwrite=False)
        assert not result.exists()
