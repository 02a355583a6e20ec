"""Small file systems that fill up or may not be written, where this machine allows mounting."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Mount so many MiB of memory at a new folder; skip where that isn't allowed."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def make_read_only(folder: Path) -> None:
    """Let nobody, not even root, write on a mounted file system."""
    _mount("-o", "remount,ro", str(folder))


def fill_up(disk: Path, free_bytes: int) -> Path:
    """Leave so many bytes free on a disk; return the file that takes the others."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        left = shutil.disk_usage(disk).free - free_bytes
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
    return filler


def _mount(*arguments: str) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no command mount")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
