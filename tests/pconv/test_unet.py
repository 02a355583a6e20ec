import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from pconv import PConvUNet
from pconv.errors import ImageError, ParameterError, ShapeError
from pconv.figure4 import describe
from pconv.unet import PlainUNet, _known_mean, build_unet, composite, mirrored, table
from pconv.upsampling import WORTH_FOLDING, nearest_upsampled, upsampled_conv2d

ROOT = Path(__file__).parents[2]

# The rows of the paper's Figure 4, copied from its text, with x for the multiplication sign.
PAPER = """\
PConv1	7x7	64	2	-	ReLU
PConv2	5x5	128	2	Y	ReLU
PConv3	5x5	256	2	Y	ReLU
PConv4	3x3	512	2	Y	ReLU
PConv5	3x3	512	2	Y	ReLU
PConv6	3x3	512	2	Y	ReLU
PConv7	3x3	512	2	Y	ReLU
PConv8	3x3	512	2	Y	ReLU
NearestUpSample1		512	2	-	-
Concat1(w/ PConv7)		512+512		-	-
PConv9	3x3	512	1	Y	LeakyReLU(0.2)
NearestUpSample2		512	2	-	-
Concat2(w/ PConv6)		512+512		-	-
PConv10	3x3	512	1	Y	LeakyReLU(0.2)
NearestUpSample3		512	2	-	-
Concat3(w/ PConv5)		512+512		-	-
PConv11	3x3	512	1	Y	LeakyReLU(0.2)
NearestUpSample4		512	2	-	-
Concat4(w/ PConv4)		512+512		-	-
PConv12	3x3	512	1	Y	LeakyReLU(0.2)
NearestUpSample5		512	2	-	-
Concat5(w/ PConv3)		512+256		-	-
PConv13	3x3	256	1	Y	LeakyReLU(0.2)
NearestUpSample6		256	2	-	-
Concat6(w/ PConv2)		256+128		-	-
PConv14	3x3	128	1	Y	LeakyReLU(0.2)
NearestUpSample7		128	2	-	-
Concat7(w/ PConv1)		128+64		-	-
PConv15	3x3	64	1	Y	LeakyReLU(0.2)
NearestUpSample8		64	2	-	-
Concat8(w/ Input)		64+3		-	-
PConv16	3x3	3	1	-	-
"""


def pruned(convolution):
    """Let half of a convolution's kernels be zero, by a hook."""
    prune.l1_unstructured(convolution, "weight", amount=0.5)


def naive_row(layer, image, mask):
    """One row with a mask for each channel and a second convolution for sum(M)."""
    weight, stride, padding = layer.conv.weight, layer.row.stride, layer.row.kernel // 2
    with torch.no_grad():
        seen = F.conv2d(mask, torch.ones_like(weight), stride=stride, padding=padding).round()
        known = (seen > 0).to(image.dtype)
        ratio = known * weight[0].numel() / seen.clamp(min=1)
    features = F.conv2d(image * mask, weight, stride=stride, padding=padding) * ratio
    if layer.conv.bias is not None:
        features = features + layer.conv.bias.view(-1, 1, 1) * known
    if layer.norm is not None:
        features = layer.norm(features)
    if layer.row.slope is not None:
        features = F.leaky_relu(features, layer.row.slope)
    return features, known


