r"""Make the report of a run from what was brought back.

    python -m benchmarks.paper_scale.collect --packed packed/ --work /tmp/collected \
        --out reports/paper-scale/ FILE...

FILE is everything `benchmarks.paper_scale.bring` left: archives of results, of one machine or of
several, and parts of weights. Where no measured pairs were brought back, they are measured here,
with the weights that were. The report stage runs in ``--work``, where its whole page stays and from
where ``python -m workflow.tracking sync`` replays the logs to MLflow; only small files go out.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from PIL import Image

from benchmarks.paper_scale.bring import ARCHIVE, MACHINE
from benchmarks.paper_scale.run import TIMES, read_lines, run_stages, set_up
from pconv.atomic import atomic_file, atomic_folder
from pconv.errors import DataError, ParameterError
from pconv.losses import LossWeights
from workflow.command import run_command
from workflow.networks import network_file
from workflow.params import read_params
from workflow.reporting.brief import KINDS_LEGEND, hole_psnr_table
from workflow.sections import Params, TrainParams
from workflow.sources.archives import Limits, unpack

TITLE = "A run at the paper's scale"
GATHERED = "gathered.json"
_PART = re.compile(r"(?P<method>[a-z]+-[a-z]+)\.safetensors\.\d{3}")
_COMPARED = ("augment", "masks", "sample", "train")  # what `evaluate` measured, its rows say
_OWN = ("train", "kinds")  # differs where each network was trained in a run of its own
_TEXTS = ("table.md", "table.csv", "metrics.json", "curves.csv")
_WEBP_QUALITY = 85
_LIMITS = Limits(max_files=10_000, max_bytes=2**30, max_file_bytes=2**28)  # of one run's results
_DAY_S = 86400.0


@dataclass(frozen=True)
class Run:
    """What one archive of results says of its run.

    Attributes:
        name: Its networks.
        params: Its numbers.
        machine: Hardware and versions.
        stages: A line for every slice of a stage: stage, seconds, status.
        timings: By network, a line for every epoch.
    """

    name: str
    params: Params
    machine: dict[str, str]
    stages: list[dict[str, float]]
    timings: dict[str, list[dict[str, float]]]


def collect(
    files: Sequence[Path],
    packed: Path,
    work: Path,
    out: Path,
    *,
    title: str = TITLE,
    commands: Sequence[str] = (),
    notes: Sequence[str] = (),
    pictures: Sequence[str] = ("*",),
    changes: Sequence[str] = (),
) -> None:
    """Gather what was brought back, measure what is not measured yet, and make the report.

    Args:
        files: What `benchmarks.paper_scale.bring` left.
        packed: What `benchmarks.paper_scale.pack` left.
        work: Folder to run the stages in.
        out: Folder for the small files.
        title: Of the page.
        commands: How it was made, for the page.
        notes: What a reader must know of the run, for the page.
        pictures: Names or patterns of the report's pictures that go out; some show photographs,
            whose licences may not allow it.
        changes: As in `benchmarks.paper_scale.run.set_up`.

    Raises:
        DataError: If a file is none of ours, two runs left the same thing, a stage failed, or
            ``work`` was made from other files.
        ParameterError: If a change names no parameter, or ``work`` or a run is of other settings.
    """
    set_up(packed, work, changes)
    note = work / GATHERED
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    if note.is_file() and json.loads(note.read_text()) != digests:
        raise DataError(f"{work}: made from other files; give another --work, or delete it")
    # What an earlier call gathered is gathered anew; what it measured is kept.
    for folder in (work / "runs", work / "models", *_brought_pairs(work)):
        shutil.rmtree(folder, ignore_errors=True)
    runs = gather(files, work)
    told = read_params(work / "params.yaml")
    for run in runs:
        check_settings(run, told)
    with atomic_file(note) as partial:
        partial.write_text(json.dumps(digests, indent=1) + "\n")
    measure = [] if _brought_pairs(work) else ["evaluate"]
    run_stages(work, ["augment", "masks", *measure, "report"], _DAY_S, None)
    write_out(work, out, pictures, _page(work, title, runs, commands, notes))


def gather(files: Iterable[Path], work: Path) -> list[Run]:
    """Lay what was brought back where the report stage reads it; return what each run says.

    Raises:
        DataError: If a file is none of ours, or two runs left the same thing.
        ArchiveError: If an archive is damaged, or could write elsewhere.
    """
    parts: dict[str, list[Path]] = defaultdict(list)
    runs = []
    for file in sorted(files):
        if match := _PART.fullmatch(file.name):
            parts[match["method"]].append(file)
        elif file.name.endswith(".tar.gz"):
            runs.append(_unpack(file, work))
        else:
            raise DataError(f"{file}: wanted results-*.tar.gz or *.safetensors.NNN from bring")
    for method, found in parts.items():
        target = network_file(method, work / "models")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as partial:
            partial.write_bytes(b"".join(part.read_bytes() for part in found))
    return runs


def _unpack(archive: Path, work: Path) -> Run:
    """Unpack one run; its shards get its name, so that those of several lie side by side."""
    name = archive.name.removesuffix(".tar.gz")
    inside = work / "runs" / name
    with atomic_folder(inside) as folder:
        unpack(archive, folder, _LIMITS)
    measured = {row for shard in _brought_pairs(work) for row in _rows(shard / "pairs.csv")}
    for table in sorted(inside.glob("data/evaluation/*/pairs.csv")):
        target = work / "data/evaluation" / f"{name}-{table.parent.name}" / table.name
        _move(table, target)
        _leave_out(target, measured)
    for file in sorted(inside.glob("models/*/*")):  # logs, and what weights say of themselves
        _move(file, work / "models" / file.parent.name / file.name)
    timings = {
        path.parent.name: read_lines(path)
        for path in sorted(inside.glob("checkpoints/*/timing.jsonl"))
    }
    return Run(
        name.removeprefix(ARCHIVE),
        read_params(inside / "params.yaml"),
        json.loads((inside / MACHINE).read_text()),
        read_lines(inside / TIMES),
        timings,
    )


def _move(source: Path, target: Path) -> None:
    if target.exists():
        raise DataError(f"{target}: two runs left it; bring each network from one run only")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _leave_out(table: Path, measured: set[str]) -> None:
    """Leave out rows that another run measured alike: the methods that neither of them trained."""
    header, *rows = table.read_text().splitlines()
    kept = [header, *(row for row in rows if row not in measured)]
    table.write_text("".join(f"{line}\n" for line in kept))


def _rows(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]


def check_settings(run: Run, told: Params) -> None:
    """Check that a run's data and training had the numbers that the report will name.

    Raises:
        ParameterError: If one differs.
    """
    ran, here = (params.model_dump(mode="json") for params in (run.params, told))
    changes = [
        f"--set {section}.{key}={json.dumps(value)}"
        for section in _COMPARED
        for key, value in ran[section].items()
        if value != here[section][key] and (section, key) != _OWN
    ]
    if changes:
        raise ParameterError(
            f"{ARCHIVE}{run.name}: made with other numbers than the report would name; give "
            f"{' '.join(changes)}, and another --work"
        )


def write_out(work: Path, out: Path, pictures: Sequence[str], page: str) -> None:
    """Copy tables and pictures, small, with a page that says how they were made."""
    reports = work / "reports"
    with atomic_folder(out) as folder:
        for name in _TEXTS:
            shutil.copyfile(reports / name, folder / name)
        shutil.copyfile(work / "params.yaml", folder / "params.yaml")
        found = {path for one in pictures for path in (reports / "figures").glob(f"{one}.png")}
        shown = []
        for picture in sorted(found):
            target = folder / f"{picture.stem}.webp"
            Image.open(picture).convert("RGB").save(target, quality=_WEBP_QUALITY)
            shown.append(f"![{picture.stem}]({target.name})")
        (folder / "README.md").write_text("\n\n".join([page, *shown]) + "\n")


def _page(
    work: Path, title: str, runs: list[Run], commands: Sequence[str], notes: Sequence[str]
) -> str:
    params = read_params(work / "params.yaml")
    brief = hole_psnr_table(work / "reports/metrics.json", work / "models")
    parts = [
        f"# {title}",
        f"{params.augment.images} training images of {params.augment.size_px} px and "
        f"{params.masks.train} masks, {params.train.epochs} epochs in batches of "
        f"{params.train.batch_size}. {_losses(params.train)} Every number is in `params.yaml`; "
        "`table.md` has all metrics, `curves.csv` the losses by epoch.",
        *notes,
        brief,
        KINDS_LEGEND,
        "## How long it took",
        *[_times(run) for run in runs],
        "## The commands",
        "```\n" + "\n".join(commands) + "\n```",
        "`benchmarks/paper_scale/README.md` says what each needs. Training photographs were "
        "re-encoded to be carried; validation photographs were not. Pictures come from the "
        f"weights in half precision, the numbers from {_measured_weights(work)}.",
        "## Pictures",
    ]
    return "\n\n".join(parts)


def _losses(params: TrainParams) -> str:
    weights = {term.name: getattr(params, f"{term.name}_weight") for term in fields(LossWeights)}
    used = ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)
    has_vgg = weights["perceptual"] or weights["style"]
    return f"Losses: {used}{f'; VGG features: {params.features}' if has_vgg else ''}."


def _measured_weights(work: Path) -> str:
    return "the weights as trained" if _brought_pairs(work) else "the same"


def _brought_pairs(work: Path) -> list[Path]:
    return list(work.glob(f"data/evaluation/{ARCHIVE}*"))


def _times(run: Run) -> str:
    """Say on what a run ran, and how long its stages and its epochs took."""
    stages: dict[str, float] = defaultdict(float)
    for line in run.stages:
        stages[str(line["stage"])] += line["seconds"]
    about = ", ".join(run.machine[key] for key in ("GPU", "Processor") if key in run.machine)
    lines = [f"{run.name}, on {about}, torch {run.machine['torch']}:", ""]
    lines += [f"- stage {name}: {seconds:.0f} s" for name, seconds in stages.items()]
    for kind, lines_of_epochs in run.timings.items():
        # A run that is killed goes on from its checkpoint and has some epochs twice.
        epochs = list({line["epoch"]: line for line in lines_of_epochs}.values())
        seconds = sum(epoch["seconds"] for epoch in epochs)
        rate = statistics.median(epoch["images_per_s"] for epoch in epochs)
        waits = sum(epoch["wait_share"] * epoch["seconds"] for epoch in epochs) / seconds
        lines.append(
            f"- {kind}: {len(epochs)} epochs, {seconds / 60:.1f} minutes without start, validation "
            f"and checkpoints; median {rate:.0f} images/s; {100 * waits:.2f} % of the time waiting "
            "for data"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run the report and copy it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="what bring left")
    parser.add_argument("--packed", type=Path, required=True, help="what pack left")
    parser.add_argument("--work", type=Path, required=True, help="folder to run the report in")
    parser.add_argument("--out", type=Path, required=True, help="folder for the small files")
    parser.add_argument("--title", default=TITLE, help="of the page")
    parser.add_argument("--command", action="append", default=[], help="a command, for the page")
    parser.add_argument("--note", action="append", default=[], help="a paragraph, for the page")
    parser.add_argument(
        "--pictures", nargs="+", default=["*"], help="those of the report that go out"
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    collect(
        args.files,
        args.packed,
        args.work,
        args.out,
        title=args.title,
        commands=args.command,
        notes=args.note,
        pictures=args.pictures,
        changes=args.set,
    )


if __name__ == "__main__":
    run_command(main)
