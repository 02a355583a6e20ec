r"""Choose photographs by licence: those that a table of sources puts into a wanted tier.

    python -m workflow.licensed --sources SOURCES.tsv --photos train_img.zip --group train \
        --tier permissive --out downloads/permissive/

The table is tab-separated and has, for each file, at least ``file`` (``GROUP/NAME``), ``tier``,
``file_sha256``, ``licence_note``, ``source_repo``, ``source_path`` and ``flickr_url``. A file is
known by its content, whatever it is called. Beside the photographs lies ``photos.tsv``: where each
was found, and its licence.
"""

import argparse
import csv
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pconv.atomic import atomic_folder
from pconv.errors import DataError
from workflow.command import run_command

PHOTOS_TABLE = "photos.tsv"
PHOTOS = "photos"
COLUMNS = ("file", "licence_note", "source_repo", "source_path", "flickr_url", "file_sha256")
_NEEDED = {*COLUMNS, "tier"}

Source = dict[str, str]


def read_sources(path: Path) -> list[Source]:
    """Read a table of sources.

    Raises:
        DataError: If it can't be read or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, delimiter="\t")
            missing = _NEEDED - set(table.fieldnames or ())
            if missing:
                raise DataError(f"{path}: no column {', '.join(sorted(missing))}")
            return list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error


def choose(sources: list[Source], group: str, tier: str) -> dict[str, Source]:
    """Return the files of one group and tier, by SHA-256.

    A content that stands in the table more than once is chosen only if every one of its rows is
    of the tier: the strictest licence counts.

    Raises:
        DataError: If there are none.
    """
    others = {row["file_sha256"] for row in sources if row["tier"] != tier}
    chosen = {
        row["file_sha256"]: row
        for row in sources
        if row["file"].startswith(f"{group}/") and row["file_sha256"] not in others
    }
    if not chosen:
        tiers = ", ".join(sorted({row["tier"] for row in sources}))
        raise DataError(f"no file of {group}/ is of the tier {tier!r}; the tiers are: {tiers}")
    return chosen


def copy_chosen(photos: Path, chosen: dict[str, Source], out: Path) -> None:
    """Copy the chosen photographs and write their table.

    Args:
        photos: A zip archive or a folder.
        chosen: What `choose` returned.
        out: The folder to make: ``photos/`` and ``photos.tsv``.

    Raises:
        DataError: If one of them is not there.
    """
    with atomic_folder(out) as folder:
        (folder / PHOTOS).mkdir()
        found = set()
        for content in _contents(photos):
            digest = hashlib.sha256(content).hexdigest()
            if digest in chosen:
                found.add(digest)
                (folder / PHOTOS / Path(chosen[digest]["file"]).name).write_bytes(content)
        if lost := [row["file"] for digest, row in chosen.items() if digest not in found]:
            raise DataError(f"{photos}: {len(lost)} chosen files are not there (first: {lost[0]})")
        with (folder / PHOTOS_TABLE).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(
                file, COLUMNS, delimiter="\t", extrasaction="ignore", lineterminator="\n"
            )
            table.writeheader()
            table.writerows(chosen.values())


def _contents(photos: Path) -> Iterator[bytes]:
    if photos.is_dir():
        yield from (path.read_bytes() for path in sorted(photos.rglob("*")) if path.is_file())
        return
    try:
        with zipfile.ZipFile(photos) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{photos}: not a readable zip archive or folder ({error})") from error


def _main() -> None:
    parser = argparse.ArgumentParser(description="Choose photographs by licence.")
    parser.add_argument("--sources", type=Path, required=True, help="the table of sources")
    parser.add_argument("--photos", type=Path, required=True, help="zip archive or folder")
    parser.add_argument("--group", default="train", help="the part of the table to choose from")
    parser.add_argument("--tier", default="permissive", help="the tier to choose")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    options = parser.parse_args()
    chosen = choose(read_sources(options.sources), options.group, options.tier)
    copy_chosen(options.photos, chosen, options.out)
    sys.stdout.write(f"{options.out}: {len(chosen)} photographs\n")


if __name__ == "__main__":
    run_command(_main)
