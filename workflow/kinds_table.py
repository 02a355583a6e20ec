"""The table beside the masks of a shard: which kind each is, and its hole share."""

import csv
from collections.abc import Iterable
from pathlib import Path

from pconv.errors import DataError

KINDS_FILE = "kinds.csv"
_COLUMNS = ["file", "kind", "hole_share"]


def write_kinds(path: Path, rows: Iterable[tuple[str, str, float]]) -> None:
    """Write the table (file, kind, hole_share) of one shard's masks."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows((name, kind, f"{share:.6f}") for name, kind, share in rows)


def read_kinds(path: Path) -> list[tuple[str, str]]:
    """Return kind and file of each row that :func:`write_kinds` wrote.

    Raises:
        DataError: If the file is no such table, or a row names no mask that lies beside it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if table.fieldnames != _COLUMNS:
                raise ValueError(f"columns {table.fieldnames}, wanted {_COLUMNS}")
            rows = [(row["kind"], row["file"]) for row in table]
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: not a readable table of masks ({type(error).__name__}: {error}); run the "
            "masks stage again"
        ) from error
    for kind, name in rows:
        if not (kind and name and (path.parent / name).is_file() and name == Path(name).name):
            raise DataError(
                f"{path}: the row of {name!r} and {kind!r} names no mask beside the table; run "
                "the masks stage again"
            )
    return rows
