"""params.yaml as types: what is allowed, and what each mistake is answered with."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pconv.errors import ParameterError
from workflow.params import read_params, write_section_files
from workflow.presets import PRESETS, use_preset
from workflow.sections import Params, Section

ROOT = Path(__file__).parent.parent.parent
SAMPLE = (ROOT / PRESETS / "sample.yaml").read_text()
TERMS = ("valid", "hole", "perceptual", "style", "tv")
NO_WEIGHTS = {f"{term}_weight": 0.0 for term in TERMS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the project's presets."""
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(**sections: dict[str, object]) -> str:
    """Return the sample preset with some values replaced."""
    content = yaml.safe_load(SAMPLE)
    for name, values in sections.items():
        content[name] |= values
    return yaml.safe_dump(content)


class TestPresets:
    """The files in presets/."""

    @pytest.mark.parametrize("path", sorted((ROOT / PRESETS).glob("*.yaml")), ids=lambda p: p.stem)
    def test_values(self, path: Path) -> None:
        """Every preset is allowed."""
        assert read_params(path)

    def test_record(self) -> None:
        """The records of runs that the benchmarks train by are allowed."""
        page = (ROOT / "benchmarks/README.md").read_text()
        named = set(re.findall(r"(?:PRESET=|--preset )(\S+\.yaml)", page))
        assert named
        for name in named:
            assert read_params(ROOT / name)

    def test_paper_numbers(self) -> None:
        """presets/paper.yaml holds the paper's numbers."""
        paper = read_params(ROOT / PRESETS / "paper.yaml")
        assert (paper.augment.images, paper.augment.size_px) == (7700, 256)
        assert (paper.masks.train, paper.masks.size_px) == (7700, 256)
        assert (paper.train.first_epoch, paper.train.epochs) == (100, 150)
        assert paper.sample.pairs == 1750
        assert (paper.train.width, paper.train.levels) == (64, 8)

    def test_clone_runs_the_sample(self) -> None:
        """params.yaml of a fresh clone is presets/sample.yaml."""
        shipped = subprocess.run(
            ["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True
        )
        if shipped.returncode:
            pytest.skip("not a git checkout")
        assert shipped.stdout == SAMPLE


def test_descriptions() -> None:
    """Every key says what it means: the README sends its readers here."""
    for name, section in Params.model_fields.items():
        assert isinstance(section.annotation, type)
        assert issubclass(section.annotation, Section)
        fields = section.annotation.model_fields.items()
        silent = [key for key, field in fields if not field.description]
        assert not silent, f"{name}: {', '.join(silent)}"


class TestReadParams:
    """Bad files are refused before any work, each in its own words."""

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "holds nothing"),
            ("- 1\n", "holds list"),
            (edited(augment={"imges": 3}), "augment.imges: there is no such key.*mean images"),
            (edited(augment={"images": "many"}), "augment.images: found 'many'; .*integer"),
            (edited(augment={"images": 0}), "augment.images: found 0; .*greater than 0"),
            (edited(augment={"images": 2.5}), "augment.images: found 2.5"),
            (edited(augment={"width": 3}), r"augment.width: .*no such key \(it is train.width\)"),
            (SAMPLE + "tv_weight: 1\n", r"tv_weight: there is no such key \(it is train.tv_wei"),
            (SAMPLE + "seed: 1\n", "seed: there is no such key; allowed here"),
            (edited(train={"validation_pairs": 9}), r"\(it is masks.held_out\); allowed here"),
            (SAMPLE.replace("  held_out:", "  #"), r"held_out: is missing; .*Held-out pairs"),
            (edited(download={"source": "icmee"}), "download.source: found 'icmee'; .*'icme'"),
            (edited(masks={"size_px": 64}), "masks.size_px is 64 but augment.size_px is"),
            (edited(train={"first_epoch": 5}), "train: first_epoch is 5 but epochs is 4"),
            (
                edited(train={"batch_size": 60000}),
                r"train.batch_size is 60000 but augment.images is \d+; an epoch needs the images",
            ),
            (edited(train={"finetune_from_epoch": 5}), "finetune_from_epoch is 5 but epochs is 4"),
            (edited(train=NO_WEIGHTS), "valid_weight, .*tv_weight are all 0"),
            (
                edited(train={"initial_weights": "a.safetensors", "kinds": ["pconv", "plain"]}),
                "one kind of network",
            ),
            (
                edited(download={"folder_train": "a\0b"}),
                r"download: folder_train is 'a\\x00b'; wanted text without control",
            ),
            (edited(train={"kinds": ["pconv", "pconv"]}), "train: kinds is .* names one twice"),
            (
                edited(evaluate={"methods": ["telea", "mean"], "slow_methods": ["mean"]}),
                "evaluate: mean: in methods, .* and in slow_methods",
            ),
            (edited(masks={"kinds": ["walk"]}), "masks.kinds lacks strokes, rectangles"),
            (edited(download={"source": "icme", "icme_train": ["a.zip"]}), "icme_valid must be"),
            (SAMPLE.replace("masks:", "masksx:", 1), "masksx: there is no such key.*mean masks"),
            (SAMPLE + "seed: &a [*a]\n", "aliases"),
            (SAMPLE + "masks:\n  seed: 1\n", "'masks' stands here twice"),
            ("augment:\n\tseed: 1\n", "not valid YAML"),
            (SAMPLE.replace("seed: 1", "seed: 010", 1), "number 010 is read in two ways"),
            (SAMPLE.replace("images: ", "images: 1:30 #", 1), "is read in two ways"),
            ("x" * 200_000, "over 100000 bytes"),
        ],
    )
    def test_raises(self, tmp_path: Path, text: str, words: str) -> None:
        """The message names the file, the key, what was found and what is allowed."""
        path = tmp_path / "params.yaml"
        path.write_text(text)
        with pytest.raises(ParameterError, match=f"(?s)params.yaml.*{words}"):
            read_params(path)

    @pytest.mark.parametrize("text", ["2e-4", "2E-04", "2.e-4", "0.2e-3", ".2e-3", "+2e-4"])
    def test_exponents(self, tmp_path: Path, text: str) -> None:
        """A number is read however it is written: DVC writes 2e-05, which YAML 1.1 calls text."""
        path = tmp_path / "params.yaml"
        path.write_text(SAMPLE.replace("learning_rate: ", f"learning_rate: {text} #", 1))
        assert read_params(path).train.learning_rate == pytest.approx(2e-4)

    @pytest.mark.parametrize("number", ["300", "2.5", "1e-4"])
    def test_quoted_number(self, tmp_path: Path, number: str) -> None:
        """What to write for a number in quotes is what is accepted."""
        path = tmp_path / "params.yaml"
        key = "images: " if number.isdigit() else "learning_rate: "
        path.write_text(SAMPLE.replace(f" {key}", f" {key}'{number}' #", 1))
        with pytest.raises(ParameterError, match=re.escape(f"in quotes as text: write {number}")):
            read_params(path)
        path.write_text(SAMPLE.replace(f" {key}", f" {key}{number} #", 1))
        read_params(path)

    def test_misspelt_key_is_one_line(self, tmp_path: Path) -> None:
        """A misspelt key is told once: not as an unknown one and as a missing one."""
        path = tmp_path / "params.yaml"
        path.write_text(SAMPLE.replace("  images: ", "  imges: ", 1))
        with pytest.raises(ParameterError) as refused:
            read_params(path)
        assert len(str(refused.value).splitlines()) == 1
        path.write_text(SAMPLE.replace("  images: ", "  qqq: ", 1))
        with pytest.raises(ParameterError, match=r"augment\.images: is missing"):
            read_params(path)

    def test_kinds_that_are_not_sampled(self, tmp_path: Path) -> None:
        """Masks of other kinds alone are allowed where no pairs of the sampled ones are drawn."""
        path = tmp_path / "params.yaml"
        none = {"pairs_per_generated_kind": 0}
        path.write_text(edited(masks={"kinds": ["brush"]}, sample=none))
        assert read_params(path).masks.kinds == ["brush"]

    def test_missing_file(self, tmp_path: Path) -> None:
        """Without a file the message says what makes one, and where."""
        with pytest.raises(ParameterError, match=r"not found; `make use PRESET=sample`, in the"):
            read_params(tmp_path / "params.yaml")