def naive_unet(model, image, mask):
    """Figure 4 written out: masks of all channels, enlarged, concatenated and convolved."""
    levels = len(model.encoder)
    step = 2**levels
    border = (0, -image.shape[3] % step, 0, -image.shape[2] % step)
    zero = 0.5
    if model.centre == "known":
        zero = (image * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
    centred = F.pad(2 * (image - zero), border)
    if model.mask_channel:
        centred = torch.cat([centred, F.pad(mask, border)], dim=1)
    left = [(centred, F.pad(mask, border).expand(-1, centred.shape[1], -1, -1))]
    for layer in model.encoder:
        left.append(naive_row(layer, *left[-1]))
    low = left.pop()
    for layer in model.decoder:
        pairs = zip(low, left.pop(), strict=True)
        both = [torch.cat([F.interpolate(x, scale_factor=2.0), skip], 1) for x, skip in pairs]
        low = naive_row(layer, *both)
    return low[0][:, :, : image.shape[2], : image.shape[3]] / 2 + zero


def example(seed=0, *, batch=2, height=64, width=64, known=0.5, dtype=torch.float32):
    """Draw an image and a mask with a hole that outlives some layers."""
    rng = torch.Generator().manual_seed(seed)
    mask = (torch.rand(batch, 1, height, width, generator=rng) < known).to(dtype)
    mask[:, :, : height // 2, : width // 2] = 0
    return torch.rand(batch, 3, height, width, generator=rng, dtype=dtype), mask


def small(kind="pconv", *, seed=0, levels=3, **hyperparameters):
    """Build a narrow network from a seed, its batch norms far from the identity."""
    torch.manual_seed(seed)
    model = build_unet(kind, width=4, levels=levels, **hyperparameters)
    for name, value in model.named_parameters():
        if value.ndim == 1:
            torch.nn.init.normal_(value, mean=float("weight" in name))
    return model


CHOICES = [{}, {"centre": "known"}, {"mask_channel": True}]
"""What a network may be asked for beyond Figure 4."""


class TestFigure4:
    """The network is the paper's."""

    def test_rows(self):
        """What is printed is Figure 4, row by row and word by word."""
        printed = ["\t".join(line[:6]) for line in describe()[1:]]
        assert "\n".join(printed).replace("\u00d7", "x") == PAPER.strip()

    def test_printed(self):
        """``python -m pconv.figure4`` prints every row and the number of parameters."""
        command = [sys.executable, "-m", "pconv.figure4"]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for line in describe():
            assert all(word in out for word in line)
        assert "32.86 million" in out

    def test_modules(self):
        """The modules are built as the rows say, with no bias in front of a batch norm."""
        layers = PConvUNet().layers()
        assert len(layers) == 16
        for layer, row in zip(layers, table(), strict=True):
            assert layer.conv.weight.shape[0] == row.filters
            assert layer.conv.kernel_size == (row.kernel, row.kernel)
            assert layer.conv.stride == (row.stride, row.stride)
            assert (layer.norm is not None) == row.norm == (layer.conv.bias is None)

    def test_shapes(self):
        """The printed shapes are those of the features and masks that occur."""
        model, (image, mask) = small(), example()
        found = []
        for layer in model.layers():
            layer.register_forward_hook(lambda _layer, _in, out: found.append(out.shape[1:]))
        model(image, mask)
        masks = [seen.known.shape[1:] for seen in model.windows(mask)]
        printed = [line for line in describe(4, 3, 64) if line[0].startswith("PConv")]
        for line, *shapes in zip(printed, found, masks, strict=True):
            assert line[6:] == tuple("\u00d7".join(map(str, shape)) for shape in shapes)

    def test_parameters(self):
        """There are 32.86 million trainable parameters."""
        with torch.device("meta"):
            assert sum(p.numel() for p in PConvUNet().parameters()) == 32_859_796

    @pytest.mark.parametrize("levels", [1, 2, 8, 9])
    def test_levels(self, levels):
        """A shallower network keeps the outer rows, a deeper one repeats the innermost."""
        rows, paper = table(levels=levels), table()
        assert len(rows) == 2 * levels
        outer = min(levels, 8)
        assert [r[1:] for r in rows[:outer]] == [r[1:] for r in paper[:outer]]
        assert [r[1:] for r in rows[-outer:]] == [r[1:] for r in paper[-outer:]]
        assert [r.name for r in rows] == [f"PConv{n}" for n in range(1, 2 * levels + 1)]

    def test_width(self):
        """All filters but the last row's scale with the width."""
        wide, paper = table(width=16), table()
        assert [4 * row.filters for row in wide[:-1]] == [row.filters for row in paper[:-1]]
        assert wide[-1].filters == 3


class TestPConvUNet:
    """The partial-convolution network, against the usual way to write it."""

    @pytest.mark.parametrize("size", [(64, 64), (50, 70), (8, 8)])
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("choices", CHOICES)
    def test_values(self, size, training, choices):
        """The output is that of full mask convolutions on concatenations."""
        model = small(**choices).double().train(training)
        image, mask = example(1, height=size[0], width=size[1], known=0.1, dtype=torch.float64)
        torch.testing.assert_close(model(image, mask), naive_unet(model, image, mask))

    @pytest.mark.parametrize("choices", CHOICES)
    def test_gradients(self, choices):
        """So are the gradients of all parameters and of the image."""
        model = small(**choices).double()
        image, mask = example(2, dtype=torch.float64, known=0.05)
        inputs = [image.requires_grad_(), *model.parameters()]
        found = torch.autograd.grad(model(image, mask).square().sum(), inputs)
        wanted = torch.autograd.grad(naive_unet(model, image, mask).square().sum(), inputs)
        torch.testing.assert_close(found, wanted)

    def test_full_depth(self):
        """Eight levels at 256×256 give the usual way's values to float32's rounding."""
        torch.manual_seed(0)
        model = PConvUNet(width=4)
        image, mask = example(3, height=256, width=256, known=0.3)
        torch.testing.assert_close(
            model(image, mask), naive_unet(model, image, mask), rtol=1e-3, atol=1e-3
        )

    def test_never_seen(self):
        """Holes no window has reached hold zeros behind each row."""
        model = small(levels=2).eval()
        image, mask = example(4, height=64, width=64, known=1.0)
        windows, features = iter(model.windows(mask)), []
        for layer in model.layers():
            layer.register_forward_hook(lambda _layer, _in, out: features.append(out))
        model(image, mask)
        holes = [
            (out * ~seen.known).abs().max() for out, seen in zip(features, windows, strict=True)
        ]
        assert not any(holes)
        assert not model.windows(mask)[0].known.all()

    @settings(deadline=None, max_examples=10)
    @given(st.integers(1, 40), st.integers(1, 40))
    def test_any_size(self, height, width):
        """The output has the size of the image, whatever it is."""
        image, mask = example(5, height=height, width=width)
        assert small().eval()(image, mask).shape == image.shape

    def test_padding_is_hole(self):
        """Padding to a multiple of 2^levels is the same as a hole drawn there."""
        image, mask = example(6, height=60, width=52)
        larger = F.pad(image, (0, 4, 0, 4), value=0.7), F.pad(mask, (0, 4, 0, 4))
        model = small().eval()
        assert torch.equal(model(image, mask), model(*larger)[:, :, :60, :52])

    @pytest.mark.parametrize("choices", CHOICES)
    @pytest.mark.parametrize("anything", [1e30, float("nan")])
    def test_values_under_holes(self, anything, choices):
        """What lies under holes never matters."""
        model, (image, mask) = small(**choices).eval(), example(7)
        changed = torch.where(mask == 0, anything, image)
        assert torch.equal(model(image, mask), model(changed, mask))

    def test_bool_mask(self):
        """A bool mask is as good as a float one."""
        model, (image, mask) = small().eval(), example(8)
        assert torch.equal(model(image, mask), model(image, mask.bool()))

    @pytest.mark.parametrize("choices", CHOICES)
    def test_all_hole(self, choices):
        """An image of which nothing is known gives mid-grey, and finite gradients."""
        model, (image, mask) = small(**choices), example(9)
        output = model(image, 0 * mask)
        output.sum().backward()
        assert (output == 0.5).all()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_inputs_untouched(self):
        """Image and mask are as before after a training step."""
        model, (image, mask) = small(), example(10)
        copies = image.clone(), mask.clone()
        model(image, mask).sum().backward()
        assert torch.equal(image, copies[0])
        assert torch.equal(mask, copies[1])

    def test_batch_of_one(self):
        """One image of 256×256 trains, though the innermost batch norm sees a single value."""
        model, (image, mask) = PConvUNet(width=4), example(11, batch=1, height=256, width=256)
        model(image, mask).sum().backward()
        innermost = model.encoder[-1].norm
        assert not innermost.running_mean.any()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert model.encoder[-2].norm.running_mean.any()

    @pytest.mark.parametrize("choices", CHOICES)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype, choices):
        """In half precision the output is that of float32 to a few per cent."""
        model, (image, mask) = small(**choices).eval(), example(12, known=0.05)
        wanted = model(image, mask)
        found = model.to(dtype)(image.to(dtype), mask)
        assert found.dtype == dtype
        error = (found.float() - wanted).abs().mean() / wanted.abs().mean()
        assert error < 64 * torch.finfo(dtype).eps

    def test_known_mean_of_many(self):
        """The mean of more pixels than float16 can add up is still their mean."""
        image = torch.full((1, 3, 512, 512), 0.5, dtype=torch.float16)
        mask = torch.ones(1, 1, 512, 512, dtype=torch.bool)
        assert (_known_mean(image, mask) == 0.5).all()

    def test_autocast(self):
        """Under bfloat16 autocast output and gradients stay close to float32's."""
        model, (image, mask) = small(), example(13)
        wanted = model(image, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(image, mask)
        found.float().sum().backward()
        assert found.dtype == torch.bfloat16
        assert (found.float() - wanted).abs().mean() < 0.1 * wanted.abs().mean()

    def test_channels_last(self):
        """The memory format changes nothing but the speed."""
        model, (image, mask) = small().double().eval(), example(14, dtype=torch.float64)
        wanted = model(image, mask)
        found = model.to(memory_format=torch.channels_last)(
            image.contiguous(memory_format=torch.channels_last), mask
        )
        torch.testing.assert_close(found, wanted)

    def test_raises(self):
        """Shapes that do not fit are named."""
        model, (image, mask) = small(), example()
        with pytest.raises(ShapeError, match=r"mask has shape \(2, 3, 64, 64\), wanted \(2, 1"):
            model(image, mask.expand_as(image))
        with pytest.raises(ShapeError, match=r"image has shape \(2, 1, 64, 64\), wanted \(B, 3"):
            model(mask, mask)
        with pytest.raises(ShapeError, match=r"image has shape \(2, 3, 0, 64\)"):
            model(image[:, :, :0], mask[:, :, :0])
        with pytest.raises(ImageError, match=r"image: torch\.uint8; .*divide 8-bit values by 255"):
            model((255 * image).to(torch.uint8), mask)
        for name, pair in {"image": (image.numpy(), mask), "mask": (image, mask.numpy())}.items():
            with pytest.raises(ImageError, match=f"^{name}: a ndarray; wanted a torch tensor"):
                model(*pair)

    @pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
    @pytest.mark.parametrize("hooked", [nn.utils.spectral_norm, nn.utils.weight_norm, pruned])
    def test_raises_on_kernels_made_by_hooks(self, hooked):
        """Kernels that a hook would have to make are refused, as the hook never runs."""
        model = small()
        hooked(model.encoder[1].conv)
        with pytest.raises(ParameterError, match=r"PConv2: .*torch\.nn\.utils\.parametrizations"):
            model(*example())

    @pytest.mark.parametrize(
        "parametrized", [parametrizations.spectral_norm, parametrizations.weight_norm]
    )
    def test_parametrized(self, parametrized):
        """Parametrized kernels are trained."""
        model = small()
        parametrized(model.encoder[1].conv)
        model(*example()).square().mean().backward()
        gradients = [p.grad for p in model.encoder[1].conv.parameters()]
        assert gradients
        assert all(gradient is not None and gradient.any() for gradient in gradients)


class TestPlainUNet:
    """The comparison: the same rows, ordinary convolutions."""

    @pytest.mark.parametrize("mask_channel", [False, True])
    def test_values(self, mask_channel):
        """The output is that of convolutions on image and mask, enlarged and concatenated."""
        model = small("plain", mask_channel=mask_channel).double().eval()
        image, mask = example(1, dtype=torch.float64)
        image_channels = [(2 * image - 1) * mask, mask][: 1 + mask_channel]
        left = [torch.cat(image_channels, dim=1)]
        for layer in model.encoder:
            x = layer.conv(left[-1])
            left.append(F.relu(x if layer.norm is None else layer.norm(x)))
        low = left.pop()
        for layer in model.decoder:
            low = layer.conv(torch.cat([F.interpolate(low, scale_factor=2.0), left.pop()], 1))
            low = low if layer.norm is None else F.leaky_relu(layer.norm(low), 0.2)
        torch.testing.assert_close(model(image, mask), (low + 1) / 2)

    def test_same_table(self):
        """It has the rows and the weights of the other and lacks nothing but the mask."""
        ours, plain = PConvUNet(width=4), PlainUNet(width=4)
        assert [layer.row for layer in ours.layers()] == [layer.row for layer in plain.layers()]
        one, other = (
            {name: value.shape for name, value in network.state_dict().items()}
            for network in (ours, plain)
        )
        assert one == other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "dynamic", "sides"),
    # Into C++ only once: what torch makes for the second size is the graph for all sizes.
    [("aot_eager", None, (32, 48, 45)), ("inductor", True, (45,))],
    ids=["one after another", "all at once"],
)
def test_compiled_for_any_size(backend, dynamic, sides):
    """A compiled network can be trained on pictures of one size after another."""
    model = PConvUNet(width=4, levels=2)
    compiled = torch.compile(model, backend=backend, dynamic=dynamic)
    for side in sides:
        image, mask = torch.rand(1, 3, side, side + 8), torch.ones(1, 1, side, side + 8)
        model.zero_grad()
        compiled(image, mask).square().mean().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_compiled_fill():
    """A compiled network fills alike where the sides are to be padded, too."""
    torch.manual_seed(0)
    model = PConvUNet(width=4, levels=2).eval()
    image, mask = torch.rand(1, 3, 130, 200), torch.rand(1, 1, 130, 200) > 0.3
    compiled = torch.compile(model, dynamic=False)  # else for all sizes, which takes longer
    with torch.inference_mode():
        torch.testing.assert_close(compiled(image, mask), model(image, mask))


