"""The hash under which DVC records a file or a folder."""

import hashlib
import json
from functools import partial
from pathlib import Path

from pconv.errors import DataError


def dvc_hash(path: Path) -> str:
    """Return the MD5 under which DVC records a file, or a folder with all it holds.

    A folder's is that of the JSON list of its files' hashes and names, sorted by name; hidden
    files, which ``.dvcignore`` leaves out, do not count.

    Raises:
        DataError: If there is nothing at ``path``.
    """
    if path.is_file():
        return _md5(path)
    if not path.is_dir():
        raise DataError(f"{path}: not found; run the stage that makes it")
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    names = sorted(
        name.as_posix() for name in inside if not any(part.startswith(".") for part in name.parts)
    )
    entries = [{"md5": _md5(path / name), "relpath": name} for name in names]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
    return digest.hexdigest()
