"""A small finished pipeline with invented numbers, for the tests of the report."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pconv.images import Mask, Pixels, write_image, write_mask
from pconv.unet import build_unet
from pconv.weights import save_weights
from workflow.pairs import Pair, write_pairs
from workflow.reporting.names import METRIC_OF, METRICS
from workflow.sections import ReportParams
from workflow.stages import evaluate
from workflow.stages.report import Inputs, Outputs, write_report

SIZE_PX = 32
PHOTOS = 10  # enough for intervals
METHODS = ("pconv-first", "pconv-last", "telea", "mean")
LOSSES = tuple(column for column in METRIC_OF if column not in evaluate.METRICS)
PARAMS = ReportParams(seed=3, bootstrap_draws=100, examples=2, extremes=2, error_pair=None)


@dataclass(frozen=True)
class Project:
    """A folder with everything the report stage reads, and where it writes."""

    root: Path

    @property
    def inputs(self) -> Inputs:
        """What the stage reads."""
        names = ("evaluation", "sample.csv", "models", "raw", "augmented", "train", "masks")
        return Inputs(*(self.root / name for name in names))

    def outputs(self, name: str = "reports") -> Outputs:
        """Where the stage writes."""
        folder = self.root / name
        files = ("index.html", "table.md", "table.csv", "metrics.json", "headline.json")
        return Outputs(*(folder / file for file in (*files, "curves.csv", "figures")))

    @property
    def shard(self) -> Path:
        """The first shard's table."""
        return self.root / "evaluation" / "0000" / "pairs.csv"

    def write(self, name: str = "reports", params: ReportParams = PARAMS) -> Outputs:
        """Run the stage."""
        write_report(params, self.inputs, self.outputs(name))
        return self.outputs(name)

    def edit(self, change: object) -> pd.DataFrame:
        """Apply a function to the first shard's table, as text."""
        table = pd.read_csv(self.shard, dtype=str, keep_default_na=False)
        table = change(table)  # type: ignore[operator]
        table.to_csv(self.shard, index=False)
        return table


def a_picture(rng: np.random.Generator) -> Pixels:
    """Return a smooth picture with an edge."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    planes = [
        rng.uniform(60, 150) + 80 * np.sin(4 * (a * x + b * y)) for a, b in rng.random((3, 2))
    ]
    return np.clip(np.dstack(planes), 0, 255).astype(np.uint8)


def a_mask(rng: np.random.Generator) -> Mask:
    """Return a mask with one rectangular hole."""
    mask = np.ones((SIZE_PX, SIZE_PX), bool)
    top, left = rng.integers(1, SIZE_PX // 2, 2)
    mask[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = False
    return mask


def make_project(root: Path, methods: Sequence[str], kinds: Sequence[str]) -> Project:
    """Make photographs, masks, weights, logs and an evaluation in two shards."""
    rng = np.random.default_rng(5)
    project = Project(root)
    pairs = []
    (root / "masks").mkdir(parents=True)
    for photo in range(PHOTOS):
        write_image(root / "raw" / f"valid/gt/{photo}.png", a_picture(rng))
    for photo, kind, k in product(range(PHOTOS), kinds, range(2)):
        mask = a_mask(rng)
        is_raw = kind in ("ec", "or")
        name = f"valid/{kind}/{photo}/{photo}_{k}.png" if is_raw else f"0000/{kind}{photo}{k}.png"
        write_mask(root / ("raw" if is_raw else "masks") / name, mask)
        share = float(1 - mask.mean())
        pair_id = f"{photo}-{kind}-{k}"
        pairs.append(Pair(pair_id, f"valid/gt/{photo}.png", name, kind, share, SIZE_PX))
    write_pairs(root / "sample.csv", pairs)
    for number_ in range(6):
        write_image(root / f"augmented/000{number_ % 2}/{number_:06d}.png", a_picture(rng))
        write_mask(root / f"train/000{number_ % 2}/{number_:06d}.png", a_mask(rng))
    write_models(root / "models")
    write_evaluation(root / "evaluation", pairs, methods, rng)
    return project


def write_models(folder: Path) -> None:
    """Write the smallest network at two epochs, and a log."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_unet("pconv", width=2, levels=1)
    for name, epoch in (("first", "2"), ("last", "3")):
        about = {"epoch": epoch, "fingerprint": "f1e2d3"}
        (folder / "pconv").mkdir(parents=True, exist_ok=True)
        save_weights(folder / "pconv" / f"{name}.safetensors", model, about)
    records = [
        {
            "epoch": epoch,
            "total": 3 / epoch,
            "hole": 1 / epoch,
            "valid": 0.5 / epoch,
            "valid_hole_psnr": 15.0 + epoch if epoch != 2 else None,
            "valid_hole_l1": 0.2 / epoch,
        }
        for epoch in (1, 2, 3)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "pconv" / "log.jsonl").write_text(lines)


def write_evaluation(
    folder: Path, pairs: list[Pair], methods: Sequence[str], rng: np.random.Generator
) -> None:
    """Write two shards of invented numbers."""
    columns = [metric.column for metric in METRICS]
    for shard in range(2):
        rows = []
        for pair, (rank, method) in product(pairs[shard::2], enumerate(methods)):
            values = {c: round(float(rng.uniform(15, 25)) - rank, 6) for c in columns}
            facts = {k: getattr(pair, k) for k in ("photo", "kind", "hole_share")}
            rows.append({"pair": pair.id, **facts, "method": method, **values, "features": ""})
        (folder / f"000{shard}").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(folder / f"000{shard}" / "pairs.csv", index=False)


def stub_fill(method: str, models: Path, images: Pixels, masks: Mask) -> Pixels:
    """Fill with one colour a method, as quickly as possible."""
    colour = hashlib.sha256(method.encode()).digest()[:3]
    return np.where(masks[..., None], images, np.array(list(colour), np.uint8))
