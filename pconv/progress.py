"""What a training run leaves: how far it has come, what it tells, and its files."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pconv.atomic import atomic_file
from pconv.checkpoints import CheckpointFolder
from pconv.images import Pixels
from pconv.plan import TrainingPlan
from pconv.unet import build_unet
from pconv.weights import save_weights

Record = dict[str, float | None]
StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class Hooks:
    """Who else wants to know, called in the first process only.

    Attributes:
        on_epoch: Takes what the log says of an epoch, and images/s, seconds and the share of the
            time spent waiting for data beside it.
        on_picture: Takes a name, an RGB picture, uint8 ``(H, W, 3)``, and the epoch.
    """

    on_epoch: Callable[[Record], None] = lambda _: None
    on_picture: Callable[[str, Pixels, int], None] = lambda *_: None


@dataclass
class Progress:
    """How far a run has come; all of it but the weights and Adam's state.

    Attributes:
        step: Finished steps.
        sums: Sum of each loss term over the steps of the epoch so far.
        records: One a finished epoch.
        snapshots: Weights kept on the way, ``first`` and ``last``.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    snapshots: dict[str, StateDict] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        plan: What was asked for.
        fingerprint: SHA-256 of plan and data.
        size_px: Height of the images.
        progress: What came of it.
        checkpoints: Those that are left of it.
    """

    plan: TrainingPlan
    fingerprint: str
    size_px: int
    progress: Progress
    checkpoints: CheckpointFolder

    def write(self, folder: Path) -> None:
        """Write ``first.safetensors``, ``last.safetensors`` and ``log.jsonl`` into a folder."""
        model = build_unet(**self.plan.hyperparameters())
        for name, epoch in self.plan.kept_epochs().items():
            model.load_state_dict(self.progress.snapshots[name])
            save_weights(folder / f"{name}.safetensors", model, self._about(epoch))
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in self.progress.records]
        with atomic_file(folder / "log.jsonl") as unfinished:
            unfinished.write_text("".join(lines))

    def _about(self, epoch: int) -> dict[str, str]:
        """Return the header of the weights: no date, so that the same run gives the same bytes."""
        return self.plan.about() | {
            "epoch": str(epoch),
            "fingerprint": self.fingerprint,
            "size_px": str(self.size_px),
        }
