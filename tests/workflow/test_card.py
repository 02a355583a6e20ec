"""The parts of a model card."""

import csv
import json
from pathlib import Path

import pytest

from pconv.errors import DataError
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow.card import (
    NEW_CARD,
    card_with,
    lead,
    licences,
    limits_part,
    losses,
    network_part,
    photographs_part,
    results_part,
    training_part,
)
from workflow.licensed import COLUMNS
from workflow.params import read_params
from workflow.reporting.brief import KINDS_LEGEND, hole_psnr_table

ROOT = Path(__file__).parents[2]
ABOUT = {
    "size_px": "64",
    "epochs": "3",
    "batch_size": "4",
    "seed": "7",
    "fingerprint": "f1e2",
    "weight_hole": "6.0",
    "weight_tv": "0.1",
}
Measured = dict[str, dict[str, dict[str, float]]]


def _photos(folder: Path, *licence_notes: str) -> Path:
    """Write a table of training photographs."""
    rows = [f"{number}.jpg\t{note}\tr\tp\t\td" for number, note in enumerate(licence_notes)]
    (folder / "photos.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n")
    return folder / "photos.tsv"


def _measured(**psnr: dict[str, tuple[float, int]]) -> Measured:
    return {
        method: {kind: {"psnr_hole": value, "pairs": pairs} for kind, (value, pairs) in row.items()}
        for method, row in ((name.replace("_", "-"), row) for name, row in psnr.items())
    }


class TestCard:
    """A page with places."""

    def test_new(self) -> None:
        """A new card has a place for each part, and no other; their order does not matter."""
        names = ("limits", "network", "photographs", "results", "training")
        parts = {name: f"<{name}>" for name in names}
        card = card_with(NEW_CARD.read_text(), parts)
        assert all(text in card for text in parts.values())

    @pytest.mark.parametrize("page", ["# Card\n", "<!-- card: other -->\n<!-- end -->\n"])
    def test_raises(self, page: str) -> None:
        """A card whose places are others is refused, instead of left without a number."""
        with pytest.raises(DataError, match=r"has places for (nothing|other); wanted.*of network"):
            card_with(page, {"network": "x"})


