import contextlib
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from pconv import weights_source
from pconv.errors import ParameterError, WeightsError
from pconv.unet import build_unet
from pconv.weights import begin_with, load_weights, save_weights
from pconv.weights_header import read_about

ABOUT = {"trained on": "faces", "licence": "CC0, „öffentlich“", "date": "2026-11-22\n"}


def network(kind="pconv", seed=0, **sizes):
    """Build a small network whose statistics and parameters are no defaults."""
    torch.manual_seed(seed)
    model = build_unet(kind, **{"width": 4, "levels": 2, **sizes})
    model(torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16))
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    """Return the path of a small network's weights."""
    save_weights(tmp_path / "net.safetensors", network(), ABOUT)
    return tmp_path / "net.safetensors"


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


class TestSaveWeights:
    """Writing."""

    def test_bytes(self, saved, tmp_path):
        """The same network and words, in whatever order, give the same bytes."""
        for number in range(4):
            again = tmp_path / f"{number}.safetensors"
            save_weights(again, network(), dict(reversed(ABOUT.items())))
            assert again.read_bytes() == saved.read_bytes()

    def test_half(self, saved, tmp_path):
        """Half precision halves the kernels, and the network stays itself."""
        wide = network(width=32)
        save_weights(tmp_path / "full", wide)
        save_weights(tmp_path / "half", wide, dtype=torch.float16)
        assert (tmp_path / "half").stat().st_size < 0.55 * (tmp_path / "full").stat().st_size
        again = load_weights(tmp_path / "half")
        for name, value in wide.state_dict().items():
            tolerance = {"rtol": 1e-3, "atol": 1e-4} if value.ndim > 1 else {"rtol": 0, "atol": 0}
            torch.testing.assert_close(again.state_dict()[name], value, **tolerance)

    def test_replaces(self, saved):
        """An existing file is replaced, and nothing else is left in the folder."""
        save_weights(saved, network(seed=1))
        assert read_about(saved) == {}
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
    def test_raises(self, saved, value):
        """Weights that are not finite in the file's precision are refused; the old file stays."""
        before, model = saved.read_bytes(), network()
        torch.nn.init.constant_(model.encoder[0].conv.weight, value)
        with pytest.raises(WeightsError, match=r"encoder\.0\.conv\.weight .* not finite"):
            save_weights(saved, model, dtype=torch.float16)
        assert saved.read_bytes() == before

    @pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, "float16"])
    def test_raises_on_dtype(self, saved, dtype):
        """A precision that can't be loaded is refused: as integers all kernels became 0."""
        before = saved.read_bytes()
        with pytest.raises(ParameterError, match=rf"dtype is {dtype}, wanted one of torch"):
            save_weights(saved, network(), dtype=dtype)
        assert saved.read_bytes() == before

    @pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
    def test_wrapped(self, saved, tmp_path, wrap):
        """Of a compiled network, or one spread over devices, the network inside is written."""
        save_weights(tmp_path / "again.safetensors", wrap(network()), ABOUT)
        assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()

    def test_size_of_training_images(self, saved, tmp_path):
        """What a network was trained at comes along, in the same bytes; what is told goes first."""
        save_weights(saved, network(), {"size_px": "64", **ABOUT})
        for about, wanted in ((ABOUT, 64), (None, 64), ({"size_px": "32"}, 32)):
            save_weights(tmp_path / "again", load_weights(saved), about)
            assert load_weights(tmp_path / "again").trained_at_px == wanted
            if about is ABOUT:
                assert (tmp_path / "again").read_bytes() == saved.read_bytes()

    @pytest.mark.parametrize(
        ("about", "words"),
        [
            ({"epoch": 7}, "about 'epoch' is 7; wanted text"),
            ({7: "epoch"}, "about 7 is 'epoch'; wanted text"),
            ({"date": None}, "about 'date' is None; wanted text"),
            ({"size_px": 256}, "about 'size_px' is 256; wanted text"),
            ({"size_px": "many"}, "size_px is 'many'; wanted .* from 0 to 65536"),
            ({"size_px": "-1"}, "size_px is '-1'; wanted"),
            ({"size_px": "256.0"}, "size_px is '256.0'; wanted"),
            ({"size_px": "65537"}, "size_px is '65537'; wanted"),
            ({"size_px": "9" * 5000}, "size_px is a text of 5000 characters; wanted"),
        ],
    )
    def test_raises_on_about(self, saved, about, words):
        """Words that are no text, and a size that none could load, are refused by name."""
        before = saved.read_bytes()
        with pytest.raises(WeightsError, match=rf"net\.safetensors: {words}") as caught:
            save_weights(saved, network(), about)
        assert len(str(caught.value)) < 300
        assert saved.read_bytes() == before

    @pytest.mark.parametrize("size_px", [256.0, -8, "many"])
    def test_raises_on_size(self, saved, size_px):
        """So is a network that was given a size that is none."""
        model = network()
        model.trained_at_px = size_px
        with pytest.raises(WeightsError, match=r"size_px is .*; wanted"):
            save_weights(saved, model)

    def test_raises_on_what_none_could_load(self, saved):
        """A network with other tensors than its kind has is refused; the old file stays."""
        before, model = saved.read_bytes(), network()
        parametrizations.spectral_norm(model.encoder[0].conv)
        with pytest.raises(WeightsError, match=r"not written, .*encoder\.0\.conv"):
            save_weights(saved, model)
        with pytest.raises(WeightsError, match="a Linear; wanted a network"):
            save_weights(saved, nn.Linear(2, 2))
        assert saved.read_bytes() == before


