"""The content of what ``params.yaml`` names and no stage makes: photographs, masks, weights.

An engine watches the files that it is told of, and a parameter is only a name. So before all stages
the SHA-256 of what the section of a stage names is noted in ``data/named/STAGE.json``, which the
stage depends on: other content makes anew what comes of it, and the content of before brings back
the results of before. Of an address nothing is noted: ``download.icme_train_sha256`` pins that.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pconv.errors import DataError, ParameterError
from pconv.weights_header import opened
from workflow.params import PARAMS_FILE, SECTION_FILES, write_if_changed
from workflow.sections import DownloadParams, EvaluateParams, MasksParams, Section, TrainParams
from workflow.sources.layout import find_images

log = logging.getLogger(__name__)

NAMED = Path("data/named")  # as in dvc.yaml
# What stages make, and folders of results that wait for them; photographs may lie beside them.
MADE = ("data/raw", "data/augmented", "data/masks", "data/evaluation", "models", "checkpoints")
STAGES = ("download", "masks", "train", "evaluate")  # whose sections can name something
_FOR_SNAKEMAKE = "named-"
_SEEN = SECTION_FILES / "seen.json"
_THREADS = 8  # reading waits for the disk
_ADDRESS = re.compile("[a-z]+://", re.IGNORECASE)
_WEIGHTS = ("initial_weights", "features")
_OF_SOURCE = {
    "icme": ("icme_train", "icme_valid"),
    "folder": ("folder_train", "folder_valid", "folder_ec", "folder_or"),
    "sample": (),
}


def named_by(section: Section) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each file and folder that a stage reads by its section."""
    if isinstance(section, DownloadParams):
        for key in _OF_SOURCE[section.source]:
            value = getattr(section, key)
            places = [value] if isinstance(value, str) else value
            yield from ((key, place) for place in places if place and not _ADDRESS.match(place))
    elif isinstance(section, MasksParams):
        if section.folder:
            yield "folder", section.folder
    elif isinstance(section, TrainParams):
        if section.initial_weights:
            yield "initial_weights", section.initial_weights
        if section.perceptual_weight or section.style_weight:
            yield from _features_named_by(section)
    elif isinstance(section, EvaluateParams) and section.vgg_methods and section.vgg_pairs:
        yield from _features_named_by(section)


def refuse_named(stage: str, section: Section) -> None:
    """Refuse what a section names and its stage can't read, or would read its own results from.

    Photographs and masks may be missing: what was made of them may be all that this machine needs.

    Raises:
        ParameterError: If a file of weights is missing or holds another network than the one to be
            trained, or something lies where stages write, or holds such a folder.
        WeightsError: If the weights to begin with are damaged or of another kind.
    """
    for key, name in named_by(section):
        told = f"{PARAMS_FILE}: {stage}.{key}: "
        if key in _WEIGHTS and not Path(name).is_file():
            raise ParameterError(f"{told}there is no file {name}; name one that is there")
        place = Path(name).resolve()
        for made in MADE:
            folder = Path(made).resolve()
            if place.is_relative_to(folder) or folder.is_relative_to(place):
                lies = f"lies in {made}/" if place.is_relative_to(folder) else f"holds {made}/"
                raise ParameterError(
                    f"{told}{name} {lies}, which stages make anew; name a copy elsewhere"
                )
    if isinstance(section, TrainParams) and section.initial_weights:
        _refuse_other_network(section, section.initial_weights)


def noted_content(stage: str) -> dict[str, str]:
    """Return what was noted last of the content of a stage's files and folders, by their paths."""
    content = _read(NAMED / f"{stage}.json").items()
    return {name: digest for name, digest in content if isinstance(digest, str)}


def note_content(stage: str, section: Section) -> None:
    """Note the content of what a section names, in files that are written only if they change.

    What is not here, as on a machine that has the results alone, is taken to be as it was noted or
    seen last; a stage that needs it misses it.
    """
    noted, seen, now = noted_content(stage), _read_seen(), {}
    for key, name in named_by(section):
        if digest := content_digest(Path(name), seen):
            now[name] = digest
            continue
        words = "holds no image" if Path(name).is_dir() else "is not here"
        if last := noted.get(name) or seen.get(name, ["", ""])[1]:
            now[name] = last
            words += "; taken to be as it was"
        log.warning("%s: %s.%s: %s %s", PARAMS_FILE, stage, key, name, words)
    _write(_SEEN, seen)
    _write(NAMED / f"{stage}.json", now)
    _write(SECTION_FILES / f"{_FOR_SNAKEMAKE}{stage}.json", now)


