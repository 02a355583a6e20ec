"""MLflow in trouble: the pipeline ends as it would have, and what was missed is delivered later."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.hostile.commands import ROOT, check_refused, module, stage, tree_hash
from tests.hostile.conftest import Note, small_params, write_params
from tests.hostile.mlflow_fake import Fake, fake_server
from tests.waiting import wait_for
from workflow import mlflow_store, outbox
from workflow.mlflow_run import Run, open_run

AREA = "MLflow"
DELIVERED = "finished, files complete; `sync` delivered all later"
MOODS = {
    "500": "the server answers 500",
    "hangs": "the server accepts and never answers",
    "trickles": "the server answers a byte at a time, without end",
    "nonsense": "another program answers",
    "cuts": "the server cuts every connection",
}
PROCESSES = 8
EPOCHS = 12
LOGGING = """
import sys, numpy as np
from workflow.mlflow_run import open_run
name, epochs = sys.argv[1], int(sys.argv[2])
with open_run(name, name) as run:
    run.log_params({"train": {"seed": name}})
    for epoch in range(1, epochs + 1):
        run.log_epochs({"epoch": epoch, "total": epoch / 2})
        run.log_picture("fills", np.zeros((4, 4, 3), np.uint8), epoch)
sys.exit(not run.is_delivered)
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::Warning"),  # MLflow's and SQLAlchemy's own
    # A server that hangs leaves a thread behind, which ends when the fake does.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, not minutes, until a server is given up."""
    import mlflow  # noqa: F401  (takes seconds, which are not the server's)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(outbox, "STALL_S", 8.0)
    monkeypatch.setattr(outbox, "RETRY_S", 0.2)
    monkeypatch.setattr(outbox, "LAST_RETRY_S", 0.2)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with nothing in it, to be copied: making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def good_store(empty_store: Path, tmp_path: Path) -> str:
    """A store that works."""
    shutil.copy(empty_store, tmp_path / "good.db")
    return f"sqlite:///{tmp_path}/good.db"


