"""The run on a GPU machine, from packing to report, at a size of seconds on a CPU."""

import csv
import json
import re
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks.paper_scale.bring import PART_BYTES, bring_results, bring_weights
from benchmarks.paper_scale.collect import collect, gather
from benchmarks.paper_scale.pack import pack
from benchmarks.paper_scale.run import OutOfTime, check_masks, run_stages, set_up
from pconv.augment import reduced, useful_side_px
from pconv.errors import ArchiveError, DataError, ParameterError, WeightsError
from pconv.images import read_image, write_image
from pconv.inpainting import inpaint
from pconv.weights import load_weights, save_weights
from pconv.weights_header import read_about
from pconv.weights_source import SHIPPED_NAME
from workflow.licensed import COLUMNS
from workflow.networks import network_file
from workflow.pairs import load_pair, read_pairs
from workflow.params import read_params
from workflow.shards import Shard
from workflow.ship import Project, largest_change_db, ship
from workflow.stages.augment import ranges_of
from workflow.stages.download import download
from workflow.stages.masks import MaskFolders, make_masks
from workflow.stages.sample import sample

ROOT = Path(__file__).parent.parent
HOUR_S = 3600.0
CHANGES = ["evaluate.methods=[telea]", "evaluate.vgg_pairs=2", "train.epochs=3"]

pytestmark = pytest.mark.slow


