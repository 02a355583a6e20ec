"""Projects that the tests of the report share."""

from pathlib import Path

import pytest

from tests.workflow.reporting.project import METHODS, Project, make_project, stub_fill
from workflow.mask_kinds import KINDS
from workflow.reporting import examples, gallery
from workflow.reporting.page import Shown


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose fills cost nothing."""
    monkeypatch.setattr(examples, "fill_pairs", stub_fill)
    return make_project(tmp_path, METHODS, KINDS)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose report is written once, for the tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "fill_pairs", stub_fill)
        found = make_project(tmp_path_factory.mktemp("reported"), METHODS, KINDS)
        found.write()
    return found


@pytest.fixture
def undrawn(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose figures are not drawn, for the tests of words and numbers."""
    nothing = Shown("", "", "data:,")
    monkeypatch.setattr(gallery, "draw_all", lambda *_: {gallery.HERO: nothing})
    return project
