"""A copy of the project as a fresh clone has it, and its commands as a user gives them."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from pconv.patchmatch import patchmatch
from workflow.code import is_code
from workflow.graph import load_stages

ROOT = Path(__file__).parent.parent
COPIED = ["pconv", "workflow", "presets", "Snakefile", "dvc.yaml", ".dvcignore", ".gitignore"]
COPIED += ["profiles", "pyproject.toml", ".dvc/config", ".dvc/.gitignore"]


def clone(folder: Path, preset: str = "tiny") -> Path:
    """Copy the project's own files, as a fresh clone has them, and choose a preset."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.partial-*")
            shutil.copytree(ROOT / name, target, ignore=ignored)  # with times, by which numba goes
        else:
            shutil.copy(ROOT / name, target)
    _copy_compiled_loops(folder)
    run(folder, "git", "init", "-q")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "add", "-A")
    run(folder, sys.executable, "-m", "workflow.presets", preset)
    return folder


def _copy_compiled_loops(folder: Path) -> None:
    """Give a clone what numba compiled here; else each job of an engine compiles it at once."""
    patchmatch(np.zeros((16, 16, 3), np.uint8), np.eye(16, dtype=np.bool_))
    cache = Path("pconv/__pycache__")
    (folder / cache).mkdir()
    for file in (ROOT / cache).glob("*.nb[ci]"):
        with contextlib.suppress(FileNotFoundError):  # another process is writing it
            shutil.copy2(file, folder / cache)


def write_stand_ins(folder: Path) -> None:
    """Write a file for all that the stages make, and for each part of it that one of them reads."""
    stages = load_stages(ROOT / "dvc.yaml")
    for name in (name for stage in stages for name in (*stage.outputs, *stage.inputs)):
        if not is_code(name):
            path = folder / name / "file" if name.endswith("/") else folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}\n" if name.startswith("data/named/") else f"{{}} {name}")


def environment(folder: Path) -> dict[str, str]:
    """Return the variables under which the commands of a clone run."""
    # Logging to a server that is not there: nothing may fail, no output may change.
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "DVC_NO_ANALYTICS": "true",
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "PYTHONPATH": str(folder),
        "COLUMNS": "200",
    }


def run(folder: Path, *command: str, fails: bool = False, path: str | None = None) -> str:
    """Run a command in a clone, with another ``PATH`` if one is given; return all it printed."""
    variables = environment(folder)
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables if path is None else variables | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output
    return output
