"""What a killed engine leaves in the way of the next run, taken away where nothing lives.

    python -m workflow.recovery      # `make repro` does so; by hand after kill -9 or a power cut

DVC notes in a file which process uses which paths, and drops the notes of processes that are
gone. It stops for good, though, where a kill cut that file or ``dvc.lock`` short, or where the
number of the dead process has been given to another program. Snakemake's locks are files that say
nothing of who made them, so after a kill it stops at its own.
"""

import argparse
import fcntl
import logging
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from pconv.errors import DataError
from workflow.command import run_command
from workflow.dvc_record import DVC_RECORD, recorded_section, recorded_stages
from workflow.params import SECTION_FILES
from workflow.sections import Params, Section

log = logging.getLogger(__name__)

OUTPUT_FOLDERS = ("data", "data/masks", "reports")  # in which outputs of dvc.yaml lie
_CLOCK_SKEW_S = 300  # of other machines that share a file system
_QUEUE_WORKER = "queue-worker"  # of `dvc queue start`
_LONG_AGO = 1  # not 0, which Snakemake takes for no time at all and compares with nothing


class HeldError(DataError):
    """A folder is another process's."""


def recover_dvc(root: Path = Path()) -> None:
    """Mend what a killed DVC left, unless one is at work in this project.

    A ``dvc.lock`` that is cut short is put aside: the results are in DVC's cache under what they
    were made of, so the next ``dvc repro`` finds them there and writes the file anew.

    Raises:
        DataError: If ``dvc.lock`` holds what git leaves of a conflict.
    """
    notes, record = root / ".dvc/tmp/rwlock", root / DVC_RECORD
    if _dvc_is_alive(root):
        return
    # Cut short they stop DVC; whole, they may name a number that another program has now.
    notes.unlink(missing_ok=True)
    if record.is_file() and recorded_stages(record) is None:
        if "\n<<<<<<< " in "\n" + record.read_text(errors="replace"):
            raise DataError(
                f"{record}: two branches are merged here and both have changed it; take one side, "
                f"`git checkout --ours {record}` or `--theirs`, then run `dvc repro` (where there "
                "is a remote, first `dvc pull`)"
            )
        aside = record.with_name("dvc.lock.damaged")
        record.replace(aside)
        log.warning("%s: cut short by a kill; put aside as %s", record, aside.name)


def hold_snakemake(folder: Path = Path(".snakemake")) -> None:
    """Take away the locks that a killed Snakemake left, and show that this one lives.

    The kernel's lock on a file ends with the process, however it ends. Every Snakemake holds a
    shared one; whoever gets it alone is the only one alive, and all locks there are stale.
    """
    folder.mkdir(exist_ok=True)
    # Never closed: the kernel does so when this process ends.
    alive = os.open(folder / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in (folder / "locks").glob("*.lock"):
            lock.unlink(missing_ok=True)
            log.warning("%s: removed; a killed Snakemake left it", lock)
    except BlockingIOError:
        pass  # another is at work, and its locks count
    except OSError:
        return  # a file system without such locks: Snakemake's own advice must do
    fcntl.flock(alive, fcntl.LOCK_SH)


def refuse_beside_dvc(root: Path = Path()) -> None:
    """Refuse to run beside a DVC command, which would record half of what is being made.

    Raises:
        DataError: If one is at work in the project.
    """
    if _dvc_is_alive(root):
        raise DataError("DVC is at work in this folder; run Snakemake when it is done")


def refuse_beside_snakemake(folder: Path = Path(".snakemake")) -> None:
    """Refuse to run under DVC beside a Snakemake, which takes away and makes what DVC records.

    Raises:
        DataError: If DVC started this process and Snakemake is at work in the project.
    """
    alive = folder / "alive"
    if not (os.environ.get("DVC_STAGE") and alive.is_file()):
        return
    with alive.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                "Snakemake is at work in this folder; run DVC when it is done"
            ) from None
        except OSError:
            return  # a file system without such locks


