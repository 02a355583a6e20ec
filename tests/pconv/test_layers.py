import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from pconv import PartialConv2d
from pconv.errors import ParameterError, ShapeError
from pconv.layers import only_known, partial_conv2d, window_sum, windows_from_counts


def naive(image, mask, weight, bias, stride, padding, dilation=1):
    """Eq. 1 and 2 in loops: one window at a time, a mask for each channel, float64.

    Stride, padding and dilation are numbers, or pairs of those down and across.
    """
    (down, across), (above, beside) = np.broadcast_to(stride, 2), np.broadcast_to(padding, 2)
    lower, further = np.broadcast_to(dilation, 2)
    image, mask, weight = (np.asarray(x.detach(), dtype=np.float64) for x in (image, mask, weight))
    mask = np.broadcast_to(mask, image.shape)
    around = ((0, 0), (0, 0), (above, above), (beside, beside))
    image, mask = np.pad(image, around), np.pad(mask, around)
    (batch, _, height, width), (filters, _, rows, columns) = image.shape, weight.shape
    tall, wide = lower * (rows - 1) + 1, further * (columns - 1) + 1
    size = ((height - tall) // down + 1, (width - wide) // across + 1)
    features, new_mask = np.zeros((batch, filters, *size)), np.zeros((batch, 1, *size))
    for b, d, y, x in itertools.product(range(batch), range(filters), *map(range, size)):
        top, left = y * down, x * across
        window = np.s_[b, :, top : top + tall : lower, left : left + wide : further]
        seen = mask[window].sum()
        if seen > 0:
            product = (weight[d] * image[window] * mask[window]).sum()
            features[b, d, y, x] = product * mask[window].size / seen
            features[b, d, y, x] += 0.0 if bias is None else bias[d].item()
            new_mask[b, 0, y, x] = 1
    return torch.from_numpy(features), torch.from_numpy(new_mask)


def case(seed, *, channels=3, size=(8, 7), known=0.3, batch=2, per_channel=False):
    """Draw an image and a mask in float64."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, channels, *size, generator=rng, dtype=torch.float64)
    shape = (batch, channels if per_channel else 1, *size)
    return image, (torch.rand(shape, generator=rng) < known).double()


def layer(*args, seed=0, **kwargs):
    """Build a layer in float64 with weights from a seed."""
    torch.manual_seed(seed)
    return PartialConv2d(*args, **kwargs).double()


seeds = st.integers(0, 2**31)
shares = st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0])
laws = settings(deadline=None, max_examples=25)


class TestPartialConv2d:
    """Eq. 1 and 2, against loops in float64."""

    @pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6, 7])
    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("per_channel", [True, False])
    def test_values(self, kernel, stride, bias, per_channel):
        """Features and mask are those of Eq. 1 and 2 evaluated window by window."""
        image, mask = case(kernel, known=0.1, per_channel=per_channel)
        conv = layer(3, 2, kernel, stride, kernel // 2, bias=bias)
        features, new_mask = conv(image, mask)
        wanted = naive(image, mask, conv.weight, conv.bias, stride, kernel // 2)
        torch.testing.assert_close(features, wanted[0])
        assert torch.equal(new_mask, wanted[1])

    @pytest.mark.parametrize("kernel", [(1, 3), (4, 2)])
    def test_oblong_kernels(self, kernel):
        """Height and width of a kernel are not confused."""
        image, mask = case(1)
        conv = layer(3, 2, kernel)
        wanted = naive(image, mask, conv.weight, conv.bias, 1, 0)
        torch.testing.assert_close(conv(image, mask), wanted)

    def test_oblong_steps(self):
        """Nor are those of stride and padding."""
        image, mask = case(1)
        conv = layer(3, 2, 3, (2, 1), (0, 2))
        wanted = naive(image, mask, conv.weight, conv.bias, (2, 1), (0, 2))
        torch.testing.assert_close(conv(image, mask), wanted)

    @pytest.mark.parametrize("dilation", [2, (3, 1)])
    @pytest.mark.parametrize("stride", [1, (2, 3)])
    @pytest.mark.parametrize("per_channel", [True, False])
    def test_dilation(self, stride, dilation, per_channel):
        """Windows with gaps see, and count, what lies at their places and nothing between."""
        image, mask = case(2, size=(11, 9), known=0.2, per_channel=per_channel)
        conv = layer(3, 2, (2, 3), stride, (1, 2), dilation)
        wanted = naive(image, mask, conv.weight, conv.bias, stride, (1, 2), dilation)
        torch.testing.assert_close(conv(image, mask), wanted)

    def test_one_number_for_both(self):
        """The function takes a number for height and width, as torch's own does."""
        image, mask = case(1)
        weight = layer(3, 2, 3).weight
        wanted = partial_conv2d(image, mask, weight, None, (2, 2), (1, 1), (2, 2))
        torch.testing.assert_close(partial_conv2d(image, mask, weight, None, 2, 1, 2), wanted)

    def test_numpy_integers(self):
        """Integers of numpy are integers."""
        conv = PartialConv2d(3, 2, 3, np.int64(2), (np.int32(1), 1), np.int64(1))
        assert (conv.stride, conv.padding, conv.dilation) == ((2, 2), (1, 1), (1, 1))

    def test_device_and_dtype(self):
        """Parameters are made where, and in the precision, that is asked for."""
        conv = PartialConv2d(3, 2, 3, device="meta", dtype=torch.float16)
        assert {(p.device.type, p.dtype) for p in conv.parameters()} == {("meta", torch.float16)}

    @pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
    @pytest.mark.parametrize("value", ["same", 1.5, (1, 2, 3), True])
    def test_raises_on_no_number(self, name, value):
        """What is neither a number nor a pair is refused when the layer is made."""
        with pytest.raises(ParameterError, match=f"{name} is .*wanted an integer"):
            PartialConv2d(3, 2, 3, **{name: value})

    def test_defaults(self):
        """Unless told otherwise there is no bias and no padding, and the stride is 1."""
        image, mask = case(1)
        weight = layer(3, 2, 3).weight
        wanted = naive(image, mask, weight, None, 1, 0)
        torch.testing.assert_close(partial_conv2d(image, mask, weight), wanted)
        assert window_sum(mask, (3, 3)).shape == wanted[1].shape

    @pytest.mark.parametrize("stride", [1, 2])
    def test_two_masks(self, stride):
        """Two groups of channels with two masks give what their concatenation gives."""
        (first, mask_1), (second, mask_2) = case(1, channels=4, known=0.1), case(2, known=0.1)
        conv = layer(7, 2, 3, stride, 1)
        masks = torch.cat([mask_1.expand_as(first), mask_2.expand_as(second)], dim=1)
        wanted = naive(torch.cat([first, second], 1), masks, conv.weight, conv.bias, stride, 1)
        torch.testing.assert_close(conv((first, second), (mask_1, mask_2)), wanted)
        torch.testing.assert_close(conv(torch.cat([first, second], 1), masks), wanted)

    @pytest.mark.parametrize("per_channel", [True, False])
    def test_gradcheck(self, per_channel):
        """Gradients to image, weight and bias are those of finite differences."""
        image, mask = case(3, channels=2, size=(4, 3), batch=1, per_channel=per_channel)
        conv = layer(2, 2, 3, 2, 1)

        def features(image, weight, bias):
            return partial_conv2d(image, mask, weight, bias, (2, 2), (1, 1))[0]

        inputs = (image.requires_grad_(), conv.weight, conv.bias)
        assert gradcheck(features, inputs)

    def test_gradients_of_loops(self):
        """The weight's gradient is the features' sum over windows, taken from the naive version."""
        image, mask = case(4, size=(5, 5))
        conv = layer(3, 1, 3, 1, 1)
        conv(image, mask)[0].sum().backward()
        for index in itertools.product(range(1), range(3), range(3), range(3)):
            unit = torch.zeros_like(conv.weight)
            unit[index] = 1
            wanted = naive(image, mask, unit, None, 1, 1)[0].sum()
            torch.testing.assert_close(conv.weight.grad[index], wanted)

    def test_border_is_hole(self):
        """An all-known image is scaled by 1.5 at the edges of a 3×3 and by 2.25 in the corners."""
        ones = torch.ones(1, 1, 5, 6)
        conv = PartialConv2d(1, 1, 3, padding=1, bias=False)
        torch.nn.init.ones_(conv.weight)
        ratio = conv(ones, ones)[0] / F.conv2d(ones, conv.weight, padding=1)
        assert ratio[0, 0, 0, 0] == ratio[0, 0, -1, -1] == 2.25
        assert ratio[0, 0, 0, 2] == ratio[0, 0, 2, 0] == 1.5
        assert ratio[0, 0, 2, 2] == 1

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_without_a_mask(self, stride, dtype):
        """Without a mask all pixels are known, and the border is hole: as with a mask of ones."""
        image, ones = case(1, known=2.0)
        conv = layer(3, 2, 5, stride, 2)
        wanted = naive(image, ones, conv.weight, conv.bias, stride, 2)
        torch.testing.assert_close(conv(image), wanted)
        image, ones, conv = image.to(dtype), ones.to(dtype), conv.to(dtype)
        for found, wanted in zip(conv(image), conv(image, ones), strict=True):
            assert torch.equal(found, wanted)
            assert found.dtype == dtype

    def test_groups_without_masks(self):
        """So it is with several groups of channels."""
        (first, ones), (second, _) = case(1, channels=4, known=2.0), case(2)
        conv = layer(7, 2, 3, padding=1)
        wanted = conv((first, second), (ones, ones))
        torch.testing.assert_close(conv((first, second)), wanted, rtol=0, atol=0)
        found = partial_conv2d((first, second), None, conv.weight, conv.bias, padding=1)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit.trace")
    @pytest.mark.filterwarnings("ignore:There is a performance drop")  # of addcmul_ under vmap
    @pytest.mark.parametrize(
        "as_graph",
        [
            lambda conv, image: torch.jit.trace(conv, image, check_trace=False),
            lambda conv, image: make_fx(conv)(image),
            lambda conv, image: torch.export.export(conv, (image,)).module(),
            lambda conv, image: torch.compile(conv, backend="aot_eager", fullgraph=True),
            lambda conv, _: vmap(lambda one: [both[0] for both in conv(one[None])]),
        ],
        ids=["trace", "make_fx", "export", "compile", "vmap"],
    )
    def test_without_a_mask_in_a_graph(self, as_graph):
        """So it is when the layer is traced, recorded, exported or compiled, and under vmap."""
        image, _ = case(7)
        conv = layer(3, 2, 3, padding=1)
        graph = as_graph(conv, torch.ones_like(image))
        for found, wanted in zip(graph(image), conv(image), strict=True):
            torch.testing.assert_close(found, wanted)

    def test_nothing_known(self):
        """Without a known pixel in sight the output is zero and the bias absent."""
        conv = PartialConv2d(3, 4, 3, padding=1)
        features, mask = conv(torch.randn(1, 3, 9, 9), torch.zeros(1, 1, 9, 9))
        assert not features.any()
        assert not mask.any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("known", [0.0, 0.02, 1.0])
    def test_half_precision(self, dtype, known):
        """Half precision is Eq. 1 with one rounding of the scale, and finite everywhere."""
        image, mask = case(5, size=(12, 12), known=known)
        conv = layer(3, 4, 7, 2, 3)
        low = PartialConv2d(3, 4, 7, 2, 3).to(dtype)
        low.load_state_dict(conv.state_dict())
        conv.load_state_dict(low.state_dict())
        image = image.to(dtype)
        features, new_mask = low(image, mask.to(dtype))
        wanted, wanted_mask = conv(image.double(), mask)
        assert features.dtype == new_mask.dtype == dtype
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(features.double(), wanted, rtol=4 * eps, atol=8 * eps)
        assert torch.equal(new_mask.double(), wanted_mask)

    def test_double_precision(self):
        """In float64 the scale is of float64 too."""
        image, mask = case(3, per_channel=True)
        conv = layer(3, 2, 3, padding=1)
        wanted = naive(image, mask, conv.weight, conv.bias, 1, 1)[0]
        torch.testing.assert_close(conv(image, mask)[0], wanted, rtol=1e-12, atol=1e-12)

    def test_counts_beyond_half_precision(self):
        """Counts that float16 can't hold, 49·1024 and one less, still give the right ratio."""
        mask = torch.ones(1, 1024, 7, 7, dtype=torch.float16)
        mask[0, 0, 0, 0] = 0
        seen = window_sum(mask, (7, 7))
        assert seen.item() == 49 * 1024 - 1
        ratio = windows_from_counts(seen, 49 * 1024, torch.float16).ratio
        assert ratio.item() == np.float32(49 * 1024 / (49 * 1024 - 1)) != 1

    def test_no_state(self):
        """A call with a hole does not change the next call without one."""
        (image, mask), full = case(6), torch.ones(2, 1, 8, 7)
        conv = layer(3, 2, 3, padding=1)
        before = conv(image, full)[0]
        conv(image, mask)
        assert torch.equal(conv(image, full)[0], before)
        assert set(conv.state_dict()) == {"weight", "bias"}

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
    def test_mask_dtypes(self, dtype):
        """A mask may be bool, integer or float; the new mask is of the same kind."""
        image, mask = case(7)
        conv = layer(3, 2, 3, padding=1)
        features, new_mask = conv(image, mask.to(dtype))
        assert new_mask.dtype == dtype
        assert torch.equal(features, conv(image, mask)[0])

    def test_any_number_is_known(self):
        """In a mask whatever is not 0 is known, 255 as well as 1, and counts once."""
        image, mask = case(7)
        conv = layer(3, 2, 3, padding=1)
        for found, wanted in zip(conv(image, 255 * mask), conv(image, mask), strict=True):
            assert torch.equal(found, wanted)

    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit.trace")
    def test_traced(self):
        """A layer that was traced with a full mask is right for others."""
        image, mask = case(7)
        conv = layer(3, 2, 3, padding=1)
        mask[..., 3:] = 0
        traced = torch.jit.trace(conv, (image, torch.ones_like(mask)), check_trace=False)
        for found, wanted in zip(traced(image, mask), conv(image, mask), strict=True):
            assert torch.equal(found, wanted)

    @pytest.mark.filterwarnings("ignore:There is a performance drop")  # of addcmul_ under vmap
    @pytest.mark.parametrize("known", [0.3, 2.0])
    def test_vmap(self, known):
        """Under vmap each image and mask give what they give in a batch."""
        image, mask = case(7, known=known)
        conv = layer(3, 2, 3, padding=1)
        found = vmap(lambda *one: [both[0] for both in conv(*[each[None] for each in one])])
        for one, wanted in zip(found(image, mask), conv(image, mask), strict=True):
            assert torch.equal(one, wanted)

    @pytest.mark.filterwarnings("ignore:There is a performance drop")  # of addcmul_ under vmap
    def test_gradients_per_sample(self):
        """Gradients of a batch's images one by one, taken at once, are those of a loop."""
        image, mask = case(7)
        conv = layer(3, 2, 3, padding=1)

        def loss(parameters, image, mask):
            return functional_call(conv, parameters, (image[None], mask[None]))[0].square().sum()

        parameters = {name: value.detach() for name, value in conv.named_parameters()}
        found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, image, mask)
        for item in range(len(image)):
            conv.zero_grad()
            conv(image[item : item + 1], mask[item : item + 1])[0].square().sum().backward()
            for name, value in conv.named_parameters():
                torch.testing.assert_close(found[name][item], value.grad)

    def test_recorded(self):
        """A layer whose operations were recorded with a full mask is right for others."""
        image, mask = case(7)
        conv = layer(3, 2, 3, padding=1)
        recorded = make_fx(conv)(image, torch.ones_like(mask))
        for found, wanted in zip(recorded(image, mask), conv(image, mask), strict=True):
            assert torch.equal(found, wanted)

    def test_inputs_untouched(self):
        """Image and mask are as before after a call."""
        image, mask = case(8)
        copies = image.clone(), mask.clone()
        layer(3, 2, 3, padding=1)(image, mask)
        assert torch.equal(image, copies[0])
        assert torch.equal(mask, copies[1])

    @pytest.mark.parametrize(
        ("image", "mask", "match"),
        [
            ((1, 3, 8, 8), (1, 1, 8, 7), r"\(1, 1, 8, 7\).*wanted \(1, 1, 8, 8\)"),
            ((2, 3, 8, 8), (1, 1, 8, 8), r"wanted \(2, 1, 8, 8\)"),
            ((1, 3, 8, 8), (1, 2, 8, 8), r"or \(1, 3, 8, 8\)"),
            ((1, 4, 8, 8), (1, 1, 8, 8), "4 channels"),
            ((3, 8, 8), (1, 8, 8), r"an image of shape \(3, 8, 8\); wanted \(B, C, H, W\)"),
        ],
    )
    def test_raises(self, image, mask, match):
        """Shapes that do not fit together are named."""
        with pytest.raises(ShapeError, match=match):
            PartialConv2d(3, 2, 3)(torch.zeros(image), torch.zeros(mask))

    @pytest.mark.parametrize("size", [(1, 6), (6, 1)])
    def test_raises_on_a_small_image(self, size):
        """A window that the padded image does not hold is refused; one that just fits is not."""
        conv = PartialConv2d(3, 2, 3, padding=1, dilation=2)
        with pytest.raises(ShapeError, match=r"a window of 5x5 pixels .* to (3x8|8x3)$"):
            conv(torch.zeros(1, 3, *size))
        assert conv(torch.zeros(1, 3, 3, 3))[0].shape == (1, 2, 1, 1)

    @pytest.mark.parametrize(
        ("image", "mask", "match"),
        [
            (np.zeros((1, 3, 8, 8)), None, "image: a ndarray; wanted a tensor"),
            (torch.zeros(1, 3, 8, 8), np.zeros((1, 1, 8, 8)), "mask: a ndarray; wanted a tensor"),
            ([np.zeros((1, 3, 8, 8))], None, "image: a ndarray in a list; wanted a tensor"),
            (torch.zeros(1, 3, 8, 8), True, "mask: a bool; wanted a tensor"),
            ([], None, "image: a list without one; wanted a tensor"),
            (None, None, "image: a NoneType; wanted a tensor"),
        ],
    )
    def test_raises_on_no_tensor(self, image, mask, match):
        """What is no tensor is refused by its type."""
        with pytest.raises(ParameterError, match=match):
            PartialConv2d(3, 2, 3)(image, mask)

    def test_raises_on_missing_mask(self):
        """Two groups of channels need two masks."""
        image, mask = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
        with pytest.raises(ShapeError, match="as many masks, not 1"):
            PartialConv2d(6, 2, 3)((image, image), (mask,))


