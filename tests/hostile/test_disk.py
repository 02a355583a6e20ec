"""A full disk and a read-only folder, in each stage and command: one line, nothing lost."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile import pictures
from tests.hostile.commands import COMMANDS, ROOT, Answer, tree_hash
from tests.hostile.conftest import STAGES, Note
from tests.hostile.mounts import fill_up, make_read_only, small_disk

AREA = "Disk"
DISK_MIB = 24
FREE = {"a few bytes free": 0, "some kilobytes free": 12_000}
OUTPUTS = ("data/raw", "data/augmented", "data/masks", "models", "data/sample.csv", "reports")
pytestmark = pytest.mark.slow


def process(command: str, folder: Path) -> Answer:
    """Run a command as a process of its own: a disk that is full can kill one without a word."""
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Answer(done.returncode, done.stderr)


def check_failed_well(answer: Answer, words: str) -> None:
    """Check for status 2 and one line that says what the disk said."""
    assert answer.status == 2, (answer.status, answer.said)
    assert "Traceback" not in answer.said, answer.said
    assert len(answer.errors) == 1, answer.said
    assert words in answer.errors[0], answer.errors[0]


@pytest.fixture
def disk(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A small disk that holds a finished project."""
    with small_disk(tmp_path / "disk", DISK_MIB) as disk:
        shutil.copytree(finished, disk / "project")
        yield disk


def leave(project: Path, name: str) -> None:
    """Take away what would spare a stage its work."""
    shutil.rmtree(project / "checkpoints", ignore_errors=True)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("room", FREE)
def test_full(name: str, room: str, disk: Path, note: Note) -> None:
    """The stage says that the disk is full and what was there stays; with room it then succeeds."""
    project = disk / "project"
    leave(project, name)
    before = {output: tree_hash(project / output) for output in ("data", "models", "reports")}
    filler = fill_up(disk, FREE[room])
    answer = process(COMMANDS[name], project)
    outputs = ("data", "models", "reports")
    if answer.status:
        check_failed_well(answer, "No space left on device")
        assert {output: tree_hash(project / output) for output in outputs} == before
        note(AREA, f"full, {room}", "said in one line, status 2; outputs of before stay")
    filler.unlink()
    answer = process(COMMANDS[name], project)
    assert answer.status == 0, answer.said
    assert {output: tree_hash(project / output) for output in outputs} == before
    note(AREA, f"full, {room}; then room again", "the same bytes as before")


@pytest.mark.parametrize("name", STAGES)
def test_read_only(name: str, disk: Path, note: Note) -> None:
    """The stage says that it may not write."""
    project = disk / "project"
    leave(project, name)
    make_read_only(disk)
    check_failed_well(process(COMMANDS[name], project), "Read-only file system")
    note(AREA, "read-only", "said in one line, status 2")


COMMAND = "python -m pconv.cli {} -o {}/a.png --mask mask.png photo.png"
COMMAND_LINES = {
    "fill": "fill --method telea --mask mask.png -o disk/a.png photo.png",
    "masks": "masks disk/masks --count 400 --size 256",
    "compare": "compare --mask mask.png --methods mean,telea -o disk/b.png photo.png",
    "measure": "measure --mask mask.png --methods mean,telea -o disk/c.csv photo.png",
}


@pytest.mark.parametrize("name", COMMAND_LINES)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_commands(
    name: str, how: str, tmp_path: Path, unchanged: Callable[[], None], note: Note
) -> None:
    """So do the commands; nothing that looks like a result is left."""
    (tmp_path / "photo.png").write_bytes(pictures.encoded(pictures.smooth(), "PNG"))
    (tmp_path / "mask.png").write_bytes(pictures.encoded(pictures.known(), "PNG"))
    with small_disk(tmp_path / "disk", 1) as disk:
        if how == "full":
            fill_up(disk, 0)
        else:
            make_read_only(disk)
        answer = process(f"python -m pconv.cli {COMMAND_LINES[name]}", tmp_path)
        check_failed_well(answer, "No space left" if how == "full" else "Read-only file system")
        assert not [*disk.rglob("*.png"), *disk.rglob("*.csv")]
    (tmp_path / "disk").rmdir()
    unchanged()
    note(AREA, f"{how}, `pconv {name}`", "said in one line, status 2; no half result")
