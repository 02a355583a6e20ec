"""The files in ``presets/``, and how one becomes the ``params.yaml`` that runs.

python -m workflow.presets paper    # presets/paper.yaml; or the path of a .yaml file
"""

import argparse
import logging
from itertools import count
from pathlib import Path

from pconv.atomic import atomic_file
from pconv.errors import ParameterError
from workflow.command import run_command
from workflow.param_errors import nearest
from workflow.params import PARAMS_FILE, read_params, write_section_files
from workflow.plain_yaml import read_plain_yaml

log = logging.getLogger(__name__)

PRESETS = Path("presets")


def use_preset(name: str, path: Path = PARAMS_FILE) -> None:
    """Make a preset, by name or as a file, the ``params.yaml`` that runs; check it first.

    Numbers that no preset has are kept beside it, and where is logged.

    Raises:
        ParameterError: If there is no such preset, or it is not valid.
    """
    source = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not source.is_file():
        known = sorted(preset.stem for preset in PRESETS.glob("*.yaml"))
        raise ParameterError(
            f"{source}: no such preset{nearest(name, known)}; there are {', '.join(known)}, "
            "or give the path of a .yaml file"
        )
    write_section_files(read_params(source))
    content = source.read_bytes()
    _keep_own_numbers(path, [source, *PRESETS.glob("*.yaml")])
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def _keep_own_numbers(path: Path, presets: list[Path]) -> None:
    """Copy a file beside itself, unless what it says is in a preset, or was copied before."""
    kept = sorted(path.parent.glob(f"{path.stem}.before-*.yaml"))
    if not path.is_file() or _says(path) in map(_says, [*presets, *kept]):
        return
    names = (path.with_name(f"{path.stem}.before-{number}.yaml") for number in count(1))
    copy = next(name for name in names if not name.exists())
    with atomic_file(copy) as partial:
        partial.write_bytes(path.read_bytes())
    log.warning("%s: its numbers are those of no preset; kept in %s", path, copy)


def _says(path: Path) -> object:
    try:
        return read_plain_yaml(path)
    except ParameterError:
        return path.read_bytes()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make a preset the params.yaml that runs.")
    parser.add_argument("preset", help="a name in presets/, or a .yaml file")
    use_preset(parser.parse_args().preset)


if __name__ == "__main__":
    run_command(_main)
