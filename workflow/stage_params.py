"""What a stage is started with: its section of ``params.yaml``, and code that stays as it is.

Both engines record parameters and code as they are when a stage ends. Whoever prepares the next run
while a long one goes would find the edit recorded as what the results were made with. So a stage
ends well only if what it was started with still stands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pconv.errors import ParameterError
from workflow.code import code_digests, stage_code
from workflow.params import (
    PARAMS_FILE,
    SECTION_FILES,
    Params,
    SectionType,
    load_params,
    section_as_written,
)
from workflow.recovery import refuse_beside_snakemake

_ROOT = Path(__file__).parents[1]


@contextmanager
def stage_params(section: type[SectionType]) -> Iterator[SectionType]:
    """Yield a stage's section of ``params.yaml``; check at the end that it still stands.

    Raises:
        ParameterError: If the file is not valid, or if the section or the stage's code was edited
            before the context ended.
        DataError: If this is DVC's and Snakemake is at work in the project.
    """
    refuse_beside_snakemake()
    params = load_params(section)
    stage = next(n for n, f in Params.model_fields.items() if f.annotation is section)
    files = stage_code(f"workflow.stages.{stage}", _ROOT)
    written, code = section_as_written(stage), code_digests(files, _ROOT)
    yield params
    now = section_as_written(stage)
    edited = [f"{PARAMS_FILE}: {stage}.{key}" for key in written if now.get(key) != written[key]]
    edited += [name for name, digest in code_digests(files, _ROOT).items() if code[name] != digest]
    if edited:
        # A Snakemake that was killed meanwhile does not delete what was made. It is older than its
        # section's file now, and so is made anew.
        if (file := SECTION_FILES / f"{stage}.json").is_file():
            file.touch()
        raise ParameterError(
            f"{', '.join(edited)}: edited while the stage {stage} ran, so what it made is not "
            "recorded; take the edit back and run it again, or run it again with the edit"
        )
