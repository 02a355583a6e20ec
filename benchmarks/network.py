"""How fast the network is, beside the usual way to write it and beside no masks at all.

All rows run in one process, on the same weights and input, in turns (A B C A B C …), so that a
slow spell of the machine meets all of them; times are medians, ratios medians of the ratios within
a turn.

    python -m benchmarks.network --threads 2                                 # two CPU cores
    python -m benchmarks.network --threads 2 --cases ours:default ours:bf16  # one option
    python -m benchmarks.network --device cuda --batch 16 --steps training full --compile-jobs 4
"""

import argparse
import copy
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish
from benchmarks.ways import NoMasks, UsualWay
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss, LossWeights
from pconv.unet import PConvUNet

INFERENCE, TRAINING, FULL = STEPS = ("inference", "training", "full")
NETWORKS: dict[str, Callable[[PConvUNet], torch.nn.Module]] = {
    "usual": UsualWay,
    "plain": NoMasks,
    "ours": lambda net: net,
}


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


@dataclass(frozen=True)
class Case:
    """One network in one setting."""

    network: str
    setting: Setting

    @classmethod
    def of(cls, text: str) -> "Case":
        """Read ``NETWORK:SETTING``."""
        network, _, setting = text.partition(":")
        if network not in NETWORKS or setting not in SETTINGS:
            raise argparse.ArgumentTypeError(
                f"{text!r}; wanted NETWORK:SETTING of {', '.join(NETWORKS)} and "
                f"{' '.join(SETTINGS)}"
            )
        return cls(network, SETTINGS[setting])

    def __str__(self) -> str:
        return f"{self.network}:{self.setting.name}"


CASES = {
    "cpu": [f"{name}:{how}" for how in ("default", "channels-last") for name in NETWORKS],
    # Compiling takes a minute a case, so only what can win is compiled.
    "cuda": [
        "usual:default",
        "usual:bf16",
        "plain:default",
        "plain:bf16,channels-last",
        "plain:bf16,channels-last,graphs",
        "ours:default",
        "ours:bf16,channels-last",
        "ours:bf16,channels-last,graphs",
    ],
}


def bmm_operations(a: torch.Size, b: torch.Size, *_: object, **__: object) -> int:
    """Return the operations of products of matrices, ``(B, M, K)`` and ``(B, K, N)``."""
    return 2 * math.prod(a) * b[2]


# The count of torch 2.11 stops at products whose result has another type, as `gram` has them.
OPERATIONS = {torch.ops.aten.bmm: bmm_operations}


@dataclass
class Trial:
    """One row of the table."""

    step: str
    case: Case
    net: PConvUNet
    run: Callable[[], None]
    flops: float
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0


@dataclass(frozen=True)
class Bench:
    """Weights, input and losses that all rows share."""

    net: PConvUNet
    image: Tensor
    mask: Tensor

    def trials(self, steps: list[str], cases: list[Case]) -> list[Trial]:
        """Return the rows of the table, those of one step together."""
        criterion = None
        if FULL in steps:
            features = vgg16_features("random")
            criterion = InpaintingLoss(features, LossWeights()).to(self.image.device)
        return [self.trial(step, case, criterion) for step in steps for case in cases]

    def trial(self, step: str, case: Case, criterion: InpaintingLoss | None) -> Trial:
        """Return one row, on a copy of the weights, with its operations counted."""
        setting = case.setting
        memory = torch.channels_last if setting.channels_last else torch.contiguous_format
        net = copy.deepcopy(self.net).to(memory_format=memory).train(step != INFERENCE)
        network = NETWORKS[case.network](net)
        image = self.image.contiguous(memory_format=memory)
        losses = copy.deepcopy(criterion).to(memory_format=memory) if criterion else None

        def work(image: Tensor, mask: Tensor) -> Tensor:
            output = network(image, mask)
            return output if step != FULL else losses(output, image, mask)["total"]

        inputs = (image, self.mask)
        with FlopCounterMode(display=False, custom_mapping=OPERATIONS) as counter:
            _take_step(step, partial(work, *inputs), net, setting)
        if setting.compile_mode is not None:
            # Not for any batch size: what is measured is the kernels of this one.
            work = torch.compile(work, mode=setting.compile_mode, dynamic=False)
        optimizer = None
        if step == FULL:
            fused = image.device.type == "cuda"
            optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, fused=fused)
        run = partial(_take_step, step, partial(work, *inputs), net, setting, optimizer)
        return Trial(step, case, net, run, counter.get_total_flops())


