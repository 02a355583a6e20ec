"""The tiny preset on a real Slurm of one node, which is started here and stopped again.

    tests/services/install.sh slurm && python -m pytest tests/services/test_slurm.py

The node pretends to have four CPUs, enough memory and two GPUs, so that it can place every job.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project_copy import clone, environment, run
from workflow.graph import load_stages

SCRIPTS = Path(__file__).parent / "slurm"
NODE = {"NODE_CPUS": "4", "NODE_MEM_MB": "64000", "NODE_GPUS": "2"}
SNAKEMAKE = ["snakemake", "--workflow-profile", "profiles/slurm"]
# Minutes less for tiny jobs, and no larger groups than the node.
SNAKEMAKE += ["--slurm-init-seconds-before-status-checks", "1", "--cores", NODE["NODE_CPUS"]]
DEADLINE_S = 600

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None,
        reason="slurmctld is not installed (tests/services/install.sh slurm)",
    ),
]


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """A running cluster, which all commands find by their environment."""
    # Not in pytest's folder: munged wants a path that everyone may enter.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as base,
        pytest.MonkeyPatch.context() as patch,
    ):
        ports = {name: str(free_port()) for name in ("CONTROLLER_PORT", "NODE_PORT")}
        for name, value in ({"SLURM_BASE": base} | NODE | ports).items():
            patch.setenv(name, value)
        try:
            subprocess.run([SCRIPTS / "up.sh"], check=True, timeout=DEADLINE_S)
            patch.setenv("SLURM_CONF", f"{base}/etc/slurm.conf")
            patch.setenv("PATH", f"{base}/bin:{os.environ['PATH']}")
            yield
        finally:
            subprocess.run([SCRIPTS / "down.sh"], check=True, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which Snakemake has run on this machine."""
    folder = clone(tmp_path_factory.mktemp("local"))
    run(folder, "snakemake", "-j2", "evaluate")
    return folder


@pytest.fixture
def project(local: Path, tmp_path: Path) -> Path:
    """A copy of that clone with all that it made."""
    return shutil.copytree(local, tmp_path / "project", symlinks=True)


def free_port() -> int:
    """Return the number of a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the stages made."""
    roots = [folder / out for stage in load_stages(folder / "dvc.yaml") for out in stage.outputs]
    files = [file for root in roots for file in (root.rglob("*") if root.is_dir() else [root])]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and file.name != ".snakemake_timestamp"
    }


def cancel(comment: str) -> None:
    """Wait for the job that the executor gave this comment, and cancel it."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        command = ["squeue", "--noheader", "--format=%k %i"]
        queue = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for line in queue.splitlines():
            if line.startswith(f"{comment} "):
                subprocess.run(["scancel", line.split()[1]], check=True)
                return
        time.sleep(0.2)
    raise AssertionError(f"no job {comment} in {DEADLINE_S} s")


def jobs(output: str) -> list[str]:
    """Return the messages of the jobs that a run of Snakemake started, without the local ones."""
    return sorted(set(re.findall(r"^Job \d+: (.*)$", output, re.MULTILINE)))


@pytest.mark.usefixtures("_cluster")
class TestSlurm:
    """`snakemake --workflow-profile profiles/slurm`."""

    def test_same_bytes(self, local: Path, tmp_path: Path) -> None:
        """What the cluster makes is what this machine makes, byte for byte."""
        folder = clone(tmp_path)
        output = run(folder, *SNAKEMAKE, "evaluate")
        assert "has been submitted with SLURM jobid" in output
        made = hashes(folder)
        assert "reports/table.md" in made
        assert made == hashes(local)

    def test_failing_shard(self, project: Path, local: Path) -> None:
        """A shard that fails ends the run with its log shown; put right, the run goes on."""
        shutil.rmtree(project / "data/augmented")
        photo = sorted((project / "data/raw/train").iterdir())[3]
        good = photo.read_bytes()
        photo.write_bytes(good[:100])
        output = run(project, *SNAKEMAKE, "augment", fails=True)
        assert f"ImageError: {photo.relative_to(project)}: not a readable image" in output
        photo.write_bytes(good)
        run(project, *SNAKEMAKE, "augment")
        assert hashes(project) == hashes(local)

    def test_cancelled_shard(self, project: Path, local: Path) -> None:
        """After `scancel` of one shard's job the next run makes that shard and no other."""
        shutil.rmtree(project / "data/evaluation")
        with subprocess.Popen(
            [*SNAKEMAKE, "evaluate"],
            cwd=project,
            env=environment(project),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            cancel("rule_evaluate_shard_wildcards_0005")
            output = process.communicate(timeout=DEADLINE_S)[0]
        assert process.returncode == 1, output
        assert "SLURM status is: 'CANCELLED'" in output
        stages = {stage.name: stage.description for stage in load_stages(project / "dvc.yaml")}
        again = run(project, *SNAKEMAKE, "evaluate")
        assert jobs(again) == sorted([f"{stages['evaluate']} (shard 0005)", stages["report"]])
        assert hashes(project) == hashes(local)

    def test_two_gpus(self, project: Path) -> None:
        """Training that is given two GPUs asks Slurm for both and starts a process for each."""
        shutil.rmtree(project / "models")
        run(project, *SNAKEMAKE, "train", "--set-resources", "train:gpu=2")
        command = ["squeue", "--states=all", "--noheader", "--Format=comment:40,tres-per-job:40"]
        queue = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert ["rule_train", "gres:gpu:2"] in [line.split() for line in queue.splitlines()]
        assert "Starting with 2 processes" in (project / "logs/train.log").read_text()
        assert (project / "models/pconv/last.safetensors").is_file()
