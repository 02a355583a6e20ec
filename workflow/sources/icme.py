"""The ICME 2019 challenge: two archives, each by address, by path, or as an unpacked folder."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pconv.errors import ArchiveError, DataError, PConvError
from workflow.sources.archives import Limits, archive_kind, unpack
from workflow.sources.found import Found, FoundMask, Photo
from workflow.sources.layout import find_images, find_validation, flat_names
from workflow.sources.transfer import Patience, fetch, is_url, name_in

log = logging.getLogger(__name__)

_LICENCE = "none stated by the challenge"


@dataclass(frozen=True)
class Archive:
    """One of the two archives, and everywhere it may be.

    Attributes:
        key: The parameter that lists the places, for messages.
        places: Addresses, archive files or unpacked folders, tried in turn.
        sha256: What an archive's content must hash to; empty where it is not known.
        default_name: What the file is called that someone puts into ``downloads`` by hand.
    """

    key: str
    places: Sequence[str]
    sha256: str
    default_name: str


def challenge_photographs(
    train: Archive,
    valid: Archive,
    *,
    downloads: Path,
    unpacked: Path,
    limits: Limits,
    patience: Patience,
) -> Found:
    """Find the photographs and masks of the challenge.

    Args:
        train: The training photographs.
        valid: The validation photographs and their masks.
        downloads: Where archives that were fetched, or are on their way, are kept.
        unpacked: A temporary folder to unpack into.
        limits: What is too much for an archive.
        patience: When to give up on a server.

    Raises:
        DataError: If no place has the archive, or it holds something else.
        ArchiveError: If an archive is damaged, hostile or over a limit.
    """
    train_name, train_root = _open(train, downloads, unpacked / "train", limits, patience)
    valid_name, valid_root = _open(valid, downloads, unpacked / "valid", limits, patience)
    files = find_images(train_root)
    validation = find_validation(valid_root)

    def origin(file: Path) -> str:
        root, name = (
            (train_root, train_name)
            if file.is_relative_to(train_root)
            else (valid_root, valid_name)
        )
        return f"{name}/{file.relative_to(root).as_posix()}"

    return Found(
        train=[
            Photo(file, name, origin(file), _LICENCE)
            for file, name in zip(files, flat_names(files), strict=True)
        ],
        valid=[
            Photo(file, name, origin(file), _LICENCE)
            for name, file in sorted(validation.photos.items())
        ],
        masks={
            kind: [
                FoundMask(mask.file, mask.photo, mask.number, origin(mask.file), _LICENCE)
                for mask in masks
            ]
            for kind, masks in validation.masks.items()
        },
    )


def _open(
    archive: Archive, downloads: Path, unpacked: Path, limits: Limits, patience: Patience
) -> tuple[str, Path]:
    """Return the name of the first place that has the archive, and a folder with its content."""
    place = _first_place(archive, downloads, limits, patience)
    if place.is_dir():
        return place.name, place
    unpacked.mkdir(parents=True)
    unpack(place, unpacked, limits)
    return place.name, unpacked


def _first_place(archive: Archive, downloads: Path, limits: Limits, patience: Patience) -> Path:
    reasons = []
    for place in archive.places:
        try:
            return _reach(place, archive.sha256, downloads, limits, patience)
        except PConvError as error:
            log.warning("download.%s: %s", archive.key, error)
            reasons.append(f"  {error}")
    raise DataError(
        f"download.{archive.key}: no place has the archive:\n" + "\n".join(reasons) + "\n"
        f"Get it by hand, put it at {downloads / archive.default_name}, and name that path (or an "
        f"unpacked folder) in download.{archive.key}"
    )


def _reach(place: str, sha256: str, downloads: Path, limits: Limits, patience: Patience) -> Path:
    if not is_url(place):
        path = Path(place)
        if not path.is_dir():
            _check_archive(path, sha256)
        return path
    path = downloads / name_in(place)
    if not path.is_file():
        fetch(place, path, patience, limits.max_bytes)
    try:
        _check_archive(path, sha256)
    except ArchiveError:
        path.unlink()  # a "not found" page, say: the next run shall fetch again
        raise
    return path


def _check_archive(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise DataError(f"{path}: not found")
    if archive_kind(path) is None:
        raise ArchiveError(f"{path}: no archive; wanted a zip, tar or tar.gz file")
    if not sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ArchiveError(
            f"{path}: its SHA-256 is {found}, wanted {sha256}; it is damaged or another version"
        )
