"""DVC and Snakemake on one graph: either may run first, and the other agrees.

Everything runs as a user would run it, on the tiny preset, in folders of its own.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.project_copy import ROOT, clone, run
from workflow.graph import is_within, load_stages

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def lock(folder: Path) -> dict[str, object]:
    """Return what dvc.lock records."""
    return yaml.safe_load((folder / "dvc.lock").read_text())["stages"]


def ran(output: str) -> list[str]:
    """Return the stages that `dvc repro` says it ran."""
    return re.findall(r"Running stage '(\w+)'", output)


def changed_for_dvc(folder: Path) -> set[str]:
    """Return the stages that `dvc status` calls changed, other than by not being cached yet."""
    status = json.loads(run(folder, "dvc", "status", "--json"))
    uncached = "not in cache"
    return {
        stage
        for stage, groups in status.items()
        if stage != "check"  # which always runs
        and any(
            reason != uncached
            for group in groups
            for reasons in group.values()
            for reason in reasons.values()
        )
    }


def planned_by_snakemake(folder: Path, target: str = "evaluate") -> set[str]:
    """Return the stages that `snakemake -n` would run."""
    output = run(folder, "snakemake", "-n", "--cores", "2", target)
    name_of = {stage.description: stage.name for stage in load_stages(folder / "dvc.yaml")}
    jobs = re.findall(r"^Job \d+: (.*?)(?: \(shard \d+\))?$", output, re.MULTILINE)
    return {name_of[message] for message in jobs if message in name_of}


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the stages made."""
    outputs = [folder / output for stage in load_stages() for output in stage.outputs]
    files = [file for path in outputs for file in [path, *path.rglob("*")] if file.is_file()]
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != ".snakemake_timestamp"  # an engine's own
    }


def with_followers(root: Path, names: set[str]) -> set[str]:
    """Return the stages and all that read, directly or not, what they make."""
    stages = load_stages(root / "dvc.yaml")
    found = set(names)
    for _ in stages:
        made = {path for stage in stages if stage.name in found for path in stage.outputs}
        found |= {
            stage.name
            for stage in stages
            if any(is_within(path, output) for path in stage.inputs for output in made)
        }
    return found


@contextmanager
def edited_params(
    folder: Path, section: str, key: str, change: Callable[[Any], object]
) -> Iterator[None]:
    """Change one parameter of a clone until the block ends."""
    path = folder / "params.yaml"
    before = path.read_text()
    content = yaml.safe_load(before)
    content[section][key] = change(content[section][key])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        yield
    finally:
        path.write_text(before)


def one_more(number: int) -> int:
    """Return the number after this one."""
    return number + 1


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two clones of the same moment."""
    return clone(tmp_path_factory.mktemp("dvc")), clone(tmp_path_factory.mktemp("snakemake"))


@pytest.fixture(scope="module")
def by_dvc(clones: tuple[Path, Path]) -> Path:
    """A clone in which `dvc repro` has run."""
    run(clones[0], "dvc", "repro")
    return clones[0]


@pytest.fixture(scope="module")
def by_snakemake(clones: tuple[Path, Path]) -> Path:
    """Another clone, in which `snakemake -j8 evaluate` has run."""
    run(clones[1], "snakemake", "-j8", "evaluate")
    return clones[1]


@pytest.fixture(scope="module")
def settled(by_snakemake: Path) -> Path:
    """The clone that Snakemake ran in, after `dvc commit`: both engines have their records."""
    run(by_snakemake, "dvc", "commit", "--force")
    return by_snakemake


def test_all_stages_ran(by_dvc: Path) -> None:
    """`dvc repro` makes the report and locks every stage."""
    assert sorted(lock(by_dvc)) == sorted(
        ["check", *(stage.name for stage in load_stages(ROOT / "dvc.yaml"))]
    )
    assert (by_dvc / "reports/index.html").stat().st_size > 10_000


def test_dvc_twice(by_dvc: Path) -> None:
    """A second `dvc repro` checks, and runs nothing."""
    assert ran(run(by_dvc, "dvc", "repro")) == ["check"]


def test_snakemake_after_dvc(by_dvc: Path) -> None:
    """After `dvc repro` Snakemake has nothing to do."""
    assert "Nothing to be done" in run(by_dvc, "snakemake", "-n", "--cores", "2", "all")


@pytest.mark.parametrize("target", ["download", "train"])
def test_snakemake_after_dvc_by_name(by_dvc: Path, target: str) -> None:
    """Nor has it when it is asked for one stage by its name."""
    assert "Nothing to be done" in run(by_dvc, "snakemake", "-n", "--cores", "2", target)


def test_dvc_after_snakemake(by_dvc: Path, by_snakemake: Path) -> None:
    """DVC finds the bytes it expects after Snakemake: same hashes as in the other folder."""
    shutil.copy(by_dvc / "dvc.lock", by_snakemake / "dvc.lock")
    assert changed_for_dvc(by_snakemake) == set()
    (by_snakemake / "dvc.lock").unlink()


def test_unrecorded_is_told(by_snakemake: Path) -> None:
    """After a run, and not after `-n`, Snakemake says what makes its results DVC's."""
    command = ["snakemake", "-j1", "--forcerun", "sample", "--", "sample"]
    assert run(by_snakemake, *command).count("`dvc commit --force download masks sample`") == 1
    assert "dvc commit --force" not in run(by_snakemake, *command[:1], "-n", *command[1:])


