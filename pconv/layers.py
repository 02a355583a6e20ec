"""The partial convolution: Eq. 1 and 2 of the paper, and nothing else.

A mask is 1 where a pixel is known and 0 in a hole. The zeros that pad a border are holes too, so
a 3×3 window at the edge of an all-known image is scaled by 9/6 and one in its corner by 9/4.

A mask whose channels are all alike is handled as the one channel it is: ``sum(M)`` is then a box
sum of one channel, never a second convolution. Counts are kept in float32, which holds every count
that can occur exactly, whatever the precision of the features. Masks carry no gradient.

`PartialConv2d` is for networks of one's own. `PConvUNet` has its weights in it and does not call
it: the masks of all rows are computed once for a batch (`PConvUNet.windows`), and the up-sampling
is folded into the convolution (`pconv.rows`). A test compares the two.
"""

from collections.abc import Sequence
from itertools import product
from operator import index
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.errors import ParameterError, ShapeError

Pair = tuple[int, int]


class Windows(NamedTuple):
    """What the windows of a layer see of its mask.

    Attributes:
        ratio: ``sum(1) / sum(M)`` of Eq. 1, 0 where nothing known is seen; ``(B, 1, H', W')``.
        known: The new mask m' of Eq. 2, True where it is 1; ``(B, 1, H', W')``.
        full: Whether m' is 1 everywhere for certain, so that ``⊙ m'`` may be left out.
    """

    ratio: Tensor
    known: Tensor
    full: bool


