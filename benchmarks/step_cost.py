"""What a full training step must compute and move: the two numbers a GPU's time is held against.

Counts the operations of all convolutions and matrix products of one step, and the bytes that each
kernel reads and writes: of all kernels, one after another as eager torch runs them, and of
convolutions and matrix products alone, as if all the rest were fused into them. From these and a
card's two rates follow the least times. Nothing is computed: the tensors are fake ones, which have
shapes and no data.

    python -m benchmarks.step_cost --batch 16 --tflops 790 --tbytes 4.3
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arguments import positive, whole
from benchmarks.network import NETWORKS
from benchmarks.record import Table, add_json_option, finish
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss
from pconv.unet import PConvUNet

PRODUCTS = ("convolution", "convolution_backward", "mm", "bmm", "addmm")
HEADING = (
    "full step",
    "precision",
    "TFLOP",
    "GB, every kernel",
    "GB, products alone",
    "ms by operations",
    "ms by bytes, eager",
    "ms by bytes, fused",
)


class Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that each kernel reads and writes.

    Attributes:
        every: Bytes of all kernels; views move nothing.
        products: Bytes of convolutions and matrix products.
    """

    def __init__(self) -> None:
        super().__init__()
        self.every = 0
        self.products = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Run one operator and count what it moves."""
        result = function(*args, **(kwargs or {}))
        # Fake tensors ask themselves for their device by an operator of another namespace.
        if function.namespace == "aten" and not function.is_view:
            moved = sum(x.nbytes for x in _tensors((args, kwargs))) + sum(
                x.nbytes for x in _tensors(result)
            )
            self.every += moved
            if function.overloadpacket.__name__ in PRODUCTS:
                self.products += moved
        return result


class NoData(FakeTensorMode):
    """Makes tensors fake, and answers no where their data is asked for.

    The step asks one thing, and on the CPU alone: whether a mask is full, to leave work out. On a
    GPU nothing is asked and nothing left out, which is what no stands for.
    """

    def __torch_dispatch__(self, function: Any, *rest: Any) -> object:
        """Run one operator, but for the one that reads a value."""
        if function is torch.ops.aten._local_scalar_dense.default:
            return False
        return super().__torch_dispatch__(function, *rest)


def _tensors(values: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def counted(step: Callable[[], object]) -> tuple[float, float, float]:
    """Return the operations of a step, and the bytes of all kernels and of products alone."""
    with FlopCounterMode(display=False) as operations:
        step()
    with Traffic() as traffic:
        step()
    return operations.get_total_flops(), traffic.every, traffic.products


def full_step(
    network: Callable[[Tensor, Tensor], Tensor],
    losses: InpaintingLoss,
    image: Tensor,
    mask: Tensor,
    bf16: bool,
) -> Callable[[], object]:
    """Return a training step without the optimizer."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            total = losses(network(image, mask), image, mask)["total"]
        total.backward()

    return step


def main(argv: list[str] | None = None) -> None:
    """Count, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=whole, default=16, help="images a step")
    parser.add_argument("--size", type=whole, default=256, help="a multiple of 2^levels")
    parser.add_argument("--width", type=whole, default=64, help="filters of the first row")
    parser.add_argument("--levels", type=whole, default=8, help="rows of the encoder")
    parser.add_argument("--tflops", type=positive, required=True, help="measured bf16 matrix rate")
    parser.add_argument("--tbytes", type=positive, required=True, help="measured copy rate, TB/s")
    add_json_option(parser)
    args = parser.parse_args(argv)
    counts = {}
    with NoData():
        net = PConvUNet(width=args.width, levels=args.levels)
        losses = InpaintingLoss(vgg16_features("random"))
        image = torch.rand(args.batch, 3, args.size, args.size)
        mask = torch.rand(args.batch, 1, args.size, args.size)
        for name, network in NETWORKS.items():
            for precision in ("float32", "bf16"):
                step = full_step(network(net), losses, image, mask, precision == "bf16")
                counts[name, precision] = counted(step)
    rows = [
        (
            name,
            precision,
            f"{flops / 1e12:.2f}",
            f"{every / 1e9:.1f}",
            f"{products / 1e9:.1f}",
            f"{1e3 * flops / (1e12 * args.tflops):.1f}" if precision == "bf16" else "",
            f"{every / (1e9 * args.tbytes):.1f}",
            f"{products / (1e9 * args.tbytes):.1f}",
        )
        for (name, precision), (flops, every, products) in counts.items()
    ]
    note = (
        f"{args.batch} images of {args.size} px, without the optimizer; times at "
        f"{args.tflops:g} TFLOP/s and {args.tbytes:g} TB/s."
    )
    finish(
        "benchmarks.step_cost",
        [Table(HEADING, rows, words=2)],
        packages=["torch"],
        notes=[note],
        out=args.json,
        argv=argv,
    )


if __name__ == "__main__":
    main()
