"""What profiles/kubernetes asks of a cluster and makes of its answers, with a `kubectl` of our own.

It is no cluster: that a node takes the pods is not tested here.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project_copy import ROOT
from workflow.graph import job_resources, load_stages

PROFILE = ROOT / "profiles/kubernetes"
# Keeps what it is asked and given, and answers what the test wrote into `answer`.
KUBECTL = """#!/bin/sh
cd "$(dirname "$0")" && echo "$@" > asked
if [ "$1" = create ]; then cat > given; fi
cat answer
exit "$(cat status)"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `kubectl` that is found before any other."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "status").write_text("0")
    (tmp_path / "answer").write_text("job.batch/pconv-x\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("PCONV_IMAGE", "PCONV_CLAIM", "PCONV_MOUNT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def script(name: str, *words: str) -> str:
    """Return what a script of the profile prints."""
    done = subprocess.run(
        [PROFILE / name, *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def submitted(cluster: Path, *words: str) -> dict[str, Any]:
    """Submit a job and return the pod that it asks for."""
    assert script("submit.sh", *words) == "job.batch/pconv-x\n"
    job = yaml.safe_load((cluster / "given").read_text())
    assert job["spec"]["backoffLimit"] == 0
    return job["spec"]["template"]["spec"]


class TestSubmit:
    """submit.sh."""

    def test_pod(self, cluster: Path) -> None:
        """A pod runs the job script in this folder, with what the stage asks for and no GPU."""
        pod = submitted(cluster, "2", "3000", "0", "60", "/scratch/job.sh")
        container = pod["containers"][0]
        assert container["command"] == ["/bin/sh", "/scratch/job.sh"]
        assert container["workingDir"] == str(ROOT)
        assert container["resources"] == {
            "requests": {"cpu": "2", "memory": "3000M"},
            "limits": {"memory": "3000M"},
        }
        assert pod["activeDeadlineSeconds"] == 3600
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"project": str(ROOT), "shared-memory": "/dev/shm"}
        assert container["env"] == []

    def test_gpus(self, cluster: Path) -> None:
        """GPUs are limits: Kubernetes refuses a request of GPUs without one."""
        pod = submitted(cluster, "2", "8000", "2", "60", "job.sh")
        limits = {"memory": "8000M", "nvidia.com/gpu": 2}
        assert pod["containers"][0]["resources"]["limits"] == limits

    def test_variables(self, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Image, claim and mount are the user's to say, and MLflow's address goes along."""
        monkeypatch.setenv("PCONV_IMAGE", "registry.example/pconv:1")
        monkeypatch.setenv("PCONV_CLAIM", "scratch")
        monkeypatch.setenv("PCONV_MOUNT", "/mnt")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
        pod = submitted(cluster, "1", "1000", "0", "30", "job.sh")
        container = pod["containers"][0]
        assert container["image"] == "registry.example/pconv:1"
        assert container["volumeMounts"][0] == {"name": "project", "mountPath": "/mnt"}
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "scratch"}
        mlflow = {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"}
        assert container["env"] == [mlflow]

    def test_refused(self, cluster: Path) -> None:
        """A job that the cluster does not take is an error, not a job without a name."""
        (cluster / "status").write_text("1")
        with pytest.raises(subprocess.CalledProcessError):
            script("submit.sh", "1", "1000", "0", "30", "job.sh")


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("found 1 Complete ", "0", "success"),
        ("found 1 SuccessCriteriaMet Complete ", "0", "success"),
        ("found  Failed ", "0", "failed"),
        ("found  ", "0", "running"),
        ("", "0", "failed"),  # deleted by hand
        ("", "1", "running"),  # the server is away
    ],
)
def test_status(cluster: Path, answer: str, status: str, said: str) -> None:
    """status.sh says one of the three words that Snakemake knows."""
    (cluster / "answer").write_text(answer)
    (cluster / "status").write_text(status)
    assert script("status.sh", "job.batch/pconv-x") == f"{said}\n"
    assert (cluster / "asked").read_text().startswith("get job.batch/pconv-x ")


def test_cancel(cluster: Path) -> None:
    """cancel.sh deletes the jobs it is given."""
    script("cancel.sh", "job.batch/pconv-x", "job.batch/pconv-y")
    asked = (cluster / "asked").read_text()
    assert asked.startswith("delete ")
    assert asked.endswith(" job.batch/pconv-x job.batch/pconv-y\n")


def test_what_is_submitted() -> None:
    """The profile's command names only what a rule or the profile's defaults give every job."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    command = profile["cluster-generic-submit-cmd"]
    for stage in load_stages(ROOT / "dvc.yaml"):
        known = job_resources(stage) | profile["default-resources"]
        assert command.format(threads=1, resources=_Names(known)).startswith("profiles/kubernetes/")
    named = [command, *(profile[f"cluster-generic-{name}-cmd"] for name in ("status", "cancel"))]
    for path in (ROOT / words.split()[0] for words in named):
        assert shutil.which(path), f"{path} can't be run"


class _Names:
    """Resources as Snakemake formats them."""

    def __init__(self, known: dict[str, int]) -> None:
        self.__dict__.update(known)
