"""The commands `compare` and `measure`, and what they measure."""

import csv
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pconv.baselines import fill
from pconv.errors import MaskError, ShapeError
from pconv.images import read_image, read_mask, write_mask
from pconv.measuring import IDENTICAL_DB, Row, Trial, measure, table_lines
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.pconv.scenes import KNOWN, pconv, write_scene
from workflow.reporting import evaluation


@pytest.fixture(autouse=True)
def _no_weights(no_weights: None) -> None:
    pass


class TestCompare:
    """`pconv compare`."""

    @pytest.mark.usefixtures("scene")
    def test_values(self) -> None:
        """All chosen methods are drawn; the network is left out where there are no weights."""
        options = ["--mask", "mask.png", "--methods", "pconv,mean,telea", "-o", "all.png"]
        result = pconv("compare", "photo.png", *options)
        assert result.exit_code == 0, result.output
        assert "pconv is left out" in result.stderr
        assert read_image(Path("all.png")).shape[1] > 3 * 50

    @pytest.mark.usefixtures("scene")
    def test_name_of_several_lines(self) -> None:
        """The picture is told in one line, whatever its name."""
        options = ["-m", "mask.png", "--methods", "mean", "-o", "a\nb.png"]
        assert pconv("compare", "photo.png", *options).output == "photo.png -> a\\nb.png\n"

    @pytest.mark.usefixtures("scene")
    def test_name(self) -> None:
        """A name of another format is refused; its content would be PNG all the same."""
        result = pconv("compare", "photo.png", "-m", "mask.png", "-o", "all.jpg")
        assert result.exit_code == 2
        assert "all.jpg: the comparison is a PNG file" in result.stderr
        assert not Path("all.jpg").exists()

    @pytest.mark.parametrize("name", ["photo.png", "mask.png"])
    def test_keeps_inputs(self, scene: np.ndarray, name: str) -> None:
        """The picture does not take the place of photo or mask."""
        result = pconv("compare", "photo.png", "-m", "mask.png", "-o", name, "--methods", "mean")
        assert result.exit_code == 2
        assert f"{name}: would overwrite the input" in result.stderr
        assert (read_image(Path("photo.png")) == scene).all()
        assert (read_mask(Path("mask.png")) == KNOWN).all()

    @pytest.mark.usefixtures("scene")
    def test_large_holes(self) -> None:
        """A hole over more than half is refused with the option that accepts it."""
        options = ["photo.png", "-m", "mask.png", "--invert", "--methods", "mean"]
        refused = pconv("compare", *options)
        assert refused.exit_code == 2
        assert "--large-holes" in refused.stderr
        assert pconv("compare", *options, "--large-holes").exit_code == 0

    @pytest.mark.usefixtures("scene")
    def test_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Weights that are named and missing are an error, and so is nothing to compare."""
        scene = ["photo.png", "-m", "mask.png"]
        named = pconv("compare", *scene, "--weights", "none.safetensors")
        alone = pconv("compare", *scene, "--methods", "pconv")
        monkeypatch.setenv("PCONV_WEIGHTS", "other.safetensors")
        by_variable = pconv("compare", *scene, "--methods", "pconv,mean")
        assert [result.exit_code for result in (named, alone, by_variable)] == [2, 2, 2]
        assert "none.safetensors" in named.stderr
        assert "no trained weights here" in alone.stderr
        assert "other.safetensors: there is no such weights file" in by_variable.stderr
        assert not Path("comparison.png").exists()

    @pytest.mark.usefixtures("scene")
    def test_method_names(self) -> None:
        """Names may have blanks around them, and all are checked before any method runs."""
        options = ["compare", "photo.png", "-m", "mask.png", "--methods"]
        assert pconv(*options, "mean, telea").exit_code == 0
        Path("photo.png").unlink()
        for names, words in (
            ("mean, talea", "'talea'.* did you mean telea"),
            ("mean", "--weights: only"),
        ):
            result = pconv(*options, names, *(["--weights", "none"] if names == "mean" else []))
            assert result.exit_code == 2
            assert re.search(words, result.stderr)


class TestMeasure:
    """The numbers of `pconv measure`."""

    def test_values(self) -> None:
        """PSNR and SSIM are scikit-image's, L1 is the mean distance; those of the hole too."""
        truth = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        (row,) = measure(Trial(Path("a.png"), "m.png", truth, KNOWN), {"mean": _mean})
        filled = fill("mean", truth, KNOWN)
        found = row.metrics
        settings = {"gaussian_weights": True, "use_sample_covariance": False, "full": True}
        similarity, each = structural_similarity(filled, truth, channel_axis=-1, **settings)
        assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, filled), abs=1e-4)
        assert found["ssim"] == pytest.approx(similarity, abs=1e-4)
        assert found["ssim_hole"] == pytest.approx(each[~KNOWN].mean(), abs=1e-4)
        off = np.abs(filled[~KNOWN].astype(float) - truth[~KNOWN])
        assert found["l1_hole"] == pytest.approx(off.mean() / 255)
        assert found["psnr_hole"] == pytest.approx(10 * np.log10(255**2 / (off**2).mean()))
        assert row.hole_share == 150 / 2000

    def test_means(self) -> None:
        """Means are over all trials of a method; a fill that equals the photo counts as 100 dB."""
        numbers = [("a", "x", 20.0), ("a", "y", 10.0), ("b", "x", math.inf), ("b", "y", 12.0)]
        names = ("ssim_hole", "l1_hole", "psnr", "ssim")
        rows = [
            Row((photo, "m"), 0.25, way, {"psnr_hole": db, **dict.fromkeys(names, 0.5)}, 3.0)
            for photo, way, db in numbers
        ]
        head, _, x, y, note = table_lines(rows)
        assert head == "photos: 2, holes: 2, mean share of the hole: 25.0%"
        assert x.split() == ["x", "60.00", "0.5000", "0.5000", "0.50", "0.5000", "3.00"]
        assert y.split()[1] == "11.00"
        assert note.endswith("counted as 100 dB: 1")
        assert IDENTICAL_DB == evaluation.IDENTICAL_DB  # as in the pipeline's tables
        assert len(list(table_lines(rows[:2]))) == 4

    def test_nearly_identical(self) -> None:
        """A fill that all but equals the photo counts no more than one that does."""
        row = Row(("a", "m"), 0.25, "x", {"psnr": 112.9}, seconds=112.9)
        assert row.number("psnr") == IDENTICAL_DB
        assert row.number("seconds") == 112.9

    def test_raises(self) -> None:
        """A photo smaller than SSIM's window is named."""
        truth, known = np.zeros((10, 40, 3), np.uint8), np.ones((10, 40), bool)
        known[4, 4] = False
        with pytest.raises(ShapeError, match=r"^a\.png: images of .* SSIM's window is 11 px"):
            measure(Trial(Path("a.png"), "m.png", truth, known), {"mean": _mean})


