"""The training logs as one table, for ``dvc plots`` and the loss curves."""

import json
from pathlib import Path

import pandas as pd

from pconv.errors import DataError
from workflow.networks import NETWORKS

LOG_FILE = "log.jsonl"
EPOCH = "epoch"
PLAIN = "plain_"
# The logs call the terms by their names; beside ``valid_hole_psnr`` of the held-out pictures the
# term of the valid pixels, ``valid``, would be misread.
TERMS = ("total", "hole", "valid", "perceptual", "style", "tv")


def read_curves(models: Path) -> pd.DataFrame:
    """Read ``models/NETWORK/log.jsonl`` of every trained network.

    Args:
        models: The folder of trained networks.

    Returns:
        One row an epoch: ``epoch`` and every number the logs hold; loss terms start with
        ``train_``, the columns of the plain network with ``plain_``.

    Raises:
        DataError: If there is no log, or a line of one is damaged.
    """
    logs = [(name, models / name / LOG_FILE) for name in NETWORKS]
    found = [_read_log(path).add_prefix(_prefix(name)) for name, path in logs if path.is_file()]
    if not found:
        raise DataError(f"{models}: no */{LOG_FILE}; run the train stage again")
    return pd.concat(found, axis=1).sort_index().rename_axis(EPOCH).reset_index()


def _prefix(network: str) -> str:
    return "" if network == "pconv" else PLAIN


def _read_log(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no UTF-8 text ({error}); run the train stage again") from error
    records = [_record(path, number, line) for number, line in enumerate(lines, 1)]
    if not records:
        raise DataError(f"{path}: is empty; wanted one JSON line an epoch: run the train stage")
    # A training that was resumed may have logged an epoch twice; the later line stands.
    return pd.DataFrame(records).drop_duplicates(EPOCH, keep="last").set_index(EPOCH)


# RecursionError: of lists nested too deep.
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _record(path: Path, number: int, line: str) -> dict[str, float]:
    try:
        record = json.loads(line)
        epoch = int(record[EPOCH])
        numbers = {_name(k): float(v) for k, v in record.items() if v is not None and k != EPOCH}
    except _DAMAGED as error:
        raise DataError(
            f"{path}: line {number} is no record of an epoch ({type(error).__name__}: {error}); "
            "wanted JSON with `epoch` and numbers: run the train stage again"
        ) from error
    return {EPOCH: epoch, **numbers}


def _name(key: str) -> str:
    return f"train_{key}" if key in TERMS else key