@pytest.mark.parametrize("kind", ["pconv", "plain"])
class TestUNet:
    """What both networks promise."""

    def test_first_weights(self, kind):
        """Kernels start with He's deviation, sqrt(2 / fan-in)."""
        torch.manual_seed(0)
        for layer in build_unet(kind, width=32, levels=3).layers():
            weight = layer.conv.weight
            assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)

    def test_modes_return_the_model(self, kind):
        """``eval()`` and ``train()`` return the model."""
        model = small(kind)
        assert model.eval() is model
        assert model.train() is model

    def test_freeze(self, kind):
        """Frozen encoder norms keep statistics and parameters, also after ``train()``."""
        model, (image, mask) = small(kind), example()
        assert model.freeze_encoder_norms() is model
        model.train()
        assert len(model.encoder_norms()) == 2
        before = [{k: v.clone() for k, v in n.state_dict().items()} for n in model.encoder_norms()]
        free = model.decoder[0].norm.running_mean.clone()
        model(image, mask).sum().backward()
        for norm, old in zip(model.encoder_norms(), before, strict=True):
            assert all(torch.equal(old[key], value) for key, value in norm.state_dict().items())
            assert norm.weight.grad is None
        assert not torch.equal(free, model.decoder[0].norm.running_mean)

    def test_freezes_for_good(self, kind):
        """What is frozen stays so when less is frozen afterwards."""
        model = small(kind).freeze_statistics().freeze_encoder_norms().train()
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert len(norms) == 4
        assert not any(norm.training for norm in norms)

    def test_freeze_statistics(self, kind):
        """Frozen, all norms keep their statistics and learn, and a batch is only a set of images.

        Before, an image is filled otherwise beside another one.
        """
        model, (image, mask) = small(kind).train(), example()
        others = [torch.cat([x, x.flip(3)]) for x in (image * mask, mask)]
        assert not torch.allclose(model(*others)[: len(image)], model(image, mask), atol=1e-3)
        assert model.freeze_statistics() is model
        model.train()
        before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
        assert len(before) == 2 * 4
        alone, beside = model(image, mask), model(*others)[: len(image)]
        torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-5)
        alone.sum().backward()
        after = model.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        assert all(parameter.grad is not None for parameter in model.parameters())

    @settings(deadline=None, max_examples=20)
    @given(st.tuples(*[st.floats(-1, 1)] * 3))
    def test_centre(self, kind, colour):
        """Around its known mean, a picture shifted in colour is filled with the same, shifted.

        Around mid-grey it is not.
        """
        shift = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
        image, mask = example(16, dtype=torch.float64)
        model = small(kind, centre="known").double().eval()
        torch.testing.assert_close(model(image + shift, mask), model(image, mask) + shift)
        if shift.abs().max() > 0.1:
            model = small(kind).double().eval()
            assert not torch.allclose(
                model(image + shift, mask), model(image, mask) + shift, atol=1e-3
            )

    def test_hyperparameters(self, kind):
        """A network built from another's hyperparameters takes its weights."""
        for model in (small(kind, in_channels=2, out_channels=5), small(kind, centre="known")):
            again = build_unet(**model.hyperparameters())
            assert type(again) is type(model)
            again.load_state_dict(model.state_dict())
            assert again.hyperparameters() == model.hyperparameters()


