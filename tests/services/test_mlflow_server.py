"""The MLflow server's script: starts, says so, keeps its data, listens on loopback, stops whole.

What is logged to the server is checked in `tests/workflow/test_tracking.py`.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.listening import listening
from tests.mlflow_stores import control, free_port, needs_postgres, server
from workflow.mlflow_run import open_run
from workflow.mlflow_store import EXPERIMENT

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    needs_postgres,
    pytest.mark.filterwarnings("ignore::Warning"),  # MLflow's and SQLAlchemy's own
]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, dict[str, str]]]:
    """A server's address, and the variables by which its script finds it."""
    with server() as found:
        yield found


def processes(folder: str) -> list[psutil.Process]:
    """Return the processes that were started with a path in this folder."""
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if any(folder in word for word in p.info["cmdline"] or ())]


def logged_runs(url: str) -> list[str]:
    """Return the names of the runs in a store."""
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return [run.info.run_name for run in client.search_runs([experiment.experiment_id])]


def test_life(running: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Started twice it is one server; stopped it is gone; started again it has its data."""
    url, variables = running
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    assert url in control("status", variables).stdout
    before = {p.pid for p in processes(variables["MLFLOW_DATA"])}
    assert f"export MLFLOW_TRACKING_URI={url}" in control("start", variables).stdout
    assert {p.pid for p in processes(variables["MLFLOW_DATA"])} == before
    with open_run("abc", "kept") as run:
        run.log_numbers({"psnr": 20.0})
    assert run.is_delivered

    control("stop", variables)
    assert not processes(variables["MLFLOW_DATA"])
    assert "not running" in control("status", variables, status=1).stdout
    control("stop", variables)
    control("start", variables)
    assert logged_runs(url) == ["kept"]


def test_loopback_only(running: tuple[str, dict[str, str]]) -> None:
    """Nothing listens on another address, and PostgreSQL on none at all."""
    control("start", running[1])
    ours = processes(running[1]["MLFLOW_DATA"])
    found = set().union(*(listening(parent) for parent in ours))
    assert {ip for _, ip in found} == {"127.0.0.1"}
    assert not [name for name, _ in found if "postgres" in name]


@pytest.mark.parametrize(
    ("order", "variables", "words"),
    [
        ("restart", {}, "wanted one of start, status, stop"),
        ("start", {"MLFLOW_PORT": "http"}, "MLFLOW_PORT is http"),
        ("start", {"MLFLOW_DATA": "/tmp/a b"}, "letters, digits"),
        ("start", {"MLFLOW_DATA": f"/tmp/{'x' * 90}"}, "too long"),
    ],
)
def test_bad_orders(order: str, variables: dict[str, str], words: str) -> None:
    """What can't be is refused in one line, before anything is made."""
    done = control(order, variables, status=2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any(Path(variables.get(name, "/none")).exists() for name in ["MLFLOW_DATA"])


def test_port_taken(running: tuple[str, dict[str, str]]) -> None:
    """Another program on the port is told, and not disturbed."""
    _, variables = running
    control("stop", variables)
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = str(other.getsockname()[1])
        done = control("start", variables | {"MLFLOW_PORT": port}, status=2)
        assert f"port {port} is taken" in done.stderr
    control("stop", variables)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
def test_folder_out_of_reach() -> None:
    """A folder that PostgreSQL's user can't enter is told."""
    with TemporaryDirectory() as folder:  # of mode 700, and a path short enough for a socket
        done = control("start", {"MLFLOW_DATA": f"{folder}/data"}, status=2)
    assert "postgres can't enter" in done.stderr