def photographs(folder: Path, count: int, seed: int) -> None:
    """Write smooth pictures with an edge, larger than the network's."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:72, :96] / 96
    for number in range(count):
        a, b, c = rng.uniform(1, 6, 3)
        planes = [90 + 80 * np.sin(a * x + b * y + c * plane) for plane in range(3)]
        picture = np.dstack(planes) + 60 * (x > rng.random())[..., None]
        write_image(folder / f"{number}.png", picture.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which download, masks and sample have run."""
    folder = tmp_path_factory.mktemp("project")
    photographs(folder / "train", 6, seed=1)
    photographs(folder / "valid", 2, seed=2)
    content = yaml.safe_load((ROOT / "presets/tiny.yaml").read_text())
    train, valid = str(folder / "train"), str(folder / "valid")
    content["download"] |= {"source": "folder", "folder_train": train, "folder_valid": valid}
    content["download"] |= {"expected_train": 0, "expected_valid": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    params = read_params(folder / "params.yaml")
    raw, masks = folder / "data/raw", folder / "data/masks"
    download(params.download, out=raw)
    shards = [Shard(index, 8) for index in range(8)]  # as in dvc.yaml: the pairs name the shards
    folders = MaskFolders(masks / "train", masks / "valid", masks / "held_out")
    make_masks(params.masks, folders, shards)
    sample(params.sample, raw=raw, masks=masks / "valid", out=folder / "data/sample.csv")
    return folder


@pytest.fixture(scope="module")
def packed(project: Path) -> Path:
    """What is carried to the other machine."""
    pack(project, project / "packed", quality=80, max_mib=1)
    return project / "packed"


@pytest.fixture(scope="module")
def work(packed: Path) -> Path:
    """A finished run: a slice that stops in training, then one that goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCONV_WORKERS", "1")
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        folder = packed.parent / "work"
        set_up(packed, folder, CHANGES)
        run_stages(folder, ["augment", "masks"], HOUR_S, None)
        with pytest.MonkeyPatch.context() as spare:
            # Time for the slowest start and none for a step: it stops in training, not before. The
            # clock stands, so that a busy machine takes none of the fraction that rounds to none.
            spare.setattr("benchmarks.paper_scale.run._SPARE_S", 60.0)
            clock = SimpleNamespace(monotonic=lambda: 0.0)
            spare.setattr("benchmarks.paper_scale.run.time", clock)
            with pytest.raises(OutOfTime, match="train ran out of time; run the same command"):
                run_stages(folder, ["augment", "masks", "train"], 120.4, None)
        assert list(folder.glob("checkpoints/pconv/*/step-*.pt"))
        set_up(packed, folder, CHANGES)
        run_stages(folder, ["augment", "masks", "train", "evaluate"], HOUR_S, 1)
    return folder


@pytest.fixture(scope="module")
def collected(packed: Path, work: Path) -> Path:
    """The folder in which the report was made from what came back."""
    brought, folder = packed.parent / "brought", packed.parent / "collected"
    brought.mkdir()
    bring_results(work, brought)
    for which in ("first", "last"):
        bring_weights(work, brought, f"pconv-{which}")
    collect_here(brought, packed, folder)
    return folder


def collect_here(
    brought: Path, packed: Path, folder: Path, changes: Sequence[str] = CHANGES
) -> None:
    """Make the report in ``folder``, and its small files beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCONV_WORKERS", "1")
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        commands, notes = ["python -m the.command"], ["It was short."]
        files, out = list(brought.iterdir()), folder.with_name(f"{folder.name}-small")
        words = {"title": "A small run", "commands": commands, "notes": notes}
        collect(files, packed, folder, out, **words, changes=changes)


class TestPack:
    """What is carried."""

    def test_values(self, project: Path, packed: Path) -> None:
        """Validation photographs keep every pixel, and only the drawn masks come along."""
        for photo in (project / "data/raw/valid/gt").iterdir():
            kept = read_image(packed / "data/raw/valid/gt" / photo.name)
            assert (kept == read_image(photo)).all()
        drawn = {pair.mask for pair in read_pairs(packed / "data/sample.csv")}
        found = {
            path.relative_to(packed / "data/raw").as_posix()
            for kind in ("ec", "or")
            for path in (packed / "data/raw/valid" / kind).rglob("*.png")
        }
        assert found
        assert found <= drawn
        params = read_params(packed / "params.yaml").augment
        side_px = useful_side_px(params.size_px, ranges_of(params))
        photos = sorted((packed / "data/raw/train").iterdir())
        assert len(photos) == 6
        for photo in photos:
            (original,) = (project / "data/raw/train").glob(f"{photo.stem}.*")
            assert read_image(photo).shape == reduced(read_image(original), side_px).shape

    def test_raises(self, project: Path, tmp_path: Path) -> None:
        """Too much to carry is refused, and nothing is left."""
        with pytest.raises(DataError, match=r"more than --max-mib 0\.01; lower --quality"):
            pack(project, tmp_path / "packed", quality=80, max_mib=0.01)
        assert not (tmp_path / "packed").exists()


class TestRun:
    """The slices."""

    def test_values(self, work: Path) -> None:
        """The stages ran with the changed settings; the stopped one stands twice in the times."""
        log = (work / "models/pconv/log.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]
        times = [json.loads(line) for line in (work / "stage_times.jsonl").read_text().splitlines()]
        assert [(line["stage"], line["status"]) for line in times] == [
            ("augment", 0),
            ("masks", 0),
            ("train", 75),
            ("train", 0),
            ("evaluate", 0),
        ]
        with (work / "data/evaluation/0000/pairs.csv").open() as file:
            methods = {row["method"] for row in csv.DictReader(file)}
        assert methods == {"pconv-first", "pconv-last", "pconv-last-mirrored", "telea"}

    def test_other_settings(self, packed: Path, work: Path) -> None:
        """A folder is not gone on with under other settings."""
        with pytest.raises(ParameterError, match="of other settings; give another --work"):
            set_up(packed, work, [])

    def test_other_data(self, packed: Path, work: Path, tmp_path: Path) -> None:
        """Nor with other data."""
        other = tmp_path / "packed"
        shutil.copytree(packed, other)
        next((other / "data/raw/train").iterdir()).unlink()
        with pytest.raises(DataError, match=r"of other data than .*; give another --work"):
            set_up(other, work, CHANGES)

    def test_no_such_parameter(self, packed: Path, tmp_path: Path) -> None:
        """A change that names nothing is refused before anything is made."""
        with pytest.raises(ParameterError, match=r"train\.epoch is no parameter"):
            set_up(packed, tmp_path / "work", ["train.epoch=3"])
        assert not (tmp_path / "work").exists()

    def test_no_time(self, packed: Path, tmp_path: Path) -> None:
        """A slice without time starts nothing."""
        set_up(packed, tmp_path / "work", [])
        with pytest.raises(OutOfTime, match="no time left for augment"):
            run_stages(tmp_path / "work", ["augment"], 1.0, None)

    def test_some_shards(self, packed: Path, tmp_path: Path) -> None:
        """A stage that was stopped between its shards is not taken for finished."""
        folder = tmp_path / "work"
        set_up(packed, folder, [])
        run_stages(folder, ["augment"], HOUR_S, None)
        shards = sorted((folder / "data/augmented").iterdir())
        shutil.rmtree(shards[-1])
        (folder / "stage_times.jsonl").unlink()
        run_stages(folder, ["augment"], HOUR_S, None)
        assert sorted((folder / "data/augmented").iterdir()) == shards

    def test_other_masks(self, work: Path, tmp_path: Path) -> None:
        """Validation masks that are not those of the pairs are refused."""
        table = (work / "data/sample.csv").read_text()
        share = next(p.hole_share for p in read_pairs(work / "data/sample.csv") if p.kind == "walk")
        (tmp_path / "data").mkdir()
        (tmp_path / "data/masks").symlink_to(work / "data/masks")
        (tmp_path / "data/sample.csv").write_text(table.replace(str(share), "0.123"))
        with pytest.raises(DataError, match=r"drawn with a mask of 0\.123"):
            check_masks(tmp_path)
        # In the next slice too, which finds the stage finished.
        shutil.copy(work / "stage_times.jsonl", tmp_path)
        with pytest.raises(DataError, match=r"drawn with a mask of 0\.123"):
            run_stages(tmp_path, ["masks", "train"], HOUR_S, None)


class TestCollect:
    """What comes back and what is made of it."""

    def test_values(self, collected: Path, packed: Path) -> None:
        """Table, curves, pictures and the command are there, and small."""
        out = packed.parent / "collected-small"
        names = {path.name for path in out.iterdir()}
        assert {"README.md", "table.md", "metrics.json", "curves.csv", "params.yaml"} <= names
        page = (out / "README.md").read_text()
        assert "python -m the.command" in page
        assert page.startswith("# A small run\n")
        assert "It was short." in page
        assert "| PConv, epoch 3 |" in page
        assert "- pconv: 3 epochs" in page
        assert "the numbers from the weights as trained." in page
        assert "Losses: valid 1, hole 6, tv 0.1. Every number" in page
        assert all(f"({name})" in page for name in names if name.endswith(".webp"))
        assert any(name.endswith(".webp") for name in names)

    def test_measured_here(self, collected: Path, packed: Path, work: Path, tmp_path: Path) -> None:
        """Without measured pairs the brought weights are measured; a second call agrees."""
        unmeasured, brought, folder = (tmp_path / name for name in ("there", "brought", "here"))
        shutil.copytree(work, unmeasured, ignore=shutil.ignore_patterns("evaluation"))
        brought.mkdir()
        bring_results(unmeasured, brought)
        bring_weights(unmeasured, brought, "pconv-last")
        pages = []
        for _ in range(2):
            collect_here(brought, packed, folder)
            pages.append((tmp_path / "here-small/README.md").read_text())
        assert pages[0] == pages[1]
        assert "the numbers from the same." in pages[0]
        found, wanted = (
            json.loads((path / "reports/metrics.json").read_text()) for path in (folder, collected)
        )
        assert found.keys() == wanted.keys() - {"pconv-first"}
        half, full = (m["pconv-last"]["all"]["psnr_hole"] for m in (found, wanted))
        assert half == pytest.approx(full, abs=0.05)
        (brought / "pconv-last.safetensors.000").write_bytes(b"other weights")
        with pytest.raises(DataError, match="here: made from other files; give another --work"):
            collect_here(brought, packed, folder)

    def test_weights_left_behind(self, packed: Path, work: Path, tmp_path: Path) -> None:
        """What was measured there is in the table, though its weights did not come along."""
        brought = tmp_path / "brought"
        brought.mkdir()
        bring_results(work, brought)
        bring_weights(work, brought, "pconv-last")
        collect_here(brought, packed, tmp_path / "here")
        measured = json.loads((tmp_path / "here/reports/metrics.json").read_text())
        assert {"pconv-first", "pconv-last"} <= measured.keys()

    def test_two_runs(self, packed: Path, work: Path, tmp_path: Path) -> None:
        """Two runs make one table, though both measured Telea and one's weights stayed there."""
        other, brought = tmp_path / "other", tmp_path / "brought"
        shutil.copytree(work, other)
        for folder in ("models", "checkpoints"):
            (other / folder / "pconv").rename(other / folder / "plain")
        rows = other / "data/evaluation/0000/pairs.csv"
        rows.write_text(rows.read_text().replace(",pconv-", ",plain-"))
        brought.mkdir()
        bring_results(work, brought)
        bring_results(other, brought)
        bring_weights(work, brought, "pconv-last")
        collect_here(brought, packed, tmp_path / "here")
        measured = json.loads((tmp_path / "here/reports/metrics.json").read_text())
        ends = ("first", "last", "last-mirrored")
        both = {f"{network}-{end}" for network in ("pconv", "plain") for end in ends}
        assert measured.keys() == both | {"telea"}
        assert measured["plain-first"] == measured["pconv-first"]
        page = (tmp_path / "here-small/README.md").read_text()
        for name in ("PConv", "Plain convolution"):
            for epoch in (1, 3):
                assert f"| {name}, epoch {epoch} |" in page

    def test_other_numbers(self, collected: Path, packed: Path, tmp_path: Path) -> None:
        """The page does not say that a run had numbers which it had not."""
        changes = [*CHANGES[:-1], "train.epochs=4", "train.mask_channel=true"]
        wanted = (
            "results-pconv: made with other numbers than the report would name; give "
            "--set train.mask_channel=false --set train.epochs=3, and another --work"
        )
        with pytest.raises(ParameterError, match=f"^{wanted}$"):
            collect_here(packed.parent / "brought", packed, tmp_path / "here", changes)
        assert not (tmp_path / "here-small").exists()

    def test_weights_came_in_parts(self, collected: Path, work: Path) -> None:
        """Joined, they are the trained ones to half precision, and say the same of themselves."""
        brought, trained = (
            folder / "models/pconv/last.safetensors" for folder in (collected, work)
        )
        assert read_about(brought) == read_about(trained)
        wanted = load_weights(trained).state_dict()
        for name, value in load_weights(brought).state_dict().items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-3, atol=1e-6)
        assert PART_BYTES <= 16 * 2**20

    def test_raises(self, collected: Path, packed: Path) -> None:
        """Two runs of one network are not mixed, and foreign files are refused."""
        other = packed.parent / "brought" / "results-again.tar.gz"
        other.write_bytes((packed.parent / "brought" / "results-pconv.tar.gz").read_bytes())
        with pytest.raises(DataError, match="two runs left it"):
            gather([other], collected)
        with pytest.raises(DataError, match="wanted results-"):
            gather([packed / "params.yaml"], collected)

    @pytest.mark.parametrize(
        ("name", "kind", "flaw"),
        [
            ("../out.txt", tarfile.REGTYPE, r"a part of its path is '\.\.'"),
            ("/out.txt", tarfile.REGTYPE, "its path is absolute"),
            ("a", tarfile.SYMTYPE, "it is a link"),
        ],
    )
    def test_leads_elsewhere(self, tmp_path: Path, name: str, kind: bytes, flaw: str) -> None:
        """An archive with a name that leads out of its folder, or a link, leaves nothing."""
        archive, work = tmp_path / "results-odd.tar.gz", tmp_path / "work"
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "../../out.txt"
        with tarfile.open(archive, "w:gz") as tar:
            tar.addfile(member)
        wanted = rf"results-odd\.tar\.gz: refused because of its member '{re.escape(name)}': {flaw}"
        with pytest.raises(ArchiveError, match=wanted):
            gather([archive], work)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


class TestShip:
    """The weights that ship."""

    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        """A table of training photographs."""
        path = tmp_path / "photos.tsv"
        rows = ["\t".join(COLUMNS), *["0.jpg\tCC BY 2.0 (seen there)\tr\tp\t\td"] * 2]
        path.write_text("\n".join([*rows, "2.jpg\tCC0-1.0\tr\tp\t\td"]) + "\n")
        return path

    @pytest.fixture
    def finished(self, collected: Path) -> Project:
        """A finished pipeline."""
        return Project(
            params=collected / "params.yaml",
            models=collected / "models",
            metrics=collected / "reports/metrics.json",
            sample=collected / "data/sample.csv",
            raw=collected / "data/raw",
            masks=collected / "data/masks/valid",
        )

    def test_values(
        self, finished: Project, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half precision loads as float32 and fills by default; the card says what it is."""
        out = tmp_path / "weights"
        ship(finished, photos, out)
        state = load_weights(out / SHIPPED_NAME).state_dict()
        assert all(str(value.dtype) in ("torch.float32", "torch.int64") for value in state.values())
        stored = load_file(out / SHIPPED_NAME).values()
        assert {value.dtype for value in stored if value.ndim == 4} == {torch.float16}
        assert read_about(out / SHIPPED_NAME)["epoch"] == "3"
        card = (out / "README.md").read_text()
        # They came back in half precision: what was measured is what ships.
        for words in ("- CC BY 2.0: 2\n", "| PConv, epoch 3 |", "of these very weights."):
            assert words in card
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("PCONV_WEIGHTS", raising=False)
        monkeypatch.setattr("pconv.weights_source.SHIPPED_FOLDERS", (tmp_path / "none", out))
        picture = np.full((40, 40, 3), 90, np.uint8)
        mask = np.ones((40, 40), bool)
        mask[10:20, 10:20] = False
        assert inpaint(picture, mask).shape == picture.shape

    def test_prose_stays(self, finished: Project, photos: Path, tmp_path: Path) -> None:
        """Made again, a card has new numbers between the prose that people wrote."""
        out = tmp_path / "weights"
        ship(finished, photos, out)
        card, first = out / "README.md", (out / "README.md").read_text()
        edited = first.replace("3 photographs", "4 photographs") + "- Skies get a tint.\n"
        card.write_text(edited)
        ship(finished, photos, out)
        assert card.read_text() == first + "- Skies get a tint.\n"

    def test_raises(
        self, finished: Project, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Weights that are too large for git are refused."""
        monkeypatch.setattr("workflow.ship.MAX_BYTES", 1000)
        with pytest.raises(WeightsError, match=r"more than 0; train a narrower network"):
            ship(finished, photos, tmp_path / "weights")
        assert not (tmp_path / "weights").exists()

    def test_trained_again(self, finished: Project, photos: Path, tmp_path: Path) -> None:
        """The numbers of another network are not taken for those of one trained since."""
        models = shutil.copytree(finished.models, tmp_path / "models")
        network = network_file("pconv-last", models)
        save_weights(network, load_weights(network), read_about(network) | {"epoch": "4"})
        with pytest.raises(
            DataError, match=r"index.html: not a report of the networks in .*models"
        ):
            ship(replace(finished, models=models), photos, tmp_path / "weights")
        assert not (tmp_path / "weights").exists()

    def test_largest_change(self, finished: Project, tmp_path: Path) -> None:
        """What other weights change is the largest change of a kind's mean PSNR in the hole."""
        source = network_file("pconv-last", finished.models)
        network = load_weights(source)
        with torch.no_grad():
            for value in network.parameters():
                value.mul_(1.5)
        save_weights(tmp_path / "other.safetensors", network, read_about(source))

        changes: dict[str, list[float]] = {}
        for pair in read_pairs(finished.sample):
            image, known = load_pair(pair, finished.raw, finished.masks)
            filled = [
                inpaint(image, known, weights=load_weights(source)),
                inpaint(image, known, weights=network),
            ]
            errors = [np.mean((made[~known] / 255 - image[~known] / 255) ** 2) for made in filled]
            changes.setdefault(pair.kind, []).append(10 * float(np.log10(errors[0] / errors[1])))
        wanted = max(abs(float(np.mean(of_kind))) for of_kind in changes.values())
        found = largest_change_db(finished, tmp_path / "other.safetensors")
        assert found == pytest.approx(wanted, abs=0.02)
        assert largest_change_db(finished, source) is None
