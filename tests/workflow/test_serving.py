"""The network as an MLflow model: logged with the report, loaded again, asked for a fill."""

import base64
import json
import re
import shutil
from contextlib import nullcontext
from io import BytesIO
from itertools import chain
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from pconv import inpaint
from pconv.errors import ImageError
from pconv.images import read_image, read_mask
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from workflow import mlflow_store, run_files, tracking
from workflow.dvc_hash import dvc_hash
from workflow.params import read_params
from workflow.run_files import SCORE, SCORED_ON, finished_trainings

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's and SQLAlchemy's own

ROOT = Path(__file__).parent.parent.parent


def png(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """Return the pixels as the bytes of a PNG file, or of another format."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a small pipeline has ended, and an empty store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "presets/tiny.yaml").read_text())
    torch.manual_seed(0)
    about = {"fingerprint": "f" * 64, "epoch": "2", "size_px": "32"}
    save_weights(tmp_path / "models/pconv/last.safetensors", PConvUNet(width=2, levels=3), about)
    line = json.dumps({"epoch": 1, "hole": 0.25, "valid_hole_l1": None})
    (tmp_path / "models/pconv/log.jsonl").write_text(line + "\n")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/table.csv").write_text("method,psnr_hole\ntelea,20.5\n")
    (tmp_path / "reports/metrics.json").write_text(
        '{"telea": {"ec": {"psnr_hole": 20.5, "pairs": 4}}}'
    )
    (tmp_path / "reports/headline.json").write_text('{"all": {"psnr_hole": 21.5}}')
    return tmp_path


def test_sync(finished: Path) -> None:
    """From the files alone MLflow gets curves, table and a model that fills as the library does.

    The weights are a link, as DVC leaves it where its cache is linked to.
    """
    weights = finished / "models/pconv/last.safetensors"
    weights.symlink_to(weights.rename(finished / "cached"))
    assert tracking.log_report()
    from mlflow import MlflowClient, pyfunc

    client = MlflowClient()
    (run,) = client.search_runs([_experiment()])
    assert run.data.metrics["train/hole"] == 0.25
    assert run.data.metrics["values/telea/ec/psnr_hole"] == 20.5
    assert run.data.metrics["headline/psnr_hole"] == 21.5
    assert run.data.params["masks.size_px"] == "32"
    (log,) = client.list_artifacts(run.info.run_id, "models")
    assert log.path == "models/log.jsonl"

    model = pyfunc.load_model("models:/pconv-sample-32px@best")
    image = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    mask = np.ones((40, 36), bool)
    mask[10:20, 5:15] = False
    files = {"image": [png(image)], "mask": [png(mask.astype(np.uint8) * 250)]}
    answer = model.predict(pd.DataFrame(files))["image"][0]
    filled = np.asarray(Image.open(BytesIO(base64.b64decode(answer))))
    assert np.array_equal(filled[mask], image[mask])
    assert np.array_equal(filled, inpaint(image, mask, weights=weights))


def test_deep_grey() -> None:
    """16-bit grey comes out as it is read elsewhere; what is not read there is refused."""
    from workflow.serving import _read  # it imports MLflow

    grey = np.linspace(0, 65535, 80 * 60).reshape(60, 80).astype(np.uint16)
    file = base64.b64encode(png(grey))
    found = _read("image", file.decode(), read_image)
    assert np.array_equal(found[..., 0], grey >> 8)
    with pytest.raises(ImageError, match=r"^image: .*floating-point"):
        _read("image", png(grey.astype(np.float32), "TIFF"), read_image)
    with pytest.raises(ImageError, match=r"^mask: not base64"):
        _read("mask", "abc", read_mask)


@pytest.mark.parametrize(("section", "name"), [("sample", "pairs"), ("evaluate", "slow_pairs")])
def test_measured_again(finished: Path, section: str, name: str) -> None:
    """An evaluation with other parameters has a run of its own, below the training's.

    The one before keeps its numbers. Delivered again, each goes to the run that it has.
    """
    from mlflow import MlflowClient

    path = finished / "params.yaml"
    first = path.read_text()
    second = re.sub(rf"(?m)^  {name}: \d+$", f"  {name}: 400", first)
    assert second != first
    for content, psnr in ((first, 20.0), (second, 21.0), (first, 20.5), (second, 21.5)):
        path.write_text(content)
        number = json.dumps({"all": {"psnr_hole": psnr}})
        (finished / "reports/headline.json").write_text(number)
        assert tracking.log_report()
    client = MlflowClient()
    below, training = client.search_runs([_experiment()], order_by=["attributes.start_time DESC"])
    assert training.data.tags["fingerprint"] == "f" * 64
    assert training.data.metrics["headline/psnr_hole"] == 20.5
    assert training.data.params[f"{section}.{name}"] == str(yaml.safe_load(first)[section][name])
    assert below.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert "fingerprint" not in below.data.tags
    assert below.data.metrics["headline/psnr_hole"] == 21.5
    assert below.data.tags["kind"] == training.data.tags["kind"] == "pconv"
    assert below.data.params == training.data.params | {f"{section}.{name}": "400"}
    assert below.info.run_name == f"evaluation {section}.{name}=400"
    assert below.info.status == "FINISHED"
    for run in (training, below):
        folders = (None, "report")
        lists = [client.list_artifacts(run.info.run_id, folder) for folder in folders]
        assert {"table.json", "report/table.csv"} <= {file.path for file in chain(*lists)}


def test_shown_again(finished: Path) -> None:
    """A report that shows the same evaluation in another way is no other evaluation."""
    from mlflow import MlflowClient

    path = finished / "params.yaml"
    for examples in ("2", "3"):
        path.write_text(
            re.sub(r"(?m)^  examples: \d+$", f"  examples: {examples}", path.read_text())
        )
        assert tracking.log_report()
        (run,) = MlflowClient().search_runs([_experiment()])
        assert run.data.tags["report.examples"] == examples


def test_training_unknown(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A report is not sent if it is not known any more with what the training was measured."""
    from mlflow import MlflowClient

    assert tracking.log_report()
    (finished / "params.yaml").unlink()
    (finished / "reports/headline.json").write_text('{"all": {"psnr_hole": 30.0}}')
    assert not tracking.log_report()
    assert "params.yaml is no more that of the training ffffffff" in caplog.text
    (run,) = MlflowClient().search_runs([_experiment()])
    assert run.data.metrics["headline/psnr_hole"] == 21.5


@pytest.mark.parametrize("pairs_tag", [None, "400"])
def test_store_of_before(finished: Path, pairs_tag: str | None) -> None:
    """In a store of before evaluations had tags the training's run keeps its numbers.

    What was measured with other parameters than at first had them as tags.
    """
    from mlflow import MlflowClient

    assert tracking.log_report()
    client = MlflowClient()
    (run,) = client.search_runs([_experiment()])
    client.delete_tag(run.info.run_id, mlflow_store.EVALUATION)
    if pairs_tag:
        client.set_tag(run.info.run_id, "sample.pairs", pairs_tag)
    path = finished / "params.yaml"
    first = path.read_text()
    measured = re.sub(r"(?m)^  pairs: \d+$", "  pairs: 400", first)
    for content, psnr in ((measured, 21.0), (first, 20.0)):
        path.write_text(content)
        number = json.dumps({"all": {"psnr_hole": psnr}})
        (finished / "reports/headline.json").write_text(number)
        assert tracking.log_report()
        assert "| Telea |" in client.get_run(run.info.run_id).data.tags[mlflow_store.DESCRIPTION]
    below, training = client.search_runs([_experiment()], order_by=["attributes.start_time DESC"])
    assert below.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert training.data.metrics["headline/psnr_hole"] == (21.0 if pairs_tag else 20.0)
    assert below.data.metrics["headline/psnr_hole"] == (20.0 if pairs_tag else 21.0)


def test_made_by(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is signed by who made it, and what others deliver later by nobody."""
    from mlflow import MlflowClient

    def report(user: str, psnr: float, *, is_new: bool = True) -> dict[str, str]:
        made = {"mlflow.user": user, "mlflow.source.git.commit": f"{user}'s", "git.dirty": "false"}
        made |= {"dvc.lock.sha256": "1"} if user == "ann" else {}
        monkeypatch.setattr(run_files, "provenance", lambda: made)
        number = json.dumps({"all": {"psnr_hole": psnr}})
        (finished / "reports/headline.json").write_text(number)
        assert tracking.log_report(is_new=is_new)
        (run,) = MlflowClient().search_runs([_experiment()])
        assert run.data.metrics["headline/psnr_hole"] == psnr
        assert "mlflow.source.git.commit" not in run.data.tags
        return {key: run.data.tags[key] for key in run_files.MAKER if key in run.data.tags}

    by_ann = {"report.user": "ann", "report.git.commit": "ann's", "report.git.dirty": "false"}
    by_ann |= {"report.dvc.lock.sha256": "1"}
    by_ben = {"report.user": "ben", "report.git.commit": "ben's", "report.git.dirty": "false"}
    assert report("ann", 21.0) == by_ann
    assert report("ben", 20.0) == by_ben
    assert report("ann", 20.0) == by_ann
    assert report("ben", 20.0) == by_ben
    assert report("cat", 20.0, is_new=False) == by_ben
    assert report("cat", 20.5, is_new=False) == {}
    assert report("ben", 20.0) == by_ben


@pytest.mark.parametrize("made_by", ["dvc", "snakemake"])
def test_delivered_after_an_edit(finished: Path, made_by: str) -> None:
    """A run says what it was made with, also where that is known of ``dvc.lock`` only by now.

    Where the outputs are not those that it records, another engine made them since, with what
    ``params.yaml`` says.
    """
    from mlflow import MlflowClient

    path = finished / "params.yaml"
    before = yaml.safe_load(path.read_text())
    outputs = {"sample": Path("data/sample.csv"), "train": Path("models")}
    outputs["sample"].parent.mkdir()
    outputs["sample"].write_text("made by DVC")
    stages = {
        "check": {"cmd": "python -m check", "params": {"params.yaml": read_params().model_dump()}}
    }
    stages |= {
        name: {
            "cmd": f"python -m {name}",
            "params": {"params.yaml": {name: before[name]}},
            "outs": [{"path": str(output), "md5": dvc_hash(output)}],
        }
        for name, output in outputs.items()
    }
    (finished / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    if made_by == "snakemake":
        outputs["sample"].write_text("made by Snakemake")
        (outputs["train"] / "log.txt").touch()
    edited = {
        **before,
        "sample": before["sample"] | {"pairs": 400},
        "train": before["train"] | {"learning_rate": 0.125},
    }
    path.write_text(yaml.safe_dump(edited))

    assert tracking.log_report()
    (run,) = MlflowClient().search_runs([_experiment()])
    wanted = before if made_by == "dvc" else edited
    assert run.data.params["sample.pairs"] == str(wanted["sample"]["pairs"])
    assert run.data.params["train.learning_rate"] == str(wanted["train"]["learning_rate"])


@pytest.mark.parametrize("content", ["", "stages: 3\n", "stages: {masks: {outs: []}}\n", "{"])
def test_damaged_record(finished: Path, content: str) -> None:
    """A ``dvc.lock`` that says nothing is none: ``params.yaml`` counts."""
    (finished / "dvc.lock").write_text(content)
    (training,) = finished_trainings(finished / "models")
    assert training.params == read_params()


def test_scores(finished: Path) -> None:
    """A version's score is that of the last epoch, on these photographs and these masks."""
    log = finished / "models/pconv/log.jsonl"
    scores = [20.0, 22.0, 21.0, None]
    log.write_text("".join(json.dumps({"epoch": 1, SCORE: score}) + "\n" for score in scores))
    for name in ("data/raw/valid/gt/0.png", "data/masks/held_out/0000/000000.png"):
        (finished / name).parent.mkdir(parents=True)
        (finished / name).touch()
    (training,) = finished_trainings(finished / "models")
    first = training.scores()
    assert first[SCORE] == "21.0"
    (finished / name).write_text("another mask")
    assert training.scores()[SCORED_ON] != first[SCORED_ON]


def test_edited_plan(finished: Path) -> None:
    """Where ``params.yaml`` is another by now, a training's parameters are those of its weights."""
    about = {"fingerprint": "f" * 64, "epochs": "77", "weight_hole": "9.0"}
    path = finished / "models/pconv/last.safetensors"
    save_weights(path, PConvUNet(width=2, levels=3), about)
    (training,) = finished_trainings(finished / "models")
    assert training.params is None
    tree = training.params_tree()["train"]
    assert (tree["epochs"], tree["hole_weight"]) == ("77", "9.0")


def test_whose_report(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is that of the partial convolutions' run; what it read is a data set of it."""
    from mlflow import MlflowClient

    shutil.copytree(finished / "models/pconv", finished / "models/plain")
    about = {"fingerprint": "e" * 64, "kind": "plain", "size_px": "32"}
    weights = finished / "models/plain/last.safetensors"
    weights.unlink()
    save_weights(weights, PConvUNet(width=2, levels=3), about)
    (finished / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    for name in ("data/augmented", "data/sample.csv"):
        (finished / name).parent.mkdir(exist_ok=True)
        (finished / name).touch()
    assert tracking.log_report()
    runs = {run.data.tags["kind"]: run for run in MlflowClient().search_runs([_experiment()])}
    assert runs["pconv"].data.metrics["headline/psnr_hole"] == 21.5
    assert "headline/psnr_hole" not in runs["plain"].data.metrics
    assert mlflow_store.DESCRIPTION in runs["plain"].data.tags
    used = {one.dataset.name for one in runs["pconv"].inputs.dataset_inputs}
    assert "data/sample.csv" in used
    assert "models" not in used
    monkeypatch.setattr(tracking, "_log_finished", lambda training, *_: training.kind == "pconv")
    assert not tracking.log_report()  # one did not get through


@pytest.mark.parametrize(
    "edited", ["models/pconv/log.jsonl", "data/sample.csv", "data/evaluation/metrics.csv"]
)
def test_report_of_other_data(
    finished: Path, caplog: pytest.LogCaptureFixture, edited: str
) -> None:
    """A report that was made before the last training, drawing or measurement is not delivered."""
    from mlflow import MlflowClient

    (finished / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (finished / "data/evaluation").mkdir(parents=True)
    for name in ("data/sample.csv", "data/evaluation/metrics.csv"):
        (finished / name).write_text("as measured")
    inputs = ("data/sample.csv", "data/evaluation", "models")
    digests = [dvc_hash(finished / name) for name in inputs]
    (finished / "reports/index.html").write_text(" ".join(digests))
    content = (finished / edited).read_text()
    (finished / edited).write_text(f"{content}\n" if "data" in edited else content * 2)
    assert tracking.log_report(is_new=False)
    assert "is not of the data" in caplog.text
    (run,) = MlflowClient().search_runs([_experiment()])
    assert "headline/psnr_hole" not in run.data.metrics
    (finished / edited).write_text(content)
    assert tracking.log_report(is_new=False)
    (run,) = MlflowClient().search_runs([_experiment()])
    assert run.data.metrics["headline/psnr_hole"] == 21.5


def test_code_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a stage reads its code is not data: a report's page does not name it."""
    monkeypatch.chdir(ROOT)
    assert {path.parts[0] for path in run_files.data_of("report")} <= {"data", "models"}


def test_report_without_its_page(finished: Path) -> None:
    """Of which data a report is that has no page, as in a clone, nobody knows."""
    (finished / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    assert not run_files.is_report_of_data(finished / "reports/index.html")


def test_described_without_a_report(finished: Path) -> None:
    """A run that has numbers keeps the table of them, also where it is not it that is evaluated."""
    from mlflow import MlflowClient

    (finished / "models/pconv").rename(finished / "models/plain")
    about = {"fingerprint": "e" * 64, "kind": "plain", "size_px": "32"}
    save_weights(finished / "models/plain/last.safetensors", PConvUNet(width=2, levels=3), about)
    assert tracking.log_report()
    shutil.copytree(finished / "models/plain", finished / "models/pconv")
    about = {"fingerprint": "f" * 64, "kind": "pconv", "size_px": "32"}
    save_weights(finished / "models/pconv/last.safetensors", PConvUNet(width=2, levels=3), about)
    assert tracking.log_report()
    for run in MlflowClient().search_runs([_experiment()]):
        assert "headline/psnr_hole" in run.data.metrics
        assert "| 20.50 |" in run.data.tags[mlflow_store.DESCRIPTION]


@pytest.mark.parametrize("arrived", [(True, True), (True, False), (False, True)])
def test_delivered(
    finished: Path, monkeypatch: pytest.MonkeyPatch, arrived: tuple[bool, bool]
) -> None:
    """All is delivered if what is known of the training has arrived, and of its evaluation."""
    runs = (nullcontext(Mock(is_delivered=one)) for one in arrived)
    monkeypatch.setattr(tracking, "open_run", lambda *_, **__: next(runs))
    assert tracking.log_report() == all(arrived)


def test_described_again(finished: Path) -> None:
    """The table of a new report stands in the place of the one before, with the way to its page."""
    from mlflow import MlflowClient

    metrics = finished / "reports/metrics.json"
    for psnr in ("20.50", "22.25"):
        metrics.write_text(json.dumps({"telea": {"ec": {"psnr_hole": float(psnr), "pairs": 4}}}))
        assert tracking.log_report()
        (run,) = MlflowClient().search_runs([_experiment()])
        note = run.data.tags[mlflow_store.DESCRIPTION]
        assert f"| {psnr} |" in note
        assert f"runs/{run.info.run_id}/artifacts/report/index.html" in note


@pytest.mark.parametrize("gone", ["metrics.json", "headline.json"])
def test_half_a_report(finished: Path, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    """Of a report that lacks one of its two files of numbers nothing is sent."""
    sent: list[Path | None] = []
    monkeypatch.setattr(tracking, "_log_finished", lambda _, reports, __: sent.append(reports))
    tracking.log_report()
    (finished / "reports" / gone).unlink()
    tracking.log_report()
    assert sent == [Path("reports"), None]


def _experiment() -> str:
    from mlflow import MlflowClient

    return str(MlflowClient().get_experiment_by_name(mlflow_store.EXPERIMENT).experiment_id)
