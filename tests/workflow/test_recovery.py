"""What a killed engine left goes; what a living one holds stays."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pconv.errors import DataError
from tests.project_copy import ROOT
from workflow.params import read_params, write_section_files
from workflow.recovery import (
    HeldError,
    distrust_future,
    distrust_restored,
    hold,
    recover_dvc,
    refuse_beside_dvc,
    refuse_beside_snakemake,
)
from workflow.sections import Params

HOLD = """
import sys
from pathlib import Path
from workflow.recovery import hold_snakemake
hold_snakemake(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
HOLD_FOLDER = """
import sys
from pathlib import Path
from workflow.recovery import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
LOCK = "locks/0.output.lock"
RECORD = """schema: '2.0'
stages:
  check:
    cmd: python -m check
  sample:
    cmd: python -m sample
    deps:
    - path: raw
      md5: 9f
    outs:
    - path: sample.csv
      md5: 0a1b
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what DVC keeps of a finished run."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(RECORD)
    return tmp_path


@contextmanager
def process(cwd: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the block ends."""
    with subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def living_dvc(folder: Path, *words: str) -> Iterator[None]:
    """A program that looks like DVC and is at work in a folder until the block ends."""
    for name in ("dvc", "dvc.py"):  # the second for `python -m dvc`
        (folder / name).write_text("import sys; print('runs', flush=True); sys.stdin.read()")
    with process(folder, sys.executable, *words) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "runs\n"
        yield


@contextmanager
def holder(folder: Path) -> Iterator[None]:
    """A process that has called `hold_snakemake` and lives until the block ends by SIGKILL."""
    with process(Path.cwd(), sys.executable, "-c", HOLD, str(folder)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "held\n"
        yield


class TestRecoverDvc:
    """`recover_dvc`, which `make repro` calls first."""

    def test_nothing_to_do(self, project: Path) -> None:
        """A whole record and no notes: no file changes."""
        recover_dvc(project)
        assert (project / "dvc.lock").read_text() == RECORD
        assert sorted(path.name for path in project.iterdir()) == [".dvc", "dvc.lock"]

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_cut_notes(self, project: Path, share: float) -> None:
        """A file of notes that is no JSON any more would stop DVC for good."""
        notes = project / ".dvc/tmp/rwlock"
        whole = json.dumps({"a": {"write": {"pid": 1, "cmd": "dvc repro"}}})
        notes.write_text(whole[: int(len(whole) * share)])
        recover_dvc(project)
        assert not notes.exists()

    def test_reused_number(self, project: Path) -> None:
        """The notes of a dead process name a number that another program has now."""
        notes = project / ".dvc/tmp/rwlock"
        notes.write_text(json.dumps({"a": {"write": {"pid": os.getpid(), "cmd": "dvc repro"}}}))
        recover_dvc(project)
        assert not notes.exists()

    def test_own_record(self, project: Path) -> None:
        """The record of this project, which has a stage without outputs, is a whole one."""
        shutil.copy(ROOT / "dvc.lock", project)
        recover_dvc(project)
        assert (project / "dvc.lock").read_bytes() == (ROOT / "dvc.lock").read_bytes()

    @pytest.mark.parametrize(
        "content", ["", RECORD[:40], RECORD[:120], RECORD[:-9], "stages: [", "\x00\xff"]
    )
    def test_cut_record(self, project: Path, content: str) -> None:
        """A record that is no whole one is put aside, not thrown away."""
        (project / "dvc.lock").write_text(content)
        recover_dvc(project)
        assert not (project / "dvc.lock").exists()
        assert (project / "dvc.lock.damaged").read_text() == content

    def test_conflict(self, project: Path) -> None:
        """What git leaves of a merge is no work of a kill: it stays, and what to do is said."""
        conflict = f"<<<<<<< HEAD\n{RECORD}=======\n{RECORD}>>>>>>> other\n"
        (project / "dvc.lock").write_text(conflict)
        with pytest.raises(DataError, match=r"dvc\.lock: two branches .*checkout --ours"):
            recover_dvc(project)
        assert (project / "dvc.lock").read_text() == conflict

    @pytest.mark.parametrize("start", [("dvc",), ("-m", "dvc")])
    def test_living_dvc(self, project: Path, start: tuple[str, ...]) -> None:
        """While a DVC is at work in the project its files are its own."""
        (project / "dvc.lock").write_text("stages: [")
        with living_dvc(project, *start, "repro"):
            recover_dvc(project)
            assert (project / "dvc.lock").read_text() == "stages: ["
        recover_dvc(project)
        assert not (project / "dvc.lock").exists()

    def test_dvc_elsewhere(self, project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A DVC that is at work in another folder keeps nobody from mending this one."""
        (project / "dvc.lock").write_text("stages: [")
        with living_dvc(tmp_path_factory.mktemp("another"), "dvc", "repro"):
            recover_dvc(project)
        assert not (project / "dvc.lock").exists()


class TestHoldSnakemake:
    """`hold_snakemake`, which the Snakefile calls first."""

    def test_living(self, tmp_path: Path) -> None:
        """The locks of a Snakemake that lives stay."""
        (tmp_path / "locks").mkdir()
        with holder(tmp_path):
            (tmp_path / LOCK).touch()
            with holder(tmp_path):
                assert (tmp_path / LOCK).exists()

    def test_killed(self, tmp_path: Path) -> None:
        """Those of one that was killed are taken away, even if it had company."""
        (tmp_path / "locks").mkdir()
        with holder(tmp_path), holder(tmp_path):
            (tmp_path / LOCK).touch()
        with holder(tmp_path):
            assert not (tmp_path / LOCK).exists()

    def test_survivor(self, tmp_path: Path) -> None:
        """Those of one that outlives its company stay when a third begins."""
        (tmp_path / "locks").mkdir()
        with ExitStack() as first:
            first.enter_context(holder(tmp_path))
            with holder(tmp_path):
                (tmp_path / LOCK).touch()
                first.close()
                with holder(tmp_path):
                    assert (tmp_path / LOCK).exists()


class TestHold:
    """`hold`."""

    def test_waits(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A folder is one process's at a time; who waits is told for whom."""
        with process(
            Path.cwd(), sys.executable, "-c", HOLD_FOLDER, str(tmp_path / "state")
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            end = threading.Timer(0.5, other.kill)
            end.start()
            with hold(tmp_path / "state"):
                assert end.finished.is_set()
        assert f"process {other.pid} on " in caplog.text

    @pytest.mark.parametrize("patience_s", [0, 0.3])
    def test_patience(
        self, tmp_path: Path, patience_s: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it takes too long the message says who has it; without patience nobody waits."""
        sleep = time.sleep if patience_s else lambda _: pytest.fail("it waits")
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
        monkeypatch.setattr("workflow.recovery.time", clock)
        with process(Path.cwd(), sys.executable, "-c", HOLD_FOLDER, str(tmp_path)) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            words = rf"process {other.pid} on .* is at work here"
            with pytest.raises(HeldError, match=words), hold(tmp_path, patience_s):
                pytest.fail("two have it")

    def test_no_locks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On a file system without locks the folder is had, and a warning says what that means."""

        def refusing(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.lockf", refusing)
        with hold(tmp_path):
            assert "has no locks; make sure that nothing else works here" in caplog.text

    def test_after_a_kill(self, tmp_path: Path) -> None:
        """What a killed process said of itself stands no longer than until the next one says it."""
        (tmp_path / "in-use").write_text("process 123456789 on a machine of a long name")
        with hold(tmp_path):
            held = (tmp_path / "in-use").read_text()
        assert held == f"process {os.getpid()} on {socket.gethostname()}"

    def test_free(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """One that nobody has is had at once, and nothing is left to read."""
        for _ in range(2):
            with hold(tmp_path / "state"):
                pass
        assert not caplog.text
        assert [path.read_text() for path in (tmp_path / "state").iterdir()] == [""]


class TestRefuse:
    """`refuse_beside_dvc` and `refuse_beside_snakemake`."""

    def test_beside_dvc(self, project: Path) -> None:
        """Snakemake does not run beside a DVC in the same project."""
        refuse_beside_dvc(project)
        (project / "deep").mkdir()
        for folder in (project, project / "deep"):
            refusal = pytest.raises(DataError, match="DVC is at work")
            with living_dvc(folder, "dvc", "repro"), refusal:
                refuse_beside_dvc(project)

    @pytest.mark.parametrize(
        ("folder", "words"), [(".", ["exp", "queue-worker", "n"]), (".dvc/tmp/exps/1", ["repro"])]
    )
    def test_beside_the_queue(self, project: Path, folder: str, words: list[str]) -> None:
        """It does beside queued experiments, which run in folders of their own."""
        (project / folder).mkdir(parents=True, exist_ok=True)
        with living_dvc(project / folder, "dvc", *words):
            refuse_beside_dvc(project)

    def test_beside_snakemake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stage does not run under DVC beside a Snakemake; by hand or after it, it does."""
        with holder(tmp_path):
            refuse_beside_snakemake(tmp_path)
            monkeypatch.setenv("DVC_STAGE", "train")
            with pytest.raises(DataError, match="Snakemake is at work"):
                refuse_beside_snakemake(tmp_path)
        refuse_beside_snakemake(tmp_path)
        refuse_beside_snakemake(tmp_path / "no Snakemake ever ran here")


class TestDistrustRestored:
    """`distrust_restored`, for outputs that DVC took from its cache."""

    @pytest.mark.parametrize(
        ("more_draws", "is_newer", "is_distrusted"),
        [(1, True, True), (1, False, False), (0, True, False)],
    )
    def test_values(
        self, tmp_path: Path, *, more_draws: int, is_newer: bool, is_distrusted: bool
    ) -> None:
        """The file of a section looks new if a newer record tells of other numbers, else not."""
        params = read_params(ROOT / "presets/tiny.yaml")
        write_section_files(params, tmp_path)
        files = [tmp_path / f"{name}.json" for name in Params.model_fields]
        for file in files:
            os.utime(file, (1e9, 1e9))
        sections = {name: getattr(params, name).model_dump() for name in Params.model_fields}
        sections["report"]["bootstrap_draws"] += more_draws
        stages = {
            name: {"cmd": "python", "params": {"params.yaml": {name: section}}}
            for name, section in sections.items()
            if name != "masks"  # never run under DVC
        }
        record = tmp_path / "dvc.lock"
        record.write_text(yaml.safe_dump({"stages": stages}))
        os.utime(record, (1e9 + is_newer - 0.5, 1e9 + is_newer - 0.5))
        distrust_restored(params, record, tmp_path)
        touched = [file.stem for file in files if file.stat().st_mtime > 1.1e9]
        assert touched == (["report"] if is_distrusted else [])

    @pytest.mark.parametrize("content", [None, "stages: [", "stages: {train: {cmd: a}}"])
    def test_no_record(self, tmp_path: Path, content: str | None) -> None:
        """Where DVC has recorded nothing, there is nothing to distrust."""
        params = read_params(ROOT / "presets/tiny.yaml")
        write_section_files(params, tmp_path)
        if content is not None:
            (tmp_path / "dvc.lock").write_text(content)
        before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
        distrust_restored(params, tmp_path / "dvc.lock", tmp_path)
        assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")} == before


class TestDistrustFuture:
    """`distrust_future`, for a clock that was set back."""

    def test_only_the_future(self, tmp_path: Path) -> None:
        """What is of the future by this clock looks old; all else keeps its time.

        So does what a machine wrote whose clock is a minute fast.
        """
        now = time.time()
        times = {"past": now - 1e6, "present": now, "fast": now + 60, "future": now + 1e6}
        for name, at in times.items():
            (tmp_path / name).mkdir()
            for path in (tmp_path / name / ".snakemake_timestamp", tmp_path / name):
                path.touch()
                os.utime(path, (at, at))
        distrust_future(str(tmp_path / name) for name in [*times, "absent"])
        for name, at in times.items():
            wanted = 1 if name == "future" else at  # 0 is no time to Snakemake
            for path in (tmp_path / name / ".snakemake_timestamp", tmp_path / name):
                assert path.stat().st_mtime == pytest.approx(wanted)
