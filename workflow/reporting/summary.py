"""The numbers of the report as one long table: group × hole share × method × metric."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from workflow.reporting.evaluation import Evaluation
from workflow.reporting.names import ANY_SHARE, BUCKETS, GROUPS, METRIC_OF, leading_weights
from workflow.reporting.statistics import Estimates, bootstrap_means

COLUMNS = (
    "group",
    "hole_share",
    "method",
    "metric",
    "mean",
    "low",
    "high",
    "pairs",
    "photos",
)
PAIRED_METRIC = "psnr_hole"


@dataclass(frozen=True)
class Entry:
    """One number of the report; the ends of the interval are NaN where there is none."""

    mean: float
    low: float
    high: float
    pairs: int
    photos: int


Picked = dict[tuple[str, str], Entry]


@dataclass(frozen=True)
class Summary:
    """Mean, interval and number of pairs of every metric that was taken.

    Attributes:
        table: The columns of `COLUMNS`; ``group`` is a key of `GROUPS`, ``hole_share`` one of
            `BUCKETS` or `ANY_SHARE`. Groups without pairs and metrics not taken have no row.
    """

    table: pd.DataFrame

    @cached_property
    def _by_group(self) -> dict[tuple[str, str], Picked]:
        picked: dict[tuple[str, str], Picked] = {}
        for group, share, method, metric, *numbers in self.table.itertuples(index=False, name=None):
            picked.setdefault((group, share), {})[method, metric] = Entry(*numbers)
        return picked

    @property
    def groups(self) -> list[str]:
        """The groups that have pairs, in the order of the report."""
        return [group for group in GROUPS if (group, ANY_SHARE) in self._by_group]

    @property
    def metrics(self) -> list[str]:
        """The metrics that were taken of any method, in the order of the report."""
        taken = set(self.table["metric"])
        return [column for column in METRIC_OF if column in taken]

    def pick(self, group: str, share: str = ANY_SHARE) -> Picked:
        """Return the numbers of one group and bucket by ``(method, metric)``."""
        return self._by_group.get((group, share), {})


def summarise(evaluation: Evaluation, *, draws: int, seed: int) -> Summary:
    """Return mean, interval and number of pairs of every metric that was taken.

    Args:
        evaluation: The measured pairs.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.
    """
    parts = []
    for group, kinds in GROUPS.items():
        in_group = evaluation.facts["kind"].isin(kinds)
        for share in (ANY_SHARE, *BUCKETS):
            chosen = in_group if share == ANY_SHARE else in_group & _in_bucket(evaluation, share)
            if chosen.any():
                part = _estimate(evaluation, chosen, draws, seed)
                parts.append(part.assign(group=group, hole_share=share))
    table = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    return Summary(table[table["pairs"] > 0].reset_index(drop=True))


def compare(evaluation: Evaluation, *, draws: int, seed: int) -> pd.DataFrame:
    """Compare our network with every other method, pair by pair, by PSNR in the hole.

    Args:
        evaluation: The measured pairs.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row for each group and other method: ``group``, ``method``, ``difference`` (ours minus
        theirs, dB) with ``low`` and ``high``, ``wins`` (share of pairs, a tie counts half) with
        ``wins_low`` and ``wins_high``, ``pairs``, ``photos``. Empty without a network.
    """
    ours = leading_weights(evaluation.methods)
    others = [method for method in evaluation.methods if method != ours]
    if ours is None or not others:
        return pd.DataFrame()
    theirs = evaluation.values[[(method, PAIRED_METRIC) for method in others]].to_numpy()
    difference = evaluation.values[[(ours, PAIRED_METRIC)]].to_numpy() - theirs
    wins = (np.sign(difference) + 1) / 2
    rows = []
    for group, kinds in GROUPS.items():
        chosen = evaluation.facts["kind"].isin(kinds).to_numpy()
        photos = evaluation.facts["photo"].to_numpy(dtype=str)[chosen]
        both = np.hstack([difference[chosen], wins[chosen]])
        found = bootstrap_means(both, photos, draws=draws, seed=seed)
        rows += [_comparison(group, name, found, i, len(others)) for i, name in enumerate(others)]
    table = pd.DataFrame(rows)
    return table[table["pairs"] > 0].reset_index(drop=True)


def most_pairs(found: Picked, method: str) -> int:
    """Return how many pairs a method filled: the most of any of its metrics."""
    return max((entry.pairs for (name, _), entry in found.items() if name == method), default=0)


def _in_bucket(evaluation: Evaluation, share: str) -> "pd.Series[bool]":
    return evaluation.facts["bucket"] == share


def _estimate(
    evaluation: Evaluation, chosen: "pd.Series[bool]", draws: int, seed: int
) -> pd.DataFrame:
    values = evaluation.values[chosen]
    photos = evaluation.facts["photo"][chosen].to_numpy(dtype=str)
    estimates = bootstrap_means(values.to_numpy(), photos, draws=draws, seed=seed)
    names = values.columns
    return pd.DataFrame(
        {
            "method": names.get_level_values("method"),
            "metric": names.get_level_values("metric"),
            **vars(estimates),
        }
    )


def _comparison(
    group: str, method: str, estimates: Estimates, index: int, others: int
) -> dict[str, object]:
    won = index + others
    # Where all is won, or nothing, every draw says the same: no interval, and not one of no width.
    is_mixed = 0 < estimates.mean[won] < 1
    return {
        "group": group,
        "method": method,
        "difference": estimates.mean[index],
        "low": estimates.low[index],
        "high": estimates.high[index],
        "wins": estimates.mean[won],
        "wins_low": estimates.low[won] if is_mixed else math.nan,
        "wins_high": estimates.high[won] if is_mixed else math.nan,
        "pairs": int(estimates.pairs[index]),
        "photos": int(estimates.photos[index]),
    }
