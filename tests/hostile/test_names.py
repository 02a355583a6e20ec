"""File names that confuse shells and parsers pass through every command and both engines."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.hostile import pictures
from tests.hostile.commands import pconv
from tests.hostile.conftest import Note
from tests.hostile.engines import CHEAPER, Project

AREA = "Names of files"
NAMES = [
    "two words",
    " spaces around ",
    'it\'s "so"',
    "line\nbreak",
    "tab\there",
    "escape\x1b[31mred",
    "süß 写真 🙂",
    "e\u0301 composed",
    "עברית",
    "-dash",
    "--help",
    "$(touch ran)",
    "`touch ran`",
    "; touch ran #",
    "& touch ran &",
    "> ran",
    "{curly} {0} {{",
    "%s %d %%",
    "[1-9]",
    "*",
    "~",
    "back\\slash",
    "a,comma;semicolon",
    "=1+1",
    "<b>bold&amp;",
    "dots..png",
    "x" * 120,
    "null",
]


def write_photo(path: Path, seed: int) -> None:
    """Write a small photograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pictures.encoded(pictures.smooth(40, 48, seed), "PNG"))


class TestCommands:
    """`pconv fill`, `pconv compare` and `pconv measure`."""

    @pytest.mark.parametrize("name", NAMES)
    def test_one(self, name: str, note: Note) -> None:
        """A photo of any name is filled, by its mask of that name, into a file of that name."""
        write_photo(Path(f"{name}.png"), 1)
        Path("masks").mkdir()
        mask = pictures.encoded(pictures.known(40, 48), "PNG")
        Path(f"masks/{name}.png").write_bytes(mask)
        options = ["--mask", f"masks/{name}.png", "--method", "telea"]
        answer = pconv("fill", *options, "-o", f"out/{name}.png", "--", f"{name}.png")
        assert answer.status == 0, answer.said
        assert Path(f"out/{name}.png").is_file()
        methods = ["--methods", "mean,telea", "-o", f"out/{name}-all.png"]
        answer = pconv("compare", *options[:2], *methods, "--", f"{name}.png")
        assert answer.status == 0, answer.said
        answer = pconv("measure", *options[:2], *methods[:2], "--", f"{name}.png")
        assert answer.status == 0, answer.said
        assert not Path("ran").exists()
        note(AREA, "`pconv fill`, `pconv compare` and `pconv measure`", "filled", times=3)

    def test_folder(self, note: Note) -> None:
        """A folder of all of them, and a folder of their masks."""
        mask = pictures.encoded(pictures.known(40, 48), "PNG")
        Path("masks").mkdir()
        for seed, name in enumerate(NAMES):
            write_photo(Path(f"photos/{name}.png"), seed)
            Path(f"masks/{name}.png").write_bytes(mask)
        answer = pconv("fill", "photos", "--mask", "masks", "-o", "out", "--method", "telea")
        assert answer.status == 0, answer.said
        assert {path.stem for path in Path("out").iterdir()} == set(NAMES)
        note(AREA, "`pconv fill` over a folder", "all filled", times=len(NAMES))


@pytest.mark.engines
@pytest.mark.slow
def test_engines(tmp_path: Path, note: Note) -> None:
    """Photographs of such names, in a folder of such a name, go through both engines, alike."""
    hashes = []
    for engine, command in (
        ("dvc", ("dvc", "repro")),
        ("snakemake", ("snakemake", "--cores", "2", "evaluate")),
    ):
        source = {"source": "folder", "folder_train": "my photos", "folder_valid": "valid 写"}
        folder = tmp_path / f'it\'s a "project" 写 -{engine}'
        project = Project(folder, CHEAPER | {"download": source | {"max_rejected": 0}})
        for seed, name in enumerate(NAMES):
            write_photo(folder / "my photos" / f"{name}.png", seed)
            if seed % 4 == 0:
                write_photo(folder / "valid 写" / f"{name}.png", 100 + seed)
        done = project.run(*command)
        assert done.status == 0, done.said
        assert not list(folder.rglob("ran"))
        with (folder / "data/raw/manifest.csv").open(newline="", encoding="utf-8") as file:
            brought = [row for row in csv.DictReader(file) if row["path"].startswith("train/")]
        assert len(brought) == len(NAMES)
        assert {Path(row["source"]).stem for row in brought} == set(NAMES)
        hashes.append(project.hashes())
        note(AREA, f"the pipeline under {engine}", "from photos to report", times=len(NAMES))
        shutil.rmtree(folder / "data/augmented")
    assert hashes[0] == hashes[1]
    assert np.all([found != "missing" for found in hashes[0].values()])
