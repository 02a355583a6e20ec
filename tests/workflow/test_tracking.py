"""MLflow as a view: found again, complete, nothing twice, and never in the way.

On the default store, an SQLite file, and on a real server with PostgreSQL where that is installed.
"""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from pconv.errors import DataError
from tests.mlflow_stores import STORES, store_of
from tests.waiting import wait_for
from workflow import mlflow_store, run_files, tracking
from workflow.mlflow_run import Run, open_run
from workflow.run_files import SCORE, SCORED_ON, data_set
from workflow.run_text import measured_numbers
from workflow.tracking import training_run

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's and SQLAlchemy's own

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(scope="module", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One store of each kind for the module: making one takes seconds."""
    with store_of(request.param, tmp_path_factory.mktemp("store")) as uri:
        yield uri


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """A client of the store that the module logs to; the current folder is the test's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    from mlflow import MlflowClient

    return MlflowClient(store)


def only_run(client: object, fingerprint: str) -> object:
    """Return the one run of this fingerprint."""
    experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], f"tags.fingerprint = '{fingerprint}'")
    assert len(found) == 1
    return found[0]


def history(client: object, run: object, name: str) -> list[tuple[int, float]]:
    """Return steps and values of a metric, in the order of the steps."""
    points = client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def epoch(number: int, total: float) -> dict[str, float | None]:
    """Return a record as a training writes it."""
    return {"epoch": number, "total": total, "hole": total / 2, "valid_hole_psnr": None}


