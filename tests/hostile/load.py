"""Load: `pconv fill` over many photographs, and the page under many users; memory over time.

    python -m tests.hostile.load fill --photos 1000
    python -m tests.hostile.load page --users 20 --minutes 5

Each measures the resident memory of the process as it works, writes the curve as a picture, and
fails if something was not answered, or if memory grew between the first quarter of the time, when
all has been loaded, and the last.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import requests
import torch
from PIL import Image

from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.hostile import pictures
from tests.hostile.commands import ROOT
from tests.hostile.record import Attempt, write
from tests.hostile.running_page import running_page

AREA = "Load"
PICTURES = ROOT / "docs/images"
MIB = 1 << 20
EVERY_S = 0.25
GROWTH_MIB = 40  # what an allocator keeps; a leak of one photograph in ten would show as more
SIDES = ((256, 256), (384, 256), (256, 320))
HOLE = 40
PATIENCE_S = 60


@dataclass
class Curve:
    """Resident memory of a process, taken again and again.

    Attributes:
        seconds: When, since the start.
        mib: How much.
    """

    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    def follow(self, process: subprocess.Popen[str], started: float) -> None:
        """Take down the memory of a process until it ends."""
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                self.mib.append(watched.memory_info().rss / MIB)
            except psutil.Error:
                break
            self.seconds.append(time.monotonic() - started)
            time.sleep(EVERY_S)

    @property
    def growth_mib(self) -> float:
        """How much higher the median of the last quarter of the time is than the second's."""
        return statistics.median(self._quarter(3)) - statistics.median(self._quarter(1))

    def _quarter(self, number: int) -> list[float]:
        quarter = max(self.seconds) / 4
        inside = [
            mib
            for second, mib in zip(self.seconds, self.mib, strict=True)
            if number * quarter <= second <= (number + 1) * quarter
        ]
        return inside or self.mib

    def draw(self, path: Path, title: str) -> None:
        """Draw the curve."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
        axes.plot(self.seconds, self.mib, linewidth=1)
        axes.set(xlabel="seconds", ylabel="resident memory, MiB", title=title, ylim=(0, None))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def write_photos(folder: Path, count: int) -> None:
    """Write photographs of three sizes and a mask of each size, in folders of one name each."""
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        height, width = SIDES[number % len(SIDES)]
        photo = Image.fromarray(pictures.smooth(height, width, number))
        photo.save(folder / f"photos/{number:05d}.jpg", quality=90)
        mask = np.ones((height, width), bool)
        top, left = np.random.default_rng(number).integers(0, 200, 2)
        mask[top : top + HOLE, left : left + HOLE] = False
        Image.fromarray(mask).save(folder / f"masks/{number:05d}.png")


def write_network(path: Path) -> Path:
    """Write a network of the sample preset's size; what it fills means nothing."""
    torch.manual_seed(0)
    save_weights(path, PConvUNet(width=16, levels=6), {"size_px": "128"})
    return path


def fill_many(count: int) -> tuple[Curve, float, int]:
    """Run `pconv fill` over so many photographs.

    Returns:
        Memory over time, seconds, and how many photographs were not filled.
    """
    with tempfile.TemporaryDirectory(prefix="pconv-load-") as name:
        folder = Path(name)
        write_photos(folder, count)
        weights = write_network(folder / "network.safetensors")
        command = [sys.executable, "-m", "pconv.cli", "fill", "photos", "--mask", "masks"]
        command += ["-o", "filled", "--weights", str(weights)]
        curve, started = Curve(), time.monotonic()
        with (folder / "said.log").open("w") as said:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(), stdout=said, text=True
            )
            curve.follow(process, started)
        filled = sum(1 for _ in folder.glob("filled/*.png"))
        return curve, time.monotonic() - started, count - filled + int(process.wait() != 0)


