"""What a stage is started with: its section of ``params.yaml``, and code that stays as it is.

Both engines record parameters and code as they are when a stage ends. Whoever prepares the next run
while a long one goes would find the edit recorded as what the results were made with. So a stage
ends well only if what it was started with still stands.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pconv.errors import ParameterError
from workflow.code import code_digests, stage_code
from workflow.params import PARAMS_FILE, checked_params, section_as_written
from workflow.recovery import refuse_beside_snakemake
from workflow.sections import Params, Section

_ROOT = Path(__file__).parents[1]

SectionType = TypeVar("SectionType", bound=Section)


@contextmanager
def stage_params(section: type[SectionType]) -> Iterator[SectionType]:
    """Yield a stage's section of ``params.yaml``; check at the end that it still stands.

    Raises:
        ParameterError: If the file is not valid, or if the section or the stage's code was edited
            before the context ended.
        DataError: If this is DVC's and Snakemake is at work in the project.
    """
    params, refuse_edits = start_stage(section)
    yield params
    refuse_edits()


def start_stage(section: type[SectionType]) -> tuple[SectionType, Callable[[], None]]:
    """Return a stage's section of ``params.yaml``, and a function that checks that it still stands.

    Raises:
        ParameterError: If the file is not valid; by the function, if the section or the stage's
            code was edited meanwhile.
        DataError: If this is DVC's and Snakemake is at work in the project.
    """
    refuse_beside_snakemake()
    stage = next(n for n, f in Params.model_fields.items() if f.annotation is section)
    params: SectionType = getattr(checked_params(), stage)
    files = stage_code(f"workflow.stages.{stage}", _ROOT)
    written, code = section_as_written(stage), code_digests(files, _ROOT)

    def refuse_edits() -> None:
        now, digests = section_as_written(stage), code_digests(files, _ROOT)
        edited = [f"{PARAMS_FILE}: {stage}.{k}" for k in written if now.get(k) != written[k]]
        edited += [name for name, digest in digests.items() if code[name] != digest]
        if edited:
            raise ParameterError(
                f"{', '.join(edited)}: edited while the stage {stage} ran, so what it made is not "
                "recorded; take the edit back and run it again, or run it again with the edit"
            )

    return params, refuse_edits