@torch.no_grad()
def window_sum(
    mask: Tensor,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """Count the known values in each window: ``sum(M)`` of Eq. 1 over one group of channels.

    Args:
        mask: Nonzero where known, ``(B, 1, H, W)``, or ``(B, C, H, W)``, a mask for each channel.
        kernel_size: Height and width of the window.
        stride: Steps between windows.
        padding: Rows and columns of hole added on either side.
        dilation: Steps between what a window sees.

    Returns:
        The exact counts as float32, ``(B, 1, H', W')``.
    """
    known = (mask != 0).float()
    if mask.shape[1] > 1:
        known = known.sum(dim=1, keepdim=True)
    padded = F.pad(known, (padding[1], padding[1], padding[0], padding[0]))
    if dilation != (1, 1):
        return _dilated_sum(padded, kernel_size, stride, dilation)
    # Not a convolution with ones: autocast would round it and cuDNN may take an inexact algorithm.
    return F.avg_pool2d(padded, kernel_size, stride, divisor_override=1)


def _dilated_sum(known: Tensor, kernel_size: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """Add up what each place of the window sees, a place at a time."""
    ends = [
        length - step * (side - 1)
        for length, step, side in zip(known.shape[2:], dilation, kernel_size, strict=True)
    ]
    seen = [
        known[
            ...,
            y * dilation[0] : y * dilation[0] + ends[0] : stride[0],
            x * dilation[1] : x * dilation[1] + ends[1] : stride[1],
        ]
        for y, x in product(*map(range, kernel_size))
    ]
    return torch.stack(seen).sum(dim=0)


@torch.no_grad()
def windows_from_counts(seen: Tensor, total: int, dtype: torch.dtype = torch.float32) -> Windows:
    """Turn the counts of known values into Eq. 1's ratio and Eq. 2's mask.

    Args:
        seen: ``sum(M)``, ``(B, 1, H', W')``.
        total: ``sum(1)``, the number of values in a window.
        dtype: Precision of the features; the ratio has at least float32's.

    Returns:
        The ratio and the new mask.
    """
    known = seen > 0
    counts = seen.to(torch.promote_types(dtype, torch.float32))
    # No epsilon: it would be lost in float16 and make the quotient inexact everywhere. Nor a number
    # over a tensor: torch makes it the number times a reciprocal, rounded twice.
    ratio = torch.where(known, torch.full_like(counts, total) / counts, 0.0)
    # Asking is cheap on the CPU; elsewhere it would stop the queue. It would cut a compiled graph
    # in two, and a traced one would keep the answer for all masks to come.
    is_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    ask = known.device.type == "cpu" and not is_graph
    return Windows(ratio, known, full=ask and _is_full(known))


def _is_full(known: Tensor) -> bool:
    """Return whether all is known for certain; under vmap, or a tracer, there is nothing to ask."""
    try:
        return bool(known.all())
    except RuntimeError:  # torch has no public name for "these are no values"
        return False


def only_known(image: Tensor, mask: Tensor) -> Tensor:
    """Return ``X ⊙ M`` of Eq. 1, with zeros under holes even where X is infinite or NaN."""
    return image.masked_fill(mask == 0, 0.0)


def rescale(features: Tensor, windows: Windows, bias: Tensor | None) -> Tensor:
    """Apply the rest of Eq. 1 to ``Wᵀ(X ⊙ M)``: times the ratio, plus the bias where m' = 1.

    Args:
        features: ``Wᵀ(X ⊙ M)``, ``(B, D, H', W')``; **overwritten** (a convolution does not need
            its own output for its gradient).
        windows: What the windows see of the mask.
        bias: ``(D,)`` or none.

    Returns:
        x' of Eq. 1, the overwritten features.
    """
    # In place, a float32 ratio meets half-precision features with a single rounding.
    features = features.mul_(windows.ratio)
    if bias is None:
        return features
    bias = bias.view(-1, 1, 1).to(features.dtype)
    if windows.full:
        return features.add_(bias)
    return features.addcmul_(bias, windows.known.to(features.dtype))


def partial_conv2d(
    image: Tensor | Sequence[Tensor],
    mask: Tensor | Sequence[Tensor] | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> tuple[Tensor, Tensor]:
    """Convolve the known pixels only, and grow the mask (Eq. 1 and 2).

    After a skip connection two groups of channels have two masks. Instead of concatenating them,
    pass the groups and their masks as two sequences: ``sum(M) = C₁·box(M₁) + C₂·box(M₂)``.

    Args:
        image: Values in any range, ``(B, C, H, W)``, or a sequence of groups of channels; what lies
            under holes is ignored.
        mask: Nonzero where known, ``(B, 1, H, W)`` or ``(B, C, H, W)``, float, integer or bool; a
            sequence if ``image`` is one. None where all is known: then only the border is hole (Liu
            et al. 2018, "Partial Convolution based Padding").
        weight: ``(D, C, K, L)``, with C counted over all groups.
        bias: ``(D,)`` or none; added after scaling, where something known is seen.
        stride: Steps between windows.
        padding: Rows and columns of hole added on either side.
        dilation: Steps between what a window sees.

    Returns:
        The features, ``(B, D, H', W')``, zero where nothing known is seen, and the new mask in the
        old one's dtype, or the image's, ``(B, 1, H', W')``, the same for all D channels.

    Raises:
        ShapeError: If images, masks and kernel do not fit together.
        ParameterError: If stride, padding or dilation are no numbers, such as ``"same"``, or image
            or mask no tensors.
    """
    step, border, apart = (
        _pair("stride", stride),
        _pair("padding", padding),
        _pair("dilation", dilation),
    )
    images = _tensors("image", image)
    kernel_size = (weight.shape[2], weight.shape[3])
    _check_sizes(images, kernel_size, border, apart)
    if mask is None:
        mask = [torch.ones_like(group[:, :1]) for group in images]
    masks = _tensors("mask", mask)
    _check_shapes(images, masks, weight)
    seen = [
        window_sum(known, kernel_size, step, border, apart) * (group.shape[1] // known.shape[1])
        for group, known in zip(images, masks, strict=True)  # a one-channel mask counts C times
    ]
    total = weight[0].numel()
    windows = windows_from_counts(torch.stack(seen).sum(dim=0), total, images[0].dtype)
    parts = torch.split(weight, [group.shape[1] for group in images], dim=1)
    features = [
        F.conv2d(only_known(group, known), part, None, step, border, apart)
        for group, known, part in zip(images, masks, parts, strict=True)
    ]
    # W of the concatenation times the concatenation is the sum over its parts.
    summed = features[0] if len(features) == 1 else torch.stack(features).sum(dim=0)
    return rescale(summed, windows, bias), windows.known.to(masks[0].dtype)


class PartialConv2d(nn.Conv2d):
    """A convolution that sees known pixels only (Eq. 1), and the mask it leaves (Eq. 2).

    Nothing is remembered between calls: parameters are the only state. Of what `torch.nn.Conv2d`
    takes, ``groups`` and ``padding_mode`` are not supported: each filter sees all channels, and
    the border is hole.

    Args:
        in_channels: Channels of the image, counted over all groups.
        out_channels: Number of filters.
        kernel_size: Side, or height and width, of the window.
        stride: Steps between windows.
        padding: Rows and columns of hole added on either side.
        dilation: Steps between what a window sees.
        bias: Whether each filter has a bias. In front of a batch norm it does little: nothing
            where no window misses the hole, as the norm subtracts it, else it shifts known
            features against those of holes, which stay 0.
        device: Of the parameters.
        dtype: Of the parameters.

    Raises:
        ParameterError: If stride, padding or dilation are no numbers, such as ``"same"``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        steps = {"stride": stride, "padding": padding, "dilation": dilation}
        numbers: dict[str, Any] = {name: _pair(name, value) for name, value in steps.items()}
        super().__init__(
            in_channels, out_channels, kernel_size, bias=bias, device=device, dtype=dtype, **numbers
        )

    def forward(  # type: ignore[override]  # a partial convolution takes a mask as well
        self, image: Tensor | Sequence[Tensor], mask: Tensor | Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the new mask; arguments as in :func:`partial_conv2d`."""
        steps = [cast(Pair, pair) for pair in (self.stride, self.padding, self.dilation)]
        return partial_conv2d(image, mask, self.weight, self.bias, *steps)


def _pair(name: str, value: int | Pair) -> Pair:
    """Return height and width of what may be one number for both."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    is_pair = len(both) == 2 and not any(isinstance(number, bool) for number in both)
    if not is_pair or not all(hasattr(number, "__index__") for number in both):
        raise ParameterError(f"{name} is {value!r}; wanted an integer, or one for height and width")
    return index(both[0]), index(both[1])


def _tensors(name: str, value: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return an image's groups of channels, or their masks, after a check that they are tensors."""
    if isinstance(value, Tensor):
        return (value,)
    found = f"a {type(value).__name__}"
    if isinstance(value, Sequence):
        if value and all(isinstance(group, Tensor) for group in value):
            return tuple(value)
        inside = [type(group).__name__ for group in value if not isinstance(group, Tensor)]
        found = f"a {inside[0]} in {found}" if inside else f"{found} without one"
    raise ParameterError(f"{name}: {found}; wanted a tensor, or a sequence of tensors")


def _check_sizes(images: Sequence[Tensor], kernel_size: Pair, border: Pair, apart: Pair) -> None:
    """Raise ShapeError unless each group of channels is a batch that a window fits into."""
    tall, wide = (step * (side - 1) + 1 for step, side in zip(apart, kernel_size, strict=True))
    for image in images:
        if image.ndim != 4:
            raise ShapeError(f"an image of shape {tuple(image.shape)}; wanted (B, C, H, W)")
        height, width = image.shape[2] + 2 * border[0], image.shape[3] + 2 * border[1]
        if height < tall or width < wide:
            raise ShapeError(
                f"a window of {tall}x{wide} pixels is larger than the image of shape "
                f"{tuple(image.shape)}, which is padded to {height}x{width}"
            )


def _check_shapes(images: Sequence[Tensor], masks: Sequence[Tensor], weight: Tensor) -> None:
    """Raise ShapeError unless images, masks and kernel fit together."""
    if len(images) != len(masks):
        raise ShapeError(f"{len(images)} groups of channels need as many masks, not {len(masks)}")
    for image, mask in zip(images, masks, strict=True):
        batch, channels, *size = image.shape
        allowed = [(batch, 1, *size), (batch, channels, *size)]
        if tuple(mask.shape) not in allowed:
            raise ShapeError(
                f"a mask of shape {tuple(mask.shape)} does not fit an image of shape "
                f"{tuple(image.shape)}; wanted {allowed[0]} or {allowed[1]}"
            )
    channels = sum(image.shape[1] for image in images)
    if channels != weight.shape[1]:
        raise ShapeError(
            f"the image has {channels} channels, the kernel {tuple(weight.shape)} takes "
            f"{weight.shape[1]}"
        )
