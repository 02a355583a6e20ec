"""The report stage: its tables, figures and page, and what it refuses."""

import base64
import csv
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pconv.errors import DataError, WeightsError
from pconv.images import Mask, Pixels, write_image, write_mask
from pconv.resizing import fit_mask
from pconv.unet import build_unet
from pconv.weights import save_weights
from workflow.fills import fill_pairs
from workflow.pairs import KINDS, Pair, read_pairs, write_pairs
from workflow.reporting import examples, gallery, pictures, provenance
from workflow.reporting.charts import curves_figure, share_figure
from workflow.reporting.curves import read_curves
from workflow.reporting.evaluation import IDENTICAL_DB, read_evaluation
from workflow.reporting.examples import (
    MIN_HOLE_SHARE,
    Sources,
    choose,
    load_examples,
    nearest,
    spread,
)
from workflow.reporting.names import BUCKETS, METRIC_OF, METRICS, method_label, number
from workflow.reporting.page import Shown, Wipe, _first_layer
from workflow.reporting.published import LIU, LIU_LABEL
from workflow.reporting.statistics import MIN_PHOTOS
from workflow.reporting.summary import compare, summarise
from workflow.reporting.tables import (
    Cell,
    Table,
    comparison_tables,
    group_table,
    headline,
    share_table,
)
from workflow.sections import ReportParams
from workflow.stages import evaluate
from workflow.stages.report import Inputs, Outputs, main, write_report

SIZE_PX = 32
PHOTOS = 10  # enough for intervals
METHODS = ("pconv-first", "pconv-last", "telea", "mean")
LOSSES = tuple(column for column in METRIC_OF if column not in evaluate.METRICS)
PARAMS = ReportParams(seed=3, bootstrap_draws=100, examples=2, extremes=2, error_pair=None)


@dataclass(frozen=True)
class Project:
    """A folder with everything the report stage reads, and where it writes."""

    root: Path

    @property
    def inputs(self) -> Inputs:
        """What the stage reads."""
        names = ("evaluation", "sample.csv", "models", "raw", "augmented", "train", "masks")
        return Inputs(*(self.root / name for name in names))

    def outputs(self, name: str = "reports") -> Outputs:
        """Where the stage writes."""
        folder = self.root / name
        files = ("index.html", "table.md", "table.csv", "metrics.json", "headline.json")
        return Outputs(*(folder / file for file in (*files, "curves.csv", "figures")))

    @property
    def shard(self) -> Path:
        """The first shard's table."""
        return self.root / "evaluation" / "0000" / "pairs.csv"

    def write(self, name: str = "reports", params: ReportParams = PARAMS) -> Outputs:
        """Run the stage."""
        write_report(params, self.inputs, self.outputs(name))
        return self.outputs(name)

    def edit(self, change: object) -> pd.DataFrame:
        """Apply a function to the first shard's table, as text."""
        table = pd.read_csv(self.shard, dtype=str, keep_default_na=False)
        table = change(table)  # type: ignore[operator]
        table.to_csv(self.shard, index=False)
        return table


