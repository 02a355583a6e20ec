"""What a training run is, in numbers."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pconv.errors import ParameterError
from pconv.losses import LossWeights
from pconv.unet import Centre

Kind = Literal["pconv", "plain"]
Precision = Literal["float32", "bf16"]
Frozen = Literal["encoder", "statistics"]

_WITHOUT_EFFECT = ("checkpoint_every_epochs", "pictures_every_epochs")
_CHOICES = {"kind": Kind, "centre": Centre, "finetune_freezes": Frozen, "precision": Precision}
_FROM_1_ON = ("batch_size", "epochs", "threads", "validate_every_epochs", *_WITHOUT_EFFECT)


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that, with the data, decides what comes out of a run, and how it is kept.

    Attributes:
        kind: Which network.
        initial_weights: A file of weights to begin with, or none to draw them.
        width: Filters of its first row.
        levels: Rows of its encoder.
        centre: What its rows see as zero; see `pconv.unet.UNet`.
        mask_channel: Whether the mask is one more channel of its image. The paper's network has
            none; with it partial ones gained 0.4 dB at 64 px and 0.2 at 128 and 256
            (reports/mask-channel/).
        batch_size: Images a step, over all processes together.
        epochs: Times the images are gone through; the last weights are those after it.
        first_epoch: The earlier epoch whose weights are kept too.
        finetune_from_epoch: Epochs after which the second phase begins: another learning rate,
            and batch norms frozen. Equal to `epochs`, there is no second phase; 0, no first.
        learning_rate: Adam's, in the first phase.
        finetune_learning_rate: Adam's, in the second.
        finetune_freezes: What the second phase freezes: ``encoder``, as Liu et al. 2018 do, the
            statistics and parameters of the encoder's batch norms; ``statistics``, those of all
            batch norms, whose parameters go on learning. In batches of a few images the statistics
            are noise that the network never sees in use, and it is better off the sooner they are
            frozen.
        anneal: Let the rate fall along half a cosine, in the first phase to that of the second
            and in the second to 0, instead of keeping it, as Liu et al. do. What is better
            depends on the run; a small and short one lost by it (benchmarks/README.md).
        weights: What each loss term counts.
        features: Weights of the VGG-16 behind perceptual and style loss: ``imagenet``,
            ``random`` or a file.
        features_seed: Seed of the random ones.
        seed: Of the weights that are drawn and of the order of the data.
        precision: ``bf16`` runs network and VGG-16 under autocast.
        tf32: Let float32 matrix products on CUDA round their factors to 10 bits.
        channels_last: Keep the channels of a pixel beside each other in memory.
        compile: Compile network and losses with ``torch.compile``.
        threads: CPU threads of torch. Sums are split among them, so it decides the last bits.
        checkpoint_every_epochs: How often the run can be resumed from.
        validate_every_epochs: How often held-out pairs are measured; the last epoch always is.
        pictures_every_epochs: How often they are shown.
    """

    kind: Kind
    width: int
    levels: int
    batch_size: int
    epochs: int
    first_epoch: int
    finetune_from_epoch: int
    learning_rate: float
    finetune_learning_rate: float
    features: str
    features_seed: int
    seed: int
    threads: int
    weights: LossWeights = field(default_factory=LossWeights)
    centre: Centre = "half"
    mask_channel: bool = False
    initial_weights: str | None = None
    finetune_freezes: Frozen = "encoder"
    anneal: bool = False
    precision: Precision = "float32"
    tf32: bool = False
    channels_last: bool = False
    compile: bool = False
    checkpoint_every_epochs: int = 1
    validate_every_epochs: int = 1
    pictures_every_epochs: int = 1

    def __post_init__(self) -> None:
        """Refuse epochs that never come, and choices that there are not.

        Raises:
            ParameterError: If `first_epoch` or `finetune_from_epoch` lies beyond `epochs`, a choice
                does not exist, or a number that counts something is below 1.
        """
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                wanted = ", ".join(get_args(choices))
                raise ParameterError(f"{name} is {getattr(self, name)!r}, wanted one of {wanted}")
        for name in _FROM_1_ON:
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; wanted 1 or more")
        for name, least in (("first_epoch", 1), ("finetune_from_epoch", 0)):
            if not least <= getattr(self, name) <= self.epochs:
                raise ParameterError(
                    f"{name} is {getattr(self, name)}; wanted from {least} to epochs, {self.epochs}"
                )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what `pconv.unet.build_unet` needs to build the network."""
        names = ("kind", "width", "levels", "centre", "mask_channel")
        return {name: getattr(self, name) for name in names}

    def phase(self, epoch: int) -> int:
        """Return in which phase, 1 or 2, an epoch (counted from 1) is trained."""
        return 1 if epoch <= self.finetune_from_epoch else 2

    def learning_rate_after(self, epochs: float) -> float:
        """Return Adam's learning rate when so many epochs, and parts of one, are done."""
        second = self.finetune_from_epoch
        if epochs < second:
            start, end, part = self.learning_rate, self.finetune_learning_rate, epochs / second
        else:
            start, end = self.finetune_learning_rate, 0.0
            part = (epochs - second) / max(1, self.epochs - second)
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2 if self.anneal else start

    def kept_epochs(self) -> dict[str, int]:
        """Return after which epochs weights are kept, by name."""
        return {"first": self.first_epoch, "last": self.epochs}

    def is_due(self, epoch: int, every: int) -> bool:
        """Return whether something done every so many epochs is done after this one."""
        return epoch % every == 0 or epoch == self.epochs

    def fingerprint(self, *data_digests: str) -> str:
        """Return the SHA-256 of plan, the files it names, and data.

        How often a run is saved and shown does not count: an unfinished one goes on when these
        are changed.
        """
        counted = {k: v for k, v in asdict(self).items() if k not in _WITHOUT_EFFECT}
        parts = [json.dumps(counted, sort_keys=True), *data_digests]
        for name in (self.features, self.initial_weights):
            if name and Path(name).is_file():
                parts.append(hashlib.sha256(Path(name).read_bytes()).hexdigest())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def about(self) -> dict[str, str]:
        """Return the plan as the words of a weights file's header."""
        words = asdict(self) | {f"weight_{k}": v for k, v in asdict(self.weights).items()}
        del words["weights"]
        return {name: str(value) for name, value in words.items()}
