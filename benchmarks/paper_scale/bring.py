r"""Put what a run left into a few small files, to be brought back.

    python -m benchmarks.paper_scale.bring --work /tmp/paper --out brought/
    python -m benchmarks.paper_scale.bring --work /tmp/paper --out brought/ --weights pconv-last

The first call leaves ``results-KINDS.tar.gz``: the measured pairs, the logs, the times, what the
weights say of themselves and what the machine was. The second leaves one network's weights in half
precision, in numbered parts.
"""

import argparse
import json
import tarfile
import tempfile
from pathlib import Path

import torch

from pconv.atomic import atomic_file
from pconv.errors import DataError
from pconv.weights import load_weights, save_weights
from pconv.weights_header import read_about
from workflow.command import run_command
from workflow.networks import network_file
from workflow.reporting.provenance import hardware, header_file, versions

PART_BYTES = 16_000_000
MACHINE = "machine.json"
ARCHIVE = "results-"  # begins the name of a run's archive
_RESULTS = (
    "params.yaml",
    "stage_times.jsonl",
    MACHINE,
    "data/evaluation/*/pairs.csv",
    "models/*/log.jsonl",
    "models/*/*.header.json",
    "checkpoints/*/timing.jsonl",
)


def bring_results(work: Path, out: Path) -> Path:
    """Write everything but the weights' values into one archive, and return it.

    Raises:
        DataError: If the run has left no weights yet.
    """
    kinds = sorted(path.parent.name for path in work.glob("models/*/log.jsonl"))
    if not kinds:
        raise DataError(f"{work}: nothing trained yet; run the same slice again")
    facts = hardware() | versions()
    (work / MACHINE).write_text(json.dumps(facts, indent=1) + "\n")
    for weights in work.glob("models/*/*.safetensors"):
        header_file(weights).write_text(json.dumps(read_about(weights), indent=1) + "\n")
    archive = out / f"{ARCHIVE}{'-'.join(kinds)}.tar.gz"
    with atomic_file(archive) as partial, tarfile.open(partial, "w:gz") as tar:
        for pattern in _RESULTS:
            for path in sorted(work.glob(pattern)):
                tar.add(path, path.relative_to(work).as_posix())
    return archive


def bring_weights(work: Path, out: Path, method: str) -> list[Path]:
    """Write a network's weights in half precision, in parts, and return these.

    Args:
        work: Folder of the run.
        out: Where to.
        method: ``pconv-last`` or its like.
    """
    source = network_file(method, work / "models")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "half.safetensors"
        save_weights(whole, load_weights(source), read_about(source), torch.float16)
        data = whole.read_bytes()
    starts = range(0, len(data), PART_BYTES)
    parts = [out / f"{method}.safetensors.{number:03d}" for number in range(len(starts))]
    for part, start in zip(parts, starts, strict=True):
        part.write_bytes(data[start : start + PART_BYTES])
    return parts


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="where to")
    parser.add_argument("--weights", help="only this network's weights, such as pconv-last")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.weights:
        made = bring_weights(args.work, args.out, args.weights)
    else:
        made = [bring_results(args.work, args.out)]
    for path in made:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    run_command(main)
