"""The loss terms, each against a plain numpy version, and the laws they obey."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pconv.errors import ImageError, ParameterError, ShapeError, WeightsError
from pconv.features import VGG16Features, vgg16_features
from pconv.losses import (
    InpaintingLoss,
    LossWeights,
    TruthFeatures,
    bf16_products,
    gram,
    hole_loss,
    perceptual_loss,
    style_loss,
    total_variation_loss,
    valid_loss,
)

Array = NDArray[np.float64]
PIXEL_TERMS = LossWeights(perceptual=0, style=0)


@pytest.fixture(scope="module")
def vgg() -> VGG16Features:
    """VGG-16 with seeded random weights."""
    return vgg16_features("random", seed=0)


def scene(seed: int = 0, batch: int = 2, side: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Return an output, a truth and a mask of random numbers, with about a third of holes."""
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(batch, 3, side, side + 4, generator=generator)
    truth = torch.rand(batch, 3, side, side + 4, generator=generator)
    mask = (torch.rand(batch, 1, side, side + 4, generator=generator) > 0.3).float()
    return output, truth, mask


def composite_of(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the output with the truth's known pixels."""
    return mask * truth + (1 - mask) * output


def naive_l1(output: Array, truth: Array, weight: Array) -> float:
    """Return sum |weight ⊙ (output − truth)| / N for one image, (C, H, W)."""
    return float(np.abs(weight * (output - truth)).sum() / output.size)


def naive_tv(composite: Array, known: NDArray[np.bool_]) -> float:
    """Return eq. 6 for one image, pixel by pixel."""
    channels, height, width = composite.shape
    region = {
        (i, j)
        for i in range(height)
        for j in range(width)
        if not known[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].all()
    }
    total = 0.0
    for i, j in region:
        for neighbour in ((i, j + 1), (i + 1, j)):
            if neighbour in region:
                total += np.abs(composite[:, *neighbour] - composite[:, i, j]).sum()
    return total / (channels * height * width)


def naive_perceptual(fills: list[list[Array]], truth: list[Array]) -> float:
    """Return eq. 7 for one image: activations of output and composite, and of the truth."""
    return sum(
        float(np.abs(fill - t).sum() / t.size)
        for layers in fills
        for fill, t in zip(layers, truth, strict=True)
    )


def naive_style(fills: list[list[Array]], truth: list[Array]) -> float:
    """Return eq. 8, with Liu et al.'s output term, for one image."""
    total = 0.0
    for layers in fills:
        for fill, t in zip(layers, truth, strict=True):
            channels, height, width = t.shape
            a, b = fill.reshape(channels, -1), t.reshape(channels, -1)
            difference = (a @ a.T - b @ b.T) / (channels * height * width)
            total += float(np.abs(difference).sum() / channels**2)
    return total


def arrays(tensors: list[Tensor], item: int) -> list[Array]:
    """Return one item of each batch in float64."""
    return [tensor[item].double().numpy() for tensor in tensors]


class TestPixelLosses:
    """`valid_loss` and `hole_loss`."""

    def test_values(self) -> None:
        """Both equal the numpy version, image by image."""
        output, truth, mask = scene()
        for item in range(2):
            o, t, m = (x[item].double().numpy() for x in (output, truth, mask))
            valid = valid_loss(output, truth, mask)[item].item()
            hole = hole_loss(output, truth, mask)[item].item()
            assert valid == pytest.approx(naive_l1(o, t, m), rel=1e-5)
            assert hole == pytest.approx(naive_l1(o, t, 1 - m), rel=1e-5)

    def test_add_up(self) -> None:
        """Together they are the mean absolute error of the whole image."""
        output, truth, mask = scene()
        both = valid_loss(output, truth, mask) + hole_loss(output, truth, mask)
        torch.testing.assert_close(both, (output - truth).abs().mean(dim=(1, 2, 3)))

    def test_gradient(self) -> None:
        """The hole's gradient is sign / N in the hole and nothing outside."""
        output, truth, mask = scene(batch=1)
        output.requires_grad_()
        hole_loss(output, truth, mask).backward()
        expected = (output - truth).detach().sign() * (1 - mask) / output.numel()
        torch.testing.assert_close(output.grad, expected)

    @pytest.mark.parametrize("loss", [valid_loss, hole_loss])
    @pytest.mark.parametrize("known", [torch.tensor(True), torch.tensor(255, dtype=torch.uint8)])
    def test_kinds_of_mask(self, loss: Callable[..., Tensor], known: Tensor) -> None:
        """A mask of bools, or of 255, gives what the same mask in floats gives."""
        output, truth, mask = scene()
        assert torch.equal(
            loss(output, truth, mask.to(known.dtype) * known), loss(output, truth, mask)
        )

    @pytest.mark.parametrize("loss", [valid_loss, hole_loss])
    def test_precision(self, loss: Callable[..., Tensor]) -> None:
        """A bfloat16 output is subtracted and averaged in float32."""
        output, truth, mask = scene()
        half = output.bfloat16()
        assert torch.equal(loss(half, truth, mask), loss(half.float(), truth, mask))


class TestTotalVariationLoss:
    """`total_variation_loss`."""

    @pytest.mark.parametrize("seed", range(3))
    def test_values(self, seed: int) -> None:
        """It equals the pixel-by-pixel version, image by image."""
        output, truth, _ = scene(seed)
        mask = (truth[:, :1] > 0.05).float()  # few holes, else their dilation fills the image
        losses = total_variation_loss(output, mask)
        half = output.bfloat16()  # subtracted in float32
        assert torch.equal(
            total_variation_loss(half, mask), total_variation_loss(half.float(), mask)
        )
        for item in range(2):
            expected = naive_tv(output[item].double().numpy(), mask[item, 0].bool().numpy())
            assert losses[item].item() == pytest.approx(expected, rel=1e-5)

    def test_one_pixel(self) -> None:
        """One pixel in the hole counts the 12 pairs of its 3×3 neighbourhood, by hand."""
        composite = torch.zeros(1, 3, 8, 8)
        composite[..., 4, 4] = 1
        mask = torch.ones(1, 1, 8, 8)
        mask[..., 4, 4] = 0
        # The pixel differs from 4 neighbours, in 3 channels; 192 values.
        assert total_variation_loss(composite, mask).item() == pytest.approx(12 / 192)

    def test_seam_counts(self) -> None:
        """A flat fill that does not fit its surroundings is rough: the seam lies in the region."""
        composite = torch.zeros(1, 3, 8, 8)
        composite[..., :4] = 1
        mask = torch.ones(1, 1, 8, 8)
        mask[..., :4] = 0
        assert total_variation_loss(composite, mask).item() == pytest.approx(8 * 3 / 192)

    @given(seed=st.integers(0, 999), factor=st.floats(-4, 4, width=16))
    @settings(deadline=None, max_examples=20)
    def test_scales(self, seed: int, factor: float) -> None:
        """Scaled values scale it; a constant added changes nothing."""
        output, _, mask = scene(seed, batch=1)
        scaled = total_variation_loss(factor * output + 0.5, mask)
        torch.testing.assert_close(
            scaled, abs(factor) * total_variation_loss(output, mask), rtol=1e-4, atol=1e-6
        )

    def test_nothing_missing(self) -> None:
        """Without a hole it is 0, however rough the image."""
        output, _, mask = scene()
        assert not total_variation_loss(output, torch.ones_like(mask)).any()


class TestPerceptualLoss:
    """`perceptual_loss`."""

    def test_values(self, vgg: VGG16Features) -> None:
        """It equals the numpy version on the same activations, image by image."""
        output, truth, mask = scene()
        images = (output, composite_of(output, truth, mask), truth)
        of_output, of_composite, of_truth = (vgg(image) for image in images)
        losses = perceptual_loss(of_output, of_composite, of_truth)
        for item in range(2):
            fills = [arrays(of_output, item), arrays(of_composite, item)]
            expected = naive_perceptual(fills, arrays(of_truth, item))
            assert losses[item].item() == pytest.approx(expected, rel=1e-5)

    def test_raises_on_layers(self, vgg: VGG16Features) -> None:
        """Another number of layers is refused, not cut to the shorter."""
        features = vgg(scene()[1])
        with pytest.raises(ValueError, match="zip"):
            perceptual_loss(features, features, features[:2])


class TestStyleLoss:
    """`style_loss` and `gram`."""

    def test_values(self, vgg: VGG16Features) -> None:
        """It equals the numpy version on the same activations, image by image."""
        output, truth, mask = scene()
        images = (output, composite_of(output, truth, mask), truth)
        of_output, of_composite, of_truth = (vgg(image) for image in images)
        losses = style_loss(of_output, of_composite, [gram(x) for x in of_truth])
        for item in range(2):
            fills = [arrays(of_output, item), arrays(of_composite, item)]
            expected = naive_style(fills, arrays(of_truth, item))
            assert losses[item].item() == pytest.approx(expected, rel=1e-4)

    def test_ignores_positions(self, vgg: VGG16Features) -> None:
        """Activations moved to other places, all channels alike, have the same style."""
        features = vgg(scene()[1])
        moved = [x.roll((1, 2), dims=(2, 3)).flip(3) for x in features]
        grams = [gram(x) for x in features]
        assert style_loss(moved, moved, grams).max() < 1e-6

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_gram_in_float32(self, dtype: torch.dtype) -> None:
        """Under autocast, products too large for float16 come out as float32 gives them."""
        features = (torch.rand(1, 4, 32, 32) * 1000).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = gram(features)
        flat = features[0].double().flatten(1)
        assert result.dtype == torch.float32
        torch.testing.assert_close(
            result[0].double(), flat @ flat.T / flat.numel(), rtol=1e-5, atol=0
        )

    def test_gram_of_none(self) -> None:
        """An empty batch has no matrices, and that is no error."""
        assert gram(torch.zeros(0, 4, 8, 8)).shape == (0, 4, 4)

    @pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
    @pytest.mark.parametrize("size", [(96, 128), (64, 64), (71, 61), (5, 7)])
    def test_bf16_products(self, size: tuple[int, int], order: torch.memory_format) -> None:
        """What a GPU does with bfloat16, compiled as there, is the sum and its gradient."""
        features = torch.randn(2, 6, *size).to(torch.bfloat16).to(memory_format=order)
        products = torch.compile(bf16_products, backend="aot_eager", fullgraph=True)
        for function in (bf16_products, products):
            check_products(function, features, divisor=1)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("compiled", [False, True])
    def test_gram_on_a_gpu(self, compiled: bool) -> None:
        """On a GPU it is that of float64, and so is its gradient, to bfloat16's digits."""
        features = torch.randn(2, 64, 128, 128, device="cuda", dtype=torch.bfloat16)
        features = features.to(memory_format=torch.channels_last)
        function = torch.compile(gram, fullgraph=True) if compiled else gram
        check_products(function, features, divisor=features[0].numel())


def check_products(
    function: Callable[[Tensor], Tensor], features: Tensor, *, divisor: float
) -> None:
    """Compare products of channels and their gradient, of bfloat16 maps, with float64's."""
    features.requires_grad_()
    flat = features.double().flatten(2)
    wanted = flat @ flat.transpose(1, 2) / divisor
    weights = torch.randn_like(wanted)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), features)
    result = function(features)
    (gradient,) = torch.autograd.grad((result * weights).sum(), features)
    assert result.dtype == torch.float32
    assert (result - wanted).norm() < 1e-5 * wanted.norm()
    assert (gradient - expected).double().norm() < 1e-2 * expected.double().norm()


