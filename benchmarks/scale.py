"""What grows with the number of files and of shards: DVC's cache, Snakemake's plan, packed shards.

    python -m benchmarks.scale dvc --files 15400 150000 --kib 2
    python -m benchmarks.scale dag --shards 8 100 1000 10000 --timeout-s 300
    python -m benchmarks.scale packed --items 7700 --kib 2 110

Each row is one run of the real command in a folder of its own; "CPU s" is user and system time of
that command, "peak MiB" the largest of its processes.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.arguments import positive, whole
from benchmarks.record import Table, add_json_option, finish

ROOT = Path(__file__).parents[1]
PROJECT = ["pconv", "workflow", "presets", "params.yaml", "dvc.yaml", "Snakefile"]
KIB = 1024
FILES_A_FOLDER = 1000
PACKED = (1, 10, 100, 1000)
COST = ("wall s", "CPU s", "peak MiB")


@dataclass(frozen=True)
class Cost:
    """What one command took; `in_time` is false for one that was stopped."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str
    in_time: bool = True

    def cells(self) -> list[str]:
        """Return the cells of the columns `COST`."""
        more = "" if self.in_time else "stopped at "
        return [f"{more}{self.seconds:.1f}", f"{self.cpu_seconds:.1f}", f"{self.peak_mib:.0f}"]


