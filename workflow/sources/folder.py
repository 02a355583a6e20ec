"""Any photographs: a folder for training, and a folder or a held-out share for validation."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pconv.errors import DataError
from workflow.sources.account import Rejected
from workflow.sources.found import Found, FoundMask, Photo
from workflow.sources.layout import (
    existing_folder,
    find_images,
    find_masks,
    flat_names,
    place_of,
    unusable_files,
)
from workflow.sources.names import composed, without_control

_LICENCE = "as its owner says"
_WANTED = "one of images"
_DIGEST_RANGE = 2**64


def photographs_in_folders(
    train: Path,
    valid: Path | None,
    masks: dict[str, Path],
    *,
    held_out_share: float,
    seed: int,
) -> Found:
    """Find photographs, and masks where there are any.

    Args:
        train: The folder of training photographs, searched with its subfolders, but for those that
            are one of the other folders.
        valid: The folder of validation photographs; without one a share of ``train`` is held out,
            chosen by the content of each file, so that adding a photo moves no other.
        masks: Folders of masks by kind (ec, or).
        held_out_share: Share of the photographs that is held out.
        seed: Seed of the choice.

    Raises:
        DataError: If a folder is missing or holds no image, one of the two sets is empty, or a mask
            may be of a photograph of either.
    """
    photos = _photos(train, [*masks.values(), *([valid] if valid else [])])
    if valid is not None:
        held_out = _photos(valid, list(masks.values()))
        lost = _lost([train, valid, *masks.values()])
        return Found(photos, held_out, _masks(masks, held_out, valid), lost)
    if len(photos) == 1:
        raise DataError(
            f"{train}: holds one photograph; wanted one to train on and one to hold out: add "
            "another, or name a folder in download.folder_valid"
        )
    held_out = _drawn(photos, held_out_share, seed)
    drawn = set(held_out)
    # From the list: photographs of one name stay in its order, which a set has not.
    kept = sorted((one for one in photos if one not in drawn), key=lambda photo: photo.name)
    if not held_out or not kept:
        raise DataError(
            f"{train}: of {len(photos)} photographs {len(held_out)} are held out for validation; "
            "wanted some of both: change download.folder_held_out_share or the seed, or name "
            "a folder in download.folder_valid"
        )
    of_each = _masks(masks, photos, train)
    trained_on, measured = ({photo.name: photo for photo in part} for part in (kept, held_out))
    _refuse_of_either(of_each, trained_on, measured)
    of_held_out = {
        kind: [m for m in found if m.photo not in trained_on] for kind, found in of_each.items()
    }
    return Found(kept, held_out, of_held_out, _lost([train, *masks.values()]))


def _photos(folder: Path, others: Sequence[Path]) -> list[Photo]:
    """Return the photographs in a folder, but for those that lie in one of the others."""
    root = existing_folder(folder, _WANTED).resolve()
    apart = [other.resolve() for other in others]
    apart = [other for other in apart if not root.is_relative_to(other)]
    found = find_images(folder, with_links=True)
    lies_in = {place: place.resolve() for place in {file.parent for file in found}}
    files = [f for f in found if not any(lies_in[f.parent].is_relative_to(o) for o in apart)]
    if not files:
        raise DataError(f"{folder}: holds no image but those of {', '.join(map(str, others))}")
    return [
        Photo(file, without_control(composed(name)), _origin(file, folder), _LICENCE)
        for file, name in zip(files, flat_names(files), strict=True)
    ]


def _lost(folders: Sequence[Path]) -> list[Rejected]:
    """Return what is no image: left out unsaid, what is trained on would not be what is there."""
    lost: dict[Path, Rejected] = {}  # each once: one folder may lie in another
    for folder in folders:
        for file, reason in unusable_files(folder):
            lost.setdefault(file.absolute(), Rejected(_origin(file, folder), reason))
    return list(lost.values())


def _masks(
    folders: dict[str, Path], photos: Sequence[Photo], of_photos: Path
) -> dict[str, Sequence[FoundMask]]:
    by_place = {place_of(photo.file, of_photos): photo.name for photo in photos}
    return {
        kind: [
            FoundMask(
                mask.file,
                without_control(mask.photo),
                without_control(mask.number),
                _origin(mask.file, folder),
                _LICENCE,
            )
            for mask in find_masks(existing_folder(folder, _WANTED), by_place, with_links=True)
        ]
        for kind, folder in folders.items()
    }


def _refuse_of_either(
    masks: dict[str, Sequence[FoundMask]], trained_on: dict[str, Photo], measured: dict[str, Photo]
) -> None:
    """Refuse a mask whose name is that of two photographs, one trained on and one held out."""
    for mask in (mask for of_kind in masks.values() for mask in of_kind):
        if mask.photo in trained_on and mask.photo in measured:
            raise DataError(
                f"{mask.file}: {measured[mask.photo].source}, which is held out for validation, "
                f"and {trained_on[mask.photo].source}, which is not, are both called {mask.photo}; "
                "wanted a mask of one of them: rename that one and its masks"
            )


def _drawn(photos: Sequence[Photo], share: float, seed: int) -> list[Photo]:
    """Return a share of the photographs: of few at least one, and not all, as is asked for."""
    draws = {photo: _draw(photo.file, seed) for photo in photos}
    drawn = [photo for photo in photos if draws[photo] < share]
    if not drawn and share > 0:
        drawn = [min(photos, key=draws.__getitem__)]
    if len(drawn) == len(photos) and share < 1:
        drawn.remove(max(photos, key=draws.__getitem__))
    return drawn


def _origin(file: Path, folder: Path) -> str:
    return f"{folder.name}/{file.relative_to(folder).as_posix()}"


def _draw(file: Path, seed: int) -> float:
    """Return a number in [0, 1) that depends on the seed and the file's content alone."""
    digest = hashlib.sha256(str(seed).encode())
    with file.open("rb") as content:
        digest.update(hashlib.file_digest(content, "sha256").digest())
    return int.from_bytes(digest.digest()[:8], "big") / _DIGEST_RANGE
