"""Stage ``check``, before all others: refuse a bad ``params.yaml``, note what it names.

It refuses what a stage would refuse, before DVC deletes outputs that it is to make anew, and notes
the content of the files and folders that the sections name (`workflow.named`). It always runs, and
what it notes makes nothing anew unless it changes.

    python -m workflow.check
"""

import argparse

from pconv.atomic import remove_leftovers
from workflow.command import run_command
from workflow.named import NAMED, STAGES, note_content, refuse_named
from workflow.params import read_params, write_section_files
from workflow.recovery import refuse_beside_snakemake, refuse_outputs_elsewhere
from workflow.sections import Params


def check() -> Params:
    """Return ``params.yaml``, after checking it and noting the content of what it names.

    Raises:
        ParameterError: If the file is missing or not YAML, a key or value is not allowed, or it
            names weights that are not there, or what lies among the results.
        DataError: If this is DVC's, and Snakemake is at work in the project or outputs lie
            elsewhere.
    """
    refuse_beside_snakemake()
    refuse_outputs_elsewhere()
    params = read_params()
    for stage in STAGES:
        refuse_named(stage, getattr(params, stage))
    write_section_files(params)
    remove_leftovers(NAMED)
    for stage in STAGES:
        note_content(stage, getattr(params, stage))
    return params


def _main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    check()


if __name__ == "__main__":
    run_command(_main)