class TestLossWeights:
    """`LossWeights`."""

    def test_defaults(self) -> None:
        """They are those of Liu et al. 2018."""
        weights = LossWeights()
        assert (weights.valid, weights.hole, weights.perceptual) == (1, 6, 0.05)
        assert (weights.style, weights.tv) == (120, 0.1)

    @pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1"])
    def test_raises(self, value: Any) -> None:
        """A weight that would turn a term round or spoil the sum is refused by name."""
        with pytest.raises(ParameterError, match="loss weight hole"):
            LossWeights(hole=value)

    def test_kinds_of_number(self) -> None:
        """A number of numpy is as good as Python's."""
        assert LossWeights(hole=np.float32(2)).hole == 2

    def test_raises_when_all_are_zero(self) -> None:
        """There must be something to minimise."""
        with pytest.raises(ParameterError, match="all are 0"):
            LossWeights(0, 0, 0, 0, 0)


class TestInpaintingLoss:
    """`InpaintingLoss`."""

    def test_values(self, vgg: VGG16Features) -> None:
        """Each term is the batch mean of its function, and the total is weighted."""
        output, truth, mask = scene()
        composite = composite_of(output, truth, mask)
        terms = InpaintingLoss(vgg)(output, truth, mask)
        of_output, of_composite, of_truth = vgg(output), vgg(composite), vgg(truth)
        expected = {
            "valid": valid_loss(output, truth, mask),
            "hole": hole_loss(output, truth, mask),
            "perceptual": perceptual_loss(of_output, of_composite, of_truth),
            "style": style_loss(of_output, of_composite, [gram(x) for x in of_truth]),
            "tv": total_variation_loss(composite, mask),
        }
        counts = {"valid": 1, "hole": 6, "perceptual": 0.05, "style": 120, "tv": 0.1}
        expected["total"] = sum(counts[name] * term for name, term in expected.items())
        assert terms.keys() == expected.keys()
        for name, term in terms.items():
            torch.testing.assert_close(term, expected[name].mean(), rtol=1e-4, atol=1e-6)

    def test_perfect_output(self, vgg: VGG16Features) -> None:
        """The truth itself has no loss but its own roughness in the hole."""
        _, truth, mask = scene()
        terms = InpaintingLoss(vgg)(truth, truth, mask)
        roughness = terms.pop("tv")
        torch.testing.assert_close(terms.pop("total"), 0.1 * roughness)
        assert roughness > 0
        assert max(term.item() for term in terms.values()) < 1e-6

    @pytest.mark.parametrize("name", ["valid", "hole", "perceptual", "style", "tv"])
    def test_weight_zero_is_left_out(self, vgg: VGG16Features, name: str) -> None:
        """A term of weight 0 is not in the dict, and the total is that of the others."""
        scenes = scene()
        terms = InpaintingLoss(vgg)(*scenes)
        fewer = InpaintingLoss(vgg, LossWeights(**{name: 0.0}))(*scenes)
        assert fewer.keys() == terms.keys() - {name}
        left = terms["total"] - getattr(LossWeights(), name) * terms[name]
        torch.testing.assert_close(fewer["total"], left, rtol=1e-4, atol=1e-5)

    def test_runs_of_vgg(self, vgg: VGG16Features) -> None:
        """The truth runs without a graph, output and composite together, and never for nothing."""
        runs: list[tuple[int, bool]] = []
        hook = vgg.register_forward_hook(
            lambda _, inputs, features: runs.append((len(inputs[0]), features[0].requires_grad))
        )
        output, truth, mask = scene()
        output.requires_grad_()
        InpaintingLoss(vgg)(output, truth.requires_grad_(), mask)
        assert sorted(runs) == [(2, False), (4, True)]
        runs.clear()
        loss = InpaintingLoss(vgg)
        truth = truth.detach()
        loss.per_image(truth, truth, mask, TruthFeatures.of(vgg, truth), keeps_known=True)
        assert runs == [(2, False), (2, False)]
        runs.clear()
        InpaintingLoss(vgg, PIXEL_TERMS)(output, truth, mask)
        hook.remove()
        assert not runs

    def test_truth_features_at_hand(self, vgg: VGG16Features) -> None:
        """Truth features made beforehand give the same terms, one truth for many fills too."""
        output, truth, mask = scene()
        one = truth[:1]
        loss = InpaintingLoss(vgg)
        computed = loss.per_image(output, one.expand(2, -1, -1, -1), mask)
        given_one = loss.per_image(output, one, mask, TruthFeatures.of(vgg, one))
        for name, term in computed.items():
            assert term.shape == (2,)
            torch.testing.assert_close(given_one[name], term, rtol=1e-4, atol=1e-6)

    def test_keeps_known(self, vgg: VGG16Features) -> None:
        """For a fill that kept the known pixels the short way gives the same terms."""
        output, truth, mask = scene()
        fill = composite_of(output, truth, mask)
        loss = InpaintingLoss(vgg)
        short, full = (loss.per_image(fill, truth, mask, keeps_known=k) for k in (True, False))
        for name, term in full.items():
            torch.testing.assert_close(short[name], term, rtol=1e-4, atol=1e-6)

    def test_per_image_in_any_order(self, vgg: VGG16Features) -> None:
        """An image's terms do not depend on the others in its batch."""
        output, truth, mask = scene()
        loss = InpaintingLoss(vgg)
        together = loss.per_image(output, truth, mask)
        swapped = loss.per_image(output.flip(0), truth.flip(0), mask.flip(0))
        for name, term in together.items():
            torch.testing.assert_close(swapped[name].flip(0), term, rtol=1e-4, atol=1e-6)

    def test_gradient(self, vgg: VGG16Features) -> None:
        """A short step against the gradient lowers the total by as much as the gradient says."""
        output, truth, mask = scene()
        loss = InpaintingLoss(vgg)
        output.requires_grad_()
        total = loss(output, truth, mask)["total"]
        (gradient,) = torch.autograd.grad(total, output)
        step = 1e-3 / gradient.norm()
        stepped = loss(output - step * gradient, truth, mask)["total"]
        assert (total - stepped).item() == pytest.approx(1e-3 * gradient.norm().item(), rel=0.2)

    def test_autocast(self, vgg: VGG16Features) -> None:
        """Under bfloat16 autocast the terms are float32 and within bfloat16's precision."""
        output, truth, mask = scene()
        loss = InpaintingLoss(vgg)
        exact = loss(output, truth, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = loss(output.bfloat16(), truth, mask)
        for name, term in exact.items():
            assert rough[name].dtype == torch.float32
            assert rough[name].item() == pytest.approx(term.item(), rel=0.03)

    def test_raises_without_vgg(self) -> None:
        """A VGG term without VGG is refused at once; without VGG terms none is needed."""
        for weights in (LossWeights(), LossWeights(perceptual=0), LossWeights(style=0)):
            with pytest.raises(ParameterError, match="set both weights to 0"):
                InpaintingLoss(None, weights)
        assert InpaintingLoss(None, PIXEL_TERMS)(*scene()).keys() == {
            "valid",
            "hole",
            "tv",
            "total",
        }

    def test_raises_without_values(self) -> None:
        """VGG-16 whose weights were never loaded is refused at once, before it trains anything."""
        with pytest.raises(WeightsError, match=r"^VGG-16 .*pconv\.features\.vgg16_features\("):
            InpaintingLoss(VGG16Features())

    @pytest.mark.parametrize("other", [LossWeights(), nn.Sequential(nn.Conv2d(3, 64, 3)), 1])
    def test_raises_on_other_features(self, other: Any) -> None:
        """What stands in the place of VGG-16 and is not is refused by its type, at once."""
        for weights in (None, PIXEL_TERMS):
            with pytest.raises(ParameterError, match=f"features is a {type(other).__name__};"):
                InpaintingLoss(other, weights)

    @pytest.mark.parametrize("other", [{"valid": 1}, {}, 0])
    def test_raises_on_other_weights(self, vgg: VGG16Features, other: Any) -> None:
        """Weights of another type are refused by it, empty ones too."""
        for features in (None, vgg):
            with pytest.raises(ParameterError, match=f"weights is a {type(other).__name__};"):
                InpaintingLoss(features, other)

    @pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
    def test_wrapped(self, vgg: VGG16Features, wrap: Callable[[nn.Module], Any]) -> None:
        """A compiled VGG-16, or one spread over devices, gives the terms of the one inside."""
        expected = InpaintingLoss(vgg)(*scene())
        for name, term in InpaintingLoss(wrap(vgg))(*scene()).items():
            torch.testing.assert_close(term, expected[name])
        with pytest.raises(WeightsError, match="holds no values"):
            InpaintingLoss(wrap(VGG16Features()))

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_raises_on_shapes(self, which: int) -> None:
        """Tensors that would only fit together by broadcasting are refused."""
        tensors = list(scene())
        tensors[which] = tensors[which][..., :1]
        with pytest.raises(ShapeError, match="wanted"):
            InpaintingLoss(None, PIXEL_TERMS)(*tensors)

    @pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8), (3, 3, 8, 8), (1, 1, 8, 8)])
    def test_terms_raise_on_masks(self, shape: tuple[int, ...]) -> None:
        """A mask that would fit three pictures by broadcasting is refused by each term too."""
        pictures, mask = torch.rand(3, 3, 8, 8), torch.ones(shape)
        for term in (valid_loss, hole_loss):
            with pytest.raises(ShapeError, match="wanted"):
                term(pictures, pictures, mask)
        with pytest.raises(ShapeError, match="wanted"):
            total_variation_loss(pictures, mask)

    @pytest.mark.parametrize("shape", [(), (3,), (3, 8), (3, 1, 8), (2, 1, 3, 8, 8)])
    def test_raises_on_dimensions(self, shape: tuple[int, ...]) -> None:
        """What is no batch of images is refused, though the three are of one shape."""
        with pytest.raises(ShapeError, match="wanted"):
            InpaintingLoss(None, PIXEL_TERMS)(*[torch.rand(shape)] * 3)

    @pytest.mark.parametrize("which", [0, 1])
    def test_raises_on_integers(self, which: int) -> None:
        """Eight-bit images are refused, as VGG-16 refuses them."""
        tensors = list(scene())
        tensors[which] = (255 * tensors[which]).to(torch.uint8)
        with pytest.raises(ImageError, match="divide 8-bit values by 255"):
            InpaintingLoss(None, PIXEL_TERMS)(*tensors)

    @pytest.mark.parametrize("name", ["output", "image", "mask"])
    def test_raises_on_arrays(self, name: str) -> None:
        """What is no tensor is refused by name."""
        given: dict[str, Any] = dict(zip(("output", "image", "mask"), scene(), strict=True))
        given[name] = given[name].numpy()
        with pytest.raises(ImageError, match=f"^{name}: a ndarray; wanted a torch tensor"):
            InpaintingLoss(None, PIXEL_TERMS)(**given)

    def test_raises_on_batches(self) -> None:
        """Neither as many truths as outputs nor one is refused."""
        output, truth, mask = scene()
        with pytest.raises(ShapeError, match="wanted"):
            InpaintingLoss(None, PIXEL_TERMS)(output, truth[[0, 1, 1]], mask)