def refuse_outputs_elsewhere(root: Path = Path()) -> None:
    """Refuse to run under DVC where a folder of outputs leads out of the git repository.

    DVC has git ignore each output, by a file beside it, and fails where none can be, when a stage
    is done, hours later. Without git it records what lies elsewhere.

    Raises:
        DataError: If DVC started this process and there is such a folder.
    """
    if not os.environ.get("DVC_STAGE"):
        return
    here = root.resolve()
    repository = next((p for p in (here, *here.parents) if (p / ".git").exists()), None)
    if repository is None:
        return
    for name in OUTPUT_FOLDERS:
        place = (root / name).resolve()
        if not place.is_relative_to(repository):
            raise DataError(
                f"{name}/ leads to {place}, outside of this git repository, where DVC records "
                "nothing; wanted a folder here. To have large files on another disk, put DVC's "
                "cache there: `dvc cache dir --local PLACE`, `dvc config --local cache.type "
                "symlink`"
            )


@contextmanager
def hold(folder: Path, patience_s: float | None = None) -> Iterator[None]:
    """Have a folder to oneself; wait while another process has it.

    A stage outlives an engine that is killed, and two of one stage write the same files.

    Args:
        folder: Made if it is not there.
        patience_s: How long to wait; None for as long as it takes.

    Raises:
        HeldError: If another process has it for longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not flock: this lock ends with the process, whatever it has started.
    with (folder / "in-use").open("a+", encoding="utf-8") as file:
        _lock(file, folder, math.inf if patience_s is None else time.monotonic() + patience_s)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _lock(file: TextIO, folder: Path, until: float) -> None:
    said = ""
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            file.seek(0)
            busy = f"{folder}: {file.read().strip() or 'another process'} is at work here"
        except OSError:
            log.warning(
                "%s: its file system has no locks; make sure that nothing else works here", folder
            )
            return
        if time.monotonic() >= until:
            raise HeldError(f"{busy}; wait until it has ended, or end it, and run this again")
        if not said:
            said = busy
            log.warning("%s; waiting for it to end", said)
        time.sleep(0.2)


def distrust_future(outputs: Iterable[str]) -> None:
    """Make outputs look old that by this clock are of the future: it was set back since.

    Snakemake compares times. Made before the clock was set back, they would be newer than every
    edit that comes after it, and would never be made anew.
    """
    latest = time.time() + _CLOCK_SKEW_S
    for output in map(Path, outputs):
        # Snakemake's own mark of a folder's time, where there is one.
        for path in (output, output / ".snakemake_timestamp"):
            if path.exists() and path.stat().st_mtime > latest:
                os.utime(path, (_LONG_AGO, _LONG_AGO))
                log.warning("%s: of the future; was the clock set back? It is made anew", path)


def distrust_restored(
    params: Params, record: Path = DVC_RECORD, sections: Path = SECTION_FILES
) -> None:
    """Have Snakemake make anew what DVC brought back, as made with other numbers than today's.

    Snakemake compares the times of outputs and of a section's file. DVC takes outputs from its
    cache without running the stage, so that file may be older than they and yet say what they were
    not made with; what they were, DVC records. If they are Snakemake's own and the record is newer
    for another reason (``git pull``), they are made anew once too often.

    Args:
        params: Today's.
        record: What DVC records.
        sections: Folder of the sections' files.
    """
    stages = recorded_stages(record) or {}
    for name in Params.model_fields:
        file, then = sections / f"{name}.json", _recorded(stages.get(name, {}), name)
        if then is None or file.stat().st_mtime_ns >= record.stat().st_mtime_ns:
            continue
        if then != getattr(params, name):
            file.touch()
            log.warning(
                "%s: %s, which is newer than Snakemake's last run of it, records other parameters; "
                "it is made anew",
                *(name, record),
            )


def _recorded(stage: Any, name: str) -> Section | None:
    """Return the parameters that DVC recorded of a stage; None if they are none of today's kind."""
    kind = Params.model_fields[name].annotation
    try:
        return kind.model_validate(recorded_section(stage, name)) if kind is not None else None
    except ValidationError:
        return None


def _dvc_is_alive(root: Path) -> bool:
    """Return whether a DVC command runs in the project, other than those of its queue.

    Queued experiments run in folders of their own, and what started them waits.
    """
    import psutil  # of no use to a stage, and not everywhere where stages run

    project, queued = root.resolve(), root.resolve() / ".dvc/tmp/exps"
    for process in psutil.process_iter():
        try:
            words = [Path(word).name for word in process.cmdline()]
            folder = Path(process.cwd())
            if (
                "dvc" in words[:3]
                and _QUEUE_WORKER not in words
                and folder.is_relative_to(project)
                and not folder.is_relative_to(queued)
            ):
                return True
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or is another user's
    return False


def _main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    recover_dvc()


if __name__ == "__main__":
    run_command(_main)
