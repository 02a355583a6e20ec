"""The train stage: from folders of pictures to folders of weights."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pconv.checkpoints import CheckpointFolder
from pconv.dataset import pack_images
from pconv.errors import DataError, ImageError, ParameterError
from pconv.images import read_image, read_mask, write_image, write_mask
from pconv.losses import LossWeights
from pconv.plan import TrainingPlan
from pconv.ranks import Ranks, open_ranks
from pconv.resizing import fit_image
from pconv.stopping import EXIT_OUT_OF_TIME
from pconv.training import code_modules
from pconv.weights import load_weights
from pconv.weights_header import read_about
from tests.overtaken import refuse
from workflow.code import stage_code
from workflow.recovery import HeldError
from workflow.sections import TrainParams
from workflow.stages import train as stage
from workflow.stages.train import (
    by_name,
    held_out_pairs,
    plan_of,
    train_networks,
)

SIZE = 16
PARAMS = TrainParams(
    seed=1,
    kinds=["pconv", "plain"],
    initial_weights=None,
    width=2,
    levels=2,
    centre="known",
    mask_channel=True,
    batch_size=4,
    epochs=2,
    first_epoch=1,
    finetune_from_epoch=1,
    learning_rate=2e-3,
    finetune_learning_rate=5e-4,
    finetune_freezes="encoder",
    anneal=False,
    valid_weight=1.0,
    hole_weight=6.0,
    perceptual_weight=0.0,
    style_weight=0.0,
    tv_weight=0.1,
    features="random",
    features_seed=0,
    precision="float32",
    tf32=False,
    channels_last=False,
    compile=False,
    threads=1,
    checkpoint_every_epochs=1,
    validate_every_epochs=1,
    pictures_every_epochs=1,
)

PAIRS = 5


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The stage's inputs in two shards, and its outputs still to make."""
    rng = np.random.default_rng(0)
    for number in range(8):
        name = f"{number % 2:04d}/{number:06d}.png"
        write_image(
            tmp_path / "images" / name, rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        )
        write_mask(tmp_path / "masks" / name, rng.random((SIZE, SIZE)) < 0.7)
        if number < PAIRS:
            write_mask(tmp_path / "held_out" / name, rng.random((SIZE, SIZE)) < 0.7)
    for number in range(2):
        photo = rng.integers(0, 256, (40, 30 + number, 3), dtype=np.uint8)
        write_image(tmp_path / f"raw/valid/gt/{number}.png", photo)
    return {
        "images": tmp_path / "images",
        "masks": tmp_path / "masks",
        "raw": tmp_path / "raw",
        "held_out": tmp_path / "held_out",
        "out": tmp_path / "models",
        "state": tmp_path / "state",
    }


@pytest.fixture(autouse=True)
def _without_tracking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


