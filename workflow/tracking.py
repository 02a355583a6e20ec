"""MLflow as the view of a run; the record is in files. The only module that imports MLflow.

A run is found again by its fingerprint (the hash of what was trained on which data), so a
training that was interrupted, and the report that comes after it, write into the run that was
opened first, and no run id is an output of the pipeline. Everything here may fail without
failing a stage: the first error is said once and the rest of the run goes unlogged;
``python -m workflow.tracking sync`` delivers it later from the files.
"""

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pconv.errors import DataError
from pconv.weights import read_about
from workflow.command import run_command
from workflow.params import read_params

log = logging.getLogger(__name__)

DEFAULT_STORE = "sqlite:///mlflow.db"
EXPERIMENT = "pconv"
MODELS = Path("models")
REPORTS = Path("reports")
# Without these a stage would wait many minutes for a server that is away.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_SERVING = Path(__file__).with_name("serving.py")
_MODEL_NEEDS = ["torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "pandas"]
_MAX_TEXT = 6000  # of a parameter's value
_SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Run:
    """One MLflow run, or the place where one would be when the server can't be reached."""

    def __init__(self, fingerprint: str, name: str) -> None:
        self._client: Any = None
        self._id = ""
        self._attempt(lambda: self._open(fingerprint, name))

    @property
    def is_logged(self) -> bool:
        """Whether the server has answered so far."""
        return self._client is not None

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log nested parameters flattened, as ``section.key``; values a run has already stay."""
        self._log(lambda: self._send_params(flatten(params)))

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        for key, value in tags.items():
            self._call("set_tag", key, value)

    def log_metrics(self, values: Mapping[str, object], step: int = 0) -> None:
        """Log nested numbers flattened, as ``a/b/c``; text, nulls and infinities are left out."""
        numbers = {k: v for k, v in flatten(values, "/").items() if _is_number(v)}
        self._log(lambda: self._send_metrics(numbers, step))

    def log_picture(self, name: str, image: NDArray[np.uint8], epoch: int) -> None:
        """Log one uint8 RGB picture at step ``epoch``."""
        self._call("log_image", image, key=name, step=epoch)

    def log_files(self, *paths: Path, folder: str = "") -> None:
        """Log files, and folders with all they hold, as artifacts."""
        for path in paths:
            inside = "/".join(part for part in (folder, path.name if path.is_dir() else "") if part)
            self._call(
                "log_artifacts" if path.is_dir() else "log_artifact", str(path), inside or None
            )

    def log_model(self, weights: Path) -> None:
        """Log weights as a model that `mlflow models serve` can serve (`workflow.serving`)."""
        self._log(lambda: self._send_model(weights))

    def close(self, status: str) -> None:
        """Set the run's final status, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._call("set_terminated", status)

    def _open(self, fingerprint: str, name: str) -> None:
        client = _client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else _create_experiment(client)
        query = f"tags.fingerprint = '{fingerprint}'"
        found = client.search_runs([number], query, max_results=1)
        if found:
            self._id = found[0].info.run_id
            client.update_run(self._id, status="RUNNING")
        else:
            tags = {"fingerprint": fingerprint}
            self._id = client.create_run(number, tags=tags, run_name=name).info.run_id
        self._client = client

    def _send_params(self, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(self._id).data.params
        new = [Param(k, str(v)[:_MAX_TEXT]) for k, v in params.items() if k not in known]
        for start in range(0, len(new), 100):  # the server takes 100 a call
            self._client.log_batch(self._id, params=new[start : start + 100])

    def _send_metrics(self, numbers: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_metric_name(k), float(v), now, step) for k, v in numbers.items()]
        for start in range(0, len(metrics), 1000):  # the server takes 1000 a call
            self._client.log_batch(self._id, metrics=metrics[start : start + 1000])

    def _send_model(self, weights: Path) -> None:
        import mlflow
        from mlflow.models import ModelSignature
        from mlflow.types.schema import ColSpec, DataType, Schema

        files = [ColSpec(DataType.binary, name) for name in ("image", "mask")]
        answer = [ColSpec(DataType.string, "image")]
        mlflow.set_tracking_uri(tracking_uri())
        with mlflow.start_run(run_id=self._id):
            mlflow.pyfunc.log_model(
                name="network",
                python_model=str(_SERVING),
                artifacts={"weights": str(weights)},
                code_paths=[str(_SERVING.parent.parent / "pconv")],
                signature=ModelSignature(Schema(files), Schema(answer)),
                pip_requirements=_MODEL_NEEDS,
            )

    def _log(self, send: Callable[[], object]) -> None:
        """Send something about this run, as long as the server has answered so far."""
        if self.is_logged:
            self._attempt(send)

    def _call(self, method: str, *arguments: object, **options: object) -> None:
        """Call a method of the client on this run."""
        self._log(lambda: getattr(self._client, method)(self._id, *arguments, **options))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # a view that fails must never fail the work it shows
            self._client = None
            log.warning(
                "MLflow at %s can't be reached or refused (%s: %s); going on without it. "
                "`python -m workflow.tracking sync` delivers the numbers later.",
                tracking_uri(),
                type(error).__name__,
                " ".join(str(error).split())[:300],
            )


@contextmanager
def open_run(fingerprint: str, name: str) -> Iterator[Run]:
    """Open the run of this fingerprint, or go on in it, and close it with how the block ended."""
    run = Run(fingerprint, name)
    try:
        run.log_tags(_provenance())
        yield run
    except SystemExit:
        run.close("KILLED")
        raise
    except BaseException:
        run.close("FAILED")
        raise
    run.close("FINISHED")


def tracking_uri() -> str:
    """Return where runs are logged: ``MLFLOW_TRACKING_URI``, or the SQLite file of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_STORE)


def flatten(values: Mapping[str, object], separator: str = ".") -> dict[str, Any]:
    """Return nested mappings as one, the keys joined: ``{"a": {"b": 1}}`` is ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = flatten(value, separator)
            flat |= {f"{key}{separator}{name}": item for name, item in inner.items()}
        else:
            flat[key] = value
    return flat


def log_report(models: Path = MODELS, reports: Path = REPORTS) -> None:
    """Log table, pictures and weights of a finished pipeline into the run that trained them.

    Raises:
        DataError: If there is no finished report to log.
    """
    # The plain network, where it was trained too, is the comparison: its run holds its curves.
    found = [models / kind / "last.safetensors" for kind in ("pconv", "plain")]
    weights = next((path for path in found if path.is_file()), None)
    if weights is None or not (reports / "metrics.json").is_file():
        raise DataError(f"{models}, {reports}: nothing finished to log; `dvc repro` makes it")
    about = read_about(weights)
    with open_run(about["fingerprint"], _run_name(about)) as run:
        run.log_params(read_params().model_dump(mode="json"))
        run.log_metrics(json.loads((reports / "metrics.json").read_text()))
        run.log_files(*sorted(reports.iterdir()), folder="report")
        run.log_files(models)
        run.log_model(weights)


def log_training(models: Path = MODELS) -> None:
    """Log every epoch of the finished trainings from their ``log.jsonl``."""
    for path in sorted(models.glob("*/log.jsonl")):
        about = read_about(path.parent / "last.safetensors")
        with open_run(about["fingerprint"], _run_name(about)) as run:
            for line in path.read_text().splitlines():
                record = json.loads(line)
                run.log_metrics(record, step=int(record["epoch"]))


def _run_name(about: Mapping[str, str]) -> str:
    return f"{about.get('kind', 'pconv')}-{about['fingerprint'][:8]}"


def _client() -> Any:
    for key, value in (_PATIENCE | _SILENT).items():
        os.environ.setdefault(key, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri())


def _create_experiment(client: Any) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(EXPERIMENT))
    except MlflowException:  # another process was quicker
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _provenance() -> dict[str, str]:
    """Return where the code stands: the commit, and whether files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return {
        "mlflow.source.git.commit": commit or "unknown",
        "git.dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _metric_name(name: str) -> str:
    """Return the name in the characters MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


def _main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description="Deliver what MLflow missed, from the files.")
    parser.add_argument("command", choices=["sync"])
    parser.parse_args()
    log_training()
    log_report()


if __name__ == "__main__":
    run_command(_main)
