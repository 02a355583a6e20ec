"""Which pairs the report shows, and their fills, made anew from the weights.

Every choice is a rule, told in the caption, so that no picture is picked by eye.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pconv.errors import DataError
from pconv.images import Mask, Pixels
from workflow.fills import fill_pairs
from workflow.networks import is_network, network_file
from workflow.pairs import Pair, load_pair
from workflow.reporting.evaluation import Evaluation
from workflow.reporting.names import SHOWN_BESIDE, leading_weights, sorted_methods
from workflow.reporting.summary import PAIRED_METRIC

log = logging.getLogger(__name__)

WHITE = 255
MIN_HOLE_SHARE = 0.05  # smaller holes are hardly seen in a picture of this size
HERO_KINDS = ("or", "strokes", "ec", "rectangles", "walk")


@dataclass(frozen=True)
class Example:
    """A pair as it is shown.

    Attributes:
        pair: Its row of the sample.
        truth: The photograph, uint8 ``(S, S, 3)``.
        mask: True where known, ``(S, S)``.
        fills: The filled picture of each shown method, uint8 ``(S, S, 3)``.
        scores: PSNR in the hole of each measured method, dB.
    """

    pair: Pair
    truth: Pixels
    mask: Mask
    fills: dict[str, Pixels]
    scores: dict[str, float]

    @property
    def damaged(self) -> Pixels:
        """The photograph with its hole white."""
        return np.where(self.mask[..., None], self.truth, np.uint8(WHITE))


@dataclass(frozen=True)
class Sources:
    """Where pictures come from: models, raw photographs and generated validation masks."""

    models: Path
    raw: Path
    masks: Path


@dataclass(frozen=True)
class Choice:
    """Ids of the pairs to show, by figure.

    Attributes:
        ec: For the figure of error concealment, best first.
        or_: For the figure of object removal, best first.
        extremes: Best, median and worst fills of all kinds.
        error: The pair of the error map.
        hero: For the picture at the top of the README.
        judge: The method whose scores order them.
    """

    ec: list[str]
    or_: list[str]
    extremes: dict[str, list[str]]
    error: str
    hero: list[str]
    judge: str

    @property
    def ids(self) -> list[str]:
        """Every chosen pair once, in the order of the figures."""
        shown = [*self.hero, *self.ec, *self.or_, self.error]
        return list(dict.fromkeys([*shown, *(i for ids in self.extremes.values() for i in ids)]))


def choose(
    evaluation: Evaluation, *, examples: int, extremes: int, error_pair: str | None
) -> Choice:
    """Choose the pairs of every figure by their PSNR in the hole.

    Args:
        evaluation: The measured pairs.
        examples: Rows of the EC and OR figures and of the README's picture.
        extremes: Fills shown of each best, median and worst.
        error_pair: The pair of the error map; None for the median EC or OR pair.

    Raises:
        DataError: If ``error_pair`` was not measured.
    """
    judge = leading_weights(evaluation.methods) or evaluation.methods[0]
    ranked = evaluation.facts.assign(score=evaluation.values[(judge, PAIRED_METRIC)]).dropna()
    ranked = ranked.sort_values(["score"], ascending=False, kind="stable")
    visible = ranked[ranked["hole_share"] >= MIN_HOLE_SHARE]
    visible = ranked if visible.empty else visible
    if error_pair is not None and error_pair not in ranked.index:
        raise DataError(
            f"report.error_pair: {error_pair} is not a measured pair; wanted one of "
            f"{', '.join(ranked.index[:3])}, …, or null"
        )
    given = _of_kinds(visible, ("ec", "or"))
    median = given if len(given) else visible
    return Choice(
        ec=spread(_of_kinds(visible, ("ec",)), examples),
        or_=spread(_of_kinds(visible, ("or",)), examples),
        extremes={
            "Best": nearest(ranked, 0.0, extremes),
            "Median": nearest(ranked, 0.5, extremes),
            "Worst": nearest(ranked, 1.0, extremes),
        },
        error=error_pair or nearest(median, 0.5, 1)[0],
        hero=_hero(visible, examples),
        judge=judge,
    )


def spread(ranked: pd.DataFrame, count: int) -> list[str]:
    """Return pairs spread evenly over the ranking, best first, of different photos if possible.

    Args:
        ranked: Pairs with ``photo``, best first; index: pair.
        count: How many; fewer come back where there are fewer.
    """
    chosen: list[str] = []
    for step in range(min(count, len(ranked))):
        chosen += nearest(ranked, (step + 0.5) / count, 1, taken=ranked.loc[chosen])
    # Another photograph may be found only further up the ranking than the pair before.
    return _best_first(chosen, ranked)


def nearest(
    ranked: pd.DataFrame, quantile: float, count: int, taken: pd.DataFrame | None = None
) -> list[str]:
    """Return the pairs nearest to a place in the ranking, of different photos if possible.

    Args:
        ranked: Pairs with ``photo``, best first; index: pair.
        quantile: 0 for the best, 1 for the worst.
        count: How many.
        taken: Pairs chosen before; neither they nor, if possible, their photos come again.
    """
    place = quantile * (len(ranked) - 1)
    order = np.argsort(np.abs(np.arange(len(ranked)) - place), kind="stable")
    by_distance = ranked.iloc[order]
    used: set[str] = set()
    if taken is not None:
        by_distance = by_distance[~by_distance.index.isin(taken.index)]
        used = set(taken["photo"])
    fresh = by_distance[~by_distance["photo"].isin(used)].drop_duplicates("photo")
    others = by_distance[~by_distance.index.isin(fresh.index)]
    chosen = [str(name) for name in pd.concat([fresh, others]).index[:count]]
    return _best_first(chosen, ranked)


def load_examples(
    ids: Iterable[str],
    pairs: dict[str, Pair],
    evaluation: Evaluation,
    methods: Sequence[str],
    sources: Sources,
) -> dict[str, Example]:
    """Load the chosen pairs and fill them.

    Args:
        ids: The pairs to show.
        pairs: The sample, by id.
        evaluation: The measured pairs, for the scores.
        methods: The methods to fill with.
        sources: Where pictures and weights are.
    """
    # As where they were measured; in larger batches there, so a pixel may differ by a level.
    torch.set_num_threads(1)
    chosen = [pairs[name] for name in ids]
    loaded = [load_pair(pair, sources.raw, sources.masks) for pair in chosen]
    fills: list[dict[str, Pixels]] = [{} for _ in chosen]
    for method in methods:
        for (image, mask), filled in zip(loaded, fills, strict=True):
            filled[method] = fill_pairs(method, sources.models, image[None], mask[None])[0]
    return {
        pair.id: Example(pair, image, mask, filled, _scores(evaluation, pair.id))
        for pair, (image, mask), filled in zip(chosen, loaded, fills, strict=True)
    }


def _scores(evaluation: Evaluation, pair: str) -> dict[str, float]:
    """Return the PSNR in the hole of every method that filled a pair."""
    columns = [(method, PAIRED_METRIC) for method in evaluation.methods]
    scores = evaluation.values[columns].to_numpy()[evaluation.values.index.get_loc(pair)]
    found = zip(evaluation.methods, scores, strict=True)
    return {method: float(score) for method, score in found if not np.isnan(score)}


def shown_methods(measured: Sequence[str], judge: str, models: Path) -> list[str]:
    """Return the methods that are shown: our checkpoints and a few others, as far as measured.

    A network that was measured elsewhere and whose weights did not come along is left out.
    """
    shown = {method for method in measured if method.startswith("pconv-")}
    shown |= set(SHOWN_BESIDE) & set(measured) | {judge}
    networks = {method for method in shown if is_network(method)} - {judge}
    away = {method for method in networks if not network_file(method, models).is_file()}
    if away:
        log.warning("%s: no weights of %s; not in the pictures", models, ", ".join(sorted(away)))
    return sorted_methods(shown - away)


def _best_first(names: Iterable[str], ranked: pd.DataFrame) -> list[str]:
    return sorted(names, key=list(ranked.index).index)


def _of_kinds(ranked: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    return ranked[ranked["kind"].isin(kinds)]


def _hero(ranked: pd.DataFrame, count: int) -> list[str]:
    """Return pairs of middling score, of as many kinds and photographs as possible."""
    kinds = [kind for kind in HERO_KINDS if kind in set(ranked["kind"])]
    chosen: list[str] = []
    for kind in kinds * count:  # again and again: one of them may have no other pair
        if len(chosen) < count:
            chosen += nearest(_of_kinds(ranked, (kind,)), 0.5, 1, taken=ranked.loc[chosen])
    return chosen
