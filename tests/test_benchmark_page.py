"""The page of all benchmarks is made from what was kept, and leaves none out."""

from pathlib import Path

from benchmarks.record import Record, Table, read_record
from benchmarks.tables import MARKER, NOT_MEASURED, PAGES, RESULTS, filled
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
