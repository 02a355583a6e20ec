"""One row of Figure 4: convolution, batch norm, nonlinearity."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from pconv.errors import ParameterError
from pconv.layers import Windows, rescale, window_sum
from pconv.upsampling import upsampled_conv2d

# What torch.nn.utils.spectral_norm, weight_norm and prune call the parameters they replace.
_MADE_BY_HOOKS = ("weight_orig", "weight_v")


class Row(NamedTuple):
    """One convolution of Figure 4."""

    name: str
    kernel: int
    filters: int
    stride: int
    norm: bool
    slope: float | None  # below zero: 0 is ReLU, 0.2 is LeakyReLU(0.2), None no nonlinearity


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that leaves its statistics alone where a channel has a single value.

    One value has no variance. It is what the innermost layer makes of one image of 256×256, and
    there, and only there, the running statistics are used in training as they are in evaluation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class Layer(nn.Module):
    """A row of Figure 4: convolution, batch norm, nonlinearity."""

    def __init__(self, row: Row, in_channels: int, convolution: type[nn.Conv2d]) -> None:
        super().__init__()
        self.row = row
        # Figure 4 does not say where Eq. 1's bias is; batch norm has one, so only the others do.
        self.conv = convolution(
            in_channels, row.filters, row.kernel, row.stride, row.kernel // 2, bias=not row.norm
        )
        self.norm = BatchNorm2d(row.filters) if row.norm else None
        # He et al.'s variance, as in Liu et al. 2018; uniform, because on the meta device, where
        # shapes are tried out, a normal draw first loads a compiler for seconds.
        nn.init.kaiming_uniform_(self.conv.weight, nonlinearity="relu")

    def count(self, mask: Tensor) -> Tensor:
        """Return how many known pixels of a one-channel mask each window sees."""
        side, step, border = self.row.kernel, self.row.stride, self.row.kernel // 2
        return window_sum(mask, (side, side), (step, step), (border, border))

    def forward(
        self, image: Tensor, windows: Windows | None = None, skip: Tensor | None = None
    ) -> Tensor:
        """Run the row.

        Args:
            image: ``X ⊙ M``, ``(B, C, H, W)``.
            windows: What the row sees of the mask; none in a plain network.
            skip: In the decoder, what the encoder left at twice the size, ``(B, C₂, 2H, 2W)``.

        Returns:
            The features, zero under the holes of the new mask.
        """
        row, weight = self.row, self._weight()
        if skip is not None:
            return self._finish(upsampled_conv2d(image, skip, weight), windows)
        features = F.conv2d(image, weight, stride=row.stride, padding=row.kernel // 2)
        return self._finish(features, windows)

    def _weight(self) -> Tensor:
        """Return the kernels; refuse those that a hook of the convolution would have to make.

        The convolution is not called, so its hooks never run, and what they leave is not trained.
        """
        for name in _MADE_BY_HOOKS:
            if name in self.conv._parameters:
                raise ParameterError(
                    f"{self.row.name}: its kernels are made of {name} by a hook that never runs "
                    "here; use what torch.nn.utils.parametrizations has instead, or for pruning "
                    "torch.nn.utils.prune.remove"
                )
        return self.conv.weight

    def _finish(self, features: Tensor, windows: Windows | None) -> Tensor:
        """Scale (Eq. 1), normalise, put zeros under the holes (Eq. 2), apply the nonlinearity.

        Nonlinearities keep zeros, so the holes may be emptied before them, where all happens in
        place: neither convolution nor batch norm needs its own output for its gradient.
        """
        if windows is not None:
            features = rescale(features, windows, self.conv.bias)
        elif self.conv.bias is not None:
            features = features.add_(self.conv.bias.view(-1, 1, 1))
        if self.norm is not None:
            features = self.norm(features)
            if windows is not None and not windows.full:
                features = features.mul_(windows.known.to(features.dtype))
        return features if self.row.slope is None else _rectify(features, self.row.slope)


def _rectify(features: Tensor, slope: float) -> Tensor:
    """ReLU, or LeakyReLU with a slope, in place."""
    return F.relu_(features) if slope == 0 else F.leaky_relu_(features, slope)
