"""The five terms a filled hole is judged by, and their weighted total.

Liu et al. 2018, "Image Inpainting for Irregular Holes Using Partial Convolutions", eq. 1-7, of
which the ICME data's paper repeats perceptual (7), style (8) and total variation (6); its
equation numbers are used here. Every norm is averaged over the elements of what it is taken
of, as the authors of the method say of their code.

Masks are 1 where a pixel is known and 0 in the hole; images are RGB in 0..1. "Output" is what
a network returns for the whole image, "composite" the same with the known pixels put back,
"truth" the undamaged image. The functions return one value per image, shape ``(B,)``; where
truths are given, one truth, ``B = 1``, may stand against many fills.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from pconv.errors import ParameterError, ShapeError
from pconv.features import VGG16Features
from pconv.layers import window_sum
from pconv.value_range import refuse_arrays, refuse_integers
from pconv.weights import unwrapped

Extractor = Callable[[Tensor], list[Tensor]]  # VGG-16, or what wraps it

_PIXELS_A_PART = 2048  # of a sum over pixels on a GPU


@dataclass(frozen=True)
class LossWeights:
    """What each term counts in the total; a term of weight 0 is not computed.

    The defaults are those of Liu et al. 2018, and what the paper's Table 2 adds up with.

    Raises:
        ParameterError: If a weight is negative or not finite, or all are 0.
    """

    valid: float = 1.0
    hole: float = 6.0
    perceptual: float = 0.05
    style: float = 120.0
    tv: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
                raise ParameterError(
                    f"loss weight {field.name}: {value!r}; wanted a finite number, 0 or more"
                )
        if not any(getattr(self, field.name) for field in fields(self)):
            raise ParameterError("loss weights: all are 0; give one of them a weight")


@dataclass(frozen=True)
class TruthFeatures:
    """What the VGG terms need of a truth, made once and used for any number of fills.

    Attributes:
        features: The truth's activations after pool1, pool2 and pool3.
        grams: Their Gram matrices in float32, shapes ``(B, C, C)``.
    """

    features: list[Tensor]
    grams: list[Tensor]

    @classmethod
    def of(cls, vgg: Extractor, truth: Tensor) -> "TruthFeatures":
        """Run the truth, ``(B, 3, H, W)`` in 0..1, through VGG-16, without a graph."""
        with torch.no_grad():
            features = vgg(truth)
            return cls(features, [gram(x) for x in features])


def valid_loss(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the L1 distance at the known pixels, over all C·H·W values (Liu et al., L_valid).

    The divisor counts the hole's values too, so the term falls with the share of known pixels.

    Args:
        output: The network's output, any range, ``(B, 3, H, W)``.
        truth: The undamaged image in 0..1, ``(B, 3, H, W)`` or ``(1, 3, H, W)``.
        mask: Nonzero where known, ``(B, 1, H, W)``.

    Returns:
        One value per image, float32, ``(B,)``.

    Raises:
        ShapeError: If the three tensors do not fit together.
        ImageError: If output or truth are of integers, hence not in 0..1, or one is no tensor.
    """
    _check_input(output, truth, mask)
    return _per_image((output.float() - truth.float()).abs() * (mask != 0).to(torch.float32))


