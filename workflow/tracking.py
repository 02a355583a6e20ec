"""MLflow as the view of a run; the record is in files.

A run is found again by its fingerprint (the hash of what was trained on which data), so a
training that was interrupted, and the report that comes after it, write into the run that was
opened first, and no run id is an output of the pipeline. A training that is evaluated again, with
other parameters, gets a run below its own for that, so that the two can be compared.

Nothing here fails a stage or holds it up (`workflow.mlflow_run`). What does not get through is
delivered by the stage report, or by ``python -m workflow.tracking sync``: from the files, and
nothing twice.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pconv.errors import DataError
from workflow.command import run_command
from workflow.mlflow_run import Run, open_run
from workflow.mlflow_store import SYNC, tracking_uri
from workflow.params import MODELS
from workflow.reporting.brief import hole_psnr_table
from workflow.run_files import (
    Trained,
    Training,
    data_of,
    finished_trainings,
    is_report_of_data,
    provenance,
    report_provenance,
)
from workflow.run_text import description, measured_numbers, run_name, texts

log = logging.getLogger(__name__)

REPORTS = Path("reports")

_PAGE, _METRICS, _HEADLINE = "index.html", "metrics.json", "headline.json"
_REPORT_FILES = [_PAGE, "table.md", "table.csv", _METRICS, _HEADLINE]
_REPORT_FILES += ["curves.csv", "figures"]
# Sections of params.yaml that say how a training is measured, and that are another evaluation's
# where they differ; and one that says how that is shown. It may be shown again in another way, and
# MLflow keeps a parameter's first value for good; so the last one's values are tags.
_MEASURED, _SHOWN = ("sample", "evaluate"), "report"


@contextmanager
def training_run(about: Mapping[str, str], fingerprint: str) -> Iterator[Run]:
    """Open the run of a training, or go on in it.

    Args:
        about: Its plan, as it will stand in the header of the weights.
        fingerprint: Of plan and data.
    """
    training = Training(about, fingerprint)
    with open_run(fingerprint, _name(training)) as run:
        _log_training(run, training)
        run.log_tags(provenance())
        run.describe(description(training.params, fingerprint))
        run.watch_machine()
        yield run


def log_report(models: Path = MODELS, reports: Path = REPORTS, *, is_new: bool = True) -> bool:
    """Send what MLflow lacks of a finished pipeline: curves, table, pictures, data and weights.

    The report belongs to the run of the partial convolutions; that of the plain network, which
    they are compared with, has its curves and its weights.

    Args:
        models: Folder of the trainings.
        reports: Folder of the report.
        is_new: Whether this process has just made the report. Who delivers one later may be
            another than who made it, with other code, and nothing is said of that.

    Returns:
        Whether all was delivered.

    Raises:
        DataError: If there is nothing finished to send, or it is damaged.
    """
    trained = finished_trainings(models)
    has_report = all((reports / name).is_file() for name in (_METRICS, _HEADLINE))
    has_report = has_report and (is_new or is_report_of_data(reports / _PAGE))
    maker = report_provenance() if is_new else {}
    done = [
        _log_finished(training, reports if has_report and training is trained[0] else None, maker)
        for training in trained
    ]
    return all(done)


def _log_finished(training: Trained, reports: Path | None, maker: Mapping[str, str]) -> bool:
    text = description(training.params, training.fingerprint)
    with open_run(training.fingerprint, _name(training), is_training=False) as run:
        _log_training(run, training)
        run.log_epochs(*training.records)
        run.log_files(training.log, folder="models")
        run.describe(text)
        run.log_model(training.weights, training.model_name, text, training.scores())
    return run.is_delivered and (reports is None or _log_evaluation(training, reports, maker))


def _log_evaluation(training: Trained, reports: Path, maker: Mapping[str, str]) -> bool:
    if training.params is None:
        log.warning(
            "%s: with which numbers it was measured is not known, as params.yaml is no more that "
            "of the training %s; the report is not sent. Put that file back and give `%s`",
            *(reports / _PAGE, training.fingerprint[:8], SYNC),
        )
        return False
    tree = training.params_tree()
    shown = {_SHOWN: tree.pop(_SHOWN)}
    evaluation = texts({name: tree[name] for name in _MEASURED})
    metrics, headline = reports / _METRICS, reports / _HEADLINE
    fingerprint, name = training.fingerprint, _name(training)
    with open_run(fingerprint, name, is_training=False, evaluation=evaluation) as run:
        run.log_params(tree)
        run.log_tags({"kind": training.kind, **texts(shown)})
        run.log_data("evaluation", partial(data_of, "sample", made=True))
        run.log_numbers(measured_numbers(_json(metrics), _json(headline)), maker)
        run.log_table(reports / "table.csv")
        found = [reports / name for name in _REPORT_FILES if (reports / name).exists()]
        run.log_files(*found, folder="report")
        table = hole_psnr_table(metrics, training.folder.parent)
        text = description(training.params, fingerprint, table=table, has_report=True)
        run.describe(text, has_report=True)
    return run.is_delivered


def _log_training(run: Run, training: Training) -> None:
    run.log_tags({"kind": training.kind})
    other = (*_MEASURED, _SHOWN)
    tree = training.params_tree()
    run.log_params({name: section for name, section in tree.items() if name not in other})
    run.log_data("training", partial(data_of, "train"))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _name(training: Training) -> str:
    return run_name(training.params, training.kind, training.fingerprint)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Deliver what MLflow lacks, from the files.")
    parser.add_argument("command", choices=["sync"])
    parser.parse_args()
    if not log_report(is_new=False):
        raise DataError(
            f"{tracking_uri()}: not all was delivered; the warning above says why. When that is "
            "mended or over, give the command again"
        )


if __name__ == "__main__":
    run_command(_main)
