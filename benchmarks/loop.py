"""What the training loop itself costs: images a second, and the share spent waiting for data.

Trains on random pictures with the settings of a preset, through the same `pconv.training.train` as
the pipeline. An epoch's time is that of its steps; validation, checkpoint and log come after it.
The first epoch, in which kernels are compiled, is shown by itself.

    python -m benchmarks.loop --device cuda --preset presets/paper.yaml --images 3200 --epochs 4
"""

import argparse
import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from pconv.dataset import ImageSet
from pconv.plan import TrainingPlan
from pconv.ranks import open_ranks
from pconv.training import train
from workflow.params import read_params
from workflow.stages.train import plan_of

HEADING = ("epoch", "seconds", "images/s", "waiting for data")


def plan(args: argparse.Namespace) -> TrainingPlan:
    """Return the preset's plan of our network, shortened."""
    wanted = plan_of(read_params(args.preset).train, "pconv")
    return replace(
        wanted,
        epochs=args.epochs,
        first_epoch=args.epochs,
        finetune_from_epoch=args.epochs,
        features="random",
        batch_size=args.batch or wanted.batch_size,
        compile=wanted.compile and not args.eager,
    )


def pictures(count: int, side: int) -> ImageSet:
    """Draw pictures and masks; what is in them does not change how long a step takes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet(images, rng.random((count, side, side)) > 0.2)


def main(argv: list[str] | None = None) -> None:
    """Train for a few epochs and print how long each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", type=Path, default=Path("presets/paper.yaml"))
    parser.add_argument("--images", type=whole, default=3200)
    parser.add_argument("--epochs", type=whole, default=4)
    parser.add_argument("--batch", type=whole, help="default: the preset's")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    add_json_option(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    side = read_params(args.preset).augment.size_px
    data, held_out = pictures(args.images, side), pictures(16, side)
    with tempfile.TemporaryDirectory() as folder:
        train(plan(args), data, held_out, Path(folder), open_ranks(args.device))
        lines = (Path(folder) / "timing.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    rows = [
        (
            f"{record['epoch']:.0f}",
            f"{record['seconds']:.2f}",
            f"{record['images_per_s']:.1f}",
            f"{100 * record['wait_share']:.2f} %",
        )
        for record in records
    ]
    finish(
        "benchmarks.loop",
        [Table(HEADING, rows)],
        packages=["torch"],
        notes=[f"{args.images} images of {side} px, batch {plan(args).batch_size}."],
        out=args.json,
        argv=argv,
    )


if __name__ == "__main__":
    main()
