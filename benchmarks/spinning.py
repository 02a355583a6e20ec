"""What OpenMP's spinning costs a training step, on idle cores and beside two busy processes.

    python -m benchmarks.spinning

Each measurement is a process of its own, as OpenMP reads the variable when torch is loaded; the
counts take turns, and a cell is the median of the rounds, with the least and the most.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish

DEFAULT = "default"
COUNTS = (DEFAULT, "30000", "10000", "2000")
STEPS = 12


def step_ms(threads: int) -> float:
    """Return the median milliseconds of a small training step (width 16, 8 images of 128 px)."""
    import torch

    from pconv.losses import InpaintingLoss, LossWeights
    from pconv.unet import build_unet

    torch.set_num_threads(threads)
    network = build_unet("pconv", width=16, levels=7)
    loss = InpaintingLoss(None, LossWeights(perceptual=0, style=0))
    image, mask = torch.rand(8, 3, 128, 128), (torch.rand(8, 1, 128, 128) > 0.3).float()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        loss(network(image, mask), image, mask)["total"].backward()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def measured(count: str, threads: int) -> float:
    """Return the milliseconds of a process that was started with this spin count."""
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if count != DEFAULT:
        environment["GOMP_SPINCOUNT"] = count
    command = [sys.executable, "-m", "benchmarks.spinning", "--one", "--threads", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def in_turns(threads: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of every round by spin count."""
    times: dict[str, list[float]] = {count: [] for count in COUNTS}
    for _ in range(rounds):
        for count in COUNTS:
            times[count].append(measured(count, threads))
    return times


def cell(times: list[float]) -> str:
    """Return a median and its range as text."""
    return f"{statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=whole, default=os.cpu_count())
    parser.add_argument("--rounds", type=whole, default=7)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args()
    if options.one:
        print(f"{step_ms(options.threads):.0f}")
        return
    idle = in_turns(options.threads, options.rounds)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        beside = in_turns(options.threads, options.rounds)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    heading = ("GOMP_SPINCOUNT", "idle, ms a step", "beside two busy processes, ms a step")
    rows = [(count, cell(idle[count]), cell(beside[count])) for count in COUNTS]
    finish("benchmarks.spinning", [Table(heading, rows)], packages=["torch"], out=options.json)


if __name__ == "__main__":
    main()