class TestMeasureCommand:
    """`pconv measure`."""

    def test_masks_by_name(self) -> None:
        """Each photo meets the mask of its name; the table is the mean of the file's rows."""
        for seed, name in enumerate(("cat", "dog")):
            write_scene(f"photos/{name}.png", f"masks/{name}.png", seed)
        below = np.arange(40)[:, None] >= np.full(50, 5)
        write_mask(Path("masks/dog.png"), below)
        result = pconv("measure", "photos", "-m", "masks", "--methods", "telea,mean", "-o", "a.csv")
        assert result.exit_code == 0, result.output
        rows = _rows("a.csv")
        assert [(row["photo"], row["mask"], row["method"]) for row in rows] == [
            (f"photos/{name}.png", f"masks/{name}.png", method)
            for name in ("cat", "dog")
            for method in ("telea", "mean")
        ]
        assert [float(row["hole_share"]) for row in rows[::2]] == [0.075, 0.125]
        assert result.output.startswith("photos: 2, holes: 2, mean share of the hole: 10.0%")
        for method in ("telea", "mean"):
            values = [float(row["psnr_hole"]) for row in rows if row["method"] == method]
            assert re.search(rf"^{method} +{np.mean(values):.2f} ", result.output, re.MULTILINE)

    def test_one_mask_for_all(self) -> None:
        """A single mask serves all photos, and is no photo where it lies among them."""
        for name in ("a", "b"):
            write_scene(f"{name}.png", "hole.png")
        result = pconv("measure", ".", "-m", "hole.png", "--methods", "mean")
        assert result.output.startswith("photos: 2, holes: 2,")

    @pytest.mark.usefixtures("scene")
    def test_drawn(self) -> None:
        """Masks are drawn of their seed for each photo, the same whatever else is asked for."""
        write_scene("other.png", "m.png", seed=1)
        photos, draw = ["photo.png", "other.png"], ["--draw", "strokes", "--seed", "7"]
        both = _drawn(*photos, *draw, "--count", "2", "--methods", "mean,telea")
        alone = _drawn(*photos[:1], *draw, "--methods", "mean")
        assert len(both) == 2 * 2 * 2
        assert both[0] == alone[0]
        assert len({row["hole_share"] for row in both}) == 4
        other = _drawn(*photos[:1], "--draw", "strokes", "--seed", "8", "--methods", "mean")
        assert other[0]["hole_share"] != alone[0]["hole_share"]
        result = pconv("measure", *photos, *draw, "--count", "3", "--methods", "mean")
        assert result.output.startswith("photos: 2, holes: 6,")

    @pytest.mark.usefixtures("scene")
    def test_large_drawn(self) -> None:
        """Drawn holes may be larger than those that look inverted in a file."""
        options = ["--draw", "strokes", "--seed", "0", "--methods", "mean"]
        assert float(_drawn("photo.png", *options)[0]["hole_share"]) > 0.5

    @pytest.mark.usefixtures("scene")
    def test_size(self) -> None:
        """Photo and mask become the middle square at the shorter side asked for."""
        Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save("wide.png")
        mask = np.ones((40, 80), bool)
        mask[:, :20] = False  # outside the square
        mask[:8, 20:60] = False
        write_mask(Path("wide_mask.png"), mask)
        rows = _drawn("wide.png", "-m", "wide_mask.png", "--size", "20", "--methods", "mean")
        assert float(rows[0]["hole_share"]) == 0.2
        drawn = ["--draw", "walk", "--size", "16", "--methods", "mean"]
        assert float(_drawn("wide.png", *drawn)[0]["hole_share"]) * 16**2 % 1 == 0

    @pytest.mark.usefixtures("scene")
    def test_marks(self) -> None:
        """Marks of holes mean what they mean to `pconv fill`."""
        options = ["photo.png", "--methods", "mean", "-m", "mask.png"]
        black = _drawn(*options, "--hole-color", "black")
        assert black == _drawn(*options)
        inverted = _drawn(*options, "--invert", "--large-holes")
        assert float(inverted[0]["hole_share"]) == 1 - 0.075
        assert float(_drawn(*options, "--grow", "2")[0]["hole_share"]) > 0.075

    @pytest.mark.usefixtures("scene")
    def test_network(self) -> None:
        """Each weights file named is a row; flips and the network's own run are asked for alike."""
        for seed, name in enumerate(("a", "b")):
            torch.manual_seed(seed)
            save_weights(f"{name}.safetensors", PConvUNet(width=2, levels=3))
        options = ["photo.png", "-m", "mask.png", "--methods", "pconv", "--weights"]
        both = _drawn(*options, "a.safetensors", "--weights", "b.safetensors")
        assert [row["method"] for row in both] == ["pconv a.safetensors", "pconv b.safetensors"]
        (one,) = _drawn(*options, "b.safetensors")
        assert one | {"method": ""} == both[1] | {"method": ""} != both[0] | {"method": ""}
        (mirrored,) = _drawn(*options, "b.safetensors", "--mirror")
        (half,) = _drawn(*options, "b.safetensors", "--half")
        assert len({row["psnr_hole"] for row in (one, mirrored, half)}) == 3

    @pytest.mark.usefixtures("scene")
    def test_bad_among_good(self) -> None:
        """A photo that can't be measured is told and left out; the others are measured."""
        write_scene("small.png", "small_mask.png")
        write_mask(Path("small_mask.png"), np.ones((40, 50), bool))
        Path("bad.png").write_bytes(b"no picture")
        write_scene("no_mask_here.png", "m.png")
        photos = ["bad.png", "photo.png", "small.png", "no_mask_here.png"]
        masks = ["-m", "mask.png", "-m", "small_mask.png", "-m", "bad.png"]
        Path("mask.png").rename("photo_mask.png")
        masks[1] = "photo_mask.png"
        result = pconv("measure", *photos, *masks, "--methods", "mean", "-o", "a.csv")
        assert result.exit_code == 2
        for words in (
            "Error: bad.png: ",
            "Error: small_mask.png: no hole for small.png",
            "Error: no_mask_here.png: no mask of that name",
            "1 of 4 measured, 3 failed",
        ):
            assert words in result.stderr
        assert [row["photo"] for row in _rows("a.csv")] == ["photo.png"]

    @pytest.mark.usefixtures("scene")
    def test_bad_at_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A photo that fails at its second mask is not in the table with its first."""

        def hidden(photo: Path, *_: object, **__: object) -> Iterator[Trial]:
            yield Trial(photo, "m", read_image(photo), KNOWN)
            if photo.stem == "photo":
                raise MaskError(f"{photo}: bad")

        monkeypatch.setattr("pconv.measuring.hidden_by_drawing", hidden)
        write_scene("other.png", "m.png")
        options = ["--draw", "walk", "--methods", "mean", "-o", "a.csv"]
        assert pconv("measure", "photo.png", "other.png", *options).exit_code == 2
        assert [row["photo"] for row in _rows("a.csv")] == ["other.png"]

    @pytest.mark.usefixtures("scene")
    def test_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Too little memory for a photo is told with its name."""
        monkeypatch.setattr("pconv.measuring.image_metrics", Mock(side_effect=MemoryError))
        result = pconv("measure", "photo.png", "--draw", "walk", "--methods", "mean")
        assert result.exit_code == 2
        assert "Error: photo.png: 50x40 pixels; filling it takes more memory" in result.stderr

    @pytest.mark.usefixtures("scene")
    def test_nothing_measured(self) -> None:
        """Without a measure there is neither table nor file."""
        result = pconv("measure", "mask.png", "-m", "photo.png", "-o", "a.csv")
        assert result.exit_code == 2
        assert not result.stdout
        assert not Path("a.csv").exists()

    @pytest.mark.usefixtures("scene")
    def test_weights_left_out(self) -> None:
        """Without weights the other methods are measured, and that is said."""
        result = pconv("measure", "photo.png", "-m", "mask.png", "--methods", "pconv,mean")
        assert result.exit_code == 0
        assert "pconv is left out" in result.stderr

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ([], "say what to hide: with --mask FILE, or with --draw KIND"),
            (["-m", "mask.png", "--draw", "walk"], "say what to hide"),
            (["-m", "mask.png", "--count", "3"], "--count: only with --draw; leave it out"),
            (["--draw", "walk", "--grow", "3"], "--grow: only with --mask; leave it out"),
            (["--draw", "walk", "--large-holes"], "--large-holes: only with --mask"),
            (["--draw", "walks"], "kind is 'walks', wanted one of walk, strokes"),
            (["-m", "mask.png", "--methods", "talea"], "'talea'.* did you mean telea"),
            (
                ["-m", "mask.png", "--methods", "mean", "--mirror"],
                "--mirror: only the method pconv",
            ),
            (["-m", "mask.png", "--weights", "none"], "none: there is no such weights file"),
            (["-m", "mask.png", "-o", "a.txt"], r"a\.txt: the measures are a CSV file"),
            (["-m", "mask.png", "-o", "photo.csv"], r"photo\.csv: would overwrite the input"),
            (["-m", "mask.png", "-o", "mask.csv"], r"mask\.csv: would overwrite the input"),
            (["-m", "grey.png"], r"grey\.png: .*; --hole-color black --tolerance 100 reads"),
            (["-m", "mask.png", "--invert"], r"mask\.png: 92% of the mask is hole"),
            (["--draw", "walk", "--size", "7"], "16"),
        ],
    )
    @pytest.mark.usefixtures("scene")
    def test_raises(self, options: list[str], words: str) -> None:
        """What is wrong is told before any work, with status 2, and nothing is written."""
        for name in ("photo", "mask"):
            os.link(f"{name}.png", f"{name}.csv")
        Image.fromarray(np.where(KNOWN, 250, 5).astype(np.uint8)).save("grey.png")
        before = sorted(Path().iterdir())
        result = pconv("measure", "photo.png", *options)
        assert result.exit_code == 2
        assert re.search(words, result.stderr)
        assert not result.stdout
        assert sorted(Path().iterdir()) == before

    def test_too_small(self) -> None:
        """A photo that has no room for a drawn mask is named."""
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save("dot.png")
        result = pconv("measure", "dot.png", "--draw", "strokes", "--methods", "mean")
        assert result.exit_code == 2
        assert "Error: dot.png: too small for such a mask (strokes: " in result.stderr

    def test_name_of_several_lines(self) -> None:
        """Each line of the table is one line."""
        write_scene("a\nb.png", "a\nb_mask.png")
        result = pconv(
            "measure", "a\nb.png", "-m", "a\nb_mask.png", "--methods", "mean", "-o", "a.csv"
        )
        assert result.exit_code == 0, result.output
        assert len(result.output.splitlines()) == 3
        assert _rows("a.csv")[0]["photo"] == "a\nb.png"
        assert b"\r" not in Path("a.csv").read_bytes()
        names = [f"{end}\n.safetensors" for end in "ab"]
        for name in names:
            save_weights(name, PConvUNet(width=2, levels=3))
        options = ["-m", "a\nb_mask.png", "--weights", names[0], "--weights", names[1]]
        result = pconv("measure", "a\nb.png", *options, "--methods", "pconv")
        assert len(result.stdout.splitlines()) == 4
        refused = pconv("measure", "a\nb.png", "-m", "a\nb.png", "--methods", "mean")
        assert len(refused.stderr.splitlines()) == 1


def _mean(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    return fill("mean", image, known)


def _rows(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def _drawn(*options: str) -> list[dict[str, str]]:
    result = pconv("measure", *options, "-o", "rows.csv")
    assert result.exit_code == 0, result.output
    return _rows("rows.csv")