def run(folder: Path, *command: str, timeout_s: float = 7200) -> Cost:
    """Run a command of this environment and measure it alone.

    Raises:
        SystemExit: If it fails.
    """
    words = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | words | {"DVC_NO_ANALYTICS": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with alarm(timeout_s, child.pid):
            _, status, usage = os.wait4(child.pid, 0)  # this child's usage, not that of all
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    in_time = child.returncode != -signal.SIGKILL
    if child.returncode and in_time:
        raise SystemExit(f"{' '.join(command)}: exit status {child.returncode}\n{text}")
    return Cost(
        seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB, text, in_time=in_time
    )


@contextmanager
def alarm(seconds: float, group: int) -> Iterator[None]:
    """Kill a group of processes if the block lasts longer."""
    before = signal.signal(signal.SIGALRM, lambda *_: os.killpg(group, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def items(count: int, size: int) -> Iterator[bytes]:
    """Yield the contents of files that do not compress and are all different."""
    rng = np.random.default_rng(1)
    return (rng.bytes(size) for _ in range(count))


def write_files(folder: Path, contents: Iterator[bytes]) -> None:
    """Write files into numbered folders of a thousand."""
    for number, content in enumerate(contents):
        path = folder / f"{number // FILES_A_FOLDER:04d}" / f"{number:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_tars(folder: Path, contents: Iterator[bytes], per_tar: int) -> None:
    """Write the same files into tars."""
    folder.mkdir(parents=True)
    numbered = enumerate(contents)
    while some := list(islice(numbered, per_tar)):
        with tarfile.open(folder / f"{some[0][0] // per_tar:06d}.tar", "w") as tar:
            for number, content in some:
                member = tarfile.TarInfo(f"{number:08d}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def new_project(folder: Path) -> None:
    """Make an empty DVC project that links as this project's configuration says."""
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")


def cache_table(counts: list[int], kib: int) -> Table:
    """Measure what DVC does to a folder of files at the end of a stage, and every time after."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            new_project(folder)
            write_files(folder / "data", items(count, kib * KIB))
            steps = {"`dvc add`: hash, move into the cache, link back": ["dvc", "add", "data"]}
            steps["`dvc status`, nothing changed"] = ["dvc", "status"]
            for step, command in steps.items():
                rows.append([step, f"{count}", *run(folder, *command).cells()])
            (folder / "data/0000/00000000.png").unlink()
            cost = run(folder, "dvc", "status")
            rows.append(["`dvc status`, one file gone", f"{count}", *cost.cells()])
            shutil.rmtree(folder / "data")
            cost = run(folder, "dvc", "checkout")
            rows.append(["`dvc checkout` of all, from the cache", f"{count}", *cost.cells()])
    return Table(("", "files", *COST), rows, title=f"Files of {kib} KiB")


def plan_table(counts: list[int], timeout_s: float) -> Table:
    """Measure how long Snakemake takes to find out what is to be done."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in PROJECT:
                copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
                copy(ROOT / part, folder / part)
            path = folder / "dvc.yaml"
            path.write_text(re.sub(r"(shards:? )8\b", rf"\g<1>{count}", path.read_text()))
            command = ["snakemake", "--dry-run", "--cores", "2", "evaluate"]
            cost = run(folder, *command, timeout_s=timeout_s)
            jobs = re.search(r"^total\s+(\d+)", cost.output, re.MULTILINE)
            rows.append([f"{count}", jobs[1] if jobs else "-", *cost.cells()])
    return Table(("shards a stage", "jobs", *COST), rows, words=0)


def read_all(folder: Path) -> int:
    """Read every item, alone or out of its tar, and return the number of bytes."""
    total = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix != ".tar":
            total += len(path.read_bytes())
            continue
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                total += len(content.read()) if content else 0
    return total


def hash_all(folder: Path) -> None:
    """Take the MD5 of every file, as DVC does."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashlib.file_digest(file, "md5")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the user and system time that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def packed_table(count: int, kib: int) -> Table:
    """Measure the same items as single files and in tars of more and more."""
    rows = []
    for per_file in PACKED:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            new_project(folder)
            contents, data = items(count, kib * KIB), folder / "data"
            if per_file == 1:
                write_files(data, contents)
            else:
                write_tars(data, contents, per_file)
            mib = sum(path.stat().st_size for path in data.rglob("*.*")) / KIB**2
            costs = [
                cpu_seconds(lambda d=data: read_all(d)),
                cpu_seconds(lambda d=data: hash_all(d)),
            ]
            costs.append(run(folder, "dvc", "add", "data").cpu_seconds)
            run(folder, "dvc", "remote", "add", "--default", "store", str(folder / "store"))
            costs.append(run(folder, "dvc", "push").cpu_seconds)
            files = -(-count // per_file)
            cells = [f"{cost:.2f}" for cost in costs]
            rows.append([f"{per_file}", f"{files}", f"{mib:.0f}", *cells])
    head = ("items a file", "files", "MiB", "read", "hash", "`dvc add`", "`dvc push`")
    return Table(head, rows, words=0, title=f"{count} items of {kib} KiB, CPU seconds")


def main() -> None:
    """Print the tables of one subject."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subjects = parser.add_subparsers(dest="subject", required=True)
    cache = subjects.add_parser("dvc", help="DVC's cache as files get more")
    cache.add_argument("--files", type=whole, nargs="+", default=[15_400, 150_000])
    cache.add_argument("--kib", type=whole, nargs="+", default=[2])
    plan = subjects.add_parser("dag", help="Snakemake's plan as shards get more")
    plan.add_argument("--shards", type=whole, nargs="+", default=[8, 100, 1000, 10_000])
    plan.add_argument("--timeout-s", type=positive, default=900)
    packed = subjects.add_parser("packed", help="single files against tars")
    packed.add_argument("--items", type=whole, default=7700)
    packed.add_argument("--kib", type=whole, nargs="+", default=[2, 110])
    for subject in (cache, plan, packed):
        add_json_option(subject)
    options = parser.parse_args()
    if options.subject == "dvc":
        tables = [cache_table(options.files, kib) for kib in options.kib]
    elif options.subject == "dag":
        tables = [plan_table(options.shards, options.timeout_s)]
    else:
        tables = [packed_table(options.items, kib) for kib in options.kib]
    finish("benchmarks.scale", tables, packages=["dvc", "snakemake"], out=options.json)


if __name__ == "__main__":
    main()
