"""``kill -9`` at random moments, then the same command again: the bytes of the unbroken run.

    python -m tests.hostile.kills --times 200

Each time: a stage and an engine, drawn in turn; the stage's outputs are taken away, or, half of
the times, left to be replaced; the engine is started; after a random time, spread over what the
unbroken run of the stage took, someone is killed: everything at once (a power cut), the stage
with its workers (a batch system), the stage's main process, one worker (the kernel, out of
memory), or the engine. Then whatever still runs may end, nothing may go on for ever, the same
command is given again, it must succeed, and its outputs must have the hashes of before.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.hostile.engines import Project, leftovers
from tests.hostile.record import Attempt, write
from workflow.graph import Stage

ENGINES = ("dvc", "snakemake")
STAGES = ("download", "augment", "masks", "train", "sample", "evaluate", "report")
AREA = "kill -9 at random moments, then the same command again"
CORES = "2"


@dataclass
class Outcome:
    """What one kill led to.

    Attributes:
        engine: dvc or snakemake.
        stage: The stage that ran.
        victim: Who was killed, by its name in `VICTIMS`.
        hit: Whether it was still running then.
        wrong: What must not be; empty where all is well.
        litter: Unfinished files that are left after the rerun.
    """

    engine: str
    stage: str
    victim: str
    hit: bool
    wrong: list[str] = field(default_factory=list)
    litter: int = 0


class Course:
    """Both engines' projects, each with an unbroken run behind it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.projects = {engine: Project(folder / engine) for engine in ENGINES}
        self.unbroken: dict[str, dict[str, str]] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        for engine, project in self.projects.items():
            done = project.run(*_all(engine))
            if done.status:
                raise RuntimeError(f"the unbroken run of {engine} failed:\n{done.said}")
            self.unbroken[engine] = project.hashes()
        if self.unbroken["dvc"] != self.unbroken["snakemake"]:
            raise RuntimeError("the two engines' unbroken runs differ")

    def kill(self, engine: str, name: str, victim: str) -> Outcome:
        """Kill once and run again."""
        project = self.projects[engine]
        stage = next(stage for stage in project.stages if stage.name == name)
        outcome = Outcome(engine, name, victim, hit=False)
        outputs, command = self._target(engine, stage)
        if (engine, name) not in self.seconds:
            self._prepare(engine, project, outputs, wipe=True)
            started = time.monotonic()
            outcome.wrong += _check(project.run(*command).status == 0, "the unbroken stage failed")
            self.seconds[engine, name] = time.monotonic() - started
        self._prepare(engine, project, outputs, wipe=self.draw.random() < 0.5)
        process = project.start(*command)
        deadline = time.monotonic() + self.draw.uniform(0, self.seconds[engine, name])
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        outcome.hit = VICTIMS[victim](project, process.pid, name)
        # The engine, or a stage whose engine was killed, may end by itself: that takes its time.
        outcome.wrong += [f"orphan: {one}" for one in project.orphans(120)]
        process.wait()
        project.run(sys.executable, "-m", "workflow.recovery")
        done = project.run(*command)
        outcome.wrong += _check(done.status == 0, f"the rerun failed:\n{done.said}")
        outcome.wrong += [
            f"{path} differs"
            for path, found in project.hashes(stage.outputs).items()
            if found != self.unbroken[engine][path]
        ]
        outcome.litter = len(leftovers(project.folder))
        return outcome

    def finish(self) -> list[str]:
        """Run all of both pipelines again; return what differs."""
        wrong = []
        for engine, project in self.projects.items():
            done = project.run(*_all(engine))
            wrong += _check(done.status == 0, f"the last run of {engine} failed:\n{done.said}")
            found = project.hashes()
            wrong += [f"{p} differs" for p, h in self.unbroken[engine].items() if found[p] != h]
        return wrong

    def _target(self, engine: str, stage: Stage) -> tuple[list[str], tuple[str, ...]]:
        """Return what a run is to make, and the command: under Snakemake one shard is enough."""
        if engine == "dvc":
            return list(stage.outputs), ("dvc", "repro", "--single-item", stage.name)
        outputs = [output.rstrip("/") for output in stage.outputs]
        if stage.shards:
            outputs = stage.shard_outputs(self.draw.choice(stage.shard_names))
        return outputs, ("snakemake", "--cores", CORES, outputs[0])

    def _prepare(self, engine: str, project: Project, outputs: Sequence[str], wipe: bool) -> None:
        """Make the engine run the stage: without its outputs, or as if an input were newer."""
        # What DVC knows of earlier runs would spare it the work.
        shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)
        for output in outputs:
            path = project.folder / output
            if wipe and path.is_dir():
                shutil.rmtree(path)
            elif wipe:
                path.unlink(missing_ok=True)
        if not wipe:
            _age(engine, project.folder, outputs)


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
    import os

    if path.exists():
        os.utime(path, (1, 1))  # Snakemake takes 0 for no time at all