class TestBeginWith:
    """Weights to train on from."""

    @pytest.mark.parametrize("kind", ["pconv", "plain"])
    def test_same_network(self, kind, tmp_path):
        """A network like the file's becomes the file's, in its own mode."""
        save_weights(tmp_path / "saved", network(kind))
        model = network(kind, seed=1).train()
        begin_with(model, tmp_path / "saved")
        assert model.training
        for name, value in network(kind).state_dict().items():
            assert torch.equal(model.state_dict()[name], value)

    def test_name_is_a_file(self, tmp_path, monkeypatch):
        """A name is that of a file, also where `load_weights` would find another by it.

        A run is named after the content of the file, so it has to be that one.
        """
        monkeypatch.chdir(tmp_path)
        save_weights("models/pconv/last.safetensors", network("pconv"))
        save_weights("last", network("pconv", seed=2))
        model = network("pconv", seed=1)
        begin_with(model, "last")
        for name, value in network("pconv", seed=2).state_dict().items():
            assert torch.equal(model.state_dict()[name], value)

    @pytest.mark.parametrize("kind", ["pconv", "plain"])
    @pytest.mark.parametrize("levels", [1, 3])
    def test_mask_channel(self, kind, levels, tmp_path):
        """A network that is shown the mask too fills as the file's, and learns from the mask."""
        image = torch.rand(2, 3, 16, 16)
        # The last row's partial convolution counts the mask among the channels it knows; where all
        # is known that makes no difference.
        mask = torch.ones(2, 1, 16, 16)
        if kind == "plain":
            mask = (torch.rand(2, 1, 16, 16) < 0.5).float()
        save_weights(tmp_path / "saved", network(kind, levels=levels))
        model = network(kind, seed=1, levels=levels, mask_channel=True)
        begin_with(model, tmp_path / "saved")
        again = model(image, mask)
        torch.testing.assert_close(again, network(kind, levels=levels)(image, mask))
        again.square().sum().backward()
        for row in (model.encoder[0], model.decoder[-1]):
            assert row.conv.weight.grad[:, -1].abs().sum() > 0

    @pytest.mark.parametrize(
        ("saved_as", "wanted", "match"),
        [
            ({"kind": "plain"}, {}, "has kind plain, the one to be trained pconv; name other"),
            ({"width": 8}, {}, "has width 8, the one to be trained 4"),
            ({}, {"levels": 3}, "has levels 2, the one to be trained 3"),
            ({"centre": "known"}, {}, "has centre known, the one to be trained half"),
            ({"mask_channel": True}, {}, "has mask_channel True, the one to be trained False"),
        ],
    )
    def test_raises(self, saved_as, wanted, match, tmp_path):
        """Weights of another network are refused, and the one to be trained stays as it is."""
        save_weights(tmp_path / "saved", network(**saved_as))
        model, before = network(seed=1, **wanted), network(seed=1, **wanted)
        with pytest.raises(WeightsError, match=match):
            begin_with(model, tmp_path / "saved")
        assert torch.equal(model.encoder[0].conv.weight, before.encoder[0].conv.weight)


