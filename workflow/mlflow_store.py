"""The store of MLflow's runs: where it is, its client, its experiment and its models.

One process at a time opens a SQLite file as a store, and a run in it. MLflow makes a store's
tables when it is first opened, in steps, and a second process that comes upon half of them makes
the rest as well: then both fail. And who finds no run and makes one takes two steps as well.
"""

import fcntl
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pconv.errors import DataError
from workflow.outbox import may_pass
from workflow.run_files import is_better, sha256
from workflow.run_text import ABOUT_EXPERIMENT, ABOUT_MODEL, evaluation_name, is_measured

log = logging.getLogger(__name__)

EXPERIMENT = "pconv"
DESCRIPTION = "mlflow.note.content"  # the tag
BEST = "best"  # the alias
EVALUATION, _PARENT = "evaluation", "mlflow.parentRunId"  # tags
_SQLITE = "sqlite:///"
_DEFAULT_STORE = f"{_SQLITE}mlflow.db"
_SETTINGS = {
    # The outbox tries again; left to itself MLflow waits many minutes for one answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# They tell at length what the outbox tells in one line, or what nobody asked.
_QUIET = ("alembic", "mlflow.store.db", "mlflow.system_metrics", "urllib3.connectionpool")
_WEIGHTS_HASH = "weights.sha256"
SYNC = "python -m workflow.tracking sync"
_SERVING = Path(__file__).with_name("serving.py")
_MODEL_NEEDS = ["torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "pandas"]


def tracking_uri() -> str:
    """Return where runs are logged: ``MLFLOW_TRACKING_URI``, or the SQLite file of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _DEFAULT_STORE


@contextmanager
def sole_writer() -> Iterator[None]:
    """Keep others of this user on this machine from making the store, or a run in it, meanwhile.

    Nothing is done for a store that is not a SQLite file.
    """
    uri = tracking_uri()
    if not uri.startswith(_SQLITE):
        yield
        return
    name = sha256(str(Path(uri.removeprefix(_SQLITE)).resolve()).encode())[:16]
    # Not beside the store: a lock in a shared folder may not be a lock.
    path = Path(tempfile.gettempdir()) / f"pconv-mlflow-{os.getuid()}-{name}.lock"
    with path.open("w") as lock:
        # The kernel lets go of it when the file is closed or the process ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def store_client() -> Any:
    """Return MLflow's client of the store; one that is not there yet is made."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri())


def experiment_id(client: Any) -> str:
    """Return MLflow's number of the experiment, which is made if it is not there.

    Raises:
        DataError: If it was deleted. MLflow keeps its name, so that none can be made in its place.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    beside = _artifacts_beside(tracking_uri())
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        # Without its kind MLflow asks whoever opens the page, and shows that of chat bots.
        tags = {DESCRIPTION: ABOUT_EXPERIMENT, "mlflow.experimentKind": "custom_model_development"}
        try:
            location = beside.as_uri() if beside else None
            return str(client.create_experiment(EXPERIMENT, location, tags=tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:  # else another process was quicker
                raise
    if experiment.lifecycle_stage == "deleted":
        raise DataError(
            f"the experiment {EXPERIMENT} was deleted; `mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}` brings it back"
        )
    if beside and is_local_uri(experiment.artifact_location):
        _tell_if_moved(Path(local_file_uri_to_path(experiment.artifact_location)), beside.parent)
    return str(experiment.experiment_id)


def run_with(client: Any, experiment: str, name: str, tags: Mapping[str, str]) -> Any:
    """Return the run that has these tags, which is made, with that name, if there is none."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    found = client.search_runs([experiment], query, max_results=1)
    return found[0] if found else client.create_run(experiment, tags=tags, run_name=name)


def run_of_evaluation(client: Any, training: Any, parameters: Mapping[str, str]) -> Any:
    """Return the run of an evaluation: the training's own for its first, else one below that.

    Args:
        client: Of the store.
        training: The training's run.
        parameters: With which it was measured. Those of a run stay: an evaluation with others is
            another.
    """
    first, run = _first_evaluation(training.data, parameters), training.info.run_id
    own, digest = training.data.tags.get(EVALUATION), _digest(parameters)
    if own is None:
        own = _digest(first)
        client.set_tag(run, EVALUATION, own)
    if own == digest:
        return training
    name = evaluation_name(first, parameters)
    tags = {_PARENT: run, EVALUATION: digest}
    return run_with(client, training.info.experiment_id, name, tags)


def is_evaluated(data: Any) -> bool:
    """Return whether a training's run has an evaluation; a run of before has its numbers only."""
    return EVALUATION in data.tags or any(map(is_measured, data.metrics))


def register_model(
    client: Any, run: str, weights: Path, name: str, about: str, tags: Mapping[str, str]
) -> None:
    """Register weights of a run as a version of a model, unless they are registered already.

    Args:
        client: Of the store.
        run: MLflow's number of the run.
        weights: The file.
        name: Of the registered model.
        about: Description of the version.
        tags: Of the version. The alias ``best`` moves to it if it is the better one (`is_better`).
    """
    digest = sha256(weights.read_bytes())
    known = client.search_model_versions(f"name='{name}' and tags.`{_WEIGHTS_HASH}`='{digest}'")
    if known:
        version = known[0]
    else:
        if not client.search_registered_models(f"name='{name}'"):
            client.create_registered_model(name, description=ABOUT_MODEL.format(name=name))
        model = upload_model(run, weights)
        version = client.create_model_version(
            name,
            model.model_uri,
            run_id=run,
            tags={_WEIGHTS_HASH: digest, **tags},
            description=about,
            model_id=model.model_id,
        )
    best = client.get_registered_model(name).aliases.get(BEST)
    if best is None or is_better(version, client.get_model_version(name, best)):
        client.set_registered_model_alias(name, BEST, version.version)


def upload_model(run: str, weights: Path) -> Any:
    """Log weights as a model of a run that can be served (`workflow.serving`), and return it."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    files = [ColSpec(DataType.binary, name) for name in ("image", "mask")]
    answer = [ColSpec(DataType.string, "image")]
    mlflow.set_tracking_uri(tracking_uri())
    with (
        mlflow.start_run(run_id=run, log_system_metrics=False),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as folder,
    ):
        # DVC's cache may be linked to, and MLflow refuses a link.
        copy = shutil.copy(weights, folder)
        # MLflow puts a colour before it.
        warnings.filterwarnings("ignore", r".*An input example was not provided")
        return mlflow.pyfunc.log_model(
            name="network",
            python_model=str(_SERVING),
            artifacts={"weights": copy},
            code_paths=[str(_SERVING.parent.parent / "pconv")],
            signature=ModelSignature(Schema(files), Schema(answer)),
            pip_requirements=_MODEL_NEEDS,
        )


def tell_undelivered(error: Exception) -> None:
    """Warn that the store can't be reached or refuses, and say what to do."""
    if urlsplit(tracking_uri()).scheme in ("", "file"):
        todo = "MLFLOW_TRACKING_URI has to be sqlite:///FILE, http://SERVER or https://SERVER"
    elif may_pass(error):
        todo = f"what does not get through, the stage report or `{SYNC}` delivers later"
    else:
        todo = f"once that is mended, `{SYNC}` delivers what is missing"
    log.warning(
        "MLflow at %s can't be reached or refused (%s: %s). The work goes on; %s.",
        tracking_uri(),
        type(error).__name__,
        " ".join(str(error).split())[:300],
        todo,
    )


def _first_evaluation(data: Any, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of the evaluation that a training's run has, or gets as its first.

    A run of before evaluations had tags has, for what changed, the last one's values as tags.
    """
    if not is_evaluated(data):
        return dict(parameters)
    return {k: data.tags.get(k, data.params.get(k, v)) for k, v in parameters.items()}


def _digest(parameters: Mapping[str, str]) -> str:
    return sha256(json.dumps(parameters, sort_keys=True).encode())


def _tell_if_moved(place: Path, beside: Path) -> None:
    if not place.is_relative_to(beside):
        log.warning(
            "MLflow keeps the files of its runs at %s, where %s lay when it was made; to keep them "
            "here, move it away: a new one is made",
            place,
            tracking_uri(),
        )


def _artifacts_beside(uri: str) -> Path | None:
    """Return where artifacts of an SQLite store go: beside its file, or None for MLflow's choice.

    MLflow's own is the current folder, which under `dvc exp run --queue` is a temporary one.
    """
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE)).absolute().parent / "mlruns" / EXPERIMENT