def test_dvc_commit_after_snakemake(by_dvc: Path, settled: Path) -> None:
    """After `dvc commit` the records of the two folders are alike and `dvc repro` runs nothing."""
    assert ran(run(settled, "dvc", "repro")) == ["check"]
    assert lock(settled) == lock(by_dvc)


def test_snakemake_without_activation(settled: Path) -> None:
    """`.venv/bin/snakemake` is enough: jobs run by the Python that runs it.

    What it says of what DVC does not record, it does not say of what DVC records.
    """
    command = [sys.executable, "-m", "snakemake", "-j1", "--forcerun", "sample", "--", "sample"]
    assert "dvc commit" not in run(settled, *command, path="/usr/bin:/bin")


def test_snakemake_twice(settled: Path) -> None:
    """A second Snakemake run has nothing to do."""
    assert "Nothing to be done" in run(settled, "snakemake", "-n", "-j8", "evaluate")


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("pconv/patchmatch.py", {"evaluate", "report"}),
        ("pconv/training.py", {"train"}),
        ("workflow/stages/sample.py", {"sample"}),
    ],
)
def test_edited_code(settled: Path, file: str, stages: set[str]) -> None:
    """DVC names the stages that run an edited file, Snakemake those and what depends on them."""
    path = settled / file
    before = path.read_text(), path.stat().st_mtime_ns
    path.write_text(before[0] + "\n# edited\n")
    try:
        assert changed_for_dvc(settled) == stages
        assert planned_by_snakemake(settled) == with_followers(settled, stages)
    finally:
        path.write_text(before[0])
        os.utime(path, ns=(before[1], before[1]))


def test_edited_params(settled: Path) -> None:
    """After an edit of params.yaml both engines name the stage whose section it is."""
    with edited_params(settled, "report", "bootstrap_draws", one_more):
        assert changed_for_dvc(settled) == {"report"}
        assert planned_by_snakemake(settled) == {"report"}


def test_what_was_computed_before_comes_back(settled: Path) -> None:
    """After an edit and back, DVC takes the results from its cache: nothing is computed again."""
    results, record = digests(settled), (settled / "dvc.lock").read_text()
    with edited_params(settled, "report", "bootstrap_draws", one_more):
        assert "Running stage 'report'" in run(settled, "dvc", "repro")
        assert digests(settled) != results
    output = run(settled, "dvc", "repro")
    assert ran(output) == ["check"]
    assert "Stage 'report' is cached - skipping run, checking out outputs" in output
    assert digests(settled) == results
    assert yaml.safe_load((settled / "dvc.lock").read_text()) == yaml.safe_load(record)


