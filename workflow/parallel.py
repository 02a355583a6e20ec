"""One function over many items, in as many processes as the machine has cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Never, TypeVar

from tqdm import tqdm

from pconv.errors import DataError, ParameterError
from pconv.stopping import exit_on_sigterm

_ITEMS_WORTH_A_PROCESS = 500  # below, starting one costs more than it saves
_CHUNK = 50
_BATCH = 20_000  # items handed to the pool at once, so that memory does not grow with their number

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(tasks: int) -> int:
    """Return how many processes to use: ``PCONV_WORKERS`` or one a core, at most ``tasks``.

    Raises:
        ParameterError: If ``PCONV_WORKERS`` is no whole number from 1 on.
    """
    text = os.environ.get("PCONV_WORKERS", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise ParameterError(f"PCONV_WORKERS is {text!r}; wanted a whole number from 1 on")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(tasks, int(text) if text else cores or 1))


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    what: str,
    unit: str = "it",
    long: bool = False,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in their order, whatever the worker count.

    Args:
        function: A picklable function (module level, or a ``functools.partial`` of one).
        items: Picklable items.
        what: Name shown on the progress bar and in errors.
        unit: What the progress bar calls an item.
        long: Each item is worth a process of its own; else many are handed over together.

    Raises:
        DataError: If a worker process was killed (out of memory, say).
    """
    workers = worker_count(len(items) // (1 if long else _ITEMS_WORTH_A_PROCESS))
    with tqdm(total=len(items), desc=what, unit=unit, disable=None) as bar:
        if workers == 1:
            for item in items:
                yield function(item)
                bar.update()
            return
        # "spawn": a forked copy of a process that already runs OpenMP threads can hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_leave_ending_to_parent)
        try:
            for start in range(0, len(items), _BATCH):
                batch = items[start : start + _BATCH]
                yield from _run(pool, function, batch, 1 if long else _CHUNK, bar)
        except BrokenProcessPool as error:
            raise DataError(
                f"{what}: a worker process was killed, most often for lack of memory; "
                "set PCONV_WORKERS to fewer processes and run again"
            ) from error
        except (SystemExit, KeyboardInterrupt):
            for worker in multiprocessing.active_children():
                worker.terminate()  # else this waits until it has done what it does
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _run(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    chunk: int,
    bar: "tqdm[Never]",
) -> Iterator[Result]:
    """Run a batch; the first error ends it, whichever item's it is."""
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    futures = [pool.submit(_each, function, some) for some in chunks]
    for done in as_completed(futures):
        bar.update(len(done.result()))
    for future in futures:
        yield from future.result()


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    try:
        with exit_on_sigterm():
            return [function(item) for item in items]
    except SystemExit as end:
        # The pool would take it for an answer, and this worker would go on with other items.
        os._exit(end.code if isinstance(end.code, int) else 1)


def _leave_ending_to_parent() -> None:
    """End this worker when its parent says so, by SIGTERM, or dies.

    Ctrl-C reaches workers too. One that heeded it would clean away what is half done, and the
    parent's SIGTERM would break that off. A parent that is killed can't say so, and workers would
    wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
