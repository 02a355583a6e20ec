"""What DVC records in ``dvc.lock``: of each stage its command, parameters, inputs and outputs."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pconv.errors import DataError, ParameterError
from workflow.dvc_hash import dvc_hash
from workflow.graph import Stage, all_outputs, is_result
from workflow.params import PARAMS_FILE
from workflow.plain_yaml import read_plain_yaml
from workflow.sections import Params

log = logging.getLogger(__name__)

DVC_RECORD = Path("dvc.lock")
_MAX_BYTES = 10_000_000


def recorded_stages(path: Path = DVC_RECORD) -> dict[str, Any] | None:
    """Return what is recorded of each stage, by its name.

    None if there is no such file, or if it is no whole one: cut short, it may still be YAML, but
    DVC refuses it.
    """
    try:
        content = read_plain_yaml(path, max_bytes=_MAX_BYTES)
        stages: dict[str, Any] = content["stages"]
        return stages if all(_is_whole(stage) for stage in stages.values()) else None
    except (ParameterError, KeyError, TypeError, AttributeError):
        return None


def recorded_section(stage: dict[str, Any], name: str) -> Any:
    """Return the section of ``params.yaml`` that a recorded stage was run with; None if none is."""
    return stage.get("params", {}).get(PARAMS_FILE.name, {}).get(name)


def is_there(outputs: Sequence[dict[str, Any]]) -> bool:
    """Return whether there is what is recorded of a stage's outputs, byte for byte."""
    try:
        return all(dvc_hash(Path(output["path"])) == output["md5"] for output in outputs)
    except DataError:
        return False


def tell_unrecorded(
    stages: list[Stage], made: Collection[str], params: Params, path: Path = DVC_RECORD
) -> None:
    """Warn where DVC does not record what Snakemake made, and so would make it again.

    No data is read: what nobody reads on is compared, and its page names the digests of all data;
    for the stages before it the parameters have to do.

    Args:
        stages: Of ``dvc.yaml``.
        made: What Snakemake was to make, of which nothing is older than what it is made of.
        params: Today's.
        path: What DVC records.
    """
    recorded, now = recorded_stages(path) or {}, params.model_dump(mode="json")
    whole = [stage for stage in stages if set(all_outputs(stage)) <= set(made)]
    for stage in whole:
        entry = recorded.get(stage.name, {})
        if recorded_section(entry, stage.name) != now[stage.name] or (
            is_result(stage, stages) and not is_there(entry["outs"])
        ):
            # Without names it would record what other stages made before, as made of this.
            names = [stage.name for stage in whole] if len(whole) < len(stages) else []
            log.warning(
                "%s does not record what Snakemake made: without `%s` the next `dvc repro` makes "
                "it again",
                *(path, " ".join(["dvc commit --force", *names])),
            )
            return


def _is_whole(stage: dict[str, Any]) -> bool:
    inputs, outputs = stage.get("deps", []), stage.get("outs", [])
    return (
        bool(stage["cmd"])
        and all(isinstance(of_file, dict) for of_file in stage.get("params", {}).values())
        and (bool(outputs) or not inputs)  # which come first
        and all("path" in entry and None not in entry.values() for entry in (*inputs, *outputs))
        and all("md5" in output for output in outputs)
    )
