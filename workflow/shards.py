"""Shards: how a stage that makes many items splits them, in one process pool or over many jobs.

A stage makes its N items in S numbered shard folders. DVC runs all of them in one command;
Snakemake, or a person, runs one with ``--shard i/S``. The function underneath is the same.
"""

import argparse
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pconv.errors import DataError, ParameterError
from workflow.parallel import map_items

log = logging.getLogger(__name__)

_NAME = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` of ``count``: it owns the items of number ``index`` modulo ``count``."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """The folder or file name of the shard, such as ``0003``."""
        return f"{self.index:04d}"

    def items(self, total: int) -> range:
        """Return the numbers of the items this shard makes, of ``total`` in all."""
        return range(self.index, total, self.count)


def shard_argument(text: str) -> Shard:
    """Parse ``i/S``, as in ``--shard 3/8``."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted i/S with 0 <= i < S, such as 3/8")
    return Shard(int(index), int(count))


def add_shard_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--shards S`` (make all of them) and ``--shard i/S`` (make one) to a stage's parser."""
    parser.add_argument("--shards", type=int, required=True, help="number of shards in all")
    parser.add_argument("--shard", type=shard_argument, help="make this one only, as i/S")


def chosen_shards(options: argparse.Namespace) -> list[Shard]:
    """Return the shards the command line asks for.

    Raises:
        ParameterError: If ``--shard i/S`` and ``--shards S`` disagree, or S is not positive.
    """
    if options.shards < 1:
        raise ParameterError(f"--shards {options.shards}; wanted a whole number from 1 on")
    if options.shard is None:
        return [Shard(index, options.shards) for index in range(options.shards)]
    if options.shard.count != options.shards:
        raise ParameterError(
            f"--shard {options.shard.index}/{options.shard.count} does not fit --shards "
            f"{options.shards}; the counts must be equal"
        )
    return [options.shard]


def for_each_shard(
    make: Callable[[Shard], object],
    shards: Sequence[Shard],
    *,
    what: str,
    folders: Sequence[Path],
) -> None:
    """Call ``make`` for every shard, in a process pool where there is more than one to make.

    Args:
        make: A picklable function (module level, or a ``functools.partial`` of one).
        shards: The shards to make.
        what: Name shown on the progress bar and in errors.
        folders: Where the shards lie. Shards of higher numbers, which another count left there,
            are removed.

    Raises:
        DataError: If a worker process was killed (out of memory, say), or if another program took
            a finished shard away meanwhile.
    """
    for _ in map_items(make, shards, what=what, unit="shard", long=True):
        pass
    for folder in folders:
        _remove_beyond(folder, shards[0].count)
        lost = [shard.name for shard in shards if not (folder / shard.name).is_dir()]
        if lost:
            raise DataError(
                f"{folder / lost[0]}: made, and gone; does another engine run in this folder? "
                "Wait until it is done, and run this stage again"
            )


def _remove_beyond(folder: Path, count: int) -> None:
    for path in folder.glob("*"):
        if _NAME.fullmatch(path.name) and int(path.name) >= count and path.is_dir():
            log.info("%s: removed; it was left by another number of shards", path)
            shutil.rmtree(path, ignore_errors=True)  # two jobs may do so at once
