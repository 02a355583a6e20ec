"""One changed parameter reruns exactly the stages whose code reads it, and what follows them.

What DVC would rerun it says itself. What a stage reads is taken from its code: the sections its
modules load and the keys they name; what follows, from the paths in the commands.
"""

import ast
import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx
import pytest
import yaml
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

from tests.project_copy import write_stand_ins
from workflow.code import is_code, stage_code
from workflow.graph import load_stages
from workflow.sections import Params

ROOT = Path(__file__).parent.parent
SECTION_OF = {field.annotation.__name__: name for name, field in Params.model_fields.items()}
Reruns = dict[str, set[str]]

# DVC's own, about a library it uses.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


def other_value(value: object) -> object:
    """Return a value that is not the given one."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return [*value, "x"]
        case _:
            return f"{value or ''}x"


def a_project(folder: Path, leave_out: str = "") -> Repo:
    """Make a DVC project of the same graph in which every stage counts as run, and go there.

    Its outputs are stand-ins. The code is left out of the dependencies: it holds no parameter, and
    to hash it for every one of them would take minutes.

    Args:
        folder: Where.
        leave_out: A stage that shall not list its parameters.
    """
    shutil.copy(ROOT / "params.yaml", folder)
    description = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    del description["stages"]["check"]  # always runs
    for name, entry in description["stages"].items():
        entry["deps"] = [path for path in entry["deps"] if not is_code(path)]
        if name == leave_out:
            del entry["params"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": description["stages"]}))
    write_stand_ins(folder)
    os.chdir(folder)  # DVC takes some paths, and the names of stages, from the current folder
    repo = Repo.init(no_scm=True)
    repo.commit(force=True)
    return repo


def reruns_by_dvc(repo: Repo, section: str, key: str, graph: networkx.DiGraph) -> set[str]:
    """Return what DVC would rerun after an edit of one parameter.

    Args:
        repo: The project.
        section: The parameter's.
        key: The parameter's.
        graph: DVC's graph of the stages; an edge leads from a stage to one it needs.
    """
    path = Path(repo.root_dir, "params.yaml")
    before = path.read_text()
    content = yaml.safe_load(before)
    content[section][key] = other_value(content[section][key])
    path.write_text(yaml.safe_dump(content))
    try:
        changed = set(repo.status())
    finally:
        path.write_text(before)
    return changed.union(*(networkx.ancestors(graph, stage) for stage in changed))


def dvc_graph(repo: Repo) -> networkx.DiGraph:
    """Return DVC's graph, by the names of the stages."""
    return networkx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing)


def reruns_by_code(root: Path) -> Reruns:
    """Return, for every parameter, the stages whose code reads it and those that follow them."""
    found: Reruns = {f"{section}.{key}": set() for section, key in all_parameters()}
    for stage in load_stages(ROOT / "dvc.yaml"):
        files = stage_code(f"workflow.stages.{stage.name}", root)
        nodes = [
            node
            for file in files
            if file.endswith(".py")
            for node in without_views(ast.parse((root / file).read_text()))
        ]
        sections, named = sections_read(nodes), names_read(nodes)
        for section, key in all_parameters():
            if section in sections and named.fullmatch(key.removesuffix("_weight")):
                found[f"{section}.{key}"].add(stage.name)
    return {parameter: with_followers(stages) for parameter, stages in found.items()}


def all_parameters() -> list[tuple[str, str]]:
    """Return section and key of every parameter."""
    content: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return [(section, key) for section, keys in content.items() for key in keys]


def without_views(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only show parameters: what ``log_params`` is called with."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.Call) and ast.unparse(child.func).endswith("log_params")):
            yield from without_views(child)


def sections_read(nodes: list[ast.AST]) -> set[str]:
    """Return the sections of params.yaml that code loads; whoever opens the file reads all."""
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    loaded = [call.args[0] for call in calls if ast.unparse(call.func).endswith("start_stage")]
    opens = any(ast.unparse(call.func).endswith("read_params") for call in calls) or any(
        isinstance(node, ast.Constant) and node.value == "params.yaml" for node in nodes
    )
    return set(SECTION_OF.values()) if opens else {SECTION_OF[ast.unparse(arg)] for arg in loaded}


def names_read(nodes: list[ast.AST]) -> "re.Pattern[str]":
    """Return a pattern of the attributes that code reads, those of ``getattr`` among them."""
    names = [
        re.escape(node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    ]
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            match node.args[1]:
                case ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue()]):
                    names.append(f"{re.escape(start)}.+")
    return re.compile("|".join(names))


