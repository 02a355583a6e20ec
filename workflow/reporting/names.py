"""The report's vocabulary: metrics, methods, kinds of holes and buckets of hole share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from pconv.method_names import CLASSICAL
from workflow.networks import CHECKPOINTS, MIRRORED, NETWORKS, is_network

DECIBEL = "dB"


@dataclass(frozen=True)
class Metric:
    """A column of the evaluation table.

    Attributes:
        column: Its name in the evaluation table and in ``metrics.json``.
        label: Its name in the report.
        better: "higher", "lower", or "" where neither end is the better one.
        unit: "dB" where identical pictures give infinity, else "".
    """

    column: str
    label: str
    better: str
    unit: str = ""


METRICS = (
    # The rows of the paper's Table 2. A smooth picture has a low total variation, and so has a
    # blurred one: neither end is better.
    Metric("tv", "L_TV", ""),
    # A network's are of its raw output beside the composite; other methods put out composites only.
    # So neither end is better across a row; of the composites alone, the lower one is.
    Metric("perceptual", "L_perceptual", ""),
    Metric("style", "L_style", ""),
    Metric("total", "L_total", ""),
    Metric("perceptual_composite", "L_perceptual of the composite", "lower"),
    Metric("style_composite", "L_style of the composite", "lower"),
    Metric("psnr", "PSNR (dB)", "higher", DECIBEL),
    Metric("ssim", "SSIM", "higher"),
    Metric("l1", "L1", "lower"),
    Metric("psnr_hole", "PSNR in the hole (dB)", "higher", DECIBEL),
    Metric("ssim_hole", "SSIM in the hole", "higher"),
    Metric("l1_hole", "L1 in the hole", "lower"),
    Metric("psnr_around", "PSNR in and around the hole (dB)", "higher", DECIBEL),
    Metric("ssim_around", "SSIM in and around the hole", "higher"),
    Metric("l1_around", "L1 in and around the hole", "lower"),
    Metric("psnr_paper", "PSNR, the paper's way (dB)", "higher", DECIBEL),
    Metric("ssim_paper", "SSIM, the paper's way", "higher"),
    Metric("valid", "L_valid", ""),
    Metric("hole", "L_hole", "lower"),
)
METRIC_OF = {metric.column: metric for metric in METRICS}

NETWORK_LABELS = {"pconv": "PConv", "plain": "Plain convolution"}
_ENDS = (*CHECKPOINTS, f"{CHECKPOINTS[-1]}{MIRRORED}")
METHODS = (*(f"{network}-{end}" for network in NETWORKS for end in _ENDS), *CLASSICAL)
OURS = "pconv-last"
SHOWN_BESIDE = ("plain-last", "telea")  # beside our network's checkpoints, in pictures

ALL, EC_OR = "all", "ec_or"
GROUPS = {
    # "+" is not allowed in the names of MLflow's metrics, hence "ec_or".
    EC_OR: ("ec", "or"),
    "walk": ("walk",),
    "strokes": ("strokes",),
    "rectangles": ("rectangles",),
    "ec": ("ec",),
    "or": ("or",),
    ALL: ("ec", "or", "walk", "strokes", "rectangles"),
}
GROUP_LABELS = {
    EC_OR: "EC and OR",
    "walk": "Random walk",
    "strokes": "Strokes",
    "rectangles": "Rectangles",
    "ec": "EC (error concealment)",
    "or": "OR (object removal)",
    ALL: "All kinds",
}
KIND_LABELS = {
    "walk": "Random walk",
    "strokes": "Strokes",
    "rectangles": "Rectangles",
    "ec": "EC",
    "or": "OR",
}

ANY_SHARE = "any"
BUCKET_EDGES = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # Liu et al. 2018, Table 1
BUCKETS = (
    "up to 1 %",
    *(f"{100 * low:.0f}-{100 * high:.0f} %" for low, high in pairwise(BUCKET_EDGES)),
    "over 60 %",
)


def leading_weights(methods: Collection[str]) -> str | None:
    """Return the last weights of the first network among methods, which stand for a run."""
    last = (f"{network}-{CHECKPOINTS[-1]}" for network in NETWORKS)
    return next((name for name in last if name in methods), None)


def sorted_methods(names: set[str]) -> list[str]:
    """Return method names in the order of the report."""
    return sorted(names, key=METHODS.index)


def method_label(method: str, about: Mapping[str, Mapping[str, str]]) -> str:
    """Return the name of a method in the report.

    Args:
        method: Its name in the evaluation table.
        about: What the header of each network's checkpoint says, where there is one.
    """
    if is_network(method):
        weights = method.removesuffix(MIRRORED)
        network, checkpoint = weights.split("-")
        words = about.get(weights, {})
        # The paper's network is not shown the mask: its name is not given to one that is.
        shown = " + mask" if words.get("mask_channel") == "True" else ""
        when = f"epoch {words['epoch']}" if "epoch" in words else f"{checkpoint} checkpoint"
        how = ", mean of four flips" if method.endswith(MIRRORED) else ""
        return f"{NETWORK_LABELS[network]}{shown}, {when}{how}"
    return CLASSICAL.get(method, method)


def pairs_counted(count: int) -> str:
    """Write a number of pairs, such as "12 pairs"."""
    return f"{count} pair{'' if count == 1 else 's'}"


def number(value: float, *, unit: str = "") -> str:
    """Write a number for a table: decibels with two decimals, others with four digits or so."""
    if unit == DECIBEL:
        return f"{value:.2f}"
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-4:
        return f"{value:.3e}"
    decimals = 6 if 0 < size < 0.01 else 4 if size < 1 else max(0, 4 - len(str(int(size))))
    return f"{value:.{decimals}f}"
