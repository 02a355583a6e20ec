"""A training run of a second, and ways to end it early, for processes that are killed."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from pconv import checkpoints, training
from pconv.dataset import ImageSet
from pconv.losses import LossWeights
from pconv.plan import TrainingPlan
from pconv.progress import TrainedRun
from pconv.ranks import open_ranks
from pconv.stopping import TrainingStopped

PLAN = TrainingPlan(
    kind="pconv",
    width=2,
    levels=3,
    batch_size=4,
    epochs=4,
    first_epoch=2,
    finetune_from_epoch=2,
    learning_rate=2e-3,
    finetune_learning_rate=5e-4,
    features="random",
    features_seed=0,
    seed=1,
    threads=1,
    weights=LossWeights(perceptual=0, style=0),
    checkpoint_every_epochs=2,
    validate_every_epochs=2,
)
STEPS = 3  # an epoch
# All losses and the method's learning rates. (Adam's first steps go by the sign of a gradient, so
# rounding alone moves a weight by the learning rate where the gradient is almost zero.)
METHOD = replace(PLAN, weights=LossWeights(), learning_rate=2e-4, finetune_learning_rate=5e-5)


def data(seed: int = 0, count: int = 3 * PLAN.batch_size + 2) -> ImageSet:
    """Smooth images, 32×32, and masks with a hole of a third."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (count, 2, 2, 3))
    ramp = np.linspace(0, 1, 32)
    weights = np.stack([1 - ramp, ramp])
    images = np.einsum("nabc,ah,bw->nhwc", corners, weights, weights)
    masks = np.repeat(rng.random((9, 32, 8)) < 0.67, 4, axis=2)
    return ImageSet(images.round().astype(np.uint8), masks)


def held_out() -> ImageSet:
    """Return three pairs."""
    pairs = data(seed=1)
    return ImageSet(pairs.images[:3], pairs.masks[:3])


def run(state: Path, plan: TrainingPlan = PLAN, **options: object) -> TrainedRun:
    """Train on the CPU."""
    return training.train(plan, data(), held_out(), state, open_ranks("cpu"), **options)


def kill_at(step: int, number: int) -> None:
    """Let this process get a signal when it has done a step."""
    take_step = training._Learner.step
    taken = 0

    def step_and_die(*arguments: object) -> object:
        nonlocal taken
        taken += 1
        result = take_step(*arguments)
        if taken == step:
            os.kill(os.getpid(), number)
        return result

    training._Learner.step = step_and_die


def kill_in_checkpoint(number: int) -> None:
    """Let this process be killed when half of its nth checkpoint is written."""
    save = torch.save
    saved = 0

    def save_half(content: object, file: BinaryIO) -> None:
        nonlocal saved
        saved += 1
        save(content, file)
        if saved == number:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.torch.save = save_half


if __name__ == "__main__":
    how, state = sys.argv[1], Path(sys.argv[2])
    if how == "killed in an epoch":
        kill_at(2 * STEPS + 2, signal.SIGKILL)
    elif how == "killed in a checkpoint":
        kill_in_checkpoint(2)
    elif how == "killed between the phases":
        # The last step of phase 1 is done, its epoch not yet finished.
        kill_at(PLAN.finetune_from_epoch * STEPS, signal.SIGKILL)
    elif how == "terminated":
        kill_at(STEPS + 1, signal.SIGTERM)
    elif how == "several processes, one told to stop":
        rank = os.environ["RANK"]
        if rank == "1":
            kill_at(STEPS + 1, signal.SIGTERM)
        try:
            run(state, METHOD)
        except TrainingStopped as stopped:
            (state / f"told-{rank}").write_text(str(stopped))
        trained = run(state, METHOD)
        if rank == "0":
            trained.write(state / "out")
        sys.exit()
    run(state)