class TestBuildUNet:
    """Networks by name."""

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"kind": "gated"}, "'gated', wanted one of pconv, plain"),
            ({"kind": "pconv", "depth": 3}, "no such hyperparameter of a network: depth"),
            ({"kind": "pconv", "width": 0}, "width is 0, wanted an integer from 1"),
            ({"kind": "plain", "levels": 17}, "levels is 17, wanted an integer from 1 to 16"),
            ({"kind": "plain", "width": 1.5}, "width is 1.5"),
            ({"kind": "pconv", "centre": "mean"}, "centre is 'mean', wanted one of half, known"),
            ({"kind": "pconv", "mask_channel": 1}, "mask_channel is 1, wanted True or False"),
            (
                {"kind": "pconv", "centre": "known", "in_channels": 4},
                "centre is 'known' with 4 channels in and 3 out",
            ),
        ],
    )
    def test_raises(self, arguments, match):
        """What can't be built is named, with what could."""
        with pytest.raises(ParameterError, match=match):
            build_unet(**arguments)


class TestMirrored:
    """The mean of four flips."""

    def test_values(self):
        """It is the mean of the four, and a flipped picture has the flipped fill, bit for bit."""
        model, (image, mask) = small().eval(), example(17)
        fill, flips = mirrored(model), ((), (3,), (2,), (2, 3))
        for dims in flips:
            flipped = fill(image.flip(dims), mask.flip(dims))
            assert torch.equal(flipped, fill(image, mask).flip(dims))
        fills = [model(image.flip(dims), mask.flip(dims)).flip(dims) for dims in flips]
        torch.testing.assert_close(fill(image, mask), torch.stack(fills).mean(dim=0))


