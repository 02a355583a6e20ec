"""One run in MLflow: what it is told goes through an outbox and arrives when it can.

Nothing here fails a stage or holds it up. Besides this module only `workflow.mlflow_store` and
`workflow.serving` import MLflow.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow.mlflow_store import (
    DESCRIPTION,
    experiment_id,
    is_evaluated,
    register_model,
    run_of_evaluation,
    run_with,
    sole_writer,
    store_client,
    tell_undelivered,
    tracking_uri,
)
from workflow.outbox import Outbox
from workflow.run_files import MAKER, data_set, sha256
from workflow.run_text import Record, changed_numbers, epoch_numbers, texts

Arguments = ParamSpec("Arguments")

_WITNESS = "train/total"  # tells which epochs a run has
_TABLE = "table.json"  # in the form in which MLflow shows tables
_NOTE_HASH = "note.sha256"


def _posted(
    send: Callable[Concatenate["Run", Arguments], None],
) -> Callable[Concatenate["Run", Arguments], None]:
    """Make a method return at once, and its work a message in the outbox."""

    @wraps(send)
    def post(run: "Run", /, *arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        run._outbox.put(partial(send, run, *arguments, **options))

    return post


class Run:
    """One MLflow run, or the place where one would be when the server can't be reached.

    Every method but `close` returns at once.

    Attributes:
        is_delivered: Whether all has arrived; known after `close`.
    """

    def __init__(
        self, fingerprint: str, name: str, *, is_training: bool, evaluation: Mapping[str, str] = {}
    ) -> None:
        self.is_delivered = False
        self._client: Any = None
        self._id = self._experiment = ""
        self._ended_at = 0
        self._is_training = is_training
        self._machine: Any = None
        opened = partial(self._open, fingerprint, name, evaluation)
        self._outbox = Outbox(opened, tell=tell_undelivered)

    @_posted
    def log_params(self, params: Mapping[str, object]) -> None:
        """Log nested parameters flattened, as ``section.key``.

        MLflow keeps the first value of each for good. One that is another now, as of data that the
        training does not see (``masks.valid``), becomes a tag of the same name.
        """
        from mlflow.entities import Param

        data, new = self._client.get_run(self._id).data, texts(params)
        known = data.params
        changed = {k: v for k, v in new.items() if known.get(k, v) != v or k in data.tags}
        if changed:
            self._set_tags(changed)
        lacking = [Param(key, value) for key, value in new.items() if key not in known]
        for start in range(0, len(lacking), 100):  # the server takes 100 a call
            self._client.log_batch(self._id, params=lacking[start : start + 100])

    @_posted
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        self._set_tags(tags)

    @_posted
    def log_epochs(self, *records: Record) -> None:
        """Log what the training's log says of epochs; what the run has already is not sent."""
        history = self._client.get_metric_history(self._id, _WITNESS)
        there = {m.step: m.value for m in sorted(history, key=lambda m: int(m.timestamp))}
        rows = [(int(record["epoch"] or 0), epoch_numbers(record)) for record in records]
        # Other numbers than those there come of other code: these are sent too.
        self._send([(step, n) for step, n in rows if n.get(_WITNESS) != there.get(step, np.nan)])

    @_posted
    def log_numbers(self, values: Mapping[str, object], maker: Mapping[str, str] = {}) -> None:
        """Log nested numbers flattened, as ``a/b/c``; text, nulls and infinities are left out.

        MLflow forgets no number, so one of another measurement that has no successor among these
        becomes NaN. Numbers by epoch stay.

        Args:
            values: The numbers.
            maker: `report_provenance`, or nothing where it is not known who measured them.
        """
        run = self._client.get_run(self._id)
        changed = changed_numbers(run.data.metrics, values)
        # First, so that at no time the numbers of one stand beside the name of another.
        for key in MAKER if changed or maker else ():
            if key in run.data.tags:
                self._client.delete_tag(self._id, key)
        self._send([(0, changed)])
        self._set_tags(maker)

    @_posted
    def log_picture(self, name: str, image: NDArray[np.uint8], epoch: int) -> None:
        """Log one RGB picture, uint8 ``(H, W, 3)``, at step ``epoch``, unless one is there."""
        shown = [Path(f.path).name for f in self._client.list_artifacts(self._id, "images")]
        if not any(file.startswith(f"{name}+step+{epoch}+") for file in shown):
            self._client.log_image(self._id, image, key=name, step=epoch)

    @_posted
    def log_files(self, *paths: Path, folder: str) -> None:
        """Log files, and folders with all they hold, as artifacts in a folder."""
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self._id, str(path), f"{folder}/{path.name}")
            else:
                self._client.log_artifact(self._id, str(path), folder)

    @_posted
    def log_table(self, csv: Path) -> None:
        """Log a CSV file in the form in which MLflow shows tables, over the one before."""
        # MLflow's log_table would add the rows to those of the table before.
        self._client.log_text(self._id, pd.read_csv(csv).to_json(orient="split"), _TABLE)
        self._set_tags({"mlflow.loggedArtifacts": json.dumps([{"path": _TABLE, "type": "table"}])})

    @_posted
    def log_data(self, context: str, find: Callable[[], Sequence[Path]]) -> None:
        """Log files and folders as data sets of the run, each with the MD5 that DVC records."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tag = InputTag("mlflow.data.context", context)
        sets = [DatasetInput(Dataset(**data_set(path)), [tag]) for path in find()]
        self._client.log_inputs(self._id, sets)

    @_posted
    def describe(self, text: str, *, has_report: bool = False) -> None:
        """Set the description, Markdown; one that somebody wrote by hand stays.

        So does a report's, whose numbers the run keeps, where the new one has no report.
        ``{run}`` and ``{experiment}`` become MLflow's numbers of them.
        """
        data = self._client.get_run(self._id).data
        tags = data.tags
        if DESCRIPTION in tags and (
            sha256(tags[DESCRIPTION].encode()) != tags.get(_NOTE_HASH)
            or (is_evaluated(data) and not has_report)
        ):
            return
        text = text.replace("{run}", self._id).replace("{experiment}", self._experiment)
        self._set_tags({DESCRIPTION: text, _NOTE_HASH: sha256(text.encode())})

    @_posted
    def log_model(self, weights: Path, name: str, about: str, tags: Mapping[str, str]) -> None:
        """Register weights as a version of a model that can be served (`workflow.serving`).

        Args:
            weights: The file. Weights that are registered already are not registered again.
            name: Of the registered model.
            about: Description of the version.
            tags: Of the version.
        """
        register_model(self._client, self._id, weights, name, about, tags)

    @_posted
    def watch_machine(self) -> None:
        """Log load, memory and traffic of the machine until the run is closed."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._machine = SystemMetricsMonitor(
            self._id, resume_logging=True, tracking_uri=tracking_uri()
        )
        self._machine.start()

    def close(self, status: str) -> None:
        """Set the run's status, ``FINISHED``, ``FAILED`` or ``KILLED``, and wait for delivery."""
        self._finish(status)
        self.is_delivered = self._outbox.close()

    def _open(self, fingerprint: str, name: str, evaluation: Mapping[str, str]) -> None:
        # Else two processes look for it, find none and open one each.
        with sole_writer():
            client = store_client()
            self._experiment = experiment_id(client)
            run = run_with(client, self._experiment, name, {"fingerprint": fingerprint})
            if self._is_training:
                client.update_run(run.info.run_id, status="RUNNING")
            if evaluation:
                run = run_of_evaluation(client, run, evaluation)
        # How long a training took that nobody saw is not known: no time at all, in MLflow.
        self._id, self._ended_at = run.info.run_id, run.info.end_time or run.info.start_time
        self._client = client

    @_posted
    def _finish(self, status: str) -> None:
        if self._machine is not None:
            self._machine.finish()
        # Who delivers later does not change how long the training took.
        ended_at = None if self._is_training else self._ended_at
        self._client.set_terminated(self._id, status, ended_at)

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self._id, tags=[RunTag(k, v) for k, v in tags.items()])

    def _send(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Send numbers by step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, step) for step, row in rows for k, v in row.items()]
        for start in range(0, len(metrics), 1000):  # the server takes 1000 a call
            self._client.log_batch(self._id, metrics=metrics[start : start + 1000])


@contextmanager
def open_run(
    fingerprint: str, name: str, *, is_training: bool = True, evaluation: Mapping[str, str] = {}
) -> Iterator[Run]:
    """Open the run of this fingerprint, or go on in it, and close it with how the block ended.

    Args:
        fingerprint: Of the run.
        name: Of a run that is not there yet.
        is_training: Whether time and end of the block are those of the run; else something is added
            to one that has ended.
        evaluation: Parameters with which the training was measured. The first evaluation of a
            training is in its run; others, with other parameters, are in runs below it.
    """
    run = Run(fingerprint, name, is_training=is_training, evaluation=evaluation)
    try:
        yield run
    except (SystemExit, KeyboardInterrupt):
        run.close("KILLED" if is_training else "FINISHED")
        raise
    except BaseException:
        run.close("FAILED" if is_training else "FINISHED")
        raise
    run.close("FINISHED")
