"""What a job costs under Slurm: jobs that do nothing, through the profile, against this machine.

    . "$SLURM_BASE/env"    # after tests/services/slurm/up.sh, or on a real cluster
    python -m benchmarks.slurm_jobs

Every row is the median of whole runs of Snakemake. A chain is jobs that wait for each other.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.arguments import whole
from benchmarks.record import Table, add_json_option, finish

PROFILE = Path(__file__).parents[1] / "profiles" / "slurm"
SNAKEFILE = """
N = int(config["jobs"])
CHAIN = int(config["chain"])


rule all:
    input:
        expand("out/{n}", n=range(N)),


rule link:
    input:
        lambda wildcards: f"out/{int(wildcards.n) - 1}" if CHAIN and int(wildcards.n) else [],
    output:
        "out/{n}",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "echo {wildcards.n} > {output}"
"""
LOCAL = ["--workflow-profile", "none", "--cores", "2"]
SLURM = ["--workflow-profile", str(PROFILE), "--groups", "none=none"]
# A group asks for as many CPUs as it has jobs, at most --cores; a node of two takes no more.
ONE_GROUP = [*SLURM[:-1], "link=links", "--group-components", "links=100", "--cores", "2"]
EVERY_SECOND = ["--slurm-init-seconds-before-status-checks", "1"]


def seconds(options: list[str], jobs: int, *, chain: bool) -> float:
    """Return how long a run of so many jobs takes, from the command to its end."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        (Path(folder) / "Snakefile").write_text(SNAKEFILE)
        config = ["--config", f"jobs={jobs}", f"chain={int(chain)}"]
        start = time.perf_counter()
        subprocess.run(
            ["snakemake", *options, *config], cwd=folder, check=True, capture_output=True
        )
        return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=whole, default=3)
    add_json_option(parser)
    options = parser.parse_args()
    runs = {
        "this machine": LOCAL,
        "Slurm, the profile": SLURM,
        "Slurm, asked after 1 s": [*SLURM, *EVERY_SECOND],
        "Slurm, all in one group": ONE_GROUP,
    }
    shapes = {"1 job": (1, False), "8 jobs": (8, False), "a chain of 4": (4, True)}
    rows = []
    for name, settings in runs.items():
        cells = []
        for jobs, chain in shapes.values():
            taken = [seconds(settings, jobs, chain=chain) for _ in range(options.rounds)]
            cells.append(f"{statistics.median(taken):.1f}")
        rows.append((name, *cells))
    table = Table(("seconds on", *shapes), rows)
    packages = ["snakemake", "snakemake-executor-plugin-slurm"]
    finish("benchmarks.slurm_jobs", [table], packages=packages, out=options.json)


if __name__ == "__main__":
    main()
