"""The rules that Snakemake makes of dvc.yaml, before any of them runs."""

import re
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

from tests.project_copy import ROOT, clone, run
from workflow.graph import load_stages

STAGES = load_stages(ROOT / "dvc.yaml")
PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone."""
    return clone(tmp_path_factory.mktemp("rules"))


def arrows(dot: str) -> set[tuple[str, str]]:
    """Return the edges of a DOT graph by their nodes' labels or, where they have none, names."""
    label = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', dot, re.MULTILINE))
    edges = re.findall(r'^\s*"?(\w+)"? -> "?(\w+)"?;?\s*$', dot, re.MULTILINE)
    return {(label.get(a, a), label.get(b, b)) for a, b in edges}


def test_lint(project: Path) -> None:
    """Snakemake's own linter finds nothing."""
    assert "your workflow is in a good condition" in run(project, "snakemake", "--lint")


def test_same_graph(project: Path) -> None:
    """`snakemake --rulegraph` and `dvc dag` draw the same arrows between the stages."""
    stage_of = {stage.job_name: stage.name for stage in STAGES}
    drawn = arrows(run(project, "snakemake", "--rulegraph", "dot", "all"))
    by_snakemake = {(stage_of[a], stage_of[b]) for a, b in drawn if b != "all"}
    by_dvc = {(a, b) for a, b in arrows(run(project, "dvc", "dag", "--dot")) if a != "check"}
    assert ("masks", "train") in by_dvc
    assert by_snakemake == by_dvc


def test_gpus(project: Path) -> None:
    """A training that is given two GPUs is started by torchrun, otherwise by dvc.yaml's words."""
    command = next(stage.command for stage in STAGES if stage.name == "train")
    dry_run = ["snakemake", "--dry-run", "--printshellcmds", "--cores", "2", "train"]
    assert f" {command} > logs/train.log" in run(project, *dry_run)
    two = run(project, *dry_run, "--set-resources", "train:gpu=2")
    module = command.removeprefix("python ")
    torchrun = "torchrun --standalone --local-addr=localhost --nproc-per-node=2"
    assert f" {torchrun} {module} > logs/train.log" in two


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_name_rules(profile: Path) -> None:
    """A profile sets nothing for a rule that does not exist, and groups no group it lacks."""
    settings = yaml.safe_load(profile.read_text())
    rules = {stage.job_name for stage in STAGES}
    named = {
        name for key in ("groups", "set-resources", "set-threads") for name in settings.get(key, {})
    }
    assert named <= rules
    assert set(settings.get("group-components", {})) == set(settings.get("groups", {}).values())


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_name_options(profile: Path) -> None:
    """Every key of a profile is an option of Snakemake or of the executor that it names."""
    settings = yaml.safe_load(profile.read_text())
    known = {
        option.removeprefix("--")
        for action in get_argument_parser()._actions
        for option in action.option_strings
    }
    # Not among the dependencies (docs/cluster.md says how it is installed), so not known here.
    executor = "cluster-generic"
    unknown = set(settings) - known
    if settings.get("executor") == executor:
        unknown -= {f"{executor}-{command}-cmd" for command in ("submit", "status", "cancel")}
    assert unknown == set()
