"""Where the weights come from: a file, an MLflow model, the last training, or the package."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from pconv.errors import WeightsError

log = logging.getLogger(__name__)

LAST_TRAINED = Path("models/pconv/last.safetensors")
VARIABLE = "PCONV_WEIGHTS"
SHIPPED_NAME = "pconv.safetensors"
# Installed, the folder weights/ is the package pconv.shipped; in a checkout it lies beside pconv/.
SHIPPED_FOLDERS = (Path(__file__).with_name("shipped"), Path(__file__).parents[1] / "weights")
_MLFLOW = ("models:/", "runs:/")
_MLFLOW_STORE = "sqlite:///mlflow.db"  # where the pipeline logs unless told otherwise


@contextmanager
def weights_file(weights: str | Path | None = None) -> Iterator[Path]:
    """Yield the weights file that is meant, for as long as the context lasts.

    Args:
        weights: A file; the URI of an MLflow model or of an artifact of a run (``models:/…``,
            ``runs:/…``), which is fetched into a temporary folder; or none for the last trained
            weights below the current folder, or else those that ``PCONV_WEIGHTS`` names, or else
            those that ship with the library.

    Raises:
        WeightsError: If there are none.
    """
    if weights is not None and str(weights).startswith(_MLFLOW):
        with TemporaryDirectory(prefix="pconv-weights-") as folder:
            yield _fetched(str(weights), Path(folder))
    else:
        yield Path(weights) if weights is not None else _default()


def shipped_weights() -> Path | None:
    """Return the weights that ship with the library, if they are there."""
    found = (folder / SHIPPED_NAME for folder in SHIPPED_FOLDERS)
    return next((path for path in found if path.is_file()), None)


def _default() -> Path:
    if LAST_TRAINED.is_file():
        return LAST_TRAINED
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    shipped = shipped_weights()
    if shipped is not None:
        log.info("no weights are named and none were trained here; using %s", shipped)
        return shipped
    raise WeightsError(
        f"{LAST_TRAINED}: no trained weights here, {VARIABLE} names none, and none ship with this "
        "installation; train some with "
        "`make repro` (minutes with the sample photographs), name a file with --weights, or "
        "fill without a network: method telea, ns, biharmonic, patchmatch or mean"
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
        mlflow.set_tracking_uri(_MLFLOW_STORE)
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
