import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from benchmarks import photos
from benchmarks.photos import flat_pictures, four_squares, main, offset, with_squares, with_strips
from benchmarks.record import read_record
from pconv.inpainting import inpaint
from pconv.unet import PConvUNet
from pconv.weights import save_weights


@given(st.integers(1, 20), st.integers(0, 40), st.integers(0, 40), st.integers(0, 99))
def test_four_squares(side, taller, wider, seed):
    """Each quarter of the picture loses one square, and nothing else is lost."""
    height, width = 2 * side + taller, 2 * side + wider
    known = four_squares(np.random.default_rng(seed), height, width, side)
    for rows in (slice(0, height // 2), slice(height // 2, None)):
        for columns in (slice(0, width // 2), slice(width // 2, None)):
            holes, count = label(~known[rows, columns])
            assert count == 1
            ys, xs = np.nonzero(holes)
            assert np.ptp(ys) == np.ptp(xs) == side - 1
            assert ys.size == side**2


def test_with_squares():
    """The holes of a size are the same in every run, whatever else was measured."""
    pictures = flat_pictures()[:2]
    first = [mask for _, mask in with_squares(pictures)["holes of 32 px"]]
    again = [mask for _, mask in with_squares(pictures)["holes of 32 px"]]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(*first)


def test_with_strips():
    """Each lies along its border, over all its length, and is as wide as it is called."""
    picture = np.zeros((80, 40, 3), np.uint8)
    found = {name: mask for name, ((_, mask),) in with_strips([picture]).items()}
    assert len(found) == 8
    turned = {"left": 0, "top": 1, "right": 2, "bottom": 3}  # quarter turns, to lie on the left
    for name, mask in found.items():
        border, share = name.split()
        lying = np.rot90(mask, turned[border])
        missing = lying.shape[1] // {"quarter": 4, "half": 2}[share]
        assert not lying[:, :missing].any()
        assert lying[:, missing:].all()


def test_offset():
    """Only the hole counts, and its sign does not."""
    truth = np.full((4, 4, 3), 100, np.uint8)
    known = np.ones((4, 4), bool)
    known[0, :2] = False
    filled = truth.copy()
    filled[0, 0], filled[0, 1], filled[3, 3] = 90, 130, 0
    assert offset(filled, truth, known) == pytest.approx(20)


def test_main(tmp_path, monkeypatch, capsys):
    """A method that keeps a flat colour has no tint; a network's row is what inpaint leaves."""
    monkeypatch.setattr(photos, "SIDES_PX", (16,))
    monkeypatch.setattr(photos, "photographs", lambda: [skimage.data.chelsea()])
    weights = tmp_path / "small.safetensors"
    save_weights(weights, PConvUNet(width=4, levels=3), {"size_px": "64"})
    kept = tmp_path / "run.json"
    main(["--methods", "mean", "--weights", str(weights), "--json", str(kept)])
    photographs, flat = read_record(kept).tables
    assert capsys.readouterr().out.rstrip("\n").endswith(flat.markdown())
    for table in (photographs, flat):
        assert [row[0] for row in table.rows] == [
            "mean",
            str(weights),
            f"{weights}, mean of four flips",
        ]
    assert flat.rows[0][1] == "0.0"
    left = [
        np.abs(inpaint(image, mask, weights=weights)[~mask].astype(int) - image[~mask]).mean()
        for image, mask in with_squares(flat_pictures())["holes of 16 px"]
    ]
    assert float(flat.rows[1][1]) == pytest.approx(np.mean(left), abs=0.06)
    ((image, mask),) = with_squares([skimage.data.chelsea()])["holes of 16 px"]
    mean = image[mask].mean(axis=0).round()
    error = np.mean((image[~mask] - mean) ** 2)
    assert float(photographs.rows[0][1]) == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
