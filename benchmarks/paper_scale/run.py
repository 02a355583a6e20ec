r"""Run the stages ``augment``, ``masks``, ``train`` and ``evaluate`` on packed data, in slices.

The commands are those of ``dvc.yaml``, in a folder of their own, with neither DVC nor a network.
A slice that ran out of time exits with status 75; the same command goes on where it stopped: the
training at its step, the evaluation at its batch.

    python -m benchmarks.paper_scale.run --packed packed/ --work /tmp/paper --seconds 540 \
        --set train.kinds=[pconv] --set train.features=random --set evaluate.features=random
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.arguments import positive, whole
from pconv.atomic import atomic_folder
from pconv.errors import DataError, ParameterError
from pconv.images import read_mask
from pconv.stopping import EXIT_OUT_OF_TIME
from workflow.command import run_command
from workflow.dvc_hash import dvc_hash
from workflow.graph import Stage, load_stages
from workflow.mask_kinds import GENERATED_KINDS
from workflow.pairs import read_pairs
from workflow.params import read_params
from workflow.plain_yaml import parse_plain_yaml, read_plain_yaml

ROOT = Path(__file__).parents[2]
STAGES = ("augment", "masks", "train", "evaluate")
TIMES = "stage_times.jsonl"
PACKED = "packed.md5"  # of the data that a folder was made from
_SPARE_S = 5.0  # for a checkpoint to be written, and for a stage to end by itself


class OutOfTime(DataError):
    """A slice ended before the work did."""


def set_up(packed: Path, work: Path, changes: Sequence[str]) -> None:
    """Make the folder that the stages run in, or check that it is of the same settings.

    Args:
        packed: What `benchmarks.paper_scale.pack` left.
        work: The folder.
        changes: ``section.key=VALUE`` in YAML, over the packed parameters.

    Raises:
        ParameterError: If a change names no parameter, or the folder runs other settings.
        DataError: If the folder was made from other data.
    """
    content = read_plain_yaml(packed / "params.yaml")
    for change in changes:
        name, _, value = change.partition("=")
        section, _, key = name.partition(".")
        if key not in content.get(section, {}):
            raise ParameterError(
                f"--set {change}: {name} is no parameter; wanted section.key=VALUE"
            )
        content[section][key] = parse_plain_yaml(value, f"--set {change}")
    params = work / "params.yaml"
    if params.is_file():
        if read_plain_yaml(params) != content:
            raise ParameterError(f"{params}: of other settings; give another --work, or delete it")
        if (work / PACKED).read_text() != dvc_hash(packed / "data"):
            raise DataError(
                f"{work}: of other data than {packed}; give another --work, or delete it"
            )
        return
    with atomic_folder(work) as folder:
        shutil.copytree(packed / "data", folder / "data")
        (folder / PACKED).write_text(dvc_hash(packed / "data"))
        (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        read_params(folder / "params.yaml")


def run_stages(work: Path, names: list[str], seconds: float, shards: int | None) -> None:
    """Run the stages that are not done yet, for so many seconds at most.

    Args:
        work: What `set_up` made.
        names: The stages.
        seconds: How long.
        shards: Processes of the evaluation; none for as many as ``dvc.yaml`` says. (The shards of
            the other stages are part of their files' names.)

    Raises:
        OutOfTime: If the time was up first; the same call goes on.
        DataError: If a stage failed.
    """
    end = time.monotonic() + seconds
    # Not by their outputs: a folder of some shards is there before the rest is.
    finished = {line["stage"] for line in read_lines(work / TIMES) if line["status"] == 0}
    for stage in load_stages(ROOT / "dvc.yaml"):
        if stage.name not in names:
            continue
        if stage.name == "evaluate" and shards:
            stage = _in_shards(stage, shards)
        if stage.name not in finished:
            _run(stage, work, end - time.monotonic())
        if stage.name == "masks":  # of an earlier slice too: what it refused stays refused
            check_masks(work)


def check_masks(work: Path) -> None:
    """Check that the validation masks made here are those that the pairs were drawn with.

    Raises:
        DataError: If one differs in its hole share: another version of OpenCV, say.
    """
    for pair in read_pairs(work / "data/sample.csv"):
        if pair.kind in GENERATED_KINDS:
            path = work / "data/masks/valid" / pair.mask
            share = float(np.mean(~read_mask(path)))
            if share != pair.hole_share:
                raise DataError(
                    f"{path}: {share} of it is hole, but the pairs were drawn with a mask of "
                    f"{pair.hole_share}; pack and run with the same versions"
                )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one a line; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _in_shards(stage: Stage, count: int) -> Stage:
    command = stage.command.replace(f"--shards {stage.shards}", f"--shards {count}")
    return replace(stage, command=command, shards=count)


def _run(stage: Stage, work: Path, seconds: float) -> None:
    """Run one stage, stop it when the time is up, and note how long it took."""
    if seconds <= 2 * _SPARE_S:
        raise OutOfTime(f"not finished: no time left for {stage.name}; run the same command again")
    command = shlex.split(stage.command)
    if stage.name == "train":
        command += ["--stop-after-s", f"{seconds - 2 * _SPARE_S:.0f}"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=work, env=environment)
    try:
        status = process.wait(seconds - _SPARE_S)
    except subprocess.TimeoutExpired:
        status = EXIT_OUT_OF_TIME
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    line = {"stage": stage.name, "seconds": time.monotonic() - started, "status": status}
    with (work / TIMES).open("a") as file:
        file.write(json.dumps(line) + "\n")
    if status == EXIT_OUT_OF_TIME:
        raise OutOfTime(f"not finished: {stage.name} ran out of time; run the same command again")
    if status:
        raise DataError(f"{stage.name}: exit status {status}; its message stands above")


def main() -> None:
    """Parse the command line and run a slice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packed", type=Path, required=True, help="what pack left")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--seconds", type=positive, default=540.0, help="end this slice after so long"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--shards", type=whole, help="processes of the evaluation")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    set_up(args.packed, args.work, args.set)
    # A slice that is told to end takes its stage along, which else would go on alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_OUT_OF_TIME))
    try:
        run_stages(args.work, args.stages, args.seconds, args.shards)
    except OutOfTime as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_OUT_OF_TIME)


if __name__ == "__main__":
    run_command(main)
