"""Bad photographs: every command and stage that reads one refuses it by name, or reads it right."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import pictures
from tests.hostile.commands import Answer, check_refused, pconv, stage, tree_hash
from tests.hostile.conftest import Note, small_params, write_params
from tests.hostile.record import is_long

AREA = "Photographs"
REFUSED = "refused by name, one line, status 2"
TRUNCATED = list(pictures.truncated())
UNREADABLE = pictures.unreadable()
ODD = pictures.odd_but_whole()
# Cut so late that all pixels are there: no damage that could be seen.
STAGES = ("download", "augment", "train", "evaluate", "report")

if not is_long():  # every tenth, each of another format
    TRUNCATED = [TRUNCATED[10 * (n % 10) + n % 10] for n in range(10)]


def by_fill(path: Path) -> Answer:
    """Fill a photo; its mask is of its size where that can be told."""
    return pconv("fill", path, "--mask", mask_for(path), "-o", "out/a.png", "--method", "telea")


def by_compare(path: Path) -> Answer:
    """Compare two methods on it."""
    options = ["--methods", "mean,telea", "-o", "out/b.png"]
    return pconv("compare", path, "--mask", mask_for(path), *options)


def by_measure(path: Path) -> Answer:
    """Measure two methods on it."""
    options = ["--methods", "mean,telea", "-o", "out/c.csv"]
    return pconv("measure", path, "--mask", mask_for(path), *options)


def mask_for(path: Path) -> Path:
    """Return a mask beside a photo."""
    return path.parent.parent / "mask.png"


def spoil(name: str, content: bytes, project: Path) -> Callable[[], str]:
    """Put a bad photograph where a stage reads it; return what must be in the stage's message."""
    if name == "download":
        params = small_params()
        params["download"] |= {"source": "folder", "folder_train": "photos", "expected_train": 0}
        params["download"] |= {"folder_held_out_share": 0.5}
        write_params(project, params)
        for number in range(12):
            photo = pictures.encoded(pictures.smooth(seed=number), "PNG")
            (project / "photos").mkdir(exist_ok=True)
            (project / f"photos/{number}.png").write_bytes(photo)
        (project / "photos/bad.png").write_bytes(content)
        return lambda: "bad.png"
    where = {
        "augment": "data/raw/train",
        "train": "data/augmented/0000",
        "evaluate": "data/raw/valid/gt",
        "report": "data/raw/valid/gt",
    }[name]
    files = sorted((project / where).iterdir())
    for file in files if where.endswith("gt") else files[:1]:  # the drawn pairs may need any
        file.write_bytes(content)
    return lambda: where


def check_stages(content: bytes, project: Path, names: tuple[str, ...]) -> int:
    """Check that each of the stages refuses a bad photograph and leaves all as it was."""
    for name in names:
        folder = project.parent / f"project-{name}"
        shutil.copytree(project, folder)
        os.chdir(folder)
        words = spoil(name, content, folder)()
        before = tree_hash(folder)
        answer = stage(name)
        assert answer.status == 2, (name, answer.said)
        assert "Traceback" not in answer.said, (name, answer.said)
        assert len(answer.errors) == 1, (name, answer.said)
        assert words in answer.said, (name, answer.said)
        assert tree_hash(folder) == before, f"{name} left something behind"
        shutil.rmtree(folder)
    return len(names)


class TestCommands:
    """`pconv fill`, `pconv compare` and `pconv measure`."""

    @pytest.fixture(autouse=True)
    def _mask(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        mask = pictures.encoded(Image.fromarray(pictures.known()), "PNG")
        (tmp_path / "mask.png").write_bytes(mask)

    @pytest.mark.parametrize("command", [by_fill, by_compare, by_measure])
    def test_truncated(
        self,
        command: Callable[[Path], Answer],
        tmp_path: Path,
        unchanged: Callable[[], None],
        note: Note,
    ) -> None:
        """A photograph cut at any tenth of its length is refused."""
        for number, (name, content) in enumerate(TRUNCATED):
            (tmp_path / f"photos/{number}-{name}").write_bytes(content)
        unchanged()
        paths = sorted((tmp_path / "photos").iterdir())
        for path in paths:
            check_refused(command(path), path.name)
        note(AREA, "cut at every tenth, ten formats", REFUSED, times=len(paths))

    @pytest.mark.parametrize("command", [by_fill, by_compare, by_measure])
    @pytest.mark.parametrize("name", UNREADABLE)
    def test_unreadable(
        self,
        command: Callable[[Path], Answer],
        name: str,
        tmp_path: Path,
        unchanged: Callable[[], None],
        note: Note,
    ) -> None:
        """What is no photograph, or one that would fill the memory, is refused."""
        path = tmp_path / "photos" / name
        path.write_bytes(UNREADABLE[name])
        unchanged()
        check_refused(command(path), name)
        what = "decompression bombs" if "bomb" in name or "words" in name else "no photograph"
        note(AREA, what, REFUSED)

    @pytest.mark.parametrize("name", ODD)
    def test_odd(self, name: str, tmp_path: Path, note: Note) -> None:
        """Odd modes and sizes are filled with every known pixel in its place, or refused."""
        path = tmp_path / "photos" / name
        path.write_bytes(ODD[name])
        with Image.open(path) as image:
            width, height = image.size
        known = np.ones((height, width), bool)
        known[height // 2, width // 2] = False
        Image.fromarray(known).save(mask_for(path))
        for command in (by_fill, by_compare):
            answer = command(path)
            if answer.status:
                check_refused(answer)
                assert not (tmp_path / "out/a.png").exists()
            note(AREA, "modes and sizes", "refused by name" if answer.status else "filled")

    def test_no_plain_file(self, tmp_path: Path, note: Note) -> None:
        """A folder, a pipe and a link to nowhere that are called like photographs are told.

        Among the photographs of a folder another folder is none of them.
        """
        (tmp_path / "photos/folder.jpg").mkdir()
        os.mkfifo(tmp_path / "photos/pipe.jpg")
        (tmp_path / "photos/link.jpg").symlink_to("nowhere.jpg")
        for command in (by_fill, by_compare):
            for name in ("folder.jpg", "pipe.jpg", "link.jpg"):
                check_refused(command(tmp_path / "photos" / name), name)
                note(AREA, "folder, pipe, link to nowhere", REFUSED)
        answer = pconv("fill", "photos", "-m", "mask.png", "-o", "out", "--method", "telea")
        assert answer.status == 2
        assert len(answer.errors) == 2


class TestStages:
    """Every stage that reads photographs."""

    def test_truncated(self, project: Path, note: Note) -> None:
        """A photograph cut at any tenth of its length stops the stage, by name."""
        cuts = [content for name, content in TRUNCATED if name.endswith("png")] or [
            content for _, content in TRUNCATED[3::4]
        ]
        tried = sum(check_stages(content, project, STAGES) for content in cuts)
        note(AREA, "cut, met by a stage", REFUSED, times=tried)

    @pytest.mark.parametrize("name", UNREADABLE if is_long() else ["text.jpg", "bomb.png"])
    def test_unreadable(self, name: str, project: Path, note: Note) -> None:
        """What is no photograph stops the stage, by name."""
        tried = check_stages(UNREADABLE[name], project, STAGES)
        note(AREA, "no photograph or a bomb, met by a stage", REFUSED, times=tried)
