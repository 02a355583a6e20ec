"""The sentences of the report that depend on its numbers."""

from workflow.networks import CHECKPOINTS
from workflow.reporting.evaluation import IDENTICAL_DB, Evaluation
from workflow.reporting.names import ALL, GROUP_LABELS, GROUPS
from workflow.reporting.statistics import MIN_PHOTOS
from workflow.reporting.summary import Summary, most_pairs

DEFINITIONS = (
    "PSNR and SSIM are computed on values from 0 to 255, L1 on values from 0 to 1. SSIM's window "
    "is a Gaussian with a standard deviation of 1.5 pixels, cut off after 5. SSIM in the hole is "
    "the mean over the windows centred on the hole's pixels; these windows contain known pixels "
    "too. In and around the hole means the hole and all pixels within 16 pixels of it."
)
_VGG_TERMS = ("perceptual", "style", "total")
_MAIN_GROUPS = ("ec_or", "walk", "strokes", "rectangles")


def lead_sentences(
    evaluation: Evaluation, summary: Summary, labels: dict[str, str], size_px: str
) -> list[str]:
    """Return what was measured on what, and on how many pairs."""
    kinds = evaluation.facts["kind"]
    counts = {group: int(kinds.isin(GROUPS[group]).sum()) for group in _MAIN_GROUPS}
    pairs = ", ".join(f"{n} of {GROUP_LABELS[group]}" for group, n in counts.items() if n)
    photos = evaluation.facts["photo"].nunique()
    return [
        f"Measured on {photos} photographs at {size_px}. Pairs of photograph and hole: {pairs}. "
        "All numbers except the loss terms are computed on 8-bit composites, whose known pixels "
        "are the photograph's own.",
        *_subsamples(summary, labels),
        *_identical(evaluation, labels),
    ]


def features_sentence(evaluation: Evaluation, summary: Summary) -> str:
    """Return which VGG-16 features the perceptual and style terms were taken with."""
    if not set(_VGG_TERMS) & set(summary.metrics):
        return "The perceptual and style terms, and therefore L_total, were not computed."
    outputs = (
        "For a network, L_perceptual, L_style and L_total are computed on its raw output and on "
        "the composite, as in training; the output of any other method is its composite. They "
        "therefore compare networks with networks only. To compare all methods, use the terms of "
        "the composite."
    )
    return f"{_which_features(evaluation.features)} {outputs}"


def phase_sentences(about: dict[str, dict[str, str]]) -> list[str]:
    """Return what lies between two epochs compared, if it is more than training.

    Args:
        about: What the header of every weights file says, by method.
    """
    first, last = (about.get(f"pconv-{end}", {}) for end in CHECKPOINTS)
    if not {"epoch", "finetune_from_epoch"} <= first.keys() & last.keys():
        return []
    start = int(last["finetune_from_epoch"])
    if not int(first["epoch"]) <= start < int(last["epoch"]):
        return []
    return [
        f"Epoch {first['epoch']} is before the second phase, which begins after epoch {start} and "
        f"has its own learning rate and frozen batch norms. Epoch {last['epoch']} therefore "
        "differs from it by more than the length of the training."
    ]


def interval_sentence(evaluation: Evaluation) -> str:
    """Return what the numbers in brackets are, or why there are none."""
    photos = evaluation.facts["photo"].nunique()
    if photos < MIN_PHOTOS:
        return (
            f"There are no intervals, because a bootstrap over fewer than {MIN_PHOTOS} photographs "
            f"(here {photos}) would make them too narrow."
        )
    return (
        "The brackets hold the 95 % interval of a bootstrap over photographs, for means over at "
        f"least {MIN_PHOTOS} photographs. The pairs of one photograph are not independent, so "
        "photographs are drawn, each with all its pairs. With 10 to 20 photographs, 93 of 100 such "
        "intervals or more contain the true mean; for skewed numbers such as L_style it is 85 to "
        "89. An interval says how far the mean of these weights would move on other photographs. "
        "It does not say how far another training seed would move it."
    )


def _which_features(features: str) -> str:
    start = "L_perceptual and L_style use VGG-16 features"
    known = {
        "": f"{start}; the evaluation does not say which.",
        "imagenet": f"{start} of torchvision's ImageNet weights (features: imagenet).",
        "random": f"{start} of a seeded random network (features: random), so L_perceptual, "
        "L_style and L_total can't be compared with the paper's.",
    }
    return known.get(features, f"{start} of the file {features}.")


def _subsamples(summary: Summary, labels: dict[str, str]) -> list[str]:
    """Name the methods and terms that were taken on fewer pairs than the others."""
    found = summary.pick(ALL)
    filled = {method: most_pairs(found, method) for method in labels}
    most = max(filled.values())
    vgg = {m: found[m, "total"].pairs if (m, "total") in found else 0 for m in labels}
    fewer = {method: n for method, n in filled.items() if n < most}
    sentences = []
    if fewer:
        sentences.append(
            f"Slow methods are measured on fewer pairs, drawn the same way: "
            f"{_by_count(fewer, labels)} of {most}."
        )
    if any(0 < n < filled[method] for method, n in vgg.items()):
        sentences.append(
            "L_perceptual, L_style and L_total are computed on fewer pairs, drawn the same way: "
            f"{_by_count({m: n for m, n in vgg.items() if n}, labels)} of {most}."
        )
    return sentences


def _by_count(counts: dict[str, int], labels: dict[str, str]) -> str:
    """Name methods with their number of pairs, those with the same number together."""
    groups: dict[int, list[str]] = {}
    for method, count in counts.items():
        groups.setdefault(count, []).append(labels[method])
    return "; ".join(f"{' / '.join(names)}: {count}" for count, names in groups.items())


def _identical(evaluation: Evaluation, labels: dict[str, str]) -> list[str]:
    if not evaluation.identical:
        return []
    counts = ", ".join(f"{labels[m]} {n}" for m, n in evaluation.identical.items())
    return [
        f"A fill that equals the truth in every pixel of the hole has an infinite PSNR and counts "
        f"as {IDENTICAL_DB:.0f} dB ({counts})."
    ]