def runs_in(store: str) -> list[object]:
    """Return the runs of a store."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def steps_of(store: str, run: object, name: str = "train/total") -> list[int]:
    """Return the steps of a metric."""
    from mlflow import MlflowClient

    history = MlflowClient(store).get_metric_history(run.info.run_id, name)
    return sorted(point.step for point in history)


def train_and_report(project: Path) -> None:
    """Run the two stages that log, and check that they leave what they left before."""
    before = {name: tree_hash(project / name) for name in ("models", "reports")}
    for folder in before:
        shutil.rmtree(project / folder)
    for name in ("train", "report"):
        answer = stage(name)
        assert answer.status == 0, answer.said
    assert {name: tree_hash(project / name) for name in before} == before


def check_sync(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that `sync` delivers to a good store all that there is, once."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setattr(outbox, "STALL_S", 120.0)  # this store is slow at worst
    for _ in range(2):
        assert module("workflow.tracking", "sync").status == 0
    (run,) = runs_in(store)
    assert run.info.status == "FINISHED"
    assert steps_of(store, run) == [1]
    wanted = {"headline/psnr_hole", "values/telea/all/psnr_hole", "values/pconv-last/ec/psnr"}
    assert run.data.metrics.keys() >= wanted
    assert run.data.params["train.levels"] == "2"
    from mlflow import MlflowClient

    (version,) = MlflowClient(store).search_model_versions()
    assert version.run_id == run.info.run_id


@pytest.mark.hostile
def test_absent(
    project: Path, good_store: str, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens: both stages end well, `sync` says no, and later delivers."""
    train_and_report(project)
    check_refused(
        module("workflow.tracking", "sync"), "http://127.0.0.1:9", "not all was delivered"
    )
    check_sync(good_store, monkeypatch)
    note(AREA, "no server", DELIVERED)


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.hostile
def test_bad_server(
    project: Path, mood: str, good_store: str, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server in a mood holds nothing up, and its answers break nothing."""
    with fake_server(Fake(mood)) as fake:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", fake.url)
        started = time.monotonic()
        train_and_report(project)
        assert time.monotonic() - started < 120
        assert fake.requests
        assert module("workflow.tracking", "sync").status == 2
    check_sync(good_store, monkeypatch)
    note(AREA, MOODS[mood], DELIVERED)


@pytest.mark.parametrize("mood", MOODS)
def test_turns_bad(mood: str, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that fails in mid-run is waited for a bounded time."""
    with fake_server(Fake(mood, turns_after=12)) as fake:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", fake.url)
        started = time.monotonic()
        with open_run("f", "x") as run:
            for epoch in range(1, 200):
                run.log_epochs({"epoch": epoch, "total": 1.0})
        assert time.monotonic() - started < 60
        assert not run.is_delivered
        assert 0 < len(fake.metrics("train/total")) < 199
    note(AREA, f"in mid-run {MOODS[mood]}", "the run went on, and ended at once")


def test_restarted(note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that dies in mid-run and comes back misses nothing."""
    fake = Fake()
    with fake_server(fake) as first:
        port = int(first.url.rpartition(":")[2])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", first.url)
        run = Run("f", "x", is_training=True)
        for epoch in range(1, 6):
            run.log_epochs({"epoch": epoch, "total": 1.0})
        wait_for(lambda: len(fake.metrics("train/total")) == 5)
    for epoch in range(6, 11):
        run.log_epochs({"epoch": epoch, "total": 1.0})
    time.sleep(1)
    assert len(fake.metrics("train/total")) == 5
    with fake_server(fake, port):
        run.close("FINISHED")
    assert run.is_delivered
    assert sorted(fake.metrics("train/total")) == list(range(1, 11))
    note(AREA, "the server is killed and started again in mid-run", "nothing was lost")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another connection hold the file for itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.hostile
def test_locked(
    project: Path, good_store: str, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SQLite file that another process has locked holds up the end for a bounded time."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", good_store)
    started = time.monotonic()
    with locked(Path(good_store.removeprefix("sqlite:///"))):
        train_and_report(project)
    assert time.monotonic() - started < 120
    check_sync(good_store, monkeypatch)
    note(AREA, "the SQLite file is locked by another process", DELIVERED)


def test_locked_for_a_while(good_store: str, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the lock is gone all arrives, though the run has not ended."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", good_store)
    with locked(Path(good_store.removeprefix("sqlite:///"))):
        run = Run("f", "x", is_training=True)
        run.log_epochs({"epoch": 1, "total": 1.0})
        time.sleep(1)
    run.log_epochs({"epoch": 2, "total": 1.0})
    wait_for(lambda: runs_in(good_store) and steps_of(good_store, runs_in(good_store)[0]) == [1, 2])
    run.close("FINISHED")
    assert run.is_delivered
    note(AREA, "the SQLite file is locked for a while", "nothing was lost")


def test_deleted(
    good_store: str, note: Note, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that is deleted while it goes on ends well; what follows makes a new one, complete."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", good_store)
    records = [{"epoch": epoch, "total": 1.0} for epoch in range(1, 4)]
    with caplog.at_level(logging.WARNING), open_run("f", "x") as run:
        run.log_epochs(records[0])
        wait_for(lambda: runs_in(good_store))
        (deleted,) = runs_in(good_store)
        MlflowClient(good_store).delete_run(deleted.info.run_id)
        for record in records[1:]:
            run.log_epochs(record)
    assert not run.is_delivered
    assert len([r for r in caplog.records if r.name == mlflow_store.__name__]) == 1
    with open_run("f", "x", is_training=False) as again:
        again.log_epochs(*records)
    assert again.is_delivered
    (new,) = runs_in(good_store)
    assert new.info.run_id != deleted.info.run_id
    assert steps_of(good_store, new) == [1, 2, 3]
    note(AREA, "the run is deleted while it trains", "finished; the next delivery made a new one")


def start(folder: Path, store: str, *command: str) -> subprocess.Popen[str]:
    """Start a Python program that logs to a store."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check_all_well(running: list[subprocess.Popen[str]]) -> None:
    """Check that programs end well, and complain of nothing."""
    for process in running:
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 0, said
        assert "WARNING" not in said, said


@pytest.mark.hostile
@pytest.mark.slow
def test_two_trainings(project: Path, tmp_path: Path, note: Note) -> None:
    """Two trainings side by side make one SQLite store, and both are complete in it."""
    shutil.rmtree(project / "models")
    other = tmp_path / "other"
    shutil.copytree(project, other)
    params = small_params()
    params["train"]["seed"] = 2
    write_params(other, params)
    (tmp_path / "store").mkdir()
    store = f"sqlite:///{tmp_path}/store/mlflow.db"
    words = ["-m", "workflow.stages.train", "--images", "data/augmented/", "--raw", "data/raw/"]
    words += ["--masks", "data/masks/train/", "--held-out", "data/masks/held_out/"]
    words += ["--out", "models/", "--state", "checkpoints/"]
    check_all_well([start(folder, store, *words) for folder in (project, other)])
    found = runs_in(store)
    assert [steps_of(store, run) for run in found] == [[1], [1]]
    assert {run.data.params["train.seed"] for run in found} == {"1", "2"}
    note(AREA, "two trainings log to one SQLite file that is not there yet", "both complete")


@pytest.mark.hostile
@pytest.mark.slow
def test_many_processes(tmp_path: Path, note: Note) -> None:
    """Eight processes log to one SQLite store at a time, and every number is there."""
    (tmp_path / "store").mkdir()
    store = f"sqlite:///{tmp_path}/store/mlflow.db"
    names = [f"{number:02d}" for number in range(PROCESSES)]
    check_all_well([start(tmp_path, store, "-c", LOGGING, name, str(EPOCHS)) for name in names])
    found = {run.data.params["train.seed"]: run for run in runs_in(store)}
    assert sorted(found) == names
    for run in found.values():
        assert steps_of(store, run) == list(range(1, EPOCHS + 1))
        assert run.info.status == "FINISHED"
    note(AREA, "processes log to one SQLite file at a time", "all complete", times=PROCESSES)
