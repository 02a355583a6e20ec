"""evaluate: fill every sampled pair with every method and measure the fills.

Each shard writes ``pairs.csv``: a row for each pair and method. Slow methods and the VGG terms
are taken on a subset of the pairs only, drawn like the pairs themselves; their cells are empty
elsewhere. A killed run goes on from its last finished batch when the same command is given again.
"""

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pconv.atomic import atomic_folder
from pconv.devices import default_device
from pconv.features import VGG16Features, vgg16_features
from pconv.images import Mask, Pixels, read_image
from pconv.losses import InpaintingLoss, LossWeights, TruthFeatures
from pconv.metrics import image_metrics
from pconv.resizing import fit_image
from workflow.command import run_command
from workflow.fills import fill_pairs, images_01, masks_01, network_outputs, to_pixels
from workflow.kept import KeptBatches, identity
from workflow.networks import MIRRORED, is_network, network_file, network_names
from workflow.pairs import Pair, load_pair, mask_file, read_pairs, subset
from workflow.sections import EvaluateParams
from workflow.shards import Shard, add_shard_options, chosen_shards, for_each_shard
from workflow.stage_params import nothing, start_stage

log = logging.getLogger(__name__)

METRICS = [
    *(f"{name}{region}" for region in ("", "_hole", "_around") for name in ("psnr", "ssim", "l1")),
    "psnr_paper",
    "ssim_paper",
]
LOSSES = ["valid", "hole", "tv", "perceptual", "style", "total"]
# The same two terms with the 8-bit composite for the output: what methods are compared by. A
# network's own output has known pixels too, which it is not asked for and no other method changes.
OF_COMPOSITE = {f"{name}_composite": name for name in ("perceptual", "style")}
_FACTS = ["pair", "photo", "kind", "hole_share", "method"]
COLUMNS = [*_FACTS, *METRICS, *LOSSES, *OF_COMPOSITE, "features"]
MODULE = "workflow.stages.evaluate"  # not __name__, which is __main__ on the command line
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
    state: Path


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


