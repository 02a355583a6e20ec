"""A stage ends well only if its parameters and its code stand as they stood when it began."""

import json
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from pconv.errors import DataError, ParameterError
from workflow.check import check
from workflow.graph import load_stages
from workflow.params import read_params
from workflow.presets import use_preset
from workflow.recovery import OUTPUT_FOLDERS
from workflow.sections import MasksParams, TrainParams
from workflow.stage_params import start_stage

ROOT = Path(__file__).parents[2]
Edit = Callable[[str, str, str], None]


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """A folder with the tiny preset and one file of code; a function that edits a file there."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    (project / "presets").symlink_to(ROOT / "presets")
    (project / "code.py").write_text("one = 1\n")
    monkeypatch.setattr("workflow.stage_params._ROOT", project)
    monkeypatch.setattr("workflow.stage_params.stage_code", lambda *_: ["code.py"])
    use_preset("tiny")

    def replace(file: str, old: str, new: str) -> None:
        text = Path(file).read_text()
        assert old in text
        Path(file).write_text(text.replace(old, new))

    return replace


def test_values(edit: Edit) -> None:
    """It returns the section; edits of another's and of comments do not matter.

    The sections lie there as files for Snakemake, also where DVC runs this stage alone.
    """
    edit("params.yaml", "  walk_brush_px: 1", "  walk_brush_px: 3")
    params, refuse_edits = start_stage(MasksParams)
    assert params == read_params().masks
    assert json.loads(Path(".stages/masks.json").read_text())["walk_brush_px"] == 3
    edit("params.yaml", "bootstrap_draws: ", "bootstrap_draws: 1")
    edit("params.yaml", "masks:\n", "masks:  # mine\n")
    refuse_edits()


def test_in_a_worker(edit: Edit) -> None:
    """What checks for edits goes to worker processes, and finds them there."""
    _, refuse_edits = start_stage(MasksParams)
    sent = pickle.loads(pickle.dumps(refuse_edits))  # noqa: S301  # its own
    sent()
    edit("params.yaml", "  walk_brush_px: 1", "  walk_brush_px: 2")
    with pytest.raises(ParameterError, match=r"masks\.walk_brush_px: edited"):
        sent()


@pytest.mark.parametrize(
    ("link", "place", "repository", "refused"),
    [
        ("data", "large", ".", False),
        ("data", "../large", ".", True),
        ("data/masks", "../large", ".", True),
        ("data", "../large", "..", False),  # a project in a folder of a repository
        ("data", "../large", None, False),  # `dvc init --no-scm`
        ("models", "../large", ".", False),  # an output itself, which the stage makes a folder
    ],
)
def test_outputs_elsewhere(
    edit: Edit,
    link: str,
    place: str,
    repository: str | None,
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under DVC outputs that lie outside of the git repository are refused before the work."""
    for made in (place, Path(link).parent, *([f"{repository}/.git"] if repository else [])):
        Path(made).mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(Path(place).resolve())
    start_stage(MasksParams)
    monkeypatch.setenv("DVC_STAGE", "masks")
    refusal = pytest.raises(DataError, match=rf"^{link}/ leads to .*large, .*dvc cache dir")
    with refusal if refused else nullcontext():
        start_stage(MasksParams)


def test_outputs_elsewhere_in_a_worktree(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git worktree, in which ``.git`` is a file, is a repository too."""
    Path(".git").write_text("gitdir: ../project/.git/worktrees/other")
    Path("../large").mkdir()
    Path("data").symlink_to(Path("../large").resolve())
    monkeypatch.setenv("DVC_STAGE", "masks")
    with pytest.raises(DataError, match=r"^data/ leads to .*large, "):
        start_stage(MasksParams)


def test_output_folders() -> None:
    """The folders that are looked at are those in which outputs of dvc.yaml lie."""
    outputs = [path for stage in load_stages(ROOT / "dvc.yaml") for path in stage.outputs]
    assert {Path(path).parent.as_posix() for path in outputs} - {"."} == set(OUTPUT_FOLDERS)


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
    _, refuse_edits = start_stage(TrainParams)
    edit(file, old, new)
    with pytest.raises(ParameterError, match=named):
        refuse_edits()


def test_other_weights(edit: Edit) -> None:
    """Weights that are others than those on record are refused, at the start and at the end."""
    Path("own.pt").write_bytes(b"weights")
    edit("params.yaml", "  style_weight: 0.0", "  style_weight: 1.0")
    edit("params.yaml", "  features: random", "  features: own.pt")
    check()
    _, refuse_edits = start_stage(TrainParams)
    Path("own.pt").write_bytes(b"other weights")
    with pytest.raises(DataError, match=r"^own\.pt .*not what was noted"):
        start_stage(TrainParams)
    check()  # as `snakemake -n` does meanwhile
    with pytest.raises(DataError, match=r"^own\.pt .*not what was noted"):
        refuse_edits()


def test_missing_weights(edit: Edit) -> None:
    """A stage misses the weights that it reads, and not those of another."""
    edit("params.yaml", "initial_weights: null", "initial_weights: own.pt")
    start_stage(MasksParams)
    with pytest.raises(ParameterError, match=r"train\.initial_weights: there is no file own\.pt"):
        start_stage(TrainParams)
