"""What a training choice is worth: short trainings of a preset, each with other values.

All see the same images and masks in the same order, those of the pipeline's stages in this folder,
and are measured on the same held-out pairs, through the same `pconv.training.train`. A variant is
what `pconv.plan.TrainingPlan` has under other values; those not named are the preset's.

    make use PRESET=shipped && dvc repro augment masks
    python -m benchmarks.variants width=16 width=24 width=32
    python -m benchmarks.variants finetune_from_epoch=1 finetune_from_epoch=4 finetune_from_epoch=8
"""

import argparse
import json
import logging
import statistics
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import torch

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from pconv.dataset import ImageSet, pack_images, pack_masks
from pconv.plan import TrainingPlan
from pconv.ranks import open_ranks
from pconv.training import train
from pconv.unet import build_unet
from workflow.params import read_params
from workflow.plain_yaml import parse_plain_yaml
from workflow.stages.train import by_name, held_out_pairs, plan_of

HEADING = (
    "variant",
    "million parameters",
    "half precision, MB",
    "ms an image",
    "L1 in the hole",
    "PSNR in the hole, dB",
)
_BYTES_IN_HALF = 2

Changes = dict[str, object]


def variant(text: str) -> Changes:
    """Read ``NAME=VALUE,NAME=VALUE``, the values as YAML has them; ``preset`` changes nothing."""
    if text == "preset":
        return {}
    changes: Changes = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        if not found or name not in {field.name for field in fields(TrainingPlan)}:
            raise argparse.ArgumentTypeError(
                f"{part!r}; wanted NAME=VALUE, with a name of pconv.plan.TrainingPlan"
            )
        changes[name] = parse_plain_yaml(value, part)
    return changes


def parameters(plan: TrainingPlan) -> int:
    """Return how many numbers a plan's network learns."""
    network = build_unet(**plan.hyperparameters())
    return sum(parameter.numel() for parameter in network.parameters())


def images_per_s(plan: TrainingPlan, epochs: list[dict[str, float]]) -> float:
    """Return the median rate of the epochs in which nothing is compiled, of all if there is none.

    Args:
        plan: What was trained.
        epochs: A line of ``timing.jsonl`` for each.
    """
    firsts = {1, plan.finetune_from_epoch + 1} if plan.compile else set()
    later = [line["images_per_s"] for line in epochs if line["epoch"] not in firsts]
    return statistics.median(later or [line["images_per_s"] for line in epochs])


def row(
    plan: TrainingPlan, name: str, data: ImageSet, held_out: ImageSet, device: str
) -> list[str]:
    """Train one variant; return its line of the table."""
    torch.compiler.reset()  # it keeps eight versions of a function, then compiles no more
    with tempfile.TemporaryDirectory() as folder:
        trained = train(plan, data, held_out, Path(folder), open_ranks(device))
        lines = (Path(folder) / "timing.jsonl").read_text().splitlines()
    last = trained.progress.records[-1]
    learned = parameters(plan)
    return [
        name,
        f"{learned / 1e6:.2f}",
        f"{learned * _BYTES_IN_HALF / 1e6:.1f}",
        f"{1000 / images_per_s(plan, [json.loads(line) for line in lines]):.1f}",
        f"{last['valid_hole_l1']:.4f}",
        f"{last['valid_hole_psnr']:.2f}",
    ]


def main(argv: list[str] | None = None) -> None:
    """Train every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "variants",
        nargs="+",
        type=lambda text: (text, variant(text)),
        help="NAME=VALUE,…, or preset",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", type=Path, default=Path("presets/shipped.yaml"))
    parser.add_argument("--images", type=whole, default=1500, help="training images of an epoch")
    parser.add_argument("--epochs", type=whole, default=8)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the stages' folder")
    add_json_option(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    params = read_params(args.preset).train
    short = replace(
        plan_of(params, "pconv"),
        epochs=args.epochs,
        first_epoch=args.epochs,
        finetune_from_epoch=min(params.finetune_from_epoch, args.epochs),
    )
    plans = [(text, replace(short, **changes)) for text, changes in args.variants]
    with tempfile.TemporaryDirectory() as folder:
        data = ImageSet(
            pack_images(
                by_name(args.data / "augmented")[: args.images], Path(folder) / "images.npy"
            ),
            pack_masks(by_name(args.data / "masks" / "train"), Path(folder) / "masks.npy"),
        )
        held_out = held_out_pairs(
            args.data / "raw", args.data / "masks" / "held_out", data.images.shape[1]
        )
        rows = [row(plan, text, data, held_out, args.device) for text, plan in plans]
    finish(
        "benchmarks.variants",
        [Table(HEADING, rows)],
        packages=["torch"],
        notes=[
            f"{args.epochs} epochs of {len(data.images)} images of {data.images.shape[1]} px; "
            f"{len(held_out.images)} held-out pairs."
        ],
        out=args.json,
        argv=argv,
    )


if __name__ == "__main__":
    main()
