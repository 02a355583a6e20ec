"""Which kernels a full training step spends its time in, and how long the device is idle.

python -m benchmarks.profile_step --device cuda --batch 16 --case ours:bf16,channels-last
"""

import argparse
from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.arguments import whole
from benchmarks.network import FULL, Case, prepare, timed
from benchmarks.record import Table, add_json_option, finish
from pconv.features import vgg16_features
from pconv.losses import InpaintingLoss

STEPS = 5
HEADING = ("kernel", "ms a step", "share", "calls a step")


def kernels(run: Callable[[], None], device: str) -> dict[str, tuple[float, float]]:
    """Profile a few steps; return ms and calls a step of what ran there, the slowest first."""
    cuda = device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as watched:
        timed(run, device, STEPS)
    found = {}
    for event in watched.key_averages():
        # On a GPU only the kernels: torch's operators repeat the time of those that they launch.
        if (event.device_type == DeviceType.CUDA) == cuda:
            total_us = event.self_device_time_total if cuda else event.self_cpu_time_total
            found[event.key] = (total_us / STEPS / 1e3, event.count / STEPS)
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def main(argv: list[str] | None = None) -> None:
    """Profile one case and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=whole, default=2, help="images a step")
    parser.add_argument("--size", type=whole, default=256, help="a multiple of 2^levels")
    parser.add_argument("--width", type=whole, default=64, help="filters of the first row")
    parser.add_argument("--levels", type=whole, default=8, help="rows of the encoder")
    parser.add_argument("--case", type=Case.of, default="ours:default", metavar="NETWORK:SETTING")
    parser.add_argument("--rows", type=whole, default=30, help="kernels that are shown")
    add_json_option(parser)
    args = parser.parse_args(argv)
    torch.backends.cudnn.benchmark = True  # as in training
    criterion = InpaintingLoss(vgg16_features("random")).to(args.device)
    run = prepare(args, args.batch).trial(FULL, args.case, criterion).run
    timed(run, args.device, 3)
    step_ms = 1e3 * timed(run, args.device, STEPS)
    found = kernels(run, args.device)
    total_ms = sum(ms for ms, _ in found.values())
    rows = [
        (
            f"`{name[:80].replace('|', '/')}`",
            f"{ms:.3f}",
            f"{100 * ms / total_ms:.1f} %",
            f"{calls:g}",
        )
        for name, (ms, calls) in list(found.items())[: args.rows]
    ]
    note = (
        f"Batch {args.batch}, {args.case.network}, {args.case.setting.name}: {step_ms:.1f} ms a "
        f"step unwatched, {total_ms:.1f} ms in kernels."
    )
    finish(
        "benchmarks.profile_step",
        [Table(HEADING, rows)],
        packages=["torch"],
        notes=[note],
        out=args.json,
        argv=argv,
    )


if __name__ == "__main__":
    main()
