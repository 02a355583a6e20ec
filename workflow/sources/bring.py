"""Bring what a source found into the one layout of ``data/raw``, and account for every file.

train/NAME.EXT   valid/gt/ID.EXT   valid/ec/ID/ID_K.png   valid/or/ID/ID_K.png
manifest.csv     rejected.csv
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from pconv.errors import ImageError, MaskError, PConvError
from pconv.images import (
    Mask,
    Pixels,
    is_plain_jpeg,
    known_from_foreign,
    read_image,
    read_mask,
    write_image,
    write_mask,
)
from pconv.masks import blocks, silhouettes
from workflow.parallel import map_items
from workflow.sources.account import Account, Brought, Rejected
from workflow.sources.found import FoundMask, Photo
from workflow.sources.names import flaw_in_name, folded

TRAIN = "train"
PHOTOS = "valid/gt"

MIN_SIDE_PX, MAX_ASPECT = 8, 100  # scaled to a square's side, a thinner one fills the memory

_STREAM = 0  # the stage number of download in the seeds of its draws
_GENERATORS = {"ec": blocks, "or": silhouettes}
_MAX_HOLE_SHARE = 0.5


Named = TypeVar("Named", Photo, FoundMask)


def bring_photos(
    photos: Sequence[Photo], folder: str, out: Path, max_pixels: int, account: Account
) -> list[Brought]:
    """Bring photographs into ``out/folder``: upright 8-bit JPEG as they are, others as RGB PNG."""
    kept, refused = _sort_out(photos, lambda photo: photo.name)
    make = partial(_bring_photo, out=out, folder=folder, max_pixels=max_pixels)
    account.add(refused, len(photos) - len(kept), folder)
    return account.add(map_items(make, kept, what=folder), len(kept), folder)


def bring_masks(
    masks: Sequence[FoundMask],
    kind: str,
    photos: Mapping[str, tuple[int, int]],
    out: Path,
    *,
    ones_are_holes: bool,
    max_pixels: int,
    account: Account,
) -> list[Brought]:
    """Bring masks into ``out/valid/KIND`` as 1-bit PNG; one that does not fit is rejected.

    Args:
        masks: The masks as found.
        kind: ec or or.
        photos: (width, height) of each validation photo by ID.
        out: The raw folder.
        ones_are_holes: The masks are of foreign polarity: white marks what is missing.
        max_pixels: Reject larger masks before they are decoded.
        account: Takes in what is brought and what is rejected.

    Raises:
        MaskError: If the set's median hole share is above one half.
    """
    folder = f"valid/{kind}"
    make = partial(
        _bring_mask,
        out=out,
        folder=folder,
        photos=photos,
        ones_are_holes=ones_are_holes,
        max_pixels=max_pixels,
    )
    kept, refused = _sort_out(masks, _mask_name)
    account.add(refused, len(masks) - len(kept), folder)
    brought = account.add(map_items(make, kept, what=folder), len(kept), folder)
    _check_polarity(brought, kind, ones_are_holes)
    return brought


def make_masks(
    kind: str,
    photos: Mapping[str, tuple[int, int]],
    out: Path,
    *,
    per_photo: int,
    seed: int,
    account: Account,
) -> list[Brought]:
    """Draw ``per_photo`` masks of a kind for each validation photo, into ``out/valid/KIND``."""
    wanted = [
        (photo, number, size)
        for photo, size in sorted(photos.items())
        for number in range(per_photo)
    ]
    make = partial(_make_mask, kind=kind, out=out, seed=seed)
    return account.add(map_items(make, wanted, what=f"valid/{kind}"), len(wanted), f"valid/{kind}")


def drop_shared(
    train: Sequence[Brought], valid: Sequence[Brought], out: Path, account: Account
) -> list[Brought]:
    """Reject training photographs that are validation photographs too; return the others."""
    in_valid = {photo.sha256: photo.path for photo in valid}
    for photo in train:
        if photo.sha256 in in_valid:
            (out / photo.path).unlink()
            account.brought.remove(photo)
            reason = f"it is the validation photo {in_valid[photo.sha256]} too"
            account.rejected.append(Rejected(photo.source, reason))
    return [photo for photo in train if photo.sha256 not in in_valid]


def photo_id(photo: Brought) -> str:
    """Return the ID of a validation photo: its file name without the suffix."""
    return Path(photo.path).stem


def _sort_out(
    found: Sequence[Named], name_of: Callable[[Named], str]
) -> tuple[list[Named], list[Rejected]]:
    """Part the files whose names can be used from those that would overwrite or mislead."""
    kept: list[Named] = []
    refused: list[Rejected] = []
    taken: set[str] = set()
    for one in found:
        name = name_of(one)
        flaw = flaw_in_name(name)
        if flaw is None and folded(name) in taken:
            flaw = f"another file is called {name} too, but for suffix and case: rename one"
        if flaw is None:
            taken.add(folded(name))
            kept.append(one)
        else:
            refused.append(Rejected(one.source, flaw))
    return kept, refused


def _mask_name(mask: FoundMask) -> str:
    return f"{mask.photo}_{mask.number}"


def _bring_photo(photo: Photo, *, out: Path, folder: str, max_pixels: int) -> Brought | Rejected:
    try:
        image = read_image(photo.file, max_pixels=max_pixels)
        plain = is_plain_jpeg(photo.file, max_pixels=max_pixels)
    except ImageError as error:
        return Rejected(photo.source, _reason(error, photo.file))
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX or max(height, width) > MAX_ASPECT * min(height, width):
        wanted = f"sides of {MIN_SIDE_PX} or more, one at most {MAX_ASPECT} times the other"
        return Rejected(photo.source, f"{width}x{height} pixels; wanted {wanted}")
    path = f"{folder}/{photo.name}.{'jpg' if plain else 'png'}"
    if plain:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo.file, out / path)
    else:
        write_image(out / path, image)
    return _entry(out, path, image, photo.source, photo.licence)


def _bring_mask(
    mask: FoundMask,
    *,
    out: Path,
    folder: str,
    photos: Mapping[str, tuple[int, int]],
    ones_are_holes: bool,
    max_pixels: int,
) -> Brought | Rejected:
    size = photos.get(mask.photo)
    if size is None:
        return Rejected(mask.source, f"there is no validation photo {mask.photo}")
    try:
        known = read_mask(mask.file, grey=True, max_pixels=max_pixels)
    except MaskError as error:
        return Rejected(mask.source, _reason(error, mask.file))
    height, width = known.shape
    if (width, height) != size:
        wanted = f"its photo has {size[0]}x{size[1]}"
        return Rejected(mask.source, f"it has {width}x{height} pixels, but {wanted}")
    path = f"{folder}/{mask.photo}/{_mask_name(mask)}.png"
    known = known_from_foreign(known) if ones_are_holes else known
    return _write(out, path, known, mask.source, mask.licence)


def _make_mask(
    wanted: tuple[str, int, tuple[int, int]], *, kind: str, out: Path, seed: int
) -> Brought | Rejected:
    photo, number, (width, height) = wanted
    path = f"valid/{kind}/{photo}/{photo}_{number}.png"
    # The mask depends on its own name, not on its place in a list that a new photo would shift.
    item = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")
    known = _GENERATORS[kind](np.random.default_rng([seed, _STREAM, item]), height, width)
    source = f"drawn by {_GENERATORS[kind].__name__}, seed {seed}"
    return _write(out, path, known, source, "CC0-1.0")


def _write(out: Path, path: str, known: Mask, source: str, licence: str) -> Brought:
    write_mask(out / path, known)
    return _entry(out, path, known, source, licence, hole_share=float(np.mean(~known)))


def _entry(
    out: Path,
    path: str,
    pixels: Pixels | Mask,
    source: str,
    licence: str,
    hole_share: float | None = None,
) -> Brought:
    content = (out / path).read_bytes()
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(content).hexdigest()
    return Brought(path, digest, len(content), width, height, source, licence, hole_share)


def _reason(error: PConvError, file: Path) -> str:
    """Return an error's words without the path of the temporary folder, which is never the same."""
    return str(error).removeprefix(f"{file}: ").replace(str(file), file.name)


def _check_polarity(masks: Sequence[Brought], kind: str, ones_are_holes: bool) -> None:
    shares = [mask.hole_share for mask in masks if mask.hole_share is not None]
    if not shares or median(shares) <= _MAX_HOLE_SHARE:
        return
    raise MaskError(
        f"the {kind} masks: half of them have more than {median(shares):.2f} of their pixels as "
        "holes; white must mean known: if black and white are exchanged, set "
        f"download.masks_mark_holes to {str(not ones_are_holes).lower()}; if they hold 0 and 1, "
        "multiply them by 255"
    )
