"""What every command of the pipeline has in common."""

import os
import sys
from pathlib import Path

import pytest

from workflow.command import use_this_python


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
