"""Fuzz the readers of foreign bytes, guided by coverage where atheris is installed.

    python -m tests.hostile.fuzz --minutes 60

Atheris (libFuzzer for Python) is no dependency of the project; ``pip install atheris`` into the
environment, and inputs that reach new code are kept and changed further. Without it files are
changed at random. What a reader lets through that is none of our errors is a finding: it is
written to a file, and the command ends with status 1.
"""

import argparse
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.hostile.record import Attempt, write

NAMES = ("params", "image", "mask", "archive", "sample.csv", "weights", "pairs.csv", "log.jsonl")
AREA = "Fuzzing of the readers"
_INSTRUMENTED = ["pconv", "workflow", "PIL", "yaml", "zipfile", "tarfile", "gzip", "csv"]
_SLOWEST_S = 20
_MEMORY_MIB = 4096


def guided(name: str, seconds: int, folder: Path) -> None:
    """Run libFuzzer on one reader; it ends this process."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.hostile.targets import TARGETS
    target = TARGETS[name]
    seeds = folder / "seeds"
    seeds.mkdir()
    with tempfile.TemporaryDirectory() as work:
        for number, content in enumerate(target.seeds(Path(work))):
            (seeds / str(number)).write_bytes(content)

    def once(content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=_memory()) as work:
            target.refuses_or_reads(content, Path(work))

    options = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-timeout={_SLOWEST_S}"]
    options += [f"-rss_limit_mb={_MEMORY_MIB}", f"-artifact_prefix={folder}/", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], once)
    atheris.Fuzz()


def unguided(name: str, seconds: int, folder: Path) -> dict[str, int]:
    """Change whole files at random for so long."""
    from tests.hostile.targets import TARGETS

    target, draw, count = TARGETS[name], random.Random(name), 0
    with tempfile.TemporaryDirectory() as work:
        seeds = target.seeds(Path(work))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(len(content) + 1)
            content[place : place + draw.choice((0, 1, 1, 1, 4, 30))] = draw.randbytes(
                draw.choice((0, 1, 1, 1, 4))
            )
        count += 1
        try:
            with tempfile.TemporaryDirectory(dir=_memory()) as work:
                target.refuses_or_reads(bytes(content), Path(work))
        except Exception:
            (folder / f"crash-{count}").write_bytes(content)
            raise
    return {"runs": count}


def _memory() -> str | None:
    """Return a folder in memory, if there is one: files are written by the thousand."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def fuzz(name: str, seconds: int, keep: Path) -> tuple[str, int, int]:
    """Fuzz one reader in a process of its own.

    Returns:
        What happened, how many inputs were tried, and how many of them were findings.
    """
    folder = keep / name.replace(".", "-")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--worker", name]
    command += ["--seconds", str(seconds), "--keep", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    (folder / "said.log").write_text(said)
    runs = re.findall(r'(?:number_of_executed_units: |"runs": )(\d+)', said)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", said)
    findings = [path for path in folder.iterdir() if path.name.startswith(("crash-", "timeout-"))]
    findings += [path for path in folder.iterdir() if path.name.startswith(("oom-", "slow-"))]
    how = "refused or read, each time"
    if coverage:
        how += f"; {coverage[-1][0]} branches reached"
    if findings or done.returncode:
        how = f"findings: {', '.join(path.name for path in findings) or 'the fuzzer failed'}"
    return how, int(runs[-1]) if runs else 0, max(len(findings), int(done.returncode != 0))


def main() -> None:
    """Fuzz each reader for its share of the time and take it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="for all readers together")
    parser.add_argument("--only", choices=NAMES, nargs="*", default=NAMES)
    parser.add_argument("--keep", type=Path, help="folder for findings and what was said")
    parser.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    has_guide = find_spec("atheris") is not None
    if options.worker:
        if has_guide:
            guided(options.worker, options.seconds, options.keep)
        with contextlib.redirect_stderr(sys.stdout):
            sys.stdout.write(json.dumps(unguided(options.worker, options.seconds, options.keep)))
        return
    keep = options.keep or Path(tempfile.mkdtemp(prefix="pconv-fuzz-"))
    seconds = max(1, round(60 * options.minutes / len(options.only)))
    guide = "guided by coverage (atheris)" if has_guide else "at random"
    lost_in_all = 0
    for name in options.only:
        how, runs, lost = fuzz(name, seconds, keep)
        sys.stdout.write(f"{name}: {runs} inputs in {seconds} s, {how}\n")
        attempt = Attempt(AREA, f"{name}, {guide}, {seconds} s", how, runs, lost)
        write(f"tests.hostile.fuzz {name}", [attempt])
        lost_in_all += lost
    sys.exit(lost_in_all > 0)


if __name__ == "__main__":
    main()
