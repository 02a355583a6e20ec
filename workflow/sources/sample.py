"""The photographs that ship inside the installed scikit-image and scikit-learn packages.

Chosen by eye: colour photographs with something to inpaint, in two halves that share no scene.
The two motorcycle pictures are one scene from two places, so both are for training. The colour
wheel and the logo are drawings, the rest of scikit-image's colour files are fetched on demand
and not in the package.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pconv.errors import DataError
from workflow.sources.found import Found, Photo

_CC0 = "CC0-1.0"
_CC_BY_2 = "CC-BY-2.0"
_PUBLIC_DOMAIN = "public domain"
_MIDDLEBURY = "Middlebury 2014 stereo data, no licence stated; cite Scharstein et al., GCPR 2014"


@dataclass(frozen=True)
class _Embedded:
    package: str
    path: str
    author: str
    licence: str  # as the package's own documentation of the file says


_TRAIN = (
    _Embedded("skimage", "data/astronaut.png", "NASA", _PUBLIC_DOMAIN),
    _Embedded("sklearn", "datasets/images/china.jpg", "danielbuechele", _CC_BY_2),
    _Embedded("skimage", "data/hubble_deep_field.jpg", "NASA and ESA", _PUBLIC_DOMAIN),
    _Embedded("skimage", "data/ihc.png", "CMMI", "no known copyright restrictions"),
    _Embedded("skimage", "data/motorcycle_left.png", "Nesic et al.", _MIDDLEBURY),
    _Embedded("skimage", "data/motorcycle_right.png", "Nesic et al.", _MIDDLEBURY),
    _Embedded("skimage", "data/retina.jpg", "Mikael Häggström", _CC0),
    _Embedded("skimage", "data/rocket.jpg", "SpaceX", _PUBLIC_DOMAIN),
)
_VALID = (
    _Embedded("skimage", "data/chelsea.png", "Stefan van der Walt", _CC0),
    _Embedded("skimage", "data/coffee.png", "Rachel Michetti", _CC0),
    _Embedded("sklearn", "datasets/images/flower.jpg", "vultilion", _CC_BY_2),
)


def embedded_photographs() -> Found:
    """Return the embedded photographs, for training and for validation; they have no masks.

    Raises:
        DataError: If a package or one of its photographs is not installed.
    """
    return Found([_photo(one) for one in _TRAIN], [_photo(one) for one in _VALID], {})


def _photo(embedded: _Embedded) -> Photo:
    file = _package_folder(embedded.package) / embedded.path
    if not file.is_file():
        raise DataError(
            f"{file}: not found; this version of {embedded.package} does not ship it: install "
            "the versions of requirements.lock, or set download.source to folder"
        )
    source = f"{embedded.package}/{embedded.path} by {embedded.author}"
    return Photo(file, file.stem, source, embedded.licence)


def _package_folder(package: str) -> Path:
    # Found without importing it: both packages take a second to import.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"the package {package} is not installed; download.source sample takes photographs "
            "from it: install requirements.lock"
        )
    return Path(spec.origin).parent
