"""evaluate: fill every sampled pair with every method and measure the fills.

Each shard writes ``pairs.csv``: a row for each pair and method. Slow methods and the VGG terms
are taken on a subset of the pairs only, drawn like the pairs themselves; their cells are empty
elsewhere.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pconv.atomic import atomic_folder
from pconv.features import vgg16_features
from pconv.images import Mask, Pixels, read_image
from pconv.losses import InpaintingLoss, LossWeights, TruthFeatures
from pconv.metrics import image_metrics
from pconv.resizing import fit_image
from workflow.command import run_command
from workflow.fills import (
    default_device,
    fill_pairs,
    images_01,
    is_network,
    masks_01,
    network_names,
    network_outputs,
    to_pixels,
)
from workflow.pairs import Pair, load_pair, read_pairs, subset
from workflow.params import EvaluateParams, load_params
from workflow.shards import Shard, add_shard_options, chosen_shards, for_each_shard

DIGITS = 9  # significant, of every number in the table


METRICS = [
    *(f"{name}{region}" for region in ("", "_hole", "_around") for name in ("psnr", "ssim", "l1")),
    "psnr_paper",
    "ssim_paper",
]
LOSSES = ["valid", "hole", "tv", "perceptual", "style", "total"]
COLUMNS = ["pair", "photo", "kind", "hole_share", "method", *METRICS, *LOSSES, "features"]
DIGITS = 9  # significant, of every number in the table


@dataclass(frozen=True)
class Job:
    """What every shard needs to know."""

    params: EvaluateParams
    sample: Path
    raw: Path
    masks: Path
    models: Path
    out: Path


@dataclass(frozen=True)
class Batch:
    """Some pairs, and their pictures: uint8 ``(B, S, S, 3)`` and bool ``(B, S, S)``."""

    pairs: list[Pair]
    images: Pixels
    masks: Mask

    def only(self, ids: set[str]) -> "Batch":
        """Return the pairs of these ids."""
        kept = [i for i, pair in enumerate(self.pairs) if pair.id in ids]
        return Batch([self.pairs[i] for i in kept], self.images[kept], self.masks[kept])


def evaluate_pairs(job: Job, shards: Sequence[Shard]) -> None:
    """Measure every method on the pairs of the given shards.

    Raises:
        DataError: If there are no pairs or no trained network.
    """
    for_each_shard(partial(evaluate_shard, job), shards, what="evaluate")


def evaluate_shard(job: Job, shard: Shard) -> None:
    """Measure every method on one shard's pairs, and write its table."""
    torch.set_num_threads(1)  # the shards are the parallelism
    cv2.setNumThreads(1)
    params = job.params
    drawn = read_pairs(job.sample)
    everywhere = {pair.id for pair in drawn}
    slow = _first(drawn, params.slow_pairs)
    methods = dict.fromkeys([*network_names(job.models), *params.methods], everywhere)
    methods |= dict.fromkeys(params.slow_methods, slow)
    with_vgg = _first(drawn, params.vgg_pairs)
    by_photo = sorted(drawn, key=lambda pair: (pair.photo, pair.id))
    rows = [
        row
        for batch in _load_batches(job, _own(by_photo, shard))
        for method, ids in methods.items()
        for row in _measure(job, method, batch.only(ids), with_vgg)
    ]
    with atomic_folder(job.out / shard.name) as folder:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(
            folder / "pairs.csv", index=False, float_format=f"%.{DIGITS}g", lineterminator="\n"
        )


def _measure(
    job: Job, method: str, batch: Batch, with_vgg: set[str]
) -> Iterator[dict[str, object]]:
    """Yield a row for each pair of the batch."""
    if not batch.pairs:
        return
    output, filled = _fill(job, method, batch)
    made, truth = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in (filled, batch.images))
    measured = image_metrics(made, truth, masks_01(batch.masks))
    for i, pair in enumerate(batch.pairs):
        vgg = method in job.params.vgg_methods and pair.id in with_vgg
        image = images_01(batch.images[i : i + 1]).to(output.device)
        known = masks_01(batch.masks[i : i + 1]).to(output.device)
        yield {
            "pair": pair.id,
            "photo": pair.photo,
            "kind": pair.kind,
            "hole_share": pair.hole_share,
            "method": method,
            **{name: float(values[i]) for name, values in measured.items()},
            **_losses(job, method, pair if vgg else None, output[i : i + 1], image, known),
            "features": job.params.features if vgg else None,
        }


def _fill(job: Job, method: str, batch: Batch) -> tuple[Tensor, Pixels]:
    """Return the output in 0..1 that the losses are taken on, and the 8-bit composite."""
    if is_network(method):
        output = network_outputs(method, job.models, batch.images, batch.masks)
        return output, to_pixels(output, batch.images, batch.masks)
    filled = fill_pairs(method, job.models, batch.images, batch.masks)
    return images_01(filled), filled


@torch.inference_mode()
def _losses(
    job: Job, method: str, pair: Pair | None, output: Tensor, truth: Tensor, known: Tensor
) -> dict[str, float]:
    """Return the loss terms of one fill; the VGG terms and the total only if its pair is given."""
    features = None
    if pair is None:
        loss = InpaintingLoss(None, LossWeights(perceptual=0, style=0))
    else:
        loss = _loss(job.params.features, job.params.features_seed)
        features = _truth_features(loss, job.raw / pair.photo, pair.size_px, pair.place)
    terms = loss.per_image(output, truth, known, features, keeps_known=not is_network(method))
    if pair is None:
        del terms["total"]  # a total without its largest terms compares with nothing
    return {name: float(term) for name, term in terms.items()}


@lru_cache(maxsize=1)
def _loss(features: str, seed: int) -> InpaintingLoss:
    return InpaintingLoss(vgg16_features(features, seed).to(default_device()))


# Pairs come sorted by photograph, so a few truths at a time are enough to make each once a shard.
@lru_cache(maxsize=16)
def _truth_features(loss: InpaintingLoss, photo: Path, size_px: int, place: float) -> TruthFeatures:
    truth = images_01(fit_image(read_image(photo), size_px, place)[None]).to(default_device())
    assert loss.features is not None
    return TruthFeatures.of(loss.features, truth)


def _load_batches(job: Job, pairs: Sequence[Pair]) -> Iterator[Batch]:
    rest = iter(pairs)
    while some := list(islice(rest, job.params.batch_size)):
        images, masks = zip(*(load_pair(p, job.raw, job.masks) for p in some), strict=True)
        yield Batch(some, np.stack(images), np.stack(masks))


def _first(pairs: Sequence[Pair], count: int) -> set[str]:
    return {pair.id for pair in subset(pairs, min(count, len(pairs)))}


def _own(pairs: Sequence[Pair], shard: Shard) -> Sequence[Pair]:
    """Return the shard's pairs: a run of neighbours, so that few photographs are in two shards."""
    bounds = [len(pairs) * edge // shard.count for edge in (shard.index, shard.index + 1)]
    return pairs[bounds[0] : bounds[1]]


def main() -> None:
    """Run the stage from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sample", "raw", "masks", "models", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_shard_options(parser)
    options = parser.parse_args()
    paths = {name: getattr(options, name) for name in ("sample", "raw", "masks", "models", "out")}
    evaluate_pairs(Job(load_params(EvaluateParams), **paths), chosen_shards(options))


if __name__ == "__main__":
    run_command(main)
