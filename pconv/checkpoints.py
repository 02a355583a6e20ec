"""Checkpoints of a training run: whole, flushed to the disk, and never mistaken for another run's.

Each run has a folder of its own, named after what it is, so that one that waits to go on loses
nothing to those that are started in between. It holds the newest two, ``step-000000123.pt``. A
process killed while writing leaves the older one; a damaged file is passed over for the one before
it.
"""

import contextlib
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
_NAME_LENGTH = 16  # of a run's folder


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run.

    Attributes:
        folder: Where the runs' folders lie.
        identity: Names the params, data and code of the run, in 16 characters or more.
    """

    folder: Path
    identity: str

    @property
    def own(self) -> Path:
        """Where this run's lie; made when the first is written."""
        return self.folder / self.identity[:_NAME_LENGTH]

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write one checkpoint, then delete all but this run's newest two.

        Args:
            step: Number of finished steps.
            state: Tensors, numbers, strings, and lists and dictionaries of them.
        """
        remove_leftovers(self.own)
        path = self.own / f"step-{step:09d}.pt"
        with atomic_file(path, durable=True) as unfinished:
            _write(unfinished, {"identity": self.identity, "state": state})
        # Beyond this step lie files that newest() found damaged.
        newest_first = [file for file in self._files() if file <= path]
        for file in set(self._files()) - set(newest_first[:_KEPT]):
            file.unlink(missing_ok=True)

    def newest(self) -> dict[str, Any] | None:
        """Return the state of the newest whole checkpoint of this run, or None.

        What is passed over, and why, is logged; so is that other runs wait to go on.
        """
        for path in self._files():
            content = _read(path)
            if content is None:
                continue
            if content["identity"] == self.identity:
                log.info("resuming from %s", path)
                return dict(content["state"])
            log.warning("%s: another run's; passed over", path)
        self._tell_others()
        return None

    def _tell_others(self) -> None:
        sizes: dict[Path, int] = {}
        # Directly in the folder lie those of versions that had one for all.
        for path in (*self.folder.glob(_PATTERN), *self.folder.glob(f"*/{_PATTERN}")):
            if path.parent != self.own:  # what is damaged there was told
                with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                    sizes[path.parent] = sizes.get(path.parent, 0) + path.stat().st_size
        for folder, size in sorted(sizes.items()):
            log.warning(
                "%s: unfinished, %.0f MB, of other params, data or code; not resumed, starting "
                "anew (delete it if nobody is to go on with it)",
                *(folder, size / 1e6),
            )

    def newest_path(self) -> Path | None:
        """Return the file of the newest checkpoint, for messages."""
        return next(iter(self._files()), None)

    def _files(self) -> list[Path]:
        return sorted(self.own.glob(_PATTERN), reverse=True)

    def clear(self) -> None:
        """Delete this run's checkpoints; each of its processes may do so at once."""
        with contextlib.suppress(OSError):  # another has deleted it, or it holds something else
            for path in self._files():
                path.unlink(missing_ok=True)
            self.own.rmdir()


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
