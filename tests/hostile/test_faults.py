"""Faults while the pipeline runs: workers killed, folders removed, two runs, clock, cache."""

import os
import shutil
import sys
import time
from collections.abc import Callable

import pytest
import yaml

from tests.hostile.conftest import Note
from tests.hostile.engines import CHEAPER, Done, Project, leftovers

AREA = "Faults while it runs"
pytestmark = [pytest.mark.engines, pytest.mark.slow]
# So much work that it is still going on when something happens to it.
LONGER = CHEAPER | {"augment": {"images": 2000}, "masks": {"train": 4000}}
POOLED = ("augment", "masks", "evaluate")
PATIENCE_S = 120


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which `dvc repro` has run."""
    made = Project(tmp_path_factory.mktemp("faults") / "project", LONGER)
    done = made.run("dvc", "repro")
    assert done.status == 0, done.said
    return made


@pytest.fixture(scope="module")
def unbroken(project: Project) -> dict[str, str]:
    """The hashes of all outputs of the run in which nothing went wrong."""
    return project.hashes()


def command(project: Project, name: str) -> list[str]:
    """Return a stage's command as words."""
    stage = next(stage for stage in project.stages if stage.name == name)
    return [sys.executable, *stage.command.split()[1:]]


def during(
    project: Project, name: str, when: Callable[[], bool], act: Callable[[], object]
) -> Done:
    """Run a stage, do something to it at a moment, and wait for its end."""
    shutil.rmtree(project.folder / "checkpoints", ignore_errors=True)
    process = project.start(*command(project, name))
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline and not when():
        time.sleep(0.002)
    assert process.poll() is None, f"{name} was over too soon: {project.said()}"
    act()
    process.wait(PATIENCE_S)
    return Done(process.returncode, project.said())


def check_recovers(project: Project, unbroken: dict[str, str]) -> None:
    """Check that nothing runs on, and that the next run makes what the unbroken one made."""
    assert project.orphans() == []
    done = project.run("dvc", "repro")
    assert done.status == 0, done.said
    assert project.hashes() == unbroken
    assert leftovers(project.folder) == []


@pytest.mark.parametrize("name", POOLED)
def test_killed_worker(name: str, project: Project, unbroken: dict[str, str], note: Note) -> None:
    """When the kernel kills a worker the stage ends with its own name in the message."""
    done = during(
        project, name, lambda: len(project.workers()) == 2, lambda: project.workers()[0].kill()
    )
    assert done.status == 2, done.said
    assert f"DataError: {name}: a worker process was killed" in done.said
    assert "Traceback" not in done.said
    check_recovers(project, unbroken)
    note(AREA, "a worker killed, as for lack of memory", "the stage names itself; same bytes later")


@pytest.mark.parametrize(
    ("name", "lost", "sign"),
    [
        ("augment", "data/augmented", "data/augmented/.*.partial-*/*.png"),
        ("masks", "data/masks/train", "data/masks/train/.*.partial-*/*.png"),
        ("evaluate", "data/evaluation", "checkpoints/evaluate/*/*.csv"),
        ("train", "checkpoints", "checkpoints/packed/*.npy"),
    ],
)
def test_removed_folder(
    name: str, lost: str, sign: str, project: Project, unbroken: dict[str, str], note: Note
) -> None:
    """A folder that disappears while a stage writes into it ends the stage, or is made again."""
    done = during(
        project,
        name,
        lambda: any(project.folder.glob(sign)),
        lambda: shutil.rmtree(project.folder / lost, ignore_errors=True),
    )
    assert done.status in (0, 2), done.said
    assert "Traceback" not in done.said
    check_recovers(project, unbroken)
    end = "said in one line" if done.status else "made again"
    note(AREA, "a folder removed while a stage writes there", f"{end}; same bytes later")


@pytest.mark.parametrize("engine", ["dvc", "snakemake"])
def test_two_at_once(engine: str, project: Project, unbroken: dict[str, str], note: Note) -> None:
    """Of two runs at once one does the work; the other waits, or ends and says why."""
    both = ["dvc", "repro", "--force", "--single-item", "augment"]
    if engine == "snakemake":
        both = ["snakemake", "--cores", "1", "--forcerun", "report", "--", "report"]
        done = project.run("snakemake", "--cores", "2", "evaluate")
        assert done.status == 0, done.said
    first = project.start(*both)
    said_first = (project.folder / "said.log").open(encoding="utf-8", errors="replace")
    deadline = time.monotonic() + PATIENCE_S
    stage = "augment" if engine == "dvc" else "report"
    while not project.stage_processes(stage) and time.monotonic() < deadline:
        time.sleep(0.01)
    (project.folder / "said.log").unlink()
    second = project.run(*both)
    assert first.wait(PATIENCE_S) == 0, said_first.read()
    said_first.close()
    if second.status:
        assert "busy" in second.said or "lock" in second.said, second.said
    assert project.hashes() == unbroken
    check_recovers(project, unbroken)
    end = "the second ends and says who holds what" if second.status else "both finish"
    note(AREA, f"two runs of {engine} at once", f"{end}; same bytes")


def test_corrupted_cache(project: Project, unbroken: dict[str, str], note: Note) -> None:
    """DVC notices objects in its cache that are damaged, and the stages make them anew."""
    outputs = ["data/sample.csv", "data/masks/valid/", "reports/table.md"]
    record = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    made = [out for stage in record.values() for out in stage.get("outs", [])]
    hashes = {out["path"]: out["md5"] for out in made}
    for output in outputs:
        path = project.folder / output
        digest = hashes[output.rstrip("/")] if output.rstrip("/") in hashes else hashes[output]
        cached = project.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
        cached.chmod(0o644)
        cached.write_bytes(cached.read_bytes()[:-3] + b"???")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    check_recovers(project, unbroken)
    note(AREA, "objects of DVC's cache damaged", "noticed, made anew, same bytes", times=3)


@pytest.mark.parametrize("engine", ["dvc", "snakemake"])
def test_clock(engine: str, project: Project, unbroken: dict[str, str], note: Note) -> None:
    """After the clock was set back by a day an edit still makes its stage, and only it, run."""
    run = ("dvc", "repro") if engine == "dvc" else ("snakemake", "--cores", "2", "evaluate")
    done = project.run(*run)
    assert done.status == 0, done.said
    tomorrow = time.time() + 86_400
    for output in [project.folder / path for stage in project.stages for path in stage.outputs]:
        for path in (output, *output.rglob("*")) if output.is_dir() else (output,):
            os.utime(path, (tomorrow, tomorrow))
    params = project.folder / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("bootstrap_draws: 100\n", "bootstrap_draws: 101\n"))
    done = project.run(*run)
    assert done.status == 0, done.said
    changed = {path for path, found in project.hashes().items() if found != unbroken[path]}
    params.write_text(before)
    done = project.run(*run)
    assert done.status == 0, done.said
    assert changed
    assert all(path.startswith("reports/") for path in changed)
    assert project.hashes() == unbroken
    note(AREA, f"the clock set back by a day, under {engine}", "an edit is seen; same bytes later")