class TestSectionFiles:
    """The files by which Snakemake sees edits."""

    def test_change_alone(self, folder: Path) -> None:
        """After an edit only the section's own file is rewritten."""
        use_preset("sample")
        before = {p.name: p.stat().st_mtime_ns for p in (folder / ".stages").iterdir()}
        (folder / "params.yaml").write_text(edited(augment={"images": 7}))
        write_section_files(read_params())
        after = {p.name: p.stat().st_mtime_ns for p in (folder / ".stages").iterdir()}
        assert [name for name in after if after[name] != before[name]] == ["augment.json"]


class TestUsePreset:
    """Switching between presets."""

    def test_raises(self, folder: Path) -> None:
        """A preset that is not there is named, with the nearest one, and nothing is written."""
        with pytest.raises(ParameterError, match=r"no such preset.*mean paper"):
            use_preset("papr")
        assert not (folder / "params.yaml").exists()

    def test_own_numbers_are_kept(self, folder: Path) -> None:
        """Numbers that no preset has are kept beside the file, each once; those of presets not."""
        use_preset("tiny")
        use_preset("sample")
        assert not list(folder.glob("params.before*"))
        own = []
        for images in (7, 8, 7):
            own.append(edited(augment={"images": images}))
            (folder / "params.yaml").write_text(own[-1])
            use_preset("tiny")
        kept = sorted(folder.glob("params.before*"))
        assert [path.name for path in kept] == ["params.before-1.yaml", "params.before-2.yaml"]
        assert [path.read_text() for path in kept] == own[:2]
        use_preset("params.before-2.yaml")
        assert read_params().augment.images == 8
        (folder / "params.before-1.yaml").unlink()
        (folder / "params.yaml").write_text(edited(augment={"images": 9}))
        use_preset("tiny")
        kept = [path.read_text() for path in sorted(folder.glob("params.before*"))]
        assert kept == [edited(augment={"images": 9}), own[1]]
        (folder / "params.yaml").write_text("augment: [")
        use_preset("tiny")
        assert (folder / "params.before-3.yaml").read_text() == "augment: ["