def a_picture(rng: np.random.Generator) -> Pixels:
    """Return a smooth picture with an edge."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    planes = [
        rng.uniform(60, 150) + 80 * np.sin(4 * (a * x + b * y)) for a, b in rng.random((3, 2))
    ]
    return np.clip(np.dstack(planes), 0, 255).astype(np.uint8)


def a_mask(rng: np.random.Generator) -> Mask:
    """Return a mask with one rectangular hole."""
    mask = np.ones((SIZE_PX, SIZE_PX), bool)
    top, left = rng.integers(1, SIZE_PX // 2, 2)
    mask[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = False
    return mask


def make_project(root: Path, methods: Sequence[str], kinds: Sequence[str]) -> Project:
    """Make photographs, masks, weights, logs and an evaluation in two shards."""
    rng = np.random.default_rng(5)
    project = Project(root)
    pairs = []
    (root / "masks").mkdir(parents=True)
    for photo in range(PHOTOS):
        write_image(root / "raw" / f"valid/gt/{photo}.png", a_picture(rng))
    for photo, kind, k in product(range(PHOTOS), kinds, range(2)):
        mask = a_mask(rng)
        is_raw = kind in ("ec", "or")
        name = f"valid/{kind}/{photo}/{photo}_{k}.png" if is_raw else f"0000/{kind}{photo}{k}.png"
        write_mask(root / ("raw" if is_raw else "masks") / name, mask)
        share = float(1 - mask.mean())
        pair_id = f"{photo}-{kind}-{k}"
        pairs.append(Pair(pair_id, f"valid/gt/{photo}.png", name, kind, share, SIZE_PX))
    write_pairs(root / "sample.csv", pairs)
    for number_ in range(6):
        write_image(root / f"augmented/000{number_ % 2}/{number_:06d}.png", a_picture(rng))
        write_mask(root / f"train/000{number_ % 2}/{number_:06d}.png", a_mask(rng))
    write_models(root / "models")
    write_evaluation(root / "evaluation", pairs, methods, rng)
    return project


def write_models(folder: Path) -> None:
    """Write the smallest network at two epochs, and a log."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_unet("pconv", width=2, levels=1)
    for name, epoch in (("first", "2"), ("last", "3")):
        about = {"epoch": epoch, "fingerprint": "f1e2d3"}
        (folder / "pconv").mkdir(parents=True, exist_ok=True)
        save_weights(folder / "pconv" / f"{name}.safetensors", model, about)
    records = [
        {
            "epoch": epoch,
            "total": 3 / epoch,
            "hole": 1 / epoch,
            "valid": 0.5 / epoch,
            "valid_hole_psnr": 15.0 + epoch if epoch != 2 else None,
            "valid_hole_l1": 0.2 / epoch,
        }
        for epoch in (1, 2, 3)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "pconv" / "log.jsonl").write_text(lines)


def write_evaluation(
    folder: Path, pairs: list[Pair], methods: Sequence[str], rng: np.random.Generator
) -> None:
    """Write two shards of invented numbers."""
    columns = [metric.column for metric in METRICS]
    for shard in range(2):
        rows = []
        for pair, (rank, method) in product(pairs[shard::2], enumerate(methods)):
            values = {c: round(float(rng.uniform(15, 25)) - rank, 6) for c in columns}
            facts = {k: getattr(pair, k) for k in ("photo", "kind", "hole_share")}
            rows.append({"pair": pair.id, **facts, "method": method, **values, "features": ""})
        (folder / f"000{shard}").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(folder / f"000{shard}" / "pairs.csv", index=False)


