"""The report stage: its tables, figures and page, and what it refuses."""

import csv
import json
import re
import sys
from dataclasses import fields
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pconv.errors import DataError, ParameterError, WeightsError
from tests.overtaken import refuse
from tests.workflow.reporting.project import (
    LOSSES,
    METHODS,
    PARAMS,
    PHOTOS,
    SIZE_PX,
    Project,
    make_project,
    stub_fill,
)
from workflow.dvc_hash import dvc_hash
from workflow.pairs import read_pairs, write_pairs
from workflow.reporting import examples, gallery, pictures
from workflow.reporting.names import GROUP_LABELS, GROUPS, METRICS
from workflow.reporting.statistics import MIN_PHOTOS
from workflow.stages.report import Inputs, Outputs, main, write_report


class PageReader(HTMLParser):
    """Collects what a page refers to and the ids and tags it has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and what it loads."""
        self.tags.append(tag)
        loads = {"img": "src", "script": "src", "link": "href", "iframe": "src"}
        self.addresses += [v or "" for k, v in attrs if k == loads.get(tag)]


class TestWriteReport:
    """The stage as a whole."""

    def test_smoke(self, reported: Project) -> None:
        """Every output is written, with a picture for every figure of the paper."""
        outputs = reported.outputs()
        assert all(getattr(outputs, field.name).exists() for field in fields(outputs))
        names = {path.stem for path in outputs.figures.glob("*.png")}
        wanted = {"masks", "augmentation", "ec", "or", "extremes", "curves", "hole_share"}
        assert names == wanted | {"error", "hero"}

    def test_same_bytes(self, reported: Project, project: Project) -> None:
        """The same inputs in another folder give the same bytes, but for the paths on the page."""
        first, second = reported.outputs().page.parent, project.write().page.parent
        files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
        assert len(files) > 10
        for file in files:
            one, other = (first / file).read_bytes(), (second / file).read_bytes()
            assert one.replace(bytes(reported.root), bytes(project.root)) == other, file

    def test_interrupted(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C while pictures are drawn leaves the report before it as it was."""
        outputs = project.write()
        files = [path for path in outputs.page.parent.rglob("*") if path.is_file()]
        before = {path: path.read_bytes() for path in files}
        project.edit(lambda table: table.assign(psnr_hole=table["psnr_hole"].astype(float) + 1))

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(gallery, "draw_all", interrupt)
        with pytest.raises(KeyboardInterrupt):
            project.write()
        assert {path: path.read_bytes() for path in files} == before

    def test_shards_do_not_matter(self, undrawn: Project) -> None:
        """The numbers are the same whatever the number of shards."""
        before = undrawn.write("a")
        second = undrawn.root / "evaluation/0001/pairs.csv"
        rows = second.read_text().splitlines()[1:]
        undrawn.shard.write_text(undrawn.shard.read_text() + "\n".join(reversed(rows)) + "\n")
        second.unlink()
        after = undrawn.write("b")
        assert before.csv.read_bytes() == after.csv.read_bytes()
        assert before.metrics.read_bytes() == after.metrics.read_bytes()

    def test_page_is_self_contained(self, reported: Project) -> None:
        """The page loads nothing but what it carries in itself."""
        reader = PageReader()
        reader.feed(reported.outputs().page.read_text())
        assert reader.addresses
        assert all(address.startswith("data:") for address in reader.addresses)
        assert {"table", "input", "select"} <= set(reader.tags)

    def test_page_names_the_run(self, reported: Project) -> None:
        """The page says by which fingerprint the run is found, and the hashes of its inputs."""
        page = reported.outputs().page.read_text()
        assert (
            "tags.fingerprint = &#39;f1e2d3&#39;" in page or "tags.fingerprint = 'f1e2d3'" in page
        )
        assert dvc_hash(reported.inputs.evaluation) in page

    def test_plain_network_alone(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no partial convolutions were trained, the plain network's last fills are shown."""
        (project.inputs.models / "pconv").rename(project.inputs.models / "plain")
        for shard in project.inputs.evaluation.glob("*/pairs.csv"):
            shard.write_text(shard.read_text().replace(",pconv-", ",plain-"))
        drawn = Mock(wraps=pictures.fills_figure)
        monkeypatch.setattr(pictures, "fills_figure", drawn)
        page = unescape(project.write().page.read_text())
        assert "<b>Hole, filled, truth.</b> Plain convolution, epoch 3. " in page
        assert "selected>Plain convolution, epoch 3<" in page
        assert "tags.fingerprint = 'f1e2d3'" in page
        assert [call.args[1] for call in drawn.call_args_list] == [["plain-last", "telea"]] * 2

    def test_pictures_hold_no_metadata(self, reported: Project) -> None:
        """No version and no date is written into a picture."""
        for path in reported.outputs().figures.glob("*.png"):
            with Image.open(path) as image:
                assert set(image.info) <= {"dpi"}

    def test_values(self, reported: Project) -> None:
        """Table, CSV and JSON hold the mean over pairs that a loop over the rows gives."""
        outputs = reported.outputs()
        total, count = 0.0, 0
        for shard in sorted(reported.inputs.evaluation.glob("*/pairs.csv")):
            for row in csv.DictReader(shard.read_text().splitlines()):
                if row["method"] == "telea" and row["kind"] in ("ec", "or"):
                    total, count = total + float(row["psnr_hole"]), count + 1
        tree = json.loads(outputs.metrics.read_text())
        assert tree["telea"]["ec_or"]["psnr_hole"] == pytest.approx(total / count, rel=1e-5)
        assert tree["telea"]["ec_or"]["pairs"] == count
        assert f"{total / count:.2f}" in outputs.table.read_text()
        table = pd.read_csv(outputs.csv).set_index(["kind", "hole_share", "method", "metric"])
        row = table.loc["ec_or", "any", "telea", "psnr_hole"]
        assert float(row["mean"]) == pytest.approx(total / count, rel=1e-5)
        assert float(row["low"]) < total / count < float(row["high"])

    def test_lead(self, reported: Project) -> None:
        """The report says of how many photographs and pairs it is, and what brackets are."""
        text = reported.outputs().table.read_text()
        assert f"Measured on {PHOTOS} photographs at {SIZE_PX}x{SIZE_PX} pixels." in text
        n = 2 * PHOTOS
        walks = f"{n} of Random walk, {n} of Strokes, {n} of Rectangles."
        assert f"Pairs of photograph and hole: {2 * n} of EC and OR, {walks}" in text
        assert f"for means over at least {MIN_PHOTOS} photographs" in text
        assert "the evaluation does not say which." in text

    def test_headline(self, reported: Project) -> None:
        """headline.json holds a few numbers of our last weights, those of metrics.json."""
        tree = json.loads(reported.outputs().metrics.read_text())["pconv-last"]
        headline = json.loads(reported.outputs().headline.read_text())
        assert set(headline) == {"all", "ec", "or", "walk", "strokes", "rectangles"}
        assert set(headline["all"]) == {"psnr_hole", "ssim_hole", "perceptual", "style"}
        assert set(headline["ec"]) == {"psnr_hole"}
        assert all(numbers.items() <= tree[kind].items() for kind, numbers in headline.items())

    def test_hero_caption(self, reported: Project) -> None:
        """The caption of the first picture names the kinds of holes that it shows, no others."""
        page = reported.outputs().page.read_text()
        assert "Kinds of holes from top to bottom: OR, Strokes. Each pair" in page

    def test_page_begins_with_what_tells_most(self, reported: Project) -> None:
        """The page's tables begin with the hole and the paper's way; all others follow."""
        page = reported.outputs().page.read_text()
        head, *_ = re.findall(r"<thead>.*>L_TV<.*</thead>", page)
        columns = re.findall(r"<button[^>]*>([^<]*)</button>", head)
        assert columns[:6] == [
            "Method",
            "PSNR in the hole (dB)",
            "SSIM in the hole",
            "PSNR, the paper&#39;s way (dB)",
            "SSIM, the paper&#39;s way",
            "L_TV",
        ]
        assert len(columns) == len(METRICS) + 2
        table = reported.outputs().table.read_text()
        assert table.index("| L_TV |") < table.index("| PSNR in the hole (dB) |")

    def test_share_csv(self, reported: Project) -> None:
        """psnr_by_hole_share.csv holds the numbers of table.csv, a column a method."""
        outputs = reported.outputs()
        found = pd.read_csv(outputs.figures / "psnr_by_hole_share.csv", index_col="hole_share")
        assert list(found.columns) == ["pconv-first", "pconv-last", "mean", "telea"]
        table = pd.read_csv(outputs.csv).set_index(["kind", "metric", "hole_share", "method"])
        table = table.sort_index()
        wanted = table.loc["all", "psnr_hole"]["mean"]
        for share, row in found.iterrows():
            for method, value in row.items():
                assert value == pytest.approx(wanted[share, method], rel=1e-5)

    def test_paper_beside(self, reported: Project) -> None:
        """The paper's numbers stand beside the EC and OR numbers, with the note on them."""
        text = reported.outputs().table.read_text()
        head = next(line for line in text.splitlines() if "The paper |" in line)
        assert "PConv, epoch 3" in head
        rows = {
            line.split("|")[1].strip(): line.split("|")[-2].strip()
            for line in text.splitlines()[:40]
            if line.startswith("|")
        }
        assert rows["L_style"] == "2.450"
        assert rows["PSNR, the paper's way (dB)"] == "19.37"
        assert rows["PSNR (dB)"] == "-"
        assert "converted to 8 bits" in text

    def test_curves(self, reported: Project) -> None:
        """curves.csv has a row an epoch; what was not validated is empty."""
        curves = pd.read_csv(reported.outputs().curves)
        assert list(curves["epoch"]) == [1, 2, 3]
        assert curves["train_total"].tolist() == pytest.approx([3, 1.5, 1])
        assert np.isnan(curves["valid_hole_psnr"][1])

    @pytest.mark.parametrize(
        ("methods", "kinds"),
        [
            (("pconv-last",), ("walk",)),
            (("telea", "mean"), ("or",)),
            (("pconv-last", "telea"), ("walk", "strokes")),
        ],
    )
    def test_subsets(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        methods: tuple[str, ...],
        kinds: tuple[str, ...],
    ) -> None:
        """Any subset of methods and kinds gives a report."""
        monkeypatch.setattr(examples, "fill_pairs", stub_fill)
        outputs = make_project(tmp_path, methods, kinds).write()
        assert set(json.loads(outputs.metrics.read_text())) == set(methods)
        ours = {"all", *kinds} if "pconv-last" in methods else set()
        assert set(json.loads(outputs.headline.read_text())) == ours
        text = outputs.table.read_text()
        titles = {title for title in GROUP_LABELS.values() if f"### {title}\n" in text}
        wanted = {group for group, of_group in GROUPS.items() if set(of_group) & set(kinds)}
        assert titles == {GROUP_LABELS[group] for group in wanted}
        assert "nan" not in text

    def test_without_vgg(self, undrawn: Project) -> None:
        """Without loss columns the report says so and leaves their rows out."""
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            pd.read_csv(path).assign(**dict.fromkeys(LOSSES)).to_csv(path, index=False)
        text = undrawn.write().table.read_text()
        assert "L_total, were not computed" in text
        assert "| L_style" not in text

    @pytest.mark.parametrize(
        ("features", "words"),
        [
            ("random", "can't be compared with the paper's"),
            ("imagenet", "ImageNet"),
            ("a.pth", "a.pth"),
        ],
    )
    def test_features(self, undrawn: Project, features: str, words: str) -> None:
        """Table and page say which VGG features were used, and what follows."""
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            pd.read_csv(path).assign(features=features).to_csv(path, index=False)
        outputs = undrawn.write()
        assert words in outputs.table.read_text()
        assert words.replace("'", "&#39;") in outputs.page.read_text()

    def test_subsample_stated(self, undrawn: Project) -> None:
        """A method measured on fewer pairs is named with their number."""
        undrawn.edit(lambda table: table[(table["method"] != "mean") | (table.index < 20)])
        text = undrawn.write().table.read_text()
        pairs = json.loads(undrawn.outputs().metrics.read_text())["mean"]["all"]["pairs"]
        told = "Slow methods are measured on fewer pairs, drawn the same way: Mean of the known"
        assert f"{told}: {pairs} of {PHOTOS * 10}" in text

    def test_vgg_on_all_pairs(self, undrawn: Project) -> None:
        """Methods without VGG terms do not make the others' a subsample."""
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            table.loc[table["method"] == "mean", [*LOSSES]] = ""
            table.to_csv(path, index=False)
        assert "fewer pairs" not in undrawn.write().table.read_text()

    def test_vgg_subsample_stated(self, undrawn: Project) -> None:
        """VGG terms of fewer pairs are told with their number: in words, table and JSON."""

        def thin(table: pd.DataFrame) -> pd.DataFrame:
            table.loc[(table["method"] == "pconv-last") & (table.index >= 20), [*LOSSES]] = ""
            return table

        undrawn.edit(thin)
        outputs = undrawn.write()
        numbers = json.loads(outputs.metrics.read_text())["pconv-last"]["all"]
        vgg_pairs = PHOTOS * 10 - PHOTOS * 5 + 20 // len(METHODS)  # the second shard, and 20 rows
        assert (numbers["pairs"], numbers["vgg_pairs"]) == (PHOTOS * 10, vgg_pairs)
        text = outputs.table.read_text()
        assert f"PConv, epoch 3: {vgg_pairs} of {PHOTOS * 10}" in text
        assert f"| {PHOTOS * 10} (L_total {vgg_pairs}) |" in text

    def test_few_photos(self, undrawn: Project) -> None:
        """With few photographs there are no intervals, and the report says why."""
        last = f"{PHOTOS - 1}-"
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            table = pd.read_csv(path)
            table[~table["pair"].str.startswith(last)].to_csv(path, index=False)
        pairs = [p for p in read_pairs(undrawn.inputs.sample) if not p.id.startswith(last)]
        write_pairs(undrawn.inputs.sample, pairs)
        outputs = undrawn.write()
        for text in (outputs.table.read_text(), outputs.page.read_text()):
            assert f"fewer than {MIN_PHOTOS} photographs (here {MIN_PHOTOS - 1})" in text
            assert "[" not in text.partition("Our network against")[2].partition("hole share")[0]
        assert pd.read_csv(outputs.csv)[["low", "high"]].isna().all(axis=None)

    def test_identical(self, undrawn: Project) -> None:
        """A perfect fill counts as 100 dB, is told, and the JSON stays finite."""
        undrawn.edit(lambda table: table.assign(psnr_hole="inf"))
        outputs = undrawn.write()
        first_shard = PHOTOS * 5
        text = outputs.table.read_text()
        assert f"counts as 100 dB (Mean of the known {first_shard}, " in text
        assert f", Telea {first_shard})." in text
        json.loads(outputs.metrics.read_text(), parse_constant=pytest.fail)

    def test_escapes(self, undrawn: Project) -> None:
        """Names from files can't become markup on the page."""
        for path in [*undrawn.inputs.evaluation.glob("*/pairs.csv"), undrawn.inputs.sample]:
            path.write_text(path.read_text().replace("0-ec-0", "<b>0</b>"))
        chosen = PARAMS.model_copy(update={"error_pair": "<b>0</b>"})
        assert "<b>0</b>" not in undrawn.write(params=chosen).page.read_text()

    def test_unknown_error_pair_raises(self, project: Project) -> None:
        """A pair that was not measured can't be the error map's."""
        chosen = PARAMS.model_copy(update={"error_pair": "nobody"})
        with pytest.raises(DataError, match=r"report\.error_pair: nobody is not a measured pair"):
            project.write(params=chosen)

    def test_missing_shard_raises(self, project: Project) -> None:
        """Pairs of the sample that are not measured are missed."""
        (project.root / "evaluation/0001/pairs.csv").unlink()
        with pytest.raises(DataError, match=rf"{PHOTOS * 5} pairs are in .* not measured"):
            project.write()

    def test_another_sample_raises(self, project: Project) -> None:
        """Pairs that are measured and not of the sample belong to another one."""
        write_pairs(project.inputs.sample, read_pairs(project.inputs.sample)[3:])
        with pytest.raises(DataError, match=r"3 pairs are measured but not in .*sample\.csv"):
            project.write()

    def test_damaged_weights_raise(self, project: Project) -> None:
        """Damaged weights are refused."""
        (project.root / "models/pconv/last.safetensors").write_bytes(b"no weights")
        with pytest.raises(WeightsError, match=r"last\.safetensors"):
            project.write()

    def test_edited_meanwhile(self, undrawn: Project) -> None:
        """Where what it was made with is not today's any more, the report before stays whole."""
        folder = undrawn.write().page.parent

        def content() -> dict[Path, bytes]:
            return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

        before = content()
        undrawn.edit(lambda table: table.assign(psnr_hole="1"))
        with pytest.raises(ParameterError):
            write_report(PARAMS, undrawn.inputs, undrawn.outputs(), before_writing=refuse)
        assert content() == before

    def test_command_line(self, undrawn: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every path is taken from the command line."""
        pairs = [(undrawn.inputs, field) for field in fields(Inputs)]
        pairs += [(undrawn.outputs("elsewhere"), field) for field in fields(Outputs)]
        words = [
            word
            for owner, field in pairs
            for word in (f"--{field.name.replace('_', '-')}", str(getattr(owner, field.name)))
        ]
        monkeypatch.setattr(sys, "argv", ["report", *words])
        started = (PARAMS, lambda: None)
        monkeypatch.setattr("workflow.stages.report.start_stage", lambda _: started)
        logged: list[object] = []
        monkeypatch.setattr(
            "workflow.stages.report.log_report", lambda *paths: logged.extend(paths)
        )
        main()
        assert undrawn.outputs("elsewhere").page.is_file()
        assert logged == [undrawn.inputs.models, undrawn.outputs("elsewhere").page.parent]
