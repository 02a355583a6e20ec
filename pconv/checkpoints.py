"""Checkpoints of a training run: whole, flushed to the disk, and never mistaken for another run's.

A folder holds the newest two, ``step-000000123.pt``. A process killed while writing leaves the
older one; a damaged file is passed over for the one before it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pconv.atomic import atomic_file, remove_leftovers
from pconv.torch_files import UNREADABLE, load_torch_file

log = logging.getLogger(__name__)

_KEPT = 2
_PATTERN = "step-*.pt"


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run.

    Attributes:
        folder: Where they lie; made when the first is written.
        identity: Names the params, data and code of the run; others' checkpoints are not resumed.
    """

    folder: Path
    identity: str

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write one checkpoint, then delete all but the newest two of this run.

        Args:
            step: Number of finished steps.
            state: Tensors, numbers, strings, and lists and dictionaries of them.
        """
        remove_leftovers(self.folder)
        path = self.folder / f"step-{step:09d}.pt"
        with atomic_file(path, durable=True) as unfinished:
            _write(unfinished, {"identity": self.identity, "state": state})
        # Beyond this step lie another run's, or files that newest() found damaged.
        newest_first = [file for file in self._files() if file <= path]
        for file in set(self._files()) - set(newest_first[:_KEPT]):
            file.unlink(missing_ok=True)

    def newest(self) -> dict[str, Any] | None:
        """Return the state of the newest whole checkpoint of this run, or None.

        What is passed over, and why, is logged.
        """
        for path in self._files():
            content = _read(path)
            if content is None:
                continue
            if content["identity"] == self.identity:
                log.info("resuming from %s", path)
                return dict(content["state"])
            log.warning(
                "%s: belongs to other params, data or code; not resumed, starting anew", path
            )
            return None
        return None

    def newest_path(self) -> Path | None:
        """Return the file of the newest checkpoint, for messages."""
        return next(iter(self._files()), None)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(_PATTERN), reverse=True)


def clear_checkpoints(folder: Path) -> None:
    """Delete all checkpoints of a folder: those of a finished run, say."""
    for path in folder.glob(_PATTERN):
        path.unlink(missing_ok=True)  # each process of a run may do so


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        # On a full disk torch stumbles over its own bookkeeping; the disk's words are the reason.
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = load_torch_file(path)
        if isinstance(content, dict) and content.keys() == {"identity", "state"}:
            return content
        reason = "not a checkpoint of this program"
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    log.warning("%s: damaged (%s); passed over", path, reason)
    return None
