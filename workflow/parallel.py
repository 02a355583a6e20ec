"""One function over many small items, in as many processes as the machine has cores."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from pconv.errors import DataError
from workflow.shards import worker_count

_ITEMS_WORTH_A_PROCESS = 500  # below, starting one costs more than it saves
_CHUNK = 50
_BATCH = 20_000  # items handed to the pool at once, so that memory does not grow with their number

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_items(
    function: Callable[[Item], Result], items: Sequence[Item], *, what: str
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in their order, whatever the worker count.

    Args:
        function: A picklable function (module level, or a ``functools.partial`` of one).
        items: Picklable items.
        what: Name shown on the progress bar and in errors.

    Raises:
        DataError: If a worker process was killed (out of memory, say).
    """
    results = _map(function, items, worker_count(len(items) // _ITEMS_WORTH_A_PROCESS))
    try:
        yield from tqdm(results, total=len(items), desc=what, disable=None)
    except BrokenProcessPool as error:
        raise DataError(
            f"{what}: a worker process was killed, most often for lack of memory; "
            "set PCONV_WORKERS to fewer processes and run again"
        ) from error


def _map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    if workers == 1:
        yield from map(function, items)
        return
    # "spawn", as in workflow.shards: a forked copy of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for start in range(0, len(items), _BATCH):
            yield from pool.map(function, items[start : start + _BATCH], chunksize=_CHUNK)
