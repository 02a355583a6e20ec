"""MLflow as a view: found again, complete, and never in the way."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from workflow import tracking

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's and SQLAlchemy's own


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for the module: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """A client of the store that the module logs to; artifacts go to the test's folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    from mlflow import MlflowClient

    return MlflowClient(store)


def only_run(client: object, fingerprint: str) -> object:
    """Return the one run of this fingerprint."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], f"tags.fingerprint = '{fingerprint}'")
    assert len(found) == 1
    return found[0]


class TestOpenRun:
    """A run and its fingerprint."""

    def test_values(self, client: object) -> None:
        """Parameters, metrics by step, tags and the status are there."""
        with tracking.open_run("abc", "first") as run:
            run.log_params({"train": {"lr": 1e-3, "kinds": ["pconv"]}})
            for epoch in (1, 2):
                run.log_metrics({"hole": 1.0 / epoch, "phase": "one", "none": None}, step=epoch)
        logged = only_run(client, "abc")
        assert logged.data.params == {"train.lr": "0.001", "train.kinds": "['pconv']"}
        assert logged.data.metrics == {"hole": 0.5}
        history = client.get_metric_history(logged.info.run_id, "hole")
        assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
        assert logged.info.status == "FINISHED"
        assert "git.dirty" in logged.data.tags

    def test_is_found_again(self, client: object) -> None:
        """The same fingerprint goes on in the same run; a changed parameter doesn't break it."""
        for hole in (0.5, 0.25):
            with tracking.open_run("again", "x") as run:
                run.log_params({"report": {"draws": hole}})
                run.log_metrics({"hole": hole})
                assert run.is_logged
        assert only_run(client, "again").data.metrics == {"hole": 0.25}

    @pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "KILLED")])
    def test_status(self, client: object, error: type[BaseException], status: str) -> None:
        """An error or a stop shows in the run's status, and goes on upwards."""
        with pytest.raises(error), tracking.open_run(status, "x"):
            raise error
        assert only_run(client, status).info.status == status

    def test_pictures_and_files(self, client: object, tmp_path: Path) -> None:
        """Pictures by step, and folders as artifacts."""
        (tmp_path / "report").mkdir()
        (tmp_path / "report/table.md").write_text("| a |")
        with tracking.open_run("files", "x") as run:
            run.log_picture("fills", np.zeros((4, 4, 3), np.uint8), epoch=1)
            run.log_files(tmp_path / "report")
            assert run.is_logged
        run_id = only_run(client, "files").info.run_id
        assert [f.path for f in client.list_artifacts(run_id, "report")] == ["report/table.md"]
        assert client.list_artifacts(run_id, "images")

    def test_server_away(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With nothing listening the block runs to its end, after one warning."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with caplog.at_level(logging.WARNING), tracking.open_run("away", "x") as run:
            run.log_params({"a": 1})
            run.log_metrics({"a": 1})
        assert not run.is_logged
        ours = [r for r in caplog.records if r.name == "workflow.tracking"]
        assert len(ours) == 1
        assert "tracking sync" in ours[0].getMessage()


class TestFlatten:
    """Nested to flat."""

    def test_values(self) -> None:
        """Keys are joined, order kept."""
        assert tracking.flatten({"a": {"b": {"c": 1}}, "d": 2}, "/") == {"a/b/c": 1, "d": 2}
