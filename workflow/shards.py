"""Shards: how a stage that makes many items splits them, in one process pool or over many jobs.

A stage makes its N items in S numbered shard folders. DVC runs all of them in one command;
Snakemake, or a person, runs one with ``--shard i/S``. The function underneath is the same.
"""

import argparse
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from pconv.errors import DataError, ParameterError

log = logging.getLogger(__name__)


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


def worker_count(shards: int) -> int:
    """Return how many processes to use: ``PCONV_WORKERS`` or one a core, at most ``shards``."""
    text = os.environ.get("PCONV_WORKERS", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise ParameterError(f"PCONV_WORKERS is {text!r}; wanted a whole number from 1 on")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(shards, int(text) if text else cores or 1))


def for_each_shard(make: Callable[[Shard], object], shards: Sequence[Shard], *, what: str) -> None:
    """Call ``make`` for every shard, in a process pool where there is more than one to make.

    Args:
        make: A picklable function (module level, or a ``functools.partial`` of one).
        shards: The shards to make.
        what: Name shown on the progress bar and in errors.

    Raises:
        DataError: If a worker process was killed (out of memory, say).
    """
    workers = worker_count(len(shards))
    bar = partial(tqdm, total=len(shards), desc=what, unit="shard", disable=None)
    if workers == 1:
        for shard in bar(shards):
            make(shard)
        return
    # "spawn": a forked copy of a process that already runs OpenMP threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for done in bar(as_completed([pool.submit(make, shard) for shard in shards])):
                done.result()
        except BrokenProcessPool as error:
            raise DataError(
                f"{what}: a worker process was killed, most often for lack of memory; "
                "set PCONV_WORKERS to fewer processes and run again"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
