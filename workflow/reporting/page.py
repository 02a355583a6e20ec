"""The report as one self-contained page: pictures inside, no network, no date."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pconv.atomic import atomic_file
from pconv.errors import ImageError
from pconv.images import Pixels, read_image
from workflow.reporting.examples import Example
from workflow.reporting.names import NETWORK_LABELS
from workflow.reporting.tables import Table

TEMPLATE = Path(__file__).with_name("page.html.j2")
_FIGURE_QUALITY, _LOSSLESS = 90, 101  # OpenCV: over 100 is lossless
MLFLOW_PAGE = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Shown:
    """A figure of the page: its title, its caption, and the picture as a data address."""

    title: str
    caption: str
    source: str

    @classmethod
    def of(cls, path: Path, title: str, caption: str) -> "Shown":
        """Read a PNG file; a page of PNG files would be five times as large."""
        return cls(title, caption, _address(read_image(path), _FIGURE_QUALITY))


@dataclass(frozen=True)
class Wipe:
    """A pair for the slider: its name and its layers, name and data address each."""

    name: str
    layers: list[tuple[str, str]]

    @classmethod
    def of(cls, example: Example, labels: dict[str, str]) -> "Wipe":
        """Take the pixels of an example as they are."""
        pair = example.pair
        pictures = {
            "Damaged": example.damaged,
            **{labels[method]: filled for method, filled in example.fills.items()},
            "Truth": example.truth,
        }
        layers = [(name, _address(picture, _LOSSLESS)) for name, picture in pictures.items()]
        return cls(f"{pair.id} ({pair.kind}, {100 * pair.hole_share:.0f} % hole)", layers)


@dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes:
        lead: Sentences at the top.
        features: Which VGG features the perceptual and style terms were taken with.
        intervals: What the numbers in brackets are.
        hero: The picture at the top.
        wipes: Pairs for the slider.
        tables: The tables of the groups, methods as rows; the first is open.
        shares: The tables by hole share.
        comparisons: The paired comparison by group; none if no network was measured.
        figures: The other figures.
        fingerprint: Of the run that trained the network; finds it in MLflow.
        facts: Tables of names and values: parameters, versions, hardware, hashes.
    """

    lead: list[str]
    features: str
    intervals: str
    hero: Shown
    wipes: list[Wipe]
    tables: list[Table]
    shares: list[Table]
    comparisons: list[Table]
    figures: list[Shown]
    fingerprint: str
    facts: dict[str, dict[str, str]]


def write_page(path: Path, content: Content) -> None:
    """Write the page, whole or not at all."""
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(TEMPLATE.name)
    text = template.render(
        page=content, mlflow=MLFLOW_PAGE, first_layer=_first_layer(content.wipes)
    )
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _first_layer(wipes: Sequence[Wipe]) -> int:
    """Return which layer stands on the right at first: the last fill of the first network."""
    names = [name for name, _ in wipes[0].layers] if wipes else []
    for network in NETWORK_LABELS.values():
        if fills := [number for number, name in enumerate(names) if name.startswith(network)]:
            return fills[-1]
    return len(names) - 1


def _address(picture: Pixels, quality: int) -> str:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ImageError(f"OpenCV could not encode {picture.shape} pixels as WebP")
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
