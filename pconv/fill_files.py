"""Fill photograph files: which mask belongs to which, what the result is called, and the fill."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pconv.errors import (
    GreyMaskError,
    ImageError,
    MaskError,
    ParameterError,
    TransparentMaskError,
    is_lack_of_memory,
)
from pconv.hole_marks import TRANSPARENT, HoleMarks, known_pixels
from pconv.inpainting import Inpainter
from pconv.photo_files import SUFFIXES, check_ending, check_format, read_photo, write_photo

_MASK_ENDINGS = ("_mask", "-mask", ".mask")
_FILLED = "-filled"  # ends the name of a result that lies beside its photo
_KEPT_SUFFIXES = (".tif", ".tiff", ".png")  # others lose pixels: their fills become PNG files
Job = tuple[Path, Path | None, Path]  # photo, mask if there is one, result


def find_files(names: Iterable[str], *, masks: bool = False) -> list[Path]:
    """Return the files that names stand for, in order and each once.

    Args:
        names: Files, folders (all pictures in them but hidden ones), and patterns such as
            ``scans/*.png`` or ``**/*.jpg``; of folders and patterns files called ``…-filled`` are
            left out, and, if masks are not looked for, those called ``…_mask``.
        masks: Whether masks are looked for.

    Raises:
        ImageError: If a name stands for nothing.
    """
    found: dict[Path, None] = {}
    for name in names:
        files = _files(Path(name), name, masks)
        if not files:
            raise ImageError(f"{name}: no such file, no pictures in it, and no file matches it")
        found.update(dict.fromkeys(files))
    return list(found)


def mask_for_all(names: list[str]) -> Path | None:
    """Return the mask that serves all photos: a single file, named as such, if that was given.

    A folder or pattern stands for masks of the photos' names, also where it holds one only.
    """
    return Path(names[0]) if len(names) == 1 and Path(names[0]).is_file() else None


def match_masks(photos: list[Path], masks: list[Path]) -> list[Path | None]:
    """Return each photo's mask, that of its name, or none where none fits.

    ``mask/cat.png``, ``cat_mask.png``, ``cat-mask.png`` and ``cat.mask.png`` fit ``cat.jpg``;
    ``mask/gas_mask.png`` fits ``gas_mask.jpg`` as well as ``gas.jpg``. A photo is no mask, unless
    it is called one.

    Raises:
        MaskError: If two masks fit one name.
    """
    by_name: dict[str, Path] = {}
    same_name: dict[str, Path] = {}
    called_mask = {photo.resolve(): _is_called_mask(photo) for photo in photos}
    for mask in (mask for mask in masks if called_mask.get(mask.resolve(), True)):
        other = by_name.setdefault(_photo_stem(mask), mask)
        if other != mask:
            raise MaskError(f"{mask}: fits the same photos as {other}; wanted one mask a name")
        if mask.resolve() not in called_mask:
            same_name[mask.stem] = mask
    return [by_name.get(photo.stem) or same_name.get(photo.stem) for photo in photos]


def with_masks(
    photos: list[Path], masks: list[Path], *, for_all: Path | None = None
) -> list[tuple[Path, Path | None]]:
    """Return photos with their masks, as far as they have one.

    Args:
        photos: Files.
        masks: None, one for all, or one for each name (`match_masks`).
        for_all: The one of the masks that serves all photos, if one does.

    Raises:
        MaskError: If two masks fit one name.
        ParameterError: If a photo looks like a mask beside one for all.
    """
    if for_all is None:
        return list(zip(photos, match_masks(photos, masks), strict=True))
    _refuse_masks_among(photos, for_all)
    # In the folder of the photos it is not meant as one of them; alone it is.
    others = [photo for photo in photos if photo.resolve() != for_all.resolve()]
    return [(photo, for_all) for photo in others or photos]


def result_path(photo: Path, out: Path | None, *, into_folder: bool) -> Path:
    """Return where the fill of a photo goes.

    TIFF and PNG files keep their format; the others become PNG files, which lose nothing.

    Args:
        photo: The photo.
        out: What was asked for: a file, a folder, or nothing for beside the photo.
        into_folder: Whether ``out`` is a folder.
    """
    suffix = photo.suffix.lower() if photo.suffix.lower() in _KEPT_SUFFIXES else ".png"
    if out is None:
        return photo.with_name(f"{photo.stem}{_FILLED}{suffix}")
    return out / f"{photo.stem}{suffix}" if into_folder else out


def plan_jobs(
    photos: list[Path], masks: list[Path], out: str | None, *, for_all: Path | None = None
) -> list[Job]:
    """Match photos with masks and results.

    Args:
        photos: Files to fill.
        masks: None, one for all, or one for each name.
        out: File for a single photo, or folder, or nothing for beside the photos. What ends in a
            slash is a folder.
        for_all: The one of the masks that serves all photos, if one does.

    Raises:
        ImageError: If a result has an ending that can't be written.
        MaskError: If two masks fit one name.
        ParameterError: If two photos would have one result, one's would replace another, or what
            is there is neither file nor folder; if a photo looks like a mask beside one for all.
    """
    pairs = with_masks(photos, masks, for_all=for_all)
    photos = [photo for photo, _ in pairs]
    place = None if out is None else Path(out)
    into_folder = out is not None and _is_folder(out, len(photos))
    results = [result_path(photo, place, into_folder=into_folder) for photo in photos]
    inputs = {path.resolve() for path in (*photos, *masks)}
    counts = Counter(results)
    for (photo, mask), result in zip(pairs, results, strict=True):
        check_ending(result)
        if counts[result] > 1:
            raise ParameterError(
                f"{photo}: another photo's fill would be {result} too; fill them one by one"
            )
        own = {path.resolve() for path in (photo, mask) if path}  # `fill_file` minds these
        if (full := result.resolve()) in inputs and full not in own:
            raise ParameterError(
                f"{photo}: its fill would be {result}, a photo or mask that is read here too; "
                "name a folder with -o"
            )
    return [(photo, mask, result) for (photo, mask), result in zip(pairs, results, strict=True)]


def _refuse_masks_among(photos: list[Path], for_all: Path) -> None:
    """Refuse what a shell makes of ``-m masks/*.png``: one mask, and the others among the photos.

    Of folders and patterns files called masks are left out, so here they were named one by one.
    """
    stems = Counter(photo.stem for photo in photos)
    if len(photos) < 2 or _photo_stem(for_all) not in stems:
        return  # no photo's mask, so it was not the first of such a pattern
    for photo in photos:
        is_beside = (photo.parent, photo.suffix) == (for_all.parent, for_all.suffix)
        if (is_beside and stems[photo.stem] > 1) or _is_called_mask(photo):
            raise ParameterError(
                f"{photo}: looks like a mask, not a photo; quote the pattern of the masks, as in "
                "-m 'masks/*.png', or write -m before each"
            )


def _is_folder(out: str, photos: int) -> bool:
    """Return whether so many photos' results go into a folder; refuse what can't take them."""
    path, is_told = Path(out), out.endswith(("/", os.sep))
    if out == "-" or (path.exists() and not (path.is_file() or path.is_dir())):
        raise ParameterError(f"{out}: no place for results; wanted a file or a folder")
    names_picture = path.suffix.lower() in SUFFIXES and not (is_told or path.is_dir())
    # A file without an ending could not be written, so `-o filled` means a new folder.
    into_folder = photos > 1 or is_told or path.is_dir() or not path.suffix
    if into_folder and (path.is_file() or names_picture):
        is_what = "is a file" if path.is_file() else "is the name of one picture"
        raise ParameterError(f"{out}: {is_what}; wanted a folder for {photos} results")
    return into_folder


def fill_file(job: Job, inpainter: Inpainter, marks: HoleMarks, *, overwrite: bool) -> float:
    """Fill one photograph file.

    Args:
        job: Photo, mask and result.
        inpainter: Fills it.
        marks: How holes are marked.
        overwrite: Whether the result may take the place of photo or mask.

    Returns:
        The share of hole, 0 to 1.

    Raises:
        PConvError: If photo or mask is bad, or would be overwritten; the message names the file.
    """
    photo_path, mask_path, result = job
    if mask_path is None and marks.colour is None:
        raise MaskError(f"{photo_path}: no mask of that name, and no colour marks its holes")
    if not overwrite:
        refuse_overwriting(result, photo_path, mask_path, hint=", or give --overwrite")
    photo = read_photo(photo_path)
    check_format(result, photo)  # before the work
    with told_lack_of_memory(photo_path, photo.upright.shape):
        with named_mask_errors(mask_path or photo_path):
            known = known_pixels(photo, mask_path, marks, name=photo_path)
            filled = inpainter(photo.upright, known)
        if mask_path is None and marks.colour == TRANSPARENT:
            # A soft eraser leaves pixels half transparent, which a fill that is seen is not.
            filled[~known, -1] = np.iinfo(filled.dtype).max
        write_photo(result, photo.with_upright(filled))
    return 1 - np.count_nonzero(known) / known.size


def refuse_overwriting(result: Path, *inputs: Path | None, hint: str = "") -> None:
    """Refuse a result that would take the place of what it is made from.

    Raises:
        ParameterError: If it would.
    """
    if result.exists() and any(path and path.exists() and result.samefile(path) for path in inputs):
        raise ParameterError(f"{result}: would overwrite the input; name another with -o{hint}")


@contextmanager
def named_mask_errors(path: Path) -> Iterator[None]:
    """Have a MaskError begin with the name of the file that marks the holes."""
    try:
        yield
    except GreyMaskError as error:
        raise MaskError(f"{error}; --hole-color black --tolerance 100 reads such a mask") from error
    except TransparentMaskError as error:
        raise MaskError(
            f"{error}, or, where they are the hole, --hole-color transparent"
        ) from error
    except MaskError as error:
        message = str(error)
        is_named = message.startswith(str(path))
        raise MaskError(message if is_named else f"{path}: {message}") from error


@contextmanager
def told_lack_of_memory(photo: Path, shape: tuple[int, ...]) -> Iterator[None]:
    """Turn whatever says that there is too little memory into an error that names the photo.

    Args:
        photo: Its file.
        shape: Of its pixels.

    Raises:
        ImageError: If there is too little.
    """
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not is_lack_of_memory(error):
            raise
        raise ImageError(
            f"{photo}: {shape[1]}x{shape[0]} pixels; filling it takes more memory than there is: "
            "try --max-side 1024, or make the photo smaller"
        ) from error


def _files(path: Path, name: str, masks: bool) -> list[Path]:
    # A file may be called like a pattern: photo[1].jpg.
    if path.is_file():
        return [path]
    if path.is_dir():
        files = (file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        # As a pattern does: macOS leaves a ._cat.png, which is no picture, beside cat.png.
        found = [file for file in files if not (file.name.startswith(".") or file.is_dir())]
    else:
        matching = map(Path, glob.glob(name, recursive=True))  # noqa: PTH207  # may be absolute
        found = [file for file in matching if file.is_file()]
    wanted = (file for file in found if masks or not _is_called_mask(file))
    return sorted(file for file in wanted if not file.stem.endswith(_FILLED))


def _is_called_mask(file: Path) -> bool:
    return _photo_stem(file) != file.stem


def _photo_stem(mask: Path) -> str:
    for ending in _MASK_ENDINGS:
        if mask.stem.endswith(ending) and mask.stem != ending:
            return mask.stem.removesuffix(ending)
    return mask.stem
