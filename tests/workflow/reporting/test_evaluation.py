"""What the report reads of the evaluation, and what it refuses."""

import re

import pandas as pd
import pytest

from pconv.errors import DataError
from tests.workflow.reporting.project import METHODS, PHOTOS, Project
from workflow.mask_kinds import KINDS
from workflow.reporting.evaluation import IDENTICAL_DB, read_evaluation


class TestReadEvaluation:
    """What is read of the evaluation, and what is refused."""

    def test_values(self, reported: Project) -> None:
        """Pairs, methods and buckets are those of the files."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        assert evaluation.methods == ["pconv-first", "pconv-last", "mean", "telea"]
        assert len(evaluation.facts) == PHOTOS * len(KINDS) * 2
        for share, bucket in zip(
            evaluation.facts["hole_share"], evaluation.facts["bucket"], strict=True
        ):
            edges = [float(edge) / 100 for edge in re.findall(r"\d+", bucket)]
            low, high = edges if len(edges) == 2 else (0, edges[0])
            assert low < share <= high

    def test_caps_infinity(self, project: Project) -> None:
        """Infinite PSNR becomes 100 dB and is counted."""
        project.edit(lambda table: table.assign(psnr_hole="inf"))
        evaluation = read_evaluation(project.inputs.evaluation)
        assert set(evaluation.identical) == set(METHODS)
        assert evaluation.values[("telea", "psnr_hole")].max() == IDENTICAL_DB

    def test_caps_decibels_only(self, project: Project) -> None:
        """A loss may be larger than 100."""
        project.edit(lambda table: table.assign(total="295.5"))
        assert read_evaluation(project.inputs.evaluation).values["telea", "total"].max() == 295.5

    @pytest.mark.parametrize(
        ("share", "bucket"), [("0.01", "up to 1 %"), ("0.1", "1-10 %"), ("0.6", "50-60 %")]
    )
    def test_bucket_edges(self, project: Project, share: str, bucket: str) -> None:
        """A share that is the end of a bucket belongs to it."""
        pairs = set(project.edit(lambda table: table.assign(hole_share=share))["pair"])
        facts = read_evaluation(project.inputs.evaluation).facts
        assert set(facts.loc[sorted(pairs), "bucket"]) == {bucket}

    def test_empty_shard(self, project: Project) -> None:
        """A shard without a pair is no error as long as another has some."""
        folder = project.root / "evaluation/0002"
        folder.mkdir()
        (folder / "pairs.csv").write_text(project.shard.read_text().splitlines()[0] + "\n")
        assert len(read_evaluation(project.inputs.evaluation).facts) == PHOTOS * 10

    @pytest.mark.parametrize("keep_head", [False, True])
    def test_empty_raises(self, project: Project, keep_head: bool) -> None:
        """An evaluation without a row is refused, naming its folder."""
        for path in project.inputs.evaluation.glob("*/pairs.csv"):
            if keep_head:
                path.write_text(path.read_text().splitlines()[0] + "\n")
            else:
                path.unlink()
        with pytest.raises(DataError, match=r"evaluation: no measured pairs"):
            read_evaluation(project.inputs.evaluation)

    @pytest.mark.parametrize(
        ("column", "value", "wanted"),
        [
            ("psnr", "12,5", "a number"),
            ("psnr", "nan", "a number"),
            ("psnr_hole", "-inf", "a finite number"),
            ("l1", "inf", "a finite number"),
            ("hole_share", "1.5", "a share from 0 to 1"),
            ("hole_share", "", "a share from 0 to 1"),
            ("kind", "blob", "one of ec, or"),
            ("pair", "", "a name"),
            ("method", "", "a name"),
        ],
    )
    def test_damaged_value_raises(
        self, project: Project, column: str, value: str, wanted: str
    ) -> None:
        """A damaged value is refused, naming file, line, column, what was found and wanted."""

        def damage(table: pd.DataFrame) -> pd.DataFrame:
            table.loc[2, column] = value
            return table

        project.edit(damage)
        found = rf"0000/pairs\.csv: line 4, column {column}: found '{value}', wanted {wanted}"
        with pytest.raises(DataError, match=found):
            read_evaluation(project.inputs.evaluation)

    @pytest.mark.parametrize("column", ["pair", "photo", "hole_share", "psnr", "l1_hole"])
    def test_missing_column_raises(self, project: Project, column: str) -> None:
        """A missing column is named."""
        project.edit(lambda table: table.drop(columns=column))
        with pytest.raises(DataError, match=rf"0000/pairs\.csv: no column {column}; found"):
            read_evaluation(project.inputs.evaluation)

    @pytest.mark.parametrize("content", [b"", b'pair\n"', b"\xff\xfe\x00", b"a,b\n1,2\n1,2,3\n"])
    def test_no_table_raises(self, project: Project, content: bytes) -> None:
        """A file that is no table is refused by name."""
        project.shard.write_bytes(content)
        with pytest.raises(DataError, match=r"0000/pairs\.csv: (not a table|no column)"):
            read_evaluation(project.inputs.evaluation)

    def test_twice_raises(self, project: Project) -> None:
        """A pair measured twice with a method is refused."""
        project.edit(lambda table: pd.concat([table, table.iloc[[0]]]))
        with pytest.raises(DataError, match="pair 0-ec-0 is measured twice with pconv-first"):
            read_evaluation(project.inputs.evaluation)

    def test_contradiction_raises(self, project: Project) -> None:
        """Rows that disagree about their pair are refused."""

        def damage(table: pd.DataFrame) -> pd.DataFrame:
            table.loc[0, "photo"] = "another.png"
            return table

        project.edit(damage)
        with pytest.raises(DataError, match="pair 0-ec-0 differ in their photo"):
            read_evaluation(project.inputs.evaluation)

    def test_mixed_features_raise(self, project: Project) -> None:
        """Loss terms of two kinds of features are not averaged."""
        project.edit(
            lambda table: table.assign(features=["random", "imagenet"] * (len(table) // 2))
        )
        with pytest.raises(DataError, match="different VGG features"):
            read_evaluation(project.inputs.evaluation)
