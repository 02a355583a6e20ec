"""A stage ends well only if its parameters and its code stand as they stood when it began."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pconv.errors import ParameterError
from workflow.params import read_params
from workflow.presets import use_preset
from workflow.sections import MasksParams, TrainParams
from workflow.stage_params import stage_params

ROOT = Path(__file__).parents[2]
Edit = Callable[[str, str, str], None]


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """A folder with the tiny preset and one file of code; a function that edits a file there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    (tmp_path / "code.py").write_text("one = 1\n")
    monkeypatch.setattr("workflow.stage_params._ROOT", tmp_path)
    monkeypatch.setattr("workflow.stage_params.stage_code", lambda *_: ["code.py"])
    use_preset("tiny")

    def replace(file: str, old: str, new: str) -> None:
        text = Path(file).read_text()
        assert old in text
        Path(file).write_text(text.replace(old, new))

    return replace


def test_values(edit: Edit) -> None:
    """It yields the section; edits of another's and of comments do not matter."""
    with stage_params(MasksParams) as params:
        assert params == read_params().masks
        edit("params.yaml", "bootstrap_draws: ", "bootstrap_draws: 1")
        edit("params.yaml", "masks:\n", "masks:  # mine\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("params.yaml", "  epochs: 2", "  epochs: 20", "params.yaml: train.epochs: edited"),
        ("params.yaml", "  epochs: 2", "  epochs: two", "params.yaml: train.epochs: edited"),
        ("params.yaml", "train:", "trane:", "params.yaml: train.seed, "),
        ("code.py", "1", "2", "^code.py: edited while the stage train ran"),
    ],
)
def test_edited(edit: Edit, file: str, old: str, new: str, named: str) -> None:
    """What was edited meanwhile is named, once the work is done."""
    stage = stage_params(TrainParams)
    stage.__enter__()
    edit(file, old, new)
    with pytest.raises(ParameterError, match=named):
        stage.__exit__(None, None, None)