def watched_by_snakemake(path: str) -> str:
    """Return what Snakemake waits for in place of a file of `NAMED`, or any other path as it is.

    DVC gives a file that it brings back from its cache a time of its own, which Snakemake would
    take for that of a change.
    """
    file = Path(path)
    return str(SECTION_FILES / f"{_FOR_SNAKEMAKE}{file.name}") if file.parent == NAMED else path


def refuse_other_content(stage: str, section: Section, noted: Mapping[str, str]) -> None:
    """Refuse to go on where what a section names is not what was noted when the stage began.

    Args:
        stage: The section's name.
        section: What names it.
        noted: What `noted_content` said then.

    Raises:
        DataError: If it is not, or something else is noted by now, which engines record.
    """
    seen, noted_now = _read_seen(), noted_content(stage)
    for key, name in named_by(section):
        then = noted.get(name)
        found = content_digest(Path(name), seen) or then
        if then and not then == found == noted_now.get(name):
            raise DataError(
                f"{name} ({PARAMS_FILE}: {stage}.{key}): its content is not what was noted before "
                "this stage began; `python -m workflow.check` notes it, as `dvc repro` and "
                "Snakemake do when they begin: run one of them again"
            )


def content_digest(place: Path, seen: dict[str, list[str]]) -> str | None:
    """Return a SHA-256 that tells a file, or the images below a folder, from others.

    Names below a folder count, other files do not.

    Args:
        place: The file or folder.
        seen: What was found of each place before, and with which names, sizes and times; files
            are read only if those are others now. Takes in what is found.

    Returns:
        64 hexadecimal digits; None if there is no such file, and no image in the folder.

    Raises:
        OSError: If something in it can't be read.
    """
    if not place.exists():
        return None
    try:
        files = find_images(place, with_links=True) if place.is_dir() else [place]
    except DataError:  # no image
        return None
    listing = hashlib.sha256()
    for file in files:
        facts = file.stat()
        listing.update(_line(file, place, f"{facts.st_size} {facts.st_mtime_ns}"))
    name, facts_now = str(place), listing.hexdigest()
    if name not in seen or seen[name][0] != facts_now:
        log.info("%s: reading its content", place)
        content = hashlib.sha256()
        with ThreadPoolExecutor(_THREADS) as pool:
            for file, digest in zip(files, pool.map(_file_digest, files), strict=True):
                content.update(_line(file, place, digest))
        seen[name] = [facts_now, content.hexdigest()]
    return seen[name][1]


def _refuse_other_network(section: TrainParams, path: str) -> None:
    """Refuse what the training would refuse to begin with, when DVC has deleted the one before."""
    names = ["width", "levels", "centre"]
    if not section.mask_channel:  # else it may be new to the network
        names.append("mask_channel")
    wanted = {"kind": section.kinds[0], **{name: getattr(section, name) for name in names}}
    with opened(path, "np") as (words, _):
        for name, value in wanted.items():
            found = words.get(name, str(value))  # what older files lack, the training knows
            if found != str(value):
                raise ParameterError(
                    f"{PARAMS_FILE}: train.initial_weights: the network in {path} has {name} "
                    f"{found}, the one to be trained {value}; name other weights, or train a "
                    "network like the file's"
                )


def _features_named_by(section: TrainParams | EvaluateParams) -> Iterator[tuple[str, str]]:
    if section.features not in ("imagenet", "random"):
        yield "features", section.features


def _line(file: Path, place: Path, what: str) -> bytes:
    return os.fsencode(f"{file.relative_to(place).as_posix()}\0{what}\n")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_seen() -> dict[str, list[str]]:
    """Return what `content_digest` wants; what is damaged is left out."""
    entries = _read(_SEEN).items()
    return {
        name: found
        for name, found in entries
        if isinstance(found, list) and len(found) == 2 and all(isinstance(f, str) for f in found)
    }


def _read(path: Path) -> dict[str, Any]:
    """Return what a file of this module says; nothing if it is missing, or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_if_changed(path, json.dumps(content, indent=1) + "\n")
