"""The evaluate stage: every method on every pair, the same numbers however it is split."""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from pconv import baselines
from pconv.errors import DataError, ParameterError
from pconv.features import vgg16_features
from pconv.images import write_image, write_mask
from pconv.losses import InpaintingLoss
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.interrupted import ROOT, kill_when
from workflow.fills import fill_pairs, images_01, masks_01, network_outputs, to_pixels
from workflow.networks import is_network, network_names
from workflow.pairs import Pair, load_pair, read_pairs, write_pairs
from workflow.params import read_params
from workflow.sections import EvaluateParams
from workflow.shards import Shard
from workflow.stages import evaluate
from workflow.stages.evaluate import COLUMNS, OF_COMPOSITE, Job, Plan, evaluate_pairs

SIZE = 32
PARAMS = EvaluateParams(
    methods=["mean", "telea"],
    slow_methods=["biharmonic"],
    slow_pairs=2,
    vgg_methods=["pconv-last", "mean"],
    vgg_pairs=4,
    mirrored=True,
    features="random",
    features_seed=7,
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
                Pair(f"{kind}-{photo}-{i}", f"valid/gt/{photo}.png", name, kind, 0.1, SIZE, i / 4)
            )
    write_pairs(root / "sample.csv", pairs)
    torch.manual_seed(0)
    for name in ("first", "last"):
        save_weights(root / f"models/pconv/{name}.safetensors", PConvUNet(width=2, levels=3))
    paths = ("sample.csv", "raw", "masks", "models", "out", "state")
    return Job(PARAMS, *(root / path for path in paths))


def measured(job: Job, shards: int, out: str) -> str:
    """Measure in so many shards, each on its own, and return their rows one after another."""
    job = replace(job, out=job.out / out)
    for index in range(shards):
        evaluate_pairs(job, [Shard(index, shards)])()
    return joined(job.out)


def joined(out: Path) -> str:
    """Return the rows of all shards one after another, with one head."""
    files = sorted(out.glob("*/pairs.csv"))
    parts = [path.read_text().splitlines(keepends=True) for path in files]
    assert {part[0] for part in parts} == {",".join(COLUMNS) + "\n"}
    return "".join([parts[0][0], *(line for part in parts for line in part[1:])])


def batches_left(job: Job) -> list[str]:
    """Return the names of the batches that are kept."""
    return sorted(path.name for path in job.state.glob("*/*.csv"))


def watch(monkeypatch: pytest.MonkeyPatch, stop_at: int = -1) -> list[int]:
    """Return a list that gets the number of each batch that is measured; one of them may fail."""
    done = []
    original = evaluate._measured

    def measure(job: Job, plan: Plan, number: int) -> str:
        if number == stop_at:
            raise InterruptedError
        done.append(number)
        return original(job, plan, number)

    monkeypatch.setattr(evaluate, "_measured", measure)
    return done