def stub_fill(method: str, models: Path, images: Pixels, masks: Mask) -> Pixels:
    """Fill with one colour a method, as quickly as possible."""
    colour = hashlib.sha256(method.encode()).digest()[:3]
    return np.where(masks[..., None], images, np.array(list(colour), np.uint8))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose fills cost nothing."""
    monkeypatch.setattr(examples, "fill_pairs", stub_fill)
    return make_project(tmp_path, METHODS, KINDS)


@pytest.fixture(scope="module")
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
        assert provenance.dvc_hash(reported.inputs.evaluation) in page

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
        assert f"In brackets, where at least {MIN_PHOTOS} photographs are behind a mean" in text
        assert "which ones, the evaluation does not say." in text

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
        assert "Kinds of holes from above: OR, Strokes. Of each the pair" in page

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
        assert "8-bit conversion" in text

    def test_curves(self, reported: Project) -> None:
        """curves.csv has a row an epoch; what was not validated is empty."""
        curves = pd.read_csv(reported.outputs().curves)
        assert list(curves["epoch"]) == [1, 2, 3]
        assert curves["train_total"].tolist() == pytest.approx([3, 1.5, 1])
        assert np.isnan(curves["valid_hole_psnr"][1])

    @pytest.mark.parametrize(
        ("methods", "kinds"),
        [(("pconv-last",), ("walk",)), (("telea", "mean"), ("or",))],
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

    def test_without_vgg(self, undrawn: Project) -> None:
        """Without loss columns the report says so and leaves their rows out."""
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            pd.read_csv(path).assign(**dict.fromkeys(LOSSES)).to_csv(path, index=False)
        text = undrawn.write().table.read_text()
        assert "L_total, were not taken" in text
        assert "| L_style" not in text

    @pytest.mark.parametrize(
        ("features", "words"),
        [
            ("random", "do not compare with the paper's"),
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
        assert f"Mean of the known: {pairs} of {PHOTOS * 10}" in text

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
        few = f"{MIN_PHOTOS - 1} photographs"
        last = f"{PHOTOS - 1}-"
        for path in undrawn.inputs.evaluation.glob("*/pairs.csv"):
            table = pd.read_csv(path)
            table[~table["pair"].str.startswith(last)].to_csv(path, index=False)
        pairs = [p for p in read_pairs(undrawn.inputs.sample) if not p.id.startswith(last)]
        write_pairs(undrawn.inputs.sample, pairs)
        outputs = undrawn.write()
        for text in (outputs.table.read_text(), outputs.page.read_text()):
            assert f"a bootstrap over {few} makes them too narrow" in text
            assert "[" not in text.partition("Our network against")[2].partition("hole share")[0]
        assert pd.read_csv(outputs.csv)[["low", "high"]].isna().all(axis=None)

    def test_identical(self, undrawn: Project) -> None:
        """A perfect fill counts 100 dB, is told, and the JSON stays finite."""
        undrawn.edit(lambda table: table.assign(psnr_hole="inf"))
        outputs = undrawn.write()
        first_shard = PHOTOS * 5
        text = outputs.table.read_text()
        assert f"counts 100 dB (Mean of the known {first_shard}, " in text
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
        monkeypatch.setattr("workflow.stages.report.stage_params", lambda _: nullcontext(PARAMS))
        logged: list[object] = []
        monkeypatch.setattr(
            "workflow.stages.report.log_report", lambda *paths: logged.extend(paths)
        )
        main()
        assert undrawn.outputs("elsewhere").page.is_file()
        assert logged == [undrawn.inputs.models, undrawn.outputs("elsewhere").page.parent]


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


class TestReadCurves:
    """The training logs."""

    def test_two_networks(self, project: Project) -> None:
        """The plain network's columns stand beside the first one's."""
        log = (project.root / "models/pconv/log.jsonl").read_text()
        (project.root / "models/plain").mkdir()
        (project.root / "models/plain/log.jsonl").write_text(log.splitlines()[0] + "\n")
        curves = read_curves(project.inputs.models)
        assert curves["plain_train_total"].dropna().tolist() == [3]
        assert len(curves) == 3

    def test_logged_twice(self, project: Project) -> None:
        """Of an epoch that a resumed training logged twice the later line stands."""
        path = project.root / "models/pconv/log.jsonl"
        path.write_text(path.read_text() + '{"epoch": 2, "total": 9}\n')
        curves = read_curves(project.inputs.models)
        assert curves["epoch"].tolist() == [1, 2, 3]
        assert curves["train_total"].tolist() == [3, 9, 1]

    @pytest.mark.parametrize("line", ["{", "[1]", '{"total": 1}', '{"epoch": 4, "total": "x"}'])
    def test_damaged_raises(self, project: Project, line: str) -> None:
        """A damaged line is named by its number."""
        path = project.root / "models/pconv/log.jsonl"
        path.write_text(path.read_text() + line + "\n")
        with pytest.raises(DataError, match=r"log\.jsonl: line 4 is no record of an epoch"):
            read_curves(project.inputs.models)

    def test_none_raises(self, tmp_path: Path) -> None:
        """Without a log there is nothing to draw."""
        with pytest.raises(DataError, match=r"no \*/log\.jsonl"):
            read_curves(tmp_path)


class TestChoice:
    """Which pairs are shown."""

    RANKED = pd.DataFrame(
        {"photo": ["a", "a", "b", "b", "c", "c"]}, index=[f"p{i}" for i in range(6)]
    )

    @pytest.mark.parametrize(
        ("quantile", "wanted"), [(0.0, ["p0", "p2"]), (1.0, ["p3", "p5"]), (0.5, ["p1", "p2"])]
    )
    def test_nearest(self, quantile: float, wanted: list[str]) -> None:
        """The nearest in the ranking come, of different photographs, in the ranking's order."""
        assert nearest(self.RANKED, quantile, 2) == wanted

    def test_nearest_runs_out_of_photos(self) -> None:
        """Photographs come again only when there is no other."""
        assert len(set(nearest(self.RANKED, 0.0, 5))) == 5

    def test_spread(self) -> None:
        """As many as asked for and there are, none twice, best first."""
        assert spread(self.RANKED, 3) == ["p1", "p2", "p4"]
        assert sorted(spread(self.RANKED, 9)) == list(self.RANKED.index)

    def test_choose(self, reported: Project) -> None:
        """Pairs are ranked by our network's PSNR in the hole; small holes are extremes only."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        choice = choose(evaluation, examples=2, extremes=2, error_pair=None)
        scores, kinds = evaluation.values["pconv-last", "psnr_hole"], evaluation.facts["kind"]
        assert choice.judge == "pconv-last"
        assert choice.extremes["Best"][0] == scores.idxmax()
        assert choice.extremes["Worst"][-1] == scores.idxmin()
        middle = scores[choice.extremes["Median"]].mean()
        assert scores.quantile(0.4) < middle < scores.quantile(0.6)
        for ids, kind in ((choice.ec, "ec"), (choice.or_, "or")):
            assert set(kinds[ids]) == {kind}
            assert scores[ids].is_monotonic_decreasing
        assert set(kinds[choice.hero]) == {"or", "strokes"}
        visible = evaluation.facts["hole_share"] >= MIN_HOLE_SHARE
        of_kind = scores[visible & (kinds == "or")]
        assert of_kind.quantile(0.4) < scores[choice.hero[0]] < of_kind.quantile(0.6)
        shown = [*choice.ec, *choice.or_, *choice.hero, choice.error]
        assert evaluation.facts.loc[shown, "hole_share"].min() >= MIN_HOLE_SHARE


class TestLoadExamples:
    """The shown pairs, filled."""

    def test_real_fills(self, reported: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Networks and classical methods fill the hole and keep the known pixels."""
        monkeypatch.setattr(examples, "fill_pairs", fill_pairs)
        evaluation = read_evaluation(reported.inputs.evaluation)
        pairs = {pair.id: pair for pair in read_pairs(reported.inputs.sample)}
        inputs = reported.inputs
        sources = Sources(inputs.models, inputs.raw, inputs.masks)
        methods = ["pconv-last", "telea"]
        shown = load_examples(["1-or-0"], pairs, evaluation, methods, sources)["1-or-0"]
        assert list(shown.fills) == methods
        for filled in shown.fills.values():
            assert (filled[shown.mask] == shown.truth[shown.mask]).all()
        assert (shown.damaged[~shown.mask] == 255).all()
        assert shown.scores["telea"] == evaluation.values.at["1-or-0", ("telea", "psnr_hole")]