def _take_step(
    step: str,
    work: Callable[[], Tensor],
    net: PConvUNet,
    setting: Setting,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Run the network; in training go backward, and in the full step move the weights."""
    device = next(net.parameters()).device.type
    # As in training: half precision goes with the coarser float32 products.
    torch.backends.cuda.matmul.allow_tf32 = setting.bf16
    with torch.autocast(device, torch.bfloat16, enabled=setting.bf16):
        if step == INFERENCE:
            with torch.no_grad():
                work()
            return
        net.zero_grad(set_to_none=True)
        result = work()
    result.backward(torch.ones_like(result))
    if optimizer is not None:
        optimizer.step()


def compile_ahead(args: argparse.Namespace) -> None:
    """Compile each row in a process of its own, so many at a time.

    One after another, as `measure` compiles them, each takes the better part of a minute of one
    core. This leaves the kernels in torch's cache on the disk, where `measure` finds them.
    """
    compiled = [case for case in args.cases if case.setting.compile_mode is not None]
    jobs = list(itertools.product(args.batch, args.steps, compiled))
    threads = max(1, (os.cpu_count() or 1) // args.compile_jobs)
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)}
    same = ("device", "size", "width", "levels", "threads")
    options = [f"--{name}={value}" for name in same if (value := getattr(args, name)) is not None]

    def run(job: tuple[int, str, Case]) -> None:
        batch, step, case = job
        what = ["--batch", str(batch), "--steps", step, "--cases", str(case)]
        command = [sys.executable, "-m", "benchmarks.network", *options, *what, "--rounds", "0"]
        subprocess.run(command, env=environment, check=True)

    with ThreadPoolExecutor(args.compile_jobs) as pool:
        list(pool.map(run, jobs))


def prepare(args: argparse.Namespace, batch: int) -> Bench:
    """Draw weights, images and masks: a box and one pixel in ten missing."""
    torch.manual_seed(0)
    net = PConvUNet(width=args.width, levels=args.levels).to(args.device)
    image = torch.rand(batch, 3, args.size, args.size, device=args.device)
    mask = (torch.rand(batch, 1, args.size, args.size, device=args.device) > 0.1).float()
    mask[:, :, args.size // 4 : args.size // 2, args.size // 4 : args.size // 2] = 0
    return Bench(net, image, mask)


def disagreement(bench: Bench) -> float:
    """Return the largest difference between the usual way and ours, of outputs of size one."""
    bench.net.eval()
    with torch.no_grad():
        wanted, found = (f(bench.image, bench.mask) for f in (UsualWay(bench.net), bench.net))
    bench.net.train()
    return float((wanted - found).abs().max() / wanted.abs().max())


def timed(run: Callable[[], object], device: str, repeats: int) -> float:
    """Return the seconds a call takes."""
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
            before = 0
            if device == "cuda":
                trial.net.zero_grad(set_to_none=True)  # a step's own gradients count as its memory
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            seconds = timed(trial.run, device, repeats)
            if turn > 0:
                trial.seconds.append(seconds)
            if device == "cuda":
                trial.peak_bytes = max(trial.peak_bytes, torch.cuda.max_memory_allocated() - before)


def matrix_rate(device: str, side: int) -> float:
    """Return the operations a second of a product of two square matrices (bf16 on a GPU)."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _best(lambda: torch.mm(a, b), device)


def copy_rate(device: str, side: int) -> float:
    """Return the bytes a second, read and written, of a copy of 32 such matrices."""
    source = torch.randn(32, side, side, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device)


def _best(run: Callable[[], object], device: str) -> float:
    timed(run, device, 2)
    return min(timed(run, device, 5) for _ in range(5))


def ratio(trial: Trial, trials: list[Trial], network: str, setting: Setting) -> str:
    """Return the median share of another row's time, turn by turn; empty if it is not measured."""
    for other in trials:
        if (other.step, other.case) == (trial.step, Case(network, setting)):
            pairs = zip(trial.seconds, other.seconds, strict=True)
            return f"{statistics.median(mine / theirs for mine, theirs in pairs):.2f}"
    return ""


HEADING = (
    "step",
    "network",
    "setting",
    "ms",
    "images/s",
    "÷ usual, default",
    "÷ plain, same setting",
    "÷ same network, default",
    "TFLOP/s",
    "share of matrix rate",
    "peak MiB",
)


def rows(trials: list[Trial], batch: int, peak_rate: float) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    default = SETTINGS["default"]
    lines = []
    for trial in trials:
        seconds, case = statistics.median(trial.seconds), trial.case
        rate = trial.flops / seconds
        lines.append(
            (
                trial.step,
                case.network,
                case.setting.name,
                f"{1e3 * seconds:.1f}",
                f"{batch / seconds:.1f}",
                ratio(trial, trials, "usual", default),
                ratio(trial, trials, "plain", case.setting),
                ratio(trial, trials, case.network, default),
                f"{rate / 1e12:.2f}",
                f"{100 * rate / peak_rate:.0f} %",
                f"{trial.peak_bytes / 2**20:.0f}" if trial.peak_bytes else "",
            )
        )
    return lines


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=whole, nargs="+", default=[2], help="images a step")
    parser.add_argument("--size", type=whole, default=256, help="a multiple of 2^levels")
    parser.add_argument("--width", type=whole, default=64, help="filters of the first row")
    parser.add_argument("--levels", type=whole, default=8, help="rows of the encoder")
    parser.add_argument("--threads", type=whole, help="CPU threads")
    parser.add_argument(
        "--rounds",
        type=partial(whole, least=0),
        default=9,
        help="turns that count; 0: only compile",
    )
    parser.add_argument("--repeats", type=whole, help="steps timed as one (CPU 1, CUDA 10)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS[:2]))
    parser.add_argument("--matrix", type=whole, help="side of the matrices (CPU 2048, CUDA 8192)")
    parser.add_argument("--cases", nargs="+", type=Case.of, metavar="NETWORK:SETTING")
    parser.add_argument("--compile-jobs", type=whole, help="compile so many rows at a time, first")
    add_json_option(parser)
    args = parser.parse_args(argv)
    cuda = args.device == "cuda"
    args.repeats = args.repeats or (10 if cuda else 1)
    args.matrix = args.matrix or (8192 if cuda else 2048)
    args.cases = args.cases or [Case.of(text) for text in CASES[args.device]]
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True  # as in training
    if args.compile_jobs:
        compile_ahead(args)
    # The rows are versions of one function, of which eight are compiled by default, and no more.
    torch._dynamo.config.recompile_limit = max(8, len(args.steps) * len(args.cases))
    measured = []
    for batch in args.batch:
        torch.compiler.reset()
        bench = prepare(args, batch)
        trials = bench.trials(args.steps, args.cases)
        measure(trials, args.device, args.rounds, args.repeats)
        title = (
            f"{args.size} px, batch {batch}; the usual way and ours agree to "
            f"{disagreement(bench):.0e} (relative)"
        )
        measured.append((batch, trials, title))
    if args.rounds == 0:
        return
    peak_rate, bandwidth = matrix_rate(args.device, args.matrix), copy_rate(args.device, 1024)
    notes = [
        f"Measured in the same run: matrix product {peak_rate / 1e12:.2f} TFLOP/s, copy "
        f"{bandwidth / 1e9:.0f} GB/s; {torch.get_num_threads()} threads."
    ]
    tables = [
        Table(HEADING, rows(trials, batch, peak_rate), words=3, title=title)
        for batch, trials, title in measured
    ]
    finish("benchmarks.network", tables, packages=["torch"], notes=notes, out=args.json, argv=argv)


if __name__ == "__main__":
    main()
