"""A training run one can trust: tiny networks, real losses, real kills."""

import io
import json
import logging
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tqdm import tqdm

from pconv import training
from pconv.dataset import Batches, ImageSet, Loader
from pconv.errors import DataError, ParameterError, TrainingError
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss, LossWeights
from pconv.plan import Frozen
from pconv.progress import Hooks, Record, TrainedRun
from pconv.ranks import Ranks, open_ranks
from pconv.stopping import EXIT_OUT_OF_TIME, TrainingStopped
from pconv.training import compile_mode, run_fingerprint, train
from pconv.unet import PConvUNet
from pconv.weights import load_weights
from pconv.weights_header import read_about
from tests.pconv import tiny_run
from tests.pconv.tiny_run import METHOD, PLAN, STEPS, data, held_out, run


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run that nothing stopped."""
    return run(tmp_path_factory.mktemp("unstopped"))


def files_of(trained: TrainedRun, folder: Path) -> dict[str, bytes]:
    """The bytes a run leaves."""
    trained.write(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_same_bytes(one: TrainedRun, other: TrainedRun, folder: Path) -> None:
    """Compare weights and logs byte by byte."""
    assert files_of(one, folder / "one") == files_of(other, folder / "other")


def numbers(record: Record) -> dict[str, float]:
    """What was measured in an epoch."""
    return {name: value for name, value in record.items() if value is not None}


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of a run be up when it has taken so many steps."""
    asked = iter([False] * step + [True])
    monkeypatch.setattr("pconv.stopping.StopRequest.came", property(lambda _: next(asked)))