class TestOpenRun:
    """A run and its fingerprint."""

    def test_values(self, client: object) -> None:
        """Parameters, metrics by step, tags and the status are there."""
        with open_run("abc", "first") as run:
            run.log_params({"train": {"lr": 1e-3, "kinds": ["pconv"], "anneal": True}})
            run.log_tags({"kind": "pconv"})
            run.log_epochs(epoch(1, 4.0) | {"images_per_s": 7.0})
            run.log_epochs(epoch(2, 2.0) | {"valid_hole_psnr": 20.0})
            run.log_numbers({"telea": {"ec": {"psnr": 21.5, "pairs": 3, "note": "x", "tv": None}}})
        logged = only_run(client, "abc")
        assert run.is_delivered
        assert logged.info.run_name == "first"
        assert logged.info.status == "FINISHED"
        wanted = {"train.lr": "0.001", "train.kinds": '["pconv"]', "train.anneal": "true"}
        assert logged.data.params == wanted
        assert history(client, logged, "train/total") == [(1, 4.0), (2, 2.0)]
        assert logged.data.metrics == {
            "train/total": 2.0,
            "train/hole": 1.0,
            "valid/hole_psnr": 20.0,
            "speed/images_per_s": 7.0,
            "telea/ec/psnr": 21.5,
            "telea/ec/pairs": 3.0,
        }
        assert logged.data.tags["kind"] == "pconv"

    def test_is_found_again(self, client: object) -> None:
        """The same fingerprint goes on in the same run; a parameter that changed is a tag too."""
        for masks, tag in ((100, None), (200, "200"), (100, "100")):
            with open_run("again", "x") as run:
                run.log_params({"masks": {"valid": masks, "train": 5}})
                run.log_numbers({"hole": masks})
            assert run.is_delivered
            logged = only_run(client, "again")
            assert logged.data.metrics == {"hole": masks}
            assert logged.data.params == {"masks.valid": "100", "masks.train": "5"}
            assert logged.data.tags.get("masks.valid") == tag
            assert "masks.train" not in logged.data.tags

    def test_measured_with_less(self, client: object) -> None:
        """What is not measured any more does not stand beside the new numbers; epochs do."""
        both = measured_numbers(
            {"telea": {"ec": {"psnr": 21.5}}, "mean": {"ec": {"psnr": 14.0}}},
            {"all": {"psnr_hole": 20.0, "style": 0.5}},
        )
        last = measured_numbers({"telea": {"ec": {"psnr": 21.0}}}, {"all": {"psnr_hole": 20.0}})
        gone = ("values/mean/ec/psnr", "headline/style", "mean/ec/psnr")
        with open_run("less", "x") as run:
            run.log_epochs(epoch(1, 4.0))
            run.log_numbers({"mean": {"ec": {"psnr": 14.0}}})  # as older versions named them
            run.log_numbers(both)
        for _ in range(2):
            with open_run("less", "x") as run:
                run.log_numbers(last)
            assert run.is_delivered
        logged = only_run(client, "less")
        assert all(np.isnan(logged.data.metrics.pop(name)) for name in gone)
        assert logged.data.metrics == {
            "train/total": 4.0,
            "train/hole": 2.0,
            "values/telea/ec/psnr": 21.0,
            "headline/psnr_hole": 20.0,
        }
        assert [len(history(client, logged, name)) for name in gone] == [2, 2, 2]

        with open_run("less", "x") as run:
            run.log_numbers(both)
        assert only_run(client, "less").data.metrics["values/mean/ec/psnr"] == 14.0

    def test_without_git(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """In a container without git and without a name for its user both are unknown."""
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("os.getuid", lambda: 2**31 - 2)
        found = run_files.provenance()
        assert found["mlflow.source.git.commit"] == found["mlflow.user"] == "unknown"

    def test_many(self, client: object) -> None:
        """More parameters and numbers than a server takes in one call arrive, each of them."""
        params = {f"p{number:04d}": str(number) for number in range(201)}
        values = {f"n{number:04d}": float(number) for number in range(1001)}
        with open_run("many", "x") as run:
            run.log_params(params)
            run.log_numbers(values)
        assert run.is_delivered
        logged = only_run(client, "many")
        assert logged.data.params == params
        assert logged.data.metrics == values

    def test_long(self, client: object) -> None:
        """Of a value that is longer than MLflow takes as much arrives as it takes."""
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

        with open_run("long", "x") as run:
            run.log_params({"text": "a" * 2 * MAX_PARAM_VAL_LENGTH})
        assert run.is_delivered
        assert only_run(client, "long").data.params == {"text": "a" * MAX_PARAM_VAL_LENGTH}

    def test_dirty(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The code is that of a commit only if no tracked file differs.

        The record does not count, as DVC writes it between two stages.
        """
        monkeypatch.chdir(tmp_path)
        for name in ("dvc.lock", "code.py"):
            Path(name).touch()
        somebody = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for words in (["init", "-q"], ["add", "-A"], [*somebody, "commit", "-q", "-m", "code"]):
            subprocess.run(["git", *words], check=True)
        found = []
        for name in ("new.py", "dvc.lock", "code.py"):
            Path(name).write_text("edited")
            found.append(run_files.provenance()["git.dirty"])
        assert found == ["false", "false", "true"]

    def test_nothing_twice(self, client: object) -> None:
        """Epochs, numbers and pictures that a run has are not sent again; other values are."""
        for _ in range(2):
            with open_run("twice", "x") as run:
                run.log_epochs(epoch(1, 4.0), epoch(2, 2.0))
                run.log_numbers({"psnr": 20.0})
                run.log_picture("fills", PIXELS, 2)
        with open_run("twice", "x") as run:
            run.log_epochs(epoch(1, 4.0), epoch(2, 3.0))
        assert run.is_delivered
        logged = only_run(client, "twice")
        assert history(client, logged, "train/total") == [(1, 4.0), (2, 2.0), (2, 3.0)]
        assert history(client, logged, "psnr") == [(0, 20.0)]
        assert logged.data.metrics["train/total"] == 3.0
        shown = client.list_artifacts(logged.info.run_id, "images")
        assert len([file for file in shown if file.path.endswith(".png")]) == 1

    @pytest.mark.parametrize(
        ("error", "status"),
        [(ValueError, "FAILED"), (SystemExit, "KILLED"), (KeyboardInterrupt, "KILLED")],
    )
    def test_status(self, client: object, error: type[BaseException], status: str) -> None:
        """An error or a stop shows in the run's status, and goes on upwards."""
        with pytest.raises(error), open_run(error.__name__, "x"):
            raise error
        assert only_run(client, error.__name__).info.status == status

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_status_delivered(self, client: object, error: type[BaseException]) -> None:
        """A training that has ended stays so where the delivery of its report is broken off."""
        name = f"delivered {error.__name__}"
        with open_run(name, "x"):
            pass
        with pytest.raises(error), open_run(name, "x", is_training=False):
            raise error
        assert only_run(client, name).info.status == "FINISHED"

    def test_interrupted(self, client: object) -> None:
        """A run that was stopped goes on as the same run, and is finished in the end."""

        def stopped() -> None:
            with open_run("resumed", "x") as run:
                run.log_epochs(epoch(1, 4.0))
                raise SystemExit(75)

        with pytest.raises(SystemExit):
            stopped()
        with open_run("resumed", "x") as run:
            run.log_epochs(epoch(2, 2.0))
            wait_for(lambda: only_run(client, "resumed").data.metrics["train/total"] == 2.0)
            assert only_run(client, "resumed").info.status == "RUNNING"
        logged = only_run(client, "resumed")
        assert history(client, logged, "train/total") == [(1, 4.0), (2, 2.0)]
        assert logged.info.status == "FINISHED"

    def test_added_later(self, client: object) -> None:
        """What is delivered later does not change that the run ended, and when."""
        with open_run("later", "x"):
            pass
        before = only_run(client, "later").info
        time.sleep(0.05)
        with open_run("later", "x", is_training=False) as run:
            run.log_numbers({"psnr": 20.0})
            wait_for(lambda: "psnr" in only_run(client, "later").data.metrics)
            assert only_run(client, "later").info.status == "FINISHED"
        after = only_run(client, "later").info
        assert (after.end_time, after.status) == (before.end_time, "FINISHED")

    def test_not_seen(self, client: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a training that MLflow did not see it claims no code and no duration."""
        code = {"git.dirty", "mlflow.source.git.commit"}
        with open_run("unseen", "x", is_training=False):
            time.sleep(0.05)
        unseen = only_run(client, "unseen")
        assert unseen.info.end_time == unseen.info.start_time
        assert not code & unseen.data.tags.keys()
        monkeypatch.setattr(Run, "watch_machine", lambda _: None)
        with training_run({"kind": "pconv"}, "seen"):
            pass
        assert code <= only_run(client, "seen").data.tags.keys()

    def test_server_away(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With nothing listening the block runs to its end, after one warning."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with caplog.at_level(logging.WARNING), open_run("away", "x") as run:
            run.log_params({"a": 1})
            run.log_epochs(epoch(1, 4.0))
        assert not run.is_delivered
        assert len(caplog.records) == 1
        assert "tracking sync" in caplog.records[0].getMessage()

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_a_folder(
        self,
        scheme: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A folder, as older versions of MLflow took it, is answered with what is wanted."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}{tmp_path}")
        with open_run("folder", "x"):
            pass
        assert "MLFLOW_TRACKING_URI has to be sqlite:///FILE" in caplog.text
        assert "later" not in caplog.text

    def test_deleted_experiment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One that was deleted is told with the command that restores it, which does."""
        from mlflow import MlflowClient

        uri = f"sqlite:///{tmp_path}/mlflow.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        experiment = MlflowClient(uri).create_experiment(mlflow_store.EXPERIMENT)
        MlflowClient(uri).delete_experiment(experiment)
        with open_run("deleted", "x") as run:
            run.log_numbers({"psnr": 20.0})
        assert not run.is_delivered
        (said,) = [record.getMessage() for record in caplog.records]
        command = f"mlflow experiments restore --experiment-id {experiment}"
        assert f"`{command}`" in said
        assert "later" not in said
        subprocess.run(command.split(), check=True, capture_output=True)
        with open_run("deleted", "x") as run:
            run.log_numbers({"psnr": 20.0})
        assert run.is_delivered

    def test_experiment_refused(self) -> None:
        """Where none can be made it is told in the server's words, and tried again if it may be."""
        from mlflow.exceptions import MlflowException

        client = Mock()
        client.get_experiment_by_name.return_value = None
        client.create_experiment.side_effect = MlflowException("wait a little")
        with pytest.raises(MlflowException, match="wait a little"):
            mlflow_store.experiment_id(client)


class TestPlace:
    """Where the files of runs in a SQLite store go."""

    def test_beside_the_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beside it, and not into the folder of the process, which may be a temporary one."""
        (tmp_path / "home").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "file.txt").touch()
        monkeypatch.chdir(tmp_path / "elsewhere")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/home/mlflow.db")
        with open_run("placed", "x") as run:
            run.log_files(tmp_path / "file.txt", folder="files")
        assert [p.parts[-2:] for p in tmp_path.rglob("mlruns/**/file.txt")] == [
            ("files", "file.txt")
        ]
        assert (tmp_path / "home/mlruns").is_dir()

    def test_moved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A store that was moved says that the files of its runs go to the old place."""
        (tmp_path / "old").mkdir()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/old/mlflow.db")
        with open_run("before", "x"):
            pass
        (tmp_path / "old").rename(tmp_path / "new")
        assert "MLflow keeps" not in caplog.text
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db")
        with open_run("after", "x"):
            pass
        assert f"at {tmp_path}/old/mlruns/pconv" in caplog.text

    def test_made_by_mlflow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A store beside which MLflow itself chose the place, as a path, counts as not moved."""
        from mlflow import MlflowClient

        (tmp_path / "one home").mkdir()
        uri = f"sqlite:///{tmp_path}/one home/mlflow.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        MlflowClient(uri).create_experiment(
            mlflow_store.EXPERIMENT, f"{tmp_path}/one home/mlruns/1"
        )
        with open_run("there before", "x"):
            pass
        assert "MLflow keeps" not in caplog.text


class TestRun:
    """What a run is given."""

    def test_files(self, client: object, tmp_path: Path) -> None:
        """Files and folders become artifacts."""
        (tmp_path / "figures").mkdir()
        (tmp_path / "figures/hero.png").write_bytes(b"png")
        (tmp_path / "table.md").write_text("| a |")
        with open_run("files", "x") as run:
            run.log_files(tmp_path / "figures", tmp_path / "table.md", folder="report")
        run_id = only_run(client, "files").info.run_id
        names = sorted(file.path for file in client.list_artifacts(run_id, "report"))
        assert names == ["report/figures", "report/table.md"]
        inside = client.list_artifacts(run_id, "report/figures")
        assert [file.path for file in inside] == ["report/figures/hero.png"]

    def test_table(self, client: object, tmp_path: Path) -> None:
        """A table that is logged again replaces the one before, and MLflow reads it."""
        for value in (1.5, 2.5):
            (tmp_path / "table.csv").write_text(f"method,psnr\ntelea,{value}\nmean,\n")
            with open_run("table", "x") as run:
                run.log_table(tmp_path / "table.csv")
            assert run.is_delivered
        experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT).experiment_id
        run_id = only_run(client, "table").info.run_id
        table = client.load_table(experiment, "table.json", run_ids=[run_id])
        assert table["method"].tolist() == ["telea", "mean"]
        assert table["psnr"].iloc[0] == 2.5

    def test_data(self, client: object, tmp_path: Path) -> None:
        """Files and folders become data sets, each once, with the digest that DVC has."""
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/a.png").write_bytes(b"1234")
        (tmp_path / "sample.csv").write_text("pair\n1\n")
        names = [Path("raw"), Path("sample.csv")]
        for _ in range(2):
            with open_run("data", "x") as run:
                run.log_data("training", lambda: names)
            assert run.is_delivered
        logged = {i.dataset.name: i for i in only_run(client, "data").inputs.dataset_inputs}
        assert sorted(logged) == ["raw", "sample.csv"]
        raw = logged["raw"]
        assert raw.dataset.digest == data_set(Path("raw"))["digest"]
        assert json.loads(raw.dataset.source) == {"uri": "raw"}
        assert json.loads(raw.dataset.profile) == {"files": 1, "bytes": 4}
        assert {tag.key: tag.value for tag in raw.tags} == {"mlflow.data.context": "training"}

    def test_description(self, client: object) -> None:
        """Ours is replaced by ours; what somebody wrote stays."""

        def described(text: str) -> str:
            with open_run("described", "x") as run:
                run.describe(text)
            return only_run(client, "described").data.tags["mlflow.note.content"]

        assert described("one, {run}") == f"one, {only_run(client, 'described').info.run_id}"
        experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT).experiment_id
        assert described("two of {experiment}") == f"two of {experiment}"
        run_id = only_run(client, "described").info.run_id
        client.set_tag(run_id, "mlflow.note.content", "by hand")
        assert described("three") == "by hand"

    def test_not_delivered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command that delivers says so if something did not get through."""
        monkeypatch.setattr("sys.argv", ["tracking", "sync"])
        monkeypatch.setattr(tracking, "log_report", lambda *, is_new: is_new)
        with pytest.raises(DataError, match=r"not all was delivered; .* give the command again"):
            tracking._main()

    def test_machine(self, client: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """Load and memory are logged while a training goes on, and by nobody afterwards."""
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
        with open_run("machine", "x") as run:
            run.watch_machine()
            deadline = time.monotonic() + 60
            while not self.has_load(client, "machine") and time.monotonic() < deadline:
                time.sleep(0.2)
        logged = only_run(client, "machine").data.metrics
        assert 0 <= logged["system/system_memory_usage_percentage"] <= 100
        assert "SystemMetricsMonitor" not in [thread.name for thread in threading.enumerate()]

    @staticmethod
    def has_load(client: object, fingerprint: str) -> bool:
        """Return whether the machine's load has arrived."""
        experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT)
        query = f"tags.fingerprint = '{fingerprint}'"
        found = client.search_runs([experiment.experiment_id], query)
        return bool(found) and "system/cpu_utilization_percentage" in found[0].data.metrics


class TestLogModel:
    """Versions of a registered model, and the alias of the best."""

    @pytest.fixture(autouse=True)
    def _small_models(self, client: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """Models without files: what is in them, `tests/workflow/test_serving.py` checks."""
        from mlflow.entities import LoggedModelStatus

        def upload(run: str, weights: Path) -> object:
            experiment = client.get_experiment_by_name(mlflow_store.EXPERIMENT).experiment_id
            made = client.create_logged_model(experiment, source_run_id=run)
            client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
            return SimpleNamespace(model_id=made.model_id, model_uri=made.model_uri)

        monkeypatch.setattr(mlflow_store, "upload_model", upload)

    @pytest.fixture
    def register(self, tmp_path: Path, request: pytest.FixtureRequest):
        """Register weights with a score in a model of the test's own."""
        self.name = f"net-{request.node.name}".translate({ord(c): "-" for c in "[]"})

        def call(content: str, score: float | None, pairs: str = "p") -> None:
            weights = tmp_path / "weights"
            weights.write_text(content)
            tags = {SCORED_ON: pairs} | ({} if score is None else {SCORE: str(score)})
            with open_run(f"model-{content}", "x") as run:
                run.log_model(weights, self.name, "about", tags)
            assert run.is_delivered

        return call

    def best(self, client: object) -> str:
        """Return the version that is called the best."""
        return str(client.get_model_version_by_alias(self.name, mlflow_store.BEST).version)

    def versions(self, client: object) -> int:
        """Return how many versions there are."""
        return len(client.search_model_versions(f"name='{self.name}'"))

    def test_best(self, client: object, register) -> None:
        """The alias moves to better weights only."""
        moved = []
        for content, score in [("a", 20.0), ("b", 19.0), ("c", 21.0), ("d", 21.0), ("e", None)]:
            register(content, score)
            moved.append(self.best(client))
        assert moved == ["1", "1", "3", "3", "3"]
        version = client.get_model_version(self.name, "3")
        assert version.tags[SCORE] == "21.0"
        assert version.description == "about"
        assert version.run_id == only_run(client, "model-c").info.run_id
        assert f"models:/{self.name}@best" in client.get_registered_model(self.name).description

    def test_once(self, client: object, register) -> None:
        """The same weights are registered once."""
        for _ in range(2):
            register("same", 20.0)
        assert self.versions(client) == 1

    def test_other_pairs(self, client: object, register, caplog: pytest.LogCaptureFixture) -> None:
        """Scores on other held-out pairs don't compare: the alias stays, and a warning says so."""
        register("first", 20.0, "these")
        register("second", 30.0, "those")
        assert self.best(client) == "1"
        assert "other held-out pairs" in caplog.text