def command_line(folders: dict[str, Path]) -> list[str]:
    """The options of dvc.yaml."""
    return [
        part
        for name, path in folders.items()
        for part in (f"--{name.replace('_', '-')}", f"{path}/")
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class TestTrainNetworks:
    """`train_networks`."""

    def test_smoke(self, folders: dict[str, Path]) -> None:
        """Each kind has its weights and its log; no checkpoint stays."""
        train_networks(PARAMS, **folders, device="cpu")
        names = ["first.safetensors", "last.safetensors", "log.jsonl"]
        wanted = [f"{kind}/{name}" for kind in PARAMS.kinds for name in names]
        assert list(contents(folders["out"])) == wanted
        for kind in PARAMS.kinds:
            path = folders["out"] / kind / "last.safetensors"
            found = load_weights(path).hyperparameters()
            assert found.items() >= {"kind": kind, "centre": "known", "mask_channel": True}.items()
            assert read_about(path)["epoch"] == "2"
            lines = (folders["out"] / kind / "log.jsonl").read_text().splitlines()
            assert [json.loads(line)["epoch"] for line in lines] == [1, 2]

    def test_finished(self, folders: dict[str, Path]) -> None:
        """A finished run called again takes no step, until its checkpoints are forgotten."""
        train_networks(PARAMS, **folders, device="cpu")
        first = contents(folders["out"])
        finished = train_networks(PARAMS, **folders, device="cpu", stop_after_s=0)
        assert contents(folders["out"]) == first
        for checkpoints in finished:
            checkpoints.clear()
        assert not list(folders["state"].rglob("*.pt"))
        with pytest.raises(SystemExit):
            train_networks(PARAMS, **folders, device="cpu", stop_after_s=0)

    def test_same_bytes(self, folders: dict[str, Path], tmp_path: Path) -> None:
        """Another folder, and other shards of the same pictures, give the same bytes."""
        train_networks(PARAMS, **folders, device="cpu")
        for kind in ("images", "masks", "held_out"):
            for file in sorted((tmp_path / kind).glob("0001/*.png")):
                file.rename(tmp_path / kind / "0000" / file.name)
        again = folders | {"out": tmp_path / "again", "state": tmp_path / "other"}
        train_networks(PARAMS, **again, device="cpu")
        assert contents(tmp_path / "again") == contents(folders["out"])

    def test_slices(
        self, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A stage out of time exits with its own status, leaves no output, and goes on later."""
        with pytest.raises(SystemExit) as stopped:
            train_networks(PARAMS, **folders, device="cpu", stop_after_s=0)
        assert stopped.value.code == EXIT_OUT_OF_TIME
        assert "not finished: its time was up at step 0" in capsys.readouterr().err
        assert not folders["out"].exists()
        train_networks(PARAMS, **folders, device="cpu")
        fresh = folders | {"out": tmp_path / "fresh", "state": tmp_path / "other"}
        train_networks(PARAMS, **fresh, device="cpu")
        assert contents(tmp_path / "fresh") == contents(folders["out"])

    def test_time_is_shared(
        self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the first network took of the allowed time the second one does not have."""
        clock, allowed = [0.0], []

        def train_one(plan: TrainingPlan, *others: object) -> SimpleNamespace:
            allowed.append(others[-1])
            clock[0] += 40
            return SimpleNamespace(plan=plan, checkpoints=None, write=Path.mkdir)

        monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        monkeypatch.setattr(stage, "_train_one", train_one)
        train_networks(PARAMS, **folders, device="cpu", stop_after_s=100)
        assert allowed == [100, 60]

    def test_edited_meanwhile(self, folders: dict[str, Path]) -> None:
        """What must not be written is not, and what there was before stays."""
        (folders["out"] / "old").mkdir(parents=True)
        with pytest.raises(ParameterError):
            train_networks(PARAMS, **folders, device="cpu", before_writing=refuse)
        assert [path.name for path in folders["out"].iterdir()] == ["old"]
        train_networks(PARAMS, **folders, device="cpu", stop_after_s=0)
        assert sorted(path.name for path in folders["out"].iterdir()) == sorted(PARAMS.kinds)

    def test_replaces_the_old(self, folders: dict[str, Path]) -> None:
        """Weights of a kind that is no longer trained do not stay behind."""
        (folders["out"] / "old").mkdir(parents=True)
        train_networks(PARAMS.model_copy(update={"kinds": ["plain"]}), **folders, device="cpu")
        assert [path.name for path in folders["out"].iterdir()] == ["plain"]

    @pytest.mark.parametrize("missing", ["images", "masks"])
    def test_raises_empty(self, missing: str, folders: dict[str, Path], tmp_path: Path) -> None:
        """A folder without pictures is named."""
        folders[missing] = tmp_path / "nothing"
        with pytest.raises(DataError, match=r"nothing: no files NNNN/\*.png to train on"):
            train_networks(PARAMS, **folders, device="cpu")

    def test_raises_bad_data(self, folders: dict[str, Path]) -> None:
        """An unreadable image and a mask of another size are refused before the first step."""
        mask = folders["masks"] / "0001/000001.png"
        write_mask(mask, np.zeros((SIZE, SIZE + 1), dtype=bool))
        with pytest.raises(DataError, match=r"000001.png: 17x16 pixels, but .* has 16x16"):
            train_networks(PARAMS, **folders, device="cpu")
        image = folders["images"] / "0000/000002.png"
        image.write_bytes(image.read_bytes()[:50])
        with pytest.raises(ImageError, match=r"000002.png: not a readable image"):
            train_networks(PARAMS, **folders, device="cpu")
        assert not list(folders["state"].rglob("*.pt"))

    @pytest.mark.parametrize("kind", ["masks", "held_out"])
    def test_raises_sizes(self, kind: str, folders: dict[str, Path]) -> None:
        """Masks that agree among themselves, but not with the images, are refused too."""
        for file in folders[kind].rglob("*.png"):
            write_mask(file, np.eye(SIZE, SIZE + 1, dtype=bool))
        with pytest.raises(
            DataError, match=r"png: 17x16 pixels, but the training images have 16x16"
        ):
            train_networks(PARAMS, **folders, device="cpu")

    def test_raises_params(self, folders: dict[str, Path]) -> None:
        """Epochs that never come are refused before any file is read."""
        params = PARAMS.model_copy(update={"first_epoch": 3})
        folders["images"] = folders["images"] / "not read"
        with pytest.raises(ParameterError, match="first_epoch is 3; wanted from 1 to epochs, 2"):
            train_networks(params, **folders, device="cpu")


class TestSeveralProcesses:
    """One process of several, as if the others had just started."""

    @pytest.mark.parametrize("rank", [0, 1])
    def test_files(
        self, rank: int, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first decodes, and the others wait for it; it alone writes, before all end."""
        events: list[str] = []
        ranks = Ranks(torch.device("cpu"))
        ranks.rank, ranks.world = rank, 2
        monkeypatch.setattr(ranks, "barrier", lambda: events.append("wait"))
        monkeypatch.setattr(stage, "open_ranks", lambda _: ranks)

        def packed(*arguments: object) -> np.ndarray:
            events.append("decode")
            return pack_images(*arguments)

        def write(folder: Path) -> None:
            events.append("write")
            folder.mkdir()

        def train_one(plan: TrainingPlan, *_: object) -> SimpleNamespace:
            return SimpleNamespace(plan=plan, checkpoints=None, write=write)

        monkeypatch.setattr(stage, "pack_images", packed)
        monkeypatch.setattr(stage, "_train_one", train_one)
        asked: list[bool] = []
        train_networks(PARAMS, **folders, before_writing=lambda: asked.append(True))
        if rank == 0:
            assert events == ["decode", "wait", "wait", "write", "write", "wait"]
        else:
            assert events == ["wait", "decode", "wait", "wait"]
        assert (bool(asked), folders["out"].exists()) == (rank == 0, rank == 0)


class TestTracked:
    """`_tracked`."""

    @pytest.mark.parametrize("is_first", [True, False])
    def test_values(self, is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run of the plan gets each record and picture, from the first process alone."""
        told: list[object] = []

        @contextmanager
        def training_run(about: dict[str, str], fingerprint: str) -> Iterator[SimpleNamespace]:
            told.append((about["kind"], fingerprint))
            yield SimpleNamespace(log_epochs=told.append, log_picture=told.append)

        monkeypatch.setattr(stage, "training_run", training_run)
        with stage._tracked(plan_of(PARAMS, "plain"), "abc", is_first) as hooks:
            hooks.on_epoch({"epoch": 1})
            hooks.on_picture("fills")
        assert told == ([("plain", "abc"), {"epoch": 1}, "fills"] if is_first else [])


# In a process of its own: how its memory is cut up by then decides how soon a block is kept.
FAULTS = """
import resource, torch
from workflow.stages import train

def new_pages():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    torch.ones(25_000_000)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

train._keep_freed_memory()
print(min(new_pages() for _ in range(6)))
"""


class TestKeepFreedMemory:
    """`_keep_freed_memory`."""

    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the malloc of glibc")
    def test_values(self) -> None:
        """A block of 24 000 pages that is freed and asked for again costs no new ones."""
        command = [sys.executable, "-c", FAULTS]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 1000


class TestByName:
    """`by_name`."""

    def test_unfinished(self, tmp_path: Path) -> None:
        """What was killed on another machine is not looked at."""
        for name in ("0000/000001.png", ".0000.partial-pod-1-9-fa0a504c/000001.png"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
        assert by_name(tmp_path) == [tmp_path / "0000/000001.png"]

    def test_raises(self, tmp_path: Path) -> None:
        """One name in two shards is refused: there lie shards of two counts."""
        for name in ("0000/000001.png", "0001/000002.png", "0007/000002.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        with pytest.raises(DataError, match=r"000002.png lies in 0001 and in 0007; .* delete"):
            by_name(tmp_path)


class TestHeldOutPairs:
    """`held_out_pairs`."""

    def test_values(self, folders: dict[str, Path]) -> None:
        """Masks by number, photos in turn, all of the training size."""
        pairs = held_out_pairs(folders["raw"], folders["held_out"], SIZE)
        assert pairs.images.shape == (5, SIZE, SIZE, 3)
        assert pairs.masks.shape == (5, SIZE, SIZE)
        first, second = pairs.images[:2]
        assert not np.array_equal(first, second)
        for image, wanted in zip(pairs.images, (first, second, second, first, first), strict=True):
            np.testing.assert_array_equal(image, wanted)
        photo = read_image(folders["raw"] / "valid/gt/0.png")
        np.testing.assert_array_equal(first, fit_image(photo, SIZE))
        for number in range(5):
            mask = read_mask(folders["held_out"] / f"{number % 2:04d}/{number:06d}.png")
            np.testing.assert_array_equal(pairs.masks[number], mask)

    def test_large_jpeg(self, folders: dict[str, Path]) -> None:
        """A large JPEG is decoded in full, as it is when its pairs are evaluated."""
        for path in (folders["raw"] / "valid/gt").iterdir():
            path.unlink()
        noise = np.random.default_rng(0).integers(0, 256, (5 * SIZE, 7 * SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folders["raw"] / "valid/gt/0.jpg")
        pairs = held_out_pairs(folders["raw"], folders["held_out"], SIZE)
        wanted = fit_image(read_image(folders["raw"] / "valid/gt/0.jpg"), SIZE)
        np.testing.assert_array_equal(pairs.images[0], wanted)

    @pytest.mark.parametrize("photos", [1, 3, 6])
    def test_kinds(self, folders: dict[str, Path], photos: int) -> None:
        """Each photo meets masks of each kind, of which there are three in turn."""
        for path in (folders["raw"] / "valid/gt").iterdir():
            path.unlink()
        for number in range(photos):
            pixels = np.full((SIZE, SIZE, 3), number, np.uint8)
            write_image(folders["raw"] / f"valid/gt/{number}.png", pixels)
        shutil.rmtree(folders["held_out"] / "0001")
        shard = folders["held_out"] / "0000"
        for number in range(3 * photos):
            write_mask(shard / f"{number:06d}.png", np.eye(SIZE, dtype=bool))
        images = held_out_pairs(folders["raw"], folders["held_out"], SIZE).images
        met = {(int(image[0, 0, 0]), number % 3) for number, image in enumerate(images)}
        assert len(met) == 3 * photos

    def test_raises(self, folders: dict[str, Path], tmp_path: Path) -> None:
        """No masks, or no photos, are refused."""
        with pytest.raises(DataError, match=r"empty: no files NNNN/\*\.png; the stage masks"):
            held_out_pairs(folders["raw"], tmp_path / "empty", SIZE)
        with pytest.raises(DataError, match=r"valid/gt: no photos"):
            held_out_pairs(tmp_path / "empty", folders["held_out"], SIZE)

    def test_order(self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """In whatever order the file system lists them, the pairs are the same."""
        wanted = held_out_pairs(folders["raw"], folders["held_out"], SIZE)
        listed = Path.glob
        for is_reversed in (False, True):
            monkeypatch.setattr(
                Path, "glob", lambda *a, r=is_reversed: iter(sorted(listed(*a), reverse=r))
            )
            found = held_out_pairs(folders["raw"], folders["held_out"], SIZE)
            np.testing.assert_array_equal(found.images, wanted.images)
            np.testing.assert_array_equal(found.masks, wanted.masks)


class TestPlanOf:
    """`plan_of`."""

    def test_values(self) -> None:
        """Every parameter reaches the plan, which is seen where it differs from the plan's own."""
        others = {
            "initial_weights": "some.safetensors",
            "finetune_freezes": "statistics",
            "anneal": True,
            "precision": "bf16",
            "tf32": True,
            "channels_last": True,
            "compile": True,
            "checkpoint_every_epochs": 2,
            "validate_every_epochs": 2,
            "pictures_every_epochs": 2,
        }
        params = PARAMS.model_copy(update=others)
        plan = plan_of(params, "plain")
        assert plan.kind == "plain"
        assert plan.weights == LossWeights(valid=1, hole=6, perceptual=0, style=0, tv=0.1)
        assert not [field for field in fields(plan) if getattr(plan, field.name) == field.default]
        for name, value in params.model_dump().items():
            if name != "kinds" and not name.endswith("_weight"):
                assert getattr(plan, name) == value


class TestSlowBf16:
    """`warn_of_slow_bf16`."""

    @pytest.mark.parametrize("instructions", ["AVX2", "ALL"])
    def test_values(self, instructions: str) -> None:
        """It speaks where the CPU has no AVX-512, or may not use it, and else is silent."""
        done = subprocess.run(
            [sys.executable, "-c", "from workflow.stages import train as t; t.warn_of_slow_bf16()"],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
            capture_output=True,
            text=True,
            check=True,
        )
        is_quick = instructions == "ALL" and "avx512bw" in Path("/proc/cpuinfo").read_text()
        assert ("many times slower" in done.stderr) != is_quick

    def test_asked_for(self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """A training on a CPU asks for it if it is to be in bf16, and only then."""
        asked: list[str] = []
        monkeypatch.setattr(stage, "warn_of_slow_bf16", lambda: asked.append("bf16"))
        for precision in ("float32", "bf16"):
            train_networks(PARAMS.model_copy(update={"precision": precision}), **folders)
        assert asked == ["bf16"]


class TestCode:
    """What a checkpoint belongs to."""

    def test_names_all_code(self) -> None:
        """The code a checkpoint is bound to is all that a training run imports."""
        wanted = sorted(f"pconv/{name}.py" for name in code_modules())
        assert wanted == stage_code("pconv.training")


class TestMain:
    """`main`."""

    def test_command_line(self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """The command line of dvc.yaml reaches the function."""
        monkeypatch.setattr(
            sys, "argv", ["train", *command_line(folders), "--stop-after-s", "1000"]
        )
        monkeypatch.setattr(stage, "start_stage", lambda _: (PARAMS, lambda: None))
        stage.main()
        assert (folders["out"] / "pconv" / "last.safetensors").is_file()
        assert not list(folders["state"].rglob("*.pt"))

        # What an edit has overtaken is not written, and what was trained is kept.
        monkeypatch.setattr(stage, "start_stage", lambda _: (PARAMS, refuse))
        before = contents(folders["out"])
        (folders["out"] / "pconv/log.jsonl").write_text("of another training")
        with pytest.raises(ParameterError, match="edited"):
            stage.main()
        assert contents(folders["out"]) == before | {"pconv/log.jsonl": b"of another training"}
        assert list(folders["state"].rglob("*.pt"))

    @pytest.mark.parametrize(
        ("world", "rank", "stop_after_s", "wanted"),
        [(1, 0, 5, [5]), (1, 0, None, [None]), (2, 0, 5, [0]), (2, 1, 5, [])],
    )
    def test_patience(
        self,
        folders: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch,
        world: int,
        rank: int,
        stop_after_s: float | None,
        wanted: list[float | None],
    ) -> None:
        """One process waits for another training as long as it has time; of several none does.

        Of several the first alone has the folder.
        """
        asked: list[float | None] = []

        @contextmanager
        def held(_: Path, patience_s: float | None) -> Iterator[None]:
            asked.append(patience_s)
            yield

        def stop(*_: object) -> None:
            raise DataError("stopped")

        ranks = open_ranks("cpu")
        monkeypatch.setattr(ranks, "world", world)
        monkeypatch.setattr(ranks, "rank", rank)
        monkeypatch.setattr(stage, "open_ranks", lambda _: ranks)
        monkeypatch.setattr(stage, "hold", held)
        monkeypatch.setattr(stage, "_training_set", stop)  # what comes next
        with pytest.raises(DataError, match="stopped"):
            train_networks(PARAMS, **folders, stop_after_s=stop_after_s)
        assert asked == wanted

    def test_edited_at_the_end(
        self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The checkpoints of what an edit has overtaken while it was written are kept."""
        checkpoints = CheckpointFolder(folders["state"], "0123456789abcdef")
        checkpoints.save(1, {})
        monkeypatch.setattr(sys, "argv", ["train", *command_line(folders)])
        monkeypatch.setattr(stage, "start_stage", lambda _: (PARAMS, refuse))
        monkeypatch.setattr(stage, "train_networks", lambda *_, **__: [checkpoints])
        with pytest.raises(ParameterError, match="edited"):
            stage.main()
        assert checkpoints.newest_path()

    @pytest.mark.parametrize(
        ("time", "seconds"),
        [([], None), (["--stop-after-s", "0"], 0), (["--stop-after-s", "5.5"], 5.5)],
    )
    def test_held(
        self,
        folders: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        time: list[str],
        seconds: float | None,
    ) -> None:
        """Who has no time left to wait for another training is out of time: nothing is wrong."""
        monkeypatch.setattr(sys, "argv", ["train", *command_line(folders), *time])
        monkeypatch.setattr(stage, "start_stage", lambda _: (PARAMS, lambda: None))

        def held(*_: object, **options: object) -> None:
            assert (options["device"], options["stop_after_s"]) == ("auto", seconds)
            raise HeldError("busy")

        asked: list[bool] = []
        monkeypatch.setattr(stage, "_keep_freed_memory", lambda: asked.append(True))
        monkeypatch.setattr(stage, "train_networks", held)
        if not time:
            with pytest.raises(HeldError):
                stage.main()
            assert asked
            return
        with pytest.raises(SystemExit) as ended:
            stage.main()
        assert (ended.value.code, capsys.readouterr().err) == (EXIT_OUT_OF_TIME, "busy\n")
