"""Every file that a source found: brought into ``data/raw`` or rejected, nothing else."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pconv.errors import DataError

MANIFEST = "manifest.csv"
REJECTED = "rejected.csv"
_MANIFEST_COLUMNS = ("path", "sha256", "bytes", "width", "height", "source", "licence")


@dataclass(frozen=True, slots=True)
class Brought:
    """A file of ``data/raw``: a row of the manifest, and for a mask its share of hole pixels."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    source: str
    licence: str
    hole_share: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that was found and not brought, and why."""

    path: str
    reason: str


@dataclass
class Account:
    """What was brought and what was rejected so far."""

    brought: list[Brought] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, results: Iterable[Brought | Rejected], found: int, what: str) -> list[Brought]:
        """Take in the results for ``found`` files and return what was brought of them.

        Raises:
            DataError: If some files are in neither list.
        """
        brought, rejected = [], []
        for result in results:
            if isinstance(result, Brought):
                brought.append(result)
            else:
                rejected.append(result)
        if len(brought) + len(rejected) != found:
            raise DataError(
                f"{what}: {found} files were found, but {len(brought)} were brought and "
                f"{len(rejected)} rejected"
            )
        self.brought += brought
        self.rejected += rejected
        return brought

    def write(self, out: Path) -> None:
        """Write ``manifest.csv`` and ``rejected.csv``.

        Raises:
            DataError: If the files in ``out`` are not those of the manifest.
        """
        brought = sorted(self.brought, key=lambda one: one.path)
        files = sum(1 for path in out.rglob("*") if path.is_file())
        if files != len(brought):
            raise DataError(f"{out}: holds {files} files, but {len(brought)} were brought")
        rows = ([str(getattr(one, name)) for name in _MANIFEST_COLUMNS] for one in brought)
        _write_table(out / MANIFEST, _MANIFEST_COLUMNS, rows)
        rejected = sorted((one.path, one.reason) for one in self.rejected)
        _write_table(out / REJECTED, ("path", "reason"), rejected)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # Foreign names may hold bytes that are no text; they are spelt out.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
