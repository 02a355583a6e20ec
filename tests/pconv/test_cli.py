"""The command: what it does, what it says, and how it ends."""

import logging
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

import pconv as library
from pconv.cli import _size
from pconv.cli_options import MASK_KINDS
from pconv.images import read_image, read_mask
from pconv.unet import PConvUNet
from pconv.weights import save_weights
from tests.pconv.scenes import KNOWN, pconv, write_scene

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_weights(no_weights: None) -> None:
    pass


def telea(*arguments: str) -> Result:
    """Fill without a network."""
    return pconv("fill", "--method", "telea", *arguments)


class TestFill:
    """`pconv fill`."""

    def test_one(self, scene: np.ndarray) -> None:
        """One photo, one mask, one result, one line."""
        result = telea("photo.png", "--mask", "mask.png", "-o", "filled.png")
        assert result.exit_code == 0
        assert "photo.png -> filled.png (7.5% hole" in result.output
        filled = read_image(Path("filled.png"))
        assert (filled[KNOWN] == scene[KNOWN]).all()
        assert (filled[~KNOWN] != scene[~KNOWN]).any(axis=-1).mean() > 0.9

    def test_network(self, scene: np.ndarray) -> None:
        """The last trained weights below the current folder are found."""
        save_weights("models/pconv/last.safetensors", PConvUNet(width=2, levels=3))
        result = pconv("fill", "photo.png", "--mask", "mask.png")
        assert result.exit_code == 0, result.output
        filled = read_image(Path("photo-filled.png"))
        assert (filled[KNOWN] == scene[KNOWN]).all()
        assert (filled[~KNOWN] != scene[~KNOWN]).any(axis=-1).mean() > 0.9

    @pytest.mark.usefixtures("scene")
    def test_no_weights(self) -> None:
        """Without weights the message names the way to some, and methods that need none."""
        result = pconv("fill", "photo.png", "--mask", "mask.png")
        assert result.exit_code == 2
        assert "make repro" in result.stderr
        assert "patchmatch" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        "names", [("photos", "masks"), ("photos/*.png", "masks/*"), ("photos", "photos")]
    )
    def test_many(self, names: tuple[str, str]) -> None:
        """Folders and patterns, matched by name, into a new folder."""
        for seed, name in enumerate("abc"):
            folder = names[1].removesuffix("/*")
            write_scene(f"photos/{name}.png", f"{folder}/{name}_mask.png", seed)
        masks = ["photos/*_mask.png"] if names[1] == "photos" else [names[1]]
        result = telea(names[0], "--mask", *masks, "-o", "filled")
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in Path("filled").iterdir()) == ["a.png", "b.png", "c.png"]

    def test_unquoted(self) -> None:
        """A pattern of masks that the shell expanded is refused, and nothing is written."""
        for name in "ab":
            write_scene(f"s/{name}.png", f"s/{name}_mask.png")
        before = sorted(Path("s").iterdir())
        result = telea("s/a.png", "s/b.png", "-m", "s/a_mask.png", "s/b_mask.png")
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: s/b_mask.png: looks like a mask")
        assert sorted(Path("s").iterdir()) == before

    def test_one_folder(self) -> None:
        """Photos and masks may lie in one folder, which is both."""
        for name in "ab":
            write_scene(f"q/{name}.png", f"q/{name}_mask.png")
        result = telea("q", "-m", "q", "-o", "filled")
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in Path("filled").iterdir()) == ["a.png", "b.png"]

    def test_one_folder_again(self) -> None:
        """Results beside the photos are no masks of a second run, however the folder is named."""
        write_scene("q/a.png", "q/a_mask.png")
        for masks in ("q", str(Path("q").resolve())):
            result = telea("q", "-m", masks)
            assert result.exit_code == 0, result.output
        assert sorted(path.name for path in Path("q").iterdir()) == [
            "a-filled.png",
            "a.png",
            "a_mask.png",
        ]

    def test_bad_among_good(self) -> None:
        """A bad file is told, the others are filled, and the status says that one failed."""
        for name in "abcd":
            write_scene(f"photos/{name}.png", f"masks/{name}.png")
        Path("photos/b.png").write_text("no image")
        Path("masks/c.png").unlink()
        result = telea("photos", "--mask", "masks", "-o", "filled")
        assert result.exit_code == 2
        assert sorted(path.name for path in Path("filled").iterdir()) == ["a.png", "d.png"]
        assert "photos/b.png: not a readable image" in result.stderr
        assert "photos/c.png: no mask of that name" in result.stderr
        assert "2 of 4 filled, 2 failed" in result.stderr

    @pytest.mark.slow
    def test_name_of_several_lines(self) -> None:
        """A line break or an escape in a file's name is written as such, and the line stays one."""
        name = "a\nb\x1b[31m.png"
        write_scene(name, "mask.png")
        filled = telea(name, "--mask", "mask.png", "-o", "filled.png")
        assert filled.output.startswith("a\\nb\\x1b[31m.png -> filled.png (7.5% hole")
        missing = telea(f"no{name}", "--mask", "mask.png")
        Path(f"no{name}").write_bytes(b"no picture")
        damaged = telea(f"no{name}", "--mask", "mask.png")
        for result in (missing, damaged):
            assert result.output.startswith("Error: noa\\nb\\x1b[31m.png: ")
        for result in (filled, missing, damaged):
            assert len(result.output.splitlines()) == 1

    def test_name_that_is_not_utf_8(self) -> None:
        """A name in another encoding is filled and told, and so is the next photo."""
        write_scene("photo.png", "mask.png")
        Path("photos").mkdir()
        for name in (b"a\xe9.png", b"b.png"):
            Path("photos", os.fsdecode(name)).write_bytes(Path("photo.png").read_bytes())
        command = [sys.executable, "-m", "pconv.cli", "fill", "photos", "-m", "mask.png"]
        done = subprocess.run(
            [*command, "--method", "telea"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert rb"a\udce9.png -> " in done.stdout
        assert len(list(Path("photos").iterdir())) == 4

    def test_small_hole(self) -> None:
        """A hole of a few pixels is not told as none."""
        known = np.ones((100, 100), bool)
        known[50, 50:54] = False
        Image.new("RGB", (100, 100)).save("photo.png")
        Image.fromarray(known).save("mask.png")
        assert "under 0.1% hole" in telea("photo.png", "--mask", "mask.png").output

    @pytest.mark.usefixtures("scene")
    def test_grey_mask(self) -> None:
        """A mask that went through JPEG is refused in one line, with what reads it; that does."""
        Image.open("mask.png").convert("L").save("mask.jpg", quality=60)
        refused = telea("photo.png", "--mask", "mask.jpg")
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 1
        advice = refused.stderr.partition("; --")[2].partition(" reads")[0]
        result = telea("photo.png", "--mask", "mask.jpg", *f"--{advice}".split())
        assert result.exit_code == 0, result.output
        assert "7.5% hole" in result.output

    @pytest.mark.usefixtures("scene")
    def test_erased_mask(self) -> None:
        """A mask with erased pixels is refused in one line, with what reads it; that does."""
        erased = Image.new("RGB", (50, 40), "white")
        erased.putalpha(Image.fromarray(KNOWN.astype(np.uint8) * 255))
        erased.save("erased.png")
        refused = telea("photo.png", "--mask", "erased.png")
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 1
        advice = refused.stderr.strip().partition(" --")[2]
        result = telea("photo.png", "--mask", "erased.png", *f"--{advice}".split())
        assert result.exit_code == 0, result.output
        assert "7.5% hole" in result.output

    def test_folders_in_folders(self) -> None:
        """Of a folder the photos in it are filled, and by a pattern those below it."""
        write_scene("photos/a.png", "mask.png")
        write_scene("photos/deep/b.png", "mask.png")
        for number, (photos, wanted) in enumerate((("photos", 1), ("photos/**/*.png", 2))):
            assert telea(photos, "-m", "mask.png", "-o", f"out{number}/").exit_code == 0
            assert len(list(Path(f"out{number}").iterdir())) == wanted

    @pytest.mark.usefixtures("scene")
    def test_one_mask_of_many_sizes(self) -> None:
        """Of many photos, the one that is of another size than their one mask is named."""
        Image.new("RGB", (30, 20)).save("small.png")
        result = telea("photo.png", "small.png", "--mask", "mask.png", "-o", "filled")
        assert result.exit_code == 2
        assert "mask.png: 50x40 pixels; wanted 30x20, the size of small.png" in result.stderr

    @pytest.mark.parametrize("name", ["a b.png", 'it\'s "so".png', "süß 写真.png", "-dash.png"])
    def test_names(self, name: str) -> None:
        """Spaces, quotes, other scripts and leading dashes are names like any others."""
        write_scene(name, "-mask.png")
        result = telea("--mask", "-mask.png", "-o", "-out.png", "--", name)
        assert result.exit_code == 0, result.output
        assert Path("-out.png").is_file()

    def test_marks(self, scene: np.ndarray) -> None:
        """Colour, tolerance, inversion and growth arrive where they should."""
        painted = scene.copy()
        painted[~KNOWN] = [250, 5, 250]
        Image.fromarray(painted).save("painted.png")
        options = ["--hole-color", "magenta", "--tolerance", "5", "--grow", "2"]
        assert telea("painted.png", *options).exit_code == 0
        changed = (read_image(Path("painted-filled.png")) != painted).any(axis=-1)
        assert changed[8:22, 13:32].mean() > 0.9
        assert not changed[:8].any()
        Image.fromarray(~KNOWN).save("inverted.png")
        assert telea("photo.png", "-m", "inverted.png").exit_code == 2
        assert telea("photo.png", "-m", "inverted.png", "--invert").exit_code == 0
        assert telea("photo.png", "-m", "inverted.png", "--large-holes").exit_code == 0

    @pytest.mark.usefixtures("scene")
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["photo.png"], "say where the hole is"),
            (["none.png", "-m", "mask.png"], "none.png"),
            (["photo.png", "-m", "mask.png", "-o", "photo.png"], "would overwrite"),
            (["photo.png", "-m", "mask.png", "--method", "talea"], "did you mean telea"),
            (["photo.png", "--hole-color", "magnta"], "'magnta'"),
            (["photo.png", "-m", "mask.png", "--grow", "-1"], "--grow"),
            (["photo.png", "-m", "mask.png", "-o", "photo.png/a.png"], "photo.png"),
            (
                ["photo.png", "photo.png", "mask.png", "-m", "*.png", "-o", "a.png"],
                "a folder for 2",
            ),
            ([""], "what follows telea is empty; is a shell variable unset?"),
            (["photo.png", "-m", ""], "what follows -m is empty"),
            (["photo.png", "-m", "mask.png", "-o", ""], "what follows -o is empty"),
            (["photo.png", "-m", "mask.png", "-o", "-"], "-: no place for results"),
            (["photo.png", "-m", "mask.png", "--out="], "what follows --out is empty"),
            (["photo.png", "-m", "mask.png", "--half"], "--half: only the method pconv has"),
            (
                ["photo.png", "-m", "mask.png", "--device", "cpu", "--mirror"],
                "--device, --mirror: only",
            ),
            (["photo.png", "-m", "mask.png", "--weights", "none"], "--weights: only"),
            (["photo.png", "-m", "mask.png", "--invert"], "drop --invert"),
        ],
    )
    def test_raises(self, options: list[str], words: str) -> None:
        """Bad input ends with status 2 and a message, not a traceback; nothing is written."""
        before = sorted(Path().iterdir())
        result = telea(*options)
        assert result.exit_code == 2
        assert words in result.stderr
        assert sorted(Path().iterdir()) == before

    @pytest.mark.usefixtures("scene")
    def test_name_that_ends_like_an_option(self) -> None:
        """A file whose name ends in an equals sign is a file, also right after its option."""
        Path("mask.png").rename("mask=")
        assert telea("photo.png", "--mask=mask=").exit_code == 0

    @pytest.mark.usefixtures("scene")
    def test_process(self) -> None:
        """As a process: `python -m pconv.cli`, with its status and no traceback."""
        command = [sys.executable, "-m", "pconv.cli", "fill", "photo.png", "--mask", "none.png"]
        root = Path(__file__).parents[2]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert result.returncode == 2
        assert result.stderr.startswith("Error: none.png")
        assert "Traceback" not in result.stderr


