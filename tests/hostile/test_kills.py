"""``kill -9`` at random moments and the same command again; the long form is `kills`."""

from pathlib import Path

import pytest

from tests.hostile.engines import Project
from tests.hostile.kills import attempts_of, run_courses
from tests.hostile.record import is_long
from tests.waiting import wait_for

TIMES = 4


@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.skipif(is_long(), reason="`make hostile` runs tests.hostile.kills itself")
def test_kills(tmp_path: Path) -> None:
    """Whoever was killed and whenever: the rerun makes the bytes of the unbroken run."""
    outcomes, wrong_at_last = run_courses(TIMES, seed=2, folder=tmp_path, limit_s=600)
    assert sum(outcome.hit for outcome in outcomes) == TIMES
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert wrong_at_last == []
    assert sum(attempt.times for attempt in attempts_of(outcomes, [])) == len(outcomes) + 2


@pytest.mark.engines
@pytest.mark.slow
def test_incomplete(tmp_path: Path) -> None:
    """Snakemake is killed, and its job ends without it: the same command goes on from there."""
    project = Project(tmp_path / "project")
    command = ("snakemake", "--cores", "2", "models")
    process = project.start(*command)
    wait_for(lambda: project.stage_processes("train") or process.poll() is not None, 300)
    assert process.poll() is None
    process.kill()
    assert project.orphans(300) == []
    process.wait()
    done = project.run(*command)
    assert done.status == 0, done.said
