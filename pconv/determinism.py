"""The switches of torch that decide whether the same work gives the same bits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cuda, cudnn, mkldnn
from torch.utils import deterministic

# What has a precision of its own for float32, by the newer of torch's two ways to set that.
_ON_CUDA: tuple[Any, ...] = (cuda.matmul, cudnn.conv, cudnn.rnn)  # type: ignore[attr-defined]
_PARTS: tuple[Any, ...] = (*_ON_CUDA, mkldnn.matmul, mkldnn.conv)  # type: ignore[attr-defined]


@contextmanager
def reproducible(device: torch.device, *, threads: int, tf32: bool) -> Iterator[None]:
    """Set the switches for the time of the block, then set them back.

    Args:
        device: Where the work runs.
        threads: Threads of the CPU's work; sums are split among them.
        tf32: Let float32 products on CUDA round their factors to 10 bits.
    """
    threads_before = torch.get_num_threads()
    strict_before = torch.are_deterministic_algorithms_enabled()
    warns_before = torch.is_deterministic_algorithms_warn_only_enabled()
    filled_before = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    products_before = _if_told(torch.get_float32_matmul_precision)
    cudnn_before = _if_told(lambda: cudnn.allow_tf32)
    parts_before = [part.fp32_precision for part in _PARTS]
    tried_before = cudnn.benchmark
    try:
        torch.set_num_threads(threads)
        # CUDA's deterministic kernels are slow and, for some layers, missing.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # Filling new memory with NaN finds reads of unset values; it takes time at every step.
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        # Both ways, or torch, and what compiles for it, fails to tell what is set.
        torch.set_float32_matmul_precision("highest")
        cuda.matmul.allow_tf32 = cudnn.allow_tf32 = tf32
        for part in _PARTS:
            part.fp32_precision = "tf32" if tf32 and part in _ON_CUDA else "ieee"
        # All batches have one size, so trying cuDNN's algorithms out pays; the CPU has none.
        cudnn.benchmark = device.type == "cuda"
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(strict_before, warn_only=warns_before)
        deterministic.fill_uninitialized_memory = filled_before  # type: ignore[attr-defined]
        if products_before is not None:
            torch.set_float32_matmul_precision(products_before)
        if cudnn_before is not None:
            cudnn.allow_tf32 = cudnn_before
        for part, precision in zip(_PARTS, parts_before, strict=True):
            part.fp32_precision = precision
        cudnn.benchmark = tried_before


def _if_told(setting: Callable[[], Any]) -> Any:
    """Return what was set by the older way; None where the newer way says something else."""
    try:
        return setting()
    except RuntimeError:  # "a mix of the legacy and new APIs"
        return None
