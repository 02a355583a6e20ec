"""What `make install` says of a Python that can't install the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.python_check import what_is_missing

SCRIPT = Path(__file__).parents[2] / "workflow/python_check.py"


@pytest.mark.parametrize(
    ("version", "can_compile", "said"),
    [
        ((3, 8), True, "3.8; wanted 3.11 or later"),
        ((3, 10), True, "3.10; wanted 3.11 or later"),
        ((3, 11), False, ""),
        ((3, 13), False, ""),
        ((3, 14), True, ""),
        ((3, 14), False, "3.14, for which one package, immutables, has to be compiled"),
    ],
)
def test_versions(version: tuple[int, int], can_compile: bool, said: str) -> None:
    """The version found, what is wanted and what to do, in one line; nothing where all is well."""
    message = what_is_missing(version, can_compile)
    assert said in message
    assert bool(message) == bool(said)
    assert "\n" not in message
    assert ("PYTHON=python3.13" in message) == bool(said)


def test_this_python() -> None:
    """The Python that runs the tests can install the project, whatever PATH holds."""
    environment = os.environ | {"PATH": ""} if sys.version_info < (3, 14) else None
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
