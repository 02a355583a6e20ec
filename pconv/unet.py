"""The network of Figure 4, with partial convolutions or with plain ones.

``python -m pconv.figure4`` prints the table below with the shapes it gives at 256×256.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, Self, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.errors import ParameterError, ShapeError
from pconv.layers import PartialConv2d, Windows, only_known, windows_from_counts
from pconv.rows import Layer, Row
from pconv.upsampling import nearest_upsampled
from pconv.value_range import refuse_arrays, refuse_integers

FIGURE_4 = (
    #   name     kernel filters stride norm slope
    Row("PConv1", 7, 64, 2, False, 0.0),
    Row("PConv2", 5, 128, 2, True, 0.0),
    Row("PConv3", 5, 256, 2, True, 0.0),
    Row("PConv4", 3, 512, 2, True, 0.0),
    Row("PConv5", 3, 512, 2, True, 0.0),
    Row("PConv6", 3, 512, 2, True, 0.0),
    Row("PConv7", 3, 512, 2, True, 0.0),
    Row("PConv8", 3, 512, 2, True, 0.0),
    # Each row below sees the row above at twice its size beside what the encoder left at that size:
    # PConv9 the 512 + 512 channels of PConv8 and PConv7, …, PConv16 those of PConv15 and the image.
    Row("PConv9", 3, 512, 1, True, 0.2),
    Row("PConv10", 3, 512, 1, True, 0.2),
    Row("PConv11", 3, 512, 1, True, 0.2),
    Row("PConv12", 3, 512, 1, True, 0.2),
    Row("PConv13", 3, 256, 1, True, 0.2),
    Row("PConv14", 3, 128, 1, True, 0.2),
    Row("PConv15", 3, 64, 1, True, 0.2),
    Row("PConv16", 3, 3, 1, False, None),
)


def table(out_channels: int = 3, width: int = 64, levels: int = 8) -> list[Row]:
    """Return the rows of Figure 4 at another width or depth.

    Args:
        out_channels: Filters of the last row.
        width: Filters of the first row, 64 in the paper; the inner rows have 2, 4 and 8 times more.
        levels: Rows of the encoder, and of the decoder, 8 in the paper. The outermost ones are
            kept; beyond 8 the innermost one is repeated.

    Returns:
        The rows, encoder first.
    """
    encoder = [FIGURE_4[min(level, 7)] for level in range(levels)]
    decoder = [FIGURE_4[max(16 - levels + level, 8)] for level in range(levels)]
    rows = [
        row._replace(name=f"PConv{number}", filters=row.filters * width // 64)
        for number, row in enumerate(encoder + decoder, start=1)
    ]
    return [*rows[:-1], rows[-1]._replace(filters=out_channels)]


Centre = Literal["half", "known"]
Fill = Callable[[Tensor, Tensor], Tensor]  # a network, or what stands in for one
_FLIPS = ((), (3,), (2,), (2, 3))


class UNet(nn.Module):
    """What the two networks share: Figure 4's rows, padding, and how the encoder is frozen.

    A row reads ``weight`` and ``bias`` of its ``conv`` and never calls it: hooks of it, or another
    module's ``forward`` in its place, do nothing.

    Args:
        in_channels: Channels of the image. `pconv.inpaint` and `pconv.metrics` are for RGB only.
        out_channels: Channels of the result.
        width: Filters of the first row; 64 in the paper.
        levels: Rows of the encoder, as many of the decoder; 8 in the paper.
        centre: What the rows see as zero: ``half``, the middle of 0 to 1; or ``known``, the mean
            of the picture's known pixels, channel by channel. With ``known`` a lighter or redder
            picture is filled with the same, as much lighter or redder, and all pictures of one
            colour look alike to the rows. The paper does not say what it takes.
        mask_channel: Whether the mask is one more channel of the image, 1 where known. Figure 4
            has none: the rows then know of holes what Eq. 1 leaves of them.

    Attributes:
        trained_at_px: Side of the training images, and so of the windows in which `pconv.inpaint`
            fills; none if that is not known. Saved with the weights and loaded (`pconv.weights`).

    Raises:
        ParameterError: If a size is no integer from 1 to 4096, of levels to 16, ``centre`` does
            not exist or has not as many channels on either side, or ``mask_channel`` is no bool.
    """

    kind: str
    convolution: type[nn.Conv2d]
    encoder: list[Layer]
    decoder: list[Layer]
    trained_at_px: int | None = None

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        levels: int = 8,
        centre: Centre = "half",
        mask_channel: bool = False,
    ) -> None:
        super().__init__()
        self._sizes = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "levels": levels,
        }
        _check_sizes(self._sizes)
        _check_centre(centre, in_channels, out_channels)
        if type(mask_channel) is not bool:
            raise ParameterError(f"mask_channel is {mask_channel!r}, wanted True or False")
        self.levels = levels
        self.centre = centre
        self.mask_channel = mask_channel
        self._frozen_rows = 0  # so many rows, encoder first, keep their statistics
        rows = table(out_channels, width, levels)
        image_channels = in_channels + mask_channel
        # Channels at each size, the image first: what the decoder finds on its way up.
        channels = [image_channels, *(row.filters for row in rows[:levels])]
        below = channels[:levels]
        low = channels.pop()
        for row in rows[levels:]:
            below.append(low + channels.pop())
            low = row.filters
        layers = [Layer(*pair, self.convolution) for pair in zip(rows, below, strict=True)]
        self.encoder = cast(list[Layer], nn.ModuleList(layers[:levels]))
        self.decoder = cast(list[Layer], nn.ModuleList(layers[levels:]))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the holes of an image.

        The image is padded to the next multiple of 2^levels, as hole, and the result cropped.

        Args:
            image: Values from 0 to 1, ``(B, in_channels, H, W)``; what lies under holes is ignored.
            mask: Nonzero where known, ``(B, 1, H, W)``, float or bool.

        Returns:
            The raw output ``(B, out_channels, H, W)``: not clamped, known pixels not put back.

        Raises:
            ShapeError: If image and mask do not fit the network or each other.
            ImageError: If the image is of integers, hence not in 0 to 1, or one is no tensor.
        """
        self._check_input(image, mask)
        height, width = image.shape[2:]
        step = 2**self.levels
        # A quotient, no remainder: with one, torch.compile for all sizes takes three times as long,
        # and what -width % step makes, it can't differentiate.
        tall, wide = ((side + step - 1) // step * step for side in (height, width))
        border = (0, wide - width, 0, tall - height)
        # Not padded as bool: of that torch.compile makes C++ that does not compile (torch 2.14).
        mask = F.pad((mask != 0).float(), border) != 0
        image = F.pad(image, border)
        # The rows see values around zero: from -1 to 1 the same steps reach a lower loss than
        # from 0 to 1, where every filter first has to unlearn the mean.
        zero = 0.5 if self.centre == "half" else _known_mean(image, mask)
        image = only_known(2 * (image - zero), mask)
        if self.mask_channel:
            image = torch.cat([image, mask.to(image.dtype)], dim=1)
        return self._fill(image, mask)[:, :, :height, :width] / 2 + zero

    def _fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """Run the rows on ``X ⊙ M``, around zero, and a bool mask whose size 2^levels divides.

        ``X`` has the channels that the first row takes.
        """
        raise NotImplementedError

    def layers(self) -> list[Layer]:
        """Return the rows, encoder first."""
        return [*self.encoder, *self.decoder]

    def _run(self, image: Tensor, windows: Iterator[Windows | None]) -> Tensor:
        """Run the encoder, then the decoder on what the encoder left at each size."""
        left = [image]
        for layer in self.encoder:
            left.append(layer(left[-1], next(windows)))
        low = left.pop()
        for layer in self.decoder:
            low = layer(low, next(windows), left.pop())
        return low

    def hyperparameters(self) -> dict[str, int | str]:
        """Return what :func:`build_unet` needs to build this network again."""
        choices = {"centre": self.centre, "mask_channel": self.mask_channel}
        return {"kind": self.kind, **self._sizes, **choices}

    def encoder_norms(self) -> list[nn.BatchNorm2d]:
        """Return the encoder's batch norms, outermost first."""
        return _norms(self.encoder)

    def freeze_encoder_norms(self) -> Self:
        """Freeze statistics and parameters of the encoder's batch norms, for good; return self.

        The second phase of the method trains so: a later ``train()`` leaves them frozen.
        """
        for norm in self.encoder_norms():
            norm.requires_grad_(False)
        return self._keep_statistics(self.levels)

    def freeze_statistics(self) -> Self:
        """Freeze the statistics of all batch norms, for good; return self.

        Their parameters go on learning. From here on a picture is filled alike whatever it shares
        its batch with, in training as in use.
        """
        return self._keep_statistics(2 * self.levels)

    def _keep_statistics(self, rows: int) -> Self:
        self._frozen_rows = max(self._frozen_rows, rows)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch training on or off, except for frozen batch norms; return self."""
        super().train(mode)
        for norm in _norms(self.layers()[: self._frozen_rows]):
            norm.eval()
        return self

    def _check_input(self, image: Tensor, mask: Tensor) -> None:
        """Raise an error unless the image fits the network and the mask the image."""
        refuse_arrays(image=image, mask=mask)
        channels = self._sizes["in_channels"]
        if image.ndim != 4 or image.shape[1] != channels or 0 in image.shape:
            raise ShapeError(f"image has shape {tuple(image.shape)}, wanted (B, {channels}, H, W)")
        wanted = (image.shape[0], 1, *image.shape[2:])
        if tuple(mask.shape) != wanted:
            raise ShapeError(f"mask has shape {tuple(mask.shape)}, wanted {wanted}")
        refuse_integers("image", image)


def _norms(layers: list[Layer]) -> list[nn.BatchNorm2d]:
    return [layer.norm for layer in layers if layer.norm is not None]


class PConvUNet(UNet):
    """Figure 4: a U-Net of partial convolutions.

    >>> model = PConvUNet()                            # as in the paper
    >>> filled = composite(model(image, mask), image, mask)
    """

    kind = "pconv"
    convolution = PartialConv2d

    def _fill(self, image: Tensor, mask: Tensor) -> Tensor:
        return self._run(image, iter(self.windows(mask, image.dtype)))

    @torch.no_grad()
    def windows(self, mask: Tensor, dtype: torch.dtype = torch.float32) -> list[Windows]:
        """Return what each layer sees of the mask; it depends on nothing but the mask.

        Args:
            mask: Nonzero where known, ``(B, 1, H, W)``, with H and W multiples of 2^levels.
            dtype: Precision of the features.

        Returns:
            Ratio and new mask of each row, encoder first.
        """
        seen: list[Windows] = []
        left = [mask]
        for layer in self.encoder:
            seen.append(windows_from_counts(layer.count(left[-1]), layer.row.kernel**2, dtype))
            left.append(seen[-1].known)
        low, low_channels = left.pop(), self.encoder[-1].row.filters
        for layer in self.decoder:
            channels = layer.conv.in_channels
            # sum(M) = C₁·box(M₁) + C₂·box(M₂): two groups of channels, two masks.
            count = low_channels * layer.count(nearest_upsampled(low))
            count += (channels - low_channels) * layer.count(left.pop())
            seen.append(windows_from_counts(count, channels * layer.row.kernel**2, dtype))
            low, low_channels = seen[-1].known, layer.row.filters
        return seen


class PlainUNet(UNet):
    """The same rows with ordinary convolutions.

    The comparison to partial convolutions: holes enter as zeros, and nothing is renormalised. What
    it knows of the mask is its channel, if it has one.
    """

    kind = "plain"
    convolution = nn.Conv2d

    def _fill(self, image: Tensor, mask: Tensor) -> Tensor:
        return self._run(image, iter([None] * (2 * self.levels)))


def build_unet(kind: str, **hyperparameters: Any) -> UNet:
    """Build a network from its :meth:`UNet.hyperparameters`.

    Args:
        kind: ``pconv`` or ``plain``.
        hyperparameters: Arguments of the network's class.

    Returns:
        The network, randomly initialised, in training mode.

    Raises:
        ParameterError: If the kind or a hyperparameter does not exist or has an impossible value.
    """
    kinds: dict[str, type[UNet]] = {"pconv": PConvUNet, "plain": PlainUNet}
    if kind not in kinds:
        raise ParameterError(f"kind of network is {kind!r}, wanted one of {', '.join(kinds)}")
    names = ("in_channels", "out_channels", "width", "levels", "centre", "mask_channel")
    if unknown := hyperparameters.keys() - names:
        raise ParameterError(f"no such hyperparameter of a network: {', '.join(sorted(unknown))}")
    return kinds[kind](**hyperparameters)


def mirrored(network: Fill) -> Fill:
    """Return the mean of a network's fills of a picture's four flips, each flipped back.

    The fill of a picture and the flipped-back fill of its mirror image should be equal. Where they
    differ at least one is wrong, and the mean errs less (a part of the self-ensemble of Lim et al.
    2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution").

    Args:
        network: Called with image ``(B, 3, H, W)`` and mask ``(B, 1, H, W)``.
    """
    return partial(_mean_of_flips, network)


def _mean_of_flips(network: Fill, image: Tensor, mask: Tensor) -> Tensor:
    fills = [network(image.flip(dims), mask.flip(dims)).flip(dims) for dims in _FLIPS]
    # In pairs, so that a picture and its mirror image give the same rounded result.
    return ((fills[0] + fills[1]) + (fills[2] + fills[3])) / len(_FLIPS)


def composite(output: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Put the known pixels back.

    Args:
        output: What a network made, ``(B, 3, H, W)``.
        image: The image it was given, ``(B, 3, H, W)``.
        mask: Nonzero where known, ``(B, 1, H, W)``.

    Returns:
        ``image`` where known, ``output`` in the holes, ``(B, 3, H, W)``.

    Raises:
        ShapeError: If one is of other dimensions: of a mask ``(B, H, W)`` torch would take the
            pictures for channels.
        ImageError: If one is of integers and the other of values from 0 to 1, or one is no tensor.
    """
    refuse_arrays(output=output, image=image, mask=mask)
    if not output.ndim == image.ndim == mask.ndim:
        shapes = ", ".join(str(tuple(one.shape)) for one in (output, image, mask))
        raise ShapeError(f"output, image and mask are {shapes}; wanted as many dimensions of each")
    if image.is_floating_point() or output.is_floating_point():
        refuse_integers("output", output)
        refuse_integers("image", image)
    return torch.where(mask != 0, image, output)


def _check_sizes(sizes: dict[str, int]) -> None:
    """Raise ParameterError unless a network of these sizes can be built."""
    for name, value in sizes.items():
        largest = 16 if name == "levels" else 4096
        if type(value) is not int or not 1 <= value <= largest:
            raise ParameterError(f"{name} is {value!r}, wanted an integer from 1 to {largest}")


def _check_centre(centre: str, in_channels: int, out_channels: int) -> None:
    """Raise ParameterError unless a network can take this centre and put it back."""
    if centre not in get_args(Centre):
        wanted = ", ".join(get_args(Centre))
        raise ParameterError(f"centre is {centre!r}, wanted one of {wanted}")
    if centre == "known" and in_channels != out_channels:
        raise ParameterError(
            f"centre is 'known' with {in_channels} channels in and {out_channels} out; wanted as "
            "many, for the mean of a channel is put back into the same"
        )


def _known_mean(image: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each channel's known pixels, ``(B, C, 1, 1)``; 0.5 where none is known."""
    count = mask.sum(dim=(2, 3), keepdim=True)
    # The sum of many values would leave float16's range.
    wide = torch.promote_types(image.dtype, torch.float32)
    total = only_known(image, mask).sum(dim=(2, 3), keepdim=True, dtype=wide)
    return (total / count.clamp(min=1)).masked_fill(count == 0, 0.5).to(image.dtype)
