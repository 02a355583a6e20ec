"""What every command of the pipeline has in common."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project_copy import ROOT
from workflow.command import use_this_python

STAGES = ["augment", "download", "evaluate", "masks", "report", "sample", "train"]
COMMANDS = ["check", "presets", "recovery", "tracking"]


@pytest.mark.parametrize("path", ["/usr/bin", None])
def test_use_this_python(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    """`python` is this one; other programs are found where they were, and nowhere else."""
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    use_this_python()
    first, *others = os.environ["PATH"].split(os.pathsep)
    assert Path(first) == Path(sys.executable).parent
    assert others == (path or os.defpath).split(os.pathsep)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full() -> None:
    """Where what a command says can't be written that is told in one line."""
    code = "from workflow.command import run_command; run_command(lambda: print('a line'))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 2
    assert done.stderr == b"OSError: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("command", [*(f"stages.{stage}" for stage in STAGES), *COMMANDS])
def test_interrupted_import(tmp_path: Path, command: str) -> None:
    """Ctrl-C while a command still imports ends it without a traceback."""
    for package in ("numpy", "pydantic", "torch"):
        (tmp_path / f"{package}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", f"workflow.{command}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_interrupted_end() -> None:
    """A second Ctrl-C while Python ends leaves no traceback either."""
    code = """
import atexit, os, signal
from workflow.command import run_command
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
def main():
    atexit.register(interrupt)
    interrupt()
signal.signal(signal.SIGINT, signal.default_int_handler)
run_command(main)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
