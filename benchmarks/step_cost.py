"""What a full training step must compute and move: the two numbers a GPU's time is held against.

Counts, in one step on the CPU, the operations of all convolutions and matrix products, and the
bytes that each kernel reads and writes: of all kernels, one after another as eager torch runs
them, and of convolutions and matrix products alone, as if all the rest were fused into them. From
these and a card's two rates follow the least times.

    python -m benchmarks.step_cost --batch 16 --tflops 790 --tbytes 4.3
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

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
        if not function.is_view:
            moved = sum(x.nbytes for x in _tensors((args, kwargs))) + sum(
                x.nbytes for x in _tensors(result)
            )
            self.every += moved
            if function.overloadpacket.__name__ in PRODUCTS:
                self.products += moved
        return result


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
    network: Callable[[Tensor, Tensor], Tensor], losses: InpaintingLoss, size: int, bf16: bool
) -> Callable[[], object]:
    """Return a training step of one image, without the optimizer."""
    image = torch.rand(1, 3, size, size)
    mask = (torch.rand(1, 1, size, size) > 0.3).float()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            total = losses(network(image, mask), image, mask)["total"]
        total.backward()

    return step


def main(argv: list[str] | None = None) -> None:
    """Count, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="images a step")
    parser.add_argument("--size", type=int, default=256, help="a multiple of 2^levels")
    parser.add_argument("--width", type=int, default=64, help="filters of the first row")
    parser.add_argument("--levels", type=int, default=8, help="rows of the encoder")
    parser.add_argument("--tflops", type=float, required=True, help="measured bf16 matrix rate")
    parser.add_argument("--tbytes", type=float, required=True, help="measured copy rate, TB/s")
    add_json_option(parser)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    net = PConvUNet(width=args.width, levels=args.levels)
    losses = InpaintingLoss(vgg16_features("random"))
    rows = []
    for name, network in NETWORKS.items():
        for precision in ("float32", "bf16"):
            step = full_step(network(net), losses, args.size, precision == "bf16")
            flops, every, products = (args.batch * count for count in counted(step))
            by_operations = (
                f"{1e3 * flops / (1e12 * args.tflops):.1f}" if precision == "bf16" else ""
            )
            rows.append(
                (
                    name,
                    precision,
                    f"{flops / 1e12:.2f}",
                    f"{every / 1e9:.1f}",
                    f"{products / 1e9:.1f}",
                    by_operations,
                    f"{every / (1e9 * args.tbytes):.1f}",
                    f"{products / (1e9 * args.tbytes):.1f}",
                )
            )
    note = (
        f"Counted for one image of {args.size} px, weights included, and multiplied by "
        f"the batch of {args.batch}; times at {args.tflops:g} TFLOP/s and {args.tbytes:g} TB/s."
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
