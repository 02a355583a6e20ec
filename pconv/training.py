"""The training loop: two phases, checkpoints, and a run that can be stopped at any step.

A step depends on the weights before it and on (seed, epoch, position) alone: there is no other
randomness. So a run that was stopped, or killed, and started again ends with the same bytes on
the CPU as one that never was.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pconv.checkpoints import CheckpointFolder
from pconv.dataset import Batches, ImageSet, Loader, as_network_input
from pconv.determinism import reproducible
from pconv.errors import ParameterError, TrainingError
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss
from pconv.plan import TrainingPlan
from pconv.progress import Hooks, Progress, Record, StateDict, TrainedRun
from pconv.ranks import Ranks
from pconv.stopping import StopRequest
from pconv.unet import UNet, build_unet
from pconv.validation import HeldOut
from pconv.weights import begin_with

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)
LossFunction = Callable[[Tensor, Tensor], dict[str, Tensor]]

PICTURE_ROWS = 4
_CUDA_CHECK_STEPS = 50  # reading a loss waits for the GPU, so it is read this seldom
_SIGN_OF_LIFE_S = 60  # how often a log without a progress bar is told how far the epoch has come
# The widest instructions that convolutions on a CPU use; with others sums round otherwise.
_INSTRUCTIONS = "ONEDNN_MAX_CPU_ISA"
_DIGITS = 6  # of the numbers in the log
_IMPORT = re.compile(r"^\s*from pconv\.(\w+) import", re.MULTILINE)


def train(
    plan: TrainingPlan,
    data: ImageSet,
    held_out: ImageSet,
    state: Path,
    ranks: Ranks,
    *,
    hooks: Hooks | None = None,
    stop_after_s: float | None = None,
) -> TrainedRun:
    """Train a network, going on from the newest checkpoint in ``state`` if it is of this run.

    Args:
        plan: What to train, and how.
        data: The training set.
        held_out: Fixed pairs to measure on; image i belongs to mask i.
        state: Folder of the checkpoints and of ``timing.jsonl``.
        ranks: This process and the others.
        hooks: Who else wants to know.
        stop_after_s: Stop with a checkpoint after so many seconds.

    Returns:
        What came of it: log, weights of both epochs that are kept, checkpoints that are left.

    Raises:
        TrainingStopped: If a signal came or the time was up; a checkpoint was written.
        TrainingError: If a loss is not finite.
        DataError: If the data can't be trained on.
        ParameterError: If the batch can't be split evenly among the processes.
        WeightsError: If the run can't begin with the weights that the plan names.
    """
    batches = Batches(len(data.images), len(data.masks), plan.batch_size, plan.seed)
    pairs = HeldOut(held_out, plan.batch_size)
    fingerprint = run_fingerprint(plan, data, held_out)
    with reproducible(ranks.device, threads=plan.threads, tf32=plan.tf32):
        learner = _Learner(plan, ranks)
        checkpoints = CheckpointFolder(state, _identity(fingerprint))
        with StopRequest(stop_after_s) as stop, Loader(data, ranks.device) as loader:
            run = _Run(learner, batches, loader, pairs, checkpoints, stop, hooks or Hooks())
            run.go()
    return TrainedRun(plan, fingerprint, data.images.shape[1], run.progress, checkpoints)


def run_fingerprint(plan: TrainingPlan, data: ImageSet, held_out: ImageSet) -> str:
    """Return the SHA-256 of a plan and its data: the name of a run."""
    return plan.fingerprint(data.digest, held_out.digest)


class _Learner:
    """Network, losses and optimizer: what a step needs besides a batch."""

    def __init__(self, plan: TrainingPlan, ranks: Ranks) -> None:
        if plan.batch_size % ranks.world:
            raise ParameterError(
                f"batch_size is {plan.batch_size}; it can't be split evenly among {ranks.world} "
                "processes"
            )
        self.plan, self.ranks = plan, ranks
        self.model = _new_model(plan, ranks)
        self._criterion = _new_criterion(plan, ranks.device)
        # Fused: one pass over the weights instead of one for each operation.
        self.optimizer = torch.optim.Adam(self.model.parameters(), plan.learning_rate, fused=True)
        self._losses: LossFunction  # of the phase, made by `enter_epoch`
        self._phase = 0

    def enter_epoch(self, epoch: int) -> None:
        """Switch to training, and to the phase an epoch belongs to."""
        if self.plan.phase(epoch) != self._phase:
            self._phase = self.plan.phase(epoch)
            if self._phase == 2:
                self._freeze()
            self._losses = self._loss_function()
        self.model.train()

    def step(self, images: Tensor, masks: Tensor, learning_rate: float) -> dict[str, Tensor]:
        """Take one step; return the loss terms, which the device may still be computing."""
        terms = self._losses(images, masks)
        self.ranks.backward(terms["total"])
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Copies: the next step overwrites the memory of a compiled function's CUDA graph.
        return {name: term.detach().clone() for name, term in terms.items()}

    def _freeze(self) -> None:
        if self.plan.finetune_freezes == "encoder":
            self.model.freeze_encoder_norms()
        else:
            self.model.freeze_statistics()

    def _loss_function(self) -> LossFunction:
        plan, criterion, network = self.plan, self._criterion, self.ranks.wrap(self.model)
        device, is_bf16 = self.ranks.device.type, plan.precision == "bf16"

        def losses(images: Tensor, masks: Tensor) -> dict[str, Tensor]:
            image, mask = as_network_input(images, masks, channels_last=plan.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
                terms: dict[str, Tensor] = criterion(network(image, mask), image, mask)
            return terms

        return torch.compile(losses, mode=compile_mode(self.ranks)) if plan.compile else losses


class _Run:
    """One call of `train`: a learner, where it stands, and who watches."""

    def __init__(
        self,
        learner: _Learner,
        batches: Batches,
        loader: Loader,
        held_out: HeldOut,
        checkpoints: CheckpointFolder,
        stop: StopRequest,
        hooks: Hooks,
    ) -> None:
        self.learner, self.plan, self.ranks = learner, learner.plan, learner.ranks
        self.batches, self.loader, self.held_out = batches, loader, held_out
        self.checkpoints, self.stop, self.hooks = checkpoints, stop, hooks
        self.progress = self._resume()
        self._unread: list[dict[str, Tensor]] = []

    def go(self) -> None:
        """Run the epochs that are left."""
        batch = self.plan.batch_size
        with tqdm(
            total=self.plan.epochs * self.batches.steps * batch,
            initial=self.progress.step * batch,
            unit="image",
            disable=None if self.ranks.is_first else True,
        ) as bar:
            for epoch in range(len(self.progress.records) + 1, self.plan.epochs + 1):
                bar.set_description(f"{self.plan.kind} epoch {epoch}/{self.plan.epochs}")
                self.learner.enter_epoch(epoch)
                timing = self._steps(epoch, bar)
                record = self._finish(epoch)
                if self.ranks.is_first:
                    self._tell(epoch, record | timing, log_line=bool(bar.disable))
        # A signal after the last step asks that nothing more is begun, such as another network.
        if self.ranks.any(self.stop.signalled):
            self._stop()

    def _steps(self, epoch: int, bar: Any) -> Record:
        """Take the steps that are left of an epoch; return how long they took."""
        own = self.plan.batch_size // self.ranks.world
        mine = slice(self.ranks.rank * own, (self.ranks.rank + 1) * own)
        done = self.progress.step - (epoch - 1) * self.batches.steps
        left = self.batches.of_epoch(epoch)[done:, mine]
        coming = self.loader.batches(left)
        started, waited_before = time.perf_counter(), self.loader.waited_s
        told = started
        for _ in range(len(left)):
            self._stop_if_asked()
            rate = self.plan.learning_rate_after(self.progress.step / self.batches.steps)
            self._unread.append(self.learner.step(*next(coming), rate))
            self.progress.step += 1
            bar.update(self.plan.batch_size)
            if self.ranks.device.type != "cuda" or len(self._unread) >= _CUDA_CHECK_STEPS:
                bar.set_postfix(self._read_losses(), refresh=False)
            if bar.disable and time.perf_counter() >= told + _SIGN_OF_LIFE_S:
                told = time.perf_counter()
                self._tell_step(epoch)
        self._read_losses()
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "images_per_s": len(left) * self.plan.batch_size / seconds,
            "wait_share": (self.loader.waited_s - waited_before) / seconds,
        }

    def _tell_step(self, epoch: int) -> None:
        if self.ranks.is_first:
            steps = self.batches.steps
            step = self.progress.step - (epoch - 1) * steps
            log.info(
                "%s epoch %d of %d: step %d of %d",
                *(self.plan.kind, epoch, self.plan.epochs, step, steps),
            )

    def _read_losses(self) -> dict[str, float]:
        """Add up the losses not read yet; return the newest.

        Raises:
            TrainingError: If one is not finite.
        """
        if not self._unread:
            return {}
        names = list(self._unread[0])
        rows = torch.stack([torch.stack(list(terms.values())) for terms in self._unread])
        self._unread = []
        terms: dict[str, float] = {}
        values = self.ranks.mean(rows.double()).tolist()
        for step, row in enumerate(values, start=self.progress.step - len(values) + 1):
            terms = dict(zip(names, row, strict=True))
            if not np.isfinite(row).all():
                raise TrainingError(self._what_went_wrong(step, terms))
            for name, value in terms.items():
                self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
        return terms

    def _what_went_wrong(self, step: int, terms: dict[str, float]) -> str:
        values = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        return (
            f"step {step}: a loss is not finite ({values}); the last good checkpoint is "
            f"{self.checkpoints.newest_path() or 'none yet'}; try a lower learning rate, or "
            "float32 precision"
        )

    def _stop_if_asked(self) -> None:
        # Several processes must agree, which costs a message: so only where losses were read.
        if self.ranks.world > 1 and self._unread:
            return
        if self.ranks.any(self.stop.came):
            self._stop()

    def _stop(self) -> None:
        self._read_losses()
        self._save()
        raise self.stop.error(str(self.checkpoints.newest_path()), self.progress.step)

    def _finish(self, epoch: int) -> Record:
        """Measure, note, keep and save what is due after an epoch."""
        plan, progress, model = self.plan, self.progress, self.learner.model
        means = {name: value / self.batches.steps for name, value in progress.sums.items()}
        if self.ranks.is_first and plan.is_due(epoch, plan.validate_every_epochs):
            means |= self.held_out.measure(model)
        record: Record = {
            "epoch": epoch,
            "phase": plan.phase(epoch),
            "learning_rate": plan.learning_rate_after(epoch - 1),
            "valid_hole_l1": None,
            "valid_hole_psnr": None,
        } | {name: _rounded(value) for name, value in means.items()}
        progress.records.append(record)
        progress.sums = {}
        for name, at in plan.kept_epochs().items():
            if epoch == at:
                progress.snapshots[name] = _snapshot(model)
        if plan.is_due(epoch, plan.checkpoint_every_epochs):
            self._save()
        return record

    def _tell(self, epoch: int, record: Record, *, log_line: bool) -> None:
        # How long it took differs from run to run, so it stays out of what the run leaves.
        self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        with (self.checkpoints.folder / "timing.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        if log_line:
            words = (f"{name} {v:.5g}" for name, v in record.items() if v is not None)
            log.info("%s %s", self.plan.kind, "  ".join(words))
        self.hooks.on_epoch(record)
        if self.plan.is_due(epoch, self.plan.pictures_every_epochs):
            picture = self.held_out.picture(self.learner.model, PICTURE_ROWS)
            self.hooks.on_picture("fills", picture, epoch)

    def _save(self) -> None:
        if self.ranks.is_first:
            state = {
                "model": self.learner.model.state_dict(),
                "optimizer": self.learner.optimizer.state_dict(),
                "progress": asdict(self.progress),
            }
            self.checkpoints.save(self.progress.step, state)
        self.ranks.barrier()

    def _resume(self) -> Progress:
        found = self.checkpoints.newest()
        self.ranks.barrier()  # nobody writes a new one while another still reads
        if found is None:
            return Progress()
        self.learner.model.load_state_dict(found["model"])
        self.learner.optimizer.load_state_dict(found["optimizer"])
        return Progress(**found["progress"])


def compile_mode(ranks: Ranks) -> str | None:
    """Return the mode of torch.compile: on a GPU forward and backward are a CUDA graph each.

    The host then launches two graphs instead of hundreds of kernels, which the GPU finishes sooner
    than the host starts them (benchmarks/gpu-notes.md). A model wrapped for several processes is
    compiled in pieces, so there it is left at the default.
    """
    return "reduce-overhead" if ranks.device.type == "cuda" and ranks.world == 1 else None


def _new_model(plan: TrainingPlan, ranks: Ranks) -> UNet:
    # On the CPU, also where torch makes its tensors elsewhere: there they would not be of the seed.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(plan.seed)
        model = build_unet(**plan.hyperparameters())
    if plan.initial_weights:
        begin_with(model, plan.initial_weights)
    ranks.prepare(model)
    return _in_memory_order(model, plan)


def _new_criterion(plan: TrainingPlan, device: torch.device) -> InpaintingLoss:
    needed = plan.weights.perceptual or plan.weights.style
    features = vgg16_features(plan.features, plan.features_seed) if needed else None
    return _in_memory_order(InpaintingLoss(features, plan.weights).to(device), plan)


def _in_memory_order(module: Module, plan: TrainingPlan) -> Module:
    if plan.channels_last:
        module.to(memory_format=torch.channels_last)
    return module


def _snapshot(model: nn.Module) -> StateDict:
    """Copy the weights to the CPU, in the plain memory order."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def code_modules() -> list[str]:
    """Return the names of this module and all of the package that it imports, however indirectly.

    They decide the bytes that come out, so a checkpoint of other code is not resumed.
    """
    found: set[str] = set()
    waiting = [Path(__file__).stem]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _IMPORT.findall(_source(name).read_text(encoding="utf-8"))
    return sorted(found)


def _identity(fingerprint: str) -> str:
    """Name the run and what it is computed with: a mixture of two programs is neither's result."""
    words = f"{fingerprint} torch {torch.__version__} {os.environ.get(_INSTRUCTIONS)}"
    code = b"".join(_source(name).read_bytes() for name in code_modules())
    return hashlib.sha256(words.encode() + code).hexdigest()


def _source(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.py")


def _rounded(value: float) -> float | None:
    # JSON has neither NaN nor infinity.
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
