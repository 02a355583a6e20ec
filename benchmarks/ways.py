"""The network of Figure 4 as others write it: what `benchmarks.network` measures ours against."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.rows import Layer
from pconv.unet import PConvUNet


def activate(layer: Layer, features: Tensor) -> Tensor:
    """Apply batch norm and nonlinearity of a row of Figure 4."""
    if layer.norm is not None:
        features = layer.norm(features)
    if layer.row.slope is None:
        return features
    return F.leaky_relu(features, layer.row.slope, inplace=True)


def twice(image: Tensor) -> Tensor:
    """Up-sample by the nearest neighbour."""
    return F.interpolate(image, scale_factor=2, mode="nearest")


class Way(nn.Module):
    """Another way to run the rows of a network; all around them is the network's own."""

    def __init__(self, net: PConvUNet) -> None:
        super().__init__()
        self.own = copy.copy(net)  # shallow: the weights are the network's
        self.own._fill = self.fill

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes of an image, as `pconv.unet.UNet` does."""
        return self.own(image, mask)

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """Run the rows on ``X ⊙ M`` and a bool mask."""
        raise NotImplementedError


class UsualWay(Way):
    """The same network as it is usually written.

    Masks have as many channels as the features, are concatenated like them, and sum(M) is a second
    full convolution with a kernel of ones.
    """

    def __init__(self, net: PConvUNet) -> None:
        super().__init__(net)
        for index, layer in enumerate(net.layers()):
            ones = torch.ones_like(layer.conv.weight, requires_grad=False)
            self.register_buffer(f"ones_{index}", ones.detach(), persistent=False)

    def row(self, index: int, layer: Layer, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run one row of Figure 4 on features and masks of ``(B, C, H, W)``."""
        ones = self.get_buffer(f"ones_{index}")
        stride, padding = layer.row.stride, layer.row.kernel // 2
        with torch.no_grad():
            seen = F.conv2d(mask, ones, stride=stride, padding=padding)
            known = seen.clamp(0, 1)
            ratio = ones[0].numel() / (seen + 1e-8) * known
        features = F.conv2d(image * mask, layer.conv.weight, stride=stride, padding=padding) * ratio
        if layer.conv.bias is not None:
            features = features + layer.conv.bias.view(-1, 1, 1) * known
        return activate(layer, features), known

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """See `Way.fill`."""
        left = [(image, mask.to(image.dtype).expand_as(image))]
        for index, layer in enumerate(self.own.encoder):
            left.append(self.row(index, layer, *left[-1]))
        low, low_mask = left.pop()
        for index, layer in enumerate(self.own.decoder, start=len(self.own.encoder)):
            skip, skip_mask = left.pop()
            both = torch.cat([twice(low), skip], dim=1)
            both_masks = torch.cat([twice(low_mask), skip_mask], dim=1)
            low, low_mask = self.row(index, layer, both, both_masks)
        return low


class NoMasks(Way):
    """The same U-Net with plain convolutions: no mask, nothing scaled; up-sample, concatenate."""

    def row(self, layer: Layer, image: Tensor) -> Tensor:
        """Run one row of Figure 4 on features of ``(B, C, H, W)``."""
        conv, row = layer.conv, layer.row
        features = F.conv2d(image, conv.weight, conv.bias, row.stride, row.kernel // 2)
        return activate(layer, features)

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """Run the rows on the image; the mask is ignored."""
        left = [image]
        for layer in self.own.encoder:
            left.append(self.row(layer, left[-1]))
        low = left.pop()
        for layer in self.own.decoder:
            low = self.row(layer, torch.cat([twice(low), left.pop()], dim=1))
        return low
