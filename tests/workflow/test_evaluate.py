"""The evaluate stage: every method on every pair, the same numbers however it is split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pconv import baselines
from pconv.errors import DataError
from pconv.images import write_image, write_mask
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow.fills import fill_pairs, network_names
from workflow.pairs import Pair, load_pair, write_pairs
from workflow.params import EvaluateParams
from workflow.shards import Shard
from workflow.stages.evaluate import COLUMNS, Job, evaluate_pairs

SIZE = 32
PARAMS = EvaluateParams(
    methods=["mean", "telea"],
    slow_methods=["biharmonic"],
    slow_pairs=2,
    vgg_methods=["pconv-last", "mean"],
    vgg_pairs=4,
    features="random",
    features_seed=0,
    batch_size=3,
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two photos with four pairs each, and one small network at two checkpoints."""
    root = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(5)
    pairs = []
    for photo in ("a", "b"):
        write_image(root / f"raw/valid/gt/{photo}.png", rng.integers(0, 256, (40, 50, 3), np.uint8))
        for i in range(4):
            kind = ("ec", "or")[i % 2]
            mask = np.ones((40, 50), bool)
            mask[8 + i : 20, 12:30] = False
            write_mask(root / f"raw/valid/{kind}/{photo}/{photo}_{i}.png", mask)
            name = f"valid/{kind}/{photo}/{photo}_{i}.png"
            pairs.append(
                Pair(f"{kind}-{photo}-{i}", f"valid/gt/{photo}.png", name, kind, 0.1, SIZE)
            )
    write_pairs(root / "sample.csv", pairs)
    torch.manual_seed(0)
    for name in ("first", "last"):
        save_weights(root / f"models/pconv/{name}.safetensors", PConvUNet(width=2, levels=3))
    paths = ("sample.csv", "raw", "masks", "models", "out")
    return Job(PARAMS, *(root / path for path in paths))


def table(job: Job, shards: int, out: str) -> pd.DataFrame:
    """Return the whole table, measured in so many shards."""
    job = replace(job, out=job.out / out)
    evaluate_pairs(job, [Shard(index, shards) for index in range(shards)])
    files = sorted(job.out.glob("*/pairs.csv"))
    parts = [pd.read_csv(path, dtype={"features": object}) for path in files]
    assert len(parts) == shards
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def whole(job: Job) -> pd.DataFrame:
    """The table, measured in one shard."""
    return table(job, 1, "one")


class TestEvaluatePairs:
    """The stage's function."""

    def test_conservation(self, whole: pd.DataFrame) -> None:
        """A row for each pair and method, slow methods on their share of each kind only."""
        counts = whole.groupby("method")["pair"].nunique().to_dict()
        every = dict.fromkeys(["pconv-first", "pconv-last", "mean", "telea"], 8)
        assert counts == every | {"biharmonic": 2}
        assert list(whole.columns) == COLUMNS
        slow = whole[whole["method"] == "biharmonic"]
        assert sorted(slow["kind"]) == ["ec", "or"]

    def test_vgg_terms(self, whole: pd.DataFrame) -> None:
        """VGG terms, the total and the features' name stand where they were taken, only there."""
        taken = whole.dropna(subset=["perceptual", "style", "total"])
        assert taken.groupby("method")["pair"].nunique().to_dict() == {"pconv-last": 4, "mean": 4}
        assert set(taken["features"]) == {"random"}
        rest = whole.drop(taken.index)
        assert rest[["perceptual", "style", "total", "features"]].isna().all(axis=None)
        weighted = (
            taken["valid"]
            + 6 * taken["hole"]
            + 0.05 * taken["perceptual"]
            + 120 * taken["style"]
            + 0.1 * taken["tv"]
        )
        np.testing.assert_allclose(taken["total"], weighted, rtol=1e-5)

    def test_values(self, job: Job, whole: pd.DataFrame) -> None:
        """PSNR and L1 in the hole are those of a plain numpy computation."""
        pair = Pair("ec-a-0", "valid/gt/a.png", "valid/ec/a/a_0.png", "ec", 0.1, SIZE)
        image, mask = load_pair(pair, job.raw, job.masks)
        filled = baselines.fill("mean", image, mask)
        error = filled[~mask].astype(float) - image[~mask]
        row = whole[(whole["pair"] == "ec-a-0") & (whole["method"] == "mean")].iloc[0]
        assert row["psnr_hole"] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()))
        assert row["l1_hole"] == pytest.approx(np.abs(error).mean() / 255)

    def test_shards(self, job: Job, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three shards give the same rows to the last digit."""
        monkeypatch.setenv("PCONV_WORKERS", "1")
        split = table(job, 3, "three")
        order = ["pair", "method"]
        pd.testing.assert_frame_equal(
            split.sort_values(order, ignore_index=True),
            whole.sort_values(order, ignore_index=True),
            check_exact=True,
        )

    def test_raises_without_networks(self, job: Job, tmp_path: Path) -> None:
        """Without weights it says which stage makes them."""
        with pytest.raises(DataError, match="no weights; the stage train makes them"):
            evaluate_pairs(replace(job, models=tmp_path), [Shard(0, 1)])


class TestFillPairs:
    """The one way to a fill."""

    @pytest.mark.parametrize("method", ["pconv-last", "telea"])
    def test_known_pixels(self, job: Job, method: str) -> None:
        """Every method keeps the known pixels, and does not see what lies under the hole."""
        rng = np.random.default_rng(1)
        image = rng.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
        mask = rng.random((2, SIZE, SIZE)) > 0.3
        other = np.where(mask[..., None], image, 255 - image)
        filled = fill_pairs(method, job.models, image, mask)
        assert np.array_equal(filled[mask], image[mask])
        assert np.array_equal(filled, fill_pairs(method, job.models, other, mask))

    def test_names(self, job: Job) -> None:
        """The networks are named by what lies in the folder."""
        assert network_names(job.models) == ["pconv-first", "pconv-last"]