@dataclass(frozen=True)
class Plan:
    """What is measured where.

    Attributes:
        batches: The pairs, in the batches in which networks see them. They do not depend on the
            shards: a network's last digits depend on how many pictures it sees at once.
        methods: Every method, and the pairs it fills.
        with_vgg: The pairs whose VGG terms are taken.
    """

    batches: list[list[Pair]]
    methods: dict[str, set[str]]
    with_vgg: set[str]

    @classmethod
    def of(cls, job: Job) -> "Plan":
        """Read the pairs and divide the work.

        Raises:
            DataError: If the table of pairs can't be read or there is no trained network.
        """
        params, drawn = job.params, read_pairs(job.sample)
        everywhere = {pair.id for pair in drawn}
        networks = network_names(job.models)
        if params.mirrored:
            networks += [f"{name}{MIRRORED}" for name in networks if name.endswith("-last")]
        methods = dict.fromkeys([*networks, *params.methods], everywhere)
        methods |= dict.fromkeys(params.slow_methods, _first(drawn, params.slow_pairs))
        by_photo = sorted(drawn, key=lambda pair: (pair.photo, pair.id))
        starts = range(0, len(by_photo), params.batch_size)
        batches = [by_photo[start : start + params.batch_size] for start in starts]
        return cls(batches, methods, _first(drawn, params.vgg_pairs))

    def numbers(self, shard: Shard) -> range:
        """Return the shard's batches: neighbours, so that few photographs are in two shards."""
        return range(
            *(len(self.batches) * i // shard.count for i in (shard.index, shard.index + 1))
        )


def evaluate_pairs(
    job: Job, shards: Sequence[Shard], *, before_writing: Callable[[], None] = nothing
) -> Callable[[], None]:
    """Measure every method on the pairs of the given shards.

    Args:
        job: What every shard needs to know.
        shards: The shards to make.
        before_writing: Called when a shard is measured; what it raises keeps the one before.
            Picklable.

    Returns:
        What deletes the batches kept for a run that is stopped; to be called when nothing can make
        this one be run again.

    Raises:
        DataError: If there are no pairs or no trained network.
    """
    plan = Plan.of(job)
    numbers = [number for shard in shards for number in plan.numbers(shard)]
    kept = KeptBatches(job.state, _identity(job, plan))
    if finished := kept.count(numbers):
        log.info("evaluate: %d of %d batches are finished; going on", finished, len(numbers))
    make = partial(evaluate_shard, job, plan, kept, before_writing)
    for_each_shard(make, shards, what="evaluate", folders=[job.out])
    # Not before the last shard is there: both engines delete those of a killed run.
    return kept.forget_all if len(shards) == shards[0].count else partial(kept.forget, numbers)


def evaluate_shard(
    job: Job, plan: Plan, kept: KeptBatches, before_writing: Callable[[], None], shard: Shard
) -> None:
    """Measure every method on one shard's pairs, and write its table."""
    torch.set_num_threads(1)  # the shards are the parallelism
    cv2.setNumThreads(1)
    batches = [
        kept.get(number, partial(_measured, job, plan, number)) for number in plan.numbers(shard)
    ]
    with atomic_folder(job.out / shard.name) as folder:
        text = "".join([",".join(COLUMNS) + "\n", *batches])
        (folder / "pairs.csv").write_text(text, encoding="utf-8", newline="\n")
        before_writing()


def _identity(job: Job, plan: Plan) -> str:
    """Return a hash of all that the numbers come from."""
    pairs = [pair for batch in plan.batches for pair in batch]
    files = [network_file(method, job.models) for method in plan.methods if is_network(method)]
    files += sorted({job.raw / pair.photo for pair in pairs})
    files += sorted({mask_file(pair, job.raw, job.masks) for pair in pairs})
    if Path(job.params.features).is_file():
        files.append(Path(job.params.features))
    return identity(MODULE, job.params.model_dump_json(), [job.sample, *files])


def _measured(job: Job, plan: Plan, number: int) -> str:
    """Measure every method on one batch of pairs; return their rows as text."""
    pairs = plan.batches[number]
    images, masks = zip(*(load_pair(pair, job.raw, job.masks) for pair in pairs), strict=True)
    batch = Batch(pairs, np.stack(images), np.stack(masks))
    rows = [
        row
        for method, ids in plan.methods.items()
        for row in _measure(job, method, batch.only(ids), plan.with_vgg)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).to_csv(
        index=False, header=False, float_format=f"%.{DIGITS}g", lineterminator="\n"
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
        one = slice(i, i + 1)
        image = images_01(batch.images[one]).to(output.device)
        known = masks_01(batch.masks[one]).to(output.device)
        yield {
            "pair": pair.id,
            "photo": pair.photo,
            "kind": pair.kind,
            "hole_share": pair.hole_share,
            "method": method,
            **{name: float(values[i]) for name, values in measured.items()},
            **_losses(job, method, pair if vgg else None, output[one], filled[one], image, known),
            "features": job.params.features if vgg else None,
        }


def _fill(job: Job, method: str, batch: Batch) -> tuple[Tensor, Pixels]:
    """Return the output in 0..1 that the losses are taken on, and the 8-bit composite."""
    if is_network(method):
        output = network_outputs(method, job.models, batch.images, batch.masks)
        return output, to_pixels(output, batch.images, batch.masks)
    filled = fill_pairs(method, job.models, batch.images, batch.masks)
    return images_01(filled).to(default_device()), filled


@torch.inference_mode()
def _losses(
    job: Job,
    method: str,
    pair: Pair | None,
    output: Tensor,
    filled: Pixels,
    truth: Tensor,
    known: Tensor,
) -> dict[str, float]:
    """Return the loss terms of one fill; the VGG terms and the total only if its pair is given."""
    keeps_known = not is_network(method)
    if pair is None:
        loss = InpaintingLoss(None, LossWeights(perceptual=0, style=0))
        terms = loss.per_image(output, truth, known, keeps_known=keeps_known)
        del terms["total"]  # a total without its largest terms compares with nothing
    else:
        vgg = _vgg(job.params.features, job.params.features_seed)
        loss = InpaintingLoss(vgg)
        features = _truth_features(vgg, job.raw / pair.photo, pair.size_px, pair.place)
        terms = loss.per_image(output, truth, known, features, keeps_known=keeps_known)
        alone = terms
        if not keeps_known:
            composite = images_01(filled).to(output.device)
            alone = loss.per_image(composite, truth, known, features, keeps_known=True)
        terms |= {column: alone[name] for column, name in OF_COMPOSITE.items()}
    return {name: float(term) for name, term in terms.items()}


@lru_cache(maxsize=1)
def _vgg(features: str, seed: int) -> VGG16Features:
    return vgg16_features(features, seed).to(default_device())


# Pairs come sorted by photograph, so a few truths at a time are enough to make each once a shard.
@lru_cache(maxsize=16)
def _truth_features(vgg: VGG16Features, photo: Path, size_px: int, place: float) -> TruthFeatures:
    truth = images_01(fit_image(read_image(photo), size_px, place)[None]).to(default_device())
    return TruthFeatures.of(vgg, truth)


def _first(pairs: Sequence[Pair], count: int) -> set[str]:
    return {pair.id for pair in subset(pairs, min(count, len(pairs)))}


def main() -> None:
    """Run the stage from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("sample", "raw", "masks", "models", "out", "state")
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True)
    add_shard_options(parser)
    options = parser.parse_args()
    paths = {name: getattr(options, name) for name in names}
    shards = chosen_shards(options)
    params, refuse_edits = start_stage(EvaluateParams)
    forget_batches = evaluate_pairs(Job(params, **paths), shards, before_writing=refuse_edits)
    refuse_edits()
    forget_batches()


if __name__ == "__main__":
    run_command(main)
