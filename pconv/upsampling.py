"""The decoder's convolution: it sees an image at twice its size beside another one.

Nearest up-sampling repeats each value four times, so a 3×3 window of the enlarged image holds only
2×2 different values. Summing the taps that meet the same value gives a 4×4 kernel – the 3×3 one
convolved with 2×2 ones – and a transposed convolution of the small image with stride 2: 4/9 of the
multiplications, and neither the enlarged image nor the concatenation is ever in memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Pixels from which summing taps costs less than it saves. Measured once, on a CPU with 512
# channels: at 16×16 it takes half the time of the plain form, at 8×8 a third more.
WORTH_FOLDING = 256


def upsampled_conv2d(low: Tensor, skip: Tensor, weight: Tensor) -> Tensor:
    """Convolve the concatenation of ``low`` at twice its size and ``skip``.

    Args:
        low: ``(B, C₁, H, W)``, to be up-sampled by the nearest neighbour.
        skip: ``(B, C₂, 2H, 2W)``.
        weight: ``(D, C₁ + C₂, 3, 3)``.

    Returns:
        ``conv2d(cat([nearest_upsampled(low), skip], dim=1), weight, padding=1)`` to rounding,
        ``(B, D, 2H, 2W)``.
    """
    if not _is_worth_folding(low):
        return F.conv2d(torch.cat([nearest_upsampled(low), skip], dim=1), weight, padding=1)
    # W of a concatenation times the concatenation is the sum over its parts.
    for_low, for_skip = torch.split(weight, [low.shape[1], skip.shape[1]], dim=1)
    features = F.conv_transpose2d(low, fold_taps(for_low), stride=2, padding=1)
    return features.add_(F.conv2d(skip, for_skip, padding=1))


def _is_worth_folding(low: Tensor) -> bool:
    # An exported graph has one form for all sizes.
    if torch.compiler.is_exporting():
        return True
    # cuDNN runs a transposed convolution as a gradient, slower than it saves
    # (benchmarks/gpu-notes.md).
    return low.device.type == "cpu" and low.shape[2] * low.shape[3] >= WORTH_FOLDING


def fold_taps(weight: Tensor) -> Tensor:
    """Convolve ``(D, C, 3, 3)`` kernels with 2×2 ones, as a transposed ``(C, D, 4, 4)`` kernel.

    Written as sums, not as a product with a matrix: a product would be rounded by autocast.
    """
    for side in (2, 3):
        first, second, third = weight.unbind(side)
        weight = torch.stack((third, second + third, first + second, first), dim=side)
    return weight.transpose(0, 1)


def nearest_upsampled(image: Tensor) -> Tensor:
    """Repeat each pixel of ``(B, C, H, W)`` as 2×2: nearest up-sampling, of any dtype."""
    return image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
