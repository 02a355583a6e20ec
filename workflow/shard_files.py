"""Where the files of a sharded stage lie: in a folder for each shard, ``0003/000123.png``."""

from pathlib import Path


def shard_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern in all shards of a folder, sorted.

    Shards that were never finished are left out: what was killed on another machine, which for all
    that this one knows is still at work, lies beside the others.
    """
    found = folder.glob(f"*/{pattern}")
    return sorted(path for path in found if not path.parent.name.startswith("."))
