"""What all tests share: on CI Hypothesis draws the same examples every time.

Elsewhere each run draws others; what one finds becomes an `@example`, so that CI has it too.
"""

import getpass
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import workflow.stages  # noqa: F401  # its settings, before torch computes anything

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what runs whole pipelines: minutes each, they would end long after the rest."""
    items.sort(key=lambda item: item.get_closest_marker("engines") is None)


@pytest.fixture(scope="session", autouse=True)
def _temporary_files() -> Iterator[None]:
    """What programs leave among temporary files is cleared up, but for compiled code.

    The folder is not pytest's, which only its owner may enter: servers run as other users.
    """
    with (
        tempfile.TemporaryDirectory(prefix="pconv-tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
            shared = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
            patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared))
        patch.setenv("TMPDIR", folder)
        patch.setattr("tempfile.tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _no_store_of_another_test() -> Iterator[None]:
    """MLflow keeps the address of the store that a test logged to for the whole process."""
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
