"""Find photographs and masks in a folder by looking, not by fixed paths.

The challenge's archives come with and without a folder ``data_png`` between, under two names, with
masks as PNG or JPG, and with any number of masks a photo.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from pconv.errors import DataError
from workflow.sources.names import composed

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_UNREAD_SUFFIXES = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl")
_LOSSLESS_SUFFIXES = (".bmp", ".png", ".tif", ".tiff")
_MASK_FOLDERS = {
    "ec": re.compile(r"error[-_ ]?concealment", re.IGNORECASE),
    "or": re.compile(r"object[-_ ]?removal", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class NumberedMask:
    """A mask file, the ID of its photo, and its own number (any text)."""

    file: Path
    photo: str
    number: str


@dataclass(frozen=True, slots=True)
class Validation:
    """The photographs of a validation set by ID, and its masks by kind (ec, or)."""

    photos: dict[str, Path]
    masks: dict[str, list[NumberedMask]]


def find_images(folder: Path, *, with_links: bool = False) -> list[Path]:
    """Return all image files below a folder, sorted; hidden files are left out.

    Args:
        folder: Where to look.
        with_links: Follow links, as in a user's own folder; those of an archive lead anywhere.

    Raises:
        DataError: If there is none.
    """
    images = sorted(_images_below(folder, with_links=with_links))
    if not images:
        raise DataError(
            f"{folder}: holds no image; wanted files that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    return images


def existing_folder(folder: Path, wanted: str) -> Path:
    """Return a folder of the user's; raise DataError, with what is wanted, if it is none."""
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {found}; wanted {wanted}")
    return folder


def unusable_files(folder: Path) -> list[tuple[Path, str]]:
    """Return what lies below a folder as an image and can't be read as one, sorted, each with why.

    Links that lead nowhere, as to a disk that is not there, where they are called like images or
    like folders of them, and images of other formats; hidden ones are left out.
    """
    found = []
    for file in sorted(_files_below(folder, with_links=True)):
        suffix = file.suffix.lower()
        if suffix in ("", *IMAGE_SUFFIXES) and file.is_symlink() and not file.exists():
            found.append((file, "a link that leads nowhere"))
        elif suffix in _UNREAD_SUFFIXES:
            found.append((file, f"{suffix} is not read, but {', '.join(IMAGE_SUFFIXES)} are"))
    return found


def flat_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file, without suffix: its path below the folder that holds them all.

    ``holidays/0.jpg`` and ``garden/0.jpg`` become ``holidays_0`` and ``garden_0``.
    """
    common = Path(os.path.commonpath([file.parent for file in files]))
    return ["_".join(file.relative_to(common).with_suffix("").parts) for file in files]


def find_masks(
    folder: Path, photos: Mapping[str, str] = MappingProxyType({}), *, with_links: bool = False
) -> list[NumberedMask]:
    """Return the masks below a folder, sorted.

    Args:
        folder: Holds ``ID/ID_K.png``, ``ID/K.png``, ``ID_K.png`` or, where one is enough,
            ``ID.png``, with the ID of a photo and the mask's own number; or ``PLACE_K.png`` or
            ``PLACE.png``, with the place of one in subfolders.
        photos: The IDs, as far as they are known, by place, which is the path below their folder
            without suffix: a file that is named like a photo is a mask of that one, whatever has
            a number at its end (``IMG_1001.png``).
        with_links: As in `find_images`.

    Raises:
        DataError: If there is none.
    """
    files = find_images(folder, with_links=with_links)
    ids = set(photos.values())
    return [_numbered(file, folder, ids, photos) for file in files]


def place_of(file: Path, folder: Path) -> str:
    """Return where a photo lies: its path below a folder without suffix (``holidays/0``)."""
    return composed(file.relative_to(folder).with_suffix("").as_posix())


def find_validation(root: Path) -> Validation:
    """Find the validation photographs and both kinds of masks in an unpacked archive.

    The folders of masks are known by their names; that of the photographs is the one whose files
    are named as the masks ask for.

    Raises:
        DataError: If one of the three is missing, or can't be told from another.
    """
    folders = {kind: _mask_folder(root, kind) for kind in _MASK_FOLDERS}
    masks = {kind: find_masks(folder) for kind, folder in folders.items()}
    wanted = {mask.photo for of_kind in masks.values() for mask in of_kind}
    return Validation(_photos_named(root, wanted), masks)


def _images_below(root: Path, *, with_links: bool = False) -> list[Path]:
    return [
        file
        for file in _files_below(root, with_links=with_links)
        if file.suffix.lower() in IMAGE_SUFFIXES
        and file.is_file()
        and (with_links or not file.is_symlink())
    ]


def _files_below(root: Path, *, with_links: bool) -> Iterator[Path]:
    """Yield the files below a folder, and the links that are no folders, but for hidden ones."""
    # Links come last: a folder that is found both ways keeps its own name. One may lead to where
    # it lies.
    roots, seen = [str(root)], set()
    walk = partial(os.walk, onerror=_refuse_unreadable)
    for folder, subfolders, files in chain.from_iterable(map(walk, roots)):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        # "__MACOSX" holds a shadow "._0.jpg" of each "0.jpg" that is packed on a Mac.
        visible = (name for name in subfolders if not name.startswith((".", "__MACOSX")))
        subfolders[:] = sorted(visible)
        if with_links:
            below = (os.path.join(folder, name) for name in subfolders)  # noqa: PTH118
            roots += filter(os.path.islink, below)
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _refuse_unreadable(error: OSError) -> None:
    """Refuse a folder whose files can't be listed; `os.walk` would leave them out."""
    raise error


