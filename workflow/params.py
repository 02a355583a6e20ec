"""The only reader of ``params.yaml``; `workflow.sections` says what may stand there.

A key that does not exist, a wrong type or an impossible value is refused before any work.

    python -m workflow.params check    # read params.yaml and say what is wrong with it
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pconv.atomic import atomic_file
from pconv.errors import ParameterError
from workflow.command import run_command
from workflow.param_errors import explain_problems
from workflow.plain_yaml import read_plain_yaml
from workflow.sections import Params

PARAMS_FILE = Path("params.yaml")
SECTION_FILES = Path(".stages")
MODELS = Path("models")  # as in dvc.yaml
_NAMED_FEATURES = ("imagenet", "random")


def checked_params(path: Path = PARAMS_FILE) -> Params:
    """Return ``params.yaml``, after checking it and the files that it names.

    Each section is also left in ``.stages/NAME.json`` (rewritten only when it changes): the file by
    which Snakemake sees that a stage's parameters are others than before.

    Raises:
        ParameterError: If the file is missing or not YAML, or a key or value is not allowed, or a
            file of weights that it names is not there.
    """
    params = read_params(path)
    check_files(params, path)
    write_section_files(params)
    return params


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


def check_files(params: Params, path: Path = PARAMS_FILE) -> None:
    """Check that the weights which parameters name are there, before hours go into the others.

    Raises:
        ParameterError: If a file is missing, or lies where the stage train writes.
    """
    train, evaluate = params.train, params.evaluate
    named = {"train.initial_weights": train.initial_weights}
    if train.perceptual_weight or train.style_weight:
        named["train.features"] = train.features
    if evaluate.vgg_methods and evaluate.vgg_pairs:
        named["evaluate.features"] = evaluate.features
    for key, name in named.items():
        if not name or name in _NAMED_FEATURES:
            continue
        if not Path(name).is_file():
            raise ParameterError(f"{path}: {key}: there is no file {name}; name one that is there")
        if Path(name).resolve().is_relative_to(MODELS.resolve()):
            raise ParameterError(
                f"{path}: {key}: {name} lies in {MODELS}/, which the stage train replaces; "
                "name a copy of it elsewhere"
            )


def write_section_files(params: Params, folder: Path = SECTION_FILES) -> None:
    """Write each stage's section to ``folder/NAME.json``, touching only what changed."""
    for name in Params.model_fields:
        text = json.dumps(getattr(params, name).model_dump(mode="json"), indent=1) + "\n"
        path = folder / f"{name}.json"
        if not path.is_file() or path.read_bytes() != text.encode():
            with atomic_file(path) as partial:
                partial.write_text(text)


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


def _main() -> None:
    parser = argparse.ArgumentParser(description="Read params.yaml and say what is wrong with it.")
    parser.add_argument("command", choices=["check"])
    parser.parse_args()
    check_files(read_params())


if __name__ == "__main__":
    run_command(_main)
