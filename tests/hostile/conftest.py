"""What the hostile tests share: a finished tiny pipeline to spoil, and the record."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.hostile import record
from tests.hostile.commands import ROOT, stage, tree_hash
from tests.hostile.record import Attempt
from workflow.params import SECTION_FILES, read_params, write_section_files

STAGES = ["download", "augment", "masks", "train", "sample", "evaluate", "report"]
Note = Callable[..., None]

# As small as each stage takes: what is tested here is what happens to bad files.
SMALL = {
    "augment": {"images": 8, "size_px": 16},
    "masks": {"train": 8, "valid": 12, "held_out": 2, "size_px": 16},
    "train": {"levels": 2, "epochs": 1, "first_epoch": 1, "batch_size": 4},
    "sample": {"pairs": 2, "pairs_per_generated_kind": 1},
    "evaluate": {"methods": ["mean", "telea"], "vgg_methods": [], "vgg_pairs": 0},
}


def small_params() -> dict[str, dict[str, object]]:
    """Return the tiny preset, made smaller yet."""
    params = yaml.safe_load((ROOT / "presets/tiny.yaml").read_text())
    for section, values in SMALL.items():
        params[section] |= values
    return params


def write_params(project: Path, params: dict[str, dict[str, object]]) -> None:
    """Give a project other parameters, with the files of their sections beside them."""
    path = project / "params.yaml"
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    write_section_files(read_params(path), project / SECTION_FILES)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, one process, and an MLflow server that is away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PCONV_WORKERS", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("PCONV_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "params.yaml").write_text(yaml.safe_dump(small_params(), sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PCONV_WORKERS", "1")
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for name in STAGES:
            answer = stage(name)
            assert answer.status == 0, answer.said
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to be spoilt; the current one."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unchanged(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it when everything is in place: from then on nothing in the folder may change."""
    before: list[str] = []
    yield lambda: before.append(tree_hash(tmp_path))
    assert before, "the test must say from when on nothing may change"
    assert tree_hash(tmp_path) == before[-1], "something was left behind, changed or deleted"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Leave the outcome of a test where its fixtures find it."""
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


_PASSED = pytest.StashKey[bool]()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Iterator[Note]:
    """Take down what is tried; in the long form it comes into the record, and a failure too."""
    attempts: list[Attempt] = []

    def take_down(*arguments: object, **options: object) -> None:
        attempts.append(Attempt(*arguments, **options))

    yield take_down
    if not record.is_long():
        return
    if not request.node.stash.get(_PASSED, False):
        attempts.append(Attempt("Failed tests", request.node.name, "the test failed", lost=1))
    record.write(request.node.nodeid, attempts)