def interrupt(job: Job, shards: list[Shard]) -> None:
    """Measure all batches but the third, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCONV_WORKERS", "1")
        watch(patch, stop_at=2)
        with pytest.raises(InterruptedError):
            evaluate_pairs(job, shards)


@pytest.fixture(scope="module")
def text(job: Job) -> str:
    """The table as it is written, measured in one shard."""
    return measured(job, 1, "one")


@pytest.fixture(scope="module")
def whole(text: str) -> pd.DataFrame:
    """The table, measured in one shard."""
    return pd.read_csv(StringIO(text), dtype={"features": object})


class TestEvaluatePairs:
    """The stage's function."""

    def test_conservation(self, whole: pd.DataFrame) -> None:
        """A row for each pair and method, slow methods on their share of each kind only."""
        counts = whole.groupby("method")["pair"].nunique().to_dict()
        networks = ["pconv-first", "pconv-last", "pconv-last-mirrored"]
        every = dict.fromkeys([*networks, "mean", "telea"], 8)
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
        columns = ["perceptual", "style", "total", *OF_COMPOSITE, "features"]
        assert rest[columns].isna().all(axis=None)
        weighted = (
            taken["valid"]
            + 6 * taken["hole"]
            + 0.05 * taken["perceptual"]
            + 120 * taken["style"]
            + 0.1 * taken["tv"]
        )
        np.testing.assert_allclose(taken["total"], weighted, rtol=1e-5)

    def test_device(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a classical method put out goes where VGG is: their terms are taken there."""
        monkeypatch.setattr(evaluate, "default_device", lambda: torch.device("meta"))
        known = np.ones((1, SIZE, SIZE), bool)
        known[:, 4:9, 4:9] = False
        batch = evaluate.Batch([], np.zeros((1, SIZE, SIZE, 3), np.uint8), known)
        output, _ = evaluate._fill(job, "telea", batch)
        assert output.device.type == "meta"

    def test_values(self, job: Job, whole: pd.DataFrame) -> None:
        """PSNR and L1 in the hole are those of a plain numpy computation."""
        pair = next(pair for pair in read_pairs(job.sample) if pair.id == "ec-a-0")
        image, mask = load_pair(pair, job.raw, job.masks)
        filled = baselines.fill("mean", image, mask)
        error = filled[~mask].astype(float) - image[~mask]
        row = whole[(whole["pair"] == "ec-a-0") & (whole["method"] == "mean")].iloc[0]
        assert row["psnr_hole"] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()))
        assert (row["photo"], row["kind"], row["hole_share"]) == (pair.photo, "ec", pair.hole_share)
        assert row["l1_hole"] == pytest.approx(np.abs(error).mean() / 255)

    @pytest.mark.parametrize("method", ["pconv-last", "mean"])
    def test_every_row(self, job: Job, whole: pd.DataFrame, method: str) -> None:
        """Each row is of its own pair: PSNR and losses are those of the pair alone."""
        loss = InpaintingLoss(vgg16_features("random", PARAMS.features_seed))
        taken = 0
        for pair in read_pairs(job.sample):
            image, mask = (x[None] for x in load_pair(pair, job.raw, job.masks))
            row = whole[(whole["pair"] == pair.id) & (whole["method"] == method)].iloc[0]
            filled = fill_pairs(method, job.models, image, mask)
            error = filled[~mask].astype(float) - image[~mask]
            assert row["psnr_hole"] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()))
            output = images_01(filled)
            if is_network(method):
                output = network_outputs(method, job.models, image, mask)
            terms = loss.per_image(output, images_01(image), masks_01(mask))
            composite = loss.per_image(images_01(filled), images_01(image), masks_01(mask))
            terms |= {column: composite[name] for column, name in OF_COMPOSITE.items()}
            taken += not np.isnan(row["total"])
            for name, value in terms.items():
                if name in ("valid", "hole", "tv") or not np.isnan(row["total"]):
                    assert row[name] == pytest.approx(value.item(), rel=1e-3, abs=1e-7), name
        assert taken == PARAMS.vgg_pairs

    def test_mirrored(self, job: Job) -> None:
        """By the mean of four flips, a mirrored pair's fill is the mirrored fill."""
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
        masks = rng.random((2, SIZE, SIZE)) < 0.7
        for method, is_law in (("pconv-last-mirrored", True), ("pconv-last", False)):
            filled = fill_pairs(method, job.models, images, masks)
            other = fill_pairs(
                method, job.models, images[:, :, ::-1].copy(), masks[:, :, ::-1].copy()
            )
            assert np.array_equal(filled, other[:, :, ::-1]) == is_law
            assert np.array_equal(filled[masks], images[masks])

    @pytest.mark.parametrize("shards", [2, 3, 5])
    def test_shards(self, job: Job, text: str, shards: int) -> None:
        """Any number of shards gives the same bytes, even more shards than batches."""
        assert measured(job, shards, str(shards)) == text

    def test_batches(self, job: Job) -> None:
        """Networks see the same pictures together in any number of shards.

        They must: at full width a picture alone comes out otherwise, in the last digits, than
        the same picture among others.
        """
        plan = Plan.of(job)
        assert [len(batch) for batch in plan.batches] == [3, 3, 2]
        for count in (1, 2, 3, 8):
            found = [number for i in range(count) for number in plan.numbers(Shard(i, count))]
            assert found == [0, 1, 2]

    def test_subsets_are_drawn(self, job: Job, tmp_path: Path) -> None:
        """Subsets are the first pairs of the draw, though the batches go by photograph."""
        write_pairs(tmp_path / "sample.csv", read_pairs(job.sample)[::-1])
        plan = Plan.of(replace(job, sample=tmp_path / "sample.csv"))
        assert plan.with_vgg == {"or-b-3", "ec-b-2", "or-b-1", "ec-b-0"}
        assert plan.methods["biharmonic"] == {"or-b-3", "ec-b-2"}

    def test_raises_without_networks(self, job: Job, tmp_path: Path) -> None:
        """Without weights it says which stage makes them."""
        with pytest.raises(DataError, match="no weights; the stage train makes them"):
            evaluate_pairs(replace(job, models=tmp_path), [Shard(0, 1)])


class TestMain:
    """The command line."""

    def test_overtaken(self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was measured by numbers that were edited since is not written."""
        paths = ("sample", "raw", "masks", "models")
        options = [f"--{name}={getattr(job, name)}" for name in paths]
        options += [f"--out={tmp_path / 'out'}", f"--state={tmp_path / 'state'}"]
        monkeypatch.setattr("sys.argv", ["evaluate", *options, "--shards", "2", "--shard", "1/2"])
        refuse = Mock(side_effect=ParameterError("overtaken"))
        monkeypatch.setattr(evaluate, "start_stage", lambda _: (job.params, refuse))
        with pytest.raises(ParameterError, match="overtaken"):
            evaluate.main()
        assert not list((tmp_path / "out").glob("[!.]*"))
        refuse.side_effect = None
        evaluate.main()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["0001"]
        # After the table is written, too, an edit leaves what the next call goes on from.
        refuse.side_effect = [None, ParameterError("overtaken")]
        with pytest.raises(ParameterError, match="overtaken"):
            evaluate.main()
        assert list((tmp_path / "state").glob("*/*.csv"))


class TestRestart:
    """A run that did not come to its end."""

    def test_resume(self, job: Job, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next run measures what is missing, even when its shards are others."""
        monkeypatch.setenv("PCONV_WORKERS", "1")
        job = replace(job, out=job.out / "resumed")
        interrupt(job, [Shard(0, 2), Shard(1, 2)])
        shutil.rmtree(job.out)  # as both engines do with those of a killed run
        assert batches_left(job) == ["000000.csv", "000001.csv"]
        done = watch(monkeypatch)
        evaluate_pairs(job, [Shard(i, 3) for i in range(3)])()
        assert done == [2]
        assert joined(job.out) == text
        assert not any(job.state.iterdir())

    def test_edited_meanwhile(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its batches stay until nothing can make it be run again: not measured twice."""
        monkeypatch.setenv("PCONV_WORKERS", "1")
        job = replace(job, out=job.out / "edited")
        evaluate_pairs(job, [Shard(0, 1)])  # what follows it in `main` did not come to pass
        done = watch(monkeypatch)
        forget_batches = evaluate_pairs(job, [Shard(0, 1)])
        assert done == []
        assert len(batches_left(job)) == 3
        forget_batches()
        assert not any(job.state.iterdir())

    def test_one_shard(self, job: Job, text: str) -> None:
        """A shard that is made alone forgets its own batches and leaves those of others."""
        job = replace(job, out=job.out / "alone")
        interrupt(job, [Shard(0, 1)])
        evaluate_pairs(job, [Shard(0, 3)])()
        assert batches_left(job) == ["000001.csv"]
        evaluate_pairs(job, [Shard(1, 3)])()
        evaluate_pairs(job, [Shard(2, 3)])()
        assert joined(job.out) == text
        assert batches_left(job) == []

    @pytest.mark.parametrize(
        "what",
        [
            *("weights", "params", "photo", "mask", "sample", "features"),
            *("instructions", "packages", "code"),
        ],
    )
    def test_others(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """Nothing measured with something else is taken over, and nothing of it is lost."""
        shutil.copytree(job.sample.parent, tmp_path / "copy", dirs_exist_ok=True)
        root = tmp_path / "copy"
        features = root / "vgg.safetensors"
        save_file(vgg16_features("random", 1).state_dict(), features)
        params = PARAMS.model_copy(update={"features": str(features)})
        paths = ("sample.csv", "raw", "masks", "models", "out", "state")
        job = Job(params, *(root / path for path in paths))
        interrupt(job, [Shard(0, 1)])
        if what == "params":
            job = replace(job, params=params.model_copy(update={"vgg_pairs": 5}))
        elif what == "weights":
            save_weights(root / "models/pconv/last.safetensors", PConvUNet(width=2, levels=3))
        elif what == "features":
            save_file(vgg16_features("random", 2).state_dict(), features)
        elif what == "sample":
            write_pairs(job.sample, read_pairs(job.sample)[1:])
        elif what == "photo":
            write_image(root / "raw/valid/gt/b.png", np.full((40, 50, 3), 7, np.uint8))
        elif what == "instructions":
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        elif what == "packages":
            monkeypatch.setattr("workflow.kept.distributions", lambda: [])
        elif what == "code":
            monkeypatch.setattr("workflow.kept.code_digests", lambda *_: {"pconv/metrics.py": "0"})
        else:
            write_mask(root / "raw/valid/or/b/b_3.png", np.eye(40, 50) == 0)
        done = watch(monkeypatch)
        evaluate_pairs(job, [Shard(0, 1)])()
        assert done == [0, 1, 2]
        assert batches_left(job) == ["000000.csv", "000001.csv"]  # the other waits to go on

    @pytest.mark.engines
    @pytest.mark.slow
    def test_killed_under_dvc(
        self, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`dvc repro`, killed amid the evaluation, goes on at its next call: the same bytes."""
        folder = make_dvc_project(job, tmp_path, monkeypatch)
        status = kill_when(
            lambda: len(list(folder.glob("checkpoints/evaluate/*/*.csv"))) >= 3,
            f"import os; os.chdir({str(folder)!r})\n"
            "from dvc.cli import main; raise SystemExit(main(['repro']))",
            workers=2,
            patience_s=300,  # two programs have to start, and the machine may be busy
        )
        assert status == -signal.SIGKILL
        assert not (folder / "dvc.lock").exists()
        done = subprocess.run(["dvc", "repro"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        going_on = re.search(
            r"evaluate: (\d+) of (\d+) batches are finished; going on", done.stderr
        )
        assert going_on, done.stderr
        assert 3 <= int(going_on[1]) < int(going_on[2])
        paths = ("data/sample.csv", "data/raw", "data/masks/valid", "models", "unbroken", "state")
        params = read_params(folder / "params.yaml").evaluate
        unbroken = Job(params, *(folder / path for path in paths))
        evaluate_pairs(unbroken, [Shard(0, 1)])
        assert joined(folder / "data/evaluation") == joined(unbroken.out)


def make_dvc_project(job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a DVC project of this one's stage evaluate alone, with enough pairs to be killed in."""
    root = job.sample.parent
    shutil.copytree(root / "raw", folder / "data/raw")
    shutil.copytree(root / "models", folder / "models")
    (folder / "data/masks/valid").mkdir(parents=True)
    pairs = read_pairs(job.sample)
    many = [replace(pair, id=f"{pair.id}-{i}") for pair in pairs for i in range(12)]
    write_pairs(folder / "data/sample.csv", many)
    params = yaml.safe_load((ROOT / "presets/tiny.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate"]
    stage["deps"] = [path for path in stage["deps"] if not path.endswith((".py", ".json"))]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / ".cache"))
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    return folder


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

    def test_to_pixels(self) -> None:
        """Output is clipped to the range and rounded, and known pixels are the picture's."""
        output = torch.tensor([-0.5, 1.5, 0.501, 0.501]).expand(1, 3, 1, 4)
        mask = np.array([[[False, False, False, True]]])
        pixels = to_pixels(output, np.full((1, 1, 4, 3), 7, np.uint8), mask)
        assert pixels[0, 0, :, 2].tolist() == [0, 255, 128, 7]

    def test_names(self, job: Job) -> None:
        """The networks are named by what lies in the folder."""
        assert network_names(job.models) == ["pconv-first", "pconv-last"]

    def test_same_weights(self, job: Job, tmp_path: Path) -> None:
        """The weights of a training whose compared epoch is its last are one method."""
        last = tmp_path / "plain/last.safetensors"
        shutil.copytree(job.models, tmp_path, dirs_exist_ok=True)
        shutil.copytree(job.models / "pconv", tmp_path / "plain")
        shutil.copy(last, last.with_stem("first"))
        for file in tmp_path.glob("*/*.safetensors"):
            os.utime(file, (0, 0))  # of equal size and time too, others are others
        assert network_names(tmp_path) == ["pconv-first", "pconv-last", "plain-last"]
        last.unlink()
        assert network_names(tmp_path) == ["pconv-first", "pconv-last", "plain-first"]