class TestHelp:
    """The help teaches."""

    def test_examples(self) -> None:
        """`pconv fill --help` shows examples."""
        result = pconv("fill", "--help")
        assert result.exit_code == 0
        assert "pconv fill photo.jpg --mask mask.png -o filled.png" in result.output

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["masks", "out"]])
    def test_full(self, arguments: list[str]) -> None:
        """Where what is said can't be written that is told in one line."""
        command = [sys.executable, "-m", "pconv", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment)
        assert done.returncode == 2
        assert done.stderr == b"Error: [Errno 28] No space left on device\n"

    def test_version(self) -> None:
        """`pconv --version` and the package tell the version that is installed."""
        assert pconv("--version").output.strip() == version("pconv") == library.__version__

    def test_quick(self) -> None:
        """Help and completion do not load the network's library."""
        code = "import sys, pconv.cli; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        assert (
            subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode
            == 0
        )


class TestMasks:
    """`pconv masks`."""

    @pytest.mark.parametrize("kind", MASK_KINDS)
    def test_values(self, kind: str) -> None:
        """So many masks of a size, the same from the same seed, others from another."""
        for folder, seed in (("one", "1"), ("again", "1"), ("other", "2")):
            options = ["--count", "2", "--size", "96x64", "--kind", kind, "--seed", seed]
            assert pconv("masks", folder, *options).exit_code == 0
        masks = {name: read_mask(Path(name, "000001.png")) for name in ("one", "again", "other")}
        assert masks["one"].shape == (64, 96)
        assert (masks["one"] == masks["again"]).all()
        assert (masks["one"] != masks["other"]).any()
        assert len(list(Path("one").iterdir())) == 2

    @pytest.mark.parametrize(
        "option",
        [
            *[("--size", size) for size in ("0", "10001", "1x2x3", 5000 * "9")],
            ("--kind", "dots"),
        ],
    )
    def test_raises(self, option: tuple[str, str]) -> None:
        """Impossible sizes and kinds are refused."""
        result = pconv("masks", "out", *option)
        assert result.exit_code == 2
        assert repr(option[1]) in result.stderr

    def test_near_kind(self) -> None:
        """A misspelt kind is answered with the one most like it."""
        result = pconv("masks", "out", "--kind", "stroke")
        assert "'stroke', wanted one of walk, strokes" in result.stderr
        assert result.stderr.rstrip().endswith("did you mean strokes?")

    @pytest.mark.usefixtures("scene")
    def test_file(self) -> None:
        """A file in the place of the folder is told as that, and stays."""
        result = pconv("masks", "photo.png")
        assert result.exit_code == 2
        assert "photo.png: is no folder; wanted one for the masks" in result.stderr

    def test_sizes(self) -> None:
        """One side or two, up to the largest."""
        assert _size("256") == (256, 256)
        assert _size("10000X1") == (10_000, 1)

    def test_name_of_several_lines(self) -> None:
        """The folder is told in one line, whatever its name."""
        result = pconv("masks", "a\nb", "--count", "1", "--size", "32")
        assert result.output == "1 masks in a\\nb\n"

    def test_too_small(self) -> None:
        """A size at which no mask of a kind can be drawn is told as that."""
        result = pconv("masks", "out", "--size", "2", "--kind", "strokes")
        assert result.exit_code == 2
        assert "too small for masks of kind strokes; wanted a larger --size" in result.stderr

    def test_closed(self) -> None:
        """With standard output and error closed the masks are drawn all the same."""
        command = f"{sys.executable} -m pconv.cli masks out --count 2 >&- 2>&-"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        assert subprocess.run(["sh", "-c", command], env=environment).returncode == 0
        assert len(list(Path("out").iterdir())) == 2

    def test_terminated(self) -> None:
        """SIGTERM in the middle of a file leaves nothing unfinished."""
        code = (
            "import signal; from pathlib import Path; from pconv import cli\n"
            "def write_half(path, data):\n"
            "    path.touch(); print(path, flush=True); signal.raise_signal(signal.SIGTERM)\n"
            "Path.write_bytes = write_half; cli.app(['masks', 'out'])\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
        assert done.returncode == 128 + signal.SIGTERM
        assert done.stdout.startswith(b"out/.000000.png.partial-")
        assert done.stderr == b""
        assert list(Path("out").iterdir()) == []


class TestInfo:
    """`pconv info`."""

    def test_values(self) -> None:
        """Network, number of parameters, training and table are told."""
        network = PConvUNet(width=2, levels=3)
        save_weights("a.safetensors", network, {"dataset": "sample", "epoch": "7"})
        result = pconv("info", "a.safetensors")
        assert result.exit_code == 0
        count = sum(parameter.numel() for parameter in network.parameters())
        for words in ("pconv", f"{count:,}", "dataset", "sample", "PConv6"):
            assert words in result.output

    def test_foreign_words(self) -> None:
        """What a file of somebody else says of itself stays one line and colours nothing."""
        save_weights("a.safetensors", PConvUNet(width=2, levels=3), {"licence": "a\nb\x1b[31m"})
        assert "licence       a\\nb\\x1b[31m\n" in pconv("info", "a.safetensors").output

    def test_raises(self) -> None:
        """What is no weights file is told."""
        torch.save({}, "a.pt")
        result = pconv("info", "a.pt")
        assert result.exit_code == 2
        assert "a pickle" in result.stderr


class TestExport:
    """`pconv export`."""

    def test_quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """It tells in a line what it wrote and how exact that is, not what the exporter thinks."""
        pytest.importorskip("onnxscript")
        save_weights("a.safetensors", PConvUNet(width=2, levels=1, mask_channel=True))
        result = pconv("export", "a.safetensors", "-o", "a\nb.onnx")
        assert result.exit_code == 0
        assert result.output.startswith("a.safetensors -> a\\nb.onnx (")
        assert len(result.output.splitlines()) == 1
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING]

    def test_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the packages the message says which to install, and the status is 2."""
        monkeypatch.setattr("pconv.export.find_spec", lambda name: None)
        save_weights("a.safetensors", PConvUNet(width=2, levels=3))
        result = pconv("export", "a.safetensors", "-o", "a.onnx")
        assert result.exit_code == 2
        assert "pip install onnx" in result.stderr
        assert not Path("a.onnx").exists()

    @pytest.mark.parametrize(
        ("weights", "out", "words"),
        [
            ("a.safetensors", "a.safetensors", "wanted a name in .onnx"),
            ("a.safetensors", "photo.png", "wanted a name in .onnx"),
            ("a.onnx", "a.onnx", "would overwrite the input"),
        ],
    )
    def test_keeps_files(self, weights: str, out: str, words: str) -> None:
        """Neither weights nor photographs are overwritten."""
        save_weights(weights, PConvUNet(width=2, levels=3))
        before = Path(weights).read_bytes()
        result = pconv("export", weights, "-o", out)
        assert result.exit_code == 2
        assert words in result.stderr
        assert Path(weights).read_bytes() == before
        assert [path.name for path in Path().iterdir()] == [weights]
