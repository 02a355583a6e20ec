"""One process at a time opens an MLflow store in a SQLite file and a run in it.

MLflow makes a store's tables when it is first opened, in steps, and a second process that comes
upon half of them makes the rest as well: then both fail. And who finds no run and makes one takes
two steps as well.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow.run_files import sha256

SQLITE = "sqlite:///"


@contextmanager
def sole_writer(uri: str) -> Iterator[None]:
    """Keep others of this user on this machine from making the store, or a run in it, meanwhile.

    Args:
        uri: Of an MLflow store; nothing is done for one that is not a SQLite file.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    name = sha256(str(Path(uri.removeprefix(SQLITE)).resolve()).encode())[:16]
    # Not beside the store: a lock in a shared folder may not be a lock.
    path = Path(tempfile.gettempdir()) / f"pconv-mlflow-{os.getuid()}-{name}.lock"
    with path.open("w") as lock:
        # The kernel lets go of it when the file is closed or the process ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