class TestCompare:
    """Our network against the others, pair by pair."""

    def test_values(self, reported: Project) -> None:
        """Wins and differences are those of a loop over the pairs; a tie counts half."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values.loc["0-ec-0", ("telea", "psnr_hole")] = evaluation.values.at[
            "0-ec-0", ("pconv-last", "psnr_hole")
        ]
        found = compare(evaluation, draws=100, seed=1).set_index(["group", "method"])
        wins, differences = 0.0, []
        for pair, row in evaluation.values.iterrows():
            if evaluation.facts.at[pair, "kind"] == "ec":
                ours, theirs = row["pconv-last", "psnr_hole"], row["telea", "psnr_hole"]
                wins += 0.5 if ours == theirs else float(ours > theirs)
                differences.append(ours - theirs)
        row = found.loc["ec", "telea"]
        assert row["wins"] == pytest.approx(wins / len(differences))
        assert row["difference"] == pytest.approx(np.mean(differences))
        assert row["low"] <= row["difference"] <= row["high"]
        assert (row["pairs"], row["photos"]) == (len(differences), PHOTOS)
        mixed = found[found["wins"].between(0, 1, inclusive="neither")]
        assert len(mixed) > 0
        assert mixed["wins"].between(mixed["wins_low"], mixed["wins_high"]).all()
        assert mixed["wins_low"].between(0, 1).all()
        assert mixed["wins_high"].between(0, 1).all()

    @pytest.mark.parametrize(("theirs", "wins"), [(1.0, 1), (99.0, 0)])
    def test_all_or_nothing(self, reported: Project, theirs: float, wins: int) -> None:
        """Where all pairs are won, or none, a share has no interval, as no draw would differ."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values[("telea", "psnr_hole")] = theirs
        found = compare(evaluation, draws=100, seed=1).set_index(["group", "method"])
        row = found.loc["ec", "telea"]
        assert row["wins"] == wins
        assert row[["wins_low", "wins_high"]].isna().all()
        assert row["low"] < row["difference"] < row["high"]

    def test_printed(self, reported: Project) -> None:
        """The table prints wins in per cent and differences with their sign."""
        found = compare(read_evaluation(reported.inputs.evaluation), draws=100, seed=1)
        labels = {method: method for method in METHODS}
        table = next(t for t in comparison_tables(found, labels, "pconv-last") if "EC (" in t.title)
        rows = {row[0].text: row[1:] for row in table.rows}
        for method in ("pconv-first", "telea", "mean"):
            row = found.set_index(["group", "method"]).loc["ec", method]
            wins, difference = rows[method][:2]
            assert wins.text == f"{100 * row['wins']:.0f} %"
            is_mixed = 0 < row["wins"] < 1
            ends = (
                f"[{100 * row['wins_low']:.0f}, {100 * row['wins_high']:.0f}]" if is_mixed else ""
            )
            assert wins.interval == ends
            assert difference.text == f"{row['difference']:+.2f}"
            assert [cell.text for cell in rows[method][2:]] == [str(2 * PHOTOS), str(PHOTOS)]
            assert difference.interval == f"[{row['low']:+.2f}, {row['high']:+.2f}]"

    def test_each_in_its_row(self, reported: Project) -> None:
        """Numbers of pairs are each method's own, and what prints as nothing has no sign."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values
        values[("mean", "psnr_hole")] = values["pconv-last", "psnr_hole"] + 0.004
        values.loc[values.index[5:], ("mean", "psnr_hole")] = np.nan
        found = compare(evaluation, draws=100, seed=1)
        rows = found[found["group"] == "all"].set_index("method")
        assert rows["pairs"].to_dict() == {"pconv-first": 100, "telea": 100, "mean": 5}
        labels = {method: method for method in METHODS}
        (table,) = (t for t in comparison_tables(found, labels, "pconv-last") if "All" in t.title)
        assert [row[2].text for row in table.rows if row[0].text == "mean"] == ["0.00"]

    def test_alone(self, reported: Project) -> None:
        """Without another method there is nothing to compare."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        alone = replace(evaluation, values=evaluation.values[["pconv-last"]])
        assert compare(alone, draws=100, seed=1).empty


