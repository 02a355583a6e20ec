"""Names and numbers as they are printed."""

import pytest

from workflow.reporting.names import BUCKETS, METRICS, method_label, number, pairs_counted


class TestWords:
    """Names and numbers as they are printed."""

    def test_better(self) -> None:
        """Of PSNR and SSIM the higher is better, of the others the lower; PSNR alone is in dB."""
        for metric in METRICS:
            is_high = metric.column.startswith(("psnr", "ssim"))
            assert metric.better in (["higher"] if is_high else ["lower", ""])
            assert metric.unit == ("dB" if metric.column.startswith("psnr") else "")

    @pytest.mark.parametrize(
        ("value", "unit", "wanted"),
        [
            (19.37373, "dB", "19.37"),
            (-0.5, "dB", "-0.50"),
            (0.927627, "", "0.9276"),
            (295.4533, "", "295.5"),
            (2.450222, "", "2.450"),
            (0.0, "", "0.0000"),
            (0.000828, "", "0.000828"),
            (1.5e-6, "", "1.500e-06"),
        ],
    )
    def test_number(self, value: float, unit: str, wanted: str) -> None:
        """Numbers are printed with the digits that matter."""
        assert number(value, unit=unit) == wanted

    def test_pairs(self) -> None:
        """One pair is one."""
        assert [pairs_counted(n) for n in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]

    def test_method_label(self) -> None:
        """Networks are named with their epoch; unknown methods keep their name."""
        about = {"pconv-last": {"epoch": "150", "mask_channel": "False"}}
        assert method_label("pconv-last", about) == "PConv, epoch 150"
        mirrored = method_label("pconv-last-mirrored", about)
        assert mirrored == "PConv, epoch 150, mean of four flips"
        shown = method_label("pconv-last", {"pconv-last": {"epoch": "6", "mask_channel": "True"}})
        assert shown == "PConv + mask, epoch 6"
        assert method_label("plain-first", {}) == "Plain convolution, first checkpoint"
        assert method_label("diffusion", {}) == "diffusion"

    def test_buckets(self) -> None:
        """The buckets are those of Liu et al., with both ends closed off."""
        assert BUCKETS[:3] == ("up to 1 %", "1-10 %", "10-20 %")
        assert BUCKETS[-2:] == ("50-60 %", "over 60 %")
