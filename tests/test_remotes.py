"""Results travel: pushed to a folder or to an S3 server, a fresh clone pulls them and runs nothing.

The S3 server is moto's, on loopback. What the stages make is stood in for by small files:
`tests/test_experiments.py` does the same with a pipeline that ran.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from tests.project_copy import clone, run, write_stand_ins
from workflow.graph import load_stages

BUCKET = "results"
DEADLINE_S = 120
COMMIT = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--all"]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@dataclass(frozen=True)
class Remote:
    """Where DVC pushes to: an address and its options."""

    url: str
    options: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server with an empty bucket."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            make_bucket(url, log)
            yield url
        finally:
            process.terminate()


def make_bucket(url: str, log: Path) -> None:
    """Make the bucket as soon as the server answers."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, proxies={}),
    )
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
        except EndpointConnectionError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        else:
            return


@pytest.fixture(autouse=True)
def _no_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what this machine has set up for S3."""
    (tmp_path / "empty").touch()
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    for name in (*KEYS, "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.server)])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A place to push to."""
    if request.param == "folder":
        return Remote(str(tmp_path / "store"))
    options = {"endpointurl": request.getfixturevalue("s3_server")}
    return Remote(f"s3://{BUCKET}/{tmp_path.name}", options)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project in which every stage counts as run; its outputs are stand-ins."""
    folder = clone(tmp_path / "project")
    write_stand_ins(folder)
    run(folder, "dvc", "commit", "--force", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, *COMMIT, "--message", "Results")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file that the stages made."""
    roots = [folder / out for stage in load_stages(folder / "dvc.yaml") for out in stage.outputs]
    files = [file for root in roots for file in (root.rglob("*") if root.is_dir() else [root])]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


def test_a_clone_pulls(
    project: Path, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone has nothing; after `dvc pull` it has the same bytes and nothing to run."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    run(project, "dvc", "remote", "add", "--default", "store", remote.url)
    for name, value in remote.options.items():
        run(project, "dvc", "remote", "modify", "store", name, value)
    run(project, *COMMIT, "--message", "A remote")
    made = contents(project)
    assert "files pushed" in run(project, "dvc", "push")

    other = tmp_path / "other"
    run(tmp_path, "git", "clone", "--quiet", str(project), str(other))
    assert contents(other) == {}
    run(other, "dvc", "pull")
    assert contents(other) == made
    assert {"reports/index.html", "reports/headline.json", "models/file"} <= set(made)
    assert run(other, "dvc", "status").split() == ["check:", "always", "changed"]
    assert run(other, "dvc", "repro").count("Running stage") == 1


def test_without_keys(project: Path, s3_server: str) -> None:
    """A push without keys fails and says so in DVC's words, without a traceback."""
    run(project, "dvc", "remote", "add", "--default", "store", f"s3://{BUCKET}/none")
    run(project, "dvc", "remote", "modify", "store", "endpointurl", s3_server)
    output = run(project, "dvc", "push", fails=True)
    assert "credentials" in output
    assert "Traceback" not in output
