"""The only reader of ``params.yaml``; `workflow.sections` says what may stand there.

A key that does not exist, a wrong type or an impossible value is refused before any work.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pconv.atomic import atomic_file
from pconv.errors import ParameterError
from workflow.param_errors import explain_problems
from workflow.plain_yaml import read_plain_yaml
from workflow.sections import Params

PARAMS_FILE = Path("params.yaml")
SECTION_FILES = Path(".stages")
MODELS = Path("models")  # as in dvc.yaml


def section_as_written(name: str) -> dict[str, Any]:
    """Return a section of ``params.yaml`` as it stands there, unchecked.

    Raises:
        ParameterError: If the file is missing or not YAML.
    """
    section = _read_sections(PARAMS_FILE).get(name)
    return section if isinstance(section, dict) else {}


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file.

    Raises:
        ParameterError: If the file is missing or not YAML, or a key or value is not allowed.
    """
    try:
        return Params.model_validate(_read_sections(path))
    except ValidationError as error:
        raise ParameterError(explain_problems(path, error)) from None


def write_section_files(params: Params, folder: Path = SECTION_FILES) -> None:
    """Write each stage's section to ``folder/NAME.json``, touching only what changed.

    By these files Snakemake sees that a stage's parameters are others than before.
    """
    for name in Params.model_fields:
        text = json.dumps(getattr(params, name).model_dump(mode="json"), indent=1) + "\n"
        write_if_changed(folder / f"{name}.json", text)


def write_if_changed(path: Path, text: str) -> None:
    """Write a file unless it says so already: Snakemake goes by times."""
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _read_sections(path: Path) -> dict[str, Any]:
    """Return the file's sections, unchecked."""
    if not path.exists():
        raise ParameterError(
            f"{path}: not found; `make use PRESET=sample`, in the project's folder, makes one"
        )
    content = read_plain_yaml(path)
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ParameterError(
            f"{path}: holds {found}; wanted the sections {', '.join(Params.model_fields)}"
        )
    return content
