"""Files and folders that appear whole or not at all.

Everything is made under a temporary name in the same folder and renamed when it is complete,
so a killed process leaves nothing that looks finished. The temporary names carry the host and
the process that made them: `remove_leftovers`, with which each `atomic_folder` begins, removes
what a dead process left and never touches what a living one, here or on another machine, is still
writing. `atomic_file` removes its own when it fails, and does not look around for others'.
"""

import errno
import os
import re
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"  # named in .dvcignore too: an unfinished file is never part of a result
_PARTIAL_NAME = re.compile(r"\.partial-(?P<host>.*)-(?P<pid>\d+)-[0-9a-f]{8}$")


@contextmanager
def atomic_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` on success.

    A file that is replaced hands its mode on: what only its owner could read stays so.

    Args:
        path: Where the finished file shall be; its folder is created.
        durable: Flush file and folder to the disk before and after the rename, for files whose
            loss in a power cut would cost hours (checkpoints).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_name(path)
    try:
        yield partial
        _take_mode(partial, path)
        if durable:
            _flush(partial)
        partial.replace(path)
        if durable:
            _flush(path.parent)
    except BaseException as error:
        # Not "finally": files are written by the thousand, and this one is gone already.
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            _name_target(error, partial, path)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; on success it takes the place of ``path``.

    Safe to run twice at once: whoever finishes last wins, and readers see one whole folder or
    the other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    partial = _partial_name(path)
    partial.mkdir()
    try:
        yield partial
        _replace_folder(partial, path)
    finally:
        _remove(partial)


def remove_leftovers(folder: Path) -> None:
    """Delete what dead processes of this host left unfinished in ``folder``."""
    for leftover in folder.glob(f".*{PARTIAL}*"):
        match = _PARTIAL_NAME.search(leftover.name)
        if match and match["host"] == _host() and not _is_alive(int(match["pid"])):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _partial_name(path: Path) -> Path:
    ending = f"{PARTIAL}{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    # The name itself may be as long as a file system takes, 255 bytes.
    start = os.fsencode(path.name)[: 254 - len(os.fsencode(ending))]
    return path.parent / f".{os.fsdecode(start)}{ending}"


def _name_target(error: OSError, partial: Path, path: Path) -> None:
    """Let an error name the file that was to be written.

    A full disk is reported without a name, and a read-only folder with the temporary one.
    """
    if error.filename is None or str(error.filename) == str(partial):
        error.filename = str(path)
        if error.filename2 is not None:  # of a rename that failed
            del error.filename2


def _take_mode(partial: Path, path: Path) -> None:
    """Give a finished file the mode of the one it replaces, if there is one."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if partial.exists() and stat.S_IMODE(partial.stat().st_mode) != mode:
        partial.chmod(mode)


def _host() -> str:
    return socket.gethostname()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether a process is dead and only waits, maybe for ever, to be reaped (Linux)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state == "Z"


def _replace_folder(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; a rename alone can't replace a folder with content."""
    moved_away = []
    try:
        while True:
            try:
                new.rename(path)
                return
            except OSError as error:
                # The error number too: by now another process may have moved the folder away.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not path.is_dir():
                    raise
            old = _partial_name(path)
            moved_away.append(old)
            with suppress(FileNotFoundError):  # another process has just moved it away
                path.rename(old)
    except BaseException:
        for old in reversed(moved_away):
            with suppress(OSError):  # not moved, or another process's folder is in its place
                old.rename(path)
        raise
    finally:
        # Only now: removing a large folder takes long, and one or the other is to be there.
        for old in moved_away:
            _remove(old)


def _remove(folder: Path) -> None:
    """Delete a folder if it is there, also where Ctrl-C or SIGTERM breaks in."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
