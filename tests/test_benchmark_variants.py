import argparse
import re

import numpy as np
import pytest

from benchmarks.record import read_record
from benchmarks.variants import HEADING, main, variant
from pconv.images import write_image, write_mask
from pconv.unet import PConvUNet

SIZE = 32


@pytest.fixture
def data(tmp_path):
    """The folders that the stages leave, with eight images and twelve masks in them."""
    rng = np.random.default_rng(0)
    for number in range(12):
        for kind in ("train", "held_out"):
            mask = rng.random((SIZE, SIZE)) < 0.7
            write_mask(tmp_path / f"masks/{kind}/0000/{number:06d}.png", mask)
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        write_image(tmp_path / f"augmented/000{number % 2}/{number:06d}.png", pixels)
        write_image(tmp_path / f"raw/valid/gt/{number}.png", pixels)
    return tmp_path


def test_main(data, tmp_path, capsys):
    """Each variant has its row; where nothing differs, nothing but the time does."""
    kept = tmp_path / "run.json"
    options = ["--preset", "presets/tiny.yaml", "--images", "8", "--data", str(data)]
    names = ["preset", "width=4", "finetune_freezes=statistics", "finetune_freezes=encoder"]
    main([*options, "--json", str(kept), *names])
    (table,) = read_record(kept).tables
    assert capsys.readouterr().out.rstrip("\n").endswith(table.markdown())
    assert list(table.header) == list(HEADING)
    assert [row[0] for row in table.rows] == names
    preset, wider, statistics, encoder = (
        dict(zip(table.header, row, strict=True)) for row in table.rows
    )
    for row in (preset, wider, statistics, encoder):
        assert re.fullmatch(r"\d+\.\d", row.pop("ms an image"))
        assert 0 < float(row["PSNR in the hole, dB"]) < 40
        del row["variant"]
    assert encoder == preset
    assert statistics != preset
    count = sum(parameter.numel() for parameter in PConvUNet(width=4, levels=4).parameters())
    assert wider["million parameters"] == f"{count / 1e6:.2f}"
    assert wider["half precision, MB"] == f"{2 * count / 1e6:.1f}"


def test_variant():
    """Values are read as YAML has them."""
    assert variant("width=24,learning_rate=3.0e-3") == {"width": 24, "learning_rate": 0.003}
    assert variant("finetune_freezes=statistics") == {"finetune_freezes": "statistics"}
    assert variant("learning_rate=1e-4") == {"learning_rate": 1e-4}
    assert variant("preset") == {}


@pytest.mark.parametrize("text", ["wide=24", "width", ""])
def test_variant_raises(text):
    """A name that a plan does not have, or none."""
    with pytest.raises(argparse.ArgumentTypeError, match="wanted NAME=VALUE"):
        variant(text)
