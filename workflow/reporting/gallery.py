"""Every figure of the report: its file, title and caption."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from pconv.images import Mask, read_mask
from pconv.resizing import fit_mask
from workflow.pairs import Pair, mask_file
from workflow.reporting import charts, pictures
from workflow.reporting.curves import read_curves
from workflow.reporting.drawing import house_style, save_figure
from workflow.reporting.examples import MIN_HOLE_SHARE, Choice, Example, Sources
from workflow.reporting.names import KIND_LABELS
from workflow.reporting.page import Shown
from workflow.reporting.summary import Summary

HERO = "hero"
TRAINING = "training"
_VISIBLE = (
    f"Holes below {MIN_HOLE_SHARE:.0%} of the picture are left out, unless all are that small."
)


@dataclass(frozen=True)
class Exhibit:
    """One figure, not yet drawn into a file."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Material:
    """What the figures are made of.

    Attributes:
        summary: The numbers.
        labels: The name of each method in the report, in its order.
        pairs: The sample.
        choice: Which pairs are shown where.
        examples: These pairs, filled, by id.
        methods: The methods the examples are filled with.
        checkpoints: Epochs whose weights are evaluated.
        sources: Where pictures come from.
        augmented: The folder of training images.
        train_masks: The folder of training masks.
    """

    summary: Summary
    labels: dict[str, str]
    pairs: list[Pair]
    choice: Choice
    examples: dict[str, Example]
    methods: list[str]
    checkpoints: list[int]
    sources: Sources
    augmented: Path
    train_masks: Path

    def chosen(self, ids: list[str]) -> list[Example]:
        """Return examples by id."""
        return [self.examples[name] for name in ids]


def draw_all(material: Material, folder: Path) -> dict[str, Shown]:
    """Draw every figure into ``folder`` and return them as the page shows them, by name."""
    shown = {}
    with house_style():
        for exhibit in _exhibits(material):
            path = folder / f"{exhibit.name}.png"
            save_figure(path, exhibit.figure)
            shown[exhibit.name] = Shown.of(path, exhibit.title, exhibit.caption)
    return shown


def _exhibits(material: Material) -> list[Exhibit]:
    return [
        _hero(material),
        *_examples(material),
        _extremes(material),
        _error(material),
        _hole_share(material),
        _curves(material),
        _masks(material),
        _augmentation(material),
    ]


def _hero(material: Material) -> Exhibit:
    judge, examples = material.choice.judge, material.chosen(material.choice.hero)
    figure = pictures.hero_figure(examples, judge)
    kinds = ", ".join(KIND_LABELS[example.pair.kind] for example in examples)
    caption = (
        f"{material.labels[judge]}. Kinds of holes from top to bottom: {kinds}. Each pair is the "
        "one whose PSNR in the hole is nearest to the median of its kind. Each shows another "
        f"photograph, if there are enough. {_VISIBLE}"
    )
    return Exhibit(HERO, "Hole, filled, truth", caption, figure)


def _examples(material: Material) -> list[Exhibit]:
    judge = material.choice.judge
    methods = [m for m in material.methods if m == judge or not m.startswith("plain-")]
    texts = {"ec": "Error concealment (the paper's Figure 7)", "or": "Object removal (Figure 8)"}
    chosen = {"ec": material.choice.ec, "or": material.choice.or_}
    caption = (
        f"Pairs spread evenly over the ranking by PSNR in the hole of "
        f"{material.labels[judge]}, best first. Each shows another "
        f"photograph, if there are enough. {_VISIBLE}"
    )
    return [
        Exhibit(
            kind,
            texts[kind],
            caption,
            pictures.fills_figure(material.chosen(ids), methods, material.labels),
        )
        for kind, ids in chosen.items()
        if ids
    ]


def _extremes(material: Material) -> Exhibit:
    examples = {name: material.chosen(ids) for name, ids in material.choice.extremes.items()}
    figure = pictures.extremes_figure(examples, material.choice.judge)
    caption = (
        f"{material.labels[material.choice.judge]}, all kinds and sizes of holes, by PSNR in the "
        "hole. Each shows another photograph, if there are enough."
    )
    return Exhibit("extremes", "Best, median and worst fills", caption, figure)


def _error(material: Material) -> Exhibit:
    example = material.examples[material.choice.error]
    figure = pictures.error_figure(example, material.methods, material.labels)
    caption = f"Pair {example.pair.id}: the fills, and below them the error of each pixel."
    return Exhibit("error", "Error map", caption, figure)


def _hole_share(material: Material) -> Exhibit:
    figure = charts.share_figure(material.summary, material.labels)
    caption = (
        "All kinds together. Bars are 95 % bootstrap intervals over photographs, where there are "
        "enough photographs. The numbers of Liu et al. are for other photographs and masks."
    )
    return Exhibit("hole_share", "PSNR against hole share", caption, figure)


def _curves(material: Material) -> Exhibit:
    figure = charts.curves_figure(read_curves(material.sources.models), material.checkpoints)
    caption = (
        "The loss terms are drawn without their weights, L_total with them. Dotted lines: the "
        "epochs whose weights are evaluated."
    )
    return Exhibit("curves", "Training", caption, figure)


def _masks(material: Material) -> Exhibit:
    found = {kind: _masks_of(material, kind) for kind in KIND_LABELS}
    found[TRAINING] = pictures.training_masks(material.train_masks)
    labels = {**KIND_LABELS, TRAINING: "Training"}
    figure = pictures.masks_figure({k: masks for k, masks in found.items() if masks}, labels)
    caption = (
        "The kinds of holes of the evaluated pairs (the paper's Figure 5 shows random walks, "
        "strokes and rectangles), and some of the training masks. Holes are black."
    )
    return Exhibit("masks", "Masks", caption, figure)


def _augmentation(material: Material) -> Exhibit:
    figure = pictures.augmentation_figure(pictures.contact_sheet(material.augmented))
    caption = "Flipped, changed in colour, resized and rotated (the paper's Figure 6)."
    return Exhibit("augmentation", "Training images", caption, figure)


def _masks_of(material: Material, kind: str) -> list[Mask]:
    chosen = [pair for pair in material.pairs if pair.kind == kind]
    # Different masks: a generated one may damage several photographs.
    different = list({pair.mask: pair for pair in chosen}.values())[: pictures.MASKS_A_KIND]
    raw, masks = material.sources.raw, material.sources.masks
    return [fit_mask(read_mask(mask_file(p, raw, masks)), p.size_px, p.place) for p in different]
