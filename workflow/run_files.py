"""What files say of a training, for `workflow.tracking`: parameters, curves, score and data."""

import getpass
import hashlib
import json
import logging
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pconv.errors import DataError, PConvError
from pconv.weights_header import read_about
from workflow.code import is_code
from workflow.dvc_hash import dvc_hash
from workflow.dvc_record import DVC_RECORD, is_there, recorded_section, recorded_stages
from workflow.graph import DVC_FILE, load_stages
from workflow.networks import NETWORKS
from workflow.params import read_params
from workflow.sections import Params, TrainParams

log = logging.getLogger(__name__)

SCORE = "valid_hole_psnr"  # of the held-out pairs, dB
SCORED_ON = "valid_pairs.md5"  # those pairs
LOSS_WEIGHT = "weight_"  # begins the names of the losses' weights in a header

_WEIGHTS, _LOG = "last.safetensors", "log.jsonl"
# Tags by which a run says who made its report, and what `provenance` calls each.
_MAKER = {
    "report.user": "mlflow.user",
    "report.git.commit": "mlflow.source.git.commit",
    "report.git.dirty": "git.dirty",
    "report.dvc.lock.sha256": "dvc.lock.sha256",
}
MAKER = tuple(_MAKER)
_HELD_OUT = (Path("data/raw/valid/gt"), Path("data/masks/held_out"))


@dataclass(frozen=True)
class Training:
    """What is known of a training when it begins.

    Attributes:
        about: Its plan, as it will stand in the header of the weights.
        fingerprint: Of plan and data.
    """

    about: Mapping[str, str]
    fingerprint: str

    @property
    def kind(self) -> str:
        """Which network."""
        return self.about.get("kind", "pconv")

    @cached_property
    def params(self) -> Params | None:
        """All that it was made with, or None where that is not known any more."""
        try:
            params = self._find_params()
        except (PConvError, ValidationError):
            return None
        train, plan = params.train.model_dump(mode="json"), self._plan()
        return params if all(str(train[key]) == plan[key] for key in plan) else None

    def params_tree(self) -> dict[str, Any]:
        """Return the sections of ``params.yaml``, or else what the plan says of ``train``."""
        return self.params.model_dump(mode="json") if self.params else {"train": self._plan()}

    def _find_params(self) -> Params:
        """Return ``params.yaml``, which a training that begins has just read."""
        return read_params()

    def _plan(self) -> dict[str, str]:
        """Return the words of the plan under their names in ``params.yaml``."""
        named = {
            f"{key.removeprefix(LOSS_WEIGHT)}_weight" if key.startswith(LOSS_WEIGHT) else key: word
            for key, word in self.about.items()
        }
        return {key: named[key] for key in TrainParams.model_fields if key in named}


@dataclass(frozen=True)
class Trained(Training):
    """A finished training.

    Attributes:
        folder: ``models/KIND``.
        records: What its log says of each epoch.
    """

    folder: Path
    records: list[dict[str, float | None]]

    def _find_params(self) -> Params:
        """Return ``params.yaml`` as it was, where it has been edited since and DVC knows."""
        now = read_params().model_dump(mode="json")
        return Params.model_validate(now | _recorded_sections(now))

    @property
    def weights(self) -> Path:
        """The file of its last weights."""
        return self.folder / _WEIGHTS

    @property
    def log(self) -> Path:
        """The file of its curves."""
        return self.folder / _LOG

    @property
    def model_name(self) -> str:
        """What the weights are registered as: one name for what can be compared."""
        source = [self.params.download.source] if self.params else []
        return "-".join([self.kind, *source, f"{self.about.get('size_px', '')}px"])

    def scores(self) -> dict[str, str]:
        """Return the last score of the held-out pairs and the MD5 of those, where known."""
        found = [record[SCORE] for record in self.records if record.get(SCORE) is not None]
        is_there = all(path.is_dir() for path in _HELD_OUT)
        pairs = [dvc_hash(path) for path in _HELD_OUT] if is_there else []
        digest = hashlib.md5(" ".join(pairs).encode(), usedforsecurity=False).hexdigest()
        return {SCORED_ON: digest} | ({SCORE: str(found[-1])} if found else {})


