"""What the benchmarks of the data stages share: rates a core, and whole runs of a stage."""

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Table

KIB = 1024
SHARDS = 8


@dataclass(frozen=True)
class StageRun:
    """What one run of a stage took and left."""

    items: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    files: int
    mib: float

    def row(self) -> tuple[str, ...]:
        """Return the run as a row of :func:`stage_table`."""
        return (
            f"{self.items}",
            f"{self.seconds:.1f}",
            f"{self.cpu_seconds:.1f}",
            f"{1000 * self.cpu_seconds / self.items:.2f}",
            f"{self.peak_mib:.0f}",
            f"{self.files}",
            f"{self.mib:.1f}",
        )


def cpu_rates(
    candidates: Mapping[str, tuple[Callable[[int], object], int]], rounds: int
) -> dict[str, float]:
    """Return the median items per CPU second of each candidate, all taken in turn.

    Args:
        candidates: By name, a function of the item's number and how many items make a round.
        rounds: How often each is timed; one more round warms up.
    """
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, (make, count) in candidates.items():
            start = time.process_time()
            for item in range(count):
                make(turn * count + item)
            if turn:
                rates[name].append(count / (time.process_time() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


HEADING = (
    "items",
    "wall s",
    "CPU s",
    "CPU ms an item",
    "peak MiB of a process",
    "files",
    "MiB written",
)


def stage_table(run: Callable[[int, Path], None], counts: list[int]) -> Table:
    """Run a stage for each number of items, each in a fresh process."""
    rows = []
    context = multiprocessing.get_context("spawn")
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            rows.append(pool.submit(_measured, run, count).result().row())
    return Table(HEADING, rows, words=0, title="Whole runs of the stage, files written")


def _measured(run: Callable[[int, Path], None], items: int) -> StageRun:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(items, Path(folder))
        seconds = time.perf_counter() - start
        # Before the files are listed, which takes memory of its own.
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        sizes = [path.stat().st_size for path in Path(folder).glob("**/*") if path.is_file()]
    return StageRun(
        items=items,
        seconds=seconds,
        cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        peak_mib=max(usage.ru_maxrss for usage in usages) / KIB,
        files=len(sizes),
        mib=sum(sizes) / KIB**2,
    )