class TestGroupTable:
    """All metrics of one group."""

    def test_best(self, reported: Project) -> None:
        """Bold is the highest PSNR and the lowest L1 of those on the most pairs; no L_TV is."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        values["mean", "psnr"] = np.where(np.arange(len(values)) < 9, 99.0, np.nan)
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        rows = {row[0].text: row[1:] for row in group_table(summary, "all", labels).rows}
        full = ["pconv-first", "pconv-last", "telea"]
        for column, methods, choose_best in (("psnr", full, max), ("l1", METHODS, min)):
            best = choose_best(methods, key=lambda m, c=column: values[m, c].mean())
            marked = [cell.best for cell in rows[METRIC_OF[column].label]]
            assert marked == [method == best for method in labels]
        assert not any(cell.best for cell in rows["L_TV"])

    def test_best_is_not_of_a_subsample(self, reported: Project) -> None:
        """A number that prints like the best one is not the best if it is of fewer pairs."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        values = evaluation.values.copy()
        for method, level in (("pconv-last", 20.001), ("telea", 19.0), ("mean", 20.004)):
            values[method, "psnr"] = level
        values.loc[values.index[9:], ("mean", "psnr")] = np.nan
        summary = summarise(replace(evaluation, values=values), draws=100, seed=1)
        labels = {method: method for method in ("pconv-last", "telea", "mean")}
        rows = {row[0].text: row[1:] for row in group_table(summary, "all", labels).rows}
        assert [cell.text for cell in rows["PSNR (dB)"]] == ["20.00", "19.00", "20.00"]
        assert [cell.best for cell in rows["PSNR (dB)"]] == [True, False, False]


