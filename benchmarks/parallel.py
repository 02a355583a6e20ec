"""What more cores save: the sharded stages by `snakemake -j2` against `snakemake -j1`.

    python -m benchmarks.parallel --preset sample --rounds 5

Works on a copy of the project in a temporary folder, whose training is cut to two epochs: how long
an evaluation takes does not depend on how good the network is. A timed run makes all shards of one
stage; it is the whole command, with Snakemake's own start. The two settings take turns.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.record import Table, add_json_option, finish
from tests.project_copy import clone, environment
from workflow.graph import Stage, all_outputs, load_stages
from workflow.params import PARAMS_FILE

SHORT_TRAINING = {"epochs": 2, "first_epoch": 1, "finetune_from_epoch": 1}


def prepare(folder: Path, preset: str, images: int | None, masks: int | None) -> None:
    """Make a copy of the project and run the whole pipeline in it once."""
    clone(folder, preset)
    params = yaml.safe_load((folder / PARAMS_FILE).read_text())
    params["train"] |= SHORT_TRAINING
    params["augment"]["images"] = images or params["augment"]["images"]
    params["masks"]["train"] = masks or params["masks"]["train"]
    (folder / PARAMS_FILE).write_text(yaml.safe_dump(params, sort_keys=False))
    snakemake(folder, os.cpu_count() or 1, ["evaluate"])


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="sample", help="name of the preset, or its file")
    parser.add_argument("--images", type=int, help="training images, instead of the preset's")
    parser.add_argument("--masks", type=int, help="training masks, instead of the preset's")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    add_json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.preset, options.images, options.masks)
        stages = [stage for stage in load_stages(folder / "dvc.yaml") if stage.shards]
        rows = [compared(folder, stage, options.jobs, options.rounds) for stage in stages]
    header = ("stage", "-j1, s", f"-j{options.jobs}, s", "ratio, median", "ratio, range")
    table = Table(header, rows)
    finish("benchmarks.parallel", [table], packages=["snakemake", "torch"], out=options.json)


if __name__ == "__main__":
    main()
