"""How fast the network is, beside the usual way to write it and beside no masks at all.

Prints a Markdown table. All rows run in one process, on the same weights and input, in turns
(A B C A B C …), so that a slow spell of the machine meets all of them; times are medians, ratios
medians of the ratios within a turn.

    python -m benchmarks.network --threads 2                  # two CPU cores
    python -m benchmarks.network --device cuda --batch 16 --losses
"""

import argparse
import copy
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss, LossWeights
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


class UsualWay(nn.Module):
    """The same network as it is usually written.

    Masks have as many channels as the features, are concatenated like them, and sum(M) is a second
    full convolution with a kernel of ones.
    """

    def __init__(self, net: PConvUNet) -> None:
        super().__init__()
        self.net = net
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

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill holes; sizes must be multiples of 2^levels."""
        left = [(image, mask.expand_as(image))]
        for index, layer in enumerate(self.net.encoder):
            left.append(self.row(index, layer, *left[-1]))
        low, low_mask = left.pop()
        for index, layer in enumerate(self.net.decoder, start=len(self.net.encoder)):
            skip, skip_mask = left.pop()
            both = torch.cat([twice(low), skip], dim=1)
            both_masks = torch.cat([twice(low_mask), skip_mask], dim=1)
            low, low_mask = self.row(index, layer, both, both_masks)
        return low


class NoMasks(nn.Module):
    """The same U-Net with plain convolutions: no mask, nothing scaled; up-sample, concatenate."""

    def __init__(self, net: PConvUNet) -> None:
        super().__init__()
        self.net = net

    def row(self, layer: Layer, image: Tensor) -> Tensor:
        """Run one row of Figure 4 on features of ``(B, C, H, W)``."""
        conv, row = layer.conv, layer.row
        features = F.conv2d(image, conv.weight, conv.bias, row.stride, row.kernel // 2)
        return activate(layer, features)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Run the network on the image; the mask is ignored."""
        left = [image]
        for layer in self.net.encoder:
            left.append(self.row(layer, left[-1]))
        low = left.pop()
        for layer in self.net.decoder:
            low = self.row(layer, torch.cat([twice(low), left.pop()], dim=1))
        return low


@dataclass(frozen=True)
class Setting:
    """How a network is run."""

    name: str
    bf16: bool = False
    channels_last: bool = False
    compile_mode: str | None = None


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("default"),
        Setting("channels-last", channels_last=True),
        Setting("bf16", bf16=True),
        Setting("bf16,channels-last", bf16=True, channels_last=True),
        Setting("compiled", compile_mode="default"),
        Setting("bf16,compiled", bf16=True, compile_mode="default"),
        Setting("bf16,channels-last,compiled", True, True, "default"),
        Setting("bf16,channels-last,graphs", True, True, "reduce-overhead"),
    )
}


@dataclass
class Trial:
    """One row of the table."""

    step: str
    network: str
    setting: Setting
    run: Callable[[], None]
    flops: float
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0


Network = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Bench:
    """Weights, input and losses that all rows share."""

    net: PConvUNet
    image: Tensor
    mask: Tensor
    criterion: InpaintingLoss | None

    def trials(self, settings: list[Setting]) -> list[Trial]:
        """Return the rows of the table, those of one step and setting together."""
        steps = ["inference", "training"] + ["training with losses"] * bool(self.criterion)
        return [trial for step in steps for s in settings for trial in self.compared(step, s)]

    def compared(self, step: str, setting: Setting) -> Iterator[Trial]:
        """Yield the three networks on one copy of the weights, with their operations counted."""
        memory = torch.channels_last if setting.channels_last else torch.contiguous_format
        net = copy.deepcopy(self.net).to(memory_format=memory).train(step != "inference")
        take_step = self.step(step, net, self.image.contiguous(memory_format=memory))

        def run(network: Network) -> None:
            with torch.autocast(self.image.device.type, torch.bfloat16, enabled=setting.bf16):
                take_step(network)

        for name, network in (("usual way", UsualWay(net)), ("plain", NoMasks(net)), ("ours", net)):
            with FlopCounterMode(display=False) as counter:
                run(network)
            if setting.compile_mode is not None:
                network = torch.compile(network, mode=setting.compile_mode)
            yield Trial(step, name, setting, partial(run, network), counter.get_total_flops())

    def step(self, step: str, net: nn.Module, image: Tensor) -> Callable[[Network], None]:
        """Return one step as a function of the network that computes it with the weights."""
        fused = image.device.type == "cuda"
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, fused=fused)

        def infer(network: Network) -> None:
            with torch.no_grad():
                network(image, self.mask)

        def train(network: Network) -> None:
            net.zero_grad(set_to_none=True)
            output = network(image, self.mask)
            output.backward(torch.ones_like(output))

        def train_with_losses(network: Network) -> None:
            net.zero_grad(set_to_none=True)
            output = network(image, self.mask)
            self.criterion(output.float(), self.image, self.mask)["total"].backward()
            optimizer.step()

        return {"inference": infer, "training": train, "training with losses": train_with_losses}[
            step
        ]


