"""Make the weights that ship: half precision, small enough for git, with a model card.

    python -m workflow.ship --photos downloads/permissive/photos.tsv --out weights/

Run it in the project that trained them, after its report: the numbers of the card are that
report's. What half precision changes is measured on the drawn pairs, with both files, and stands on
the card. What people wrote on a card that is there already, between its places, stays.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pconv.atomic import atomic_folder
from pconv.errors import DataError, WeightsError
from pconv.metrics import image_metrics
from pconv.weights import load_weights, save_weights
from pconv.weights_header import read_about
from pconv.weights_source import SHIPPED_NAME
from workflow.card import (
    NEW_CARD,
    card_with,
    limits_part,
    network_part,
    photographs_part,
    results_part,
    training_part,
)
from workflow.command import run_command
from workflow.fills import fill_pairs, masks_01
from workflow.licensed import PHOTOS_TABLE
from workflow.mask_kinds import KINDS
from workflow.networks import network_file
from workflow.pairs import Pair, load_pair, read_pairs
from workflow.params import read_params
from workflow.run_files import is_report_of
from workflow.sections import MasksParams

MAX_BYTES = 20_000_000
CARD = "README.md"
_METHOD = "pconv-last"
_BATCH = 8


@dataclass(frozen=True)
class Project:
    """The files of a finished pipeline that the card is made from."""

    params: Path = Path("params.yaml")
    models: Path = Path("models")
    metrics: Path = Path("reports/metrics.json")
    sample: Path = Path("data/sample.csv")
    raw: Path = Path("data/raw")
    masks: Path = Path("data/masks/valid")


def ship(project: Project, photos: Path, out: Path) -> None:
    """Write the weights, their card and the table of their training photographs.

    Args:
        project: Where they were trained and measured.
        photos: The table of training photographs that `workflow.licensed` wrote.
        out: The folder to make; of one that is there only the card's prose is kept.

    Raises:
        WeightsError: If they are larger than 20 MB.
        DataError: If something is missing, the report is of other networks or pairs, or the card
            in ``out`` has other places.
    """
    page = project.metrics.with_name("index.html")
    if not is_report_of(page, [project.models, project.sample]):
        raise DataError(
            f"{page}: not a report of the networks in {project.models} on the pairs in "
            f"{project.sample}; run the stages evaluate and report, then this again"
        )
    source = _trained(project)
    about = read_about(source)
    card = out / CARD if (out / CARD).is_file() else NEW_CARD
    with atomic_folder(out) as folder:
        shipped, table = folder / SHIPPED_NAME, folder / PHOTOS_TABLE
        save_weights(shipped, load_weights(source), about, torch.float16)
        size = shipped.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(
                f"{source}: {size / 1e6:.1f} MB in half precision, more than "
                f"{MAX_BYTES / 1e6:.0f}; train a narrower network (train.width)"
            )
        shutil.copyfile(photos, table)
        parts = about_weights(shipped, table, read_params(project.params).masks) | {
            "results": results_part(
                project.metrics,
                project.models,
                pairs=len(read_pairs(project.sample)),
                side=about["size_px"],
                change_db=largest_change_db(project, shipped),
            )
        }
        (folder / CARD).write_text(
            card_with(card.read_text(encoding="utf-8"), parts), encoding="utf-8"
        )


def about_weights(weights: Path, photos: Path, masks: MasksParams) -> dict[str, str]:
    """Return the parts of the card that need no measurement, by the names of their places.

    Args:
        weights: The weights that ship.
        photos: The table of their training photographs.
        masks: What the masks of their training were like.

    Raises:
        DataError: If the table can't be read.
    """
    about = read_about(weights)
    return {
        "network": network_part(load_weights(weights), weights.stat().st_size),
        "photographs": photographs_part(photos),
        "training": training_part(about),
        "limits": limits_part(about, masks),
    }


def largest_change_db(project: Project, half: Path) -> float | None:
    """Return by how much half precision changes a kind's mean PSNR in the hole, at most, in dB.

    None if the weights came here in half precision, so that what was measured is what ships.
    """
    states = [load_weights(path).state_dict() for path in (half, _trained(project))]
    if all(torch.equal(states[0][name], value) for name, value in states[1].items()):
        return None
    pairs = read_pairs(project.sample)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        target = network_file(_METHOD, models)
        target.parent.mkdir()
        shutil.copyfile(half, target)
        changed = _hole_psnr(project, models, pairs)
    as_trained = _hole_psnr(project, project.models, pairs)
    return max(abs(changed[kind] - as_trained[kind]) for kind in as_trained)


def _trained(project: Project) -> Path:
    return network_file(_METHOD, project.models)


def _hole_psnr(project: Project, models: Path, pairs: Sequence[Pair]) -> dict[str, float]:
    values: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for start in range(0, len(pairs), _BATCH):
        some = pairs[start : start + _BATCH]
        loaded = [load_pair(pair, project.raw, project.masks) for pair in some]
        images, masks = (np.stack(part) for part in zip(*loaded, strict=True))
        filled = fill_pairs(_METHOD, models, images, masks)
        made, truth = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in (filled, images))
        measured = image_metrics(made, truth, masks_01(masks))["psnr_hole"]
        for pair, value in zip(some, measured.reshape(-1).tolist(), strict=True):
            values[pair.kind].append(value)
    return {kind: float(np.mean(found)) for kind, found in values.items() if found}


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights that ship, and their card.")
    parser.add_argument("--photos", type=Path, required=True, help="table of the training photos")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="of their training, where they were measured by another",
    )
    options = parser.parse_args()
    ship(Project(params=options.params), options.photos, options.out)
    sys.stdout.write(f"{options.out}: weights, card and table of photographs\n")


if __name__ == "__main__":
    run_command(_main)