def hole_loss(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the L1 distance in the hole, over all C·H·W values (Liu et al., L_hole).

    Arguments, shapes and errors are those of `valid_loss`.
    """
    _check_input(output, truth, mask)
    return _per_image((output.float() - truth.float()).abs() * (mask == 0).to(torch.float32))


def total_variation_loss(composite: Tensor, mask: Tensor) -> Tensor:
    """Return the roughness of the filled hole and of its seam (eq. 6).

    R is the hole dilated by one pixel in all eight directions. Two terms are added: the
    absolute differences of horizontal neighbours that both lie in R, summed over positions and
    channels and divided by N = C·H·W, the number of the composite's values; and likewise of
    vertical neighbours. (So each is a sum over R, not a mean over R.) The paper's eq. 6 asks for
    one of the two horizontal neighbours only, and for both vertical ones; Liu et al. ask for both.

    Args:
        composite: The output with the known pixels put back, in 0..1, ``(B, 3, H, W)``.
        mask: Nonzero where known, ``(B, 1, H, W)``.

    Returns:
        One value per image, float32, ``(B,)``.

    Raises:
        ShapeError: If the two tensors do not fit together.
        ImageError: If the composite is of integers, hence not in 0..1, or one is no tensor.
    """
    _check_input(composite, composite, mask)
    composite = composite.float()
    region = (window_sum(mask == 0, (3, 3), padding=(1, 1)) > 0).to(torch.float32)
    across = composite.diff(dim=3).abs() * region[..., 1:] * region[..., :-1]
    down = composite.diff(dim=2).abs() * region[..., 1:, :] * region[..., :-1, :]
    return (_sum(across) + _sum(down)) / math.prod(composite.shape[1:])


def perceptual_loss(
    output: Sequence[Tensor], composite: Sequence[Tensor], truth: Sequence[Tensor]
) -> Tensor:
    """Return the mean L1 distances of activations, of output and composite, added up (eq. 7).

    Args:
        output: The output's activations, one ``(B, C, H, W)`` a pooling layer.
        composite: The composite's.
        truth: The truth's.
    """
    terms = [
        _per_image((fill.float() - of_truth.float()).abs())
        for fills in (output, composite)
        for fill, of_truth in zip(fills, truth, strict=True)
    ]
    return torch.stack(terms).sum(dim=0)


def style_loss(
    output: Sequence[Tensor], composite: Sequence[Tensor], truth_grams: Sequence[Tensor]
) -> Tensor:
    """Return the mean L1 distances of Gram matrices, of output and composite, added up (eq. 8).

    The paper's eq. 8 shows the composite's term only and K_p before one of two products; Liu
    et al. have both terms and K_p before the difference, and so does this.

    Args:
        output: The output's activations, one ``(B, C, H, W)`` a pooling layer.
        composite: The composite's.
        truth_grams: The `gram` matrices of the truth's activations.
    """
    terms = [
        _per_image((gram(fill) - of_truth).abs())
        for fills in (output, composite)
        for fill, of_truth in zip(fills, truth_grams, strict=True)
    ]
    return torch.stack(terms).sum(dim=0)


def gram(features: Tensor) -> Tensor:
    """Return the mean products of channels with each other: their sums, over C·H·W (eq. 8, K_p).

    From shape ``(B, C, H, W)`` to ``(B, C, C)``; in float32 whatever the precision around it,
    as the sums overflow float16, and bfloat16 would leave two digits of their differences.
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.is_cuda and features.dtype == torch.bfloat16:
            sums = bf16_products(features)
        else:
            flat = features.float().flatten(2)  # (B, C, H·W)
            sums = flat @ flat.transpose(1, 2)
        return sums / math.prod(features.shape[1:])


def bf16_products(features: Tensor) -> Tensor:
    """Return sums of products of channels: of bfloat16 ``(B, C, H, W)``, float32 ``(B, C, C)``.

    Nothing is copied as float32: the product of two bfloat16 numbers is exact there, and there the
    products are added up. For maps in channels-last memory order; others are copied into it.
    """
    batch, channels, height, width = features.shape
    # A sum over all pixels keeps one processor of a GPU busy for each pair of tiles of channels;
    # in parts it is enough for all of them.
    parts = 1
    while height % (2 * parts) == 0 and height * width >= 2 * parts * _PIXELS_A_PART:
        parts *= 2
    pixels = features.permute(0, 2, 3, 1).reshape(batch * parts, -1, channels)
    sums: Tensor = _ProductsOfChannels.apply(pixels)
    return sums.view(batch, parts, channels, channels).sum(dim=1)


class _ProductsOfChannels(torch.autograd.Function):
    """``XᵀX`` in float32, of X ``(B, pixels, C)`` in bfloat16; torch has no gradient of that."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(pixels)
        across = pixels.transpose(1, 2)
        if pixels.is_cuda:
            return torch.bmm(across, pixels, out_dtype=torch.float32)
        return across.float() @ pixels.float()  # torch has no such product on a CPU

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (pixels,) = ctx.saved_tensors
        return pixels @ (gradient + gradient.transpose(1, 2)).to(pixels.dtype)


class InpaintingLoss(nn.Module):
    """The weighted total of the terms, averaged over a batch.

    Args:
        features: VGG-16, of `pconv.features.vgg16_features`, also compiled or in ``DataParallel``;
            may be None when the perceptual and the style weight are 0.
        weights: What each term counts; by default what Liu et al. have.

    Raises:
        ParameterError: If a term that needs VGG-16 has a weight and there is no VGG-16, or if
            features or weights are something else.
        WeightsError: If VGG-16 holds no values.
    """

    def __init__(
        self, features: Extractor | None = None, weights: LossWeights | None = None
    ) -> None:
        super().__init__()
        self.weights = LossWeights() if weights is None else weights
        _check_parts(features, self.weights)
        self.features = features

    def forward(self, output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the batch means of the terms that have a weight, and ``total``.

        Args:
            output: The network's output, any range, ``(B, 3, H, W)``.
            image: The truth in 0..1, ``(B, 3, H, W)``.
            mask: 1 where known, 0 in the hole, ``(B, 1, H, W)``, float or bool.

        Returns:
            Float32 scalars under ``valid``, ``hole``, ``perceptual``, ``style``, ``tv`` (each
            before weighting) and ``total``.

        Raises:
            ShapeError: If the three tensors do not fit together.
            ImageError: If output or image are of integers, hence not in 0..1, or one is no tensor.
        """
        terms = self.per_image(output, image, mask)
        return {name: term.mean() for name, term in terms.items()}

    def per_image(
        self,
        output: Tensor,
        image: Tensor,
        mask: Tensor,
        truth: TruthFeatures | None = None,
        *,
        keeps_known: bool = False,
    ) -> dict[str, Tensor]:
        """Return what `forward` does, for each image by itself: shapes ``(B,)``.

        Args:
            output: As in `forward`.
            image: As in `forward`; one truth, ``(1, 3, H, W)``, may stand against many outputs.
            mask: As in `forward`.
            truth: `TruthFeatures` of `image`, if they are at hand; else they are computed.
            keeps_known: The output has the truth's known pixels already, as that of every
                method without learning has. It is then its own composite, and VGG-16 runs
                on it once and not twice.
        """
        _check_input(output, image, mask)
        composite = output if keeps_known else torch.where(mask.bool(), image, output)
        weights = self.weights
        terms = {}
        if weights.valid:
            terms["valid"] = valid_loss(output, image, mask)
        if weights.hole:
            terms["hole"] = hole_loss(output, image, mask)
        if self.features is not None and (weights.perceptual or weights.style):
            terms |= self._vgg_terms(self.features, output, composite, image, truth)
        if weights.tv:
            terms["tv"] = total_variation_loss(composite, mask)
        weighted = [getattr(weights, name) * term for name, term in terms.items()]
        return {**terms, "total": torch.stack(weighted).sum(dim=0)}

    def _vgg_terms(
        self,
        vgg: Extractor,
        output: Tensor,
        composite: Tensor,
        image: Tensor,
        truth: TruthFeatures | None,
    ) -> dict[str, Tensor]:
        truth = truth or TruthFeatures.of(vgg, image)
        of_output, of_composite = _activations(vgg, output, composite)
        terms = {}
        if self.weights.perceptual:
            terms["perceptual"] = perceptual_loss(of_output, of_composite, truth.features)
        if self.weights.style:
            terms["style"] = style_loss(of_output, of_composite, truth.grams)
        return terms


def _activations(
    vgg: Extractor, output: Tensor, composite: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Run output and composite through VGG-16 in one batch, or once if they are one tensor."""
    if composite is output:
        features = vgg(output)
        return features, features
    features = vgg(torch.cat([output, composite]))
    halves = [x.chunk(2) for x in features]
    return [half[0] for half in halves], [half[1] for half in halves]


def _check_parts(features: Extractor | None, weights: LossWeights) -> None:
    """Raise an error unless the loss can be computed with these."""
    if not isinstance(weights, LossWeights):
        raise ParameterError(
            f"weights is a {type(weights).__name__}; wanted pconv.losses.LossWeights"
        )
    if features is None:
        if weights.perceptual or weights.style:
            raise ParameterError(
                "features: None, while the perceptual or the style loss has a weight; give "
                "vgg16_features(…), or set both weights to 0"
            )
        return
    vgg = unwrapped(features)
    if not isinstance(vgg, VGG16Features):
        raise ParameterError(
            f"features is a {type(vgg).__name__}; wanted what pconv.features.vgg16_features "
            "returns, or None"
        )
    vgg.refuse_empty()


def _check_input(output: Tensor, image: Tensor, mask: Tensor) -> None:
    refuse_arrays(output=output, image=image, mask=mask)
    fits = (
        output.ndim == image.ndim == 4
        and image.shape[0] in (1, output.shape[0])
        and image.shape[1:] == output.shape[1:]
        and mask.shape == (output.shape[0], 1, *output.shape[2:])
    )
    if not fits:
        raise ShapeError(
            f"output {tuple(output.shape)}, image {tuple(image.shape)}, mask {tuple(mask.shape)}; "
            "wanted (B, 3, H, W) twice and (B, 1, H, W)"
        )
    refuse_integers("output", output)
    refuse_integers("image", image)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)))


def _per_image(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)