class TestTrain:
    """The loop as a whole."""

    def test_smoke(self, unstopped: TrainedRun) -> None:
        """The loss and the error on held-out pairs fall."""
        totals = [record["total"] for record in unstopped.progress.records]
        errors = [r["valid_hole_l1"] for r in unstopped.progress.records if r["valid_hole_l1"]]
        assert totals[-1] < totals[0]
        assert errors[-1] < errors[0]

    def test_log(self, unstopped: TrainedRun) -> None:
        """Each epoch has one record; held-out pairs are measured every second one here."""
        records = unstopped.progress.records
        assert [r["epoch"] for r in records] == [1, 2, 3, 4]
        assert [r["phase"] for r in records] == [1, 1, 2, 2]
        assert [r["learning_rate"] for r in records] == [2e-3, 2e-3, 5e-4, 5e-4]
        assert [r["valid_hole_l1"] is not None for r in records] == [False, True, False, True]
        for record in records:
            parts = record["valid"] + 6 * record["hole"] + 0.1 * record["tv"]
            assert record["total"] == pytest.approx(parts, rel=1e-4)

    @pytest.mark.parametrize("freezes", ["encoder", "statistics"])
    def test_values(self, freezes: Frozen, unstopped: TrainedRun, tmp_path: Path) -> None:
        """A loop of a few plain lines gives the same losses in both phases."""
        trained = unstopped
        if freezes != PLAN.finetune_freezes:
            trained = run(tmp_path / "state", replace(PLAN, finetune_freezes=freezes))
        torch.set_num_threads(PLAN.threads)
        images, masks = torch.tensor(data().images), torch.tensor(data().masks)
        torch.manual_seed(PLAN.seed)
        model = PConvUNet(width=PLAN.width, levels=PLAN.levels)
        loss = InpaintingLoss(None, PLAN.weights)
        adam = torch.optim.Adam(model.parameters(), foreach=False)
        batches = Batches(len(images), len(masks), PLAN.batch_size, PLAN.seed)
        for record in trained.progress.records:
            adam.param_groups[0]["lr"] = record["learning_rate"]
            totals = []
            if record["phase"] == 2 and freezes == "encoder":
                model.freeze_encoder_norms()
            elif record["phase"] == 2:
                for layer in model.layers():
                    layer.eval()
            for batch in batches.of_epoch(record["epoch"]):
                image = images[batch[:, 0]].permute(0, 3, 1, 2) / 255
                mask = masks[batch[:, 1]][:, None].float()
                totals.append(loss(model(image, mask), image, mask)["total"])
                adam.zero_grad()
                totals[-1].backward()
                adam.step()
            assert record["total"] == pytest.approx(torch.stack(totals).mean().item(), rel=1e-4)

    def test_resume_at_every_step(
        self, unstopped: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run stopped after every single step ends with the bytes of one never stopped."""
        for step in range(PLAN.epochs * STEPS):
            stop_at(1 if step else 0, monkeypatch)
            with pytest.raises(TrainingStopped, match=f"at step {step};") as stopped:
                run(tmp_path / "state")
            assert stopped.value.exit_status == EXIT_OUT_OF_TIME
        monkeypatch.undo()
        assert_same_bytes(run(tmp_path / "state"), unstopped, tmp_path)

    def test_resume_when_finished(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """A finished run called again takes no step and gives the same."""
        run(tmp_path / "state")
        epochs = []
        again = run(tmp_path / "state", hooks=Hooks(on_epoch=epochs.append))
        assert epochs == []
        assert_same_bytes(again, unstopped, tmp_path)

    def test_time_limit(self, tmp_path: Path) -> None:
        """A run without time stops before its first step, with a checkpoint."""
        with pytest.raises(TrainingStopped, match=r"not finished: its time was up at step 0; .*pt"):
            run(tmp_path, stop_after_s=0)
        assert [path.name for path in tmp_path.glob("*/*.pt")] == ["step-000000000.pt"]

    def test_time_limit_after_the_last_step(
        self, unstopped: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run whose time is up when all is done has finished."""
        stop_at(PLAN.epochs * STEPS, monkeypatch)
        assert run(tmp_path).progress.records == unstopped.progress.records

    def test_time_limit_of_several_processes(self, tmp_path: Path) -> None:
        """One of several processes stops in time, too."""
        several = Ranks(torch.device("cpu"))
        several.world = 2
        with pytest.raises(TrainingStopped, match="its time was up at step 0"):
            train(PLAN, data(), held_out(), tmp_path, several, stop_after_s=0)

    def test_second_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Of several processes the first alone measures, tells and writes."""
        monkeypatch.setattr(training, "_SIGN_OF_LIFE_S", 0)
        second = Ranks(torch.device("cpu"))
        second.rank, second.world = 1, 2
        told = []
        hooks = Hooks(on_epoch=told.append, on_picture=lambda *picture: told.append(picture))
        with caplog.at_level(logging.INFO):
            trained = train(PLAN, data(), held_out(), tmp_path, second, hooks=hooks)
        assert {record["valid_hole_l1"] for record in trained.progress.records} == {None}
        assert told == caplog.messages == list(tmp_path.iterdir()) == []

    def test_last_epoch(self, tmp_path: Path) -> None:
        """Whatever the intervals, the last epoch is measured and saved."""
        plan = replace(PLAN, validate_every_epochs=3, checkpoint_every_epochs=3)
        records = run(tmp_path, plan).progress.records
        assert [r["valid_hole_l1"] is not None for r in records] == [False, False, True, True]
        epochs: list[Record] = []
        run(tmp_path, plan, hooks=Hooks(on_epoch=epochs.append))
        assert not epochs

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal_after_the_last_step(
        self, number: int, unstopped: TrainedRun, tmp_path: Path
    ) -> None:
        """A signal while the last epoch is measured is not forgotten, and no work is lost."""

        def interrupt(record: Record) -> None:
            if record["epoch"] == PLAN.epochs:
                os.kill(os.getpid(), number)

        state = tmp_path / "state"
        with pytest.raises(TrainingStopped, match=f"{signal.Signals(number).name} at step") as told:
            run(state, hooks=Hooks(on_epoch=interrupt))
        assert told.value.exit_status == 128 + number
        epochs: list[Record] = []
        again = run(state, hooks=Hooks(on_epoch=epochs.append))
        assert not epochs
        assert_same_bytes(again, unstopped, tmp_path)

    def test_sign_of_life(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without a progress bar the log tells every minute how far a long epoch has come.

        Here each of six steps takes 25 seconds, 5 of which are spent waiting for its batch.
        """
        clock, loaders, records = [0.0], [], []

        def loader(*arguments: object) -> Loader:
            loaders.append(Loader(*arguments))
            return loaders[-1]

        def step(*arguments: object) -> object:
            clock[0] += 25
            loaders[0].waited_s += 5
            return take_step(*arguments)

        take_step = training._Learner.step
        monkeypatch.setattr(training._Learner, "step", step)
        monkeypatch.setattr(training, "Loader", loader)
        monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
        images, hooks = data(count=6 * PLAN.batch_size), Hooks(on_epoch=records.append)
        with caplog.at_level(logging.INFO):
            train(PLAN, images, held_out(), tmp_path, open_ranks("cpu"), hooks=hooks)
        told = [line for line in caplog.messages if ": step " in line]
        steps = [(epoch, step) for epoch in range(1, PLAN.epochs + 1) for step in (3, 6)]
        assert told == [f"pconv epoch {epoch} of 4: step {step} of 6" for epoch, step in steps]
        for record in records:
            assert record["seconds"] == 150
            assert record["images_per_s"] == 24 / 150
            assert record["wait_share"] == pytest.approx(5 / 25, rel=0.2)

    def test_bar(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The bar counts the run's images, from where it goes on; the log need not tell of them."""
        bars = []

        def bar(**options: object) -> tqdm:
            bars.append(tqdm(**options | {"disable": False, "file": io.StringIO()}))
            return bars[-1]

        monkeypatch.setattr(training, "tqdm", bar)
        monkeypatch.setattr(training, "_SIGN_OF_LIFE_S", 0)
        with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
            stop_at(STEPS + 1, patch)
            with pytest.raises(TrainingStopped):
                run(tmp_path)
        run(tmp_path)
        images, done = PLAN.epochs * STEPS * PLAN.batch_size, (STEPS + 1) * PLAN.batch_size
        assert [(bar.initial, bar.n, bar.total) for bar in bars] == [
            (0, done, images),
            (done, images, images),
        ]
        assert not [line for line in caplog.messages if "epoch" in line]

    @pytest.mark.parametrize(
        "plan",
        [replace(PLAN, seed=2), replace(PLAN, learning_rate=1e-3)],
        ids=["seed", "learning rate"],
    )
    def test_foreign_checkpoint(
        self, plan: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A checkpoint of other params is not resumed: the log says so, and all starts anew."""
        run(tmp_path / "state", plan)
        with caplog.at_level(logging.INFO):
            after = run(tmp_path / "state")
        assert "of other params, data or code; not resumed" in caplog.text
        assert len([r for r in caplog.records if "epoch" in r.getMessage()]) == PLAN.epochs
        assert after.fingerprint == run_fingerprint(PLAN, data(), held_out())

    def test_checkpoint_of_other_data(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A checkpoint of other data, be it the held-out pairs, is not resumed."""
        run(tmp_path)
        caplog.set_level(logging.INFO)
        other = ImageSet(data().images[:3], data().masks[:3])
        for images, pairs in ((data(seed=5), held_out()), (data(), other)):
            caplog.clear()
            train(PLAN, images, pairs, tmp_path, open_ranks("cpu"))
            assert "not resumed" in caplog.text
            assert "resuming from" not in caplog.text

    @pytest.mark.parametrize("what", ["code", "torch", "instructions"])
    def test_checkpoint_of_another_program(
        self,
        what: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A checkpoint of other code, torch or instructions of the processor is not resumed."""
        run(tmp_path)
        if what == "code":
            monkeypatch.setattr("pconv.training.code_modules", lambda: ["unet"])
        elif what == "torch":
            monkeypatch.setattr("pconv.training.torch.__version__", "0.0")
        else:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        run(tmp_path)
        assert "not resumed" in caplog.text

    def test_resumes_with_other_intervals(
        self, unstopped: TrainedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A run that is saved and shown more or less often from now on goes on, and ends alike."""
        with pytest.MonkeyPatch.context() as patch:
            stop_at(STEPS + 1, patch)
            with pytest.raises(TrainingStopped):
                run(tmp_path)
        plan = replace(PLAN, checkpoint_every_epochs=3, pictures_every_epochs=2)
        with caplog.at_level(logging.INFO):
            again = run(tmp_path, plan)
        assert "resuming from" in caplog.text
        assert again.progress.records == unstopped.progress.records

    def test_damaged_checkpoint(
        self, unstopped: TrainedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A cut checkpoint is passed over for the one before it; the result is the same."""
        run(tmp_path / "state")
        newest = max((tmp_path / "state").glob("*/*.pt"))
        newest.write_bytes(newest.read_bytes()[:1000])
        with caplog.at_level(logging.INFO):
            again = run(tmp_path / "state")
        assert f"{newest}: damaged" in caplog.text
        assert "step-000000006.pt" in caplog.text
        assert_same_bytes(again, unstopped, tmp_path)

    def test_frozen_norms(self, unstopped: TrainedRun) -> None:
        """The second phase leaves the encoder's batch norms as they were, and trains the rest."""
        first, last = (unstopped.progress.snapshots[name] for name in ("first", "last"))
        frozen = {key for key in first if key.startswith("encoder") and "norm" in key}
        assert len(frozen) == 5 * (PLAN.levels - 1)
        for key in first:
            assert torch.equal(first[key], last[key]) == (key in frozen), key

    def test_frozen_norms_after_resume(
        self, unstopped: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They stay frozen when the run is resumed within the second phase."""
        stop_at(2 * STEPS + 1, monkeypatch)
        with pytest.raises(TrainingStopped):
            run(tmp_path / "state")
        monkeypatch.undo()
        assert_same_bytes(run(tmp_path / "state"), unstopped, tmp_path)

    def test_not_finite(self, tmp_path: Path) -> None:
        """A loss that is not finite stops the run; step, terms and checkpoint are named."""
        wild = replace(PLAN, finetune_learning_rate=1e30)
        first_wild = 2 * STEPS + 2
        with pytest.raises(
            TrainingError,
            match=rf"step {first_wild}: a loss is not finite \(valid .*, total .*\); .*000006\.pt",
        ):
            run(tmp_path, wild)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_one_not_finite(
        self, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One term is enough, be it infinite or no number."""
        terms = {"hole": torch.tensor(1.0), "total": torch.tensor(value)}
        monkeypatch.setattr(training._Learner, "step", lambda *_: terms)
        with pytest.raises(TrainingError, match=rf"step 1: .* \(hole 1, total {value:g}\)"):
            run(tmp_path)

    def test_not_finite_before_any_checkpoint(self, tmp_path: Path) -> None:
        """Before the first checkpoint it says that there is none."""
        with pytest.raises(TrainingError, match="the last good checkpoint is none yet"):
            run(tmp_path, replace(PLAN, learning_rate=1e30))

    def test_perfect_fill(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The infinite PSNR of a perfect fill is null in the log, which stays valid JSON."""
        perfect = {"valid_hole_l1": 0.0, "valid_hole_psnr": math.inf}
        monkeypatch.setattr("pconv.validation.HeldOut.measure", lambda *_: perfect)
        trained = run(tmp_path / "state")
        assert b'"valid_hole_psnr": null' in files_of(trained, tmp_path / "out")["log.jsonl"]

    def test_raises(self, tmp_path: Path) -> None:
        """What can't be trained is refused before the first step."""
        few = ImageSet(data().images[:3], data().masks)
        with pytest.raises(DataError, match="3 training images do not fill a batch of 4"):
            train(PLAN, few, held_out(), tmp_path, open_ranks("cpu"))
        thirds = Ranks(torch.device("cpu"))
        thirds.world = 3
        with pytest.raises(ParameterError, match="can't be split evenly among 3"):
            train(PLAN, data(), held_out(), tmp_path, thirds)
        assert list(tmp_path.iterdir()) == []

    def test_leaves_global_state(self, tmp_path: Path) -> None:
        """Threads, determinism, random state and signal handlers are as before."""

        def state() -> list[object]:
            return [
                torch.get_num_threads(),
                torch.are_deterministic_algorithms_enabled(),
                torch.utils.deterministic.fill_uninitialized_memory,
                torch.backends.cudnn.allow_tf32,
                signal.getsignal(signal.SIGTERM),
                torch.get_rng_state().tolist(),
            ]

        torch.set_num_threads(PLAN.threads + 1)
        before = state()
        run(tmp_path, replace(PLAN, tf32=True, epochs=2))
        assert state() == before

    def test_default_device(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """Where torch makes its tensors makes no difference: weights are drawn on the CPU."""
        torch.set_default_device("meta")
        try:
            trained = run(tmp_path / "state")
        finally:
            torch.set_default_device(None)
        assert_same_bytes(trained, unstopped, tmp_path)

    def test_hooks(self, tmp_path: Path) -> None:
        """Watchers get each record with timing, and a picture of four pairs at most."""
        records, pictures = [], []
        hooks = Hooks(
            on_epoch=records.append,
            on_picture=lambda name, picture, epoch: pictures.append((name, picture.shape, epoch)),
        )
        trained = run(tmp_path, replace(PLAN, pictures_every_epochs=3), hooks=hooks)
        assert pictures == [("fills", (3 * 32, 3 * 32, 3), epoch) for epoch in (3, 4)]
        for told, logged in zip(records, trained.progress.records, strict=True):
            timing = {key: told.pop(key) for key in ("seconds", "images_per_s", "wait_share")}
            assert all(value > 0 for value in timing.values())
            assert told == logged
        assert len((tmp_path / "timing.jsonl").read_text().splitlines()) == PLAN.epochs

    @pytest.mark.parametrize(
        "options",
        [{"channels_last": True}, {"precision": "bf16"}],
        ids=["channels last", "bf16"],
    )
    @pytest.mark.parametrize("kind", ["pconv", "plain"])
    def test_options_keep_results(
        self, kind: str, options: dict[str, object], tmp_path: Path
    ) -> None:
        """Memory order and precision change the losses of an epoch by their rounding only."""
        short = {"epochs": 1, "first_epoch": 1, "finetune_from_epoch": 1}
        plan = replace(PLAN, kind=kind, weights=LossWeights(), **short)
        plain = run(tmp_path / "plain", plan).progress.records[0]
        other = run(tmp_path / "other", replace(plan, **options)).progress.records[0]
        assert other == pytest.approx(plain, rel=2e-2)
        assert other != plain or "precision" not in options

    def test_annealed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An annealed rate falls from step to step, also within an epoch and after a resumption."""
        plan, rates = replace(PLAN, anneal=True), []
        take_step = training._Learner.step

        def step(learner: training._Learner, *batch: torch.Tensor | float) -> object:
            rates.append(batch[2])
            return take_step(learner, *batch)

        monkeypatch.setattr(training._Learner, "step", step)
        with monkeypatch.context() as patch:
            stop_at(STEPS + 1, patch)
            with pytest.raises(TrainingStopped):
                run(tmp_path, plan)
        run(tmp_path, plan)
        steps = range(plan.epochs * STEPS)
        assert rates == [plan.learning_rate_after(step / STEPS) for step in steps]

    def test_initial_weights(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """A run begins with a file's weights, the second phase at once if so wished."""
        unstopped.write(tmp_path)
        file = tmp_path / "last.safetensors"
        plan = replace(
            PLAN,
            initial_weights=str(file),
            epochs=1,
            first_epoch=1,
            finetune_from_epoch=0,
            finetune_freezes="statistics",
        )
        trained = run(tmp_path / "state", plan)
        torch.set_num_threads(PLAN.threads)
        model = load_weights(file)  # in evaluation mode, so its statistics stay
        loss = InpaintingLoss(None, PLAN.weights)
        adam = torch.optim.Adam(model.parameters(), PLAN.finetune_learning_rate, foreach=False)
        totals = []
        for batch in Batches(
            len(data().images), len(data().masks), PLAN.batch_size, PLAN.seed
        ).of_epoch(1):
            image = torch.tensor(data().images)[batch[:, 0]].permute(0, 3, 1, 2) / 255
            mask = torch.tensor(data().masks)[batch[:, 1]][:, None].float()
            totals.append(loss(model(image, mask), image, mask)["total"])
            adam.zero_grad()
            totals[-1].backward()
            adam.step()
        expected = torch.stack(totals).mean().item()
        assert trained.progress.records[0]["total"] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(
        ("weights", "asked"),
        [
            (LossWeights(perceptual=0, style=0), 0),
            (LossWeights(perceptual=0), 1),
            (LossWeights(style=0), 1),
        ],
    )
    def test_features(
        self, weights: LossWeights, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """VGG-16's weights are those of the plan, and wanted only where a loss has use for them."""
        found = []

        def features(*arguments: object) -> object:
            found.append(arguments)
            return vgg16_features("random")

        monkeypatch.setattr(training, "vgg16_features", features)
        short = {"epochs": 1, "first_epoch": 1, "finetune_from_epoch": 1}
        run(tmp_path, replace(PLAN, features="imagenet", features_seed=7, weights=weights, **short))
        assert found == [("imagenet", 7)] * asked

    def test_features_seed(self, tmp_path: Path) -> None:
        """Random features are those of their seed."""
        short = {"epochs": 1, "first_epoch": 1, "finetune_from_epoch": 1}
        losses = [
            run(tmp_path / f"{seed}", replace(METHOD, features_seed=seed, **short))
            for seed in (0, 1)
        ]
        first, second = (trained.progress.records[0] for trained in losses)
        assert first["perceptual"] != pytest.approx(second["perceptual"], rel=1e-3)

    @pytest.mark.parametrize("tf32", [False, True])
    def test_threads(self, tf32: bool, tmp_path: Path) -> None:
        """The steps run on as many threads, and products in the precision, that the plan says."""
        found = []

        def note(_: Record) -> None:
            found.append((torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32))

        short = {"epochs": 1, "first_epoch": 1, "finetune_from_epoch": 1}
        plan = replace(PLAN, threads=PLAN.threads + 1, tf32=tf32, **short)
        run(tmp_path, plan, hooks=Hooks(on_epoch=note))
        assert found == [(PLAN.threads + 1, tf32)]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "how",
        ["killed in an epoch", "killed in a checkpoint", "killed between the phases", "terminated"],
    )
    def test_resume_after(self, how: str, unstopped: TrainedRun, tmp_path: Path) -> None:
        """A process that dies anywhere leaves what the next one needs for the same bytes."""
        died = start(how, tmp_path / "state")
        if how == "terminated":
            assert died.returncode == 1  # the exception of a library call, not a silent death
            assert "TrainingStopped: not finished: SIGTERM at step 4; " in died.stderr
        else:
            assert died.returncode == -signal.SIGKILL
        epochs = []
        again = run(tmp_path / "state", hooks=Hooks(on_epoch=epochs.append))
        assert (len(epochs) < PLAN.epochs) == (how != "killed between the phases")
        assert_same_bytes(again, unstopped, tmp_path)
        assert not list((tmp_path / "state").rglob(".*partial*"))

    @pytest.mark.slow
    def test_several_processes(self, tmp_path: Path) -> None:
        """Two processes stop when one of them is told to, and go on to the loss curve of one."""
        # As workflow.graph has it: without the address a machine that can't tell its own waits.
        torchrun = ["torch.distributed.run", "--standalone", "--local-addr=localhost"]
        how = "several processes, one told to stop"
        start(how, tmp_path, "-m", *torchrun, "--nproc-per-node=2", check=True)
        for rank, why in enumerate(["another process was asked to stop", "SIGTERM"]):
            told = (tmp_path / f"told-{rank}").read_text()
            assert told.startswith(f"not finished: {why} at step {STEPS + 1}; ")
            assert f"step-{STEPS + 1:09d}.pt is saved" in told
        alone = run(tmp_path / "alone", METHOD)
        together = [
            json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()
        ]
        for one, two in zip(alone.progress.records, together, strict=True):
            # The held-out fills are rounded to 8 bits, where a rounding error can show.
            for name, value in numbers(one).items():
                tolerance = 1e-4 if name.startswith("valid_") else 1e-5
                assert two[name] == pytest.approx(value, rel=tolerance), name

    @pytest.mark.parametrize(
        ("device", "world", "wanted"),
        [("cpu", 1, None), ("cuda", 1, "reduce-overhead"), ("cuda", 2, None)],
    )
    def test_compile_mode(self, device: str, world: int, wanted: str | None) -> None:
        """CUDA graphs are for one process on a GPU."""
        ranks = Ranks(torch.device(device))
        ranks.world = world
        assert compile_mode(ranks) == wanted

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("compiled", [False, True])
    def test_cuda(self, compiled: bool, unstopped: TrainedRun, tmp_path: Path) -> None:
        """A GPU gives the loss curve of the CPU to the rounding of its own products."""
        plan = replace(PLAN, compile=compiled)
        trained = train(plan, data(), held_out(), tmp_path, open_ranks("cuda"))
        for cpu, cuda in zip(unstopped.progress.records, trained.progress.records, strict=True):
            assert numbers(cuda) == pytest.approx(numbers(cpu), rel=1e-2)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_not_finite_on_cuda(self, tmp_path: Path) -> None:
        """Losses that are read seldom still name the first bad step."""
        wild = replace(PLAN, finetune_learning_rate=1e30)
        with pytest.raises(TrainingError, match=rf"step {2 * STEPS + 2}: .*000006\.pt"):
            train(wild, data(), held_out(), tmp_path, open_ranks("cuda"))


def start(
    how: str, state: Path, *launcher: str, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run tiny_run in a process of its own."""
    command = [sys.executable, *launcher, tiny_run.__file__, how, str(state)]
    root = Path(training.__file__).parents[1]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


class TestTrainedRun:
    """What a run leaves."""

    def test_weights(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """The files hold the kept weights, and say what made them."""
        unstopped.write(tmp_path)
        for name, epoch in (("first", "2"), ("last", "4")):
            path = tmp_path / f"{name}.safetensors"
            model = load_weights(path)
            for key, value in unstopped.progress.snapshots[name].items():
                assert torch.equal(model.state_dict()[key], value)
            about = read_about(path)
            assert about["epoch"] == epoch
            assert about["fingerprint"] == run_fingerprint(PLAN, data(), held_out())
            assert about["kind"] == "pconv"
            assert about["features"] == "random"
            assert about["weight_hole"] == "6.0"
            assert about["size_px"] == "32"

    def test_weights_of_the_plan(self, tmp_path: Path) -> None:
        """They are of the network of the plan, in any memory order."""
        short = {"epochs": 1, "first_epoch": 1, "finetune_from_epoch": 1, "channels_last": True}
        plan = replace(PLAN, kind="plain", centre="known", mask_channel=True, **short)
        trained = run(tmp_path / "state", plan)
        trained.write(tmp_path)
        model = load_weights(tmp_path / "last.safetensors")
        assert model.hyperparameters().items() >= plan.hyperparameters().items()
        for key, value in trained.progress.snapshots["last"].items():
            assert torch.equal(model.state_dict()[key], value)

    def test_log(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """The log is one JSON line an epoch, without any number of the clock."""
        unstopped.write(tmp_path)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert lines == unstopped.progress.records
        assert all(math.isfinite(v) for line in lines for v in line.values() if v is not None)
        assert not {"seconds", "images_per_s", "wait_share"} & lines[0].keys()

    def test_bytes(self, unstopped: TrainedRun, tmp_path: Path) -> None:
        """Another run in another folder gives the same bytes."""
        assert_same_bytes(run(tmp_path / "state"), unstopped, tmp_path)

    def test_first_and_last_differ(self, unstopped: TrainedRun) -> None:
        """The snapshots are copies: later steps leave the first one alone."""
        first, last = (unstopped.progress.snapshots[name] for name in ("first", "last"))
        weight = "decoder.0.conv.weight"
        assert not np.array_equal(first[weight].numpy(), last[weight].numpy())
