"""Weights are found where a variable says, where they ship, in MLflow, or after a training."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from pconv import weights_source
from pconv.errors import WeightsError
from pconv.unet import PConvUNet
from pconv.weights import load_weights, save_weights
from pconv.weights_source import LAST_TRAINED, SHIPPED_NAME, VARIABLE, weights_file


@pytest.fixture(autouse=True)
def _empty_folder(no_weights: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_source, "SHIPPED_FOLDERS", (tmp_path / "a", tmp_path / "b"))


class FakeMlflow(ModuleType):
    """Stands in for MLflow: a store of artifacts in memory."""

    class Problem(Exception):
        """What MLflow raises."""

    def __init__(self, artifacts: dict[str, list[str]]) -> None:
        super().__init__("mlflow")
        self.store, self.uris = artifacts, list[str]()
        self.exceptions = SimpleNamespace(MlflowException=self.Problem)

    def set_tracking_uri(self, uri: str) -> None:
        """Remember the store."""
        self.uris.append(uri)

    def download_artifacts(self, artifact_uri: str, dst_path: str) -> None:
        """Write the files of an artifact."""
        if artifact_uri not in self.store:
            raise self.Problem("no such model")
        for name in self.store[artifact_uri]:
            path = Path(dst_path) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("weights")


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    """Put a fake MLflow in the place of the real one."""
    fake = FakeMlflow({"models:/fill/1": ["artifacts/last.safetensors"], "runs:/1/two": ["a", "b"]})
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.artifacts", fake)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return fake


def trained(path: Path) -> Path:
    """Put a file where weights are looked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


class TestWeightsFile:
    """One call finds the file that is meant."""

    def test_given(self) -> None:
        """A file that is named is taken."""
        with weights_file("some.safetensors") as path:
            assert path == Path("some.safetensors")

    def test_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable comes before the weights that ship, and those before a training's."""
        trained(LAST_TRAINED)
        with weights_file() as path:
            assert path == LAST_TRAINED
        shipped = trained(tmp_path / "b" / SHIPPED_NAME)
        with weights_file() as path:
            assert path == shipped
        monkeypatch.setenv(VARIABLE, "other.safetensors")
        with weights_file() as path:
            assert path == Path("other.safetensors")

    def test_last(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``last`` is the training of the current folder, as argument and as variable."""
        trained(tmp_path / "b" / SHIPPED_NAME)
        with pytest.raises(WeightsError, match=r"no trained weights here.*make repro"):
            weights_file("last").__enter__()
        trained(LAST_TRAINED)
        with weights_file("last") as path:
            assert path == LAST_TRAINED
        monkeypatch.setenv(VARIABLE, "last")
        with weights_file() as path:
            assert path == LAST_TRAINED

    def test_path(self) -> None:
        """A path is a file, whatever it is called; only text can mean more."""
        with weights_file(Path("last")) as path:
            assert path == Path("last")

    def test_load_weights(self) -> None:
        """The network of whatever this finds can be had at once."""
        network = PConvUNet(width=2, levels=2)
        save_weights(LAST_TRAINED, network)
        found = load_weights("last").state_dict()
        assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())

    def test_none(self) -> None:
        """Without any the message names the command that makes some and methods that need none."""
        with pytest.raises(WeightsError, match=r"make repro.*telea"), weights_file():
            pass

    def test_mlflow(self, mlflow: FakeMlflow) -> None:
        """An MLflow model is fetched from the pipeline's store and gone afterwards."""
        Path("mlflow.db").touch()
        with weights_file("models:/fill/1") as path:
            assert path.read_text() == "weights"
        assert not path.exists()
        assert mlflow.uris == ["sqlite:///mlflow.db"]

    def test_mlflow_server(self, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that the environment names is left to MLflow."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
        with weights_file("models:/fill/1"):
            assert mlflow.uris == []

    @pytest.mark.usefixtures("mlflow")
    @pytest.mark.parametrize(
        ("uri", "words"), [("models:/none/1", "no such model"), ("runs:/1/two", "found none")]
    )
    def test_mlflow_raises(self, uri: str, words: str) -> None:
        """A model that can't be fetched, or holds no weights, is an error of ours."""
        Path("mlflow.db").touch()
        with pytest.raises(WeightsError, match=words), weights_file(uri):
            pass

    def test_no_store(self, mlflow: FakeMlflow) -> None:
        """Where no pipeline ran that is said, and MLflow makes no empty store there."""
        with pytest.raises(WeightsError, match=r"no mlflow\.db.*MLFLOW_TRACKING_URI"):
            weights_file("models:/fill/1").__enter__()
        assert mlflow.uris == []

    def test_variable_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is wrong with weights that the variable names is told with its name."""
        monkeypatch.setenv(VARIABLE, "none.safetensors")
        with (
            pytest.raises(WeightsError, match=r"^PCONV_WEIGHTS: none\.safetensors: there is no"),
            weights_file() as path,
        ):
            load_weights(path)

    def test_empty_name(self, tmp_path: Path) -> None:
        """An empty name is refused; it does not stand for the weights that ship."""
        trained(tmp_path / "b" / SHIPPED_NAME)
        with pytest.raises(WeightsError, match="is empty"):
            weights_file("").__enter__()

    def test_without_mlflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without MLflow the message says so."""
        monkeypatch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(WeightsError, match="not installed"), weights_file("models:/fill/1"):
            pass
