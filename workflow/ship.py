r"""Make the weights that ship: half precision, small enough for git, with a model card.

    python -m workflow.ship --photos downloads/permissive/photos.tsv --out weights/ \
        --command "make use PRESET=shipped" --command "make repro"

Run it in the project that trained them, after its report: the card's table is that report's. What
half precision changes is measured on the drawn pairs, with both files, and stands on the card.
"""

import argparse
import csv
import shutil
import sys
import tempfile
from collections import Counter
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
from workflow.command import run_command
from workflow.fills import fill_pairs, masks_01
from workflow.licensed import PHOTOS_TABLE
from workflow.networks import weights_file
from workflow.pairs import KINDS, Pair, load_pair, read_pairs
from workflow.params import read_params
from workflow.reporting.brief import KINDS_LEGEND, hole_psnr_table
from workflow.run_files import LOSS_WEIGHT

MAX_BYTES = 20_000_000
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


def ship(
    project: Project,
    photos: Path,
    out: Path,
    commands: Sequence[str],
    limits: Sequence[str] = (),
) -> None:
    """Write the weights, their card and the table of their training photographs.

    Args:
        project: Where they were trained and measured.
        photos: The table of training photographs that `workflow.licensed` wrote.
        out: The folder to make.
        commands: How they were trained, for the card.
        limits: What was seen to go wrong, for the card.

    Raises:
        WeightsError: If they are larger than 20 MB.
        DataError: If something is missing.
    """
    source = _trained(project)
    about = read_about(source)
    with atomic_folder(out) as folder:
        shipped = folder / SHIPPED_NAME
        save_weights(shipped, load_weights(source), about, torch.float16)
        size = shipped.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(
                f"{source}: {size / 1e6:.1f} MB in half precision, more than "
                f"{MAX_BYTES / 1e6:.0f}; train a narrower network (train.width)"
            )
        shutil.copyfile(photos, folder / PHOTOS_TABLE)
        change = largest_change_db(project, shipped)
        card = model_card(project, about, licences(photos), change, size, commands, limits)
        (folder / "README.md").write_text(card, encoding="utf-8")


def licences(photos: Path) -> Counter[str]:
    """Count the photographs by what their table says of the licence.

    Raises:
        DataError: If the table can't be read.
    """
    try:
        with photos.open(newline="", encoding="utf-8") as file:
            notes = [row["licence_note"] for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(
            f"{photos}: not the table that workflow.licensed writes: {error}"
        ) from error
    # "CC BY 2.0 (where that was seen)": the place is in the table, the card counts licences.
    return Counter(note.split(" (")[0] for note in notes)


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
        target = weights_file(_METHOD, models)
        target.parent.mkdir()
        shutil.copyfile(half, target)
        changed = _hole_psnr(project, models, pairs)
    as_trained = _hole_psnr(project, project.models, pairs)
    return max(abs(changed[kind] - as_trained[kind]) for kind in as_trained)


def _trained(project: Project) -> Path:
    return weights_file(_METHOD, project.models)


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


def model_card(
    project: Project,
    about: dict[str, str],
    counts: Counter[str],
    change_db: float | None,
    size: int,
    commands: Sequence[str],
    limits: Sequence[str] = (),
) -> str:
    """Return the card of the shipped weights."""
    network = load_weights(_trained(project))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    masks = read_params(project.params).masks
    rows = f"Figure 4 at width {about['width']} with {about['levels']} levels"
    if network.mask_channel:
        rows += " and the mask as one more channel"
    side = about["size_px"]
    pairs = len(read_pairs(project.sample))
    listed = "\n".join(f"- {name}: {count}" for name, count in counts.most_common())
    command_lines = "\n".join(f"    {command}" for command in commands)
    measured = (
        "of these very weights"
        if change_db is None
        else "of the weights as trained; half precision changes no kind's mean by more than "
        f"{max(change_db, 0.0005):.4f} dB"
    )
    began = about.get("initial_weights", "None")
    begun = "" if began == "None" else f", begun with the weights in `{began}`"
    seen = "".join(f"- {limit}\n" for limit in limits)
    alike = sum(count for name, count in counts.items() if "-SA" in name)
    share_alike = (
        f"\n{alike} of the photographs ask that adaptations be shared alike. Whether weights count "
        "as an\nadaptation is not settled; if you need certainty, train without these photographs."
        if alike
        else ""
    )
    return f"""# The weights that ship

`{SHIPPED_NAME}` is what `pconv fill` and `pconv.inpaint` use when no other weights are named. It is
a partial-convolution U-Net ({rows};
{parameters / 1e6:.2f} million parameters) in half precision, {size / 1e6:.1f} MB; it computes in
float32.

## Data and licences

{sum(counts.values())} photographs. `{PHOTOS_TABLE}` names for each where it was found, its page if
one is known, and its licence as stated there; authors are not listed:

{listed}

No photograph of the measured pairs was trained on. The weights are under the project's licence,
Apache-2.0.{share_alike}

## Training

After `source .venv/bin/activate`:

{command_lines}
    python -m workflow.ship --photos downloads/permissive/photos.tsv --out weights/

{about["epochs"]} epochs at {side}x{side}, batches of {about["batch_size"]}, seed
{about["seed"]}{begun}; `pconv info weights/{SHIPPED_NAME}` prints the
numbers of network and training, from the file's own header; those of the data are in the preset.
The run's fingerprint is
`{about["fingerprint"]}`.

{losses(about)}

## What it reaches

Mean PSNR inside the hole in dB, on {pairs} pairs of hole and photograph at {side}x{side},
{measured}. The mean of four flips is what `pconv fill --mirror` makes.

{hole_psnr_table(project.metrics, project.models)}

{KINDS_LEGEND}

## Limits

- It has seen holes of {masks.hole_share_min:.0%} to {masks.hole_share_max:.0%} of the picture, of
  the kinds {", ".join(masks.kinds)}. Larger holes are filled with blurred colour.
- It was trained at {side}x{side}; larger photographs are filled in windows of that size. What lies
  further from the hole helps only in thick holes, whose middle is filled at reduced size first and
  so has less detail.
- How it is trained was chosen by held-out pairs of the photographs it is measured on here, so its
  numbers are a little too good; the classical methods run with fixed settings.
- It continues colours and edges. It invents no objects, faces or text.
- A hole's edge must be exact: pixels that are called known are kept, wrong or not.
{seen}"""


def losses(about: dict[str, str]) -> str:
    """Return what a network was trained to make small, from the header of its weights."""
    weights = {
        name.removeprefix(LOSS_WEIGHT): float(word)
        for name, word in about.items()
        if name.startswith(LOSS_WEIGHT)
    }
    terms = [f"{name} {weight:g}" for name, weight in sorted(weights.items()) if weight]
    words = f"Losses and their weights: {', '.join(terms)}."
    if weights.get("perceptual") or weights.get("style"):
        return words
    return (
        f"{words} No term looks at VGG-16's features: that\nserves PSNR, the measure below, and "
        "costs texture."
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights that ship, and their card.")
    parser.add_argument("--photos", type=Path, required=True, help="table of the training photos")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--command", action="append", default=[], help="how they were trained")
    parser.add_argument("--limit", action="append", default=[], help="what was seen to go wrong")
    options = parser.parse_args()
    ship(Project(), options.photos, options.out, options.command, options.limit)
    sys.stdout.write(f"{options.out}: weights, card and table of photographs\n")


if __name__ == "__main__":
    run_command(_main)