class TestShareFigure:
    """PSNR against hole share."""

    def test_intervals(self, reported: Project) -> None:
        """Error bars end where the intervals end."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        summary = summarise(evaluation, draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        panel = share_figure(summary, labels).axes[1]
        picked = [found for share in BUCKETS if (found := summary.pick("all", share))]
        for method, drawn in zip(labels, panel.containers, strict=True):
            entries = [found[method, "psnr_hole"] for found in picked]
            wanted = [
                (e.low, e.high) if e.photos >= MIN_PHOTOS else (e.mean, e.mean) for e in entries
            ]
            ends = [tuple(segment[:, 1]) for segment in drawn.lines[2][0].get_segments()]
            np.testing.assert_allclose(ends, wanted)

    def test_pairs_of_a_share(self, reported: Project) -> None:
        """Below each hole share stands how many pairs its means are of."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        figure = share_figure(summarise(evaluation, draws=100, seed=1), {"telea": "Telea"})
        (axes, _) = figure.axes
        counts = [int(label.get_text().split("\n")[1]) for label in axes.get_xticklabels()]
        assert sum(counts) == len(read_pairs(reported.inputs.sample))
        assert len(set(counts)) > 1

    def test_liu(self, reported: Project) -> None:
        """Liu et al.'s numbers stand as stars, named last, at their hole shares of all pixels."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        labels = {method: method for method in evaluation.methods}
        figure = share_figure(summarise(evaluation, draws=100, seed=1), labels)
        whole, hole = figure.axes
        assert [axes.get_title() for axes in (whole, hole)] == [
            "PSNR (dB)",
            "PSNR in the hole (dB)",
        ]
        assert not [line for line in hole.lines if line.get_marker() == "*"]
        (stars,) = (line for line in whole.lines if line.get_marker() == "*")
        shares = [label.get_text().split("\n")[0] for label in whole.get_xticklabels()]
        drawn = {f"{shares[int(x)]} %": y for x, y in zip(*stars.get_data(), strict=True)}
        assert drawn == {share: y for share, y in LIU["psnr"].items() if share[:-2] in shares}
        (legend,) = figure.legends
        assert legend.get_texts()[-1].get_text().startswith(LIU_LABEL)
        assert legend.legend_handles[-1].get_marker() == "*"

    @pytest.mark.parametrize("length", [5, 30, 45])
    def test_legend_fits(self, reported: Project, length: int) -> None:
        """Every method is named, within the figure and below its panels, by long names too."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        labels = {method: method.ljust(length, "x") for method in evaluation.methods}
        figure = share_figure(summarise(evaluation, draws=100, seed=1), labels)
        (legend,) = figure.legends
        assert {text.get_text() for text in legend.get_texts()} >= set(labels.values())
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
        assert all(box.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


class TestCurvesFigure:
    """Loss and validation by epoch."""

    def test_ticks(self) -> None:
        """Losses are labelled with plain numbers, few of them, and epochs are whole."""
        curves = pd.DataFrame({"epoch": [1, 2], "train_total": [0.3, 0.2], "train_hole": 0.02})
        figure = curves_figure(curves, [1, 2])
        figure.draw_without_rendering()
        losses, *_ = panels = figure.axes
        labels = [label.get_text() for label in losses.get_yticklabels(which="both")]
        low, high = losses.get_ylim()
        shown = [label for label in labels if label and low <= float(label) <= high]
        assert shown == ["0.1", "0.02", "0.03", "0.05", "0.2", "0.3"]
        for axes in panels:
            assert all(tick == round(tick) for tick in axes.get_xticks())

    def test_many_powers(self) -> None:
        """Where there are labels of several powers of ten, there are no others between them."""
        curves = pd.DataFrame({"epoch": [1, 2], "train_total": [30.0, 20.0], "train_hole": 0.02})
        figure = curves_figure(curves, [])
        figure.draw_without_rendering()
        between = figure.axes[0].get_yticklabels(minor=True)
        assert not any(label.get_text() for label in between)


class TestPictures:
    """What is drawn."""

    def test_error(self) -> None:
        """The error map has the absolute difference, whichever is brighter."""
        dark, light = (np.full((2, 2, 3), value, np.uint8) for value in (10, 210))
        for one, other in ((dark, light), (light, dark)):
            assert (pictures._error(one, other) == 200).all()

    def test_masks_in_their_square(self, tmp_path: Path) -> None:
        """A mask is shown as its pair is framed."""
        mask = np.random.default_rng(0).random((32, 64)) < 0.5
        write_mask(tmp_path / "valid/ec/0/0_0.png", mask)
        pair = Pair("p", "valid/gt/0.png", "valid/ec/0/0_0.png", "ec", 0.5, SIZE_PX, 1.0)
        material = SimpleNamespace(pairs=[pair], sources=Sources(tmp_path, tmp_path, tmp_path))
        (shown,) = gallery._masks_of(material, "ec")
        np.testing.assert_array_equal(shown, fit_mask(mask, SIZE_PX, 1.0))

    def test_wipe(self) -> None:
        """The slider's pictures have the colours of their files, to the last bit."""
        rng = np.random.default_rng(0)
        truth, filled = rng.integers(0, 256, (2, 9, 9, 3), np.uint8)
        mask = np.ones((9, 9), bool)
        mask[:4] = False
        pair = Pair("p", "valid/gt/0.png", "m.png", "ec", 0.44, 9)
        wipe = Wipe.of(examples.Example(pair, truth, mask, {"telea": filled}, {}), {"telea": "T"})
        assert wipe.name == "p (ec, 44 % hole)"
        for (name, source), (title, wanted) in zip(
            wipe.layers[1:], (("T", filled), ("Truth", truth)), strict=True
        ):
            content = base64.b64decode(source.partition(",")[2])
            assert name == title
            np.testing.assert_array_equal(Image.open(BytesIO(content)).convert("RGB"), wanted)

    def test_different_masks(self, tmp_path: Path) -> None:
        """A mask that damages several photographs is shown once."""
        mask = np.ones((SIZE_PX, SIZE_PX), bool)
        mask[:9] = False
        write_mask(tmp_path / "0000/0.png", mask)
        pairs = [
            Pair(f"p{n}", f"valid/gt/{n}.png", "0000/0.png", "walk", 0.3, SIZE_PX) for n in range(3)
        ]
        material = SimpleNamespace(pairs=pairs, sources=Sources(tmp_path, tmp_path, tmp_path))
        assert len(gallery._masks_of(material, "walk")) == 1

    def test_kinds_of_figures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The figure of error concealment shows ec pairs, that of object removal or pairs."""
        monkeypatch.setattr(gallery.pictures, "fills_figure", lambda shown, *_: shown)
        choice = SimpleNamespace(ec=["e"], or_=["o"], judge="telea")
        labels = {"telea": "Telea"}
        material = SimpleNamespace(choice=choice, methods=["telea"], labels=labels, chosen=list)
        found = {shown.title: shown.figure for shown in gallery._examples(material)}
        assert found == {
            "Error concealment (the paper's Figure 7)": ["e"],
            "Object removal (Figure 8)": ["o"],
        }

    def test_first_layer(self) -> None:
        """The slider starts at the last fill of our network."""
        names = ["Damaged", "PConv, epoch 2", "PConv, epoch 3", "Telea", "Truth"]
        assert _first_layer([Wipe("pair", [(name, "") for name in names])]) == 2
        assert _first_layer([Wipe("pair", [("Damaged", ""), ("Telea", ""), ("Truth", "")])]) == 2


class TestShareTable:
    """One metric by kind and hole share."""

    def test_conserves_pairs(self, reported: Project) -> None:
        """Every pair is in one bucket, and Liu et al.'s numbers stand in theirs."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        summary = summarise(evaluation, draws=100, seed=1)
        labels = {method: method for method in evaluation.methods}
        table = share_table(summary, "psnr", labels)
        all_kinds = [row for row in table.rows if row[0].text == "All kinds"]
        assert sum(int(row[2].text) for row in all_kinds) == len(evaluation.facts)
        beside = {row[1].text: row[-1].text for row in all_kinds}
        assert beside["10-20 %"] == "28.32"
        assert beside["1-10 %"] == "-"

    def test_fewer_pairs(self, reported: Project) -> None:
        """A mean over fewer pairs than the row's says of how many it is."""
        evaluation = read_evaluation(reported.inputs.evaluation)
        evaluation.values.loc[evaluation.facts.index[1::2], ("telea", "psnr")] = float("nan")
        summary = summarise(evaluation, draws=100, seed=1)
        table = share_table(summary, "psnr", {method: method for method in evaluation.methods})
        rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
        fewer = [row["telea"].text for row in rows if row["Kind"].text == "All kinds"]
        kept = evaluation.facts["bucket"][::2].value_counts()
        told = [int(text.split("(")[1].removesuffix(" pairs)")) for text in fewer if "(" in text]
        assert sorted(told) == sorted(kept)
        assert not any("(" in row["pconv-last"].text for row in rows)


class TestProvenance:
    """Hashes."""

    def test_dvc_hash(self, project: Project) -> None:
        """Files and folders hash to what DVC records for them."""
        localfs = pytest.importorskip("dvc_objects.fs.local")
        build = pytest.importorskip("dvc_data.hashfile.build").build
        database = pytest.importorskip("dvc_data.hashfile.db").HashFileDB
        files = localfs.LocalFileSystem()
        odb = database(files, str(project.root / "cache"))
        (project.root / "raw/.snakemake_timestamp").touch()
        ours = provenance.dvc_hash(project.root / "raw")
        (project.root / "raw/.snakemake_timestamp").unlink()
        for name, found in (("raw", ours), ("sample.csv", None)):
            path = project.root / name
            _, _, built = build(odb, str(path), files, "md5", dry_run=True)
            assert (found or provenance.dvc_hash(path)) == built.hash_info.value

    def test_missing_raises(self, tmp_path: Path) -> None:
        """What is not there has no hash."""
        with pytest.raises(DataError, match="not found"):
            provenance.dvc_hash(tmp_path / "nothing")


class TestWords:
    """Names and numbers as they are printed."""

    def test_better(self) -> None:
        """Of PSNR and SSIM the higher is better, of the others the lower; PSNR alone is in dB."""
        for metric in METRICS:
            is_high = metric.column.startswith(("psnr", "ssim"))
            assert metric.better in (["higher"] if is_high else ["lower", ""])
            assert metric.unit == ("dB" if metric.column.startswith("psnr") else "")

    @pytest.mark.parametrize(
        ("value", "unit", "wanted"),
        [
            (19.37373, "dB", "19.37"),
            (-0.5, "dB", "-0.50"),
            (0.927627, "", "0.9276"),
            (295.4533, "", "295.5"),
            (2.450222, "", "2.450"),
            (0.0, "", "0.0000"),
            (0.000828, "", "0.000828"),
            (1.5e-6, "", "1.500e-06"),
        ],
    )
    def test_number(self, value: float, unit: str, wanted: str) -> None:
        """Numbers are printed with the digits that matter."""
        assert number(value, unit=unit) == wanted

    def test_method_label(self) -> None:
        """Networks are named with their epoch; unknown methods keep their name."""
        about = {"pconv-last": {"epoch": "150", "mask_channel": "False"}}
        assert method_label("pconv-last", about) == "PConv, epoch 150"
        mirrored = method_label("pconv-last-mirrored", about)
        assert mirrored == "PConv, epoch 150, mean of four flips"
        shown = method_label("pconv-last", {"pconv-last": {"epoch": "6", "mask_channel": "True"}})
        assert shown == "PConv + mask, epoch 6"
        assert method_label("plain-first", {}) == "Plain convolution, first checkpoint"
        assert method_label("diffusion", {}) == "diffusion"

    def test_buckets(self) -> None:
        """The buckets are those of Liu et al., with both ends closed off."""
        assert BUCKETS[:3] == ("up to 1 %", "1-10 %", "10-20 %")
        assert BUCKETS[-2:] == ("50-60 %", "over 60 %")

    def test_transposed(self) -> None:
        """On the page a method's row has its own numbers, each under its metric."""
        rows = [[Cell("PSNR"), Cell("1"), Cell("2")], [Cell("L1"), Cell("3"), Cell("4")]]
        turned = Table("T", ["", "A", "B"], rows).transposed()
        assert turned.head == ["Method", "PSNR", "L1"]
        texts = [[cell.text for cell in row] for row in turned.rows]
        assert texts == [["A", "1", "3"], ["B", "2", "4"]]

    def test_headline(self) -> None:
        """Partial convolutions stand for a run where plain ones were trained beside them."""
        tree = {
            "plain-last": {"all": {"psnr_hole": 1.0}},
            "pconv-last": {"all": {"psnr_hole": 2.0}},
        }
        assert headline(tree) == {"all": {"psnr_hole": 2.0}}

    def test_markdown(self) -> None:
        """A table's Markdown has as many cells in every row, and bars in names are escaped."""
        table = Table("T", ["", "A"], [[Cell("x|y"), Cell("1", "[0, 2]", 1.0, best=True)]])
        lines = table.markdown().splitlines()
        assert lines[-1] == "| x\\|y | **1** [0, 2] |"
        assert lines[-2] == "| --- | ---: |"
