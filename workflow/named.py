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
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pconv.errors import DataError, ParameterError
from workflow.params import MODELS, PARAMS_FILE, SECTION_FILES, write_if_changed
from workflow.sections import DownloadParams, EvaluateParams, MasksParams, Section, TrainParams
from workflow.sources.layout import find_images

log = logging.getLogger(__name__)

NAMED = Path("data/named")  # as in dvc.yaml
STAGES = ("download", "masks", "train", "evaluate")  # whose sections can name something
_SEEN = SECTION_FILES / "seen.json"
_THREADS = 8  # reading waits for the disk
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
            yield from ((key, place) for place in places if place)
    elif isinstance(section, MasksParams) and section.folder:
        yield "folder", section.folder
    yield from _weights_named_by(section)


def refuse_weights(stage: str, section: Section, known: Container[str] = ()) -> None:
    """Refuse a file of weights that a section names and the stage could not read.

    Args:
        stage: The section's name.
        section: What names them.
        known: Files that may be missing.

    Raises:
        ParameterError: If a file is missing, or lies where the stage train writes.
    """
    for key, name in _weights_named_by(section):
        if not Path(name).is_file() and name not in known:
            raise ParameterError(
                f"{PARAMS_FILE}: {stage}.{key}: there is no file {name}; name one that is there"
            )
        if Path(name).resolve().is_relative_to(MODELS.resolve()):
            raise ParameterError(
                f"{PARAMS_FILE}: {stage}.{key}: {name} lies in {MODELS}/, which the stage train "
                "replaces; name a copy of it elsewhere"
            )


def noted_content(stage: str) -> dict[str, str]:
    """Return what was noted last of the content of a stage's files and folders, by their paths."""
    return _read(NAMED / f"{stage}.json")


def note_content(stage: str, section: Section) -> None:
    """Note the content of what a section names, in a file that is written only if it changes.

    What is not here, as on a machine that has the results alone, is taken to be as it was noted
    last; a stage that needs it misses it.
    """
    noted, seen, now = noted_content(stage), _read(_SEEN), {}
    for key, name in named_by(section):
        if digest := content_digest(Path(name), seen):
            now[name] = digest
        elif name in noted:
            now[name] = noted[name]
            log.warning(
                "%s: %s.%s: %s is not here; taken to be as it was", PARAMS_FILE, stage, key, name
            )
    _write(_SEEN, seen)
    _write(NAMED / f"{stage}.json", now)


def refuse_other_content(stage: str, section: Section, noted: Mapping[str, str]) -> None:
    """Refuse to go on where what a section names is not what was noted when the run began.

    Args:
        stage: The section's name.
        section: What names it.
        noted: What `noted_content` said then.

    Raises:
        DataError: If it is not.
    """
    seen = _read(_SEEN)
    for key, name in named_by(section):
        if name in noted and content_digest(Path(name), seen) not in (noted[name], None):
            raise DataError(
                f"{name}: changed since this run began ({PARAMS_FILE}: {stage}.{key}); run it again"
            )


def content_digest(place: Path, seen: dict[str, list[str]]) -> str | None:
    """Return the SHA-256 of a file, or of the names and contents of the images below a folder.

    Args:
        place: The file or folder.
        seen: What was found of each place before, and with which names, sizes and times; files
            are read only if those are others now. Takes in what is found.

    Returns:
        64 hexadecimal digits; None if there is no such file, and no image in the folder.
    """
    try:
        files = find_images(place, with_links=True) if place.is_dir() else [place]
        listing = hashlib.sha256()
        for file in files:
            facts = file.stat()
            listing.update(_line(file, place, f"{facts.st_size} {facts.st_mtime_ns}"))
    except (DataError, FileNotFoundError):
        return None
    name, facts_now = str(place), listing.hexdigest()
    if name not in seen or seen[name][0] != facts_now:
        log.info("%s: reading its content", place)
        content = hashlib.sha256()
        with ThreadPoolExecutor(_THREADS) as pool:
            for file, digest in zip(files, pool.map(_file_digest, files), strict=True):
                content.update(_line(file, place, digest))
        seen[name] = [facts_now, content.hexdigest()]
    return seen[name][1]


def _weights_named_by(section: Section) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each file of weights that a stage reads by its section."""
    if isinstance(section, TrainParams):
        reads_features = bool(section.perceptual_weight or section.style_weight)
        if section.initial_weights:
            yield "initial_weights", section.initial_weights
    elif isinstance(section, EvaluateParams):
        reads_features = bool(section.vgg_methods and section.vgg_pairs)
    else:
        return
    if reads_features and section.features not in ("imagenet", "random"):
        yield "features", section.features


def _line(file: Path, place: Path, what: str) -> bytes:
    return os.fsencode(f"{file.relative_to(place).as_posix()}\0{what}\n")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Return what a file of this module says; nothing if it is missing, or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_if_changed(path, json.dumps(content, indent=1) + "\n")