def finished_trainings(models: Path) -> list[Trained]:
    """Read the trainings in a folder, that of the partial convolutions first.

    Raises:
        DataError: If there is none, or one is damaged.
    """
    folders = [models / kind for kind in NETWORKS]
    found = [_read(folder) for folder in folders if (folder / _WEIGHTS).is_file()]
    if not found:
        raise DataError(f"{models}: nothing finished to log; `dvc repro` makes it")
    return found


def data_of(stage: str, *, made: bool = False) -> list[Path]:
    """Return what there is of the data that a stage of ``dvc.yaml`` reads, or makes."""
    if not DVC_FILE.is_file():
        return []
    paths = [
        Path(path)
        for entry in load_stages()
        if entry.name == stage
        for path in (entry.outputs if made else entry.inputs)
        if not is_code(path)
    ]
    return [path for path in paths if path.exists()]


def is_report_of_data(page: Path) -> bool:
    """Return whether a report is of the data and the networks that lie here; its page names them.

    It is not where a stage before it ran again and the report has yet to; a warning tells.
    """
    is_of_data = is_report_of(page, data_of("report"))
    if not is_of_data:
        log.warning(
            "%s is not of the data and the networks that lie here, and is not sent; `dvc repro` "
            "makes one that is",
            page,
        )
    return is_of_data


def is_report_of(page: Path, data: Iterable[Path]) -> bool:
    """Return whether a report's page names the MD5 of each of these files and folders."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return all(dvc_hash(path) in text for path in data)


def data_set(path: Path) -> dict[str, str]:
    """Return a file or folder as MLflow describes a data set, with the MD5 that DVC records."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    profile = {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}
    return {
        "name": path.as_posix(),
        "digest": dvc_hash(path),
        "source_type": "local",
        "source": json.dumps({"uri": path.as_posix()}),
        "profile": json.dumps(profile),
    }


def is_better(version: Any, best: Any) -> bool:
    """Return whether a model version is known to be better than the best so far.

    Only scores on the same held-out pairs are compared; a warning tells where they are others.
    """
    if SCORE not in version.tags or version.version == best.version:
        return False
    if version.tags.get(SCORED_ON) != best.tags.get(SCORED_ON):
        log.warning(
            "%s: version %s was measured on other held-out pairs than version %s, which is called "
            "the best; it stays so until you move the alias",
            *(version.name, version.version, best.version),
        )
        return False
    return float(version.tags[SCORE]) > float(best.tags.get(SCORE, "-inf"))


def provenance() -> dict[str, str]:
    """Return who trains, and where the code and the data stand."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        except OSError:  # a container has no git
            return ""
        return done.stdout.strip()

    # Not the record: between two stages DVC writes it, and its hash is a tag of its own.
    code = [":/", f":(exclude){DVC_RECORD}"]
    record = DVC_RECORD.read_bytes() if DVC_RECORD.is_file() else None
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": "workflow/stages/train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git("rev-parse", "--verify", "--quiet", "HEAD") or "unknown",
        "git.dirty": str(
            bool(git("status", "--porcelain", "--untracked-files=no", "--", *code))
        ).lower(),
    } | ({"dvc.lock.sha256": sha256(record)} if record else {})


def report_provenance() -> dict[str, str]:
    """Return who makes a report, and where the code and the data stand.

    Its tags are not those of the training, which may be another person's, with other code.
    """
    found = provenance()
    return {tag: found[key] for tag, key in _MAKER.items() if key in found}


def _recorded_sections(now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections, where they differ from now, with which DVC made what lies here.

    They count where a stage's outputs are those that ``dvc.lock`` records. Where they are not,
    another engine made them since, and the sections are taken to be as they are now.
    """
    recorded = {
        name: (recorded_section(stage, name), stage.get("outs", []))
        for name, stage in (recorded_stages() or {}).items()
    }
    return {
        name: section
        for name, (section, outputs) in recorded.items()
        if section is not None and section != now.get(name) and is_there(outputs)
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has a number only
        return "unknown"


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _read(folder: Path) -> Trained:
    about = read_about(folder / _WEIGHTS)
    if "fingerprint" not in about:
        raise DataError(f"{folder / _WEIGHTS}: names no fingerprint; the stage train writes one")
    try:
        lines = (folder / _LOG).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / _LOG}: not readable ({error}); run the stage train") from error
    return Trained(about, about["fingerprint"], folder, records)
