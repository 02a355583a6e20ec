"""Where the files of a sharded stage lie: in numbered folders, ``0003/000123.png``."""

import re
from pathlib import Path

SHARD_NAME = re.compile(r"\d{4,}")


def shard_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern in all shards of a folder, sorted.

    Shards that were never finished are left out: what was killed on another machine, which for all
    that this one knows is still at work, lies beside the others.
    """
    found = folder.glob(f"*/{pattern}")
    return sorted(path for path in found if SHARD_NAME.fullmatch(path.parent.name))
