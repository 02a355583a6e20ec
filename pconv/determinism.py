"""The switches of torch that decide whether the same work gives the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cuda, cudnn
from torch.utils import deterministic


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
    filled_before = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    tf32_before = cuda.matmul.allow_tf32, cudnn.allow_tf32
    tried_before = cudnn.benchmark
    try:
        torch.set_num_threads(threads)
        # CUDA's deterministic kernels are slow and, for some layers, missing.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # Filling new memory with NaN finds reads of unset values; it takes time at every step.
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        cuda.matmul.allow_tf32 = cudnn.allow_tf32 = tf32
        # All batches have one size, so trying cuDNN's algorithms out pays; the CPU has none.
        cudnn.benchmark = device.type == "cuda"
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(strict_before)
        deterministic.fill_uninitialized_memory = filled_before  # type: ignore[attr-defined]
        cuda.matmul.allow_tf32, cudnn.allow_tf32 = tf32_before
        cudnn.benchmark = tried_before
