"""One process or many; what two processes do together is tested in test_training."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pconv.errors import ParameterError
from pconv.ranks import GlobalBatchNorm2d, Ranks, open_ranks, see_whole_batch
from pconv.unet import PConvUNet


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of this process alone."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class TestOpenRanks:
    """`open_ranks`."""

    def test_single(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without torchrun there is one process, the first."""
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        ranks = open_ranks("cpu")
        assert (type(ranks), ranks.rank, ranks.world, ranks.is_first) == (Ranks, 0, 1, True)
        assert ranks.device == torch.device("cpu")
        ranks.rank = 1
        assert not ranks.is_first

    def test_several_need_lightning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Under torchrun, without Lightning, it says what to install."""
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setitem(sys.modules, "lightning.fabric", None)
        with pytest.raises(ParameterError, match=r"Lightning, which is not installed; install pco"):
            open_ranks("cpu")

    def test_auto(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Auto takes CUDA where there is one."""
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        assert open_ranks("auto").device.type == "cuda"
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert open_ranks("auto").device.type == "cpu"

    def test_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """CUDA without a CUDA device is refused."""
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(ParameterError, match="device is cuda, but torch finds no CUDA device"):
            open_ranks("cuda")


@pytest.mark.usefixtures("group")
class TestGlobalBatchNorm2d:
    """`GlobalBatchNorm2d`."""

    @pytest.mark.parametrize("training", [True, False])
    def test_values(self, training: bool) -> None:
        """Alone it is batch norm: output, gradients and running statistics."""
        torch.manual_seed(0)
        own, reference = nn.BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
        reference.load_state_dict(own.state_dict())
        own = see_whole_batch(nn.Sequential(own))[0].train(training)
        reference.train(training)
        assert isinstance(own, GlobalBatchNorm2d)
        seen = []
        for norm in (own, reference):
            x = torch.linspace(-5, 20, 2 * 3 * 4 * 4).view(2, 3, 4, 4).double().requires_grad_()
            y = norm(x)
            (y.sin() * torch.arange(4)).sum().backward()
            seen.append([y.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()])
        for value, wanted in zip(*seen, strict=True):
            torch.testing.assert_close(value, wanted)

    def test_half_precision(self) -> None:
        """Statistics of bfloat16 values are taken in float32."""
        own, reference = (see_whole_batch(nn.Sequential(nn.BatchNorm2d(3)))[0] for _ in range(2))
        x = 50 + torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
        assert own(x).dtype == torch.bfloat16
        reference(x.float())
        assert torch.equal(own.running_var, reference.running_var)

    def test_single_value(self) -> None:
        """One value a channel leaves the statistics alone, as in the network's own batch norm."""
        norm = see_whole_batch(nn.Sequential(nn.BatchNorm2d(2)))[0].train()
        x = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
        torch.testing.assert_close(norm(x), x / (1 + norm.eps) ** 0.5)
        assert norm.num_batches_tracked == 0


class TestSeeWholeBatch:
    """`see_whole_batch`."""

    def test_keeps_parameters(self) -> None:
        """Names, parameters and buffers stay the same objects, the freezing works as before."""
        model = PConvUNet(width=1, levels=3)
        before = {name: value.data_ptr() for name, value in model.state_dict().items()}
        see_whole_batch(model)
        assert {name: value.data_ptr() for name, value in model.state_dict().items()} == before
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {type(norm) for norm in norms} == {GlobalBatchNorm2d}
        model.freeze_encoder_norms()
        assert not any(norm.training for norm in model.encoder_norms())


def test_no_fabric_for_one_process(tmp_path: Path) -> None:
    """Lightning, slow to import, is imported only where there are several processes."""
    source = Path(open_ranks.__code__.co_filename).read_text()
    lines = [line for line in source.splitlines() if "import Fabric" in line]
    assert lines
    assert all(line.startswith("        ") for line in lines)
