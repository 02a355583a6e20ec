"""What a stage is started with: its section of ``params.yaml``, and code that stays as it is.

Both engines record parameters and code as they are when a stage ends. Whoever prepares the next run
while a long one goes would find the edit recorded as what the results were made with. So a stage
ends well only if what it was started with still stands. And what was made with numbers that were
edited since is not written: a stage outlives an engine that is killed, and would put its results in
the place of the next one's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pconv.errors import ParameterError
from workflow.code import code_digests, stage_code
from workflow.named import noted_content, refuse_named, refuse_other_content
from workflow.params import PARAMS_FILE, read_params, section_as_written, write_section_files
from workflow.recovery import refuse_beside_snakemake, refuse_outputs_elsewhere
from workflow.sections import Params, Section

_ROOT = Path(__file__).parents[1]

SectionType = TypeVar("SectionType", bound=Section)


def nothing() -> None:
    """Check nothing before a stage writes; for whoever runs its function by itself."""


def start_stage(section: type[SectionType]) -> tuple[SectionType, "StartedWith"]:
    """Return a stage's section of ``params.yaml``, and what checks that it still stands.

    Raises:
        ParameterError: If the file is not valid, or the section names what can't be read.
        DataError: If what the section names changed since the run began; or if this is DVC's, and
            Snakemake is at work in the project or outputs lie elsewhere.
    """
    refuse_beside_snakemake()
    refuse_outputs_elsewhere()
    stage = next(n for n, f in Params.model_fields.items() if f.annotation is section)
    all_params = read_params()
    params: SectionType = getattr(all_params, stage)
    noted = noted_content(stage)
    refuse_named(stage, params)
    refuse_other_content(stage, params, noted)
    write_section_files(all_params)
    digests = code_digests(stage_code(f"workflow.stages.{stage}", _ROOT), _ROOT)
    return params, StartedWith(stage, params, noted, section_as_written(stage), digests)


@dataclass(frozen=True)
class StartedWith:
    """Parameters and code that a stage was started with; worker processes get it too.

    Attributes:
        stage: Its name.
        params: Its section of ``params.yaml``.
        noted: What was noted of the content of what that names.
        written: Its section of ``params.yaml``, as it stood there.
        digests: SHA-256 of its code, by file.
    """

    stage: str
    params: Section
    noted: Mapping[str, str]
    written: Mapping[str, Any]
    digests: Mapping[str, str]

    def __call__(self) -> None:
        """Check that all of it still stands.

        Raises:
            ParameterError: If something of it was edited meanwhile.
            DataError: If photographs, masks or weights that it names were.
        """
        refuse_other_content(self.stage, self.params, self.noted)
        written, digests = section_as_written(self.stage), code_digests(self.digests, _ROOT)
        edited = [
            f"{PARAMS_FILE}: {self.stage}.{key}"
            for key, value in self.written.items()
            if written.get(key) != value
        ]
        edited += [name for name, digest in self.digests.items() if digests[name] != digest]
        if edited:
            raise ParameterError(
                f"{', '.join(edited)}: edited while the stage {self.stage} ran, so what it made is "
                "not recorded; take the edit back and run it again, or run it again with the edit"
            )