def test_more_masks_to_evaluate_on(by_dvc: Path) -> None:
    """With another number of validation masks DVC makes masks, and trains no network."""
    try:
        with edited_params(by_dvc, "masks", "valid", lambda count: count + 3):
            output = run(by_dvc, "dvc", "repro", "train", "sample")
        assert ran(output) == ["check", "masks", "sample"]
    finally:
        run(by_dvc, "dvc", "repro")


def test_snakemake_after_a_restored_run(settled: Path) -> None:
    """What DVC brought back from its cache is not taken for what was run last."""
    try:
        with edited_params(settled, "report", "bootstrap_draws", one_more):
            run(settled, "dvc", "repro", "report")
        run(settled, "dvc", "repro", "report")
        with edited_params(settled, "report", "bootstrap_draws", one_more):
            assert planned_by_snakemake(settled) == {"report"}
    finally:
        run(settled, "snakemake", "-j2", "evaluate")


def test_missing_weights_cost_nothing(settled: Path) -> None:
    """Snakemake tells that a file of weights is missing before it deletes the network."""
    results = digests(settled)
    with edited_params(settled, "train", "initial_weights", lambda _: "absent.safetensors"):
        told = run(settled, "snakemake", "-j2", "evaluate", fails=True)
        assert "there is no file absent.safetensors" in told
        assert digests(settled) == results


def test_bad_params_stop_both(settled: Path) -> None:
    """A misspelt key stops both engines with one line that names it, and changes nothing."""
    path = settled / "params.yaml"
    before, results = path.read_text(), digests(settled)
    path.write_text(before.replace("bootstrap_draws", "bootstrap_drws"))
    try:
        for command in (["dvc", "repro"], ["snakemake", "-n", "-j2", "evaluate"]):
            lines = run(settled, *command, fails=True).splitlines()
            (told,) = (line for line in lines if "report.bootstrap_drws: there is no such" in line)
            assert "did you mean bootstrap_draws?" in told
            assert not [line for line in lines if line.lstrip().startswith(("File ", "Traceback"))]
    finally:
        path.write_text(before)
    assert digests(settled) == results


def test_misspelt_key_and_a_stage_by_name(settled: Path) -> None:
    """Nor does a stage that is asked for by its name lose what it made."""
    path = settled / "params.yaml"
    before, results = path.read_text(), digests(settled)
    path.write_text(before.replace("learning_rate", "learning_rat"))
    try:
        run(settled, "dvc", "repro", "train", fails=True)
    finally:
        path.write_text(before)
    assert digests(settled) == results


def test_other_photographs(tmp_path: Path) -> None:
    """Both engines see that a folder of photographs holds others now, or those of before."""
    folder = clone(tmp_path / "project")
    photos = folder / "photos"
    photos.mkdir()
    for name in "abcdef":
        Image.new("RGB", (40, 40), (ord(name), 0, 0)).save(photos / f"{name}.png")
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content["download"] |= {"source": "folder", "folder_train": "photos"}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert ran(run(folder, "dvc", "repro", "download")) == ["check", "download"]
    command = ["dvc", "repro", "download", "masks"]
    results = folder / "data/raw/train"
    assert ran(run(folder, *command)) == ["check", "masks"]
    assert planned_by_snakemake(folder, "download") == set()

    before = sorted(path.name for path in results.iterdir())
    Image.new("RGB", (40, 40), (0, 9, 9)).save(photos / "g.png")
    assert planned_by_snakemake(folder, "download") == {"download"}
    assert ran(run(folder, *command)) == ["check", "download"]
    assert sorted(path.name for path in results.iterdir()) != before

    (photos / "g.png").unlink()
    assert "Stage 'download' is cached" in run(folder, *command)
    assert sorted(path.name for path in results.iterdir()) == before

    shutil.rmtree(photos)  # a machine that has the results alone
    told = run(folder, *command)
    assert ran(told) == ["check"]
    assert "photos is not here" in told
    assert planned_by_snakemake(folder, "download") == set()
