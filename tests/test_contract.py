"""What dvc.yaml, the Snakefile and the code must say alike."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from workflow.code import WITHOUT_EFFECT, is_code, stage_code, wrong_code_deps
from workflow.graph import Stage, is_within, load_stages
from workflow.params import Params

ROOT = Path(__file__).parent.parent
STAGES = load_stages(ROOT / "dvc.yaml")
MADE = {output: stage.name for stage in STAGES for output in stage.outputs}


def lies_in(path: str, places: Iterable[str]) -> bool:
    """Return whether a path is one of the places, or in one that is a folder."""
    return any(is_within(path, place) for place in places)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
class TestStage:
    """Each stage of dvc.yaml."""

    def test_inputs_exist_or_are_made(self, stage: Stage) -> None:
        """Every dependency is a file of the project or the output of a stage, or a part of one."""
        lost = [path for path in stage.inputs if not lies_in(path, MADE)]
        assert [path for path in lost if not (ROOT / path).is_file()] == []

    def test_paths_stand_in_the_command(self, stage: Stage) -> None:
        """No script reads or writes a path of its own: data in deps and outs is in the command.

        Of a folder in the command a dependency may be the part that is read.
        """
        words = shlex.split(stage.command)
        data = [path for path in stage.inputs if not is_code(path)]
        assert all(lies_in(path, words) for path in data)
        assert set(stage.outputs) <= set(words)

    def test_reads_its_own_section(self, stage: Stage) -> None:
        """A stage, its module and its section of params.yaml have one name."""
        assert stage.section == stage.name
        assert stage.name in Params.model_fields
        assert f"python -m workflow.stages.{stage.name} " in stage.command


def test_one_maker_a_file() -> None:
    """No two stages write one path, or one inside the other's folder."""
    outputs = [output for stage in STAGES for output in stage.outputs]
    assert len(outputs) == len(set(outputs))
    inside = [(a, b) for a in outputs for b in outputs if a != b and a.startswith(b)]
    assert not inside


def test_no_templates() -> None:
    """dvc.yaml is plain YAML: both engines read the same words."""
    text = (ROOT / "dvc.yaml").read_text()
    entries = yaml.safe_load(text)["stages"].values()
    assert "${" not in text
    assert not [entry for entry in entries if {"foreach", "matrix", "do"} & entry.keys()]


def test_deps_are_the_code_that_runs() -> None:
    """Each stage lists the import closure of its module: no edit goes unnoticed, none too many."""
    assert wrong_code_deps(ROOT / "dvc.yaml") == {}


def test_closure_notices_a_function_level_import(tmp_path: Path) -> None:
    """An import inside a function counts, one for type checkers does not."""
    (tmp_path / "pconv").mkdir()
    (tmp_path / "pconv/a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pconv.c\n"
        "def f():\n    from pconv import b\n"
    )
    (tmp_path / "pconv/b.py").write_text("")
    (tmp_path / "pconv/c.py").write_text("")
    assert stage_code("pconv.a", tmp_path) == ["pconv/a.py", "pconv/b.py"]


def test_params_have_no_defaults() -> None:
    """params.py may be left out of deps only as long as every value comes from params.yaml."""
    assert "workflow/params.py" in WITHOUT_EFFECT
    for name, field in Params.model_fields.items():
        section = field.annotation
        assert section is not None
        inner = [key for key, f in section.model_fields.items() if not f.is_required()]
        assert not inner, f"{name}: {inner} have defaults"


def test_library_knows_no_pipeline() -> None:
    """Nothing in pconv imports workflow, an engine or MLflow."""
    for path in sorted((ROOT / "pconv").rglob("*.py")):
        closure = stage_code(f"pconv.{path.stem}", ROOT)
        assert not [other for other in closure if other.startswith("workflow/")], path
