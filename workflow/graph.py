"""``dvc.yaml`` as typed stages and shards: the Snakefile's only source.

DVC runs a stage that says ``meta: {shards: N}`` as one command with a process pool; here it
becomes N jobs, each of which owns the numbered folder of its shard.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pconv.errors import DataError
from workflow.named import watched_by_snakemake
from workflow.params import SECTION_FILES

DVC_FILE = Path("dvc.yaml")
# On one machine: two jobs there don't meet on one port, and nobody looks up the machine's own name,
# which in a container may not be known.
_TORCHRUN = "torchrun --standalone --local-addr=localhost"


@dataclass(frozen=True)
class Resources:
    """What a scheduler needs to place one job of a stage."""

    threads: int
    memory_mb: int
    runtime_min: int
    gpus: int


@dataclass(frozen=True)
class Stage:
    """One stage of ``dvc.yaml``."""

    name: str
    description: str
    command: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shards: int  # 0: the stage is not sharded
    resources: Resources
    target: str  # the stage whose Snakemake target asks for this one too; "" for none

    def shard_outputs(self, shard: str) -> list[str]:
        """Return the outputs of one shard, or of the shard pattern ``{shard}``."""
        return [f"{output}{shard}" for output in self.outputs]

    @property
    def shard_names(self) -> list[str]:
        """The folder names of all shards."""
        return [f"{index:04d}" for index in range(self.shards)]

    @property
    def job_name(self) -> str:
        """The name of the rule whose jobs do the work."""
        return f"{self.name}_shard" if self.shards else self.name

    @property
    def job_path(self) -> str:
        """Where a job's log lies, without its folder and ending."""
        return f"{self.name}/{{shard}}" if self.shards else self.name

    def job_command(self, gpus: int, shard: str | None = None) -> str:
        """Return the command of one job.

        Args:
            gpus: How many the job was given; from two on each gets a process of its own, except
                in a stage of shards: there more GPUs are more jobs.
            shard: The name of the shard that it makes; None where the stage has none.
        """
        if shard is not None:
            return f"{self.command} --shard {int(shard)}/{self.shards}"
        if gpus > 1:
            module = self.command.removeprefix("python -m ")
            return f"{_TORCHRUN} --nproc-per-node={gpus} -m {module}"
        return self.command


def load_stages(path: Path = DVC_FILE) -> list[Stage]:
    """Return the stages that run only when something changed, in the order of the file.

    Raises:
        DataError: If a stage lacks what both engines need.
    """
    stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    return [
        _stage(path, name, entry)
        for name, entry in stages.items()
        if not entry.get("always_changed")
    ]


def job_inputs(stage: Stage, stages: list[Stage]) -> list[str]:
    """Return the files and folders a job of ``stage`` waits for, sharded folders shard by shard.

    The stage's section of ``params.yaml`` is among them, as a file: an edited number reruns
    exactly the stages that read it. Of a folder that a stage makes a job may read a part only, as
    DVC knows; Snakemake knows no parts and waits for, and watches, the whole folder.
    """
    made_by = {output: other for other in stages for output in other.outputs}
    paths = [str(SECTION_FILES / f"{stage.name}.json")]
    for path in stage.inputs:
        made = next((output for output in made_by if is_within(path, output)), path)
        shards = made_by[made].shard_names if made in made_by else []
        paths += [f"{made}{shard}" for shard in shards] or [watched_by_snakemake(made)]
    return list(dict.fromkeys(paths))


def all_outputs(stage: Stage) -> list[str]:
    """Return what every job of ``stage`` makes together."""
    if not stage.shards:
        return [path.rstrip("/") for path in stage.outputs]
    return [path for shard in stage.shard_names for path in stage.shard_outputs(shard)]


def followers(stage: Stage, stages: list[Stage]) -> list[str]:
    """Return the outputs of the stages that are made along with the target ``stage``."""
    return [path for other in stages if other.target == stage.name for path in all_outputs(other)]


def job_resources(stage: Stage) -> dict[str, int]:
    """Return what a scheduler must know of a job besides its threads, by Snakemake's names.

    Only a stage that wants GPUs names them: Kubernetes places a job with `gpu=0` on GPU nodes.
    """
    wanted = stage.resources
    gpus = {"gpu": wanted.gpus} if wanted.gpus else {}
    return {"mem_mb": wanted.memory_mb, "runtime": wanted.runtime_min} | gpus


def is_result(stage: Stage, stages: list[Stage]) -> bool:
    """Return whether no stage reads what this one makes."""
    read = [path for other in stages for path in other.inputs]
    return not any(is_within(path, output) for path in read for output in stage.outputs)


def is_within(path: str, output: str) -> bool:
    """Return whether a path is an output, or lies in an output that is a folder."""
    return path == output or (output.endswith("/") and path.startswith(output))


def _stage(path: Path, name: str, entry: dict[str, Any]) -> Stage:
    if (sections := entry["params"]) != [name]:
        raise DataError(f"{path}: {name}: reads {sections}; a stage reads its own section only")
    meta = entry["meta"]
    shards = int(meta.get("shards", 0))
    command = " ".join(entry["cmd"].split())
    if shards and f"--shards {shards}" not in command:
        raise DataError(
            f"{path}: {name}: meta says {shards} shards but the command does not say "
            f"`--shards {shards}`; make the two equal"
        )
    return Stage(
        name=name,
        description=entry["desc"],
        command=command,
        inputs=tuple(entry["deps"]),
        outputs=tuple(_outputs(entry)),
        shards=shards,
        resources=Resources(
            threads=int(meta["threads"]),
            memory_mb=int(meta["memory_mb"]),
            runtime_min=int(meta["runtime_min"]),
            gpus=int(meta.get("gpus", 0)),
        ),
        target=meta.get("target", ""),
    )


def _outputs(entry: dict[str, Any]) -> list[str]:
    """Return the paths under outs, metrics and plots; options make an entry a mapping."""
    outputs = [out for key in ("outs", "metrics", "plots") for out in entry.get(key, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in outputs]