@dataclass
class Users:
    """People who open photographs and fill them, one after the other, all at once.

    Attributes:
        url: The page.
        end: When they stop, by the monotonic clock.
        answers: How often each status was answered, by path.
        failures: What should not be.
    """

    url: str
    end: float
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, number: int) -> None:
        """Be one of them until the end."""
        photo = pictures.encoded(pictures.smooth(320, 400, number), "JPEG")
        known = np.ones((320, 400), bool)
        known[100:150, 120:180] = False
        mask = pictures.encoded(known, "PNG")
        methods = ("telea", "pconv", "ns", "patchmatch")
        with requests.Session() as session:
            while time.monotonic() < self.end:
                self._ask(session, "view", {"photo": photo}, {})
                method = methods[number % len(methods)]
                self._ask(session, "fill", {"photo": photo, "mask": mask}, {"method": method})

    def _ask(
        self, session: requests.Session, path: str, files: dict[str, bytes], words: dict[str, str]
    ) -> None:
        """Ask until there is a place; a page that turns people away says when to come again."""
        while time.monotonic() < self.end:
            named = {
                name: (f"{name}.{_ending(name)}", io.BytesIO(data)) for name, data in files.items()
            }
            try:
                answer = session.post(
                    f"{self.url}{path}", files=named, data=words, timeout=PATIENCE_S
                )
            except requests.RequestException as error:
                self._count(f"/{path} no answer", f"{path}: {error}")
                return
            is_right = answer.status_code in (200, 503)
            self._count(f"/{path} {answer.status_code}", "" if is_right else answer.text[:200])
            if answer.status_code != 503:
                return
            time.sleep(min(1.0, float(answer.headers["Retry-After"])))

    def _count(self, answer: str, failure: str) -> None:
        with self._lock:
            self.answers[answer] += 1
            if failure:
                self.failures.append(failure)


def _ending(name: str) -> str:
    return "jpg" if name == "photo" else "png"


def use_page(users: int, seconds: float) -> tuple[Curve, Users]:
    """Start the page and let so many users work with it for so long."""
    with tempfile.TemporaryDirectory(prefix="pconv-load-") as name:
        weights = write_network(Path(name) / "network.safetensors")
        with running_page(Path(name), "--weights", str(weights)) as page:
            started = time.monotonic()
            crowd, curve = Users(f"{page.url}/", started + seconds), Curve()
            threads = [threading.Thread(target=crowd.work, args=[n]) for n in range(users)]
            threads.append(threading.Thread(target=curve.follow, args=[page.process, started]))
            for thread in threads:
                thread.start()
            for thread in threads[:-1]:
                thread.join()
        threads[-1].join()
    return curve, crowd


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def _memory(curve: Curve) -> str:
    most, growth = max(curve.mib), curve.growth_mib
    return f"memory at most {most:.0f} MiB, {growth:+.0f} MiB from second to last quarter"


def _load() -> str:
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}"


def _fill(options: argparse.Namespace) -> Attempt:
    curve, seconds, lost = fill_many(options.photos)
    curve.draw(options.pictures / "load_fill.png", f"pconv fill, {options.photos} photographs")
    text = f"{options.photos / seconds:.1f} photographs a second ({_load()}); {_memory(curve)}"
    lost += curve.growth_mib > GROWTH_MIB
    return Attempt(
        AREA, f"`pconv fill` over {options.photos} photographs", text, options.photos, lost
    )


def _page(options: argparse.Namespace) -> Attempt:
    curve, crowd = use_page(options.users, 60 * options.minutes)
    curve.draw(options.pictures / "load_page.png", f"the page, {options.users} users at once")
    done = crowd.answers["/fill 200"]
    waited = sum(count for answer, count in crowd.answers.items() if answer.endswith("503"))
    text = (
        f"{done} fills, {done / (60 * options.minutes):.1f} a second ({_load()}), {waited} times "
        f"asked to wait, {len(crowd.failures)} failures; {_memory(curve)}"
    )
    lost = len(crowd.failures) + (curve.growth_mib > GROWTH_MIB)
    tried = f"the page, {options.users} users for {options.minutes:g} minutes"
    return Attempt(AREA, tried, text, sum(crowd.answers.values()), lost)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the two and take it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder for the curves")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("fill").add_argument("--photos", type=int, default=1000)
    page = what.add_parser("page")
    page.add_argument("--users", type=int, default=20)
    page.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args(arguments)
    attempt = _fill(options) if options.what == "fill" else _page(options)
    write(f"tests.hostile.load {options.what}", [attempt])
    sys.stdout.write(f"{attempt.tried}: {attempt.happened}\n")
    sys.exit(attempt.lost > 0)


if __name__ == "__main__":
    main()
