"""What every source hands over: photographs and masks as they were found, untouched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow.sources.account import Rejected


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph as it was found.

    Attributes:
        file: Where it lies now.
        name: What it shall be called, without folder and suffix; the ID of a validation photo.
        source: Where it came from, for the manifest; never a path of this machine.
        licence: What is known of its licence.
    """

    file: Path
    name: str
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class FoundMask:
    """A mask as it was found, with the ID of its photo and its own number (any text)."""

    file: Path
    photo: str
    number: str
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class Found:
    """All that a source has.

    Attributes:
        train: Photographs to train on.
        valid: Photographs to measure on.
        masks: By kind (ec, or), where it has any of that kind.
        rejected: What it names and can't hand over.
    """

    train: Sequence[Photo]
    valid: Sequence[Photo]
    masks: Mapping[str, Sequence[FoundMask]]
    rejected: Sequence[Rejected] = ()
