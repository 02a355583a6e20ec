"""The plan of a run: its phases, and its name."""

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pconv.errors import ParameterError
from pconv.losses import LossWeights
from pconv.unet import build_unet
from tests.pconv.tiny_run import PLAN

OTHER: dict[str, Any] = {
    "kind": "plain",
    "centre": "known",
    "mask_channel": True,
    "initial_weights": "weights.safetensors",
    "features": "imagenet",
    "precision": "bf16",
    "finetune_freezes": "statistics",
    "weights": LossWeights(style=1),
    "tf32": True,
    "channels_last": True,
    "compile": True,
    "epochs": 9,
}
UNCOUNTED = ["checkpoint_every_epochs", "pictures_every_epochs"]


class TestTrainingPlan:
    """`TrainingPlan`."""

    def test_hyperparameters(self) -> None:
        """They build the network of the plan, whatever of it is changed."""
        changes = {
            "kind": "plain",
            "width": 3,
            "levels": 3,
            "centre": "known",
            "mask_channel": True,
        }
        for name, value in changes.items():
            plan = replace(PLAN, **{name: value})
            built = build_unet(**plan.hyperparameters()).hyperparameters()
            assert built.items() >= plan.hyperparameters().items()
            assert built[name] == value

    def test_phases(self) -> None:
        """The second phase begins after `finetune_from_epoch`, with its own rate."""
        plan = replace(PLAN, epochs=5, finetune_from_epoch=3)
        assert [plan.phase(epoch) for epoch in range(1, 6)] == [1, 1, 1, 2, 2]
        rates = [plan.learning_rate_after(epochs) for epochs in (2.9, 3.0)]
        assert rates == [plan.learning_rate, plan.finetune_learning_rate]

    def test_anneal(self) -> None:
        """Annealed rates never rise, do not jump between the phases, and end at 0."""
        plan = replace(PLAN, epochs=5, finetune_from_epoch=3, anneal=True)
        rates = [plan.learning_rate_after(step / 100) for step in range(501)]
        assert rates[0] == plan.learning_rate
        assert rates[300] == plan.finetune_learning_rate
        assert rates[500] == 0
        steps = [before - after for before, after in pairwise(rates)]
        assert min(steps) >= 0
        assert max(steps) < plan.learning_rate / 50

    def test_is_due(self) -> None:
        """Something is done every so many epochs, and after the last."""
        plan = replace(PLAN, epochs=8)
        assert [epoch for epoch in range(1, 9) if plan.is_due(epoch, 3)] == [3, 6, 8]

    def test_no_first_phase(self) -> None:
        """From epoch 0 on, all of the run is the second phase, annealed from its rate to 0."""
        plan = replace(PLAN, finetune_from_epoch=0, anneal=True)
        assert {plan.phase(epoch) for epoch in range(1, plan.epochs + 1)} == {2}
        assert plan.learning_rate_after(0) == plan.finetune_learning_rate
        assert plan.learning_rate_after(plan.epochs) == 0

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("precision", "bfloat16", "wanted one of float32, bf16"),
            ("finetune_freezes", "norms", "wanted one of encoder, statistics"),
            ("kind", "partial", "wanted one of pconv, plain"),
            ("centre", "mean", "wanted one of half, known"),
            ("checkpoint_every_epochs", 0, "wanted 1 or more"),
            ("pictures_every_epochs", -1, "wanted 1 or more"),
            ("validate_every_epochs", 0, "wanted 1 or more"),
            ("batch_size", 0, "wanted 1 or more"),
            ("epochs", 0, "wanted 1 or more"),
            ("threads", 0, "wanted 1 or more"),
        ],
    )
    def test_raises_on_choices(self, name: str, value: Any, words: str) -> None:
        """What would be taken for another choice, or fail after an epoch, is refused at once."""
        with pytest.raises(ParameterError, match=f"{name} is {value!r}[,;] {words}"):
            replace(PLAN, **{name: value})

    @pytest.mark.parametrize(
        ("name", "value", "least"),
        [
            ("first_epoch", 0, 1),
            ("first_epoch", PLAN.epochs + 1, 1),
            ("finetune_from_epoch", -1, 0),
            ("finetune_from_epoch", PLAN.epochs + 1, 0),
        ],
    )
    def test_raises(self, name: str, value: int, least: int) -> None:
        """An epoch that never comes is refused."""
        message = f"{name} is {value}; wanted from {least} to epochs, {PLAN.epochs}"
        with pytest.raises(ParameterError, match=message):
            replace(PLAN, **{name: value})

    @pytest.mark.parametrize("name", [f.name for f in fields(PLAN) if f.name not in UNCOUNTED])
    def test_fingerprint_reads_fields(self, name: str) -> None:
        """No two plans that differ in a field that changes the result have one name."""
        value = OTHER.get(name) or getattr(PLAN, name) * 1.5
        if name in ("first_epoch", "finetune_from_epoch"):
            value = 3
        assert replace(PLAN, **{name: value}).fingerprint("data") != PLAN.fingerprint("data")

    @pytest.mark.parametrize("name", UNCOUNTED)
    def test_fingerprint_leaves_out(self, name: str) -> None:
        """How often a run is saved or shown does not make it another."""
        assert replace(PLAN, **{name: 7}).fingerprint("data") == PLAN.fingerprint("data")

    def test_fingerprint_reads_data(self) -> None:
        """Other data is another run."""
        assert PLAN.fingerprint("a", "b") != PLAN.fingerprint("ab")

    @pytest.mark.parametrize("name", ["features", "initial_weights"])
    def test_fingerprint_reads_files(self, name: str, tmp_path: Path) -> None:
        """Another file under the same name is another run."""
        file = tmp_path / "weights"
        file.write_bytes(b"one")
        plan = replace(PLAN, **{name: str(file)})
        before = plan.fingerprint("a")
        assert before == plan.fingerprint("a")
        file.write_bytes(b"two")
        assert plan.fingerprint("a") != before

    def test_about(self) -> None:
        """The header's words hold every field, loss weights flat."""
        about = PLAN.about()
        assert about["finetune_learning_rate"] == "0.0005"
        assert about["weight_tv"] == "0.1"
        flat = {f"weight_{field.name}" for field in fields(LossWeights)}
        assert about.keys() == {field.name for field in fields(PLAN)} - {"weights"} | flat
        assert all(isinstance(value, str) for value in about.values())
