"""``kill -9`` at random moments, then the same command again: the bytes of the unbroken run.

    python -m tests.hostile.kills --times 200

The two engines have a course each, side by side, through the stages in turn. Each time the stage's
outputs are taken away, or, half of the times, left to be replaced; the engine is started; someone
is killed: everything at once (a power cut), the stage with its workers (a batch system), the
stage's main process, one worker (the kernel, out of memory), or the engine. The moment is drawn
from the time for which the victim lived in an unbroken run of the stage. Then whatever still runs
may end, nothing may go on for ever, the same command is given again, it must succeed, and its
outputs must have the hashes of before.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import psutil

from tests.hostile.engines import Project, kill
from tests.hostile.record import Attempt, write
from workflow.graph import Stage

ENGINES = ("dvc", "snakemake")
STAGES = ("download", "augment", "masks", "train", "sample", "evaluate", "report")
AREA = "kill -9 at random moments, then the same command again: who was killed; the same bytes"
CORES = "2"
GLANCE_S = 0.05


@dataclass
class Outcome:
    """What one kill led to.

    Attributes:
        engine: dvc or snakemake.
        stage: The stage that ran.
        victim: Who was killed, by its name in `VICTIMS`.
        hit: Whether it was still running at the drawn moment.
        wrong: What must not be; empty where all is well.
    """

    engine: str
    stage: str
    victim: str
    hit: bool
    wrong: list[str] = field(default_factory=list)


class Course:
    """One engine's project, with an unbroken run behind it.

    Args:
        folder: Where to work.
        engine: dvc or snakemake.
        seed: Of victims and moments.

    Raises:
        RuntimeError: If the unbroken run fails.
    """

    def __init__(self, folder: Path, engine: str, seed: int) -> None:
        self.draw = random.Random(f"{engine} {seed}")
        self.engine = engine
        self.project = Project(folder / engine)
        # How long each victim lives, by stage.
        self.lives: dict[str, dict[str, float]] = {}
        done = self.project.run(*_all(engine))
        if done.status:
            raise RuntimeError(f"the unbroken run of {engine} failed:\n{done.said}")
        self.unbroken = self.project.hashes()

    def kill(self, name: str) -> Outcome:
        """Kill someone once in a stage and run again."""
        project = self.project
        stage = next(stage for stage in project.stages if stage.name == name)
        outputs, command = self._target(stage)
        if name not in self.lives:
            self._prepare(outputs, wipe=True)
            self.lives[name] = _watch(project, command, name)
        lives = self.lives[name]
        victim = self.draw.choice(sorted(lives))
        outcome = Outcome(self.engine, name, victim, hit=False)
        self._prepare(outputs, wipe=self.draw.random() < 0.5)
        process = project.start(*command)
        find = VICTIMS[victim]
        while process.poll() is None and not find(project, process.pid, name):
            time.sleep(GLANCE_S)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.draw.uniform(0, lives[victim]))
        outcome.hit = kill(find(project, process.pid, name))
        # The engine, or a stage whose engine was killed, may end by itself: that takes its time.
        outcome.wrong += [f"orphan: {one}" for one in project.orphans(120)]
        process.wait()
        project.run(sys.executable, "-m", "workflow.recovery")
        done = project.run(*command)
        outcome.wrong += _check(done.status == 0, f"the rerun failed:\n{done.said}")
        outcome.wrong += self._differing(stage.outputs)
        return outcome

    def finish(self) -> list[str]:
        """Run the whole pipeline again; return what differs."""
        done = self.project.run(*_all(self.engine))
        wrong = _check(done.status == 0, f"the last run of {self.engine} failed:\n{done.said}")
        return wrong + self._differing()

    def _differing(self, outputs: Sequence[str] = ()) -> list[str]:
        """Return which outputs, of all or of some, have not the hash of the unbroken run."""
        found = self.project.hashes(outputs)
        return [f"{path} differs" for path in found if found[path] != self.unbroken[path]]

    def _target(self, stage: Stage) -> tuple[list[str], tuple[str, ...]]:
        """Return what a run is to make, and the command: under Snakemake one shard is enough."""
        if self.engine == "dvc":
            return list(stage.outputs), ("dvc", "repro", "--single-item", stage.name)
        outputs = [output.rstrip("/") for output in stage.outputs]
        if stage.shards:
            outputs = stage.shard_outputs(self.draw.choice(stage.shard_names))
        return outputs, ("snakemake", "--cores", CORES, outputs[0])

    def _prepare(self, outputs: Sequence[str], wipe: bool) -> None:
        """Make the engine run the stage: without its outputs, or as if an input were newer."""
        folder = self.project.folder
        # DVC would take what it has made before from its cache, and run nothing.
        shutil.rmtree(folder / ".dvc/cache", ignore_errors=True)
        for output in outputs:
            path = folder / output
            if wipe and path.is_dir():
                shutil.rmtree(path)
            elif wipe:
                path.unlink(missing_ok=True)
        if not wipe:
            _age(self.engine, folder, outputs)


def _age(engine: str, folder: Path, outputs: Sequence[str]) -> None:
    """Leave outputs in place but make them look old (Snakemake) or edited (DVC)."""
    for output in outputs:
        path = folder / output
        if engine == "dvc" and path.is_dir():
            (path / "edited").write_text("by hand")
        elif engine == "dvc":
            path.write_bytes(path.read_bytes() + b"\n")
        else:
            for one in (path, *path.glob(".snakemake_timestamp")):
                _make_old(one)


def _make_old(path: Path) -> None:
    if path.exists():
        os.utime(path, (1, 1))  # Snakemake takes 0 for no time at all


def _watch(project: Project, command: Sequence[str], name: str) -> dict[str, float]:
    """Run a stage unbroken; return for how many seconds each victim that it has was seen."""
    seen: dict[str, list[float]] = {}
    process = project.start(*command)
    while process.poll() is None:
        for victim, find in VICTIMS.items():
            if find(project, process.pid, name):
                seen.setdefault(victim, []).append(time.monotonic())
        time.sleep(GLANCE_S)
    if process.returncode:
        raise RuntimeError(f"the unbroken run of {name} failed:\n{project.said()}")
    return {victim: times[-1] - times[0] for victim, times in seen.items()}


def _everything(project: Project, engine: int, stage: str) -> list[psutil.Process]:
    return project.alive()


def _stage_and_workers(project: Project, engine: int, stage: str) -> list[psutil.Process]:
    mains = project.stage_processes(stage)
    return [*mains, *(child for main in mains for child in _children(main))]


def _stage(project: Project, engine: int, stage: str) -> list[psutil.Process]:
    return project.stage_processes(stage)


def _worker(project: Project, engine: int, stage: str) -> list[psutil.Process]:
    return project.workers()[:1]


def _engine(project: Project, engine: int, stage: str) -> list[psutil.Process]:
    return [one for one in project.alive() if one.pid == engine]


VICTIMS: dict[str, Callable[[Project, int, str], list[psutil.Process]]] = {
    "everything": _everything,
    "stage and workers": _stage_and_workers,
    "stage": _stage,
    "worker": _worker,
    "engine": _engine,
}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _all(engine: str) -> tuple[str, ...]:
    return ("dvc", "repro") if engine == "dvc" else ("snakemake", "--cores", CORES, "evaluate")


def _check(is_right: bool, words: str) -> list[str]:
    return [] if is_right else [words]


def run_courses(
    times: int, seed: int, folder: Path, limit_s: float
) -> tuple[list[Outcome], list[str]]:
    """Kill so many times in all, or as often as the time allows; return what came of it."""
    until = time.monotonic() + limit_s
    with ThreadPoolExecutor(len(ENGINES)) as pool:
        shares = [len(range(number, times, len(ENGINES))) for number in range(len(ENGINES))]
        run = partial(_run_course, folder=folder, seed=seed, until=until)
        outcomes, wrong, unbroken = zip(*pool.map(run, ENGINES, shares), strict=True)
    differ = _check(unbroken[0] == unbroken[1], "the two engines' unbroken runs differ")
    return [*chain(*outcomes)], [*chain(*wrong), *differ]


def _run_course(
    engine: str, times: int, folder: Path, seed: int, until: float
) -> tuple[list[Outcome], list[str], dict[str, str]]:
    course = Course(folder, engine, seed)
    outcomes: list[Outcome] = []
    while sum(outcome.hit for outcome in outcomes) < times and time.monotonic() < until:
        outcome = course.kill(STAGES[len(outcomes) % len(STAGES)])
        outcomes.append(outcome)
        state = "; ".join(outcome.wrong) or "same bytes"
        sys.stderr.write(
            f"{len(outcomes)} {engine} {outcome.stage}: {outcome.victim} "
            f"{'killed' if outcome.hit else 'had ended'}, {state}\n"
        )
    return outcomes, course.finish(), course.unbroken


def attempts_of(outcomes: Sequence[Outcome], wrong_at_last: Sequence[str]) -> list[Attempt]:
    """Return the record: by engine and stage, who was killed how often, and what came of it."""
    ends = Counter((f"`{one.stage}` under {one.engine}", *_end(one)) for one in outcomes)
    rows = [
        Attempt(AREA, tried, end, times, times * is_lost)
        for (tried, end, is_lost), times in sorted(ends.items())
    ]
    text = "; ".join(wrong_at_last) or "every output has the hash of the unbroken run"
    rows.append(Attempt(AREA, "the whole pipeline after all of them", text, 2, len(wrong_at_last)))
    return rows


def _end(one: Outcome) -> tuple[str, bool]:
    """Return what happened in words, and whether something was lost."""
    who = one.victim if one.hit else "had ended"
    return (f"{who}: {'; '.join(one.wrong)}" if one.wrong else who), bool(one.wrong)


def main() -> None:
    """Run the course from the command line and take it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200, help="kills in all")
    parser.add_argument("--seed", type=int, default=1, help="of stages, victims and moments")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pconv-kills-") as temporary:
        folder = options.folder or Path(temporary)
        outcomes, wrong = run_courses(options.times, options.seed, folder, options.minutes * 60)
    write(f"tests.hostile.kills {options.seed}", attempts_of(outcomes, wrong))
    hits = sum(one.hit for one in outcomes)
    lost = sum(bool(one.wrong) for one in outcomes) + len(wrong)
    sys.stdout.write(f"{hits} kills, {lost} lost, seed {options.seed}\n")
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
