"""Figure 4 as it is built here, printed: ``python -m pconv.figure4``."""

import torch

from pconv.rows import Row
from pconv.unet import PConvUNet

_HEADING = (
    "Module",
    "Kernel",
    "Filters",
    "Stride/up",
    "BatchNorm",
    "Nonlinearity",
    "Output",
    "Mask",
)


def describe(width: int = 64, levels: int = 8, side: int = 256) -> list[tuple[str, ...]]:
    """Return Figure 4 as text, with the shapes that a square image gives.

    Args:
        width: Filters of the first row.
        levels: Rows of the encoder.
        side: Height and width of the image, a multiple of 2^levels.

    Returns:
        A heading and the rows: name, kernel, filters, stride or up factor, batch norm,
        nonlinearity, shape of the features, shape of the mask.
    """
    with torch.device("meta"):  # no weights: their shapes are enough
        model = PConvUNet(width=width, levels=levels)
    windows = model.windows(torch.ones(1, 1, side, side))
    lines: list[tuple[str, ...]] = [_HEADING]
    low = 0
    for number, (layer, seen) in enumerate(zip(model.layers(), windows, strict=True)):
        size = seen.known.shape[2]
        if number >= levels:
            step, partner = number - levels + 1, 2 * levels - number - 1
            found, skip = layer.conv.in_channels - low, f"PConv{partner}" if partner else "Input"
            up = (f"NearestUpSample{step}", "", f"{low}", "2", "-", "-")
            concat = (f"Concat{step}(w/ {skip})", "", f"{low}+{found}", "", "-", "-")
            lines += [(*up, *_shapes(low, size)), (*concat, *_shapes(low + found, size, masks=2))]
        lines.append((*_row_as_text(layer.row), *_shapes(layer.row.filters, size)))
        low = layer.row.filters
    return lines


def _row_as_text(row: Row) -> tuple[str, ...]:
    """Return a row's columns as Figure 4 prints them."""
    kernel, norm = _by(row.kernel, row.kernel), "Y" if row.norm else "-"
    nonlinearity = {None: "-", 0.0: "ReLU"}.get(row.slope, f"LeakyReLU({row.slope})")
    return row.name, kernel, f"{row.filters}", f"{row.stride}", norm, nonlinearity


def _shapes(channels: int, side: int, masks: int = 1) -> tuple[str, str]:
    """Return the shapes of features and mask as text."""
    return _by(channels, side, side), _by(masks, side, side)


def _by(*sizes: int) -> str:
    return "×".join(map(str, sizes))  # noqa: RUF001  # as the paper writes sizes


def main() -> None:
    """Print Figure 4 as it is built here, as a Markdown table."""
    lines = describe()
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADING))]
    lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        print("| " + " | ".join(f"{text:{w}}" for text, w in zip(line, widths, strict=True)) + " |")
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in PConvUNet().parameters())
    print(
        f"\n{count / 1e6:.2f} million trainable parameters; rows with batch norm have no other bias"
    )


if __name__ == "__main__":
    main()
