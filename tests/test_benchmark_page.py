"""The page of all benchmarks is made from what was kept, and leaves none out."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.record import Record, Table, read_record
from benchmarks.tables import MARKER, NOT_MEASURED, PAGES, RESULTS, filled
from tests.project_copy import ROOT
from workflow.places import places

RECORD = Record(
    command="python -m benchmarks.x",
    machine="a machine",
    versions={"Python": "3"},
    notes=["A note."],
    tables=[Table(["name", "ms"], [["ours", "1.0"]], title="Batch 2")],
)
PAGE = "# Page\n\n<!-- results: x -->\nold\n<!-- end -->\n\nText.\n"


class TestRecord:
    """One run of a benchmark."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """What is written is read back."""
        RECORD.write(tmp_path / "results" / "x.json")
        assert read_record(tmp_path / "results" / "x.json").markdown() == RECORD.markdown()

    def test_markdown(self) -> None:
        """Words stand left and numbers right."""
        assert RECORD.markdown().splitlines() == [
            "`python -m benchmarks.x`",
            "",
            "a machine; Python 3.",
            "",
            "A note.",
            "",
            "Batch 2",
            "",
            "| name | ms |",
            "| --- | --: |",
            "| ours | 1.0 |",
        ]


class TestFilled:
    """The places of a page."""

    def test_values(self, tmp_path: Path) -> None:
        """A place gets its result, the text around it stays, and twice is as good as once."""
        RECORD.write(tmp_path / "x.json")
        page = filled(PAGE, tmp_path)
        assert RECORD.markdown() in page
        assert "old" not in page
        assert page.startswith("# Page\n")
        assert page.endswith("Text.\n")
        assert filled(page, tmp_path) == page

    def test_not_measured(self, tmp_path: Path) -> None:
        """A place without a result says so."""
        assert NOT_MEASURED in filled(PAGE, tmp_path)


class TestPages:
    """The pages in the repository."""

    def test_are_of_the_kept_results(self) -> None:
        """`python -m benchmarks.tables` would change nothing."""
        for page in PAGES:
            assert page.read_text() == filled(page.read_text(), RESULTS)

    def test_every_result_has_a_place(self) -> None:
        """Nothing kept goes unseen, and no place stands twice."""
        found = [name for page in PAGES for name in places(page.read_text(), MARKER)]
        assert len(found) == len(set(found))
        assert {path.stem for path in RESULTS.glob("*.json")} <= set(found)

    def test_every_place_has_a_command(self) -> None:
        """Each place stands below the command that fills it."""
        for page in PAGES:
            text = page.read_text()
            for name in places(text, MARKER):
                above = text.partition(f"<!-- results: {name} -->")[0]
                assert f"--json benchmarks/results/{name}.json" in above

    def test_every_benchmark_is_listed(self) -> None:
        """Each module that can be run is named on the page."""
        text = PAGES[0].read_text()
        modules = [p for p in PAGES[0].parent.glob("*.py") if "__main__" in p.read_text()]
        missing = [p.stem for p in modules if f"benchmarks.{p.stem}" not in text]
        assert not missing


class TestOnGPU:
    """`benchmarks/on_gpu.sh`, with a Python that only notes what it is asked to run."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
        """Run the script; what it would have started stands in ``started``."""
        python = tmp_path / "bin/python"
        python.parent.mkdir()
        python.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/started\n[ "$2" != benchmarks.loop ]\n'
        )
        python.chmod(0o755)

        def call(*steps: str) -> subprocess.CompletedProcess[str]:
            environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
            command = [ROOT / "benchmarks/on_gpu.sh", tmp_path / "out", *steps]
            return subprocess.run(command, env=environment, capture_output=True, text=True)

        return call

    def test_commands(self, run: Callable[..., object], tmp_path: Path) -> None:
        """It runs the commands that stand on the pages, and writes what these want."""
        run()
        started = (tmp_path / "started").read_text().splitlines()
        pages = re.sub(r"\\\n\s*", "", "".join(page.read_text() for page in PAGES))
        for words in started:
            if words.startswith("-m benchmarks"):
                command = words.replace(str(tmp_path / "out"), "benchmarks/results")
                assert f"python {command}\n" in pages
        names = {Path(words.split()[-1]).stem for words in started}
        assert names >= {"network-cuda-6", "network-cuda-16", "network-cuda-64"}
        assert names >= {"profile-cuda-graphs", "loop-cuda"}

    def test_one_fails(self, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        """A step that fails stops none after it, and the script ends with status 1."""
        done = run()
        assert done.returncode == 1
        statuses = [line.split()[-1] for line in done.stdout.splitlines()]
        assert statuses == ["0", "0", "0", "0", "1", "0", "0"]

    def test_some(
        self, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
    ) -> None:
        """Only the steps that are named run."""
        assert run("network-cuda-6").returncode == 0
        (started,) = (tmp_path / "started").read_text().splitlines()
        assert "--batch 6 " in started
