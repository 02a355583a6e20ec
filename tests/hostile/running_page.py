"""A process of `pconv app`, as a user starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.commands import ROOT

PATIENCE_S = 60


@dataclass(frozen=True)
class RunningPage:
    """A page that answers.

    Attributes:
        url: Its address, without a slash at the end.
        process: The server.
        temporary: The folder in which it keeps temporary files.
    """

    url: str
    process: subprocess.Popen[str]
    temporary: Path


@contextmanager
def running_page(folder: Path, *options: str) -> Iterator[RunningPage]:
    """Start the page on a free port, in a folder, and end it afterwards."""
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-u", "-m", "pconv.cli", "app", "--no-open", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [*command, *options], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = (re.search(r"http://[^\s/]+", line) for line in process.stdout)
        url = next(found[0] for found in lines if found)
        yield RunningPage(url, process, temporary)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()
