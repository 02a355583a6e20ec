"""Where the weights come from: a file, an MLflow model, the last training, or the package."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from pconv.errors import WeightsError
from pconv.method_names import CLASSICAL

LAST = "last"  # as the name of weights: those of the last training
LAST_TRAINED = Path("models/pconv/last.safetensors")
VARIABLE = "PCONV_WEIGHTS"
SHIPPED_NAME = "pconv.safetensors"
# Installed, the folder weights/ is the package pconv.shipped; in a checkout it lies beside pconv/.
SHIPPED_FOLDERS = (Path(__file__).with_name("shipped"), Path(__file__).parents[1] / "weights")
_MLFLOW = ("models:/", "runs:/")
_MLFLOW_FILE = "mlflow.db"  # where the pipeline logs unless told otherwise


@contextmanager
def weights_file(weights: str | Path | None = None) -> Iterator[Path]:
    """Yield the weights file that is meant, for as long as the context lasts.

    Args:
        weights: A file; as text also the URI of an MLflow model or of an artifact of a run
            (``models:/…``, ``runs:/…``), which is fetched into a temporary folder, or ``last`` for
            those of the last training in the current folder; or none for the file that
            ``PCONV_WEIGHTS`` names, or else those that ship with the library, or else, where none
            do, those of the last training.

    Raises:
        WeightsError: If there are none.
    """
    if weights is None and (told := os.environ.get(VARIABLE)):
        try:
            with weights_file(told) as path:
                yield path
        except WeightsError as error:
            raise WeightsError(f"{VARIABLE}: {error}") from error
        return
    if weights is None:
        yield shipped_weights() or _last_trained(
            f", or fill without a network: method {', '.join(CLASSICAL)}"
        )
    elif isinstance(weights, Path):
        yield weights
    elif not weights:
        raise WeightsError("the name of the weights is empty; wanted a file, or none at all")
    elif weights == LAST:
        yield _last_trained()
    elif weights.startswith(_MLFLOW):
        with TemporaryDirectory(prefix="pconv-weights-") as folder:
            yield _fetched(weights, Path(folder))
    else:
        yield Path(weights)


def shipped_weights() -> Path | None:
    """Return the weights that ship with the library, if they are there."""
    found = (folder / SHIPPED_NAME for folder in SHIPPED_FOLDERS)
    return next((path for path in found if path.is_file()), None)


def _last_trained(also: str = "") -> Path:
    """Return the last training's weights; ``also`` ends the advice where there are none."""
    if LAST_TRAINED.is_file():
        return LAST_TRAINED
    raise WeightsError(
        f"{LAST_TRAINED}: no trained weights here; train some with `make repro` (minutes with the "
        f"sample photographs), or name a file, here or in {VARIABLE}{also}"
    )


def _fetched(uri: str, folder: Path) -> Path:
    """Download a model or artifact and return the one weights file in it."""
    try:
        # Not a dependency of the library: only who asks for an MLflow URI needs it.
        mlflow = import_module("mlflow")
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{uri}: needs MLflow, which is not installed; install pconv[pipeline] or name a file"
        ) from error
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not Path(_MLFLOW_FILE).exists():  # MLflow would make an empty one
            raise WeightsError(
                f"{uri}: there is no {_MLFLOW_FILE} in this folder; go to where the pipeline ran, "
                "or name a server or store in MLFLOW_TRACKING_URI"
            )
        mlflow.set_tracking_uri(f"sqlite:///{_MLFLOW_FILE}")
    # A model is a few small files; MLflow's bar is drawn into logs as well, a line an update.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import_module("mlflow.artifacts").download_artifacts(artifact_uri=uri, dst_path=str(folder))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise WeightsError(f"{uri}: MLflow could not fetch it: {error}") from error
    found = sorted(folder.rglob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"{uri}: wanted one *.safetensors file in it, found {names}")
    return found[0]
