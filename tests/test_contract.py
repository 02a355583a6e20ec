"""What dvc.yaml, the Snakefile and the code must say alike."""

import ast
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from workflow.code import WITHOUT_EFFECT, is_code, stage_code, wrong_code_deps
from workflow.graph import Stage, is_within, job_inputs, load_stages
from workflow.named import MADE as MADE_FOLDERS
from workflow.named import NAMED
from workflow.named import STAGES as STAGES_THAT_NAME
from workflow.sections import Params

ROOT = Path(__file__).parent.parent
STAGES = load_stages(ROOT / "dvc.yaml")
# Packages that only name their modules.
NAMES_ALONE = {"pconv/__init__.py", "workflow/__init__.py"}
NAMES_ALONE |= {f"workflow/{name}/__init__.py" for name in ("sources", "reporting")}
LOADED = """
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
inside = [os.path.relpath(file) for file in files if file]
print(*[file for file in inside if file.startswith(("pconv/", "workflow/"))])
"""
MADE = {output: stage.name for stage in STAGES for output in stage.outputs}
NOTED = {f"{NAMED}/{stage}.json" for stage in STAGES_THAT_NAME}  # by `check`, before all of them


def lies_in(path: str, places: Iterable[str]) -> bool:
    """Return whether a path is one of the places, or in one that is a folder."""
    return any(is_within(path, place) for place in places)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
class TestStage:
    """Each stage of dvc.yaml."""

    def test_inputs_exist_or_are_made(self, stage: Stage) -> None:
        """Every dependency is a file of the project or the output of a stage, or a part of one."""
        lost = [path for path in stage.inputs if path not in NOTED and not lies_in(path, MADE)]
        assert [path for path in lost if not (ROOT / path).is_file()] == []

    def test_paths_stand_in_the_command(self, stage: Stage) -> None:
        """No script reads or writes a path of its own: data in deps and outs is in the command.

        Of a folder in the command a dependency may be the part that is read.
        """
        words = shlex.split(stage.command)
        data = [path for path in stage.inputs if path not in NOTED and not is_code(path)]
        assert all(lies_in(path, words) for path in data)
        assert set(stage.outputs) <= set(words)

    def test_reads_its_own_section(self, stage: Stage) -> None:
        """A stage, its module and its section of params.yaml have one name."""
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


def test_check_comes_first() -> None:
    """DVC begins with the stage that refuses bad parameters, whichever stage is asked for."""
    entries = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert entries.pop("check")["always_changed"]
    after = {"check"}
    for name, entry in entries.items():
        read = [path for path in entry["deps"] if path in NOTED]
        assert read == ([f"{NAMED}/{name}.json"] if name in STAGES_THAT_NAME else [])
        makers = {
            maker for made, maker in MADE.items() for p in entry["deps"] if is_within(p, made)
        }
        assert read or makers & after, name
        after.add(name)


def test_snakemake_watches_what_dvc_does_not_touch() -> None:
    """Of what `check` notes each engine has its own file: DVC sets the times of its outputs."""
    for stage in STAGES:
        watched = job_inputs(stage, STAGES)
        own = f".stages/named-{stage.name}.json"
        assert (own in watched) == (stage.name in STAGES_THAT_NAME)
        assert not NOTED & set(watched)


def test_results_are_no_photographs() -> None:
    """All that stages make is refused as a folder of photographs, masks or weights."""
    outputs = [output for stage in STAGES if stage.name != "report" for output in stage.outputs]
    folders = [output.rstrip("/") for output in outputs if output.endswith("/")]
    assert all(any(Path(f).is_relative_to(made) for made in MADE_FOLDERS) for f in folders)


def test_deps_are_the_code_that_runs() -> None:
    """Each stage lists the import closure of its module: no edit goes unnoticed, none too many."""
    assert wrong_code_deps(ROOT / "dvc.yaml") == {}


def loaded_by(*modules: str) -> set[str]:
    """Return the project's files that Python has loaded once these modules are imported."""
    code = f"import {', '.join(modules)}, os, sys\n" + LOADED
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_deps_are_what_is_loaded() -> None:
    """What importing a stage loads stands in its list, but for what cannot change its bytes."""
    harmless = NAMES_ALONE | loaded_by(
        *(path.removesuffix(".py").replace("/", ".") for path in WITHOUT_EFFECT)
    )
    for stage in STAGES:
        loaded = loaded_by(f"workflow.stages.{stage.name}")
        assert f"workflow/stages/{stage.name}.py" in loaded
        assert loaded - set(stage.inputs) <= harmless, stage.name


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


def test_closure_notices_a_package(tmp_path: Path) -> None:
    """A package that does something when it is imported counts, one that only names does not."""
    (tmp_path / "workflow/stages").mkdir(parents=True)
    (tmp_path / "workflow/__init__.py").write_text('"""Names."""\nimport workflow.settings\n')
    (tmp_path / "workflow/settings.py").write_text("")
    (tmp_path / "workflow/stages/__init__.py").write_text("import os\nos.putenv('A', 'B')\n")
    (tmp_path / "workflow/stages/a.py").write_text("")
    found = stage_code("workflow.stages.a", tmp_path)
    assert [Path(path).name for path in found] == ["settings.py", "__init__.py", "a.py"]


def test_params_have_no_defaults() -> None:
    """sections.py may be left out of deps only while every value comes from params.yaml."""
    assert "workflow/sections.py" in WITHOUT_EFFECT
    for name, field in Params.model_fields.items():
        section = field.annotation
        assert section is not None
        inner = [key for key, f in section.model_fields.items() if not f.is_required()]
        assert not inner, f"{name}: {inner} have defaults"


def imports_of(path: Path) -> set[str]:
    """Return the packages that a module imports: by a statement, or by name in a call."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    named = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    named |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "import_module"]
    named |= {str(c.args[0].value) for c in calls if isinstance(c.args[0], ast.Constant)}
    return {name.split(".")[0] for name in named}


def test_library_knows_no_pipeline() -> None:
    """Nothing in pconv imports workflow, an engine or, but to fetch weights by URI, MLflow."""
    for path in sorted((ROOT / "pconv").rglob("*.py")):
        allowed = {"mlflow"} if path.name == "weights_source.py" else set()
        assert imports_of(path) & {"workflow", "dvc", "snakemake", "mlflow"} == allowed, path


def test_who_imports_mlflow() -> None:
    """In the pipeline two modules do, and the model's code, which MLflow itself runs."""
    modules = sorted((ROOT / "workflow").rglob("*.py"))
    users = [path.name for path in modules if "mlflow" in imports_of(path)]
    assert users == ["mlflow_run.py", "mlflow_store.py", "serving.py"]