def prepare(args: argparse.Namespace) -> Bench:
    """Draw weights, images and masks: a box and one pixel in ten missing."""
    torch.manual_seed(0)
    net = PConvUNet(width=args.width, levels=args.levels).to(args.device)
    image = torch.rand(args.batch, 3, args.size, args.size, device=args.device)
    mask = (torch.rand(args.batch, 1, args.size, args.size, device=args.device) > 0.1).float()
    mask[:, :, args.size // 4 : args.size // 2, args.size // 4 : args.size // 2] = 0
    criterion = None
    if args.losses:
        criterion = InpaintingLoss(vgg16_features("random"), LossWeights()).to(args.device)
    return Bench(net, image, mask, criterion)


def disagreement(bench: Bench) -> float:
    """Return the largest difference between the usual way and ours, of outputs of size one."""
    bench.net.eval()
    with torch.no_grad():
        wanted, found = (f(bench.image, bench.mask) for f in (UsualWay(bench.net), bench.net))
    bench.net.train()
    return float((wanted - found).abs().max() / wanted.abs().max())


def timed(run: Callable[[], None], device: str, repeats: int) -> float:
    """Return the seconds a step takes."""
    _finish(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    _finish(device)
    return (time.perf_counter() - start) / repeats


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(trials: list[Trial], device: str, rounds: int, repeats: int) -> None:
    """Run all rows in turns; one turn more, the first, warms up and is not counted."""
    for turn in range(rounds + 1):
        for trial in trials:
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = timed(trial.run, device, repeats)
            if turn > 0:
                trial.seconds.append(seconds)
            if device == "cuda":
                trial.peak_bytes = torch.cuda.max_memory_allocated()


def matrix_rate(device: str, side: int) -> float:
    """Return the operations a second of a product of two square matrices (bf16 on a GPU)."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    timed(lambda: torch.mm(a, b), device, 2)
    return 2 * side**3 / min(timed(lambda: torch.mm(a, b), device, 5) for _ in range(5))


def ratio(trial: Trial, trials: list[Trial], network: str, setting: Setting) -> str:
    """Return the median share of another row's time, turn by turn."""
    for other in trials:
        if (other.step, other.network, other.setting) == (trial.step, network, setting):
            pairs = zip(trial.seconds, other.seconds, strict=True)
            return f"{statistics.median(mine / theirs for mine, theirs in pairs):.2f}"
    raise LookupError(f"no row for {network} with {setting.name}")


HEADING = (
    "step",
    "network",
    "setting",
    "ms",
    "images/s",
    "÷ usual way, first setting",
    "÷ plain, same setting",
    "TFLOP/s",
    "share of matrix rate",
    "peak MiB",
)


def rows(trials: list[Trial], batch: int, peak_rate: float) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    lines = []
    for trial in trials:
        seconds = statistics.median(trial.seconds)
        rate = trial.flops / seconds
        lines.append(
            (
                trial.step,
                trial.network,
                trial.setting.name,
                f"{1e3 * seconds:.1f}",
                f"{batch / seconds:.1f}",
                ratio(trial, trials, "usual way", trials[0].setting),
                ratio(trial, trials, "plain", trial.setting),
                f"{rate / 1e12:.2f}",
                f"{100 * rate / peak_rate:.0f} %",
                f"{trial.peak_bytes / 2**20:.0f}" if trial.peak_bytes else "",
            )
        )
    return lines


def machine(device: str) -> str:
    """Name the machine and the versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if device == "cuda":
        name = torch.cuda.get_device_name()
    elif cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].split(":")[1].strip() if models else name
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{name}, {threads}, torch {torch.__version__}, Python {platform.python_version()}"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=2, help="images a step")
    parser.add_argument("--size", type=int, default=256, help="a multiple of 2^levels")
    parser.add_argument("--width", type=int, default=64, help="filters of the first row")
    parser.add_argument("--levels", type=int, default=8, help="rows of the encoder")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=9, help="turns that count")
    parser.add_argument("--repeats", type=int, help="steps timed as one (CPU 1, CUDA 10)")
    parser.add_argument("--losses", action="store_true", help="also the step with all losses")
    parser.add_argument("--matrix", type=int, help="side of the matrices (CPU 2048, CUDA 8192)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, help="all on CUDA, two on a CPU")
    args = parser.parse_args(argv)
    cuda = args.device == "cuda"
    args.repeats = args.repeats or (10 if cuda else 1)
    args.matrix = args.matrix or (8192 if cuda else 2048)
    args.settings = args.settings or list(SETTINGS if cuda else ("default", "channels-last"))
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    bench = prepare(args)
    difference = disagreement(bench)
    peak_rate = matrix_rate(args.device, args.matrix)
    trials = bench.trials([SETTINGS[name] for name in args.settings])
    measure(trials, args.device, args.rounds, args.repeats)
    words = sys.argv[1:] if argv is None else argv
    print(f"`python -m benchmarks.network {' '.join(words)}`\n\n{machine(args.device)}; ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; matrix product {peak_rate / 1e12:.2f} TFLOP/s; ", end="")
    print(f"the usual way and ours agree to {difference:.0e} (relative)\n")
    print("| " + " | ".join(HEADING) + " |")
    print("|" + "---|" * len(HEADING))
    for line in rows(trials, args.batch, peak_rate):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
