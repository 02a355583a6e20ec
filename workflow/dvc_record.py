"""What DVC records in ``dvc.lock``: of each stage its command, parameters, inputs and outputs."""

from pathlib import Path
from typing import Any

from pconv.errors import ParameterError
from workflow.params import PARAMS_FILE
from workflow.plain_yaml import read_plain_yaml

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


def _is_whole(stage: dict[str, Any]) -> bool:
    inputs, outputs = stage.get("deps", []), stage.get("outs", [])
    return (
        bool(stage["cmd"])
        and all(isinstance(of_file, dict) for of_file in stage.get("params", {}).values())
        and (bool(outputs) or not inputs)  # which come first
        and all("path" in entry and None not in entry.values() for entry in (*inputs, *outputs))
        and all("md5" in output for output in outputs)
    )
