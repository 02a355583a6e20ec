"""One process or many: what a training step needs of the others.

Several processes are started by ``torchrun`` and joined by Lightning Fabric: it reads torchrun's
and Slurm's variables, picks the backend and wraps the model in DistributedDataParallel, and leaves
the loop to us. (Accelerate does the same, but wants optimizer and data loader too, which have
their own promises here.) Fabric is imported only where there are several processes: it is slow
to import.

Each process takes an equal share of every batch. The gradient of N processes is then that of one
process with the whole batch, if batch norm too sees the whole batch: see `GlobalBatchNorm2d`.
"""

import os
from typing import Any, cast

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.devices import default_device
from pconv.errors import ParameterError


class Ranks:
    """A single process; base of several."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, and make its batch norms see the whole batch."""
        return model.to(self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what to call in training: the model, with gradients averaged over processes.

        Call it again when other parameters are frozen.
        """
        return model

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes."""
        return values

    def any(self, flag: bool) -> bool:
        """Return whether it holds in any process."""
        return flag

    def barrier(self) -> None:
        """Wait for all processes."""


class FabricRanks(Ranks):
    """One of several processes started by ``torchrun``."""

    def __init__(self, device: torch.device) -> None:
        try:
            from lightning.fabric import Fabric
        except ModuleNotFoundError as error:
            raise ParameterError(
                "several processes need Lightning, which is not installed; install "
                "pconv[pipeline], or start one process"
            ) from error

        local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        self._fabric: Any = Fabric(
            accelerator=device.type,
            devices=local,
            num_nodes=int(os.environ["WORLD_SIZE"]) // local,
            strategy="ddp",
        )
        self._fabric.launch()
        self.rank = self._fabric.global_rank
        self.world = self._fabric.world_size
        super().__init__(self._fabric.device)

    def prepare(self, model: nn.Module) -> nn.Module:
        """See `Ranks.prepare`."""
        return see_whole_batch(model).to(self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """See `Ranks.wrap`."""
        return cast(nn.Module, self._fabric.setup_module(model, move_to_device=False))

    def backward(self, loss: Tensor) -> None:
        """See `Ranks.backward`."""
        self._fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        """See `Ranks.mean`."""
        return cast(Tensor, self._fabric.all_reduce(values, reduce_op="mean"))

    def any(self, flag: bool) -> bool:
        """See `Ranks.any`."""
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def barrier(self) -> None:
        """See `Ranks.barrier`."""
        self._fabric.barrier()


def open_ranks(device: str) -> Ranks:
    """Join the processes ``torchrun`` started, or return the one there is.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.

    Raises:
        ParameterError: If CUDA is asked for and there is none, or Lightning is needed and is not
            installed.
    """
    if device == "auto":
        device = default_device().type
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is cuda, but torch finds no CUDA device; use cpu or auto")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return (FabricRanks if several else Ranks)(torch.device(device))


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient of the sum of their losses."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def _sum_over_ranks(values: Tensor) -> Tensor:
    return cast(Tensor, _SumOverRanks.apply(values))


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the batches of all processes together.

    torch's SyncBatchNorm refuses CPU tensors, where equality with one process is tested, and a
    single value a channel, which the innermost layer of Figure 4 makes of one image. Mean and
    variance are reduced one after the other: the variance as E[x²] - E[x]² would lose digits.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``; in training all processes must call it with equal shapes."""
        world = torch.distributed.get_world_size()
        count = world * input.numel() // input.shape[1]
        if not self.training or count == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        precise = input.to(torch.promote_types(input.dtype, torch.float32))
        own_variance, own_mean = torch.var_mean(precise, (0, 2, 3), correction=0)
        mean = _sum_over_ranks(own_mean) / world
        spread = own_variance + (own_mean - mean).square()
        variance = _sum_over_ranks(spread) / world
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (input * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum
        if momentum is None or self.running_mean is None or self.running_var is None:
            raise TypeError("only batch norms with running averages are trained across processes")
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        cast(Tensor, self.num_batches_tracked).add_(1)


def see_whole_batch(model: nn.Module) -> nn.Module:
    """Replace the batch norms of a model by global ones with the same parameters; return it."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, _global_twin(child))
        else:
            see_whole_batch(child)
    return model


def _global_twin(norm: nn.BatchNorm2d) -> GlobalBatchNorm2d:
    twin = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    twin.weight, twin.bias = norm.weight, norm.bias
    twin.running_mean, twin.running_var = norm.running_mean, norm.running_var
    twin.num_batches_tracked = norm.num_batches_tracked
    return twin.train(norm.training)