class TestParts:
    """What stands in the places."""

    def test_network(self) -> None:
        """The size of network and file; that it is shown the mask, where it is."""
        network = PConvUNet(width=2, levels=3)
        count = sum(parameter.numel() for parameter in network.parameters())
        text = network_part(network, 1_250_000)
        assert "Figure 4 at width 2 with 3 levels;" in text
        assert f"{count / 1e6:.2f} million parameters" in text
        assert "1.2 MB" in text
        shown = network_part(PConvUNet(width=2, levels=3, mask_channel=True), 1)
        assert "3 levels and the mask as one more channel;" in shown

    def test_photographs(self, tmp_path: Path) -> None:
        """Each licence with its number, without where it was seen."""
        text = photographs_part(_photos(tmp_path, "CC BY 2.0 (seen there)", "CC BY 2.0", "CC0-1.0"))
        assert text.startswith("3 photographs. `photos.tsv` names")
        assert text.endswith("\n- CC BY 2.0: 2\n- CC0-1.0: 1")

    def test_share_alike(self, tmp_path: Path) -> None:
        """Photographs whose adaptations are to be shared alike are told."""
        path = _photos(tmp_path, "CC BY-SA 2.0", "CC BY-SA 4.0 (there)", "CC BY 2.0")
        assert "\n2 of the photographs ask" in photographs_part(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"a\tb\n1\t2\n",
            b"file\tlicence_note\n1.jpg\n",
            b"file\tlicence_note\n1.jpg\tCC\xff\n",
            b"file\tlicence_note\n1.jpg\t" + b"C" * (csv.field_size_limit() + 1),
            None,
        ],
        ids=["other", "truncated", "no text", "no table", "missing"],
    )
    def test_other_table(self, tmp_path: Path, content: bytes | None) -> None:
        """What is not the table is refused."""
        if content is not None:
            (tmp_path / "other.tsv").write_bytes(content)
        with pytest.raises(DataError, match=r"not the table that workflow\.licensed writes"):
            licences(tmp_path / "other.tsv")

    def test_training(self) -> None:
        """What the header says, and what the training began with."""
        text = training_part(ABOUT)
        assert "3 epochs at 64x64, batches of 4, seed 7;\nfingerprint `f1e2`" in text
        assert "hole 6, tv 0.1. No term looks at VGG-16's features" in text
        begun = training_part(ABOUT | {"initial_weights": "begin.safetensors"})
        assert "seed 7, begun with the weights in `begin.safetensors`;" in begun

    @pytest.mark.parametrize("name", ["perceptual", "style"])
    def test_losses(self, name: str) -> None:
        """A training by VGG-16's features is not said to be without them."""
        header = {"weight_hole": "6.0", f"weight_{name}": "0.05", "weight_tv": "0.0", "x": "y"}
        assert losses(header) == f"Losses and their weights: hole 6, {name} 0.05."

    @pytest.mark.parametrize(
        ("change_db", "words"),
        [
            (None, "of these very weights."),
            (0.25, "changes no kind's mean by more than 0.2500 dB."),
            (1e-6, "changes no kind's mean by more than 0.0005 dB."),
        ],
    )
    def test_results(self, tmp_path: Path, change_db: float | None, words: str) -> None:
        """The report's numbers, of how many pairs, and what half precision changed."""
        metrics, models = tmp_path / "metrics.json", tmp_path / "models"
        measured = _measured(pconv_last={"all": (20.0, 9), "ec": (21.25, 9)})
        metrics.write_text(json.dumps(measured))
        save_weights(models / "pconv/last.safetensors", PConvUNet(width=2, levels=2), ABOUT)
        text = results_part(metrics, models, pairs=9, side="64", change_db=change_db)
        assert "on 9 pairs of hole and photograph at 64x64" in text
        assert words in text
        assert hole_psnr_table(metrics, models) in text
        assert "| 21.25 | 20.00 |" in text
        assert KINDS_LEGEND in text
        assert text.endswith(lead(measured))

    @pytest.mark.parametrize("is_mirrored", [False, True])
    def test_flips(self, tmp_path: Path, *, is_mirrored: bool) -> None:
        """The mean of four flips is explained where it was measured."""
        numbers = {"pconv_last": {"all": (20.0, 9)}}
        numbers |= {"pconv_last_mirrored": {"all": (20.1, 9)}} if is_mirrored else {}
        metrics = tmp_path / "metrics.json"
        metrics.write_text(json.dumps(_measured(**numbers)))
        text = results_part(metrics, tmp_path, pairs=9, side="64", change_db=None)
        assert ("four flips is what" in text) == is_mirrored

    def test_limits(self) -> None:
        """The holes it has seen, and at which size."""
        masks = read_params(ROOT / "presets/sample.yaml").masks
        text = limits_part(ABOUT, masks)
        assert f"holes of {100 * masks.hole_share_min:.0f}% to" in text
        assert "trained at 64x64" in text


class TestLead:
    """How far ahead of methods without a network."""

    def test_values(self) -> None:
        """Held against the best of each kind; of the kinds the ends are told."""
        text = lead(
            _measured(
                pconv_last={"all": (20.0, 9), "ec": (21.0, 3), "walk": (22.0, 3), "or": (19.0, 3)},
                plain_last={"all": (29.0, 9), "ec": (29.0, 3), "walk": (29.0, 3), "or": (29.0, 3)},
                telea={"all": (19.0, 9), "ec": (20.0, 3), "walk": (21.5, 3), "or": (15.0, 3)},
                biharmonic={"all": (18.5, 9), "ec": (18.0, 3), "walk": (22.5, 3), "or": (16.0, 3)},
            )
        )
        assert text == (
            "Compared with the best method without learning that is +1.00 dB over all pairs "
            "(Telea),\nand by kind of hole from -0.50 dB (walk, Biharmonic) to +3.00 dB (or, "
            "Biharmonic)."
        )

    def test_kinds(self) -> None:
        """All pairs together are no kind, also where the lead over all is the largest."""
        text = lead(
            _measured(
                pconv_last={"all": (20.0, 6), "ec": (20.0, 3), "or": (20.0, 3)},
                telea={"all": (15.0, 6), "ec": (20.0, 3), "or": (10.0, 3)},
                ns={"all": (15.0, 6), "ec": (11.0, 3), "or": (19.0, 3)},
            )
        )
        assert text.endswith("from +0.00 dB (ec, Telea) to +1.00 dB (or, Navier-Stokes).")

    def test_fewer_pairs(self) -> None:
        """A method that was measured on fewer pairs is not held against all of them."""
        ours = {"all": (20.0, 9), "ec": (20.0, 9)}
        few = {"all": (25.0, 3), "ec": (25.0, 9)}
        assert "+1.00 dB over all pairs (Telea)" in lead(
            _measured(pconv_last=ours, patchmatch=few, telea={"all": (19.0, 9), "ec": (19.0, 9)})
        )
        assert lead(_measured(pconv_last=ours, patchmatch=few)).startswith("No method")