def _mask_folder(root: Path, kind: str) -> Path:
    candidates = [one for one in _mask_folders(root) if _MASK_FOLDERS[kind].match(one.name)]
    if len(candidates) > 1:
        # The same masks may be there as PNG and as JPG; those that lost nothing are better.
        candidates = [one for one in candidates if _is_lossless(one)] or candidates
    if len(candidates) != 1:
        found = ", ".join(str(one.relative_to(root)) for one in candidates) or "none"
        wanted = _MASK_FOLDERS[kind].pattern.replace("[-_ ]?", "_")
        raise DataError(
            f"wanted one folder of {kind} masks named {wanted}*, with images in it; found: "
            f"{found}; unpack the archive and give a folder that holds one"
        )
    return candidates[0]


def _mask_folders(root: Path) -> list[Path]:
    """Return the outermost folders that are named as folders of masks and hold images."""
    matches = []
    for folder, subfolders, _ in os.walk(root):
        named = [
            name for name in subfolders if any(one.match(name) for one in _MASK_FOLDERS.values())
        ]
        matches += [Path(folder, name) for name in named]
        subfolders[:] = [name for name in subfolders if name not in named]
    return sorted(match for match in matches if _images_below(match))


def _is_lossless(folder: Path) -> bool:
    return all(file.suffix.lower() in _LOSSLESS_SUFFIXES for file in _images_below(folder))


def _numbered(
    file: Path, folder: Path, ids: Collection[str], by_place: Mapping[str, str]
) -> NumberedMask:
    parent, stem = composed(file.parent.name), composed(file.stem)
    if file.parent == folder:
        if stem in ids:
            return NumberedMask(file, stem, "0")
        photo, _, number = stem.rpartition("_")
        return NumberedMask(file, photo, number) if photo else NumberedMask(file, stem, "0")
    if parent not in ids:
        own = place_of(file, folder)
        numbered, _, number = own.rpartition("_")
        if own in by_place:
            return NumberedMask(file, by_place[own], "0")
        if numbered in by_place:
            return NumberedMask(file, by_place[numbered], number)
    return NumberedMask(file, parent, stem.removeprefix(f"{parent}_"))


def _photos_named(root: Path, wanted: set[str]) -> dict[str, Path]:
    mask_folders = _mask_folders(root)
    outside = [
        file
        for file in sorted(_images_below(root))
        if not any(file.is_relative_to(folder) for folder in mask_folders)
    ]
    named = Counter(file.parent for file in outside if composed(file.stem) in wanted)
    best = [folder for folder, count in named.items() if count == max(named.values())]
    if len(best) != 1:
        found = ", ".join(str(folder.relative_to(root)) for folder in best) or "none"
        raise DataError(
            "wanted one folder of validation photographs, named as the masks ask for "
            f"({', '.join(sorted(wanted)[:3])}, …); found: {found}; unpack the archive and give a "
            "folder that holds one"
        )
    return {composed(file.stem): file for file in outside if file.parent == best[0]}