class TestComposite:
    """Known pixels are put back."""

    def test_values(self):
        """Known pixels are the image's bits, holes the output's, even where either is NaN."""
        image, mask = example()
        output = torch.full_like(image, torch.nan)
        found = composite(output, image, mask)
        assert torch.equal(found.isnan(), (mask == 0).expand_as(image))
        assert torch.equal(found[:, :, mask[0, 0] == 1][0], image[:, :, mask[0, 0] == 1][0])

    @pytest.mark.parametrize("batch", [1, 3])
    def test_raises_on_shapes(self, batch):
        """A mask without its axis of channels is refused; of 3 pictures torch would take it."""
        image = torch.rand(batch, 3, 8, 8)
        with pytest.raises(ShapeError, match="as many dimensions"):
            composite(image, image, torch.ones(batch, 8, 8))

    def test_raises_on_two_ranges(self):
        """Eight-bit pixels beside values from 0 to 1 are refused; both may be of eight bits."""
        output, mask = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
        image = (255 * output).to(torch.uint8)
        for pair in ((output, image), (image, output)):
            with pytest.raises(ImageError, match="divide 8-bit values by 255"):
                composite(*pair, mask)
        assert torch.equal(composite(image, image, mask), image)

    def test_raises_on_arrays(self):
        """What is no tensor is refused by name."""
        image = torch.rand(1, 3, 8, 8)
        with pytest.raises(ImageError, match=r"^mask: a ndarray; wanted a torch tensor"):
            composite(image, image, torch.ones(1, 1, 8, 8).numpy())


