"""dvc.yaml as stages and shards."""

from pathlib import Path

import pytest

from pconv.errors import DataError
from workflow.graph import (
    Stage,
    all_outputs,
    followers,
    is_result,
    job_inputs,
    job_resources,
    load_stages,
)

DVC_YAML = """
stages:
  masks:
    desc: make
    cmd: python -m workflow.stages.masks --out data/masks/ --shards 2
    deps: [workflow/stages/masks.py]
    params: [masks]
    outs: [data/masks/]
    meta: {shards: 2, threads: 1, memory_mb: 100, runtime_min: 5}
  train:
    desc: learn
    cmd: >-
      python -m workflow.stages.train
      --masks data/masks/ --out models/
    deps: [data/masks/]
    params: [train]
    outs:
      - models/
    metrics:
      - log.json: {cache: false}
    meta: {threads: 2, memory_mb: 100, runtime_min: 5, gpus: 1, target: masks}
"""


@pytest.fixture
def stages(tmp_path: Path) -> list[Stage]:
    """A graph of two stages, the first in two shards."""
    return load(tmp_path, DVC_YAML)


def load(folder: Path, text: str) -> list[Stage]:
    """Return the stages of a dvc.yaml of this text."""
    path = folder / "dvc.yaml"
    path.write_text(text)
    return load_stages(path)


class TestLoadStages:
    """Reading the file."""

    def test_values(self, stages: list[Stage]) -> None:
        """Names, commands on one line, options of outputs left out, resources."""
        masks, train = stages
        assert train.command == (
            "python -m workflow.stages.train --masks data/masks/ --out models/"
        )
        assert train.outputs == ("models/", "log.json")
        assert (train.resources.gpus, masks.resources.gpus) == (1, 0)
        assert (masks.shards, train.shards) == (2, 0)

    def test_raises_on_shards(self, tmp_path: Path) -> None:
        """The count in meta and in the command must agree."""
        with pytest.raises(DataError, match="meta says 3 shards"):
            load(tmp_path, DVC_YAML.replace("{shards: 2", "{shards: 3"))

    def test_raises_on_section(self, tmp_path: Path) -> None:
        """A stage reads its own section only."""
        with pytest.raises(DataError, match="reads its own section only"):
            load(tmp_path, DVC_YAML.replace("params: [train]", "params: [masks]"))


class TestJobs:
    """What Snakemake makes of it."""

    def test_shards(self, stages: list[Stage]) -> None:
        """A sharded stage makes a folder a shard, each by a command of its own."""
        masks, _ = stages
        assert all_outputs(masks) == ["data/masks/0000", "data/masks/0001"]
        assert masks.job_name == "masks_shard"
        assert masks.job_command(gpus=0, shard="0001").endswith("--shards 2 --shard 1/2")

    def test_inputs(self, stages: list[Stage]) -> None:
        """The next stage waits for each shard folder, and for its section of params.yaml."""
        _, train = stages
        assert job_inputs(train, stages) == [
            ".stages/train.json",
            "data/masks/0000",
            "data/masks/0001",
        ]

    def test_part_of_a_folder(self, tmp_path: Path) -> None:
        """A job that reads a part of a folder waits for all of it; a name alike is another."""
        text = DVC_YAML.replace(
            "deps: [data/masks/]", "deps: [data/masks/a/, data/masks/b, data/m]"
        )
        stages = load(tmp_path, text.replace("--shards 2", "").replace("shards: 2, ", ""))
        assert job_inputs(stages[1], stages) == [".stages/train.json", "data/masks/", "data/m"]
        assert not is_result(stages[0], stages)

    def test_followers(self, stages: list[Stage]) -> None:
        """A stage that names another as its target is made with it."""
        masks, train = stages
        assert followers(masks, stages) == ["models", "log.json"]
        assert followers(train, stages) == []

    def test_gpus(self, stages: list[Stage]) -> None:
        """From two GPUs on each gets a process; the rest of the command stays dvc.yaml's."""
        masks, train = stages
        assert train.job_name == "train"
        assert train.job_command(gpus=0) == train.job_command(gpus=1) == train.command
        assert train.job_command(gpus=4) == (
            "torchrun --standalone --local-addr=localhost --nproc-per-node=4 "
            "-m workflow.stages.train --masks data/masks/ --out models/"
        )
        assert masks.job_command(4, "0000") == masks.job_command(0, "0000")

    def test_resources(self, stages: list[Stage]) -> None:
        """Snakemake's names; no word of GPUs where none is wanted."""
        masks, train = stages
        assert job_resources(masks) == {"mem_mb": 100, "runtime": 5}
        assert job_resources(train) == {"mem_mb": 100, "runtime": 5, "gpu": 1}

    def test_results(self, stages: list[Stage]) -> None:
        """What no stage reads is for people."""
        masks, train = stages
        assert not is_result(masks, stages)
        assert is_result(train, stages)
