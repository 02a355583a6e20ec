"""Projects that DVC and Snakemake run in, as a user has them, and what is alive in them."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import yaml

from workflow.graph import Stage, load_stages

ROOT = Path(__file__).parents[2]
FILES = ["pconv", "workflow", "presets", "profiles", "Snakefile", "dvc.yaml", ".dvcignore"]
FILES += [".gitignore", ".dvc/config", ".dvc/.gitignore", "pyproject.toml"]
MARK = "PCONV_HOSTILE_PROJECT"
PATIENCE_S = 600
# The tiny preset, with one fast method and no VGG terms: what is killed is files, not numbers.
CHEAPER = {"evaluate": {"methods": ["telea"], "vgg_methods": [], "vgg_pairs": 0}}

Params = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Done:
    """A command that ended by itself."""

    status: int
    said: str


class Project:
    """A copy of the project's own files in a folder, where engines run.

    Args:
        folder: Where; made.
        changes: Values to put over those of the tiny preset, by section.
    """

    def __init__(self, folder: Path, changes: Params = CHEAPER) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        for name in FILES:
            _copy(ROOT / name, folder / name)
        params = yaml.safe_load((ROOT / "presets/tiny.yaml").read_text())
        for section, values in changes.items():
            params[section] |= values
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.run("git", "init", "-q")

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages, in order."""
        return load_stages(self.folder / "dvc.yaml")

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every command: no server, no reports of usage, a mark to know it by."""
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_NO_ANALYTICS": "true",
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "PYTHONPATH": str(self.folder),
            "PCONV_WORKERS": "2",
            "COLUMNS": "200",
            MARK: self._mark,
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command as the leader of a session; what it says goes to ``said.log``."""
        with (self.folder / "said.log").open("wb") as said:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str) -> Done:
        """Run a command to its end."""
        process = self.start(*command)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            process.wait()
            return Done(-1, f"hung for {PATIENCE_S} s: {self.said()}")
        return Done(process.returncode, self.said())

    def said(self) -> str:
        """Return what the last command said."""
        return (self.folder / "said.log").read_text(errors="replace")

    def alive(self) -> list[psutil.Process]:
        """Return the processes that this project's commands started and that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(MARK) == self._mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def stage_processes(self, name: str) -> list[psutil.Process]:
        """Return the main processes of a stage, without shells and workers."""
        module = f"workflow.stages.{name}"
        return [process for process in self.alive() if words(process)[1:3] == ["-m", module]]

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of the stage that runs."""
        return [process for process in self.alive() if "spawn_main" in " ".join(words(process))]

    def kill_all(self) -> None:
        """End everything at once, as a power cut does."""
        kill(self.alive())

    def orphans(self, patience_s: float = 20) -> list[str]:
        """Wait for what still runs; return the commands of those that do not end by themselves."""
        deadline = time.monotonic() + patience_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.05)
        commands = [" ".join(words(process))[-120:] for process in left]
        self.kill_all()
        return commands

    def hashes(self, outputs: Sequence[str] = ()) -> dict[str, str]:
        """Return a hash of each output, of all stages or of some."""
        wanted = outputs or [output for stage in self.stages for output in stage.outputs]
        return {output: content_hash(self.folder / output) for output in wanted}


def content_hash(path: Path) -> str:
    """Return a hash of a file, or of a folder's names and contents without hidden files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            total.update(f"{name.as_posix()}\0".encode("utf-8", "surrogateescape"))
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest() if path.is_dir() else "missing"


def leftovers(folder: Path) -> list[str]:
    """Return the unfinished files that lie in a project."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.partial-*")]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.partial-*"))
    else:
        shutil.copy(source, target)


def words(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty where it has ended."""
    try:
        return process.cmdline()
    except (psutil.Error, OSError):
        return []


def kill(processes: Sequence[psutil.Process]) -> bool:
    """End processes at once; return whether one of them still ran."""
    hit = False
    for process in processes:
        try:
            process.kill()
            hit = True
        except psutil.Error:
            continue
    return hit
