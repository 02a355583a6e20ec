"""Finished batches of an evaluation, kept so that a killed one goes on where it was.

DVC deletes a stage's outputs before it runs the stage again, and Snakemake those of a job that
failed, so finished work waits outside of them, a file a batch. The files lie in a folder named
after everything that they come from (`identity`): what was measured with other weights,
parameters, pictures or code is never found there.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import torch

from pconv.atomic import atomic_file, remove_leftovers
from workflow.code import code_digests, stage_code

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class KeptBatches:
    """The finished batches of one evaluation, as text.

    Attributes:
        state: Folder of the kept batches of every evaluation.
        identity: Names what this one's numbers come from.
    """

    state: Path
    identity: str

    @property
    def folder(self) -> Path:
        """Where the files lie; made when the first is written."""
        return self.state / self.identity

    def count(self, numbers: Iterable[int]) -> int:
        """Return how many of these batches are finished; unfinished files are removed."""
        remove_leftovers(self.folder)
        return sum(self._path(number).is_file() for number in numbers)

    def get(self, number: int, make: Callable[[], str]) -> str:
        """Return a batch's text: as it was kept, or else made now, and kept."""
        path = self._path(number)
        if path.is_file():
            return path.read_text(encoding="utf-8")
        text = make()
        with atomic_file(path, durable=True) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
        return text

    def forget(self, numbers: Iterable[int]) -> None:
        """Delete these batches; the folder stays, other jobs may be writing into it."""
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Delete this evaluation's batches; those of others wait for it to be run again."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.csv"


def identity(module: str, settings: str, files: Iterable[Path]) -> str:
    """Return a hash of all that a stage's numbers come from.

    Args:
        module: The stage's module; the project's code that it runs counts.
        settings: Its parameters.
        files: The data it reads; names and contents count.

    Returns:
        64 hexadecimal digits. Installed packages and the processor count too: with others the
        last digits differ, and a table must not be a mixture.
    """
    parts = [settings, _processor(), *sorted(f"{d.name} {d.version}" for d in distributions())]
    code = code_digests(stage_code(module, _ROOT), _ROOT)
    parts += [f"{name} {digest}" for name, digest in code.items()]
    for path in files:
        with path.open("rb") as file:
            parts.append(f"{path.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    # What convolutions are held to (`workflow.stages`), and what everything else uses.
    instructions = os.environ.get("ONEDNN_MAX_CPU_ISA"), torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {instructions}"
