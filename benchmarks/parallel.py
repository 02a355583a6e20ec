"""What more cores save: the sharded stages by `snakemake -j2` against `snakemake -j1`.

    python -m benchmarks.parallel --images 20000 --masks 40000 --rounds 3

Each stage has a copy of the project in a temporary folder, in which it was run once. A timed run
makes all its shards; it is the whole command, with Snakemake's own start. The two settings take
turns. Before an evaluation the training is two short epochs: how long it takes to evaluate a
network does not depend on how good it is.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import yaml

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from tests.project_copy import ROOT, clone, environment
from workflow.graph import Stage, all_outputs, load_stages
from workflow.params import PARAMS_FILE

FEW = 400  # images, and masks, where it is not their stage that is timed
SHORT_TRAINING = {"epochs": 2, "first_epoch": 1, "finetune_from_epoch": 1}


def prepare(folder: Path, stage: Stage, preset: str, images: int | None, masks: int | None) -> None:
    """Make a copy of the project and run it up to a stage."""
    clone(folder, preset)
    params = yaml.safe_load((folder / PARAMS_FILE).read_text())
    params["train"] |= SHORT_TRAINING
    for section, key, count in (("augment", "images", images), ("masks", "train", masks)):
        wanted = count or params[section][key]
        params[section][key] = wanted if stage.name == section else FEW
    (folder / PARAMS_FILE).write_text(yaml.safe_dump(params, sort_keys=False))
    snakemake(folder, os.cpu_count() or 1, all_outputs(stage))


def snakemake(folder: Path, jobs: int, targets: list[str]) -> None:
    """Run Snakemake.

    Raises:
        CalledProcessError: If it fails; its output is shown.
    """
    command = ["snakemake", f"-j{jobs}", *targets]
    variables = environment(folder)
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr)
    done.check_returncode()


def seconds(folder: Path, stage: Stage, jobs: int) -> float:
    """Return how long it takes to make a stage's shards anew, so many at a time."""
    for output in stage.outputs:
        shutil.rmtree(folder / output)
    start = time.perf_counter()
    snakemake(folder, jobs, all_outputs(stage))
    return time.perf_counter() - start


def compared(folder: Path, stage: Stage, jobs: int, rounds: int) -> tuple[str, ...]:
    """Return a row: the medians of one job and of several at a time, and their ratio by pairs."""
    times: dict[int, list[float]] = {1: [], jobs: []}
    for turn in range(rounds):
        for count in (1, jobs) if turn % 2 else (jobs, 1):
            times[count].append(seconds(folder, stage, count))
    ratios = [several / one for one, several in zip(times[1], times[jobs], strict=True)]
    medians = [statistics.median(values) for values in (times[1], times[jobs], ratios)]
    words = [f"{medians[0]:.1f}", f"{medians[1]:.1f}", f"{medians[2]:.2f}"]
    return stage.name, *words, f"{min(ratios):.2f} to {max(ratios):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="sample", help="name of the preset, or its file")
    parser.add_argument("--images", type=whole, help="training images, instead of the preset's")
    parser.add_argument("--masks", type=whole, help="training masks, instead of the preset's")
    parser.add_argument("--jobs", type=partial(whole, least=2), default=2)
    parser.add_argument("--rounds", type=whole, default=5)
    add_json_option(parser)
    options = parser.parse_args()
    rows = []
    for stage in load_stages(ROOT / "dvc.yaml"):
        if not stage.shards:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder, stage, options.preset, options.images, options.masks)
            rows.append(compared(folder, stage, options.jobs, options.rounds))
    header = ("stage", "-j1, s", f"-j{options.jobs}, s", "ratio, median", "ratio, range")
    table = Table(header, rows)
    finish("benchmarks.parallel", [table], packages=["snakemake", "torch"], out=options.json)


if __name__ == "__main__":
    main()