def _kill_everything(project: Project, engine: int, stage: str) -> bool:
    found = project.alive()
    project.kill_all()
    return bool(found)


def _kill_stage_and_workers(project: Project, engine: int, stage: str) -> bool:
    mains = project.stage_processes(stage)
    return _kill_all([*mains, *(child for main in mains for child in _children(main))])


def _kill_stage(project: Project, engine: int, stage: str) -> bool:
    return _kill_all(project.stage_processes(stage))


def _kill_worker(project: Project, engine: int, stage: str) -> bool:
    workers = [child for main in project.stage_processes(stage) for child in _children(main)]
    return _kill_all([one for one in workers if "spawn_main" in " ".join(one.cmdline())][:1])


def _kill_engine(project: Project, engine: int, stage: str) -> bool:
    return _kill_all([psutil.Process(engine)] if psutil.pid_exists(engine) else [])


Killer = Callable[[Project, int, str], bool]
VICTIMS: dict[str, Killer] = {
    "everything": _kill_everything,
    "stage and workers": _kill_stage_and_workers,
    "stage": _kill_stage,
    "worker": _kill_worker,
    "engine": _kill_engine,
}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _kill_all(processes: Sequence[psutil.Process]) -> bool:
    hit = False
    for process in processes:
        try:
            process.kill()
            hit = True
        except psutil.Error:
            continue
    return hit


def _all(engine: str) -> tuple[str, ...]:
    return ("dvc", "repro") if engine == "dvc" else ("snakemake", "--cores", CORES, "evaluate")


def _check(is_right: bool, words: str) -> list[str]:
    return [] if is_right else [words]


def run_course(
    times: int, seed: int, folder: Path, limit_s: float
) -> tuple[list[Outcome], list[str]]:
    """Kill so many times, or as often as the time allows; return what came of it."""
    started = time.monotonic()
    course = Course(folder, seed)
    outcomes: list[Outcome] = []
    for number in range(times):
        if time.monotonic() - started > limit_s:
            break
        engine, name = ENGINES[number % 2], STAGES[number // 2 % len(STAGES)]
        outcome = course.kill(engine, name, course.draw.choice(list(VICTIMS)))
        outcomes.append(outcome)
        state = "; ".join(outcome.wrong) or "same bytes"
        sys.stderr.write(
            f"{number + 1} {engine} {name}: {outcome.victim} "
            f"{'killed' if outcome.hit else 'was not running'}, {state}\n"
        )
    return outcomes, course.finish()


def attempts_of(outcomes: Sequence[Outcome], wrong_at_last: Sequence[str]) -> list[Attempt]:
    """Return the rows of the record: one an engine and stage, and who was killed."""
    rows = []
    for engine, name in sorted({(one.engine, one.stage) for one in outcomes}):
        those = [one for one in outcomes if (one.engine, one.stage) == (engine, name)]
        lost = sum(bool(one.wrong) for one in those)
        hits = Counter(one.victim if one.hit else "between processes" for one in those)
        killed = ", ".join(f"{victim} {count}" for victim, count in sorted(hits.items()))
        text = f"same bytes after the rerun ({killed})" if not lost else "see the lost ones"
        rows.append(Attempt(AREA, f"`{name}` under {engine}", text, len(those), lost))
    text = "; ".join(wrong_at_last) or "every output has the hash of the unbroken run"
    rows.append(Attempt(AREA, "the whole pipeline after all of them", text, 2, len(wrong_at_last)))
    return rows


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
        outcomes, wrong = run_course(options.times, options.seed, folder, options.minutes * 60)
    write("tests.hostile.kills", attempts_of(outcomes, wrong))
    lost = sum(bool(one.wrong) for one in outcomes) + len(wrong)
    sys.stdout.write(f"{len(outcomes)} kills, {lost} lost, seed {options.seed}\n")
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
