"""Tables edited by hand: each stage that reads one names the file, the line and what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.commands import check_refused, stage, tree_hash
from tests.hostile.conftest import Note

AREA = "Tables edited by hand"
REFUSED = "refused by name, one line, status 2"
Edit = Callable[[str], str | bytes]


def cell(column: str, value: str, row: int = 0) -> Edit:
    """Return what puts a value into a cell of a CSV file."""

    def edit(text: str) -> str:
        lines = text.splitlines()
        cells = lines[row + 1].split(",")
        cells[lines[0].split(",").index(column)] = value
        lines[row + 1] = ",".join(cells)
        return "\n".join(lines) + "\n"

    return edit


def without_column(column: str) -> Edit:
    """Return what takes a column away."""

    def edit(text: str) -> str:
        rows = [line.split(",") for line in text.splitlines()]
        place = rows[0].index(column)
        return "\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows) + "\n"

    return edit


# What happens to any table.
ANYHOW: dict[str, Edit] = {
    "empty": lambda text: "",
    "no text": lambda text: b"\xff\xfe\x00\x01" * 20,
    "saved as UTF-16": lambda text: text.encode("utf-16"),
    "NUL bytes": lambda text: text[:20] + "\0\0" + text[20:],
    "semicolons for commas": lambda text: text.replace(",", ";"),
    "a row cut off": lambda text: text[: len(text) - 12],
    "a quote never closed": lambda text: text.replace("\n", '\n"', 1),
    "a cell of a million letters": lambda text: text.replace("\n", "\n" + "x" * 1_000_000, 1),
}
SAMPLE: dict[str, Edit] = {
    **ANYHOW,
    "a column renamed": lambda text: text.replace("hole_share", "holes"),
    "a column too few": without_column("place"),
    "a row twice": lambda text: text + text.splitlines()[1] + "\n",
    "kind snow": cell("kind", "snow"),
    "hole_share much": cell("hole_share", "much"),
    "hole_share nan": cell("hole_share", "nan"),
    "hole_share 2": cell("hole_share", "2"),
    "size_px 0": cell("size_px", "0"),
    "size_px -5": cell("size_px", "-5"),
    "size_px 1e9": cell("size_px", "1000000000"),
    "size_px 32.5": cell("size_px", "32.5"),
    "place nan": cell("place", "nan"),
    "place 7": cell("place", "7"),
    "photo upwards": cell("photo", "../../../etc/passwd"),
    "photo absolute": cell("photo", "/etc/passwd"),
    "photo empty": cell("photo", ""),
    "photo that is not there": cell("photo", "valid/gt/none.png"),
    "mask that is not there": cell("mask", "valid/ec/none.png"),
    "mask upwards": cell("mask", "../" * 9 + "etc/passwd"),
}
KINDS: dict[str, Edit] = {
    **{name: edit for name, edit in ANYHOW.items() if name != "a row cut off"},
    "a column renamed": lambda text: text.replace("kind", "sort"),
    "file upwards": cell("file", "../../../../etc/passwd"),
    "file that is not there": cell("file", "999999.png"),
    "file empty": cell("file", ""),
}
EVALUATION: dict[str, Edit] = {
    **{name: edit for name, edit in ANYHOW.items() if name != "a row cut off"},
    "a column renamed": lambda text: text.replace("psnr_hole", "psnr"),
    "a row twice": lambda text: text + text.splitlines()[1] + "\n",
    "a row missing": lambda text: text.splitlines()[0] + "\n",
    "psnr_hole high": cell("psnr_hole", "high"),
    "psnr_hole -inf": cell("psnr_hole", "-inf"),
    "l1 inf": cell("l1", "inf"),
    "hole_share 3": cell("hole_share", "3"),
    "kind snow": cell("kind", "snow"),
    "method empty": cell("method", ""),
    "method unknown": cell("method", "guess"),
    "pair unknown": cell("pair", "guess"),
}


def record(**values: object) -> Edit:
    """Return what changes the first line of a training log."""

    def edit(text: str) -> str:
        first, *rest = text.splitlines()
        return "\n".join([json.dumps(json.loads(first) | values), *rest]) + "\n"

    return edit


LOG: dict[str, Edit] = {
    "empty": lambda text: "",
    "no text": lambda text: b"\xff\xfe\x00\x01" * 20,
    "no JSON": lambda text: "epoch 1\n",
    "a line cut off": lambda text: text[:30],
    "a list": lambda text: "[1]\n",
    "deeply nested": lambda text: "[" * 100_000 + "\n",
    "epoch much": record(epoch="much"),
    "epoch infinite": lambda text: text.replace('"epoch": 1', '"epoch": 1e999'),
    "epoch missing": record(epoch=None),
    "loss a list": record(hole=[1]),
    "loss of 400 digits": lambda text: text.replace("}", ', "hole": 1' + "0" * 400 + "}", 1),
}
TABLES: dict[str, tuple[str, tuple[str, ...], dict[str, Edit]]] = {
    "sample.csv": ("data/sample.csv", ("evaluate", "report"), SAMPLE),
    "kinds.csv": ("data/masks/valid/0000/kinds.csv", ("sample",), KINDS),
    "pairs.csv": ("data/evaluation/*/pairs.csv", ("report",), EVALUATION),
    "log.jsonl": ("models/pconv/log.jsonl", ("report",), LOG),
}
CASES = [
    pytest.param(pattern, name, edit, what, id=f"{table}-{what}-{name}")
    for table, (pattern, readers, edits) in TABLES.items()
    for what, edit in edits.items()
    for name in readers
]
# The report reads the sample for what it shows: a photo it does not show it does not miss.
_UNSEEN = {("report", what) for what in ("photo that is not there", "mask that is not there")}


@pytest.mark.parametrize(("pattern", "name", "edit", "what"), CASES)
def test_table(pattern: str, name: str, edit: Edit, what: str, project: Path, note: Note) -> None:
    """The stage refuses the table, and what it made before stays."""
    heading = int(pattern.endswith(".csv"))
    files = sorted(project.glob(pattern))
    path = next(file for file in files if len(file.read_text().splitlines()) > heading)
    text = edit(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = tree_hash(project)
    answer = stage(name)
    if answer.status == 0 and (name, what) in _UNSEEN:
        note(AREA, f"{path.name}: {what}", "not read by this stage")
        return
    check_refused(answer)
    assert tree_hash(project) == before, "the stage left something behind"
    note(AREA, path.name, REFUSED)
