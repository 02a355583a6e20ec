"""The parts of a model card that are made from weights, photographs and measurements.

They stand in the card's places (`workflow.places`, ``<!-- card: NAME -->``) between prose that
people write: how it was trained, what was seen to go wrong.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pconv.errors import DataError
from pconv.method_names import CLASSICAL
from pconv.unet import UNet
from workflow.mask_kinds import KINDS
from workflow.networks import MIRRORED
from workflow.places import places, with_places_filled
from workflow.reporting.brief import KINDS_LEGEND, hole_psnr_table
from workflow.reporting.names import ALL, OURS
from workflow.run_files import LOSS_WEIGHT
from workflow.sections import MasksParams

MARKER = "card"
NEW_CARD = Path(__file__).with_name("weights_card.md")


def card_with(page: str, parts: Mapping[str, str]) -> str:
    """Return a card with its places filled.

    Raises:
        DataError: If the card has a place for something else, or lacks one.
    """
    if sorted(places(page, MARKER)) != sorted(parts):
        raise DataError(
            f"the model card has places for {', '.join(places(page, MARKER)) or 'nothing'}; wanted "
            f"one `<!-- {MARKER}: NAME -->` to `<!-- end -->` for each of {', '.join(parts)}, as "
            f"{NEW_CARD.name} has them"
        )
    return with_places_filled(page, MARKER, parts.__getitem__)


def network_part(network: UNet, size: int) -> str:
    """Return what network it is, and how large its file of ``size`` bytes."""
    sizes = network.hyperparameters()
    shape = f"Figure 4 at width {sizes['width']} with {sizes['levels']} levels"
    if network.mask_channel:
        shape += " and the mask as one more channel"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"A partial-convolution U-Net ({shape};\n{parameters / 1e6:.2f} million parameters) in "
        f"half precision, {size / 1e6:.1f} MB; it computes in float32."
    )


def photographs_part(photos: Path) -> str:
    """Return how many photographs were trained on, under which licences.

    Args:
        photos: The table of photographs that `workflow.licensed` wrote.

    Raises:
        DataError: If the table can't be read.
    """
    counts = licences(photos)
    lines = [
        f"{counts.total()} photographs. `{photos.name}` names for each where it was found, its "
        "page if one is\nknown, and its licence as stated there; authors are not listed:\n",
        *(f"- {name}: {count}" for name, count in counts.most_common()),
    ]
    if alike := sum(count for name, count in counts.items() if "-SA" in name):
        lines.append(
            f"\n{alike} of the photographs ask that adaptations be shared alike. Whether weights "
            "count as an\nadaptation is not settled; if you need certainty, train without these "
            "photographs."
        )
    return "\n".join(lines)


def licences(photos: Path) -> Counter[str]:
    """Count the photographs by what their table says of the licence.

    Raises:
        DataError: If the table can't be read.
    """
    try:
        with photos.open(newline="", encoding="utf-8") as file:
            notes = [row["licence_note"] for row in csv.DictReader(file, delimiter="\t")]
        if None in notes:
            raise csv.Error("a row ends before its licence")
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(
            f"{photos}: not the table that workflow.licensed writes: {error}"
        ) from error
    # "CC BY 2.0 (where that was seen)": the place is in the table, the card counts licences.
    return Counter(note.split(" (")[0] for note in notes)


def training_part(about: Mapping[str, str]) -> str:
    """Return what the header of the weights says of their training."""
    side = about["size_px"]
    begun = about.get("initial_weights", "None")
    start = "" if begun == "None" else f", begun with the weights in `{begun}`"
    return (
        f"The file's header says: {about['epochs']} epochs at {side}x{side}, batches of "
        f"{about['batch_size']}, seed {about['seed']}{start};\nfingerprint "
        f"`{about['fingerprint']}`. `pconv info` prints all of it.\n\n{losses(about)}"
    )


def losses(about: Mapping[str, str]) -> str:
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


def results_part(
    metrics: Path, models: Path, *, pairs: int, side: str, change_db: float | None
) -> str:
    """Return the table of what the weights reach, and how far ahead of other methods that is.

    Args:
        metrics: ``metrics.json`` of a report.
        models: The networks it is of.
        pairs: How many pairs were measured.
        side: Side of their pictures in pixels.
        change_db: What half precision changed of a kind's mean, at most; None if what was measured
            is what ships.

    Raises:
        DataError: If there is no report yet.
    """
    measured = (
        "of these very weights"
        if change_db is None
        else "of the weights as trained; half precision changes no kind's mean by more than "
        f"{max(change_db, 0.0005):.4f} dB"
    )
    table = hole_psnr_table(metrics, models)
    of_methods = json.loads(metrics.read_text(encoding="utf-8"))
    if any(method.endswith(MIRRORED) for method in of_methods):
        measured += ". The mean of four flips is what `pconv fill --mirror` makes"
    return (
        f"Mean PSNR inside the hole in dB, on {pairs} pairs of hole and photograph at "
        f"{side}x{side},\n{measured}.\n\n{table}\n\n{KINDS_LEGEND}\n\n{lead(of_methods)}"
    )


def lead(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return how far ahead of the best method without a network ours is; behind is negative.

    Args:
        measured: ``metrics.json`` of a report: method, kind of masks, metric.
    """
    ours = measured[OURS]
    # A method that was measured on a few of the pairs is not held against all of them.
    others = {
        title: measured[method]
        for method, title in CLASSICAL.items()
        if method in measured and measured[method][ALL]["pairs"] == ours[ALL]["pairs"]
    }
    if not others:
        return "No method without learning was measured on the same pairs."

    def beside(kind: str) -> tuple[float, str]:
        best = max(others, key=lambda title: others[title][kind]["psnr_hole"])
        return ours[kind]["psnr_hole"] - others[best][kind]["psnr_hole"], best

    over_all, best = beside(ALL)
    by_kind = sorted((*beside(kind), kind) for kind in KINDS if kind in ours)
    least, most = (
        f"{by:+.2f} dB ({kind}, {title})" for by, title, kind in (by_kind[0], by_kind[-1])
    )
    return (
        f"Compared with the best method without learning that is {over_all:+.2f} dB over all pairs "
        f"({best}),\nand by kind of hole from {least} to {most}."
    )


def limits_part(about: Mapping[str, str], masks: MasksParams) -> str:
    """Return the limits that follow from what was trained on."""
    side = about["size_px"]
    return (
        f"- It has seen holes of {masks.hole_share_min:.0%} to {masks.hole_share_max:.0%} of the "
        f"picture, of the kinds {', '.join(masks.kinds)}.\n  Larger holes are filled with blurred "
        f"colour.\n- It was trained at {side}x{side}; larger photographs are filled in windows of "
        "that size. What lies\n  further from the hole helps only in thick holes, whose middle is "
        "filled at reduced size first and\n  so has less detail."
    )
