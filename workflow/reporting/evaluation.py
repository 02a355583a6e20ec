"""Read the evaluation table, shard by shard, and refuse what is damaged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pconv.errors import DataError
from workflow.mask_kinds import KINDS
from workflow.reporting.names import (
    BUCKET_EDGES,
    BUCKETS,
    DECIBEL,
    METHODS,
    METRICS,
    sorted_methods,
)
from workflow.shard_files import shard_files

TABLE_FILE = "pairs.csv"
IDENTICAL_DB = 100.0  # the most that a fill counts; one that equals the truth has no finite PSNR
_FACTS = ("photo", "kind", "hole_share")
_REQUIRED = ("pair", "method", *_FACTS, *(m.column for m in METRICS), "features")


@dataclass(frozen=True)
class Evaluation:
    """The measured pairs.

    Attributes:
        facts: ``photo``, ``kind``, ``hole_share`` and ``bucket`` of each pair; index: pair.
        values: One column for each ``(method, metric)``, NaN where not taken; index: pair.
        identical: Fills whose hole equals the truth, by method.
        features: The VGG features the loss terms were taken with; "" where not recorded.
    """

    facts: pd.DataFrame
    values: pd.DataFrame
    identical: dict[str, int]
    features: str

    @property
    def methods(self) -> list[str]:
        """The measured methods in the order of the report."""
        return sorted_methods(set(self.values.columns.get_level_values("method")))


def read_evaluation(folder: Path) -> Evaluation:
    """Read ``folder/NNNN/pairs.csv``, all shards.

    Args:
        folder: What the evaluate stage made.

    Raises:
        DataError: If there is no table, a column is missing, a value is damaged, a (pair, method)
            stands twice, or two rows contradict each other about their pair.
    """
    paths = shard_files(folder, TABLE_FILE)
    table = pd.concat([_read_shard(path) for path in paths]) if paths else pd.DataFrame()
    if table.empty:
        raise DataError(
            f"{folder}: no measured pairs in {len(paths)} files */{TABLE_FILE}; "
            "run the evaluate stage again"
        )
    _check_rows(folder, table)
    features = sorted(set(table["features"]) - {""})
    if len(features) > 1:
        raise DataError(
            f"{folder}: loss terms of different VGG features ({', '.join(features)}); delete the "
            "folder and run the evaluate stage again"
        )
    facts = table.groupby("pair")[list(_FACTS)].first()
    facts["bucket"] = [BUCKETS[i] for i in np.searchsorted(BUCKET_EDGES, facts["hole_share"])]
    columns = [metric.column for metric in METRICS]
    identical = table[np.isinf(table["psnr_hole"])].groupby("method").size()
    values = table.pivot(index="pair", columns="method", values=columns)
    values.columns = values.columns.set_names(["metric", "method"])
    values = values.astype(np.float64).clip(upper=_caps(values), axis=1)
    values = values.reorder_levels(["method", "metric"], axis=1)
    counts = {str(method): int(count) for method, count in identical.items()}
    return Evaluation(facts, values, counts, "".join(features))


def check_complete(evaluation: Evaluation, sampled: set[str], folder: Path, sample: Path) -> None:
    """Check that the evaluation has the sampled pairs, all of them and no others.

    Raises:
        DataError: If a shard is missing or the table belongs to another sample.
    """
    measured = set(evaluation.facts.index)
    for names, problem in (
        (sampled - measured, f"are in {sample} but not measured"),
        (measured - sampled, f"are measured but not in {sample}"),
    ):
        if names:
            raise DataError(
                f"{folder}: {len(names)} pairs {problem} (first: {min(names)}); "
                "a shard is missing or old: delete the folder and run the evaluate stage again "
                "(`dvc repro --force --single-item evaluate`)"
            )


def _read_shard(path: Path) -> pd.DataFrame:
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a table ({error}); delete it and run the evaluate stage again"
        ) from error
    missing = [column for column in _REQUIRED if column not in text]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; found {', '.join(text.columns)}")
    table = text[["pair", "method", "photo", "kind"]].copy()
    for column in ("pair", "method", "photo", "kind"):
        _refuse(path, text[column], text[column].isna() | (text[column] == ""), "a name")
    _refuse(path, text["method"], ~text["method"].isin(METHODS), "one of " + ", ".join(METHODS))
    _refuse(path, text["kind"], ~text["kind"].isin(KINDS), "one of " + ", ".join(KINDS))
    share = _numbers(path, text["hole_share"])
    _refuse(path, text["hole_share"], ~share.between(0, 1), "a share from 0 to 1")
    table["hole_share"] = share
    table["features"] = text["features"]
    for metric in METRICS:
        table[metric.column] = _metric(path, text[metric.column], metric.unit)
    return table


def _metric(path: Path, column: "pd.Series[str]", unit: str) -> "pd.Series[float]":
    """Return a column of numbers; infinite ones only where identical pictures give them."""
    values = _numbers(path, column)
    infinite = [-np.inf] if unit == DECIBEL else [-np.inf, np.inf]
    _refuse(path, column, values.isin(infinite), "a finite number")
    return values


def _numbers(path: Path, column: "pd.Series[str]") -> "pd.Series[float]":
    values = pd.to_numeric(column.where(column != ""), errors="coerce").astype(np.float64)
    _refuse(path, column, values.isna() & (column != ""), "a number, or nothing where not taken")
    return values


def _refuse(path: Path, column: "pd.Series[str]", wrong: "pd.Series[bool]", wanted: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: line {row + 2}, column {column.name}: found {column.iloc[row]!r}, wanted "
            f"{wanted}; delete the file and run the evaluate stage again"
        )


def _check_rows(folder: Path, table: pd.DataFrame) -> None:
    twice = table[table.duplicated(["pair", "method"])]
    if len(twice):
        pair, method = twice.iloc[0][["pair", "method"]]
        raise DataError(
            f"{folder}: pair {pair} is measured twice with {method}; shards overlap: "
            "delete the folder and run the evaluate stage again"
        )
    differing = table.groupby("pair")[list(_FACTS)].nunique(dropna=False) > 1
    for column in _FACTS:
        if not differing[column].any():
            continue
        raise DataError(
            f"{folder}: the rows of pair {differing[column].idxmax()} differ in their {column}; "
            "delete the folder and run the evaluate stage again"
        )


def _caps(values: pd.DataFrame) -> list[float]:
    decibels = {metric.column for metric in METRICS if metric.unit == DECIBEL}
    return [
        IDENTICAL_DB if metric in decibels else np.inf
        for metric in values.columns.get_level_values("metric")
    ]