def with_followers(names: set[str]) -> set[str]:
    """Return the stages and all whose commands name, directly or not, what they make."""
    stages = load_stages(ROOT / "dvc.yaml")
    found = set(names)
    for _ in stages:
        made = {path for stage in stages if stage.name in found for path in stage.outputs}
        found |= {stage.name for stage in stages if made & set(shlex.split(stage.command))}
    return found


def differing(one: Reruns, other: Reruns) -> dict[str, tuple[set[str], set[str]]]:
    """Return the parameters of which two accounts differ, and both accounts."""
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


@pytest.fixture(autouse=True, scope="module")
def come_back() -> Iterator[None]:
    """Return to the folder where the tests started."""
    with contextlib.chdir("."):
        yield


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Reruns:
    """What DVC would rerun after an edit of each parameter."""
    repo = a_project(tmp_path_factory.mktemp("project"))
    assert repo.status() == {}
    graph = dvc_graph(repo)
    return {f"{s}.{key}": reruns_by_dvc(repo, s, key, graph) for s, key in all_parameters()}


def code_copy(folder: Path, file: str, old: str, new: str) -> Path:
    """Copy the code with one edit."""
    for package in ("pconv", "workflow"):
        shutil.copytree(ROOT / package, folder / package)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder


def test_every_parameter(by_dvc: Reruns) -> None:
    """For each parameter DVC reruns the stages that read it and what follows, and no other."""
    assert len(by_dvc) > 80
    assert differing(by_dvc, reruns_by_code(ROOT)) == {}


def test_a_second_reader_is_found(by_dvc: Reruns, tmp_path: Path) -> None:
    """A stage that reads another's section would not be rerun by DVC, and the walk tells."""
    first = "params, refuse_edits = start_stage(SampleParams)"
    second = f"{first}\n    start_stage(TrainParams)[0].width"
    root = code_copy(tmp_path, "workflow/stages/sample.py", first, second)
    dvc, code = differing(by_dvc, reruns_by_code(root))["train.width"]
    assert code - dvc == {"sample"}


def test_an_unread_parameter_is_found(by_dvc: Reruns, tmp_path: Path) -> None:
    """A parameter that no code reads would rerun a stage for nothing, and the walk tells."""
    root = code_copy(tmp_path, "workflow/stages/report.py", "params.bootstrap_draws", "1000")
    assert differing(by_dvc, reruns_by_code(root)) == {
        "report.bootstrap_draws": ({"report"}, set())
    }


@pytest.mark.parametrize(
    ("edited", "reruns"),
    [
        ("train", {"augment", "train", "evaluate", "report"}),
        ("valid/gt", {"train", "sample", "evaluate", "report"}),
        ("valid/ec", {"sample", "evaluate", "report"}),
    ],
)
def test_part_of_the_raw_data(tmp_path: Path, edited: str, reruns: set[str]) -> None:
    """Where a part of the raw data changes, the stages run again that read it, and what follows."""
    repo = a_project(tmp_path)
    path = tmp_path / "data/raw" / edited / "another"
    path.parent.mkdir(exist_ok=True)
    path.write_text("new")
    changed = set(repo.status()) - {"download"}  # whose output it is
    graph = dvc_graph(repo)
    assert changed.union(*(networkx.ancestors(graph, stage) for stage in changed)) == reruns


def test_pairs_are_drawn_before_the_training(tmp_path: Path) -> None:
    """DVC asks for the pairs first: what can't be drawn is told before hours of training."""
    order = [stage.name for stage in plan_repro(a_project(tmp_path).index.graph)]
    assert order.index("sample") < order.index("train")


def test_a_section_left_out_is_found(tmp_path: Path) -> None:
    """A stage whose entry in dvc.yaml lacks its section would keep its old results."""
    repo = a_project(tmp_path, leave_out="sample")
    assert reruns_by_dvc(repo, "sample", "pairs", dvc_graph(repo)) == set()
    assert reruns_by_code(ROOT)["sample.pairs"] == {"sample", "evaluate", "report"}