class TestLaws:
    """What holds for every image, mask and kernel."""

    @laws
    @given(seeds, shares, st.sampled_from([1e30, -7.0, math.inf, math.nan]))
    def test_values_under_holes(self, seed, known, anything):
        """Values under holes never matter, not even infinite ones."""
        image, mask = case(seed, known=known)
        conv = layer(3, 2, 3, 2, 1)
        changed = torch.where(mask == 0, anything, image)
        assert torch.equal(conv(changed, mask)[0], conv(image, mask)[0])

    @laws
    @given(seeds, shares, st.sampled_from([1, 3, 5]))
    def test_mask_grows(self, seed, known, kernel):
        """At stride 1 the new mask contains the old one."""
        image, mask = case(seed, known=known)
        new_mask = layer(3, 2, kernel, padding=kernel // 2)(image, mask)[1]
        assert (new_mask >= mask).all()

    @laws
    @given(seeds, shares, st.sampled_from([-3.0, 0.25, 1e6]))
    def test_scaling(self, seed, known, factor):
        """Without bias, scaling the input scales the output."""
        image, mask = case(seed, known=known)
        conv = layer(3, 2, 3, 2, 1, bias=False)
        torch.testing.assert_close(conv(factor * image, mask)[0], factor * conv(image, mask)[0])

    @laws
    @given(seeds, st.integers(1, 7), st.sampled_from([1, 2]))
    def test_full_mask(self, seed, kernel, stride):
        """With nothing missing it is the ordinary convolution away from borders."""
        image, mask = case(seed, known=2.0)
        conv = layer(3, 2, kernel, stride)
        wanted = F.conv2d(image, conv.weight, conv.bias, stride)
        torch.testing.assert_close(conv(image, mask)[0], wanted)

    @laws
    @given(seeds, shares, st.permutations(range(3)))
    def test_permutation(self, seed, known, order):
        """Permuting channels of image, mask and kernel together changes nothing."""
        image, mask = case(seed, known=known, per_channel=True)
        conv = layer(3, 2, 3, 2, 1)
        found = partial_conv2d(
            image[:, order], mask[:, order], conv.weight[:, order], conv.bias, (2, 2), (1, 1)
        )
        torch.testing.assert_close(found, conv(image, mask))

    @laws
    @given(seeds, shares, st.integers(1, 5), st.sampled_from([1, 2]))
    def test_equal_channels(self, seed, known, kernel, stride):
        """A one-channel mask is a mask with that channel repeated."""
        image, mask = case(seed, known=known)
        conv = layer(3, 2, kernel, stride, kernel // 2)
        torch.testing.assert_close(conv(image, mask), conv(image, mask.repeat(1, 3, 1, 1)))


class TestOnlyKnown:
    """X ⊙ M of Eq. 1."""

    def test_values(self):
        """Known values stay, the rest is zero."""
        image, mask = case(9)
        assert torch.equal(only_known(image, mask), image * mask)

    def test_gradient(self):
        """No gradient reaches what lies under holes."""
        image, mask = case(10)
        only_known(image.requires_grad_(), mask).sum().backward()
        assert torch.equal(image.grad, mask.expand_as(image))


class TestWindowSum:
    """sum(M) of Eq. 1."""

    @pytest.mark.parametrize("exporting", [False, True])
    def test_values(self, exporting, monkeypatch):
        """Counts are those of a convolution with ones, in float32, added up on a CPU or pooled."""
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)
        _, mask = case(11, per_channel=True)
        found = window_sum(mask, (3, 2), (2, 1), (2, 1))
        ones = torch.ones(1, 3, 3, 2, dtype=torch.float64)
        wanted = F.conv2d(mask, ones, stride=(2, 1), padding=(2, 1))
        assert found.dtype == torch.float32
        assert torch.equal(found.double(), wanted)

    def test_no_gradient(self):
        """The mask path keeps no graph."""
        _, mask = case(12)
        assert not window_sum(mask.requires_grad_(), (3, 3)).requires_grad