class TestLoadWeights:
    """Reading."""

    @pytest.mark.parametrize("kind", ["pconv", "plain"])
    def test_round_trip(self, kind, tmp_path):
        """A saved and loaded network has the same output, bit for bit, and is in eval mode."""
        image, mask = torch.rand(1, 3, 20, 30), (torch.rand(1, 1, 20, 30) < 0.5).float()
        for choices in ({}, {"centre": "known"}, {"mask_channel": True}):
            model = network(kind, **choices)
            save_weights(tmp_path / "saved", model)
            again = load_weights(tmp_path / "saved")
            assert torch.equal(model(image, mask), again(image, mask))
            assert not again.training
            assert again.hyperparameters() == model.hyperparameters()

    def test_without_a_path(self, saved, tmp_path, no_weights, monkeypatch):
        """Without a path they are those that ship, unless the variable names others."""
        monkeypatch.setattr(weights_source, "SHIPPED_FOLDERS", (tmp_path / "shipped",))
        with pytest.raises(WeightsError, match="no trained weights here"):
            load_weights()
        (tmp_path / "shipped").mkdir()
        save_weights(tmp_path / "shipped" / weights_source.SHIPPED_NAME, network(seed=1))
        wanted = network(seed=1).state_dict()
        for name, value in load_weights().state_dict().items():
            assert torch.equal(value, wanted[name])
        monkeypatch.setenv(weights_source.VARIABLE, str(saved))
        for name, value in load_weights().state_dict().items():
            assert torch.equal(value, network().state_dict()[name])

    def test_trains(self, saved):
        """A loaded network can be trained further."""
        model = load_weights(str(saved)).train()
        model(torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_random_state(self, saved):
        """Loading draws no random numbers."""
        state = torch.get_rng_state()
        load_weights(saved)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("device", ["abacus", "meta"])
    def test_raises_on_device(self, saved, device):
        """A device that is not here is refused by name."""
        with pytest.raises(ParameterError, match=f"device is '{device}', which is not here"):
            load_weights(saved, device)

    def test_free_of_the_file(self, saved):
        """A loaded network does not change when its file is overwritten."""
        model = load_weights(saved)
        before = model.encoder[0].conv.weight.clone()
        saved.write_bytes(bytes(saved.stat().st_size))
        assert torch.equal(model.encoder[0].conv.weight, before)

    @pytest.mark.parametrize("tenth", range(10))
    def test_truncated(self, saved, tenth):
        """A file cut short is refused as damaged, wherever it was cut."""
        data = saved.read_bytes()
        saved.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(WeightsError, match=r"net\.safetensors: damaged, cut short"):
            load_weights(saved)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_pickle(self, saved, zipped):
        """A pickle is refused as one, and its code does not run."""
        trap = saved.parent / "ran"
        if zipped:
            torch.save(Trap(trap), saved)
        else:
            saved.write_bytes(pickle.dumps(Trap(trap)))
        with pytest.raises(WeightsError, match=r"a pickle \(torch\.save\)"):
            load_weights(saved)
        assert not trap.exists()

    def test_missing(self, tmp_path):
        """A file that isn't there is named, and so is what is no file."""
        for path, words in (
            (tmp_path / "none", "there is no such weights file"),
            (tmp_path, "is a folder; wanted a weights file"),
            (Path("/dev/null"), "is no file; wanted a weights file"),
        ):
            with pytest.raises(WeightsError, match=f"{path}: {words}"):
                load_weights(path)

    def test_default_dtype(self, saved):
        """The network is in float32, whatever torch's default is."""
        torch.set_default_dtype(torch.float64)
        try:
            model = load_weights(saved)
        finally:
            torch.set_default_dtype(torch.float32)
        dtypes = {value.dtype for value in model.state_dict().values()}
        assert dtypes == {torch.float32, torch.int64}

    @pytest.mark.parametrize("header", [None, {"pconv": "2"}])
    def test_foreign(self, saved, header):
        """Somebody else's safetensors file, or one of another layout, is refused as such."""
        save_file({"weight": torch.ones(3)}, saved, header)
        with pytest.raises(WeightsError, match="not one of this project's"):
            load_weights(saved)

    @pytest.mark.parametrize(
        ("changed", "match"),
        [
            ({"kind": "gated"}, "kind of network is 'gated'"),
            ({"width": "many"}, "describes no network"),
            ({"width": "4096", "levels": "16"}, "tensors are not the"),
            ({"width": "8"}, r"weight is \(4, .*\), wanted \(8, [0-9, ]*\)$"),
            ({"levels": "3"}, "is in one and not in the other"),
            ({"mask_channel": "True"}, r"\(4, 3, 7, 7\), wanted .*\(4, 4, 7, 7\)"),
            ({"mask_channel": "1"}, "mask_channel is '1', wanted True or False"),
            ({"levels": "1000000000"}, "integer from 1 to 16"),
            ({"centre": "elsewhere"}, "centre is 'elsewhere', wanted one of half, known"),
        ],
    )
    def test_other_architecture(self, saved, changed, match):
        """A header that does not fit the tensors is refused before anything is allocated."""
        model = network()
        words = {k: str(v) for k, v in model.hyperparameters().items()}
        save_file(model.state_dict(), saved, {"pconv": "1", **words, **changed})
        with pytest.raises(WeightsError, match=match):
            load_weights(saved)

    @pytest.mark.parametrize("kind", ["pconv", "plain"])
    def test_without_choices(self, saved, kind):
        """A file from before there were choices is read as what it is.

        Then plain networks had the mask as a channel, and partial ones had not.
        """
        model = network(kind, mask_channel=kind == "plain")
        new = ("centre", "mask_channel")
        words = {k: str(v) for k, v in model.hyperparameters().items() if k not in new}
        save_file(model.state_dict(), saved, {"pconv": "1", **words})
        assert load_weights(saved).hyperparameters() == model.hyperparameters()

    def test_not_finite(self, saved):
        """Values that are no numbers are refused, with the tensor's name."""
        model = network()
        words = {k: str(v) for k, v in model.hyperparameters().items()}
        tensors = model.state_dict()
        tensors["encoder.0.conv.weight"].view(-1)[5] = float("nan")
        save_file(tensors, saved, {"pconv": "1", **words})
        with pytest.raises(WeightsError, match=r"encoder\.0\.conv\.weight .* not finite; train"):
            load_weights(saved)

    def test_other_kind_of_number(self, saved):
        """Tensors of integers where weights are wanted are refused."""
        model = network()
        words = {k: str(v) for k, v in model.hyperparameters().items()}
        tensors = {k: v.to(torch.int32) for k, v in model.state_dict().items()}
        save_file(tensors, saved, {"pconv": "1", **words})
        with pytest.raises(WeightsError, match=r"is I32, wanted F16 or BF16 or F32 or F64$"):
            load_weights(saved)

    @settings(
        deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
    def test_damaged_header(self, saved, place, noise):
        """A damaged header gives a network or a WeightsError, never anything else."""
        data = bytearray(saved.read_bytes())
        damaged = saved.with_name("damaged")
        place %= 8 + struct.unpack("<Q", data[:8])[0]
        data[place : place + len(noise)] = noise
        damaged.write_bytes(data)
        with contextlib.suppress(WeightsError):
            assert load_weights(damaged).hyperparameters()


class TestReadAbout:
    """What is said of weights."""

    def test_values(self, saved):
        """The words come back as they were given, line breaks and all."""
        assert read_about(saved) == ABOUT

    def test_raises(self, tmp_path):
        """A file of another kind is refused."""
        (tmp_path / "text").write_text("weights, perhaps")
        with pytest.raises(WeightsError, match="no safetensors file"):
            read_about(tmp_path / "text")