class TestUpsampledConv2d:
    """The decoder's convolution, against enlarging and concatenating."""

    @pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (17, 20), (1, 300)])
    def test_values(self, size):
        """It equals enlarging, concatenating and convolving, folded or not, with its gradients."""
        torch.manual_seed(0)
        low = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
        skip = torch.randn(2, 2, 2 * size[0], 2 * size[1], dtype=torch.float64, requires_grad=True)
        weight = torch.randn(4, 5, 3, 3, dtype=torch.float64, requires_grad=True)
        found = upsampled_conv2d(low, skip, weight)
        both = torch.cat([F.interpolate(low, scale_factor=2.0), skip], 1)
        wanted = F.conv2d(both, weight, padding=1)
        torch.testing.assert_close(found, wanted)
        inputs = (low, skip, weight)
        torch.testing.assert_close(
            torch.autograd.grad(found.square().sum(), inputs),
            torch.autograd.grad(wanted.square().sum(), inputs),
        )

    def test_both_forms_are_tested(self):
        """The sizes above lie on both sides of where folding starts."""
        assert 5 * 3 < WORTH_FOLDING <= 16 * 16


class TestTwice:
    """Nearest up-sampling."""

    def test_values(self):
        """Each pixel becomes 2×2 of the same."""
        image = torch.rand(2, 3, 4, 5)
        assert torch.equal(nearest_upsampled(image), F.interpolate(image, scale_factor=2.0))
